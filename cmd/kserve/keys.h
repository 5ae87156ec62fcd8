/* keys.h: the API keys of a file: one a line, empty lines and lines that begin with '#' ignored. Only digests are kept. */
#ifndef K_KEYS_H
#define K_KEYS_H

#include "libcore/err.h"

struct k_keys { uint8_t (*digest)[32]; int n; };        /* n 0: no key is asked for */

/* Replaces what k has; k stays as it is on failure. A file without a key is refused. */
int k_keys_load(struct k_keys *k, const char *path, struct k_err *err) K_MUST_USE;
void k_keys_fini(struct k_keys *k);
/* Compares with all of them in the same time, whatever is right. */
bool k_keys_has(const struct k_keys *k, const char *key);

#endif

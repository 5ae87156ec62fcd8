/* keys.h: the API keys: one a line, "KEY" or "KEY LABEL"; empty lines and lines that begin with '#' are ignored. Only digests are
 * kept, and labels, which name a key in the log. */
#ifndef K_KEYS_H
#define K_KEYS_H

#include "libcore/err.h"

struct k_key_entry { uint8_t digest[32]; char label[33]; };
struct k_keys { struct k_key_entry *key; int n; };      /* n 0: no key is asked for */

/* Replaces what k has by the keys of the file and of list (separated by commas); either may be NULL. k stays as it is on failure.
 * A file without a key is refused. */
int k_keys_load(struct k_keys *k, const char *path, const char *list, struct k_err *err) K_MUST_USE;
void k_keys_fini(struct k_keys *k);
/* The key's label, NULL: it is none of them. Compares with all of them in the same time, whatever is right. */
const char *k_keys_find(const struct k_keys *k, const char *key);

#endif

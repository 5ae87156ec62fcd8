/* hash.h: SHA-256 (hash.c is the only includer of openssl/). */
#ifndef K_HASH_H
#define K_HASH_H

#include "libcore/err.h"

struct k_sha256;
int k_sha256_new(struct k_sha256 **out, struct k_err *err) K_MUST_USE;
void k_sha256_free(struct k_sha256 *h);
void k_sha256_reset(struct k_sha256 *h);
void k_sha256_add(struct k_sha256 *h, const void *p, size_t n);
void k_sha256_end(struct k_sha256 *h, uint8_t out[32]);         /* and resets */
int k_sha256_once(const void *p, size_t n, uint8_t out[32], struct k_err *err) K_MUST_USE;
/* 64 lower-case hex digits and a NUL. */
void k_hex(char out[65], const uint8_t digest[32]);
int k_random_bytes(void *p, size_t n, struct k_err *err) K_MUST_USE;

/* "OpenSSL 3.0.2 ..." */
const char *k_hash_library(void);

#endif

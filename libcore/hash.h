/* hash.h: SHA-256, and signatures with keys on elliptic curves (hash.c is the only includer of openssl/). */
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
/* 64 hex digits, lower case only -> digest; false for anything else. */
bool k_unhex(uint8_t digest[32], const char *s, size_t n);
int k_random_bytes(void *p, size_t n, struct k_err *err) K_MUST_USE;

/* --- keys (formats.md 10.2): ECDSA on P-256, P-384, P-521 with SHA-256, SHA-384, SHA-512 ---------------------------------- */

enum { K_SIGNATURE_MAX = 160 };         /* bytes of a signature in DER: 139 for P-521 */
struct k_key;
/* From PEM; what names the text in messages. No key, an encrypted one: K_EFORMAT. Another kind of key (Ed25519 among them, which the
 * registry of model signatures lacks): K_EUNSUP. */
int k_key_private(struct k_key **out, const char *pem, size_t n, const char *what, struct k_err *err) K_MUST_USE;
int k_key_public(struct k_key **out, const char *pem, size_t n, const char *what, struct k_err *err) K_MUST_USE;
void k_key_free(struct k_key *key);                     /* takes NULL */
/* sig: K_SIGNATURE_MAX bytes, *len of them used. */
int k_key_sign(const struct k_key *key, const void *msg, size_t n, uint8_t *sig, size_t *len, struct k_err *err) K_MUST_USE;
/* 0, or K_ENO without a sentence of its own: the caller knows what was signed. */
int k_key_verify(const struct k_key *key, const void *msg, size_t n, const uint8_t *sig, size_t len, struct k_err *err) K_MUST_USE;
/* How bundles name a key: the SHA-256 of its public half as PEM text, in hex. */
int k_key_hint(const struct k_key *key, char out[65], struct k_err *err) K_MUST_USE;

/* "OpenSSL 3.0.2 ..." */
const char *k_hash_library(void);

#endif

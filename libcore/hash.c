/* hash.c: SHA-256 and random bytes. The only includer of openssl/. */
#include "libcore/base.h"
#include "libcore/hash.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

struct k_sha256 { EVP_MD_CTX *ctx; };

static void must(int ok)
{
	if (ok != 1)
		k_bug("SHA-256 failed inside the library");
}

int k_sha256_new(struct k_sha256 **out, struct k_err *err)
{
	struct k_sha256 *h = k_alloc(sizeof *h);

	*out = NULL;
	if (!h)
		return k_err_nomem(err, sizeof *h, "a digest");
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
		k_sha256_free(h);
		return k_err_nomem(err, sizeof *h, "a digest");
	}
	*out = h;
	return 0;
}

void k_sha256_free(struct k_sha256 *h)
{
	if (h)
		EVP_MD_CTX_free(h->ctx);
	k_free(h);
}

void k_sha256_reset(struct k_sha256 *h) { must(EVP_DigestInit_ex(h->ctx, NULL, NULL)); }

void k_sha256_add(struct k_sha256 *h, const void *p, size_t n)
{
	if (n)
		must(EVP_DigestUpdate(h->ctx, p, n));
}

void k_sha256_end(struct k_sha256 *h, uint8_t out[32])
{
	must(EVP_DigestFinal_ex(h->ctx, out, NULL));
	k_sha256_reset(h);
}

int k_sha256_once(const void *p, size_t n, uint8_t out[32], struct k_err *err)
{
	if (EVP_Digest(n ? p : "", n, out, NULL, EVP_sha256(), NULL) != 1)
		return k_err_nomem(err, 0, "a digest");
	return 0;
}

void k_hex(char out[65], const uint8_t digest[32])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 32; i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[64] = 0;
}

int k_random_bytes(void *p, size_t n, struct k_err *err)
{
	if (n > INT32_MAX || RAND_bytes(p, (int)n) != 1)
		return k_err_set(err, K_EIO, "the system gave no random bytes");
	return 0;
}

const char *k_hash_library(void) { return OpenSSL_version(OPENSSL_VERSION); }

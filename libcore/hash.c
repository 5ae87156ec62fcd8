/* hash.c: SHA-256, random bytes, keys and signatures. The only includer of openssl/.
 *
 * Digests are made by OpenSSL's old calls, which are declared deprecated and are the code that the new ones end in. The new ones first read a
 * configuration, look for engines and fetch providers, which is a tenth of the start of a server, and can fail. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "libcore/base.h"
#include "libcore/hash.h"
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

struct k_sha256 { SHA256_CTX ctx; };

static void must(int ok)
{
	if (ok != 1)
		k_bug("SHA-256 failed inside the library");
}

int k_sha256_new(struct k_sha256 **out, struct k_err *err)
{
	struct k_sha256 *h = *out = k_alloc(sizeof *h);

	if (!h)
		return k_err_nomem(err, sizeof *h, "a digest");
	k_sha256_reset(h);
	return 0;
}

void k_sha256_free(struct k_sha256 *h) { k_free(h); }
void k_sha256_reset(struct k_sha256 *h) { must(SHA256_Init(&h->ctx)); }

void k_sha256_add(struct k_sha256 *h, const void *p, size_t n)
{
	if (n)
		must(SHA256_Update(&h->ctx, p, n));
}

void k_sha256_end(struct k_sha256 *h, uint8_t out[32])
{
	must(SHA256_Final(out, &h->ctx));
	k_sha256_reset(h);
}

int k_sha256_once(const void *p, size_t n, uint8_t out[32], struct k_err *err K_UNUSED)
{
	struct k_sha256 h;

	k_sha256_reset(&h);
	k_sha256_add(&h, p, n);
	k_sha256_end(&h, out);
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

static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool k_unhex(uint8_t digest[32], const char *s, size_t n)
{
	for (size_t i = 0; n == 64 && i < 32; i++) {
		int hi = hex_value(s[2 * i]), lo = hex_value(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		digest[i] = (uint8_t)(hi << 4 | lo);
	}
	return n == 64;
}

int k_random_bytes(void *p, size_t n, struct k_err *err)
{
	if (n > INT32_MAX || RAND_bytes(p, (int)n) != 1)
		return k_err_set(err, K_EIO, "the system gave no random bytes");
	return 0;
}

/* --- keys --------------------------------------------------------------------------------------------------------------- */

struct k_key { EVP_PKEY *pkey; const EVP_MD *md; };

/* The library would ask a terminal for a pass phrase. */
static int no_phrase(char *buf K_UNUSED, int size K_UNUSED, int writing K_UNUSED, void *asked)
{
	*(bool *)asked = true;
	return -1;
}

static const EVP_MD *digest_of(const char *curve)
{
	static const struct { const char *curve; const EVP_MD *(*md)(void); } map[] = {
		{ "prime256v1", EVP_sha256 }, { "secp384r1", EVP_sha384 }, { "secp521r1", EVP_sha512 },
	};

	for (size_t i = 0; i < K_LEN(map); i++)
		if (strcmp(map[i].curve, curve) == 0)
			return map[i].md();
	return NULL;
}

/* Takes pkey, also on failure. */
static int new_key(struct k_key **out, EVP_PKEY *pkey, const char *what, struct k_err *err)
{
	const char *kind = EVP_PKEY_get0_type_name(pkey);
	char curve[64] = "";
	struct k_key *key;
	const EVP_MD *md = NULL;
	int r = 0;

	if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC && EVP_PKEY_get_group_name(pkey, curve, sizeof(curve), NULL) == 1)
		md = digest_of(curve);
	if (!md)
		r = k_err_set(err, K_EUNSUP, "'%s': a key of kind %s%s%s%s; model signatures are made with ECDSA on P-256, P-384 or P-521", what,
			kind ? kind : "?", *curve ? " on " : "", curve, EVP_PKEY_get_base_id(pkey) == EVP_PKEY_ED25519 ? ", which is not in their registry" : "");
	key = r == 0 ? k_alloc(sizeof(*key)) : NULL;
	if (r == 0 && !key)
		r = k_err_nomem(err, sizeof(*key), "a key");
	if (r < 0) {
		EVP_PKEY_free(pkey);
		return r;
	}
	*key = (struct k_key){ pkey, md };
	*out = key;
	return 0;
}

static int read_key(struct k_key **out, const char *pem, size_t n, bool private, const char *what, struct k_err *err)
{
	BIO *bio = n < INT32_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	EVP_PKEY *pkey = NULL;
	bool asked = false;

	*out = NULL;
	if (!bio)
		return k_err_nomem(err, n, "a key");
	pkey = private ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, &asked) : PEM_read_bio_PUBKEY(bio, NULL, no_phrase, &asked);
	BIO_free(bio);
	if (!pkey)
		return k_err_set(err, K_EFORMAT, "'%s': %s", what, asked ? "the key is encrypted; openssl pkey -in FILE -out KEY makes one that is not" :
			private ? "holds no private key in PEM" : "holds no public key in PEM (BEGIN PUBLIC KEY)");
	return new_key(out, pkey, what, err);
}

int k_key_private(struct k_key **out, const char *pem, size_t n, const char *what, struct k_err *err)
{
	return read_key(out, pem, n, true, what, err);
}

int k_key_public(struct k_key **out, const char *pem, size_t n, const char *what, struct k_err *err)
{
	return read_key(out, pem, n, false, what, err);
}

void k_key_free(struct k_key *key)
{
	if (key)
		EVP_PKEY_free(key->pkey);
	k_free(key);
}

int k_key_sign(const struct k_key *key, const void *msg, size_t n, uint8_t *sig, size_t *len, struct k_err *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok;

	*len = K_SIGNATURE_MAX;
	ok = ctx && EVP_DigestSignInit(ctx, NULL, key->md, NULL, key->pkey) == 1 && EVP_DigestSign(ctx, sig, len, msg, n) == 1;
	EVP_MD_CTX_free(ctx);
	return ok ? 0 : k_err_nomem(err, K_SIGNATURE_MAX, "a signature");
}

int k_key_verify(const struct k_key *key, const void *msg, size_t n, const uint8_t *sig, size_t len, struct k_err *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ready = ctx && EVP_DigestVerifyInit(ctx, NULL, key->md, NULL, key->pkey) == 1, good;

	good = ready && EVP_DigestVerify(ctx, sig, len, msg, n) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ready)
		return k_err_nomem(err, K_SIGNATURE_MAX, "a signature");
	return good ? 0 : k_err_set(err, K_ENO, "the signature does not match");
}

int k_key_hint(const struct k_key *key, char out[65], struct k_err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	uint8_t digest[32];
	char *pem = NULL;
	long n = 0;
	int r;

	/* One key has one text, however the point was spelt in the file. */
	if (bio && EVP_PKEY_set_utf8_string_param(key->pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") == 1 &&
	    PEM_write_bio_PUBKEY(bio, key->pkey) == 1)
		n = BIO_get_mem_data(bio, &pem);
	r = n > 0 ? k_sha256_once(pem, (size_t)n, digest, err) : k_err_nomem(err, 0, "the text of a key");
	BIO_free(bio);
	if (r == 0)
		k_hex(out, digest);
	return r;
}

const char *k_hash_library(void) { return OpenSSL_version(OPENSSL_VERSION); }

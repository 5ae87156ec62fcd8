/* keys.c: reading and comparing API keys, as SHA-256 digests. */
#include "libcore/base.h"

#include "libcore/hash.h"
#include "libcore/io.h"
#include "cmd/kserve/keys.h"

static int add_line(struct k_keys *k, const char *line, size_t n, struct k_err *err)
{
	while (n && memchr(" \t\r", line[n - 1], 3))
		n--;
	while (n && memchr(" \t", *line, 2)) {
		line++;
		n--;
	}
	if (!n || *line == '#')
		return 0;
	void *v = k_realloc(k->digest, (size_t)(k->n + 1) * sizeof(*k->digest));
	if (!v)
		return k_err_nomem(err, 32, "keys");
	k->digest = v;
	return k_sha256_once(line, n, k->digest[k->n++], err);
}

int k_keys_load(struct k_keys *k, const char *path, struct k_err *err)
{
	struct k_keys fresh = { 0 };
	struct k_buf b;
	k_buf_init(&b, 0);
	int rc = k_read_file(path, &b, 1 << 20, err);
	for (char *p = b.data, *end = b.data ? b.data + b.len : NULL; !rc && p < end; ) {
		char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((nl ? nl : end) - p);
		rc = add_line(&fresh, p, n, err);
		p += n + 1;
	}
	if (!rc && !fresh.n)
		rc = k_err_set(err, K_EUSAGE, "'%s' holds no key", path);
	k_buf_fini(&b);
	if (rc) {
		k_keys_fini(&fresh);
		return rc;
	}
	k_keys_fini(k);
	*k = fresh;
	return 0;
}

void k_keys_fini(struct k_keys *k)
{
	k_free(k->digest);
	memset(k, 0, sizeof(*k));
}

bool k_keys_has(const struct k_keys *k, const char *key)
{
	uint8_t digest[32];
	struct k_err err = { 0 };
	int found = 0;
	if (k_sha256_once(key, strlen(key), digest, &err))
		return false;
	for (int i = 0; i < k->n; i++) {
		unsigned diff = 0;
		for (int j = 0; j < 32; j++)
			diff |= (unsigned)(digest[j] ^ k->digest[i][j]);
		found |= diff == 0;
	}
	return found;
}

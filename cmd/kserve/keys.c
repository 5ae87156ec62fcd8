/* keys.c: reading and comparing API keys, as SHA-256 digests. */
#include "libcore/base.h"

#include <stdio.h>

#include "libcore/hash.h"
#include "libcore/io.h"
#include "cmd/kserve/keys.h"

static int add_key(struct k_keys *k, const char *key, size_t n, const char *label, size_t n_label, struct k_err *err)
{
	void *v = k_realloc(k->key, (size_t)(k->n + 1) * sizeof(*k->key));
	if (!v)
		return k_err_nomem(err, sizeof(*k->key), "keys");
	k->key = v;
	struct k_key_entry *e = &k->key[k->n++];
	if (n_label)
		snprintf(e->label, sizeof(e->label), "%.*s", (int)K_MIN(n_label, sizeof(e->label) - 1), label);
	else
		snprintf(e->label, sizeof(e->label), "key-%d", k->n);
	return k_sha256_once(key, n, e->digest, err);
}

/* White space around a key is none of it: a header's value comes without. */
static const char *trim(const char *s, size_t *n)
{
	while (*n && memchr(" \t\r\n", s[*n - 1], 4))
		--*n;
	while (*n && memchr(" \t\r\n", *s, 4)) {
		s++;
		--*n;
	}
	return s;
}

static int add_line(struct k_keys *k, const char *line, size_t n, struct k_err *err)
{
	line = trim(line, &n);
	if (!n || *line == '#')
		return 0;
	size_t len = 0, label;
	while (len < n && !memchr(" \t", line[len], 2))
		len++;
	for (label = len; label < n && memchr(" \t", line[label], 2); label++)
		;
	return add_key(k, line, len, line + label, n - label, err);
}

static int add_file(struct k_keys *k, const char *path, struct k_err *err)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	int rc = k_read_file(path, &b, 1 << 20, err);
	for (char *p = b.data, *end = b.data ? b.data + b.len : NULL; !rc && p < end; ) {
		char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((nl ? nl : end) - p);
		rc = add_line(k, p, n, err);
		p += n + 1;
	}
	if (!rc && !k->n)
		rc = k_err_set(err, K_EUSAGE, "'%s' holds no key", path);
	if (b.data)
		explicit_bzero(b.data, b.len);
	k_buf_fini(&b);
	return rc;
}

/* A list that was set and holds nothing, as of two variables that are empty, is no wish to serve everybody. */
static int add_list(struct k_keys *k, const char *list, struct k_err *err)
{
	int rc = 0, before = k->n;
	while (!rc && *list) {
		size_t len = strcspn(list, ","), n = len;
		const char *key = trim(list, &n);
		if (n)
			rc = add_key(k, key, n, NULL, 0, err);
		list += len + (list[len] == ',');
	}
	if (!rc && k->n == before)
		rc = k_err_set(err, K_EUSAGE, "KSERVE_API_KEY holds no key: wanted one or more, with commas, or none at all");
	return rc;
}

int k_keys_load(struct k_keys *k, const char *path, const char *list, struct k_err *err)
{
	struct k_keys fresh = { 0 };
	int rc = path ? add_file(&fresh, path, err) : 0;
	if (!rc && list && *list)
		rc = add_list(&fresh, list, err);
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
	k_free(k->key);
	memset(k, 0, sizeof(*k));
}

const char *k_keys_find(const struct k_keys *k, const char *key)
{
	uint8_t digest[32];
	struct k_err err = { 0 };
	const char *found = NULL;
	if (k_sha256_once(key, strlen(key), digest, &err))
		return NULL;
	for (int i = 0; i < k->n; i++) {
		unsigned diff = 0;
		for (int j = 0; j < 32; j++)
			diff |= (unsigned)(digest[j] ^ k->key[i].digest[j]);
		found = diff == 0 ? k->key[i].label : found;
	}
	return found;
}

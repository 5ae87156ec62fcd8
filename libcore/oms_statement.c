/* oms_statement.c: the in-toto statement: what is signed, as JSON and back.
 *
 * Reading: the resources first, which every verifier goes by; then our own member, which must name the same files. */
#include "libcore/base.h"
#include "libcore/oms_int.h"
#include <stdio.h>
#include <stdlib.h>

enum { MOST_SHARDS = 1 << 17, LEAST_SHARD = 64 << 10 };

uint64_t k_oms_shard_size(uint64_t bytes)
{
	uint64_t size = LEAST_SHARD;

	while (bytes / size >= MOST_SHARDS)
		size *= 2;
	return size;
}

int k_oms_room(struct k_oms *o, struct k_oms_file *f, struct k_err *err)
{
	uint64_t n = f->bytes / f->shard_size + (f->bytes % f->shard_size != 0);

	f->n_shards = (int64_t)n;
	f->shards = n < SIZE_MAX / 32 ? k_arena_array(&o->arena, (size_t)n + 1, 32) : NULL;
	return f->shards ? 0 : k_err_nomem(err, (size_t)n * 32, "the digests of shards");
}

const char *k_oms_refuses(const char *name, bool by_shards)
{
	const char *part = name;

	if (strcmp(name, ".") == 0)
		return NULL;
	if (!k_utf8_ok(name, strlen(name)))
		return "it is not valid UTF-8";
	/* The package cuts "PATH:START:END" at every colon. */
	if (by_shards && strchr(name, ':'))
		return "a name with ':' cannot be signed by shards";
	for (;;) {
		size_t n = strcspn(part, "/");

		if (n == 0 || (n == 1 && *part == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			return "it is not a path below the model";
		if (!part[n])
			return NULL;
		part += n + 1;
	}
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct k_oms_file *)a)->name, ((const struct k_oms_file *)b)->name);
}

struct k_oms_file *k_oms_find(const struct k_oms *o, const char *name)
{
	struct k_oms_file key = { .name = name };

	return o->n_files ? bsearch(&key, o->files, (size_t)o->n_files, sizeof(*o->files), compare_names) : NULL;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

static void put_hex(struct k_buf *b, const uint8_t digest[32])
{
	char hex[65];

	k_hex(hex, digest);
	k_buf_printf(b, "\"%s\"", hex);
}

static void put_name(struct k_buf *b, const char *s) { k_json_quote(b, s, strlen(s)); }

static void put_serialization(struct k_buf *b, const struct k_oms *o)
{
	k_buf_printf(b, "{\"method\":\"%s\",\"hash_type\":\"sha256\",", o->by_shards ? "shards" : "files");
	if (o->by_shards)
		k_buf_printf(b, "\"shard_size\":%llu,", (unsigned long long)o->files[0].shard_size);
	k_buf_printf(b, "\"allow_symlinks\":%s", o->links ? "true" : "false");
	for (int i = 0; i < o->n_ignore; i++) {
		k_buf_puts(b, i ? "," : ",\"ignore_paths\":[");
		put_name(b, o->ignore[i]);
	}
	k_buf_puts(b, o->n_ignore ? "]}" : "}");
}

/* "PATH:START:END", quoted. The name has no colon, and needs no escape that ends in one. */
static void put_shard(struct k_buf *b, const struct k_oms_file *f, int64_t i)
{
	uint64_t start = (uint64_t)i * f->shard_size;

	put_name(b, f->name);
	b->len -= !b->failed;
	k_buf_printf(b, ":%llu:%llu\",\"algorithm\":\"sha256-sharded-%llu\"", (unsigned long long)start,
		(unsigned long long)K_MIN(start + f->shard_size, f->bytes), (unsigned long long)f->shard_size);
}

static void put_resources(struct k_buf *b, const struct k_oms *o, struct k_sha256 *root)
{
	const char *sep = "";

	for (int i = 0; i < o->n_files; i++) {
		const struct k_oms_file *f = &o->files[i];

		for (int64_t j = 0; j < (o->by_shards ? f->n_shards : 1); j++) {
			const uint8_t *digest = o->by_shards ? f->shards[j] : f->digest;

			k_buf_printf(b, "%s{\"name\":", sep);
			if (o->by_shards)
				put_shard(b, f, j);
			else
				put_name(b, f->name), k_buf_puts(b, ",\"algorithm\":\"sha256\"");
			k_buf_puts(b, ",\"digest\":");
			put_hex(b, digest);
			k_buf_putc(b, '}');
			k_sha256_add(root, digest, 32);
			sep = ",";
		}
	}
}

static void put_empty(struct k_buf *b, const struct k_oms *o)
{
	const char *sep = "";

	k_buf_puts(b, ",\"empty\":[");
	for (int i = 0; i < o->n_files; i++)
		if (o->files[i].bytes == 0) {
			k_buf_puts(b, sep);
			put_name(b, o->files[i].name);
			sep = ",";
		}
	k_buf_putc(b, ']');
}

static void put_own(struct k_buf *b, const struct k_oms *o)
{
	k_buf_puts(b, "{\"format\":1");
	if (o->by_shards)
		put_empty(b, o);
	for (int i = 0; !o->by_shards && i < o->n_files; i++) {
		const struct k_oms_file *f = &o->files[i];

		k_buf_puts(b, i ? ",{\"name\":" : ",\"files\":[{\"name\":");
		put_name(b, f->name);
		k_buf_printf(b, ",\"bytes\":%llu,\"shard_size\":%llu,\"shards\":[", (unsigned long long)f->bytes, (unsigned long long)f->shard_size);
		for (int64_t j = 0; j < f->n_shards; j++) {
			k_buf_puts(b, j ? "," : "");
			put_hex(b, f->shards[j]);
		}
		k_buf_puts(b, i == o->n_files - 1 ? "]}]" : "]}");
	}
	if (o->container) {
		k_buf_puts(b, ",\"container\":{\"identity\":");
		put_hex(b, o->identity);
		k_buf_puts(b, ",\"entries\":[");
		for (int i = 0; i < o->n_entries; i++) {
			const struct k_oms_entry *e = &o->entries[i];

			k_buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
			put_name(b, e->name);
			k_buf_printf(b, ",\"offset\":%llu,\"bytes\":%llu,\"sha256\":", (unsigned long long)e->offset, (unsigned long long)e->bytes);
			put_hex(b, e->digest);
			k_buf_putc(b, '}');
		}
		k_buf_puts(b, "]}");
	}
	k_buf_putc(b, '}');
}

int oms_statement_put(const struct k_oms *o, struct k_buf *b, struct k_err *err)
{
	struct k_sha256 *root;
	struct k_buf resources;
	uint8_t digest[32];
	int r;

	for (int i = 0; i < o->n_files; i++) {
		const char *why = k_oms_refuses(o->files[i].name, o->by_shards);

		if (why)
			return k_err_set(err, K_EUNSUP, "'%s': the name '%s' cannot be signed: %s", o->subject, o->files[i].name, why);
	}
	r = k_sha256_new(&root, err);
	if (r < 0)
		return r;
	k_buf_init(&resources, 0);
	put_resources(&resources, o, root);
	k_sha256_end(root, digest);
	k_sha256_free(root);
	k_buf_puts(b, "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{\"name\":");
	put_name(b, o->subject);
	k_buf_puts(b, ",\"digest\":{\"sha256\":");
	put_hex(b, digest);
	k_buf_puts(b, "}}],\"predicateType\":\"" OMS_PREDICATE "\",\"predicate\":{\"serialization\":");
	put_serialization(b, o);
	k_buf_puts(b, ",\"resources\":[");
	r = k_buf_ok(&resources, "the resources", err);
	if (r == 0)
		k_buf_put(b, resources.data ? resources.data : "", resources.len);
	k_buf_fini(&resources);
	k_buf_puts(b, "],\"ktools\":");
	put_own(b, o);
	k_buf_puts(b, "}}");
	return r < 0 ? r : k_buf_ok(b, "what is signed", err);
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

struct reading { struct k_oms *o; const char *what; uint64_t shard_size; int cap_files; struct k_err *err; };

static int bad(const struct reading *r, const char *why, const char *name)
{
	return k_err_set(r->err, K_EFORMAT, "'%s': %s '%s'; what was signed is malformed", r->what, why, name);
}

static int get_digest(const struct reading *r, const struct k_json *obj, const char *key, uint8_t out[32])
{
	const struct k_json *v = k_json_find(obj, key);
	const char *s = k_json_string(v);

	return s && k_unhex(out, s, k_json_len(v)) ? 0 : bad(r, "no SHA-256 in", key);
}

static int get_method(struct reading *r, const struct k_json *predicate)
{
	struct k_json *s = NULL, *ignore;
	const char *method = NULL, *hash = NULL;
	double size = 0;
	int rc = k_json_get_object(predicate, "serialization", &s, r->what, r->err);

	if (rc == 0)
		rc = k_json_get_str(s, "method", &method, r->what, r->err);
	if (rc == 0)
		rc = k_json_get_str(s, "hash_type", &hash, r->what, r->err);
	if (rc == 0)
		rc = k_json_bool_or(s, "allow_symlinks", false, &r->o->links, r->what, r->err);
	if (rc == 0 && (strcmp(hash, "sha256") != 0 || (strcmp(method, "files") != 0 && strcmp(method, "shards") != 0)))
		rc = k_err_set(r->err, K_EUNSUP, "'%s': signed by method %s with %s; files and shards with sha256 are known here", r->what, method,
			hash);
	if (rc < 0)
		return rc;
	r->o->by_shards = strcmp(method, "shards") == 0;
	/* The package writes 1000000000.0. */
	if (r->o->by_shards)
		rc = k_json_get_num(s, "shard_size", 1, 9007199254740992.0, &size, r->what, r->err);
	r->shard_size = (uint64_t)size;
	if (rc == 0 && (double)r->shard_size != size)
		rc = bad(r, "no whole number:", "shard_size");
	ignore = k_json_find(s, "ignore_paths");
	r->o->ignore = k_arena_array(&r->o->arena, k_json_len(ignore) + 1, sizeof(char *));
	for (size_t i = 0; rc == 0 && r->o->ignore && i < k_json_len(ignore); i++) {
		const char *path = k_json_string(k_json_at(ignore, i));

		if (!path || k_oms_refuses(path, false))
			return bad(r, "an ignored path that is none", path ? path : "");
		r->o->ignore[r->o->n_ignore] = k_arena_strdup(&r->o->arena, path);
		rc = r->o->ignore[r->o->n_ignore++] ? 0 : k_err_nomem(r->err, strlen(path), "a path");
	}
	return rc < 0 || r->o->ignore ? rc : k_err_nomem(r->err, sizeof(char *), "paths");
}

static struct k_oms_file *add_file(struct reading *r, const char *name, size_t n)
{
	struct k_oms *o = r->o;
	struct k_oms_file *f;

	if (o->n_files == r->cap_files) {
		int cap = K_MAX(2 * r->cap_files, 16);
		struct k_oms_file *more = k_arena_array(&o->arena, (size_t)cap, sizeof(*more));

		if (!more)
			return NULL;
		if (o->n_files)
			memcpy(more, o->files, (size_t)o->n_files * sizeof(*more));
		o->files = more;
		r->cap_files = cap;
	}
	f = &o->files[o->n_files];
	*f = (struct k_oms_file){ .name = k_arena_strndup(&o->arena, name, n), .bytes = UINT64_MAX };
	o->n_files += f->name != NULL;
	return f->name ? f : NULL;
}

/* A number of 1 to 18 digits that ends at `stop`. */
static const char *get_number(const char *s, char stop, uint64_t *out)
{
	size_t n = strspn(s, "0123456789");

	*out = 0;
	for (size_t i = 0; i < n && n <= 18; i++)
		*out = *out * 10 + (uint64_t)(s[i] - '0');
	return n && n <= 18 && s[n] == stop ? s + n : NULL;
}

/* "PATH:START:END": the shards of a file follow each other, as the package's own do. first: of a run; the digests are taken later. */
static int take_shard(struct reading *r, const char *name)
{
	struct k_oms *o = r->o;
	struct k_oms_file *f = o->n_files ? &o->files[o->n_files - 1] : NULL;
	const char *colon = strrchr(name, ':'), *start;
	uint64_t from, to;
	size_t n;

	for (start = colon ? colon - 1 : name; start > name && *start != ':'; start--)
		;
	n = (size_t)(start - name);
	if (!colon || start == name || get_number(start + 1, ':', &from) != colon || !get_number(colon + 1, 0, &to))
		return bad(r, "no shard is named by", name);
	if (!f || strlen(f->name) != n || memcmp(f->name, name, n) != 0) {
		f = add_file(r, name, n);
		if (!f)
			return k_err_nomem(r->err, n, "the name of a file");
		f->bytes = 0;
		f->shard_size = r->shard_size;
	}
	if (from != f->bytes || to <= from || to - from > r->shard_size || from % r->shard_size != 0)
		return bad(r, "shards that do not follow each other at", name);
	f->bytes = to;
	f->n_shards++;
	return 0;
}

static int take_resource(struct reading *r, const struct k_json *v, struct k_sha256 *root)
{
	const char *name = NULL, *algorithm = NULL;
	struct k_oms_file *f;
	char wanted[48] = "sha256";
	uint8_t digest[32];
	int rc = k_json_get_str(v, "name", &name, r->what, r->err);

	if (rc == 0)
		rc = k_json_get_str(v, "algorithm", &algorithm, r->what, r->err);
	if (rc == 0)
		rc = get_digest(r, v, "digest", digest);
	if (rc < 0)
		return rc;
	if (r->shard_size)
		snprintf(wanted, sizeof(wanted), "sha256-sharded-%llu", (unsigned long long)r->shard_size);
	if (strcmp(algorithm, wanted) != 0)
		return bad(r, "an algorithm other than the method's:", algorithm);
	k_sha256_add(root, digest, 32);
	if (r->shard_size)
		return take_shard(r, name);
	f = add_file(r, name, strlen(name));
	if (!f)
		return k_err_nomem(r->err, strlen(name), "the name of a file");
	f->whole = true;
	memcpy(f->digest, digest, 32);
	return 0;
}

/* The digests of the runs that take_shard counted. */
static int take_shard_digests(struct reading *r, const struct k_json *list)
{
	size_t at = 0;

	for (int i = 0; i < r->o->n_files; i++) {
		struct k_oms_file *f = &r->o->files[i];

		if (k_oms_room(r->o, f, r->err) < 0)
			return r->err->code;
		for (int64_t j = 0; j < f->n_shards; j++)
			if (get_digest(r, k_json_at(list, at++), "digest", f->shards[j]) < 0)
				return r->err->code;
	}
	return 0;
}

static int sort_files(const struct reading *r)
{
	struct k_oms *o = r->o;

	qsort(o->files, (size_t)o->n_files, sizeof(*o->files), compare_names);
	for (int i = 0; i < o->n_files; i++) {
		if (k_oms_refuses(o->files[i].name, false))
			return bad(r, "no path below the model:", o->files[i].name);
		if (i && strcmp(o->files[i].name, o->files[i - 1].name) == 0)
			return bad(r, "two resources have the name", o->files[i].name);
	}
	return 0;
}

static int get_resources(struct reading *r, const struct k_json *predicate, const uint8_t wanted[32])
{
	struct k_json *list = NULL;
	struct k_sha256 *root;
	uint8_t digest[32];
	int rc = k_json_get_array(predicate, "resources", &list, r->what, r->err);

	if (rc == 0)
		rc = k_sha256_new(&root, r->err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < k_json_len(list); i++)
		rc = take_resource(r, k_json_at(list, i), root);
	k_sha256_end(root, digest);
	k_sha256_free(root);
	if (rc == 0 && r->shard_size)
		rc = take_shard_digests(r, list);
	if (rc < 0)
		return rc;
	if (memcmp(digest, wanted, 32) != 0)
		return k_err_set(r->err, K_EFORMAT, "'%s': the subject's digest is not that of the resources; what was signed is malformed", r->what);
	if (r->o->n_files == 0)
		return k_err_set(r->err, K_EFORMAT, "'%s': signs no file at all", r->what);
	r->o->empties = !r->o->by_shards;
	return sort_files(r);
}

static int get_empty(struct reading *r, const struct k_json *names)
{
	for (size_t i = 0; i < k_json_len(names); i++) {
		const char *name = k_json_string(k_json_at(names, i));
		struct k_oms_file *f;

		if (!name)
			return bad(r, "no name in", "empty");
		f = add_file(r, name, strlen(name));
		if (!f)
			return k_err_nomem(r->err, strlen(name), "the name of a file");
		f->bytes = 0;
		f->shard_size = r->shard_size;
	}
	r->o->empties = true;
	return sort_files(r);
}

static int get_own_file(struct reading *r, const struct k_json *v)
{
	int64_t bytes = 0, size = 0;
	struct k_json *shards = NULL;
	struct k_oms_file *f;
	const char *name = NULL;
	int rc = k_json_get_str(v, "name", &name, r->what, r->err);

	if (rc == 0)
		rc = k_json_get_int(v, "bytes", 0, INT64_MAX, &bytes, r->what, r->err);
	if (rc == 0)
		rc = k_json_get_int(v, "shard_size", 1, INT64_MAX, &size, r->what, r->err);
	if (rc == 0)
		rc = k_json_get_array(v, "shards", &shards, r->what, r->err);
	if (rc < 0)
		return rc;
	f = k_oms_find(r->o, name);
	if (!f || f->shard_size)
		return bad(r, "shards of no resource:", name);
	if (k_json_len(shards) != (uint64_t)bytes / (uint64_t)size + (bytes % size != 0))
		return bad(r, "a wrong number of shards of", name);
	f->bytes = (uint64_t)bytes;
	f->shard_size = (uint64_t)size;
	rc = k_oms_room(r->o, f, r->err);
	for (size_t i = 0; rc == 0 && i < k_json_len(shards); i++) {
		const struct k_json *s = k_json_at(shards, i);

		if (!k_json_string(s) || !k_unhex(f->shards[i], k_json_string(s), k_json_len(s)))
			rc = bad(r, "no SHA-256 among the shards of", name);
	}
	return rc;
}

static int get_container(struct reading *r, const struct k_json *v)
{
	struct k_oms *o = r->o;
	struct k_json *list = NULL;
	int rc = get_digest(r, v, "identity", o->identity);

	if (rc == 0)
		rc = k_json_get_array(v, "entries", &list, r->what, r->err);
	if (rc < 0)
		return rc;
	o->entries = k_arena_array(&o->arena, k_json_len(list) + 1, sizeof(*o->entries));
	if (!o->entries)
		return k_err_nomem(r->err, k_json_len(list) * sizeof(*o->entries), "entries");
	for (size_t i = 0; rc == 0 && i < k_json_len(list); i++) {
		struct k_oms_entry *e = &o->entries[o->n_entries++];
		int64_t offset = 0, bytes = 0;

		rc = k_json_get_str(k_json_at(list, i), "name", &e->name, r->what, r->err);
		if (rc == 0)
			rc = k_json_get_int(k_json_at(list, i), "offset", 0, INT64_MAX / 2, &offset, r->what, r->err);
		if (rc == 0)
			rc = k_json_get_int(k_json_at(list, i), "bytes", 0, INT64_MAX / 2, &bytes, r->what, r->err);
		if (rc == 0)
			rc = get_digest(r, k_json_at(list, i), "sha256", e->digest);
		if (rc == 0 && !(e->name = k_arena_strdup(&o->arena, e->name)))
			rc = k_err_nomem(r->err, 64, "a name");
		e->offset = (uint64_t)offset;
		e->bytes = (uint64_t)bytes;
		if (rc == 0 && i && e->offset < e[-1].offset + e[-1].bytes)
			rc = bad(r, "an entry that overlaps the one before it:", e->name);
	}
	o->container = rc == 0;
	return rc;
}

/* Absent in bundles of others; a later format of it is passed over, the resources say enough. */
static int get_own(struct reading *r, const struct k_json *own)
{
	const struct k_json *files = k_json_find(own, "files"), *container = k_json_find(own, "container"), *empty = k_json_find(own, "empty");
	int rc = 0;

	if (k_json_int(k_json_find(own, "format")) != 1)
		return 0;
	for (size_t i = 0; rc == 0 && i < k_json_len(files); i++)
		rc = get_own_file(r, k_json_at(files, i));
	if (rc == 0 && empty && r->o->by_shards)
		rc = get_empty(r, empty);
	if (rc == 0 && container)
		rc = get_container(r, container);
	return rc;
}

int oms_statement_get(struct k_oms *o, const struct k_json *v, const char *what, struct k_err *err)
{
	struct reading r = { .o = o, .what = what, .err = err };
	const char *type = NULL, *predicate_type = NULL;
	struct k_json *subjects = NULL, *predicate = NULL;
	uint8_t root[32];
	int rc = k_json_get_str(v, "_type", &type, what, err);

	if (rc == 0)
		rc = k_json_get_str(v, "predicateType", &predicate_type, what, err);
	if (rc == 0 && (strcmp(type, "https://in-toto.io/Statement/v1") != 0 || strcmp(predicate_type, OMS_PREDICATE) != 0))
		rc = k_err_set(err, K_EUNSUP, "'%s': signs a statement of type %s about %s, wanted %s", what, type, predicate_type, OMS_PREDICATE);
	if (rc == 0)
		rc = k_json_get_array(v, "subject", &subjects, what, err);
	if (rc == 0 && k_json_len(subjects) != 1)
		rc = k_err_set(err, K_EFORMAT, "'%s': %zu subjects, wanted one", what, k_json_len(subjects));
	if (rc == 0)
		rc = k_json_get_str(k_json_at(subjects, 0), "name", &o->subject, what, err);
	if (rc == 0 && !(o->subject = k_arena_strdup(&o->arena, o->subject)))
		rc = k_err_nomem(err, 64, "a name");
	if (rc == 0)
		rc = get_digest(&r, k_json_find(k_json_at(subjects, 0), "digest"), "sha256", root);
	if (rc == 0)
		rc = k_json_get_object(v, "predicate", &predicate, what, err);
	if (rc == 0)
		rc = get_method(&r, predicate);
	if (rc == 0)
		rc = get_resources(&r, predicate, root);
	return rc < 0 ? rc : get_own(&r, k_json_find(predicate, "ktools"));
}

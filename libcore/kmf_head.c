/* kmf_head.c: the head of a container -> entries, each member checked. What is written in it twice (offsets and sizes, which follow
 * from types and shapes) must agree, so that nothing behind this file has to doubt an entry. */
#include "libcore/base.h"
#include "libcore/kmf_layout.h"
#include "libcore/kmf_read.h"
#include "libcore/map.h"

static const char *const roles[] = { "experts", "shared", "router", "attn", "kda", "embed", "head", "dense", "norm", "file", "other" };
static const char *const forms[] = { "ct.i64", "ct.bf16", "ct.f16" };
static const char *const entry_members[] = { "name", "role", "type", "layout", "shape", "offset", "bytes", "source", "form" };
static const char *const head_members[] = { "kmf", "arch", "config", "entries", "history" };

static const char *one_of(const char *const *list, size_t n, const char *s)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], s) == 0)
			return list[i];
	return NULL;
}

static int only(const struct k_json *obj, const char *const *names, size_t n, const char *where, struct k_err *err)
{
	void *it = NULL;
	const char *key;
	struct k_json *value;

	while (k_json_next(obj, &it, &key, &value))
		if (!one_of(names, n, key))
			return k_err_set(err, K_EUNSUP, "'%s': member '%s' is not known; the container was written by a later version", where, key);
	return 0;
}

/* A string of obj, copied; *out stays NULL when it may be absent and is. */
static int copy_string(struct k_ckpt *c, const struct k_json *obj, const char *key, bool optional, const char **out, const char *where,
	struct k_err *err)
{
	const char *s;
	int r = k_json_get_str(obj, key, &s, where, err);

	if (r == K_ENOENT && optional)
		return 0;
	if (r < 0)
		return r;
	*out = k_arena_strdup(&c->arena, s);
	return *out ? 0 : k_err_nomem(err, strlen(s), "the head of a container");
}

static int read_shape(const struct k_json *v, struct k_entry *e, const char *where, struct k_err *err)
{
	struct k_json *shape;
	int r = k_json_get_array(v, "shape", &shape, where, err);

	if (r < 0)
		return r;
	if (k_json_len(shape) > K_MAX_DIMS)
		return k_err_set(err, K_ESHAPE, "'%s': %s has %zu dimensions, more than %d", where, e->name, k_json_len(shape), K_MAX_DIMS);
	e->ndim = (int)k_json_len(shape);
	for (int i = 0; i < e->ndim; i++) {
		const struct k_json *n = k_json_at(shape, (size_t)i);

		if (k_json_kind(n) != K_JSON_INT || k_json_int(n) < 0)
			return k_err_set(err, K_ESHAPE, "'%s': dimension %d of %s is no size", where, i, e->name);
		e->shape[i] = k_json_int(n);
	}
	return 0;
}

static int read_type(const struct k_json *v, struct k_entry *e, const char *where, struct k_err *err)
{
	const char *type, *layout;
	int r = k_json_get_str(v, "type", &type, where, err);

	if (r == 0)
		r = k_json_get_str(v, "layout", &layout, where, err);
	if (r < 0)
		return r;
	e->type = k_qtype_find(type, layout);
	return e->type ? 0 : k_err_set(err, K_EUNSUP, "'%s': %s has type '%s' in layout '%s', which is not known", where, e->name, type, layout);
}

static int read_words(struct k_ckpt *c, const struct k_json *v, struct k_entry *e, const char *where, struct k_err *err)
{
	const char *role, *form = NULL;
	int r = copy_string(c, v, "name", false, &e->name, where, err);

	if (r == 0)
		r = k_json_get_str(v, "role", &role, where, err);
	if (r == 0)
		r = copy_string(c, v, "source", true, &e->source, where, err);
	if (r == 0)
		r = k_json_str_or(v, "form", NULL, &form, where, err);
	if (r < 0)
		return r;
	e->role = one_of(roles, K_LEN(roles), role);
	e->form = form ? one_of(forms, K_LEN(forms), form) : NULL;
	if (!e->role || (form && !e->form))
		return k_err_set(err, K_EUNSUP, "'%s': %s has %s '%s', which is not known", where, e->name, e->role ? "form" : "role",
			e->role ? form : role);
	if (!e->name[0])
		return k_err_set(err, K_EFORMAT, "'%s': an entry without a name", where);
	return 0;
}

/* Side files come first, are rows of bytes and have names that can be files'. */
static int check_file(const struct k_ckpt *c, int i, const char *where, struct k_err *err)
{
	const struct k_entry *e = &c->entries[i];

	if (strcmp(e->role, "file") != 0)
		return 0;
	if (i > 0 && strcmp(c->entries[i - 1].role, "file") != 0)
		return k_err_set(err, K_EFORMAT, "'%s': side file %s stands behind weights", where, e->name);
	if (strcmp(e->type->name, "u8") != 0 || e->ndim != 1 || strchr(e->name, '/') || !strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return k_err_set(err, K_EFORMAT, "'%s': side file '%s' is not a named row of bytes", where, e->name);
	return 0;
}

static int read_entry(struct k_ckpt *c, int i, const struct k_json *v, uint64_t *end, const char *where, struct k_err *err)
{
	struct k_entry *e = &c->entries[i];
	int64_t offset, bytes;
	int r;

	if (k_json_kind(v) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': entry %d is %s, not an object", where, i, k_json_kind_name(v));
	r = read_words(c, v, e, where, err);
	if (r == 0)
		r = only(v, entry_members, K_LEN(entry_members), where, err);
	if (r == 0)
		r = read_type(v, e, where, err);
	if (r == 0)
		r = read_shape(v, e, where, err);
	if (r == 0)
		r = k_entry_size(e, err);
	if (r == 0)
		r = k_json_get_int(v, "offset", 0, INT64_MAX, &offset, where, err);
	if (r == 0)
		r = k_json_get_int(v, "bytes", 0, INT64_MAX, &bytes, where, err);
	if (r < 0)
		return r;
	e->offset = kmf_place(*end, e->bytes);
	if ((uint64_t)bytes != e->bytes || (uint64_t)offset != e->offset)
		return k_err_set(err, K_EFORMAT, "'%s': %s stands at %lld with %lld bytes; its type and shape want %llu with %llu", where, e->name,
			(long long)offset, (long long)bytes, (unsigned long long)e->offset, (unsigned long long)e->bytes);
	/* Experts are written out one by one elsewhere: each has its byte, or there are few. */
	if (strchr(e->name, '*') && (e->ndim < 2 || (uint64_t)e->shape[0] > K_MAX(e->bytes, 65536)))
		return k_err_set(err, K_EFORMAT, "'%s': %s is a stack of %lld experts in %llu bytes", where, e->name,
			(long long)(e->ndim ? e->shape[0] : 0), (unsigned long long)e->bytes);
	*end = e->offset + e->bytes;
	if (*end > (uint64_t)1 << 60)
		return k_err_set(err, K_EFORMAT, "'%s': %s ends beyond 2^60 bytes", where, e->name);
	return check_file(c, i, where, err);
}

static int read_entries(struct k_ckpt *c, const struct k_json *list, uint64_t *end, const char *where, struct k_err *err)
{
	struct k_map names;
	size_t n = k_json_len(list);
	int r = 0;

	if (n > INT32_MAX / 2)
		return k_err_set(err, K_EFORMAT, "'%s': %zu entries are too many", where, n);
	c->entries = k_arena_array(&c->arena, n + 1, sizeof(*c->entries));
	if (!c->entries)
		return k_err_nomem(err, n * sizeof(*c->entries), "the entries");
	k_map_init(&names);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct k_entry *e = &c->entries[i];

		r = read_entry(c, (int)i, k_json_at(list, i), end, where, err);
		if (r < 0)
			break;
		switch (k_map_put(&names, e->name, strlen(e->name), e)) {
		case 0: r = k_err_set(err, K_EFORMAT, "'%s': %s is there twice", where, e->name); break;
		case -1: r = k_err_nomem(err, n * sizeof(void *), "the names of entries"); break;
		}
	}
	k_map_fini(&names);
	c->n_entries = (int)n;
	return r;
}

static int read_history(struct k_ckpt *c, const struct k_json *head, const char *where, struct k_err *err)
{
	struct k_json *rows;
	int r = k_json_get_array(head, "history", &rows, where, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < k_json_len(rows); i++)
		if (k_json_kind(k_json_at(rows, i)) != K_JSON_OBJECT)
			return k_err_set(err, K_EFORMAT, "'%s': row %zu of the history is %s", where, i, k_json_kind_name(k_json_at(rows, i)));
	c->history = k_json_keep(rows);
	return 0;
}

int kmf_read_head(struct k_ckpt *c, const char *text, size_t len, uint64_t data_len, struct k_err *err)
{
	struct k_json *head, *entries;
	const char *where = c->path;
	uint64_t end = 0;
	int64_t version;
	int r;

	r = k_json_parse(&head, text, len, K_JSON_STRICT, where, err);
	if (r < 0)
		return r;
	r = k_json_get_int(head, "kmf", 2, 2, &version, where, err);
	if (r == 0)
		r = only(head, head_members, K_LEN(head_members), where, err);
	if (r == 0)
		r = copy_string(c, head, "arch", true, &c->arch, where, err);
	if (r == 0)
		r = copy_string(c, head, "config", true, &c->config, where, err);
	if (r == 0)
		r = k_json_get_array(head, "entries", &entries, where, err);
	if (r == 0)
		r = read_entries(c, entries, &end, where, err);
	if (r == 0)
		r = read_history(c, head, where, err);
	if (r == 0 && end != data_len)
		r = k_err_set(err, K_EFORMAT, "'%s': the entries end at %llu, the data at %llu", where, (unsigned long long)end, (unsigned long long)data_len);
	c->config_len = c->config ? strlen(c->config) : 0;
	k_json_free(head);
	return r;
}

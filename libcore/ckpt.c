/* ckpt.c: what all checkpoints have in common: arithmetic on entries, bounds before every read, the side files kept in memory. */
#include "libcore/base.h"
#include "libcore/ckpt.h"
#include <stdio.h>

/* --- entries ---------------------------------------------------------------------------------------------------------- */

int64_t k_entry_slices(const struct k_entry *e) { return k_shape_slices(e->ndim, e->shape); }

uint64_t k_entry_slice_bytes(const struct k_entry *e)
{
	int64_t n = k_entry_slices(e);

	return n > 0 ? e->bytes / (uint64_t)n : 0;
}

int k_entry_size(struct k_entry *e, struct k_err *err)
{
	int64_t rows = k_entry_rows(e), cols = k_entry_cols(e), count;
	char shape[128];
	const char *why;
	uint64_t slice;

	if (!k_shape_count(e->ndim, e->shape, &count))
		return k_err_set(err, K_ESHAPE, "%s: shape %s is too large", e->name, k_shape_format(shape, e->ndim, e->shape));
	why = k_qtype_refuses(e->type, rows, cols);
	if (why)
		return k_err_set(err, K_ESHAPE, "%s: shape %s cannot be stored as %s: %s", e->name, k_shape_format(shape, e->ndim, e->shape),
			e->type->name, why);
	if (!k_qtype_slice_bytes(e->type, rows, cols, &slice) || __builtin_mul_overflow(slice, (uint64_t)k_entry_slices(e), &e->bytes) ||
	    e->bytes > INT64_MAX)
		return k_err_set(err, K_ESHAPE, "%s: shape %s is too large", e->name, k_shape_format(shape, e->ndim, e->shape));
	return 0;
}

size_t k_entry_block(const struct k_entry *e, size_t target)
{
	const struct k_qtype *t = e->type;
	uint64_t slice = k_entry_slice_bytes(e), step;

	step = t->plain ? (uint64_t)t->elem_bytes : t->granule_bytes(k_entry_cols(e), t->granule);
	if (step == 0 || slice <= step)
		return (size_t)slice;
	return (size_t)K_MIN(slice, K_MAX(target / step, 1) * step);
}

void k_entry_leaves(const struct k_entry *e, struct k_leaves *out)
{
	const struct k_qtype *t = e->type;
	uint64_t step;

	*out = (struct k_leaves){ .span = 1, .leaf = 1 };
	if (e->bytes == 0)
		return;
	step = t->granule_bytes(k_entry_cols(e), t->granule);
	out->span = t->plain && !strchr(e->name, '*') ? e->bytes : k_entry_slice_bytes(e);
	out->leaf = step;
	while (out->leaf <= K_LEAF / 2)
		out->leaf *= 2;
	if (t->plain && step > K_LEAF) {
		out->span = step;
		out->leaf = K_LEAF;
	}
	out->per_span = (out->span - 1) / out->leaf + 1;
	out->n = e->bytes / out->span * out->per_span;
}

uint64_t k_leaf_at(const struct k_leaves *l, uint64_t i, uint64_t *off)
{
	uint64_t in = i % l->per_span * l->leaf;

	*off = i / l->per_span * l->span + in;
	return K_MIN(l->leaf, l->span - in);
}

uint64_t k_leaf_of(const struct k_leaves *l, uint64_t off)
{
	return off / l->span * l->per_span + off % l->span / l->leaf;
}

const char *k_entry_slice_name(const struct k_entry *e, int64_t slice, char *buf, size_t n)
{
	const char *star = strchr(e->name, '*');

	if (star)
		snprintf(buf, n, "%.*s%lld%s", (int)(star - e->name), e->name, (long long)slice, star + 1);
	else
		snprintf(buf, n, "%s", e->name);
	return buf;
}

/* --- checkpoints ------------------------------------------------------------------------------------------------------ */

int k_ckpt_find(const struct k_ckpt *c, const char *name)
{
	for (int i = 0; i < c->n_entries; i++)
		if (strcmp(c->entries[i].name, name) == 0)
			return i;
	return -1;
}

int k_ckpt_names(const struct k_ckpt *c, struct k_map *m, struct k_err *err)
{
	for (int i = 0; i < c->n_entries; i++)
		if (k_map_put(m, c->entries[i].name, strlen(c->entries[i].name), &c->entries[i]) < 0)
			return k_err_nomem(err, (size_t)c->n_entries * 32, "the names of tensors");
	return 0;
}

int k_ckpt_named(const struct k_ckpt *c, const struct k_map *m, const char *name)
{
	const struct k_entry *e = k_map_find(m, name, strlen(name));

	return e ? (int)(e - c->entries) : -1;
}

static int within(const struct k_ckpt *c, int i, uint64_t off, size_t n, struct k_err *err)
{
	if (i < 0 || i >= c->n_entries || off > c->entries[i].bytes || n > c->entries[i].bytes - off)
		return k_err_set(err, K_EBUG, "'%s': a read beyond the end of an entry", c->path);
	return 0;
}

int k_ckpt_read(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	if (within(c, i, off, n, err) < 0)
		return err->code;
	return n ? c->ops->read(c, i, off, dst, n, err) : 0;
}

int k_ckpt_fetch(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	if (!c->ops->fetch)
		return k_ckpt_read(c, i, off, dst, n, err);
	if (within(c, i, off, n, err) < 0)
		return err->code;
	return n ? c->ops->fetch(c, i, off, dst, n, err) : 0;
}

int k_ckpt_unpack(struct k_ckpt *c, int i, uint64_t off, void *p, size_t n, struct k_err *err)
{
	return n && c->ops->unpack ? c->ops->unpack(c, i, off, p, n, err) : 0;
}

int k_ckpt_seen(struct k_ckpt *c, int i, uint64_t off, const void *p, size_t n, struct k_err *err)
{
	struct k_leaves l;
	uint8_t digest[32];
	const char *at = p;

	if (n == 0 || !c->ops->leaf)
		return 0;
	k_entry_leaves(&c->entries[i], &l);
	while (n > 0) {
		uint64_t leaf = k_leaf_of(&l, off), begin, size = k_leaf_at(&l, leaf, &begin);

		K_ASSERT(begin == off && size <= n);
		if (k_sha256_once(at, (size_t)size, digest, err) < 0 || c->ops->leaf(c, i, leaf, digest, err) < 0)
			return err->code;
		at += size;
		off += size;
		n -= (size_t)size;
	}
	return 0;
}

int k_ckpt_leaf(struct k_ckpt *c, int i, uint64_t off, const uint8_t digest[32], struct k_err *err)
{
	struct k_leaves l;

	if (!c->ops->leaf)
		return 0;
	k_entry_leaves(&c->entries[i], &l);
	return c->ops->leaf(c, i, k_leaf_of(&l, off), digest, err);
}

/* Adds to the running digest what continues it; a leaf that is entered in its middle is left alone. */
static int follow(struct k_ckpt *c, int i, uint64_t off, const char *p, size_t n, struct k_err *err)
{
	struct k_leaves l;
	uint8_t digest[32];

	k_entry_leaves(&c->entries[i], &l);
	while (n > 0) {
		uint64_t leaf = k_leaf_of(&l, off), begin, size = k_leaf_at(&l, leaf, &begin);
		size_t part = (size_t)K_MIN((uint64_t)n, begin + size - off);
		bool goes_on = c->taken == i && c->take_off == off;

		if (off == begin)
			k_sha256_reset(c->hash);
		if (off == begin || goes_on) {
			k_sha256_add(c->hash, p, part);
			c->taken = i;
			c->take_off = off + part;
			if (off + part == begin + size) {
				k_sha256_end(c->hash, digest);
				if (c->ops->leaf(c, i, leaf, digest, err) < 0)
					return err->code;
			}
		}
		p += part;
		off += part;
		n -= part;
	}
	return 0;
}

int k_ckpt_take(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	if (k_ckpt_read(c, i, off, dst, n, err) < 0)
		return err->code;
	if (n == 0 || !c->ops->leaf)
		return 0;
	if (!c->hash && k_sha256_new(&c->hash, err) < 0)
		return err->code;
	return follow(c, i, off, dst, n, err);
}

int k_ckpt_finish(struct k_ckpt *c, struct k_err *err)
{
	return c->ops->finish ? c->ops->finish(c, err) : 0;
}

const void *k_ckpt_map(struct k_ckpt *c, int i)
{
	return c->ops->map ? c->ops->map(c, i) : NULL;
}

static int add_file(struct k_ckpt *c, struct k_files *files, int i, struct k_err *err)
{
	const struct k_entry *e = &c->entries[i];
	size_t n = (size_t)e->bytes;
	char *data;
	int r;

	if (e->bytes > K_FILE_MAX)
		return k_err_set(err, K_EFORMAT, "'%s': side file %s has %llu bytes, more than %u", c->path, e->name, (unsigned long long)e->bytes,
			K_FILE_MAX);
	data = k_alloc(n + 1);
	if (!data)
		return k_err_nomem(err, n + 1, "a side file");
	data[n] = 0;
	r = k_ckpt_take(c, i, 0, data, n, err);
	if (r < 0) {
		k_free(data);
		return r;
	}
	return k_files_add(files, e->name, data, n, err);
}

static int add_config(const struct k_ckpt *c, struct k_files *files, struct k_err *err)
{
	char *data = k_strndup(c->config, c->config_len);

	if (!data)
		return k_err_nomem(err, c->config_len + 1, "config.json");
	return k_files_add(files, "config.json", data, c->config_len, err);
}

int k_ckpt_files(struct k_ckpt *c, const struct k_files **out, struct k_err *err)
{
	struct k_files *files;
	int r = 0;

	if (c->files) {
		*out = c->files;
		return 0;
	}
	files = k_alloc(sizeof(*files));
	if (!files)
		return k_err_nomem(err, sizeof(*files), "the list of side files");
	k_files_init(files, c->path);
	if (c->config)
		r = add_config(c, files, err);
	for (int i = 0; r == 0 && i < c->n_entries; i++)
		if (strcmp(c->entries[i].role, "file") == 0)
			r = add_file(c, files, i, err);
	if (r < 0) {
		k_files_fini(files);
		k_free(files);
		return r;
	}
	*out = c->files = files;
	return 0;
}

void k_ckpt_close(struct k_ckpt *c)
{
	if (!c)
		return;
	if (c->ops && c->ops->close)
		c->ops->close(c);
	if (c->files)
		k_files_fini(c->files);
	k_free(c->files);
	k_sha256_free(c->hash);
	k_json_free(c->history);
	k_arena_fini(&c->arena);
	k_free(c);
}

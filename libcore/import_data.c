/* import_data.c: the bytes of an imported checkpoint's entries, read from the files they lie in. */
#include "libcore/base.h"
#include "libcore/import_int.h"

/* --- reading ---------------------------------------------------------------------------------------------------------- */

/* Bytes [off, off + n) of a slice of plain elements; rows may be cut and may lie in another order. */
static int read_plain(const struct k_raw *t, int64_t rows, uint64_t slice_off, uint64_t off, char *dst, size_t n, struct k_err *err)
{
	uint64_t row_bytes = (uint64_t)k_shape_cols(t->ndim, t->shape) * (uint64_t)t->type->elem_bytes;

	if (!t->row_order)
		return k_source_pread(t->src, dst, n, t->off + slice_off + off, err);
	/* A vector is a column of rows with one element each. */
	if (t->ndim < 2) {
		row_bytes = (uint64_t)t->type->elem_bytes;
		rows = k_shape_cols(t->ndim, t->shape);
	}
	while (n > 0) {
		uint64_t row = off / row_bytes, in = off % row_bytes;
		size_t part = (size_t)K_MIN(row_bytes - in, (uint64_t)n);
		int r;

		if (row >= (uint64_t)rows)
			return k_err_set(err, K_EBUG, "%s: read beyond its end", t->name);
		r = k_source_pread(t->src, dst, part, t->off + slice_off + (uint64_t)t->row_order[row] * row_bytes + in, err);
		if (r < 0)
			return r;
		dst += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* The same of types whose rows come in granules: off and n are whole granules, the last may be short. */
static int read_granules(const struct k_raw *t, int64_t slice, int64_t rows, int64_t cols, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	size_t granule = t->type->granule_bytes(cols, t->type->granule);
	int64_t row = (int64_t)(off / granule) * t->type->granule, count = (int64_t)(n / granule) * t->type->granule;

	if (n % granule != 0)
		count = rows - row;
	if (off % granule != 0 || row + count > rows)
		return k_err_set(err, K_EBUG, "%s: a read of %zu bytes at %llu cuts a granule", t->name, n, (unsigned long long)off);
	return k_raw_read(t, slice, row, count, dst, err);
}

/* Bytes of a plain tensor that is made row by row; rows may be cut. */
static int read_made(const struct k_raw *t, int64_t slice, int64_t cols, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	size_t row_bytes = (size_t)cols * (size_t)t->type->elem_bytes, all;
	int64_t first = (int64_t)(off / row_bytes), rows = (int64_t)((off + n - 1) / row_bytes) + 1 - first;
	uint8_t *buf;
	int r;

	if (off % row_bytes == 0 && n % row_bytes == 0)
		return k_raw_read(t, slice, first, rows, dst, err);
	all = (size_t)rows * row_bytes;
	buf = k_alloc(all);
	r = buf ? k_raw_read(t, slice, first, rows, buf, err) : k_err_nomem(err, all, t->name);
	if (r == 0)
		memcpy(dst, buf + off % row_bytes, n);
	k_free(buf);
	return r;
}

static int read_raw(const struct k_raw *t, int64_t slice, uint64_t slice_bytes, uint64_t off, char *dst, size_t n, struct k_err *err)
{
	int64_t rows = k_shape_rows(t->ndim, t->shape), cols = k_shape_cols(t->ndim, t->shape);

	if (t->type->plain && t->src)
		return read_plain(t, rows, (uint64_t)slice * slice_bytes, off, dst, n, err);
	if (t->parts && t->parts->made)
		return read_made(t, slice, cols, off, dst, n, err);
	return read_granules(t, slice, rows, cols, off, dst, n, err);
}

/* --- reading ahead ------------------------------------------------------------------------------------------------------ */

static bool before(struct k_place a, struct k_place b) { return a.entry < b.entry || (a.entry == b.entry && a.slice < b.slice); }

/* Slice told of its entry is a step: the planes of a composite type are read by turns. What lies in one piece is one step, for a slice may have eight
 * bytes (a convolution's taps) and a direct read has a block. */
static void ask_for(struct k_ckpt *c, struct k_import *im)
{
	const struct k_from *f = &im->from[im->told.entry];
	int64_t n = k_entry_slices(&c->entries[im->told.entry]), slice = im->told.slice++;
	bool stack = f->n_raw > 1;
	const struct k_raw *t = f->file ? NULL : f->raw[stack ? slice : 0];

	if (im->told.slice >= n || (t && !stack && !t->parts))
		im->told = (struct k_place){ im->told.entry + 1, 0 };
	if (!t || t->row_order || n == 0)
		return;
	k_ahead_step(im->ahead);
	if (!stack && !t->parts && t->src) {
		uint64_t from = (uint64_t)slice * (t->bytes / (uint64_t)n);

		k_ahead_want(im->ahead, t->src, t->off + from, t->bytes - from);
		return;
	}
	for (int k = 0; k < K_PARTS; k++) {
		const struct k_raw *plane = t->parts ? t->parts->of[k] : k == 0 ? t : NULL;
		uint64_t bytes = plane ? plane->bytes / (uint64_t)(stack ? 1 : n) : 0;

		if (plane && plane->src)
			k_ahead_want(im->ahead, plane->src, plane->off + (stack ? 0 : (uint64_t)slice) * bytes, bytes);
	}
}

/* Slices are read in the order of the entries, mostly; who jumps begins anew. */
static void look_ahead(struct k_ckpt *c, struct k_import *im, struct k_place at)
{
	if (!im->ahead)
		im->ahead = k_ahead_new();
	if (!im->ahead)
		return;
	if (before(at, im->at) || !before(at, im->told)) {
		k_ahead_forget(im->ahead);
		im->told = at;
	}
	im->at = at;
	while (im->told.entry < c->n_entries && k_ahead_hungry(im->ahead))
		ask_for(c, im);
}

/* --- entries ------------------------------------------------------------------------------------------------------------ */

static int read_entry(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	struct k_import *im = c->impl;
	const struct k_from *f = &im->from[i];
	uint64_t slice_bytes = k_entry_slice_bytes(&c->entries[i]);
	char *p = dst;

	if (f->file) {
		memcpy(dst, f->file->data + off, n);
		return 0;
	}
	while (n > 0) {
		int64_t slice = (int64_t)(off / slice_bytes);
		size_t part = (size_t)K_MIN((uint64_t)n, slice_bytes - off % slice_bytes);
		bool stack = f->n_raw > 1;
		int r;

		look_ahead(c, im, (struct k_place){ i, slice });
		r = read_raw(f->raw[stack ? slice : 0], stack ? 0 : slice, slice_bytes, off % slice_bytes, p, part, err);

		if (r < 0)
			return r;
		p += part;
		off += part;
		n -= part;
	}
	return 0;
}

static void close_import(struct k_ckpt *c)
{
	struct k_import *im = c->impl;

	if (!im)
		return;
	k_map_fini(&im->names);
	k_free(im->from);
	k_rawset_fini(im->set);
	k_free(im->set);
	k_ahead_free(im->ahead);
	k_free(im);
}

/* Some bytes from the middle of what an entry is put together from; of a stack one slice, another in each. */
static int sample(const struct k_import *im, int i, struct k_sha256 *h, struct k_err *err)
{
	const struct k_from *f = &im->from[i];
	const struct k_raw *t = f->file ? NULL : f->raw[f->n_raw > 1 ? i % f->n_raw : 0];
	char some[256];

	if (f->file)
		k_sha256_add(h, f->file->data, f->file->len);
	for (int k = 0; t && k < K_PARTS; k++) {
		const struct k_raw *plane = t->parts ? t->parts->of[k] : k == 0 ? t : NULL;
		size_t n = plane && plane->src ? (size_t)K_MIN(plane->bytes, sizeof(some)) : 0;

		if (n && k_source_pread(plane->src, some, n, plane->off + (plane->bytes - n) / 2, err) < 0)
			return err->code;
		k_sha256_add(h, some, n);
	}
	return 0;
}

/* Of another machine's copy the numbers and times of files say nothing: values do. */
static int stamp(struct k_ckpt *c, bool here, struct k_sha256 *h, struct k_err *err)
{
	const struct k_import *im = c->impl;
	const struct k_rawset *set = im->set;

	for (int64_t i = 0; i < set->n; i++) {
		k_sha256_add(h, set->v[i].name, strlen(set->v[i].name) + 1);
		k_sha256_add(h, &set->v[i].off, sizeof(set->v[i].off));
	}
	for (int i = 0; i < set->n_sources; i++)
		if (k_source_stamp(set->sources[i], here, h, err) < 0)
			return err->code;
	for (int i = 0; !here && !c->sequential && i < c->n_entries; i++)
		if (sample(im, i, h, err) < 0)
			return err->code;
	return 0;
}

const struct k_ckpt_ops k_import_ops = { .read = read_entry, .stamp = stamp, .close = close_import };

const struct k_raw *k_import_find(const struct k_ckpt *c, const char *name)
{
	const struct k_import *im = c->impl;

	return c->ops == &k_import_ops ? k_map_find(&im->names, name, strlen(name)) : NULL;
}

const struct k_raw *k_import_raw(const struct k_ckpt *c, int i, int64_t slice)
{
	const struct k_import *im = c->impl;

	if (c->ops != &k_import_ops || !im->from[i].raw)
		return NULL;
	return im->from[i].raw[im->from[i].n_raw > 1 ? slice : 0];
}

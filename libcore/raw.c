/* raw.c: a set of raw tensors and how their rows are read.
 *
 *     plain, block   [off: slice 0: row 0, row 1, ...]                      a run of rows is one read
 *     row_order      row r of the tensor lies at row_order[r]               a span is read once, rows are picked from it
 *     parts          by the function of the parts                           raw_planes.c, raw_codes.c, join_gguf.c
 *
 * Nothing here trusts a length: the maker of the set has checked off + bytes against the source. */
#include "libcore/base.h"
#include "libcore/raw.h"

void k_rawset_init(struct k_rawset *s, const char *path)
{
	memset(s, 0, sizeof(*s));
	s->path = path;
	k_files_init(&s->files, path);
	k_arena_init(&s->arena);
	k_map_init(&s->shapes);
}

void k_rawset_fini(struct k_rawset *s)
{
	for (int i = s->n_sources; i-- > 0; )
		k_source_close(s->sources[i]);
	k_free(s->sources);
	if (s->cap)
		k_free(s->v);
	k_files_fini(&s->files);
	k_map_fini(&s->shapes);
	k_arena_fini(&s->arena);
	memset(s, 0, sizeof(*s));
}

int k_rawset_own(struct k_rawset *s, struct k_source *src, struct k_err *err)
{
	/* Room is made in steps of 16. */
	if (s->n_sources % 16 == 0) {
		struct k_source **v = k_realloc(s->sources, (size_t)(s->n_sources + 16) * sizeof(*v));

		if (!v) {
			k_source_close(src);
			return k_err_nomem(err, (size_t)(s->n_sources + 16) * sizeof(*v), "open files");
		}
		s->sources = v;
	}
	s->sources[s->n_sources++] = src;
	return 0;
}

int k_rawset_shape(struct k_rawset *s, struct k_raw *t, int ndim, const int64_t *shape, struct k_err *err)
{
	size_t n = (size_t)ndim * sizeof(*shape);
	int64_t *kept = k_map_find(&s->shapes, (const char *)shape, n);

	if (!kept) {
		kept = k_arena_array(&s->arena, K_MAX_DIMS, sizeof(*kept));
		if (kept)
			memcpy(kept, shape, n);
		if (!kept || k_map_put(&s->shapes, (const char *)kept, n, kept) < 0)
			return k_err_nomem(err, n, "the shapes of tensors");
	}
	t->ndim = ndim;
	t->shape = kept;
	return 0;
}

int k_rawset_add(struct k_rawset *s, const struct k_raw *t, struct k_err *err)
{
	if (s->n == s->cap) {
		int64_t cap = s->cap ? 2 * s->cap : 64;
		struct k_raw *v = k_realloc(s->v, (size_t)cap * sizeof(*v));

		if (!v)
			return k_err_nomem(err, (size_t)cap * sizeof(*v), "the list of tensors");
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = *t;
	return 0;
}

void k_rawset_cut(struct k_rawset *s, int64_t n)
{
	struct k_raw *v = s->cap ? k_realloc(s->v, (size_t)K_MAX(n, 1) * sizeof(*v)) : NULL;

	s->n = n;
	if (!v)
		return;
	s->v = v;
	s->cap = K_MAX(n, 1);
}

const struct k_raw *k_rawset_find(const struct k_rawset *s, const char *name)
{
	for (int64_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].name, name) == 0)
			return &s->v[i];
	return NULL;
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

/* Rows [row, row + n) of a tensor whose rows stand alone. */
static int read_run(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	int64_t rows = k_shape_rows(t->ndim, t->shape);
	uint64_t row_bytes = t->type->granule_bytes(k_shape_cols(t->ndim, t->shape), 1);
	uint64_t off = ((uint64_t)slice * (uint64_t)rows + (uint64_t)row) * row_bytes, len = (uint64_t)n * row_bytes;

	K_ASSERT(row >= 0 && n >= 0 && row + n <= rows && off <= t->bytes && len <= t->bytes - off);
	if (k_source_pread(t->src, dst, (size_t)len, t->off + off, err) < 0)
		return k_err_add(err, "while reading %s", t->name);
	return 0;
}

/* The rows lie elsewhere in the source: the span they lie in is read once when it is not much longer than they are. */
static int read_ordered(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	size_t row_bytes = t->type->granule_bytes(k_shape_cols(t->ndim, t->shape), 1);
	int64_t lo = INT64_MAX, hi = -1;
	uint8_t *span;
	int r = 0;

	for (int64_t i = 0; i < n; i++) {
		lo = K_MIN(lo, (int64_t)t->row_order[row + i]);
		hi = K_MAX(hi, (int64_t)t->row_order[row + i]);
	}
	if (hi - lo + 1 > 4 * n) {
		for (int64_t i = 0; i < n && r == 0; i++)
			r = read_run(t, slice, t->row_order[row + i], 1, (uint8_t *)dst + (size_t)i * row_bytes, err);
		return r;
	}
	span = k_alloc((size_t)(hi - lo + 1) * row_bytes);
	if (!span)
		return k_err_nomem(err, (size_t)(hi - lo + 1) * row_bytes, t->name);
	r = read_run(t, slice, lo, hi - lo + 1, span, err);
	for (int64_t i = 0; i < n && r == 0; i++)
		memcpy((uint8_t *)dst + (size_t)i * row_bytes, span + (size_t)(t->row_order[row + i] - lo) * row_bytes, row_bytes);
	k_free(span);
	return r;
}

int k_raw_read(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	if (t->parts) {
		K_ASSERT(row % t->type->granule == 0 && !t->row_order);
		return t->parts->read(t, slice, row, n, dst, err);
	}
	if (t->row_order)
		return read_ordered(t, slice, row, n, dst, err);
	return read_run(t, slice, row, n, dst, err);
}

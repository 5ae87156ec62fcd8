/* st_head.c: the head of a safetensors file.
 *
 *   0  u64 n | n bytes of JSON {"NAME": {"dtype", "shape", "data_offsets": [begin, end]}, ...} | data
 *
 * Stricter than the reference where that is lax: names once, three members and no others, no more than eight dimensions. The
 * ranges tile the data without a hole, so nothing can hide between tensors. */
#include "libcore/base.h"
#include "formats/format_int.h"
#include "formats/st.h"
#include <stdlib.h>

#define HEAD_MAX 100000000u
#define DIM_MAX (((int64_t)1 << 48) - 1)
enum { MOST_NAME = 1024, MOST_TENSORS = 2000000 };

struct head {
	struct k_rawset *set;
	struct k_source *src;
	const char *file;
	uint64_t data, n_data;          /* where the data begins, how much there is */
	int64_t first;                  /* of its tensors in the set; their off is in the data until all is checked */
	bool metadata;                  /* was there */
	struct k_err *err;
};

static size_t skip_space(const unsigned char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t'))
		i++;
	return i;
}

bool k_st_taste(const void *head, size_t n)
{
	const unsigned char *p = head;
	size_t space = n > 8 ? skip_space(p + 8, n - 8) : 0;

	return n > 8 && space < n - 8 && p[8 + space] == '{';
}

/* --- one tensor ------------------------------------------------------------------------------------------------------------- */

static int wrong(struct head *h, const char *name, const char *what)
{
	return k_err_set(h->err, K_EFORMAT, "'%s': %.200s: %s", h->file, name, what);
}

/* An integer of [0, max]; -1: it is none. */
static int64_t number(const struct k_json *v, int64_t max)
{
	int64_t n = k_json_int(v);

	return v && k_json_kind(v) == K_JSON_INT && n >= 0 && n <= max ? n : -1;
}

static int read_shape(struct head *h, struct k_raw *t, const struct k_json *shape)
{
	int64_t dims[K_MAX_DIMS];
	size_t n = k_json_len(shape);

	if (k_json_kind(shape) != K_JSON_ARRAY)
		return wrong(h, t->name, "shape: wanted an array");
	if (n > K_MAX_DIMS)
		return k_err_set(h->err, K_EUNSUP, "'%s': %.200s has %zu dimensions, wanted at most %d", h->file, t->name, n, K_MAX_DIMS);
	for (size_t i = 0; i < n; i++) {
		dims[i] = number(k_json_at(shape, i), DIM_MAX);
		if (dims[i] < 0)
			return wrong(h, t->name, "shape holds something else than integers from 0 to 2^48 - 1");
	}
	return k_rawset_shape(h->set, t, (int)n, dims, h->err);
}

/* The range must have the size that type and shape say, and lie in the data. */
static int read_range(struct head *h, struct k_raw *t, const struct k_json *range)
{
	int64_t begin = number(k_json_at(range, 0), INT64_MAX), end = number(k_json_at(range, 1), INT64_MAX), count;
	char shape[128];

	if (k_json_kind(range) != K_JSON_ARRAY || k_json_len(range) != 2 || begin < 0 || end < begin)
		return wrong(h, t->name, "data_offsets is not [begin, end]");
	if (!k_shape_count(t->ndim, t->shape, &count) || !k_mul_i64(count, t->type->elem_bytes, &count))
		return k_err_set(h->err, K_EFORMAT, "'%s': %.200s: shape %s is too large", h->file, t->name, k_shape_format(shape, t->ndim, t->shape));
	if (end - begin != count)
		return k_err_set(h->err, K_EFORMAT, "'%s': %.200s: %s of shape %s has %lld bytes, data_offsets give it %lld", h->file, t->name,
			t->type->st_dtype, k_shape_format(shape, t->ndim, t->shape), (long long)count, (long long)(end - begin));
	if ((uint64_t)end > h->n_data)
		return k_err_set(h->err, K_ETRUNC, "'%s': %.200s ends at byte %lld of the data, the file has %llu", h->file, t->name,
			(long long)end, (unsigned long long)h->n_data);
	t->off = (uint64_t)begin;
	t->bytes = (uint64_t)count;
	return 0;
}

static int read_tensor(struct head *h, const char *name, const struct k_json *v)
{
	const struct k_json *dtype = k_json_find(v, "dtype");
	struct k_raw one = { .file = h->file, .src = h->src }, *t = &one;

	if (h->set->n - h->first == MOST_TENSORS)
		return k_err_set(h->err, K_EUNSUP, "'%s' has more than %d tensors", h->file, MOST_TENSORS);
	if (!name[0] || strlen(name) > MOST_NAME)
		return wrong(h, name, "wanted names of 1 to 1024 bytes");
	if (k_json_kind(v) != K_JSON_OBJECT)
		return wrong(h, name, "wanted an object");
	if (!dtype || !k_json_find(v, "shape") || !k_json_find(v, "data_offsets") || k_json_len(v) != 3)
		return wrong(h, name, "wanted the members dtype, shape and data_offsets, and no others");
	if (!k_json_string(dtype))
		return wrong(h, name, "dtype: wanted a string");
	t->type = k_qtype_by_dtype(k_json_string(dtype));
	if (!t->type)
		return k_err_set(h->err, K_EUNSUP, "'%s': %.200s has the dtype '%.40s', which is not known here", h->file, name, k_json_string(dtype));
	t->name = k_arena_strdup(&h->set->arena, name);
	if (!t->name)
		return k_err_nomem(h->err, strlen(name), "the names of tensors");
	if (read_shape(h, t, k_json_find(v, "shape")) < 0 || read_range(h, t, k_json_find(v, "data_offsets")) < 0)
		return h->err->code;
	return k_rawset_add(h->set, t, h->err);
}

static int check_metadata(struct head *h, const struct k_json *m)
{
	const char *key;
	struct k_json *v;
	void *it = NULL;

	if (h->metadata)
		return wrong(h, "__metadata__", "it is there twice");
	h->metadata = true;
	if (k_json_kind(m) != K_JSON_OBJECT)
		return wrong(h, "__metadata__", "wanted an object");
	while (k_json_next(m, &it, &key, &v))
		if (!k_json_string(v))
			return k_err_set(h->err, K_EFORMAT, "'%s': __metadata__.%.100s is %s, wanted a string", h->file, key, k_json_kind_name(v));
	return 0;
}

/* --- all ---------------------------------------------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	const struct k_raw *x = a, *y = b;

	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Sorted by place they must tile the data. */
static int tile(struct head *h)
{
	struct k_raw *v = h->set->v + h->first;
	int64_t n = h->set->n - h->first;
	uint64_t at = 0;

	if (n)
		qsort(v, (size_t)n, sizeof(*v), by_place);
	for (int64_t i = 0; i < n; i++) {
		struct k_raw *t = &v[i];

		if (t->off != at)
			return k_err_set(h->err, K_EFORMAT, "'%s': %.200s begins at byte %llu of the data, wanted %llu: %s", h->file, t->name,
				(unsigned long long)t->off, (unsigned long long)at, t->off < at ? "tensors overlap" : "there is a hole");
		at += t->bytes;
		t->off += h->data;
	}
	if (at != h->n_data)
		return k_err_set(h->err, K_EFORMAT, "'%s' has %llu bytes of data, its tensors %llu", h->file, (unsigned long long)h->n_data,
			(unsigned long long)at);
	return 0;
}

static int read_member(void *arg, const char *in K_UNUSED, const char *name, const struct k_json *v, struct k_err *err K_UNUSED)
{
	struct head *h = arg;

	return strcmp(name, "__metadata__") == 0 ? check_metadata(h, v) : read_tensor(h, name, v);
}

/* The bytes of the head, and where the data lies. */
static int load(struct head *h, struct k_buf *b)
{
	int64_t size = k_source_size(h->src);
	unsigned char start[64] = { 0 };
	uint64_t n;
	int r;

	if (!k_source_seekable(h->src) || size < 0)
		return k_err_set(h->err, K_EUNSUP, "'%s' is a pipe, and a safetensors file is read in any order: name the file, or send it as a tar stream",
			h->file);
	if (size < 8)
		return k_err_set(h->err, K_ETRUNC, "'%s' has %lld bytes, wanted a safetensors file", h->file, (long long)size);
	r = k_source_pread(h->src, start, (size_t)K_MIN((uint64_t)size, sizeof(start)), 0, h->err);
	if (r < 0)
		return r;
	memcpy(&n, start, 8);
	if (n > HEAD_MAX || n > (uint64_t)size - 8) {
		if (k_format_refuse(h->file, start, sizeof(start), h->err) < 0)
			return h->err->code;
		return k_err_set(h->err, K_EFORMAT, "'%s': the head would have %llu bytes, the file has %lld and the format allows %u", h->file,
			(unsigned long long)n, (long long)size, HEAD_MAX);
	}
	if (!k_buf_room(b, (size_t)n))
		return k_err_nomem(h->err, (size_t)n, "the head of a safetensors file");
	h->data = 8 + n;
	h->n_data = (uint64_t)size - 8 - n;
	b->len = (size_t)n;
	return k_source_pread(h->src, b->data, (size_t)n, 8, h->err);
}

int k_st_read_head(struct k_rawset *set, struct k_source *src, struct k_err *err)
{
	struct head h = { .set = set, .src = src, .first = set->n, .err = err };
	struct k_buf b;
	int r = k_rawset_own(set, src, err);

	if (r < 0)
		return r;
	k_buf_init(&b, 0);
	h.file = k_arena_strdup(&set->arena, k_source_name(src));
	r = h.file ? load(&h, &b) : k_err_nomem(err, strlen(k_source_name(src)), "a file name");
	if (r == 0)
		r = k_json_each(b.data, b.len, NULL, h.file, read_member, &h, err);
	k_buf_fini(&b);
	return r < 0 ? r : tile(&h);
}

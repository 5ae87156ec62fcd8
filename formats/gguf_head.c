/* gguf_head.c: the head of a GGUF file.
 *
 *   "GGUF" | u32 version | u64 n_tensors | u64 n_keys
 *   key:     string name | u32 type | value                          string: u64 length | bytes
 *   tensor:  string name | u32 n_dims | u64 dims, innermost first | u32 type | u64 offset
 *   padding to the alignment | data; tensor after tensor in the order of the table, each padded
 *
 * A file comes from a stranger. A length is compared with the bytes that are left before it is used, and a count with what that
 * many of the smallest would take before a table is made for it. Tensors must lie one behind the other, as all writers put them:
 * so none can overlap another. */
#include "libcore/base.h"
#include "formats/gguf_head.h"

enum { KEY_LEAST = 8 + 1 + 4 + 1, TENSOR_LEAST = 8 + 1 + 4 + 8 + 4 + 8 };
enum { KEYS_MOST = 65535, KEY_MOST = 65535, STRING_MOST = 64 << 20, ARRAY_MOST = 1 << 27, TENSORS_MOST = 2000000, NAME_MOST = 63 };
enum { ALIGNMENT_USUAL = 32, ALIGNMENT_LEAST = 8, ALIGNMENT_MOST = 65536 };
#define DIM_MOST ((uint64_t)1 << 48)

struct reader {
	struct k_gguf *g;
	const uint8_t *p;
	size_t n, pos;
	struct k_err *err;
};

#define wrong(r, ...) k_err_set((r)->err, K_EFORMAT, __VA_ARGS__)
#define unsupported(r, ...) k_err_set((r)->err, K_EUNSUP, __VA_ARGS__)
#define WHERE(r) ((r)->g->where)

static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, sizeof(v)); return v; }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, sizeof(v)); return v; }

/* --- pieces ------------------------------------------------------------------------------------------------------------- */

/* n bytes and on. */
static int take(struct reader *r, uint64_t n, const uint8_t **p, const char *what)
{
	*p = r->p + r->pos;
	if (n > r->n - r->pos)
		return k_err_set(r->err, K_ETRUNC, "'%s': %s at byte %zu needs %llu bytes, the file has %zu more", WHERE(r), what, r->pos,
			(unsigned long long)n, r->n - r->pos);
	r->pos += (size_t)n;
	return 0;
}

static int take32(struct reader *r, uint32_t *v, const char *what)
{
	const uint8_t *p;
	int e = take(r, sizeof(*v), &p, what);

	*v = e == 0 ? get32(p) : 0;
	return e;
}

static int take64(struct reader *r, uint64_t *v, const char *what)
{
	const uint8_t *p;
	int e = take(r, sizeof(*v), &p, what);

	*v = e == 0 ? get64(p) : 0;
	return e;
}

static int take_string(struct reader *r, const char **s, uint64_t *len, uint64_t most, const char *what)
{
	size_t at = r->pos;
	const uint8_t *p = r->p;
	int e = take64(r, len, what);

	if (e == 0)
		e = take(r, *len, &p, what);
	if (e < 0)
		return e;
	*s = (const char *)p;
	if (*len > most)
		return unsupported(r, "'%s': %s at byte %zu has %llu bytes, wanted at most %llu", WHERE(r), what, at, (unsigned long long)*len,
			(unsigned long long)most);
	return 0;
}

static bool is_printable(const char *s, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (s[i] <= 0x20 || s[i] >= 0x7f)
			return false;
	return n > 0;
}

/* --- keys --------------------------------------------------------------------------------------------------------------- */

size_t k_gguf_size(enum k_gguf_type type)
{
	static const uint8_t sizes[K_GGUF_TYPES] = {
		[K_GGUF_U8] = 1, [K_GGUF_I8] = 1, [K_GGUF_U16] = 2, [K_GGUF_I16] = 2, [K_GGUF_U32] = 4, [K_GGUF_I32] = 4, [K_GGUF_F32] = 4,
		[K_GGUF_BOOL] = 1, [K_GGUF_U64] = 8, [K_GGUF_I64] = 8, [K_GGUF_F64] = 8,
	};

	return sizes[type];
}

static int take_type(struct reader *r, const char *key, enum k_gguf_type *type)
{
	uint32_t v;
	int e = take32(r, &v, "the type of a value");

	if (e < 0)
		return e;
	if (v >= K_GGUF_TYPES)
		return wrong(r, "'%s': key %.80s has a value of type %lu, wanted 0 to %d", WHERE(r), key, (unsigned long)v, K_GGUF_TYPES - 1);
	*type = v;
	return 0;
}

static int take_strings(struct reader *r, const struct k_gguf_value *v)
{
	const char *s;
	uint64_t len;

	for (uint64_t i = 0; i < v->n; i++) {
		int e = take_string(r, &s, &len, STRING_MOST, "a string");

		if (e < 0)
			return k_err_add(r->err, "in key %.80s", v->key);
		if (!k_utf8_ok(s, (size_t)len))
			return wrong(r, "'%s': string %llu of key %.80s is not UTF-8", WHERE(r), (unsigned long long)i, v->key);
		if (memchr(s, 0, (size_t)len))
			return wrong(r, "'%s': string %llu of key %.80s has a NUL", WHERE(r), (unsigned long long)i, v->key);
	}
	return 0;
}

static int take_numbers(struct reader *r, const struct k_gguf_value *v)
{
	const uint8_t *p;
	int e = take(r, v->n * k_gguf_size(v->type), &p, "a value");

	if (e < 0)
		return k_err_add(r->err, "in key %.80s", v->key);
	for (uint64_t i = 0; v->type == K_GGUF_BOOL && i < v->n; i++)
		if (p[i] > 1)
			return wrong(r, "'%s': key %.80s is a bool with value %d, wanted 0 or 1", WHERE(r), v->key, p[i]);
	return 0;
}

/* The type of the elements and how many there are. Nothing that a writer puts here is an array of arrays. */
static int take_array(struct reader *r, struct k_gguf_value *v)
{
	size_t least;
	int e = take_type(r, v->key, &v->type);

	if (e == 0)
		e = take64(r, &v->n, "the length of an array");
	if (e < 0)
		return e;
	if (v->type == K_GGUF_ARRAY)
		return unsupported(r, "'%s': key %.80s is an array of arrays", WHERE(r), v->key);
	least = v->type == K_GGUF_STRING ? 8 : k_gguf_size(v->type);
	if (v->n > (r->n - r->pos) / least)
		return k_err_set(r->err, K_ETRUNC, "'%s': key %.80s is an array of %llu elements, the file has %zu more bytes", WHERE(r),
			v->key, (unsigned long long)v->n, r->n - r->pos);
	if (v->n > ARRAY_MOST)
		return unsupported(r, "'%s': key %.80s is an array of %llu elements, wanted at most %d", WHERE(r), v->key,
			(unsigned long long)v->n, ARRAY_MOST);
	return 0;
}

static int read_key(struct reader *r, struct k_gguf_value *v)
{
	const char *s;
	uint64_t len;
	int e = take_string(r, &s, &len, KEY_MOST, "a key");

	if (e < 0)
		return e;
	if (!is_printable(s, len))
		return wrong(r, "'%s': the key that ends at byte %zu is %s", WHERE(r), r->pos, len ? "not printable ASCII" : "empty");
	v->key = k_arena_strndup(&r->g->arena, s, (size_t)len);
	if (!v->key)
		return k_err_nomem(r->err, (size_t)len, "a key");
	e = take_type(r, v->key, &v->type);
	v->n = 1;
	v->array = e == 0 && v->type == K_GGUF_ARRAY;
	if (v->array)
		e = take_array(r, v);
	if (e < 0)
		return e;
	v->p = r->p + r->pos;
	return v->type == K_GGUF_STRING ? take_strings(r, v) : take_numbers(r, v);
}

static int read_keys(struct reader *r)
{
	struct k_gguf *g = r->g;

	g->keys = k_arena_array(&g->arena, (size_t)g->n_keys, sizeof(*g->keys));
	if (!g->keys)
		return k_err_nomem(r->err, (size_t)g->n_keys * sizeof(*g->keys), "the keys");
	for (uint64_t i = 0; i < g->n_keys; i++) {
		struct k_gguf_value *v = &g->keys[i];
		int put, e = read_key(r, v);

		if (e < 0)
			return e;
		put = k_map_put(&g->by_key, v->key, strlen(v->key), v);
		if (put < 0)
			return k_err_nomem(r->err, strlen(v->key), "the keys");
		if (put == 0)
			return wrong(r, "'%s': key %.80s is there twice", WHERE(r), v->key);
	}
	return 0;
}

const struct k_gguf_value *k_gguf_find(const struct k_gguf *g, const char *key)
{
	return k_map_find(&g->by_key, key, strlen(key));
}

bool k_gguf_int_at(enum k_gguf_type type, const uint8_t *p, int64_t *out)
{
	size_t size = k_gguf_size(type);
	bool is_signed = type == K_GGUF_I8 || type == K_GGUF_I16 || type == K_GGUF_I32 || type == K_GGUF_I64;
	uint64_t v = 0;

	if (size == 0 || type == K_GGUF_F32 || type == K_GGUF_F64 || type == K_GGUF_BOOL)
		return false;
	memcpy(&v, p, size);
	if (is_signed && size < 8 && v >> (8 * size - 1))
		v |= ~(uint64_t)0 << 8 * size;
	if (!is_signed && v > INT64_MAX)
		return false;
	*out = (int64_t)v;
	return true;
}

int k_gguf_int_or(const struct k_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t def, int64_t *out, struct k_err *err)
{
	const struct k_gguf_value *v = k_gguf_find(g, key);

	*out = def;
	if (!v)
		return 0;
	if (v->array || !k_gguf_int_at(v->type, v->p, out))
		return k_err_set(err, K_EFORMAT, "'%s': key %s is no integer, wanted %lld to %lld", g->where, key, (long long)lo,
			(long long)hi);
	if (*out < lo || *out > hi)
		return k_err_set(err, K_EFORMAT, "'%s': key %s is %lld, wanted %lld to %lld", g->where, key, (long long)*out,
			(long long)lo, (long long)hi);
	return 0;
}

const char *k_gguf_string(const uint8_t **p, size_t *len)
{
	const char *s = (const char *)*p + 8;

	*len = (size_t)get64(*p);
	*p += 8 + *len;
	return s;
}

int64_t k_gguf_n_tokens(const struct k_gguf *g)
{
	const struct k_gguf_value *v = k_gguf_find(g, "tokenizer.ggml.tokens");

	return v && v->array && v->type == K_GGUF_STRING ? (int64_t)v->n : 0;
}

/* --- tensors ------------------------------------------------------------------------------------------------------------ */

/* The types that are known by name only, for the message. */
static const char *type_name(uint32_t type)
{
	static const char *const names[] = {
		[9] = "Q8_1", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [21] = "IQ3_S", [22] = "IQ2_S",
		[29] = "IQ1_M", [34] = "TQ1_0", [35] = "TQ2_0", [40] = "NVFP4", [41] = "Q1_0", [42] = "Q2_0",
	};

	return type < K_LEN(names) && names[type] ? names[type] : "no type of GGUF";
}

/* The dimensions, turned around: the file has the innermost first. */
static int take_shape(struct reader *r, struct k_gguf_tensor *t)
{
	uint32_t n;
	int64_t count;
	int e = take32(r, &n, "the rank of a tensor");

	if (e < 0)
		return e;
	if (n < 1 || n > K_GGUF_DIMS)
		return wrong(r, "'%s': %s has %lu dimensions, wanted 1 to %d", WHERE(r), t->name, (unsigned long)n, K_GGUF_DIMS);
	t->ndim = (int)n;
	for (int i = t->ndim; i-- > 0; ) {
		uint64_t d;

		e = take64(r, &d, "a dimension");
		if (e < 0)
			return e;
		if (d < 1 || d > DIM_MOST)
			return wrong(r, "'%s': dimension %d of %s is %llu, wanted 1 to 2^48", WHERE(r), t->ndim - 1 - i, t->name,
				(unsigned long long)d);
		t->shape[i] = (int64_t)d;
	}
	if (!k_shape_count(t->ndim, t->shape, &count))
		return wrong(r, "'%s': %s has more than 2^63 elements", WHERE(r), t->name);
	return 0;
}

static int set_bytes(struct reader *r, struct k_gguf_tensor *t)
{
	int64_t rows = k_shape_rows(t->ndim, t->shape), cols = k_shape_cols(t->ndim, t->shape);
	const char *why = k_qtype_refuses(t->type, rows, cols);
	uint64_t slice;

	if (why)
		return wrong(r, "'%s': %s has type %s, but %s", WHERE(r), t->name, t->type->name, why);
	if (!k_qtype_slice_bytes(t->type, rows, cols, &slice) ||
	    __builtin_mul_overflow(slice, (uint64_t)k_shape_slices(t->ndim, t->shape), &t->bytes))
		return wrong(r, "'%s': %s has more than 2^64 bytes", WHERE(r), t->name);
	return 0;
}

static int read_tensor(struct reader *r, struct k_gguf_tensor *t)
{
	const char *s;
	uint64_t len;
	uint32_t type = 0;
	int e = take_string(r, &s, &len, r->n, "the name of a tensor");

	if (e < 0)
		return e;
	if (len > NAME_MOST || !is_printable(s, len))
		return wrong(r, "'%s': the tensor name that ends at byte %zu has %llu bytes, wanted 1 to %d that are printable ASCII",
			WHERE(r), r->pos, (unsigned long long)len, NAME_MOST);
	t->name = k_arena_strndup(&r->g->arena, s, (size_t)len);
	if (!t->name)
		return k_err_nomem(r->err, (size_t)len, "the name of a tensor");
	e = take_shape(r, t);
	if (e == 0)
		e = take32(r, &type, "the type of a tensor");
	if (e == 0)
		e = take64(r, &t->off, "the offset of a tensor");
	if (e < 0)
		return e;
	t->type = k_qtype_by_gguf(type);
	if (!t->type)
		return unsupported(r, "'%s': %s has type %lu (%s), which is not known here", WHERE(r), t->name, (unsigned long)type,
			type_name(type));
	return set_bytes(r, t);
}

static int read_tensors(struct reader *r)
{
	struct k_gguf *g = r->g;
	int e = 0;

	g->tensors = k_arena_array(&g->arena, (size_t)g->n_tensors, sizeof(*g->tensors));
	if (!g->tensors)
		return k_err_nomem(r->err, (size_t)g->n_tensors * sizeof(*g->tensors), "the tensors");
	for (uint64_t i = 0; e == 0 && i < g->n_tensors; i++)
		e = read_tensor(r, &g->tensors[i]);
	return e;
}

/* --- where the data lies ------------------------------------------------------------------------------------------------- */

static int read_alignment(struct reader *r, uint64_t *out)
{
	const struct k_gguf_value *v = k_gguf_find(r->g, "general.alignment");

	*out = ALIGNMENT_USUAL;
	if (!v)
		return 0;
	if (v->array || v->type != K_GGUF_U32)
		return wrong(r, "'%s': key general.alignment is not of type u32", WHERE(r));
	*out = get32(v->p);
	if (*out < ALIGNMENT_LEAST || *out > ALIGNMENT_MOST || (*out & (*out - 1)))
		return wrong(r, "'%s': key general.alignment is %llu, wanted a power of two from %d to %d", WHERE(r), (unsigned long long)*out,
			ALIGNMENT_LEAST, ALIGNMENT_MOST);
	return 0;
}

/* Offsets in the data become offsets in the file. *end: behind the last tensor and its padding. */
static int place_tensors(struct reader *r, uint64_t alignment, uint64_t *end)
{
	uint64_t data = k_align_up(r->pos, alignment), at = 0;

	for (uint64_t i = 0; i < r->g->n_tensors; i++) {
		struct k_gguf_tensor *t = &r->g->tensors[i];

		if (t->off != at)
			return wrong(r, "'%s': %s begins at byte %llu of the data, wanted %llu, behind the tensor before it", WHERE(r), t->name,
				(unsigned long long)t->off, (unsigned long long)at);
		if (data > r->n || at > r->n - data || t->bytes > r->n - data - at)
			return k_err_set(r->err, K_ETRUNC, "'%s': %s has %llu bytes at %llu, the file has %zu", WHERE(r), t->name,
				(unsigned long long)t->bytes, (unsigned long long)(data + at), r->n);
		t->off = data + at;
		at = k_align_up(at + t->bytes, alignment);
	}
	*end = data + at;
	return 0;
}

/* What a reader never looks at is no reason to refuse a file. */
static void warn_of_rest(const struct reader *r, uint64_t alignment, uint64_t end, struct k_log *log)
{
	uint64_t data = k_align_up(r->pos, alignment);

	if (end < r->n)
		k_logf(log, K_LOG_WARN, "'%s': %llu bytes after the last tensor are ignored", WHERE(r), (unsigned long long)(r->n - end));
	for (uint64_t i = r->pos; i < data && i < r->n; i++)
		if (r->p[i]) {
			k_logf(log, K_LOG_WARN, "'%s': the padding before the data is not zero", WHERE(r));
			return;
		}
}

/* --- the file ------------------------------------------------------------------------------------------------------------ */

static int read_start(struct reader *r)
{
	const uint8_t *magic;
	uint32_t version = 0, turned;
	int e = take(r, 4, &magic, "the magic number");

	if (e == 0 && memcmp(magic, "GGUF", 4) != 0)
		return wrong(r, "'%s' does not begin with GGUF", WHERE(r));
	if (e == 0)
		e = take32(r, &version, "the version");
	if (e < 0)
		return e;
	turned = __builtin_bswap32(version);
	if (turned >= 1 && turned <= 3)
		return unsupported(r, "'%s' is a big-endian GGUF, wanted a little-endian one", WHERE(r));
	if (version != 2 && version != 3)
		return unsupported(r, "'%s' is a GGUF of version %lu, wanted 2 or 3", WHERE(r), (unsigned long)version);
	e = take64(r, &r->g->n_tensors, "the number of tensors");
	return e < 0 ? e : take64(r, &r->g->n_keys, "the number of keys");
}

static int check_counts(struct reader *r)
{
	uint64_t left = r->n - r->pos, tensors = r->g->n_tensors, keys = r->g->n_keys;

	if (keys > left / KEY_LEAST || tensors > (left - keys * KEY_LEAST) / TENSOR_LEAST)
		return k_err_set(r->err, K_ETRUNC, "'%s' announces %llu keys and %llu tensors, but has only %llu bytes more", WHERE(r),
			(unsigned long long)keys, (unsigned long long)tensors, (unsigned long long)left);
	/* A sparse file has room for any number. */
	if (keys > KEYS_MOST)
		return unsupported(r, "'%s' has %llu keys, wanted at most %d", WHERE(r), (unsigned long long)keys, KEYS_MOST);
	if (tensors > TENSORS_MOST)
		return unsupported(r, "'%s' has %llu tensors, wanted at most %d", WHERE(r), (unsigned long long)tensors, TENSORS_MOST);
	return 0;
}

static int read_keys_of(struct reader *r, const char *where)
{
	int e;

	memset(r->g, 0, sizeof(*r->g));
	r->g->where = where;
	k_map_init(&r->g->by_key);
	k_arena_init(&r->g->arena);
	e = read_start(r);
	if (e == 0)
		e = check_counts(r);
	return e < 0 ? e : read_keys(r);
}

int k_gguf_read_keys(struct k_gguf *g, const void *p, size_t n, const char *where, struct k_err *err)
{
	struct reader r = { .g = g, .p = p, .n = n, .err = err };
	int e = read_keys_of(&r, where);

	g->n_tensors = 0;
	return e;
}

int k_gguf_read(struct k_gguf *g, const void *p, size_t n, const char *where, struct k_log *log, struct k_err *err)
{
	struct reader r = { .g = g, .p = p, .n = n, .err = err };
	uint64_t alignment, end = 0;
	int e = read_keys_of(&r, where);

	if (e == 0)
		e = read_alignment(&r, &alignment);
	if (e == 0)
		e = read_tensors(&r);
	if (e == 0)
		e = place_tensors(&r, alignment, &end);
	if (e == 0)
		warn_of_rest(&r, alignment, end, log);
	return e;
}

void k_gguf_fini(struct k_gguf *g)
{
	k_map_fini(&g->by_key);
	k_arena_fini(&g->arena);
}

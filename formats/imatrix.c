/* imatrix.c: see imatrix.h.
 *
 *   GGUF   general.type = "imatrix"; for each weight  NAME.in_sum2  f32 [matrices, columns],  NAME.counts  f32 [matrices, 1]
 *   .dat   i32 n; n times: i32 length, name, i32 calls, i32 values, f32 values; then what it was made of
 *
 * A .dat has one count for all experts of a layer, and ones for an expert that no token reached.
 *
 * Of Kimi-K2 that is more than a gigabyte. The file stays mapped, for its names and counts; of its sums no page stays in memory: they are
 * looked at once, and read when they are wanted. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "formats/gguf_head.h"
#include "formats/imatrix.h"
#include "libcore/arch.h"
#include "libcore/buf.h"
#include "libcore/hash.h"
#include "libcore/io.h"

/* n values in all; counts: one a matrix, NULL: `calls` for all. Nothing is aligned. */
struct stat { const char *name; uint64_t n, n_counts; const uint8_t *sums, *counts; float calls; };

struct k_imatrix {
	const char *path;
	struct k_source *src;
	const uint8_t *file;            /* its map */
	struct k_gguf gguf;
	struct k_arena arena;
	struct k_map by_name;           /* name of the weight -> struct stat * */
	uint8_t digest[32];
};

static float get_f32(const uint8_t *p, uint64_t i)
{
	float f;

	memcpy(&f, p + 4 * i, sizeof(f));
	return f;
}

/* --- reading -------------------------------------------------------------------------------------------------------------- */

static int check(const struct k_imatrix *m, const char *name, const uint8_t *p, uint64_t n, struct k_err *err)
{
	for (uint64_t i = 0; i < n; i++)
		if (!(get_f32(p, i) >= 0) || isinf(get_f32(p, i)))
			return k_err_set(err, K_EFORMAT, "'%s': '%s' has %g as value %llu, wanted a number that is not negative", m->path, name,
				(double)get_f32(p, i), (unsigned long long)i);
	k_source_drop(m->src, (uint64_t)(p - m->file), 4 * n);
	return 0;
}

static int add(struct k_imatrix *m, const struct stat *s, struct k_err *err)
{
	struct stat *own = k_arena_alloc(&m->arena, sizeof(*own));
	int r = own ? 1 : -1;

	if (own) {
		*own = *s;
		r = k_map_put(&m->by_name, own->name, strlen(own->name), own);
	}
	if (r < 0)
		return k_err_nomem(err, sizeof(*own), "activation statistics");
	return r ? 0 : k_err_set(err, K_EFORMAT, "'%s' has '%s' twice", m->path, s->name);
}

static const struct k_gguf_tensor *find(const struct k_gguf *g, const char *stem, size_t n, const char *end)
{
	for (uint64_t i = 0; i < g->n_tensors; i++)
		if (strncmp(g->tensors[i].name, stem, n) == 0 && strcmp(g->tensors[i].name + n, end) == 0)
			return &g->tensors[i];
	return NULL;
}

static int add_gguf(struct k_imatrix *m, const struct k_gguf_tensor *t, struct k_err *err)
{
	static const char tail[] = ".in_sum2";
	size_t len = strlen(t->name), n = len - (sizeof(tail) - 1);
	const struct k_gguf_tensor *c;
	struct stat s = { .sums = m->file + t->off };
	int r;

	if (len <= sizeof(tail) - 1 || strcmp(t->name + n, tail) != 0)
		return 0;
	c = find(&m->gguf, t->name, n, ".counts");
	if (!c)
		return k_err_set(err, K_EFORMAT, "'%s' has '%s', but no '%.*s.counts'", m->path, t->name, (int)n, t->name);
	if (strcmp(t->type->name, "f32") != 0 || strcmp(c->type->name, "f32") != 0)
		return k_err_set(err, K_EFORMAT, "'%s': '%s' and its counts are %s and %s, wanted f32", m->path, t->name, t->type->name, c->type->name);
	s.n = t->bytes / 4;
	s.n_counts = c->bytes / 4;
	s.counts = m->file + c->off;
	if (s.n_counts == 0 || s.n % s.n_counts)
		return k_err_set(err, K_ESHAPE, "'%s': '%s' has %llu values for %llu counts", m->path, t->name, (unsigned long long)s.n, (unsigned long long)s.n_counts);
	s.name = k_arena_strndup(&m->arena, t->name, n);
	if (!s.name)
		return k_err_nomem(err, n, "a name");
	r = check(m, t->name, s.sums, s.n, err);
	if (r == 0)
		r = check(m, c->name, s.counts, s.n_counts, err);
	return r < 0 ? r : add(m, &s, err);
}

static int read_gguf(struct k_imatrix *m, size_t n, struct k_log *log, struct k_err *err)
{
	const struct k_gguf_value *type;
	uint64_t len = 0;
	int r = k_gguf_read(&m->gguf, m->file, n, m->path, log, err);

	if (r < 0)
		return r;
	type = k_gguf_find(&m->gguf, "general.type");
	if (type && type->type == K_GGUF_STRING && !type->array)
		memcpy(&len, type->p, sizeof(len));
	if (len != 7 || memcmp(type->p + 8, "imatrix", 7) != 0)
		return k_err_set(err, K_EFORMAT, "'%s' is a GGUF without activation statistics: its general.type is not imatrix", m->path);
	for (uint64_t i = 0; r == 0 && i < m->gguf.n_tensors; i++)
		r = add_gguf(m, &m->gguf.tensors[i], err);
	return r;
}

struct cursor { const uint8_t *p; size_t left; };

static bool take(struct cursor *c, size_t n, const uint8_t **out)
{
	if (n > c->left)
		return false;
	*out = c->p;
	c->p += n;
	c->left -= n;
	return true;
}

/* A count: not negative. */
static bool take_count(struct cursor *c, size_t *out)
{
	const uint8_t *p;
	int32_t v;

	if (!take(c, sizeof(v), &p))
		return false;
	memcpy(&v, p, sizeof(v));
	*out = (size_t)v;
	return v >= 0;
}

static int add_dat(struct k_imatrix *m, struct cursor *c, struct k_err *err)
{
	struct stat s = { .n_counts = 1 };
	size_t len, calls, n;
	const uint8_t *name;

	if (!take_count(c, &len) || len == 0 || !take(c, len, &name) || !take_count(c, &calls) || !take_count(c, &n) || n > c->left / 4 ||
	    !take(c, 4 * n, &s.sums))
		return k_err_set(err, K_EFORMAT, "'%s' ends early, or is no file of activation statistics", m->path);
	s.n = n;
	s.calls = (float)calls;
	s.name = memchr(name, 0, len) ? NULL : k_arena_strndup(&m->arena, (const char *)name, len);
	if (!s.name)
		return k_err_set(err, K_EFORMAT, "'%s': the name of an entry is no text", m->path);
	if (check(m, s.name, s.sums, s.n, err) < 0)
		return err->code;
	return add(m, &s, err);
}

static int read_dat(struct k_imatrix *m, size_t n, struct k_err *err)
{
	struct cursor c = { m->file, n };
	size_t count;
	int r = 0;

	/* An entry has 13 bytes at least. */
	if (!take_count(&c, &count) || count == 0 || count > c.left / 13)
		return k_err_set(err, K_EFORMAT, "'%s' is no file of activation statistics: neither GGUF nor a count of entries", m->path);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_dat(m, &c, err);
	return r;
}

static int take_digest(struct k_imatrix *m, size_t n, struct k_err *err)
{
	struct k_sha256 *h;
	int r = k_sha256_new(&h, err);

	if (r < 0)
		return r;
	for (size_t at = 0, some; at < n; at += some) {
		some = K_MIN(n - at, (size_t)8 << 20);
		k_sha256_add(h, m->file + at, some);
		k_source_drop(m->src, at, some);
	}
	k_sha256_end(h, m->digest);
	k_sha256_free(h);
	return 0;
}

int k_imatrix_open(struct k_imatrix **out, const char *path, struct k_log *log, struct k_err *err)
{
	struct k_imatrix *m = k_calloc(1, sizeof(*m));
	const void *p = NULL;
	size_t n = 0;
	int r;

	if (!m)
		return k_err_nomem(err, sizeof(*m), "activation statistics");
	k_arena_init(&m->arena);
	k_map_init(&m->by_name);
	m->path = k_arena_strdup(&m->arena, path);
	r = m->path ? k_source_open(&m->src, path, err) : k_err_nomem(err, strlen(path), "a path");
	if (r == 0)
		r = k_source_map(m->src, &p, &n, err);
	m->file = p;
	if (r == 0)
		r = n >= 4 && memcmp(p, "GGUF", 4) == 0 ? read_gguf(m, n, log, err) : read_dat(m, n, err);
	if (r == 0)
		r = take_digest(m, n, err);
	if (r < 0) {
		k_imatrix_close(m);
		return r;
	}
	*out = m;
	return 0;
}

void k_imatrix_close(struct k_imatrix *m)
{
	if (!m)
		return;
	if (m->gguf.where)
		k_gguf_fini(&m->gguf);
	k_map_fini(&m->by_name);
	k_source_close(m->src);
	k_arena_fini(&m->arena);
	k_free(m);
}

const uint8_t *k_imatrix_digest(const struct k_imatrix *m) { return m->digest; }

/* --- names ---------------------------------------------------------------------------------------------------------------- */

/* Does name match the form, in which {i} is a number and {e} the '*' of a stack? */
static bool match(const char *form, const char *name, int *layer)
{
	while (*form && *name) {
		if (strncmp(form, "{i}", 3) == 0) {
			char *end;
			long v = strtol(name, &end, 10);

			if (end == name || v < 0 || v > INT32_MAX)
				return false;
			*layer = (int)v;
			form += 3;
			name = end;
		} else if (strncmp(form, "{e}", 3) == 0) {
			if (*name++ != '*')
				return false;
			form += 3;
		} else if (*form++ != *name++) {
			return false;
		}
	}
	return *form == *name;
}

/* Statistics are of a text model, whatever is around it. */
static const char *bare(const char *name)
{
	size_t n = strlen(K_ARCH_WRAPPED);

	return strncmp(name, K_ARCH_WRAPPED, n) == 0 ? name + n : name;
}

static const char *gguf_name(const char *arch, const char *name, char *buf, size_t n)
{
	const struct k_arch *a = arch ? k_arch_named(arch) : NULL;

	for (const struct k_weight *w = a ? a->weights : NULL; w && w->slot; w++) {
		const char *at = w->gguf ? strstr(w->gguf, "{i}") : NULL;
		int layer = 0;

		if (!w->gguf || !match(w->name, name, &layer))
			continue;
		if (at)
			snprintf(buf, n, "%.*s%d%s", (int)(at - w->gguf), w->gguf, layer, at + 3);
		else
			snprintf(buf, n, "%s", w->gguf);
		return buf;
	}
	return NULL;
}

static const struct stat *find_stat(const struct k_imatrix *m, const char *name) { return name ? k_map_find(&m->by_name, name, strlen(name)) : NULL; }

/* Adds the n sums that lie at p in the file. Any thread. */
static int add_sums(const struct k_imatrix *m, const uint8_t *p, uint64_t n, double *sums, struct k_err *err)
{
	float some[2048];

	for (uint64_t at = 0, k; at < n; at += k) {
		k = K_MIN(n - at, K_LEN(some));
		if (k_source_pread(m->src, some, 4 * k, (uint64_t)(p - m->file) + 4 * at, err) < 0)
			return err->code;
		for (uint64_t c = 0; c < k; c++)
			sums[at + c] += (double)some[c];
	}
	return 0;
}

int k_imatrix_add(const struct k_imatrix *m, const char *arch, const struct k_entry *e, int64_t slice, double *sums, double *count, struct k_err *err)
{
	uint64_t cols = (uint64_t)k_entry_cols(e), slices = (uint64_t)k_entry_slices(e), at = (uint64_t)slice;
	char buf[1100];
	const struct stat *s = find_stat(m, e->source);

	if (!s)
		s = find_stat(m, gguf_name(arch, bare(e->name), buf, sizeof(buf)));
	if (!s)
		s = find_stat(m, bare(e->name));
	if (!s && strchr(e->name, '*')) {
		s = find_stat(m, bare(k_entry_slice_name(e, slice, buf, sizeof(buf))));
		slices = 1;
		at = 0;
	}
	if (!s)
		return 0;
	if (s->n != cols * slices || (s->n_counts != slices && s->counts))
		return k_err_set(err, K_ESHAPE, "'%s': the statistics of '%s' have %llu values, wanted %llu for each of %llu matrices", m->path, s->name,
			(unsigned long long)s->n, (unsigned long long)cols, (unsigned long long)slices);
	*count += (double)(s->counts ? get_f32(s->counts, at) : s->calls);
	return add_sums(m, s->sums + 4 * at * cols, cols, sums, err);
}

/* --- writing -------------------------------------------------------------------------------------------------------------- */

enum { GGUF_VERSION = 3, ALIGN = 32, TYPE_F32 = 0 };

static void put32(struct k_buf *b, uint32_t v) { k_buf_put(b, &v, sizeof(v)); }
static void put64(struct k_buf *b, uint64_t v) { k_buf_put(b, &v, sizeof(v)); }

static void put_text(struct k_buf *b, const char *s)
{
	put64(b, strlen(s));
	k_buf_puts(b, s);
}

static void put_key(struct k_buf *b, const char *key, enum k_gguf_type type)
{
	put_text(b, key);
	put32(b, (uint32_t)type);
}

static void put_tensor(struct k_buf *b, const char *name, const char *end, int64_t cols, int64_t mats, uint64_t *off)
{
	put64(b, strlen(name) + strlen(end));
	k_buf_puts(b, name);
	k_buf_puts(b, end);
	put32(b, 2);
	put64(b, (uint64_t)cols);
	put64(b, (uint64_t)mats);
	put32(b, TYPE_F32);
	put64(b, *off);
	*off += k_align_up((uint64_t)cols * (uint64_t)mats * 4, ALIGN);
}

static void put_zeros(struct k_buf *b)
{
	static const char zeros[ALIGN] = { 0 };

	k_buf_put(b, zeros, (size_t)(k_align_up(b->len, ALIGN) - b->len));
}

static void put_head(struct k_buf *b, const char *arch, const struct k_imatrix_row *rows, int n, const char *dataset, int64_t chunks, int64_t chunk)
{
	uint64_t off = 0;
	char buf[1100];

	k_buf_puts(b, "GGUF");
	put32(b, GGUF_VERSION);
	put64(b, 2 * (uint64_t)n);
	put64(b, 4);
	put_key(b, "general.type", K_GGUF_STRING);
	put_text(b, "imatrix");
	put_key(b, "imatrix.datasets", K_GGUF_ARRAY);
	put32(b, K_GGUF_STRING);
	put64(b, 1);
	put_text(b, dataset);
	put_key(b, "imatrix.chunk_count", K_GGUF_U32);
	put32(b, (uint32_t)chunks);
	put_key(b, "imatrix.chunk_size", K_GGUF_U32);
	put32(b, (uint32_t)chunk);
	for (int i = 0; i < n; i++) {
		const char *ours = bare(rows[i].name), *name = gguf_name(arch, ours, buf, sizeof(buf));

		name = name ? name : ours;
		put_tensor(b, name, ".in_sum2", rows[i].cols, rows[i].mats, &off);
		put_tensor(b, name, ".counts", 1, rows[i].mats, &off);
	}
	put_zeros(b);
}

static void put_row(struct k_buf *b, const struct k_imatrix_row *row)
{
	for (int64_t k = 0; k < row->mats * row->cols; k++)
		k_buf_put(b, &(float){ (float)row->sums[k] }, 4);
	put_zeros(b);
	for (int64_t k = 0; k < row->mats; k++)
		k_buf_put(b, &(float){ (float)row->counts[k] }, 4);
	put_zeros(b);
}

int k_imatrix_write(struct k_sink *sink, const char *arch, const struct k_imatrix_row *rows, int n, const char *dataset, int64_t chunks, int64_t chunk,
	struct k_err *err)
{
	struct k_buf b;
	int r = 0;

	for (int i = -1; r == 0 && i < n; i++) {
		k_buf_init(&b, 0);
		if (i < 0)
			put_head(&b, arch, rows, n, dataset, chunks, chunk);
		else
			put_row(&b, &rows[i]);
		r = k_buf_ok(&b, "activation statistics", err);
		if (r == 0)
			r = k_sink_write(sink, b.data, b.len, err);
		k_buf_fini(&b);
	}
	return r;
}

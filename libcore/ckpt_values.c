/* ckpt_values.c: the check of values that any checkpoint can be put through: of one block in passing, or of everything, in order, on all
 * threads. */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/pool.h"

/* --- one block -------------------------------------------------------------------------------------------------------- */

/* The element of plain bytes that is wrong, said with its place in the tensor. */
static int say_element(const struct k_entry *e, uint64_t first, const char *p, size_t n, struct k_err *err)
{
	size_t size = (size_t)e->type->elem_bytes, at = 0;
	int64_t cols = K_MAX(k_entry_cols(e), 1), rows = K_MAX(k_entry_rows(e), 1), i;
	struct k_err why = *err;
	const char *tail;

	while (at + size < n && e->type->check(p + at, 1, 1, err) == 0)
		at += size;
	i = (int64_t)((first + at) / size);
	if (e->type->check(p + at, 1, 1, err) < 0)
		why = *err;
	tail = strstr(why.msg, " at ");
	return k_err_set(err, K_EFORMAT, "%.*s at row %lld, column %lld", (int)(tail ? (size_t)(tail - why.msg) : strlen(why.msg)), why.msg,
		(long long)(i / cols % rows), (long long)(i % cols));
}

/* A run of granules: all of one slice, the last may be short. */
static int check_granules(const struct k_entry *e, uint64_t off, const char *p, size_t n, struct k_err *err)
{
	int64_t cols = k_entry_cols(e), rows = k_entry_rows(e), row;
	size_t size = e->type->granule_bytes(cols, e->type->granule);

	row = (int64_t)(off / size) * e->type->granule;
	for (; n > 0; row += e->type->granule) {
		int count = (int)K_MIN((int64_t)e->type->granule, rows - row), r = e->type->check(p, cols, count, err);
		size_t step = K_MIN(size, n);

		if (r < 0 && row > 0)
			return k_err_add(err, "counted from row %lld", (long long)row);
		if (r < 0)
			return r;
		p += step;
		n -= step;
	}
	return 0;
}

/* What stands behind the values of a vector that may be longer. */
static int check_tail(const struct k_entry *e, uint64_t off, const char *p, size_t n, struct k_err *err)
{
	size_t size = (size_t)e->type->elem_bytes;
	int64_t first = (int64_t)(off / size), end = first + (int64_t)(n / size);
	float v;

	for (int64_t i = K_MAX(first, e->zeros_from); i < end; i++) {
		e->type->dequant(&v, p + (size_t)(i - first) * size, 1, 1, 0);
		if (v != 0)
			return k_err_set(err, K_EFORMAT, "value %lld is %g, wanted 0 behind %lld values", (long long)i, (double)v, (long long)e->zeros_from);
	}
	return 0;
}

int k_ckpt_check_block(const struct k_ckpt *c, int i, uint64_t off, const void *p, size_t n, struct k_err *err)
{
	const struct k_entry *e = &c->entries[i];
	uint64_t slice = k_entry_slice_bytes(e);
	struct k_err why;
	char name[1100];
	int r = 0;

	if (!e->type->check || n == 0)
		return 0;
	if (!e->type->plain)
		r = check_granules(e, off % slice, p, n, err);
	else if (e->type->check(p, (int64_t)(n / (size_t)e->type->elem_bytes), 1, err) < 0)
		r = say_element(e, off % slice, p, n, err);
	if (r == 0 && e->type->plain && e->zeros_from)
		r = check_tail(e, off, p, n, err);
	if (r == 0)
		return 0;
	why = *err;
	return k_err_set(err, why.code, "'%s': %s: %s", c->path, k_entry_slice_name(e, (int64_t)(off / slice), name, sizeof(name)), why.msg);
}

/* --- all of them ------------------------------------------------------------------------------------------------------ */

/* In order through threads: one item is a leaf of an entry. */
struct check {
	struct k_ckpt *c;
	const struct k_ctx *ctx;
	bool values;
	bool (*wanted)(void *arg, int i, uint64_t off, uint64_t n);     /* NULL: all are */
	void *arg;
	struct k_progress progress;
	int entry;
	uint64_t off;
	/* Values: matrices of nothing but zeros, of which first is one; whether the one at work is such a one so far. */
	int64_t n_zeros;
	char first[256];
	bool zeros;
};
struct block { int entry; size_t n, cap; uint64_t off; char *data; bool zeros; };

/* The next leaf of weights that is wanted, from where k stands on; *n: its bytes. */
static bool next_leaf(struct check *k, uint64_t *n)
{
	for (; k->entry < k->c->n_entries; k->entry++, k->off = 0) {
		const struct k_entry *e = &k->c->entries[k->entry];
		struct k_leaves l;
		uint64_t at;

		if (strcmp(e->role, "file") == 0)
			continue;
		k_entry_leaves(e, &l);
		for (; k->off < e->bytes; k->off += *n) {
			*n = k_leaf_at(&l, k_leaf_of(&l, k->off), &at);
			if (!k->wanted || k->wanted(k->arg, k->entry, k->off, *n))
				return true;
		}
	}
	return false;
}

static int read_block(void *arg, void *item, struct k_err *err)
{
	struct check *k = arg;
	struct block *b = item;
	int r = k_ctx_check(k->ctx, err);
	uint64_t n;

	if (r < 0 || !next_leaf(k, &n))
		return r;
	b->entry = k->entry;
	b->off = k->off;
	b->n = (size_t)n;
	if (b->n > b->cap) {
		char *data = k_realloc(b->data, b->n);

		if (!data)
			return k_err_nomem(err, b->n, "a block of weights");
		b->data = data;
		b->cap = b->n;
	}
	r = k_ckpt_fetch(k->c, k->entry, k->off, b->data, b->n, err);
	k->off += b->n;
	return r < 0 ? r : 1;
}

static int check_block(void *arg, void *item, struct k_err *err)
{
	struct check *k = arg;
	struct block *b = item;

	if (k_ckpt_unpack(k->c, b->entry, b->off, b->data, b->n, err) < 0 || k_ckpt_seen(k->c, b->entry, b->off, b->data, b->n, err) < 0)
		return err->code;
	b->zeros = b->data[0] == 0 && memcmp(b->data, b->data + 1, b->n - 1) == 0;
	return k->values ? k_ckpt_check_block(k->c, b->entry, b->off, b->data, b->n, err) : 0;
}

/* What a download that broke off leaves where the disk was reserved: well formed in every format. A vector may be so: a bias. */
static void note_zeros(struct check *k, const struct block *b)
{
	const struct k_entry *e = &k->c->entries[b->entry];
	uint64_t slice = k_entry_slice_bytes(e);
	char name[1100];

	k->zeros = b->zeros && (k->zeros || b->off % slice == 0);
	if (!k->zeros || (b->off + b->n) % slice || k_entry_rows(e) < 2 || k_entry_cols(e) < 2)
		return;
	if (!k->n_zeros++)
		snprintf(k->first, sizeof(k->first), "%s", k_entry_slice_name(e, (int64_t)(b->off / slice), name, sizeof(name)));
}

static int count_block(void *arg, void *item, struct k_err *err K_UNUSED)
{
	struct check *k = arg;
	struct block *b = item;

	note_zeros(k, b);
	k_progress_step(&k->progress, b->n);
	return 0;
}

static void drop_block(void *arg K_UNUSED, void *item)
{
	struct block *b = item;

	k_free(b->data);
}

static int check_all(struct check *k, struct k_err *err)
{
	struct k_pipe pipe = { .item_bytes = sizeof(struct block), .depth = k_pool_depth(k->ctx, 0, K_LEAF), .read = read_block, .work = check_block,
		.write = count_block, .drop = drop_block, .arg = k };
	struct check ahead = *k;
	const struct k_files *files;
	uint64_t total = 0, n;
	int r = k_ckpt_files(k->c, &files, err);

	if (r < 0)
		return r;
	for (; next_leaf(&ahead, &n); ahead.off += n)
		total += n;
	k_progress_begin(&k->progress, k->ctx->log, "checking", total, "bytes");
	r = k_pool_pipe(k->ctx->pool, &pipe, err);
	k_progress_end(&k->progress);
	if (r == 0 && k->values && k->n_zeros)
		k_logf(k->ctx->log, K_LOG_WARN, "'%s': nothing but zeros in %s%s: was it downloaded whole?", k->c->path, k->first,
			k->n_zeros > 1 ? " and other matrices" : "");
	return r < 0 ? r : k_ckpt_finish(k->c, err);
}

int k_ckpt_check_values(struct k_ckpt *c, const struct k_ctx *ctx, struct k_err *err)
{
	return check_all(&(struct check){ .c = c, .ctx = ctx, .values = true }, err);
}

int k_ckpt_check_digests(struct k_ckpt *c, bool (*wanted)(void *arg, int i, uint64_t off, uint64_t n), void *arg, const struct k_ctx *ctx,
	struct k_err *err)
{
	return check_all(&(struct check){ .c = c, .ctx = ctx, .wanted = wanted, .arg = arg }, err);
}

/* st_write.c: checkpoint -> safetensors in one forward pass, after a plan.
 *
 *   one thread reads a block | all threads: check, and convert or split | one thread writes, in order
 *
 * A block is rows of one slice of one entry. Its values go out at once; its scales wait until the unit they belong to is complete,
 * so what is held is the scales of one matrix and a few blocks. */
#include "libcore/base.h"
#include "formats/st.h"
#include "libcore/log.h"
#include "libcore/pool.h"

enum { BLOCK = 2 << 20, MOST_DEPTH = 64 };

struct block {
	int entry;
	uint64_t off;                   /* in the entry */
	bool ends_unit;
	int64_t n_rows;                 /* of types with granules */
	size_t n_src, n_dst, n_scales;
	uint8_t *src, *dst, *scales;
	float *before, *after;
	size_t cap_src, cap_dst, cap_scales, cap_before, cap_after;
	uint64_t lost;                  /* values that the new type does not have */
};

struct run {
	const struct k_st_plan *p;
	const struct k_st_out *out;
	const struct k_ctx *ctx;
	struct k_progress progress;
	int entry;                      /* next to read, and how far */
	uint64_t off;
	int at;                         /* the writer: entry and unit that are next, the part that is next */
	int64_t unit, part;
	int64_t shard;                  /* that is open; -1: none yet */
	struct k_sink *sink;
	struct k_buf scales;
	uint64_t lost, all_lost;
	int tensors;
};

/* --- read --------------------------------------------------------------------------------------------------------------------- */

static int room(void *pp, size_t *cap, size_t n, struct k_err *err)
{
	void **p = pp, *q;

	if (n <= *cap)
		return 0;
	q = k_realloc(*p, n);
	if (!q)
		return k_err_nomem(err, n, "a block of weights");
	*p = q;
	*cap = n;
	return 0;
}

/* Rows of a block of a type with granules: about half a million values. */
static int64_t block_rows(const struct k_entry *e)
{
	int64_t step = e->type->granule, cols = K_MAX(k_entry_cols(e), 1);

	return K_MIN(k_entry_rows(e), K_MAX(BLOCK / 4 / cols / step, 1) * step);
}

static size_t rows_bytes(const struct k_qtype *t, int64_t cols, int64_t n)
{
	size_t rest = (size_t)(n % t->granule);

	return (size_t)(n / t->granule) * t->granule_bytes(cols, t->granule) + (rest ? t->granule_bytes(cols, (int)rest) : 0);
}

/* Says what the next block is, and makes room for what is read. */
static int shape_block(struct run *r, struct block *b, struct k_err *err)
{
	const struct k_entry *e = &r->p->c->entries[r->entry];
	const struct k_st_from *f = &r->p->from[r->entry];
	uint64_t slice = k_entry_slice_bytes(e), in_slice = r->off % slice;
	int64_t cols = k_entry_cols(e), row;

	b->entry = r->entry;
	b->off = r->off;
	b->lost = 0;
	b->n_scales = 0;
	if (f->how == K_ST_COPY || e->type->plain) {
		size_t most = f->how == K_ST_COPY ? BLOCK : BLOCK / 4 * (size_t)e->type->elem_bytes;

		b->n_src = (size_t)K_MIN((uint64_t)k_entry_block(e, most), slice - in_slice);
		b->n_src = (size_t)K_MIN((uint64_t)b->n_src, f->unit_bytes - r->off % f->unit_bytes);
	} else {
		row = (int64_t)(in_slice / e->type->granule_bytes(cols, e->type->granule)) * e->type->granule;
		b->n_rows = K_MIN(block_rows(e), k_entry_rows(e) - row);
		b->n_src = rows_bytes(e->type, cols, b->n_rows);
	}
	b->ends_unit = (r->off + b->n_src) % f->unit_bytes == 0;
	return room(&b->src, &b->cap_src, b->n_src, err);
}

static int read_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct block *b = item;
	const struct k_ckpt *c = r->p->c;

	if (k_ctx_check(r->ctx, err) < 0)
		return err->code;
	while (r->entry < c->n_entries && (r->p->from[r->entry].units == 0 || r->off == c->entries[r->entry].bytes)) {
		r->entry++;
		r->off = 0;
	}
	if (r->entry == c->n_entries)
		return 0;
	if (shape_block(r, b, err) < 0 || k_ckpt_take(r->p->c, b->entry, b->off, b->src, b->n_src, err) < 0)
		return err->code;
	r->off += b->n_src;
	return 1;
}

static void drop_block(void *arg K_UNUSED, void *item)
{
	struct block *b = item;

	k_free(b->src);
	k_free(b->dst);
	k_free(b->scales);
	k_free(b->before);
	k_free(b->after);
}

/* --- work --------------------------------------------------------------------------------------------------------------------- */

static void unpack(const struct k_qtype *t, const uint8_t *src, float *dst, int64_t cols, int64_t rows)
{
	size_t step = t->granule_bytes(cols, t->granule);

	for (int64_t r = 0; r < rows; r++, dst += cols) {
		int64_t g = r / t->granule, left = rows - g * t->granule;

		t->dequant(dst, src + (size_t)g * step, cols, (int)K_MIN(left, (int64_t)t->granule), (int)(r % t->granule));
	}
}

/* The values of a block as floats; plain ones are a row, wherever they were cut. */
static int convert(const struct run *r, struct block *b, struct k_err *err)
{
	const struct k_entry *e = &r->p->c->entries[b->entry];
	const struct k_qtype *from = e->type, *to = r->p->from[b->entry].to;
	int64_t cols = from->plain ? (int64_t)(b->n_src / (size_t)from->elem_bytes) : k_entry_cols(e), rows = from->plain ? 1 : b->n_rows;
	size_t n = (size_t)rows * (size_t)cols;
	struct k_err why;
	char name[1100];

	b->n_dst = n * (size_t)to->elem_bytes;
	if (room(&b->dst, &b->cap_dst, b->n_dst, err) < 0 || room(&b->before, &b->cap_before, 4 * n, err) < 0 ||
	    room(&b->after, &b->cap_after, 4 * n, err) < 0)
		return err->code;
	unpack(from, b->src, b->before, cols, rows);
	if (to->quant(b->dst, b->before, cols, (int)rows, &(struct k_quant_opts){ 0 }, err) < 0) {
		why = *err;
		return k_err_set(err, why.code, "'%s': %s as %s: %s, counted from byte %llu of the tensor", r->p->c->path,
			k_entry_slice_name(e, (int64_t)(b->off / r->p->from[b->entry].unit_bytes), name, sizeof(name)), to->name, why.msg,
			(unsigned long long)(b->off % r->p->from[b->entry].unit_bytes));
	}
	to->dequant(b->after, b->dst, (int64_t)n, 1, 0);
	for (size_t i = 0; i < n; i++)
		b->lost += b->before[i] != b->after[i];
	return 0;
}

/* Granules into the two planes of a checkpoint. */
static int split(const struct run *r, struct block *b, struct k_err *err)
{
	const struct k_entry *e = &r->p->c->entries[b->entry];
	const struct k_st_split *s = r->p->from[b->entry].split;
	const struct k_qtype *t = e->type;
	int64_t cols = k_entry_cols(e);
	size_t value_row = (size_t)(cols / s->cols_per_value) * (size_t)s->value_bytes;
	size_t scale_row = (size_t)k_div_up(cols, s->scale_cols) * (size_t)s->scale_bytes, step = t->granule_bytes(cols, t->granule);

	b->n_dst = (size_t)b->n_rows * value_row;
	b->n_scales = (size_t)k_div_up(b->n_rows, s->scale_rows) * scale_row;
	if (room(&b->dst, &b->cap_dst, b->n_dst, err) < 0 || room(&b->scales, &b->cap_scales, b->n_scales, err) < 0)
		return err->code;
	for (int64_t row = 0; row < b->n_rows; row += t->granule)
		s->split(t, b->src + (size_t)(row / t->granule) * step, b->dst + (size_t)row * value_row, b->scales + (size_t)(row / s->scale_rows) * scale_row,
			cols, (int)K_MIN((int64_t)t->granule, b->n_rows - row));
	return 0;
}

static int work_block(void *arg, void *item, struct k_err *err)
{
	const struct run *r = arg;
	struct block *b = item;

	if (k_ckpt_check_block(r->p->c, b->entry, b->off, b->src, b->n_src, err) < 0)
		return err->code;
	switch (r->p->from[b->entry].how) {
	case K_ST_COPY: return 0;
	case K_ST_CONVERT: return convert(r, b, err);
	case K_ST_SPLIT: return split(r, b, err);
	}
	return 0;
}

/* --- write -------------------------------------------------------------------------------------------------------------------- */

static int end_shard(struct run *r, struct k_err *err)
{
	struct k_sink *sink = r->sink;

	r->sink = NULL;
	return sink ? r->out->end(r->out->arg, r->shard, sink, err) : 0;
}

static int begin_shard(struct run *r, int64_t shard, struct k_err *err)
{
	const struct k_st_shard *s = &r->p->shards[shard];
	struct k_buf head;
	int rc;

	k_buf_init(&head, 0);
	r->shard = shard;
	rc = k_st_head(r->p, shard, &head, err);
	if (rc == 0)
		rc = r->out->begin(r->out->arg, shard, &r->sink, err);
	if (rc == 0)
		rc = k_sink_reserve(r->sink, head.len + s->bytes, err);
	if (rc == 0)
		rc = k_sink_write(r->sink, head.data, head.len, err);
	k_buf_fini(&head);
	return rc;
}

/* The next part begins: its shard must be open. */
static int go_to_part(struct run *r, struct k_err *err)
{
	const struct k_st_shard *s = r->shard < 0 ? NULL : &r->p->shards[r->shard];

	if (s && r->part < s->first + s->n)
		return 0;
	if (end_shard(r, err) < 0)
		return err->code;
	return begin_shard(r, r->shard + 1, err);
}

static int put_shape(struct run *r, const struct k_entry *e, struct k_err *err)
{
	int64_t wide[2] = { k_entry_rows(e), k_entry_cols(e) };
	int32_t narrow[2] = { (int32_t)wide[0], (int32_t)wide[1] };

	return r->p->parts[r->part].bytes == 16 ? k_sink_write(r->sink, wide, 16, err) : k_sink_write(r->sink, narrow, 8, err);
}

/* The first byte of a unit is next (or, where it has none, would be). */
static int begin_unit(struct run *r, struct k_err *err)
{
	const struct k_st_from *f = &r->p->from[r->at];

	if (go_to_part(r, err) < 0)
		return err->code;
	if (f->how != K_ST_SPLIT || !f->split->has_shape)
		return 0;
	if (put_shape(r, &r->p->c->entries[r->at], err) < 0)
		return err->code;
	r->part++;
	return 0;
}

static int end_unit(struct run *r, struct k_err *err)
{
	const struct k_st_from *f = &r->p->from[r->at];
	int rc = 0;

	if (f->how == K_ST_SPLIT) {
		rc = k_buf_ok(&r->scales, "the scales of a tensor", err);
		if (rc == 0 && r->scales.len)
			rc = k_sink_write(r->sink, r->scales.data, r->scales.len, err);
		k_buf_reset(&r->scales);
		r->part++;
	}
	r->part++;
	r->unit++;
	return rc;
}

static void say_loss(struct run *r)
{
	if (r->lost) {
		k_logf(r->ctx->log, K_LOG_INFO, "%s: %llu values are not exact in the new type", r->p->c->entries[r->at].name, (unsigned long long)r->lost);
		r->all_lost += r->lost;
		r->tensors++;
	}
	r->lost = 0;
}

/* Up to entry `entry`: what lies between has no bytes. */
static int pass_empty(struct run *r, int entry, struct k_err *err)
{
	while (r->at < entry) {
		if (r->unit == r->p->from[r->at].units) {
			say_loss(r);
			r->at++;
			r->unit = 0;
		} else if (begin_unit(r, err) < 0 || end_unit(r, err) < 0) {
			return err->code;
		}
	}
	return 0;
}

static int write_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct block *b = item;
	bool copy = r->p->from[b->entry].how == K_ST_COPY;

	if (pass_empty(r, b->entry, err) < 0)
		return err->code;
	if (b->off % r->p->from[b->entry].unit_bytes == 0 && begin_unit(r, err) < 0)
		return err->code;
	if (k_sink_write(r->sink, copy ? b->src : b->dst, copy ? b->n_src : b->n_dst, err) < 0)
		return err->code;
	k_buf_put(&r->scales, b->scales, b->n_scales);
	r->lost += b->lost;
	k_progress_step(&r->progress, b->n_src);
	return b->ends_unit ? end_unit(r, err) : 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------------------- */

/* A checkpoint without tensors is one empty file. */
static int finish(struct run *r, struct k_err *err)
{
	int rc = pass_empty(r, r->p->c->n_entries, err);

	if (rc == 0 && r->shard < 0)
		rc = begin_shard(r, 0, err);
	if (rc == 0)
		rc = k_ckpt_finish(r->p->c, err);
	return rc < 0 ? rc : end_shard(r, err);
}

int k_st_write(const struct k_st_plan *p, const struct k_st_out *out, const struct k_ctx *ctx, struct k_err *err)
{
	struct run r = { .p = p, .out = out, .ctx = ctx, .shard = -1 };
	struct k_pipe pipe = { .item_bytes = sizeof(struct block), .depth = K_MIN(2 * k_pool_threads(ctx->pool), MOST_DEPTH), .read = read_block,
		.work = work_block, .write = write_block, .drop = drop_block, .arg = &r };
	const struct k_files *files;
	uint64_t total = 0;
	int rc;

	/* A pipe has its side files only once, before the weights. */
	rc = k_ckpt_files(p->c, &files, err);
	for (int i = 0; i < p->c->n_entries; i++)
		total += p->from[i].units ? p->c->entries[i].bytes : 0;
	k_buf_init(&r.scales, 0);
	k_progress_begin(&r.progress, ctx->log, "writing", total, "bytes");
	if (rc == 0)
		rc = k_pool_pipe(ctx->pool, &pipe, err);
	k_progress_end(&r.progress);
	if (rc == 0)
		rc = finish(&r, err);
	k_sink_close(r.sink);
	k_buf_fini(&r.scales);
	if (rc == 0 && r.tensors)
		k_logf(ctx->log, K_LOG_WARN, "%llu values in %d tensors are not exact in the new type", (unsigned long long)r.all_lost, r.tensors);
	return rc;
}

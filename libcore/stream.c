/* stream.c: the one loop of kconvert and kquant.
 *
 *   one thread reads   | all threads: check, and where the type changes bytes -> f32 -> bytes | one thread writes, in order
 *
 * A block is bytes of one slice of one entry. Where the type stays it is copied, cut anywhere that is whole granules; where it changes
 * it has rows that are whole granules of both types. What a block is does not depend on threads, so neither do the bytes. */
#include "libcore/base.h"
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "libcore/stream.h"

enum { BLOCK = 2 << 20, FIXED_MEMORY = 48 << 20, MAX_DEPTH = 64 };

struct block {
	int entry;
	uint64_t off;                   /* in the source's entry */
	int64_t slice, row, n_rows;     /* of blocks whose type changes */
	size_t n_src, n_dst, n_values;
	bool changes;
	void *src, *dst, *before, *after;
	size_t cap_src, cap_dst, cap_before, cap_after;
};

struct run {
	const struct k_stream *s;
	const struct k_ctx *ctx;
	const struct k_files *files;
	struct k_kmf_writer *w;
	struct k_progress progress;
	int entry;                      /* next to read, and how far */
	uint64_t off;
	int done;                       /* entries that the writer was told are complete */
};

/* --- blocks ------------------------------------------------------------------------------------------------------------- */

static bool changes(const struct k_stream *s, int i) { return s->out[i].type != s->in->entries[i].type; }

/* Rows of a block that is whole granules of both types (all granules are powers of two). */
static int64_t block_rows(const struct k_entry *from, const struct k_entry *to)
{
	int64_t step = K_MAX(from->type->granule, to->type->granule), rows = k_entry_rows(from), cols = K_MAX(k_entry_cols(from), 1);

	return K_MIN(rows, K_MAX(BLOCK / 4 / cols / step, 1) * step);
}

/* Bytes of n rows that begin at a granule and end at one, or at the end of the slice. */
static size_t rows_bytes(const struct k_qtype *t, int64_t cols, int64_t n)
{
	size_t rest = (size_t)(n % t->granule);

	return (size_t)(n / t->granule) * t->granule_bytes(cols, t->granule) + (rest ? t->granule_bytes(cols, (int)rest) : 0);
}

static int room(void **p, size_t *cap, size_t n, struct k_err *err)
{
	void *q;

	if (n <= *cap)
		return 0;
	q = k_realloc(*p, n);
	if (!q)
		return k_err_nomem(err, n, "a block of weights");
	*p = q;
	*cap = n;
	return 0;
}

/* Says what the next block of entry r->entry is; fills everything but the bytes. */
static int shape_block(struct run *r, struct block *b, struct k_err *err)
{
	const struct k_entry *from = &r->s->in->entries[r->entry], *to = &r->s->out[r->entry];
	uint64_t slice = k_entry_slice_bytes(from), in_slice = r->off % slice;
	int64_t cols = k_entry_cols(from);

	b->entry = r->entry;
	b->off = r->off;
	b->changes = changes(r->s, r->entry);
	b->slice = (int64_t)(r->off / slice);
	b->row = b->n_rows = 0;
	if (!b->changes) {
		b->n_src = (size_t)K_MIN((uint64_t)k_entry_block(from, BLOCK), slice - in_slice);
		return room(&b->src, &b->cap_src, b->n_src, err);
	}
	b->row = (int64_t)(in_slice / from->type->granule_bytes(cols, from->type->granule)) * from->type->granule;
	b->n_rows = K_MIN(block_rows(from, to), k_entry_rows(from) - b->row);
	b->n_src = rows_bytes(from->type, cols, b->n_rows);
	b->n_dst = rows_bytes(to->type, cols, b->n_rows);
	b->n_values = (size_t)b->n_rows * (size_t)cols;
	if (room(&b->src, &b->cap_src, b->n_src, err) < 0 || room(&b->dst, &b->cap_dst, b->n_dst, err) < 0 ||
	    room(&b->before, &b->cap_before, b->n_values * 4, err) < 0)
		return err->code;
	return r->s->seen ? room(&b->after, &b->cap_after, b->n_values * 4, err) : 0;
}

static void drop_block(void *arg K_UNUSED, void *item)
{
	struct block *b = item;

	k_free(b->src);
	k_free(b->dst);
	k_free(b->before);
	k_free(b->after);
}

/* --- read ----------------------------------------------------------------------------------------------------------------- */

/* Side files were read already, all of them: a pipe has them only once. */
static int read_bytes(struct run *r, struct block *b, struct k_err *err)
{
	const struct k_entry *e = &r->s->in->entries[b->entry];
	const struct k_file *f;

	if (strcmp(e->role, "file") != 0)
		return k_ckpt_read(r->s->in, b->entry, b->off, b->src, b->n_src, err);
	f = k_files_find(r->files, e->name);
	K_ASSERT(f && b->off + b->n_src <= f->len);
	memcpy(b->src, f->data + b->off, b->n_src);
	return 0;
}

static int read_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct block *b = item;

	if (k_ctx_check(r->ctx, err) < 0)
		return err->code;
	while (r->entry < r->s->in->n_entries && r->off == r->s->in->entries[r->entry].bytes) {
		r->entry++;
		r->off = 0;
	}
	if (r->entry == r->s->in->n_entries)
		return 0;
	if (shape_block(r, b, err) < 0 || read_bytes(r, b, err) < 0)
		return err->code;
	r->off += b->n_src;
	return 1;
}

/* --- work ----------------------------------------------------------------------------------------------------------------- */

static void unpack(const struct k_qtype *t, const void *src, float *dst, int64_t cols, int64_t rows)
{
	size_t step = t->granule_bytes(cols, t->granule);

	for (int64_t r = 0; r < rows; r++, dst += cols) {
		int64_t g = r / t->granule, in = rows - g * t->granule;

		t->dequant(dst, (const char *)src + (size_t)g * step, cols, (int)K_MIN(in, (int64_t)t->granule), (int)(r % t->granule));
	}
}

static int pack(const struct k_qtype *t, void *dst, const float *src, int64_t cols, int64_t rows, const struct k_quant_opts *o, struct k_err *err)
{
	size_t step = t->granule_bytes(cols, t->granule);

	for (int64_t r = 0; r < rows; r += t->granule) {
		int n = (int)K_MIN(rows - r, (int64_t)t->granule), rc;

		rc = t->quant((char *)dst + (size_t)(r / t->granule) * step, src + r * cols, cols, n, o, err);
		if (rc < 0)
			return r ? k_err_add(err, "counted from row %lld", (long long)r) : rc;
	}
	return 0;
}

static int work_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct block *b = item;
	const struct k_entry *from = &r->s->in->entries[b->entry], *to = &r->s->out[b->entry];
	int64_t cols = k_entry_cols(from);
	char name[1100];
	struct k_err why;

	if (b->changes && !r->s->seen && r->ctx->codec && r->ctx->codec->convert(to->type, b->dst, from->type, b->src, cols, b->n_rows, &r->s->quant))
		return 0;
	if (k_ckpt_check_block(r->s->in, b->entry, b->off, b->src, b->n_src, err) < 0)
		return err->code;
	if (!b->changes)
		return 0;
	unpack(from->type, b->src, b->before, cols, b->n_rows);
	if (pack(to->type, b->dst, b->before, cols, b->n_rows, &r->s->quant, err) < 0) {
		why = *err;
		return k_err_set(err, why.code, "'%s': %s as %s: %s, in the block that begins at row %lld", r->s->in->path,
			k_entry_slice_name(from, b->slice, name, sizeof(name)), to->type->name, why.msg, (long long)b->row);
	}
	if (r->s->seen)
		unpack(to->type, b->dst, b->after, cols, b->n_rows);
	return 0;
}

/* --- write ---------------------------------------------------------------------------------------------------------------- */

/* Entries that are complete before entry `end`. */
static int tell_done(struct run *r, int end, struct k_err *err)
{
	for (; r->done < end; r->done++) {
		if (!r->s->done)
			continue;
		if (r->s->done(r->s->arg, r->done, k_kmf_writer_digest(r->w, r->done), err) < 0)
			return err->code;
	}
	return 0;
}

static int write_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct block *b = item;
	const struct k_stream *s = r->s;
	const void *dst = b->changes ? b->dst : b->src;
	size_t n_dst = b->changes ? b->n_dst : b->n_src;

	if (tell_done(r, b->entry, err) < 0)
		return err->code;
	if (s->seen && (b->changes || strchr(s->out[b->entry].name, '*')) &&
	    s->seen(s->arg, b->entry, b->slice, b->row, b->n_rows, b->before, b->after, b->src, b->n_src, dst, n_dst, err) < 0)
		return err->code;
	k_progress_step(&r->progress, b->n_src);
	return k_kmf_put(r->w, dst, n_dst, err);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

/* Most bytes that one block of any entry takes. */
static uint64_t block_memory(const struct k_stream *s)
{
	uint64_t most = 0;

	for (int i = 0; i < s->in->n_entries; i++) {
		const struct k_entry *from = &s->in->entries[i], *to = &s->out[i];
		int64_t cols = k_entry_cols(from), rows;
		uint64_t n;

		if (!changes(s, i)) {
			most = K_MAX(most, (uint64_t)k_entry_block(from, BLOCK));
			continue;
		}
		rows = block_rows(from, to);
		n = rows_bytes(from->type, cols, rows) + rows_bytes(to->type, cols, rows) + (uint64_t)rows * (uint64_t)cols * (s->seen ? 8 : 4);
		most = K_MAX(most, n);
	}
	return most;
}

static uint64_t head_memory(const struct k_stream *s)
{
	uint64_t n = s->config ? s->config_len : s->in->config_len;

	for (int i = 0; i < s->in->n_entries; i++)
		n += 2 * sizeof(struct k_entry) + 2 * strlen(s->in->entries[i].name) + 400;
	return n;
}

/* Blocks in flight: two a thread, fewer where they would take more than half of the ceiling or of what is left of it beside the
 * rest, but two at least: what those need is what a job needs, whatever the threads. */
static int depth(const struct k_stream *s, const struct k_ctx *ctx)
{
	uint64_t ceiling = ctx->max_memory ? ctx->max_memory : (uint64_t)512 << 20, one = K_MAX(block_memory(s), 1);
	uint64_t rest = FIXED_MEMORY + head_memory(s), room = ceiling > rest ? K_MIN(ceiling / 2, ceiling - rest) : 0;
	int want = K_MIN(2 * k_pool_threads(ctx->pool), MAX_DEPTH);

	return (int)K_MAX(2, K_MIN((uint64_t)want, room / one));
}

uint64_t k_stream_memory(const struct k_stream *s, const struct k_ctx *ctx)
{
	return FIXED_MEMORY + head_memory(s) + (uint64_t)depth(s, ctx) * block_memory(s);
}

static int begin(struct run *r, struct k_sink *sink, struct k_err *err)
{
	const struct k_stream *s = r->s;
	struct k_kmf_head head = { .arch = s->in->arch, .config = s->config ? s->config : s->in->config,
		.config_len = s->config ? s->config_len : s->in->config_len, .n_entries = s->in->n_entries, .entries = s->out, .history = s->history };

	return k_kmf_begin(&r->w, sink, &head, err);
}

int k_stream_run(const struct k_stream *s, struct k_sink *sink, const struct k_ctx *ctx, const char *what, struct k_err *err)
{
	struct run r = { .s = s, .ctx = ctx };
	struct k_pipe pipe = { .item_bytes = sizeof(struct block), .depth = depth(s, ctx), .read = read_block, .work = work_block, .write = write_block,
		.drop = drop_block, .arg = &r };
	uint64_t total = 0;
	int rc = k_ckpt_files(s->in, &r.files, err);

	for (int i = 0; i < s->in->n_entries; i++)
		total += s->in->entries[i].bytes;
	if (rc == 0)
		rc = begin(&r, sink, err);
	if (rc < 0)
		return rc;
	k_progress_begin(&r.progress, ctx->log, what, total, "bytes");
	rc = k_pool_pipe(ctx->pool, &pipe, err);
	k_progress_end(&r.progress);
	if (rc == 0)
		rc = tell_done(&r, s->in->n_entries, err);
	if (rc == 0)
		rc = k_ckpt_finish(s->in, err);
	if (rc == 0 && s->verdict)
		rc = s->verdict(s->arg, err);
	if (rc == 0)
		rc = k_kmf_end(r.w, err);
	k_kmf_writer_free(r.w);
	return rc;
}

/* stream.c: the one loop of the converters.
 *
 *   one thread reads   | all threads: check, values, make, digest | one thread shows it to watchers and writes, in order
 *
 * A run has up to two passes. `again` goes over the blocks that the journal of an interrupted run has: they are read back and
 * compared, and the first that is not what the journal says ends it. `fresh` makes the rest. A block is the same in both. */
#include "libcore/base.h"
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "libcore/stream.h"

enum { FIXED_MEMORY = 48 << 20, MAX_DEPTH = 64 };

/* How an entry is walked. */
struct geometry {
	struct k_cut cut;
	int64_t slices, rows, cols;     /* flat: one slice of all rows */
	uint64_t slice_bytes;
	struct k_leaves leaves;
	int64_t step;                   /* rows of a block */
};

struct slot {
	struct k_block b;
	struct k_record record;
	bool differs;                   /* again: not what the journal says */
	bool copy;                      /* dst[0] is src */
	struct k_err no;                /* what target.make said of it, where it is K_ENO; code 0: nothing */
	uint8_t leaf[32];
	void *src, *before, *after, *held, *dst[2];
	size_t cap_src, cap_before, cap_after, cap_held, cap_dst[2];
};

struct run {
	const struct k_stream *s;
	struct k_out *out;
	const struct k_ctx *ctx;
	const struct k_files *files;
	struct k_progress progress;
	struct geometry g;              /* of entry */
	bool wants_values, again;
	int part, n_parts;
	uint64_t total;                 /* bytes of the source that are converted */
	int entry;                      /* next to read, and how far */
	uint64_t off, done;             /* in it; of total */
	int64_t index, mine, first;     /* of the next block; of those of this part; first of this part that is made */
	void *held; size_t cap_held, n_held;    /* the last entry that was K_CUT_HOLD */
	struct k_err no;                /* of the first block that has one */
	int no_entry; int64_t no_slice; /* the last that was named */
};

/* --- blocks ------------------------------------------------------------------------------------------------------------- */

/* Rows of a block: whole leaves of the source, whole granules of both sides. All of these are powers of two. */
static int64_t rows_of_block(const struct k_entry *e, const struct geometry *g)
{
	int64_t granule = e->type->granule, leaf, rows = K_MAX(g->cut.step, granule);
	size_t bytes = e->type->granule_bytes(g->cols, e->type->granule);

	leaf = bytes && g->leaves.leaf >= bytes ? (int64_t)(g->leaves.leaf / bytes) * granule : granule;
	rows = K_MAX(rows, leaf);
	while (rows < g->rows && k_qtype_rows_bytes(e->type, g->cols, 2 * rows) <= K_BLOCK)
		rows *= 2;
	return rows;
}

static void geometry_of(const struct k_stream *s, int entry, struct geometry *g)
{
	const struct k_entry *e = &s->in->entries[entry];
	int64_t slices = k_entry_slices(e);

	*g = (struct geometry){ .slices = slices, .rows = k_entry_rows(e), .cols = k_entry_cols(e), .slice_bytes = k_entry_slice_bytes(e) };
	s->target->cut(s->target, entry, &g->cut);
	if (g->cut.flat) {
		g->slices = 1;
		g->rows *= slices;
		g->slice_bytes = e->bytes;
	}
	k_entry_leaves(e, &g->leaves);
	g->step = g->cut.how == K_CUT_ROWS ? rows_of_block(e, g) : g->rows;
}

static int room(void **p, size_t *cap, size_t n, struct k_err *err)
{
	if (n <= *cap)
		return 0;
	k_free(*p);
	*cap = 0;
	*p = k_aligned(n);
	if (!*p)
		return k_err_nomem(err, n, "a block of weights");
	*cap = n;
	return 0;
}

/* The next entry that has blocks. */
static bool next_entry(struct run *r)
{
	while (r->entry < r->s->in->n_entries) {
		if (r->off == 0)
			geometry_of(r->s, r->entry, &r->g);
		if (r->off < r->s->in->entries[r->entry].bytes)
			return true;
		r->entry++;
		r->off = 0;
	}
	return false;
}

/* Says what the next block is. */
static void shape(struct run *r, struct slot *x)
{
	const struct geometry *g = &r->g;
	const struct k_entry *e = &r->s->in->entries[r->entry];
	struct k_block *b = &x->b;
	uint64_t begin, in_slice = r->off % g->slice_bytes;

	*b = (struct k_block){ .index = r->index, .entry = r->entry, .off = r->off, .slice = (int64_t)(r->off / g->slice_bytes) };
	if (g->cut.how == K_CUT_BYTES || g->cut.how == K_CUT_SKIP) {
		b->n_src = (size_t)k_leaf_at(&g->leaves, k_leaf_of(&g->leaves, r->off), &begin);
	} else {
		b->row = (int64_t)(in_slice / e->type->granule_bytes(g->cols, e->type->granule)) * e->type->granule;
		b->n_rows = K_MIN(g->step, g->rows - b->row);
		b->n_src = k_qtype_rows_bytes(e->type, g->cols, b->n_rows);
	}
	b->ends_entry = r->off + b->n_src == e->bytes;
	b->ends_slice = in_slice + b->n_src >= g->slice_bytes;
}

static bool has_values(const struct run *r, const struct k_block *b)
{
	return b->n_rows > 0 && r->s->in->entries[b->entry].type->dequant;
}

static void drop_slot(void *arg K_UNUSED, void *item)
{
	struct slot *x = item;

	k_free(x->src);
	k_free(x->before);
	k_free(x->after);
	k_free(x->held);
	k_free(x->dst[0]);
	k_free(x->dst[1]);
}

/* Memory for the block, and where its bytes go. */
static int prepare(struct run *r, struct slot *x, struct k_err *err)
{
	const struct k_target *t = r->s->target;
	struct k_block *b = &x->b;
	bool values = has_values(r, b) && (r->g.cut.floats || r->wants_values);

	if (room(&x->src, &x->cap_src, b->n_src, err) < 0)
		return err->code;
	b->src = x->src;
	if (r->g.cut.how == K_CUT_SKIP)
		return 0;
	t->place(t, b);
	x->copy = r->g.cut.how == K_CUT_BYTES && !r->again;
	for (int i = 0; i < 2; i++) {
		if (!x->copy && room(&x->dst[i], &x->cap_dst[i], b->dst[i].n, err) < 0)
			return err->code;
		b->dst[i].p = x->copy ? x->src : x->dst[i];
	}
	if (r->g.cut.held) {
		if (room(&x->held, &x->cap_held, r->n_held, err) < 0)
			return err->code;
		memcpy(x->held, r->held, r->n_held);
		b->held = x->held;
		b->n_held = r->n_held;
	}
	if (!values)
		return 0;
	b->n_values = b->n_rows * r->g.cols;
	if (room(&x->before, &x->cap_before, (size_t)b->n_values * 4, err) < 0 ||
	    (r->wants_values && room(&x->after, &x->cap_after, (size_t)b->n_values * 4, err) < 0))
		return err->code;
	b->before = x->before;
	b->after = r->wants_values ? x->after : NULL;
	return 0;
}

/* --- read ----------------------------------------------------------------------------------------------------------------- */

/* Side files were read already, all of them: a pipe has them only once. */
static int read_source(struct run *r, struct slot *x, struct k_err *err)
{
	const struct k_entry *e = &r->s->in->entries[x->b.entry];
	const struct k_file *f;

	if (strcmp(e->role, "file") != 0)
		return k_ckpt_fetch(r->s->in, x->b.entry, x->b.off, x->src, x->b.n_src, err);
	f = k_files_find(r->files, e->name);
	K_ASSERT(f && x->b.off + x->b.n_src <= f->len);
	memcpy(x->src, f->data + x->b.off, x->b.n_src);
	return 0;
}

/* What the interrupted run wrote of a block. */
static int read_back(struct run *r, struct slot *x, struct k_err *err)
{
	struct k_block *b = &x->b;

	x->differs = false;
	if (k_out_get(r->out, r->mine, &x->record, err) < 0)
		return err->code;
	for (int i = 0; i < 2; i++) {
		x->differs |= x->record.n[i] != b->dst[i].n || (b->dst[i].n && (x->record.at[i] != b->dst[i].at || x->record.file != b->dst[i].file));
		if (b->dst[i].n && !x->differs && k_out_read(r->out, b->dst[i].file, b->dst[i].at, b->dst[i].p, b->dst[i].n, err) < 0) {
			/* A file that is shorter than its journal says was cut after the fact. */
			if (err->code != K_ETRUNC)
				return err->code;
			x->differs = true;
		}
	}
	return 0;
}

/* Keeps an entry for the next one: whatever part or pass that belongs to, these are a few rows. */
static int hold(struct run *r, struct k_err *err)
{
	struct k_ckpt *in = r->s->in;
	size_t n = (size_t)in->entries[r->entry].bytes;

	K_ASSERT(k_entry_slices(&in->entries[r->entry]) == 1);
	if (room(&r->held, &r->cap_held, n, err) < 0 || k_ckpt_take(in, r->entry, 0, r->held, n, err) < 0 ||
	    k_ckpt_check_block(in, r->entry, 0, r->held, n, err) < 0)
		return err->code;
	r->n_held = n;
	r->off = n;
	return 0;
}

static void move_on(struct run *r, const struct k_block *b)
{
	r->off += b->n_src;
	if (r->g.cut.how != K_CUT_SKIP) {
		r->done += b->n_src;
		r->index++;
	}
}

/* Which part a block belongs to is where it begins in the source. */
static bool of_this_part(const struct run *r)
{
	return !r->n_parts || (int)((unsigned __int128)r->done * (unsigned)r->n_parts / r->total) + 1 == r->part;
}

static bool of_this_pass(const struct run *r) { return r->again ? r->mine < k_out_done(r->out) : r->mine >= r->first; }

static int read_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct slot *x = item;
	bool skip, mine;
	int rc = k_ctx_check(r->ctx, err);

	while (rc == 0 && next_entry(r)) {
		if (r->g.cut.how == K_CUT_HOLD) {
			rc = hold(r, err);
			continue;
		}
		shape(r, x);
		skip = r->g.cut.how == K_CUT_SKIP;
		mine = !skip && of_this_part(r);
		if (r->again && r->mine == k_out_done(r->out))
			return 0;
		if ((skip && !r->s->in->sequential) || (!skip && !(mine && of_this_pass(r)))) {
			r->mine += mine;
			move_on(r, &x->b);
			continue;
		}
		rc = prepare(r, x, err);
		if (rc == 0 && (!r->again || r->s->n_watch))
			rc = read_source(r, x, err);
		if (rc == 0 && r->again)
			rc = read_back(r, x, err);
		if (rc < 0)
			return rc;
		r->mine += mine;
		move_on(r, &x->b);
		return 1;
	}
	return rc;
}

/* --- work ----------------------------------------------------------------------------------------------------------------- */

static int make(struct run *r, struct slot *x, struct k_err *err)
{
	const struct k_target *t = r->s->target;
	const struct k_entry *e = &r->s->in->entries[x->b.entry];
	char name[1100];
	struct k_err why;

	x->no.code = 0;
	if (k_ckpt_check_block(r->s->in, x->b.entry, x->b.off, x->b.src, x->b.n_src, err) < 0)
		return err->code;
	if (x->copy || !t->make || t->make(t, &x->b, err) == 0)
		return 0;
	why = *err;
	k_err_set(err, why.code, "'%s': %s: %s, in the block that begins at row %lld", r->s->in->path,
		k_entry_slice_name(e, x->b.slice, name, sizeof(name)), why.msg, (long long)x->b.row);
	if (why.code != K_ENO)
		return why.code;
	x->no = *err;
	return 0;
}

static int digest(const struct k_block *b, uint8_t out[32], struct k_err *err)
{
	struct k_sha256 *h;

	if (b->leaf) {
		memcpy(out, b->leaf, 32);
		return 0;
	}
	if (b->dst[1].n == 0)
		return k_sha256_once(b->dst[0].p, b->dst[0].n, out, err);
	if (k_sha256_new(&h, err) < 0)
		return err->code;
	k_sha256_add(h, b->dst[0].p, b->dst[0].n);
	k_sha256_add(h, b->dst[1].p, b->dst[1].n);
	k_sha256_end(h, out);
	k_sha256_free(h);
	return 0;
}

static void fill_record(struct slot *x)
{
	const struct k_block *b = &x->b;

	x->record = (struct k_record){ .file = b->dst[0].file, .at = { b->dst[0].at, b->dst[1].at }, .n = { b->dst[0].n, b->dst[1].n } };
}

static int judge_old(struct slot *x, struct k_err *err)
{
	uint8_t have[32];

	if (digest(&x->b, have, err) < 0)
		return err->code;
	x->differs |= memcmp(have, x->record.digest, 32) != 0;
	return 0;
}

/* Is the source what its digests say? A block that is copied is one leaf on both sides, so its digest is made once. */
static int check_source(struct run *r, struct slot *x, struct k_err *err)
{
	struct k_block *b = &x->b;
	struct k_ckpt *in = r->s->in;
	/* Side files were compared when they were read. */
	bool is_file = strcmp(in->entries[b->entry].role, "file") == 0;

	if (!is_file && k_ckpt_unpack(in, b->entry, b->off, x->src, b->n_src, err) < 0)
		return err->code;
	if (!x->copy)
		return is_file ? 0 : k_ckpt_seen(in, b->entry, b->off, b->src, b->n_src, err);
	if (!in->ops->leaf && !r->s->target->note)
		return 0;
	if (k_sha256_once(b->src, b->n_src, x->leaf, err) < 0)
		return err->code;
	b->leaf = x->leaf;
	return is_file ? 0 : k_ckpt_leaf(in, b->entry, b->off, x->leaf, err);
}

static int work_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct slot *x = item;
	struct k_block *b = &x->b;
	const struct k_target *t = r->s->target;
	const struct k_entry *e = &r->s->in->entries[b->entry];
	bool has_source = !r->again || r->s->n_watch;

	if (has_source && check_source(r, x, err) < 0)
		return err->code;
	if (!b->dst[0].n && !b->dst[1].n)
		return 0;
	if (b->before && has_source)
		k_qtype_unpack(e->type, b->src, b->before, b->n_values / K_MAX(b->n_rows, 1), b->n_rows);
	if (r->again) {
		if (x->differs || judge_old(x, err) < 0 || x->differs)
			return x->differs ? 0 : err->code;
	} else {
		if (make(r, x, err) < 0)
			return err->code;
		fill_record(x);
		if (k_out_journals(r->out) && digest(b, x->record.digest, err) < 0)
			return err->code;
	}
	if (b->after && has_source && t->decode)
		t->decode(t, b);
	else if (b->after && has_source)
		memcpy(b->after, b->before, (size_t)b->n_values * 4);
	return t->note ? t->note(t, b, err) : 0;
}

/* --- write ---------------------------------------------------------------------------------------------------------------- */

enum { STOP_AGAIN = -1000 };            /* a block differs: the rest is made anew; never leaves this file */

/* Each tensor is named, an expert by itself; the answer is the first. */
static void note_no(struct run *r, const struct slot *x)
{
	if (r->no.code && r->no_entry == x->b.entry && r->no_slice == x->b.slice)
		return;
	k_logf(r->ctx->log, K_LOG_WARN, "%s", x->no.msg);
	if (!r->no.code)
		r->no = x->no;
	r->no_entry = x->b.entry;
	r->no_slice = x->b.slice;
}

static int write_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct slot *x = item;
	struct k_block *b = &x->b;

	k_progress_step(&r->progress, b->n_src);
	if (!b->dst[0].n && !b->dst[1].n)
		return 0;
	if (r->again && x->differs)
		return STOP_AGAIN;
	for (int i = 0; i < r->s->n_watch; i++)
		if (r->s->watch[i].block && r->s->watch[i].block(r->s->watch[i].arg, b, err) < 0)
			return err->code;
	if (r->again) {
		r->first++;
		return 0;
	}
	if (x->no.code)
		note_no(r, x);
	if (r->s->target->settle && r->s->target->settle(r->s->target, b, err) < 0)
		return err->code;
	for (int i = 0; i < 2; i++)
		if (k_out_put(r->out, b->dst[i].file, b->dst[i].at, b->dst[i].p, b->dst[i].n, i == 1, err) < 0)
			return err->code;
	/* From the first refusal on nothing is kept for a run that resumes: it has to come to the same answer. */
	return r->no.code ? 0 : k_out_record(r->out, &x->record, err);
}

/* --- memory --------------------------------------------------------------------------------------------------------------- */

static bool wants_values(const struct k_stream *s)
{
	for (int i = 0; i < s->n_watch; i++)
		if (s->watch[i].values)
			return true;
	return false;
}

/* Most bytes that one block of any entry takes: the first of an entry is its largest. */
static uint64_t block_memory(const struct k_stream *s)
{
	struct run r = { .s = s, .wants_values = wants_values(s) };
	uint64_t most = 0, n;

	for (r.entry = 0; r.entry < s->in->n_entries; r.entry++) {
		struct slot x = { 0 };

		if (s->in->entries[r.entry].bytes == 0)
			continue;
		geometry_of(s, r.entry, &r.g);
		if (r.g.cut.how == K_CUT_HOLD)
			continue;
		shape(&r, &x);
		n = (s->in->ops->unpack ? 3 : 1) * (uint64_t)x.b.n_src;
		if (r.g.cut.how != K_CUT_SKIP) {
			s->target->place(s->target, &x.b);
			n += r.g.cut.how == K_CUT_BYTES ? 0 : x.b.dst[0].n + x.b.dst[1].n;
			n += (uint64_t)s->target->beside * x.b.dst[0].n;
			n += r.g.cut.held ? 2 * s->in->entries[r.entry - 1].bytes : 0;
			if (has_values(&r, &x.b) && (r.g.cut.floats || r.wants_values))
				n += (uint64_t)x.b.n_rows * (uint64_t)r.g.cols * (r.wants_values ? 8 : 4);
		}
		most = K_MAX(most, n);
	}
	return most;
}

uint64_t k_stream_rest(const struct k_stream *s)
{
	uint64_t n = K_MAX((uint64_t)FIXED_MEMORY, s->held) + s->in->config_len;

	for (int i = 0; i < s->in->n_entries; i++) {
		struct k_leaves l;

		k_entry_leaves(&s->in->entries[i], &l);
		n += 2 * sizeof(struct k_entry) + 2 * strlen(s->in->entries[i].name) + 400 + 64 * l.n;
	}
	return n;
}

/* Of many threads not all have two blocks: the disk is full of work without. */
static int depth(const struct k_stream *s, const struct k_ctx *ctx)
{
	return K_MIN(k_pool_depth(ctx, k_stream_rest(s), block_memory(s)), MAX_DEPTH);
}

uint64_t k_stream_memory(const struct k_stream *s, const struct k_ctx *ctx)
{
	return k_stream_rest(s) + (uint64_t)depth(s, ctx) * block_memory(s);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

static int pass(struct run *r, bool again, struct k_err *err)
{
	struct k_pipe pipe = { .item_bytes = sizeof(struct slot), .depth = depth(r->s, r->ctx), .read = read_block, .work = work_block,
		.write = write_block, .drop = drop_slot, .arg = r };

	r->again = again;
	r->entry = 0;
	r->off = r->done = 0;
	r->index = r->mine = 0;
	return k_pool_pipe(r->ctx->pool, &pipe, err);
}

/* Blocks that the journal has and that are there are kept; a pipe has to be read again from its beginning, so nothing is. */
static int look_back(struct run *r, struct k_err *err)
{
	int64_t n = k_out_done(r->out);
	int rc = 0;

	if (n && !r->s->in->sequential) {
		rc = pass(r, true, err);
		if (rc < 0 && rc != STOP_AGAIN)
			return rc;
	}
	if (r->first < n)
		rc = k_out_cut(r->out, r->first, err);
	else
		rc = 0;
	if (rc == 0 && n)
		k_logf(r->ctx->log, K_LOG_INFO, "'%s': %lld of %lld blocks of the interrupted run are kept", r->s->in->path, (long long)r->first, (long long)n);
	return rc;
}

static uint64_t total_bytes(const struct k_stream *s)
{
	uint64_t total = 0;

	for (int i = 0; i < s->in->n_entries; i++) {
		struct geometry g;

		geometry_of(s, i, &g);
		total += g.cut.how == K_CUT_SKIP || g.cut.how == K_CUT_HOLD ? 0 : s->in->entries[i].bytes;
	}
	return total;
}

static int ask(const struct k_stream *s, struct k_err *err)
{
	for (int i = 0; i < s->n_watch; i++)
		if (s->watch[i].verdict && s->watch[i].verdict(s->watch[i].arg, err) < 0)
			return err->code;
	return 0;
}

int k_stream_run(const struct k_stream *s, struct k_out *out, const struct k_ctx *ctx, struct k_err *err)
{
	struct run r = { .s = s, .out = out, .ctx = ctx, .wants_values = wants_values(s), .part = s->part, .n_parts = s->n_parts };
	int rc;

	if (s->n_parts && s->in->sequential)
		return k_err_set(err, K_EUSAGE, "'%s': a part cannot be made from a pipe: it is read from its beginning only", s->in->path);
	rc = k_ckpt_files(s->in, &r.files, err);
	if (rc < 0)
		return rc;
	r.total = total_bytes(s);
	k_progress_begin(&r.progress, ctx->log, s->what, s->n_parts ? r.total / (uint64_t)s->n_parts : r.total, "bytes");
	rc = look_back(&r, err);
	if (rc == 0)
		rc = pass(&r, false, err);
	k_free(r.held);
	k_progress_end(&r.progress);
	if (rc == 0)
		rc = k_ckpt_finish(s->in, err);
	if (rc == 0)
		rc = ask(s, err);
	if (rc == 0 && r.no.code) {
		*err = r.no;
		rc = r.no.code;
	}
	if (rc == 0 && s->target->end && !s->n_parts)
		rc = s->target->end(s->target, out, err);
	return rc;
}

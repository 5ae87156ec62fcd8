/* gguf_target.c: a GGUF, in one file or in several, as what a stream makes of a checkpoint. Heads are constants; which bytes an entry
 * becomes, and where they lie, says the plan. */
#include "libcore/base.h"
#include <stdio.h>
#include "formats/gguf_write.h"
#include "libcore/stream.h"

struct gguf {
	struct k_target t;
	struct k_gguf_plan *plan;
	struct k_out_file *files;
	struct k_out_const *heads;      /* one a file, the first in two pieces where the plan has rope */
};

static const struct k_gguf_from *from_of(const struct gguf *g, int entry) { return &g->plan->from[entry]; }
static const struct k_gguf_part *part_of(const struct gguf *g, int entry, int k) { return &g->plan->parts[from_of(g, entry)->part + k]; }

static bool is_power(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

static void cut(const struct k_target *t, int entry, struct k_cut *out)
{
	const struct gguf *g = t->arg;
	const struct k_gguf_from *f = from_of(g, entry);
	const struct k_entry *e = &g->plan->c->entries[entry];

	*out = (struct k_cut){ .how = K_CUT_SKIP };
	if (!f->way)
		return;
	if (f->way->cut == K_GGUF_HOLD) {
		out->how = K_CUT_HOLD;
		return;
	}
	if (f->way->cut == K_GGUF_BYTES && !f->order) {
		out->how = K_CUT_BYTES;
		return;
	}
	/* Rows move within a head. */
	out->how = f->way->cut == K_GGUF_SLICE || (f->order && !is_power(f->unit)) ? K_CUT_SLICE : K_CUT_ROWS;
	out->step = f->order ? f->unit : 1;
	out->floats = f->way->values && !(f->way->as_it_is && part_of(g, entry, 0)->type == e->type);
	out->held = f->way->held;
	out->flat = out->how == K_CUT_ROWS && e->type->plain && !f->order && !strchr(e->name, '*');
}

static struct k_plane plane(const struct gguf *g, const struct k_gguf_part *p, uint64_t at, size_t n)
{
	return (struct k_plane){ .file = p->file, .at = g->plan->shards[p->file].head.len + p->at + at, .n = n };
}

static void place(const struct k_target *t, struct k_block *b)
{
	const struct gguf *g = t->arg;
	const struct k_entry *e = &g->plan->c->entries[b->entry];
	const struct k_gguf_part *p = part_of(g, b->entry, 0);
	size_t row_bytes = p->type->granule_bytes(k_entry_cols(e), 1);

	if (from_of(g, b->entry)->way->cut == K_GGUF_SLICE) {
		b->dst[0] = plane(g, p, 0, (size_t)p->bytes);
		if (from_of(g, b->entry)->n_parts == 2)
			b->dst[1] = plane(g, p + 1, 0, (size_t)p[1].bytes);
	} else if (b->n_rows == 0) {
		b->dst[0] = plane(g, p, b->off, b->n_src);
	} else {
		uint64_t at = K_MIN((uint64_t)(b->slice * k_entry_rows(e) + b->row) * row_bytes, p->bytes);

		/* Of what has zeros behind its end these are left out. */
		b->dst[0] = plane(g, p, at, (size_t)K_MIN((uint64_t)b->n_rows * row_bytes, p->bytes - at));
	}
}

static struct k_gguf_rows rows_of(const struct gguf *g, const struct k_block *b)
{
	return (struct k_gguf_rows){ .plan = g->plan, .entry = b->entry, .row = b->row, .n_rows = b->n_rows, .src = b->src, .values = b->before,
		.held = b->held };
}

static int make(const struct k_target *t, struct k_block *b, struct k_err *err)
{
	struct k_gguf_rows r = rows_of(t->arg, b);

	return k_gguf_make_rows(&r, (void *const[]){ b->dst[0].p, b->dst[1].p }, err);
}

static void decode(const struct k_target *t, struct k_block *b)
{
	struct k_gguf_rows r = rows_of(t->arg, b);

	k_gguf_decode_rows(&r, (const void *const[]){ b->dst[0].p, b->dst[1].p }, b->after);
}

/* --- what a certificate says ---------------------------------------------------------------------------------------------- */

static void name(const struct k_target *t, int entry, int64_t slice K_UNUSED, int which, char *buf, size_t n)
{
	snprintf(buf, n, "%s", part_of(t->arg, entry, which)->name);
}

/* The types that move codes and are chosen here, not by the user. */
static bool must_hold(const struct k_target *t, int entry)
{
	const struct k_gguf_way *way = from_of(t->arg, entry)->way;

	return way == &k_gguf_int4 || way == &k_gguf_int8;
}

static const char *derived(const struct k_target *t, int entry)
{
	const struct k_gguf_way *way = from_of(t->arg, entry)->way;

	return way == &k_gguf_neg_exp ? "ssm_a = -exp(A_log)" : way == &k_gguf_product ? "res_score = res_norm * res_proj" : NULL;
}

/* --- files ---------------------------------------------------------------------------------------------------------------- */

static int name_files(struct gguf *g, const char *path, struct k_err *err)
{
	struct k_gguf_plan *p = g->plan;
	size_t stem = path ? strlen(path) : 0;

	if (p->n_shards > 1 && !path)
		return k_err_set(err, K_EUSAGE, "--shard-size makes %d files: -o FILE is wanted", p->n_shards);
	if (stem > 5 && strcmp(path + stem - 5, ".gguf") == 0)
		stem -= 5;
	for (int i = 0; i < p->n_shards; i++) {
		const struct k_buf *head = &p->shards[i].head;
		struct k_out_const *c = &g->heads[i ? i + 1 : 0];

		c[0] = (struct k_out_const){ 0, head->data, head->len };
		if (i == 0 && p->rope)
			c[1] = (struct k_out_const){ head->len, p->rope, (size_t)p->parts[0].bytes };
		g->files[i] = (struct k_out_file){ .bytes = head->len + p->shards[i].bytes, .consts = c, .n_consts = i == 0 && p->rope ? 2 : 1 };
		if (p->n_shards == 1)
			continue;
		g->files[i].name = k_arena_printf(&p->arena, "%.*s-%05d-of-%05d.gguf", (int)stem, path, i + 1, p->n_shards);
		if (!g->files[i].name)
			return k_err_nomem(err, stem, "a file name");
	}
	return 0;
}

static void free_target(struct k_target *t)
{
	struct gguf *g = t->arg;

	k_gguf_plan_free(g->plan);
	k_free(g->files);
	k_free(g->heads);
	k_free(g);
}

static int fill(struct gguf *g, struct k_ckpt *c, const char *path, const struct k_write_opts *o, struct k_log *log, struct k_err *err)
{
	int r = k_gguf_plan_new(&g->plan, c, o, log, err);

	if (r == 0)
		r = k_gguf_put_heads(g->plan, err);
	if (r < 0)
		return r;
	g->files = k_calloc((size_t)g->plan->n_shards, sizeof(*g->files));
	g->heads = k_calloc((size_t)g->plan->n_shards + 1, sizeof(*g->heads));
	if (!g->files || !g->heads)
		return k_err_nomem(err, (size_t)g->plan->n_shards * sizeof(*g->files), "the list of files");
	return name_files(g, path, err);
}

int k_gguf_target(struct k_target **out, struct k_ckpt *c, const char *path, const struct k_write_opts *o, const struct k_ctx *ctx,
	struct k_err *err)
{
	struct gguf *g = k_calloc(1, sizeof(*g));
	int r;

	*out = NULL;
	if (!g)
		return k_err_nomem(err, sizeof(*g), "a GGUF");
	g->t = (struct k_target){ .cut = cut, .place = place, .make = make, .decode = decode, .name = name, .must_hold = must_hold,
		.derived = derived, .free = free_target, .arg = g };
	r = fill(g, c, path, o, ctx->log, err);
	if (r < 0) {
		free_target(&g->t);
		return r;
	}
	g->t.n_files = g->plan->n_shards;
	g->t.files = g->files;
	*out = &g->t;
	return 0;
}

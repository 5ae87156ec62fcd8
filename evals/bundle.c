/* bundle.c: see bundle.h. Shapes follow from the lengths of the sequences, so the head is written first and each sequence behind it, one in
 * memory at a time. */
#include "libcore/base.h"
#include <stdio.h>
#include <unistd.h>
#include "evals/bands.h"
#include "evals/bundle.h"
#include "evals/capture.h"
#include "evals/passages.h"
#include "evals/report.h"
#include "libcore/hash.h"
#include "version.h"

/* A band is what the precisions differ by, times four, since the next engine rounds elsewhere; and no less than another order of sums in
 * f32 may make. */
#define FACTOR 4.0
#define FLOOR 1e-4

struct bundle {
	struct k_model *m;
	const struct k_eval_opts *o;
	const struct k_ctx *ctx;
	struct k_ctx other;             /* as ctx, in the precision that the bands are of */
	struct k_passages text;
	struct k_arena arena;
	struct k_bands *bands;
	struct k_json *sha256;
	struct k_sink *sink;
	int64_t tokens, tensors;
};

static const char *const acts[] = { "f32", "bf16", "int8" };

static char *path_of(struct bundle *b, const char *file, struct k_err *err)
{
	char *p = k_arena_printf(&b->arena, "%s/%s", b->o->bundle, file);
	if (!p)
		k_err_nomem(err, 64, "a file name");
	return p;
}

/* --- golden.safetensors ------------------------------------------------------------------------------------------------------ */

static void name_tensor(struct k_buf *head, const struct k_golden_tensor *t, uint64_t *off)
{
	uint64_t n = (uint64_t)t->count * 4;
	k_buf_puts(head, *off ? "," : "");
	k_json_quote(head, t->name, strlen(t->name));
	k_buf_printf(head, ":{\"dtype\":\"%s\",\"shape\":[", t->type == K_GOLDEN_F32 ? "F32" : "I32");
	for (int i = 0; i < t->ndim; i++)
		k_buf_printf(head, "%s%lld", i ? "," : "", (long long)t->shape[i]);
	k_buf_printf(head, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*off, (unsigned long long)(*off + n));
	*off += n;
}

static int write_head(struct bundle *b, struct k_err *err)
{
	struct k_golden *all;
	struct k_buf head;
	uint64_t off = 0, n;
	int r = k_capture(&all, b->m, b->text.seq, b->text.n, NULL, err);
	if (r < 0)
		return r;
	k_buf_init(&head, 0);
	k_buf_putc(&head, '{');
	for (int64_t i = 0; i < all->n_tensor; i++)
		name_tensor(&head, &all->tensor[i], &off);
	k_buf_putc(&head, '}');
	while (head.len % 8 && !head.failed)
		k_buf_putc(&head, ' ');
	r = k_buf_ok(&head, "the head of the file", err);
	n = head.len;
	if (r == 0)
		r = k_sink_reserve(b->sink, 8 + n + off, err);
	if (r == 0)
		r = k_sink_write(b->sink, &n, 8, err);
	if (r == 0)
		r = k_sink_write(b->sink, head.data, head.len, err);
	b->tensors = all->n_tensor;
	k_buf_fini(&head);
	k_golden_close(all);
	return r;
}

static int write_tensors(struct bundle *b, const struct k_golden *set, struct k_err *err)
{
	int r = 0;
	for (int64_t i = 0; r == 0 && i < set->n_tensor; i++) {
		const struct k_golden_tensor *t = &set->tensor[i];
		size_t n = (size_t)t->count * 4;
		uint8_t digest[32];
		char hex[65];
		r = k_sink_write(b->sink, t->data, n, err);
		if (r == 0)
			r = k_sha256_once(t->data, n, digest, err);
		if (r < 0)
			return r;
		k_hex(hex, digest);
		if (k_put_str(b->sha256, t->name, hex) < 0)
			return k_err_nomem(err, 128, "digests");
	}
	return r;
}

/* --- computing ---------------------------------------------------------------------------------------------------------------- */

/* One sequence at the precision of ctx. The device asks its ctx for it at each operation. */
static int compute(struct bundle *b, const struct k_golden_seq *s, const struct k_ctx *ctx, struct k_trace *t, struct k_golden **set,
	struct k_err *err)
{
	struct k_device *first = k_model_device(b->m);
	const struct k_ctx *was = first->ctx;
	*set = NULL;
	for (struct k_device *d = first; d; d = d->next)
		d->ctx = ctx;
	int r = k_trace_run(t, b->m, s, 1, err);
	if (r == 0)
		r = k_capture(set, b->m, s, 1, t, err);
	for (struct k_device *d = first; d; d = d->next)
		d->ctx = was;
	return r;
}

static int write_sequence(struct bundle *b, const struct k_golden_seq *s, struct k_err *err)
{
	struct k_trace ta = { 0 }, tb = { 0 };
	struct k_golden *one = NULL, *two = NULL;
	int r = k_ctx_check(b->ctx, err);
	if (r == 0)
		r = compute(b, s, b->ctx, &ta, &one, err);
	if (r == 0)
		r = k_golden_finite(one, K_ENO, err);
	if (r == 0)
		r = write_tensors(b, one, err);
	if (r == 0)
		r = compute(b, s, &b->other, &tb, &two, err);
	if (r == 0)
		r = k_golden_finite(two, K_ENO, err);
	if (r == 0) {
		const struct k_hp *hp = k_model_hp(b->m);
		struct k_layers w = { .a = one, .b = two, .seq = s->name, .n = s->n };
		one->groups = hp->n_group;
		one->groups_kept = hp->n_group_used;
		r = k_bands_measure(b->bands, &w, err);
	}
	k_golden_close(one);
	k_golden_close(two);
	k_trace_fini(&ta);
	k_trace_fini(&tb);
	b->tokens += s->n;
	return r;
}

/* --- golden.json ---------------------------------------------------------------------------------------------------------------- */

static struct k_json *sequences(const struct k_passages *p)
{
	struct k_json *all = k_json_object();
	int bad = !all;
	for (int64_t i = 0; !bad && i < p->n; i++) {
		struct k_json *o = k_json_object(), *ids = k_json_array();
		bad = !o || !ids;
		for (int64_t k = 0; !bad && k < p->seq[i].n; k++)
			bad = k_json_push(ids, k_json_new_int(p->seq[i].ids[k])) < 0;
		if (!o)
			k_json_free(ids);
		else
			bad |= k_json_set(o, "ids", ids) < 0;
		bad |= all && k_json_set(all, p->seq[i].name, o) < 0;
	}
	if (bad) {
		k_json_free(all);
		all = NULL;
	}
	return all;
}

static int write_json(struct bundle *b, struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(b->m);
	struct k_json *o = k_json_object();
	struct k_sink *sink = NULL;
	struct k_buf text;
	char *path = path_of(b, "golden.json", err);
	int bad = !o || k_put_str(o, "made_by", "keval " K_VERSION) | k_put_run(o, b->m, b->o, b->ctx) | k_put_int(o, "layers", hp->n_layer);
	if (!bad && hp->n_group > 1)
		bad = k_put_int(o, "groups", hp->n_group) | k_put_int(o, "groups_kept", hp->n_group_used);
	bad = bad || k_json_set(o, "sequences", sequences(&b->text)) | k_json_set(o, "bands", k_bands_json(b->bands)) |
		k_json_set(o, "sha256", k_json_keep(b->sha256));
	k_buf_init(&text, 0);
	if (!bad) {
		k_json_dump(&text, o, 0);
		k_buf_putc(&text, '\n');
	}
	int r = !path ? err->code : bad ? k_err_nomem(err, 1024, "golden.json") : k_buf_ok(&text, "golden.json", err);
	if (r == 0)
		r = k_sink_open(&sink, path, err);
	if (r == 0)
		r = k_sink_write(sink, text.data, text.len, err);
	if (r == 0)
		r = k_sink_commit(sink, err);
	k_sink_close(sink);
	k_buf_fini(&text);
	k_json_free(o);
	return r;
}

/* --- the run ------------------------------------------------------------------------------------------------------------------ */

static int put_band(struct k_json *o, const struct k_bands *b, int64_t layer, enum k_part part)
{
	double x = k_bands_at(b, layer, part);
	return x < 0 ? k_put_null(o, k_part_names[part]) : k_put_f32(o, k_part_names[part], x);
}

/* An item a layer: its bands. failed: there are none. */
static int report(const struct bundle *b, bool failed, struct k_report *rep, struct k_err *err)
{
	static const enum k_part parts[] = { K_PART_CONV, K_PART_STATE, K_PART_SCORES, K_PART_WEIGHTS, K_PART_HIDDEN };
	struct k_json *s = k_json_object();
	int r = 0, bad;
	for (int64_t i = -1; r == 0 && !failed && i < k_model_hp(b->m)->n_layer; i++) {
		struct k_json *o = k_json_object();
		char key[48];
		bad = !o || k_put_int(o, "layer", i);
		for (size_t p = 0; !bad && p < K_LEN(parts); p++)
			bad = put_band(o, b->bands, i, parts[p]);
		if (bad) {
			k_json_free(o);
			o = NULL;
		}
		snprintf(key, sizeof(key), i < 0 ? "embedding" : "layer %lld", (long long)i);
		r = k_report_item(rep, key, o, true, NULL, err);
	}
	bad = !s || k_put_str(s, "task", "parity") | k_put_run(s, b->m, b->o, b->ctx) | k_put_str(s, "bundle", b->o->bundle) |
		k_put_str(s, "bands", b->bands->of) | k_put_int(s, "sequences", b->text.n) | k_put_int(s, "tokens", b->tokens) |
		k_put_int(s, "tensors", b->tensors) | (failed ? k_put_null(s, k_part_names[K_PART_LOGITS]) :
		put_band(s, b->bands, k_model_hp(b->m)->n_layer, K_PART_LOGITS));
	if (bad || r < 0) {
		k_json_free(s);
		s = NULL;
	}
	return r < 0 ? r : k_report_summary(rep, s, err);
}

static int write_data(struct bundle *b, struct k_err *err)
{
	char *path = path_of(b, "golden.safetensors", err);
	int r = path ? k_sink_open(&b->sink, path, err) : err->code;
	if (r == 0)
		r = write_head(b, err);
	for (int64_t i = 0; r == 0 && i < b->text.n; i++)
		r = write_sequence(b, &b->text.seq[i], err);
	if (r == 0)
		r = k_sink_commit(b->sink, err);
	k_sink_close(b->sink);
	return r;
}

/* K_ENO: the model's values are no numbers, which bands are not made of. */
static int write_files(struct bundle *b, struct k_err *err)
{
	bool there = k_path_is_dir(b->o->bundle);
	int r = k_make_dir(b->o->bundle, err);
	if (r < 0)
		return r;
	r = write_data(b, err);
	if (r == 0) {
		k_bands_widen(b->bands);
		r = write_json(b, err);
	}
	if (r < 0 && !there)
		rmdir(b->o->bundle);
	return r;
}

int k_bundle_write(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct bundle b = { .m = m, .o = o, .ctx = ctx, .other = *ctx };
	b.other.act = ctx->act == K_ACT_F32 ? K_ACT_BF16 : K_ACT_F32;
	k_arena_init(&b.arena);
	b.sha256 = k_json_object();
	int r = k_passages_read(&b.text, m, o, err);
	if (r == 0)
		r = k_bands_new(&b.bands, k_model_hp(m)->n_layer, &b.arena, err);
	if (r == 0) {
		b.bands->of = k_arena_printf(&b.arena, "%s, %s", acts[ctx->act], acts[b.other.act]);
		b.bands->factor = FACTOR;
		b.bands->floor = FLOOR;
		r = b.bands->of && b.sha256 ? write_files(&b, err) : k_err_nomem(err, 64, "a bundle");
	}
	if (r == 0 || r == K_ENO) {
		struct k_err late;
		int said = report(&b, r < 0, rep, &late);
		if (said < 0) {
			*err = late;
			r = said;
		}
	}
	k_passages_fini(&b.text);
	k_json_free(b.sha256);
	k_arena_fini(&b.arena);
	return r;
}

/* parity.c: compares a model with golden tensors, layer by layer.
 *
 *   golden.json      sequences --run--> logits, residual stream, routing, states
 *   golden.safetensors PART/SEQUENCE[/layerL.what] ------------> compared one by one, an item each
 *
 * Tolerances. Logits: tol x the standard deviation of the golden logits. Hidden rows, states, router weights: tol x the largest
 * golden value (at least 1). Experts: the same sets. argmax: the golden choice is within the tolerance of ours.
 *
 * A bundle (bands.h) is compared by its bands instead, and the first place that leaves them is named (locate.h). --bundle writes one.
 *
 * A set with logits.engine/ holds its other values for another profile: only those are compared then. With the profile hf_remote only logits.hf_remote/ are;
 * for architectures other than Kimi-Linear logits.transformers/, or those other values. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/bundle.h"
#include "evals/capture.h"
#include "evals/parity_int.h"
#include "libcore/ctx.h"

const struct k_golden_tensor *k_parity_find(const struct parity *p, const char *part, const char *seq)
{
	char name[512];
	snprintf(name, sizeof(name), "%s/%s", part, seq);
	return k_golden_find(p->g, name);
}

int k_parity_item(struct parity *p, const char *key, int64_t layer, double diff, double unit, struct k_err *err)
{
	struct k_json *o = k_json_object();
	bool ok = diff <= p->tol * unit;
	char why[160];
	snprintf(why, sizeof(why), "differs by %.3g, the tolerance is %.3g", diff, p->tol * unit);
	int bad = !o || k_put_f32(o, "max_abs", diff) | k_put_f32(o, "tolerance", p->tol * unit) |
		(layer == NO_LAYER ? k_put_null(o, "layer") : k_put_int(o, "layer", layer));
	if (bad) {
		k_json_free(o);
		o = NULL;
	}
	if (!ok && layer != NO_LAYER && (p->first_bad == NO_LAYER || layer < p->first_bad))
		p->first_bad = layer;
	p->n_compared++;
	return k_report_item(p->rep, key, o, ok, why, err);
}

int k_parity_misfit(struct parity *p, const struct k_golden_tensor *t, struct k_err *err)
{
	char shape[128];
	return k_err_set(err, K_ESHAPE, "'%s': %s has shape %s, which is not that of this model or sequence", p->g->path, t->name,
		k_shape_format(shape, t->ndim, t->shape));
}

bool k_parity_is_shape(const struct k_golden_tensor *t, int ndim, int64_t a, int64_t b, int64_t c)
{
	const int64_t want[] = { a, b, c };
	if (t->ndim != ndim || t->type != K_GOLDEN_F32)
		return false;
	for (int i = 0; i < ndim; i++)
		if (t->shape[i] != want[i])
			return false;
	return true;
}

double k_parity_worse(double d, double a, double b)
{
	double e = fabs(a - b);
	return e > d || isnan(e) ? e : d;
}

static double max_diff(const float *have, const float *want, int64_t n, double *largest)
{
	double d = 0;
	*largest = 1;
	for (int64_t i = 0; i < n; i++) {
		d = isnan(d) ? d : k_parity_worse(d, have[i], want[i]);
		*largest = fmax(*largest, fabs(want[i]));
	}
	return d;
}

/* --- hidden rows, routing, states -------------------------------------------------------------------------------------------- */

static int compare_hidden(struct parity *p, const struct k_trace_seq *s, struct k_err *err)
{
	const struct k_golden_tensor *t = k_parity_find(p, "hidden", s->g->name);
	int64_t n = s->g->n * p->hp->n_embd;
	int r = 0;
	if (!t)
		return 0;
	if (!k_parity_is_shape(t, 3, p->hp->n_layer + 1, s->g->n, p->hp->n_embd) || !s->hidden)
		return k_parity_misfit(p, t, err);
	for (int64_t i = 0; r == 0 && i <= p->hp->n_layer; i++) {
		char key[600];
		double unit, d = max_diff(s->hidden + i * n, (const float *)t->data + i * n, n, &unit);
		snprintf(key, sizeof(key), "%s layer %lld", t->name, (long long)i - 1);
		r = k_parity_item(p, key, i - 1, d, unit, err);
	}
	return r;
}

static int compare_router(struct parity *p, const struct k_trace_seq *s, int64_t layer, struct k_err *err)
{
	char name[600];
	int64_t k = p->hp->n_expert_used, n = s->g->n * k;
	int r = 0;
	snprintf(name, sizeof(name), "router/%s/layer%lld.experts", s->g->name, (long long)layer);
	const struct k_golden_tensor *t = k_golden_find(p->g, name);
	if (t && (t->type != K_GOLDEN_I32 || t->count != n || !s->experts))
		return k_parity_misfit(p, t, err);
	if (t) {
		/* Golden ids ascend, as ours do: other sets are other rows. */
		bool same = !memcmp(t->data, s->experts + layer * n, (size_t)n * sizeof(int32_t));
		r = k_parity_item(p, t->name, layer, same ? 0 : INFINITY, 0, err);
	}
	snprintf(name, sizeof(name), "router/%s/layer%lld.weights", s->g->name, (long long)layer);
	t = k_golden_find(p->g, name);
	if (r < 0 || !t)
		return r;
	if (!k_parity_is_shape(t, 2, s->g->n, k, 0) || !s->weights)
		return k_parity_misfit(p, t, err);
	double unit, d = max_diff(s->weights + layer * n, t->data, n, &unit);
	return k_parity_item(p, t->name, layer, d, unit, err);
}

static int compare_kda(struct parity *p, const struct k_trace_seq *s, int64_t layer, struct k_err *err)
{
	const struct k_hp *hp = p->hp;
	int64_t P = hp->kda_head * hp->kda_dim, n_state = P * hp->kda_dim, n_conv = 3 * P * (hp->kda_conv - 1);
	const struct k_golden_tensor *t[2];
	char name[600];
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "kda/%s/layer%lld.%s", s->g->name, (long long)layer, i ? "conv" : "state");
		t[i] = k_golden_find(p->g, name);
	}
	if (!t[0] && !t[1])
		return 0;
	if (t[0] && !k_parity_is_shape(t[0], 3, hp->kda_head, hp->kda_dim, hp->kda_dim))
		return k_parity_misfit(p, t[0], err);
	if (t[1] && !k_parity_is_shape(t[1], 3, 3, P, hp->kda_conv - 1))
		return k_parity_misfit(p, t[1], err);
	float *have = k_alloc((size_t)(n_state + n_conv) * sizeof(float));
	if (!have)
		return k_err_nomem(err, (size_t)(n_state + n_conv) * sizeof(float), "a state");
	double unit, d;
	int r = k_seq_kda(s->seq, (int)layer, have, have + n_state, err);
	if (r == 0 && t[0]) {
		d = max_diff(have, t[0]->data, n_state, &unit);
		r = k_parity_item(p, t[0]->name, layer, d, unit, err);
	}
	if (r == 0 && t[1]) {
		d = max_diff(have + n_state, t[1]->data, n_conv, &unit);
		r = k_parity_item(p, t[1]->name, layer, d, unit, err);
	}
	k_free(have);
	return r;
}

static int compare_sequence(struct parity *p, const struct k_trace *t, const struct k_trace_seq *s, struct k_err *err)
{
	int r = k_parity_logits(p, t, s, err);
	if (p->only_logits)
		return r;
	if (r == 0)
		r = compare_hidden(p, s, err);
	for (int64_t i = 0; r == 0 && i < p->hp->n_layer; i++) {
		if (k_hp_is_moe(p->hp, i))
			r = compare_router(p, s, i, err);
		if (r == 0 && k_hp_is_kda(p->hp, i))
			r = compare_kda(p, s, i, err);
	}
	return r;
}

static int compare_greedy(struct parity *p, struct k_err *err)
{
	size_t n = (size_t)p->g->n_greedy, same = 0;
	if (!p->g->greedy || p->only_logits)
		return 0;
	int32_t *ids = k_calloc(n + 1, sizeof(*ids));
	if (!ids)
		return k_err_nomem(err, n * sizeof(*ids), "greedy tokens");
	int r = k_trace_greedy(p->m, p->g->prompt, p->g->n_prompt, ids, (int64_t)n, err);
	while (same < n && ids[same] == p->g->greedy[same])
		same++;
	p->greedy = same == n;
	struct k_json *o = k_json_object();
	char why[96];
	snprintf(why, sizeof(why), "token %zu is %d, wanted %d", same, ids[same], same < n ? p->g->greedy[same] : 0);
	k_free(ids);
	if (o && k_put_int(o, "tokens", (int64_t)same) < 0) {
		k_json_free(o);
		o = NULL;
	}
	if (r < 0) {
		k_json_free(o);
		return r;
	}
	p->n_compared++;
	return k_report_item(p->rep, "greedy", o, same == n, why, err);
}

/* --- the run ------------------------------------------------------------------------------------------------------------------ */

static bool has_part(const struct parity *p, const char *part)
{
	size_t n = strlen(part);
	for (int64_t i = 0; i < p->g->n_tensor; i++)
		if (!strncmp(p->g->tensor[i].name, part, n) && p->g->tensor[i].name[n] == '/')
			return true;
	return false;
}

static void choose_part(struct parity *p, const struct k_eval_opts *o)
{
	/* Only Kimi-Linear's remote code has its own router; elsewhere transformers computes the same as the remote code, and so do the values of a set that has
	 * those of engines apart. */
	bool own = !strcmp(k_model_arch(p->m)->name, "kimi_linear");
	p->part = "logits";
	if (o->hf_remote && (own || !has_part(p, "logits.engine"))) {
		p->part = own ? "logits.hf_remote" : "logits.transformers";
		p->only_logits = true;
	} else if (o->hf_remote) {
		return;
	} else if (has_part(p, "logits.engine")) {
		p->part = "logits.engine";
		p->only_logits = true;
	}
}

/* Standard deviation of all golden logits of the part. */
static double spread(const struct parity *p)
{
	size_t len = strlen(p->part);
	double n = 0, sum = 0, squares = 0;
	for (int64_t i = 0; i < p->g->n_tensor; i++) {
		const struct k_golden_tensor *t = &p->g->tensor[i];
		if (strncmp(t->name, p->part, len) || t->name[len] != '/' || t->type != K_GOLDEN_F32)
			continue;
		for (int64_t k = 0; k < t->count; k++) {
			double x = ((const float *)t->data)[k];
			sum += x;
			squares += x * x;
		}
		n += (double)t->count;
	}
	double var = n ? squares / n - sum / n * (sum / n) : 1;
	return var > 0 && isfinite(var) ? sqrt(var) : 1;
}

/* The sequences of a trace against the bundle. */
static int compare_bundle(struct parity *p, const struct k_trace *t, const struct k_golden_seq *seq, int64_t n, struct k_err *err)
{
	struct k_golden *set;
	int r = k_capture(&set, p->m, seq, n, t, err);
	for (int64_t i = 0; r == 0 && i < n; i++)
		r = k_locate_sequence(&p->locate, set, &seq[i], err);
	k_golden_close(set);
	p->n_compared = p->locate.compared;
	return r;
}

/* Greedy tokens alone say nothing of a layer. */
static int check_compared(const struct parity *p, struct k_err *err)
{
	if (!p->g->n_seq)
		return k_err_set(err, K_ENOENT, "'%s' has nothing to compare: it has no sequences", p->g->path);
	return p->n_compared ? 0 : k_err_set(err, K_ENOENT, "'%s' has nothing to compare: its golden.safetensors has no %s/ of its sequences", p->g->path,
		p->part);
}

static int run_sequences(struct parity *p, const struct k_eval_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	for (int64_t i = 0, n; i < p->g->n_seq; i += n) {
		struct k_trace t;
		n = K_MIN(p->g->n_seq - i, K_MAX(o->batch, 1));
		int r = k_ctx_check(ctx, err);
		if (r == 0)
			r = k_trace_run(&t, p->m, p->g->seq + i, (int)n, err);
		if (r < 0)
			return r;
		if (r == 0 && p->g->bands)
			r = compare_bundle(p, &t, p->g->seq + i, n, err);
		for (int s = 0; r == 0 && !p->g->bands && s < n; s++)
			r = compare_sequence(p, &t, &t.v[s], err);
		k_trace_fini(&t);
		if (r < 0)
			return r;
	}
	int r = check_compared(p, err);
	return r < 0 ? r : compare_greedy(p, err);
}

static int put_settings(struct parity *p, const struct k_eval_opts *o, const struct k_ctx *ctx, struct k_json *s)
{
	int bad = k_put_str(s, "task", "parity") | k_put_run(s, p->m, o, ctx);
	if (!p->g->bands)
		return bad | k_put_f32(s, "tol", p->tol) | k_put_str(s, "compared", p->part);
	return bad | (o->tol >= 0 ? k_put_f32(s, "tol", o->tol) : k_put_str(s, "bands", p->g->bands->of));
}

static int put_found(const struct parity *p, struct k_json *s)
{
	if (p->g->bands)
		return k_put_f32(s, "max_abs", p->locate.max_abs) | k_put_f32(s, "max_rel", p->locate.max_rel) | k_locate_put(&p->locate, s);
	double max_abs = p->logits_compared ? p->max_abs : NAN;
	return k_put_f32(s, "max_abs", max_abs) | k_put_f32(s, "max_rel", max_abs / p->std) |
		(p->first_bad == NO_LAYER ? k_put_null(s, "first_bad_layer") : k_put_int(s, "first_bad_layer", p->first_bad)) |
		k_put_int(s, "tensors", p->n_compared);
}

static int summarise(struct parity *p, const struct k_eval_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_json *s = k_json_object();
	int bad = !s || put_settings(p, o, ctx, s) | put_found(p, s) |
		(p->greedy < 0 ? k_put_null(s, "greedy_match") : k_put_bool(s, "greedy_match", p->greedy));
	if (bad) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(p->rep, s, err);
}

static int parity_run(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx,
	struct k_err *err)
{
	struct parity p = { .m = m, .hp = k_model_hp(m), .rep = rep, .first_bad = NO_LAYER, .greedy = -1 };
	struct k_golden *g = NULL;
	if (!o->file)
		return k_err_set(err, K_EUSAGE, o->bundle ? "--bundle wants -f FILE, a text or token ids" :
			"parity wants -f FOLDER with golden.json and golden.safetensors");
	if (o->bundle)
		return k_bundle_write(m, o, rep, ctx, err);
	int r = k_golden_open(&g, o->file, p.hp->n_vocab, true, err);
	if (r < 0)
		return r;
	p.g = g;
	p.locate = (struct k_locate){ .bundle = g, .tol = o->tol, .rep = rep };
	choose_part(&p, o);
	p.tol = g->tolerance >= 0 ? g->tolerance : o->tol >= 0 ? o->tol : 1e-4;
	p.std = spread(&p);
	p.logits = k_calloc(K_PARITY_ROWS, (size_t)p.hp->n_vocab * sizeof(float));
	struct k_json *head = k_json_object();
	if (!p.logits || !head || put_settings(&p, o, ctx, head) < 0) {
		k_json_free(head);
		r = k_err_nomem(err, K_PARITY_ROWS * (size_t)p.hp->n_vocab * sizeof(float), "logits");
	} else {
		r = k_report_item(rep, "run", head, true, NULL, err);
	}
	if (r == 0 && g->bands && g->n_layer != p.hp->n_layer)
		r = k_err_set(err, K_ESHAPE, "'%s' is of %lld layers, this model has %lld", g->path, (long long)g->n_layer, (long long)p.hp->n_layer);
	if (r == 0 && g->bands)
		r = k_golden_finite(g, K_EFORMAT, err);
	if (r == 0)
		r = run_sequences(&p, o, ctx, err);
	if (r == 0)
		r = summarise(&p, o, ctx, err);
	k_free(p.logits);
	k_golden_close(g);
	return r;
}

const struct k_eval k_eval_parity = {
	.name = "parity",
	.about = "compare with golden tensors or a bundle (-f FOLDER), layer by layer; exit 1 when something is out of tolerance; --bundle: make one",
	.fields = "max_abs max_rel first_bad_layer greedy_match",
	.run = parity_run,
};

/* locate.c: see locate.h.
 *
 *   spots of a layer (layers.h) --band--> in or out --all of the layer seen--> an item: the first part that is out, the first token
 *
 * Only rows of hidden out: it is not the router, and not what feeds it by more than its band. If one expert alone served all the rows
 * that are out, and few that are in, it is named. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/locate.h"

static const char *const what[K_N_PART] = { "an input of the convolutions", "the KDA state", "a router's score", "the router's choice",
	"a router's weight", "what the layer adds to the residual stream", "a row of logits" };

struct place {
	struct k_locate *l;
	const struct k_golden_seq *seq;
	uint8_t *out;                   /* by token: its row of hidden left the band in this layer */
	/* Of the layer: the first part that is out and its place; else the spot that is nearest to its band. */
	struct k_spot worst;
	double ratio, band;
	bool bad, judged;
	int64_t token;                  /* the first that is out, of any part; -1 */
	int64_t ties, n_out;
	bool gone;                      /* a layer before this one was bad: what is a tie cannot be said any more */
};

static double band_of(const struct k_locate *l, const struct k_spot *s)
{
	return l->tol >= 0 ? l->tol : k_bands_at(l->bundle->bands, s->layer, s->part);
}

static void note(struct place *p, const struct k_spot *s, double band, bool out)
{
	double ratio = band > 0 ? s->diff / band : s->diff > 0 ? INFINITY : 0;
	bool same_part = p->judged && p->worst.part == s->part;
	if (out && s->token >= 0 && (p->token < 0 || s->token < p->token))
		p->token = s->token;
	/* Out beats in, the earlier part beats the later, then the worse spot. */
	if (!p->judged || (out && !p->bad) || (out == p->bad && ratio > p->ratio && (!out || same_part))) {
		p->worst = *s;
		p->ratio = ratio;
		p->band = band;
	}
	p->judged = true;
	p->bad |= out;
}

static bool on_spot(void *arg, const struct k_spot *s)
{
	struct place *p = arg;
	double band = band_of(p->l, s);
	bool out;
	if (s->part == K_PART_LOGITS) {
		p->l->max_abs = fmax(p->l->max_abs, s->max_abs);
		p->l->max_rel = fmax(p->l->max_rel, s->diff);
	}
	if (s->tied)
		return true;
	if (s->part == K_PART_EXPERTS && s->diff > 0 && s->diff <= band) {
		p->ties++;
		return true;
	}
	if (band < 0 && s->part != K_PART_EXPERTS)
		return false;
	out = s->diff > fmax(band, 0);
	note(p, s, band, out);
	if (out && s->part == K_PART_HIDDEN) {
		p->out[s->token] = 1;
		p->n_out++;
	}
	return false;
}

/* --- an expert ---------------------------------------------------------------------------------------------------------------- */

static bool served(const struct k_golden_tensor *ids, int64_t token, int32_t e)
{
	for (int64_t i = token * ids->shape[1]; i < (token + 1) * ids->shape[1]; i++)
		if (((const int32_t *)ids->data)[i] == e)
			return true;
	return false;
}

/* Did e serve all rows that are out? A few of those that it served may be in: its weight there was small. */
static bool is_suspect(const struct place *p, const struct k_golden_tensor *ids, int32_t e)
{
	int64_t in = 0;
	for (int64_t t = 0; t < p->seq->n; t++) {
		if (served(ids, t, e))
			in += !p->out[t];
		else if (p->out[t])
			return false;
	}
	return in * 2 < p->n_out;
}

static int64_t find_expert(const struct place *p, int64_t layer)
{
	char name[600];
	int64_t found = -1, first = 0;
	snprintf(name, sizeof(name), "router/%s/layer%lld.experts", p->seq->name, (long long)layer);
	const struct k_golden_tensor *ids = k_golden_find(p->l->bundle, name);
	if (!ids || !p->n_out || ids->type != K_GOLDEN_I32 || ids->ndim != 2 || ids->shape[0] != p->seq->n)
		return -1;
	while (!p->out[first])
		first++;
	for (int64_t i = first * ids->shape[1]; i < (first + 1) * ids->shape[1]; i++) {
		int32_t e = ((const int32_t *)ids->data)[i];
		if (!is_suspect(p, ids, e))
			continue;
		if (found >= 0)
			return -1;
		found = e;
	}
	return found;
}

/* --- a layer -------------------------------------------------------------------------------------------------------------------- */

static void name_layer(char text[32], const struct k_locate *l, int64_t layer)
{
	if (layer < 0)
		snprintf(text, 32, "embedding");
	else if (layer == l->bundle->n_layer)
		snprintf(text, 32, "logits");
	else
		snprintf(text, 32, "layer %lld", (long long)layer);
}

static void say_why(char *why, size_t size, const struct place *p, int64_t layer, int64_t expert)
{
	char where[32];
	size_t n;
	name_layer(where, p->l, layer);
	if (p->worst.part == K_PART_EXPERTS)
		n = (size_t)snprintf(why, size, "%s: the router chose other experts, and that is no tie", where);
	else
		n = (size_t)snprintf(why, size, "%s: %s differs by %.3g, the band is %.3g", where, what[p->worst.part], p->worst.diff, p->band);
	if (p->token >= 0 && n < size)
		n += (size_t)snprintf(why + n, size - n, "; token %lld (id %d) is the first", (long long)p->token, p->seq->ids[p->token]);
	if (expert >= 0 && n < size)
		snprintf(why + n, size - n, "; expert %lld served what is out of the band", (long long)expert);
}

static void remember(struct place *p, int64_t layer, int64_t expert)
{
	struct k_locate *l = p->l;
	if (!p->bad || (l->found && l->layer <= layer))
		return;
	l->found = true;
	l->layer = layer;
	l->part = p->worst.part;
	l->token = p->token;
	l->expert = expert;
	l->seq = p->seq->name;
}

static int put_int_or_null(struct k_json *o, const char *key, int64_t v) { return v < 0 ? k_put_null(o, key) : k_put_int(o, key, v); }

static int put_layer(struct k_json *o, const char *key, const struct k_locate *l, int64_t layer)
{
	return layer == l->bundle->n_layer ? k_put_null(o, key) : k_put_int(o, key, layer);
}

static int on_done(void *arg, int64_t layer, struct k_err *err)
{
	struct place *p = arg;
	bool hidden = p->bad && p->worst.part == K_PART_HIDDEN;
	int64_t expert = hidden ? find_expert(p, layer) : -1;
	char key[600], why[320], where[32];
	int r = 0;
	if (p->judged) {
		struct k_json *o = k_json_object();
		int bad = !o || put_layer(o, "layer", p->l, layer) | k_put_str(o, "kind", k_part_names[p->worst.part]) |
			put_int_or_null(o, "token", p->bad ? p->token : p->worst.token) | k_put_f32(o, "diff", p->worst.diff) |
			k_put_f32(o, "band", p->band) | put_int_or_null(o, "expert", expert) | k_put_int(o, "ties", p->ties);
		if (bad) {
			k_json_free(o);
			o = NULL;
		}
		name_layer(where, p->l, layer);
		snprintf(key, sizeof(key), "%s %s", p->seq->name, where);
		say_why(why, sizeof(why), p, layer, expert);
		r = k_report_item(p->l->rep, key, o, !p->bad, why, err);
	}
	remember(p, layer, expert);
	p->l->ties += p->gone ? 0 : p->ties;
	memset(p->out, 0, (size_t)p->seq->n);
	*p = (struct place){ .l = p->l, .seq = p->seq, .out = p->out, .token = -1, .gone = p->gone || p->bad };
	return r;
}

int k_locate_sequence(struct k_locate *l, const struct k_golden *set, const struct k_golden_seq *seq, struct k_err *err)
{
	struct place p = { .l = l, .seq = seq, .token = -1, .out = k_calloc((size_t)seq->n, 1) };
	struct k_layers w = { .a = l->bundle, .b = set, .seq = seq->name, .n = seq->n, .spot = on_spot, .done = on_done, .arg = &p };
	if (!p.out)
		return k_err_nomem(err, (size_t)seq->n, "a sequence");
	int r = k_layers_walk(&w, err);
	l->compared += w.compared;
	l->missing += w.missing;
	k_free(p.out);
	return r;
}

int k_locate_put(const struct k_locate *l, struct k_json *s)
{
	return (l->found ? put_layer(s, "first_bad_layer", l, l->layer) | k_put_str(s, "first_bad_kind", k_part_names[l->part]) |
		put_int_or_null(s, "first_bad_token", l->token) | put_int_or_null(s, "first_bad_expert", l->expert) |
		k_put_str(s, "first_bad_sequence", l->seq) :
		k_put_null(s, "first_bad_layer") | k_put_null(s, "first_bad_kind")) |
		k_put_int(s, "ties", l->ties) | k_put_int(s, "tensors", l->compared) | k_put_int(s, "missing", l->missing);
}

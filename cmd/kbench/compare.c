/* compare.c: two commands, run in turns, with a verdict.
 *
 *   block: A B B A or B A A B, by a coin --> log(fastest B) - log(fastest A) --> signed ranks over the blocks: ratio, ci95, p_value
 *
 * What disturbs a run makes it longer, so of the two runs of a command in a block the faster one counts. Were A and B the same, the coin
 * alone would say which sign a block has: the test is right for any machine, however it drifts or stumbles (evals/stats.h).
 *
 * Verdict: wrong where B prints something else than A; same where ci95 lies within 1 % of 1; slower or faster where chance would give such
 * signs in less than 1 of 100 comparisons; else undecided, as ever with fewer than 8 blocks: 7 of one sign come in 2 of 128.
 * slower is exit status 1, but where a --bar on ratio, or on an end of ci95, says how much slower B may be: then the bar decides. One on ratio wants
 * a quiet machine: a ratio that noise made misses it; ci95_low is what B is slower by for sure.
 * noise_floor: half the width of the same interval of A against A, from the same blocks: a smaller difference would not have been seen.
 *
 * What is printed: records have digests of what was computed, and these are compared; where there is none and A printed the same bytes in
 * every run, B must print them as well. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <unistd.h>
#include "cmd/kbench/bench.h"
#include "evals/stats.h"
#include "libcore/hash.h"

enum { BLOCK = 4 };

/* What a command prints: digests of its records, or bytes. */
struct said { uint8_t digest[32]; bool records, varies, any; };

struct side {
	const char *name;
	char **argv;
	struct said said;
	struct rusage use;
	struct k_times seconds;
	double run[BLOCK / 2];          /* of this block */
	int n_run;
};

struct compare {
	struct k_bench *b;
	struct k_child child;
	struct side a, c;
	struct k_times ratio, noise;    /* logs */
	int64_t seed;
	bool compared, wrong;
	char why[400];
};

/* --- what was printed ------------------------------------------------------------------------------------------------------------- */

/* The digest of the digests; false where there are none. */
static bool find_digests(const struct k_buf *text, uint8_t out[32])
{
	struct k_buf all;
	struct k_err err;
	struct k_json *v;
	k_buf_init(&all, 0);
	for (const char *p = text->data, *end = p + text->len, *nl; p && p < end; p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (!nl)
			nl = end;
		if (*p != '{' || k_json_parse(&v, p, (size_t)(nl - p), K_JSON_LAST_WINS, "a record", &err) < 0)
			continue;
		const char *d = k_json_string(k_json_find(v, "digest"));
		if (d)
			k_buf_printf(&all, "%s\n", d);
		k_json_free(v);
	}
	bool any = all.len && !all.failed && k_sha256_once(all.data, all.len, out, &err) == 0;
	k_buf_fini(&all);
	return any;
}

static bool alike(const struct said *x, const struct said *y)
{
	return x->records == y->records && !memcmp(x->digest, y->digest, sizeof(x->digest));
}

static void tell(struct compare *c, const char *who, const char *than, const struct said *x, const struct said *y)
{
	char hex_x[65], hex_y[65];
	k_hex(hex_x, x->digest);
	k_hex(hex_y, y->digest);
	c->wrong = true;
	snprintf(c->why, sizeof(c->why), "%s %s another %s than %s: %.16s..., wanted %.16s...; --ignore-output compares the times alone", who,
		x->records ? "computes, by the digests of its records," : "prints", x->records ? "result" : "text", than, hex_x, hex_y);
}

/* Digests are held against A's at once, bytes at the end: only then is it known whether A always prints the same. */
static void hear(struct compare *c, struct side *s)
{
	struct said now = { .any = true };
	now.records = c->child.printed == (int64_t)c->child.text.len && find_digests(&c->child.text, now.digest);
	if (!now.records)
		memcpy(now.digest, c->child.digest, sizeof(now.digest));
	if (!s->said.any)
		s->said = now;
	else if (!alike(&now, &s->said)) {
		s->said.varies = true;
		if (now.records && s->said.records)
			tell(c, s->name, "in its first run", &now, &s->said);
	}
	if (s == &c->c && now.records && c->a.said.records && !alike(&now, &c->a.said))
		tell(c, "B", "A", &now, &c->a.said);
}

static void judge_output(struct compare *c)
{
	c->compared = c->a.said.records || !c->a.said.varies;
	if (c->compared && !c->wrong && (c->c.said.varies || !alike(&c->c.said, &c->a.said)))
		tell(c, "B", "A", &c->c.said, &c->a.said);
}

/* --- runs ------------------------------------------------------------------------------------------------------------------------- */

static int run_side(struct compare *c, struct side *s, bool counts, struct k_err *err)
{
	int r = k_child_run(&c->child, s->argv, c->b->ctx, err);
	if (r == 0 && c->child.status)
		r = k_err_set(err, c->child.status == 1 ? K_ENO : K_EUSAGE, "%s, '%s', ended with status %d; only commands that succeed are compared",
			s->name, s->argv[0], c->child.status);
	if (r < 0)
		return r;
	if (!c->b->ignore_output)
		hear(c, s);
	if (counts) {
		s->run[s->n_run++] = c->child.seconds;
		s->seconds.v[s->seconds.n++] = c->child.seconds;
		k_use_add(&s->use, &c->child.use);
	}
	return 0;
}

static int run_block(struct compare *c, bool inner, struct k_err *err)
{
	int r = 0;
	c->a.n_run = c->c.n_run = 0;
	for (int i = 0; i < BLOCK && r == 0 && !c->wrong; i++)
		r = run_side(c, (i == 1 || i == 2) == inner ? &c->c : &c->a, true, err);
	if (r < 0 || c->wrong)
		return r;
	c->ratio.v[c->ratio.n++] = log(K_MIN(c->c.run[0], c->c.run[1])) - log(K_MIN(c->a.run[0], c->a.run[1]));
	/* Two single runs of A differ by as much as two fastest of two, or more. */
	c->noise.v[c->noise.n++] = log(c->a.run[1] / c->a.run[0]);
	return 0;
}

static int run_blocks(struct compare *c, struct k_err *err)
{
	uint64_t coin = (uint64_t)c->seed;
	int r = run_side(c, &c->a, false, err);         /* to warm up */
	if (r == 0 && !c->wrong)
		r = run_side(c, &c->c, false, err);
	if (r == 0 && c->wrong)
		r = run_side(c, &c->a, false, err);     /* or is it A that does not stand still? */
	for (int64_t i = 0; r == 0 && !c->wrong && i < c->b->reps; i++)
		r = run_block(c, k_random_next(&coin) >> 63, err);
	return r;
}

/* --- the answer ------------------------------------------------------------------------------------------------------------------- */

static const char *verdict(const struct compare *c, const struct k_signed *s)
{
	if (c->wrong)
		return "wrong";
	if (exp(s->lo) > 0.99 && exp(s->hi) < 1.01)
		return "same";
	return s->p_value > 0.01 ? "undecided" : s->estimate > 0 ? "slower" : "faster";
}

/* null, where there are too few blocks for an interval. */
static int put_interval(struct k_json *o, const char *name, double lo, double hi)
{
	struct k_json *a = k_json_array();
	if (!isfinite(lo) || !isfinite(hi)) {
		k_json_free(a);
		return k_put_null(o, name);
	}
	if (a && (k_json_push(a, k_json_new_number(lo)) | k_json_push(a, k_json_new_number(hi))) < 0) {
		k_json_free(a);
		a = NULL;
	}
	return k_json_set(o, name, a);
}

/* Seconds in the median, and what a run used. */
static int put_side(struct k_json *o, const char *name, struct side *s)
{
	struct k_json *v = k_json_object();
	if (v && ((s->seconds.n ? k_put_f32(v, "seconds", k_times_median(&s->seconds)) : k_put_null(v, "seconds")) |
		k_use_put(v, &s->use, s->seconds.n)) < 0) {
		k_json_free(v);
		v = NULL;
	}
	return k_json_set(o, name, v);
}

static struct k_json *record(struct compare *c, const struct k_signed *s, double noise, const char *v)
{
	struct k_json *o = k_json_object();
	const char *output = c->b->ignore_output ? "ignored" : c->wrong ? "differs" : c->compared ? "same" : "varies";
	int bad = !o || k_put_str(o, "what", "compare") | (c->ratio.n ? k_put_f32(o, "ratio", exp(s->estimate)) : k_put_null(o, "ratio")) |
		put_interval(o, "ci95", exp(s->lo), exp(s->hi)) | k_put_num(o, "ci95_low", isfinite(s->lo) ? exp(s->lo) : NAN) |
		k_put_num(o, "ci95_high", exp(s->hi)) | (c->ratio.n ? k_put_f32(o, "p_value", s->p_value) : k_put_null(o, "p_value")) |
		k_put_f32(o, "noise_floor", noise) | k_put_str(o, "verdict", v) | k_put_int(o, "blocks", c->ratio.n) | k_put_int(o, "seed", c->seed) |
		k_put_str(o, "output", output) | (c->wrong ? k_put_str(o, "why", c->why) : 0) | k_put_str(o, "cache", "warm") |
		put_side(o, "a", &c->a) | put_side(o, "b", &c->c) | k_bench_put_machine(o, c->b, NULL);
	if (!bad)
		return o;
	k_json_free(o);
	return NULL;
}

static int judge(struct compare *c, struct k_err *err)
{
	struct k_signed s = { .lo = -INFINITY, .hi = INFINITY, .p_value = 1 }, n = s;
	int r = 0;
	if (!c->b->ignore_output)
		judge_output(c);
	if (c->ratio.n)
		r = k_stats_signed(&s, c->ratio.v, c->ratio.n, 0.95, err);
	if (r == 0 && c->noise.n)
		r = k_stats_signed(&n, c->noise.v, c->noise.n, 0.95, err);
	if (r < 0)
		return r;
	const char *v = verdict(c, &s);
	r = k_report_summary(c->b->rep, record(c, &s, exp((n.hi - n.lo) / 2) - 1, v), err);
	if (r == 0 && c->wrong)
		r = k_err_set(err, K_ENO, "%s", c->why);
	if (r == 0 && !strcmp(v, "slower") && !k_report_bars(c->b->rep, "ratio ci95_low ci95_high"))
		r = k_err_set(err, K_ENO, "B takes %.4g times as long as A, 95 %% interval %.4g to %.4g", exp(s.estimate), exp(s.lo), exp(s.hi));
	return r;
}

/* A number from the clock: an order that is drawn anew, which --seed repeats. */
static int64_t any_seed(void)
{
	uint64_t x = (uint64_t)(k_bench_now() * 1e9) ^ ((uint64_t)getpid() << 32);
	return (int64_t)(k_random_next(&x) >> 33) + 1;
}

int k_bench_compare(struct k_bench *b, struct k_err *err)
{
	struct compare *c = k_calloc(1, sizeof(*c));
	if (!c)
		return k_err_nomem(err, sizeof(*c), "a comparison");
	c->b = b;
	c->a.name = "A";
	c->c.name = "B";
	c->a.argv = b->commands;
	c->seed = b->seed ? b->seed : any_seed();
	k_buf_init(&c->child.text, 0);
	for (int i = 0; i < b->n_commands && !c->c.argv; i++)
		if (!strcmp(b->commands[i], "--")) {
			b->commands[i] = NULL;
			c->c.argv = b->commands + i + 1;
		}
	int r = 0;
	if (!c->c.argv || !c->a.argv[0] || c->c.argv == b->commands + b->n_commands)
		r = k_err_set(err, K_EUSAGE, "wanted two commands: kbench compare -- A... -- B...");
	if (r == 0)
		r = run_blocks(c, err);
	if (r == 0 && k_report_draws(b->rep))
		r = k_report_aside(b->rep, k_times_json(&c->ratio), err);
	if (r == 0)
		r = judge(c, err);
	k_buf_fini(&c->child.text);
	k_free(c);
	return r;
}

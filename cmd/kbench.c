/* kbench.c: speed with a verdict: options, and which part of cmd/kbench/ measures. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "cmd/cli.h"
#include "cmd/kbench/bench.h"
#include "cmd/kbench/records.h"
#include "libcore/backend.h"

struct args {
	struct k_common common;
	const char *model, *depth, *batch, *report, *junit, *spool, *url, *name, *file, *concurrency, *plot, *history, *synthetic, *fill;
	int64_t reps, tokens, slow, seed;
	double rate, seconds, abandon;
	bool tap, ignore_output;
	struct k_strs bars;
};

/* Of these 0 is a mistake, and not the default. */
#define UNSET INT64_MIN
static const struct args unset = { .reps = UNSET, .tokens = UNSET, .rate = NAN, .seconds = NAN };

static const struct k_opt opts[] = {
	K_OPT_STR('m', "model", struct args, model, "MODEL", NULL, "decode, prefill, load, convert: the model"),
	K_OPT_STR(0, "synthetic", struct args, synthetic, "ARCH:SIZE", NULL, "decode, prefill, load: a model of that shape with random weights, in memory, in the place of -m: kimi-linear:48b, kimi-linear:nano, kimi-linear-mla:48b, kimi-linear-mla:nano, kimi-linear-bf16:48b, kimi-linear-bf16:nano, kimi-k2:tiny, kimi-k2:1t, kimi-k3:tiny, kimi-k3:2.8t"),
	K_OPT_STR(0, "depth", struct args, depth, "N,...", "0", "decode, prefill: tokens that are there before: 0,1k,32k,1M"),
	K_OPT_STR(0, "fill", struct args, fill, "HOW", NULL, "decode, prefill: how a depth is reached: prompt computes it, random computes 256 tokens and copies their caches; default: random where the weights are"),
	K_OPT_STR('b', "batch", struct args, batch, "N,...", "1", "decode, prefill: sequences at once"),
	K_OPT_INT(0, "tokens", struct args, tokens, "N", NULL, "tokens a repetition or answer; default: 32, 512 for prefill"),
	K_OPT_STR('u', "url", struct args, url, "URL", NULL, "serve: the server, http://host:port/v1; its key is OPENAI_API_KEY"),
	K_OPT_STR(0, "name", struct args, name, "NAME", NULL, "serve: name of the model; default: the first that the server lists"),
	K_OPT_STR('f', "file", struct args, file, "FILE", NULL, "serve: chat requests as JSON lines, asked in turn, or when their timestamps say; lines with input_length and output_length are recorded ones; default: made up"),
	K_OPT_STR(0, "concurrency", struct args, concurrency, "N,...", "8", "serve: streams at once, each of which asks again when it has its answer"),
	K_OPT_NUM(0, "rate", struct args, rate, "R", NULL, "serve: R requests a second at random distances instead, whatever is in flight"),
	K_OPT_NUM(0, "seconds", struct args, seconds, "S", NULL, "serve: how long; default: 10, a file with timestamps to its end"),
	K_OPT_INT(0, "slow", struct args, slow, "N", NULL, "serve: N of the streams read slowly"),
	K_OPT_NUM(0, "abandon", struct args, abandon, "P", NULL, "serve: share of the streams that are dropped on the way, 0 to 1"),
	K_OPT_INT(0, "seed", struct args, seed, "N", NULL, "of synthetic weights; serve: of arrivals and drops; compare: of the order of runs (default: any)"),
	K_OPT_INT(0, "reps", struct args, reps, "N", NULL, "repetitions; default: 5, for kernels 9, for compare 15 blocks of A B B A or B A A B"),
	K_OPT_FLAG(0, "ignore-output", struct args, ignore_output, "compare: B may print and compute something else than A"),
	K_OPT_STR(0, "history", struct args, history, "FILE", NULL, "append what is measured to FILE, JSON lines of all runs; trends: read them"),
	K_OPT_STR(0, "plot", struct args, plot, "FILE", NULL, "decode, prefill, kernels, convert, serve, compare, trends: the result as a picture into FILE.svg or, by gnuplot, FILE.png"),
	K_OPT_LIST(0, "bar", struct args, bars, "EXPR", "exit 1 unless EXPR holds for the summary, e.g. 'tok_s>=20'; repeatable"),
	K_OPT_STR(0, "report", struct args, report, "FILE", NULL, "items and summary as JSON lines into FILE"),
	K_OPT_STR(0, "junit", struct args, junit, "FILE", NULL, "items and bars as JUnit XML into FILE"),
	K_OPT_FLAG(0, "tap", struct args, tap, "items and bars as TAP version 14 on standard output"),
	K_OPT_STR(0, "spool", struct args, spool, "DIR", NULL, "where an archive from a pipe that does not fit in memory may be held; convert: where outputs are written, else beside the model"),
	K_OPT_OUTPUT(struct args, common),
	K_OPT_COMMON(struct args, common),
	K_OPT_COMPUTE(struct args, common),
	K_OPT_END
};

static const char *const rivals[] = { "model synthetic", NULL };

static const char *const examples[] = {
	"kbench decode -m model.kmf --depth 0,256 -b 1,2 --tokens 4 --reps 2",
	"kbench prefill -m model.kmf --tokens 64 --reps 2",
	"kbench decode --synthetic kimi-linear:nano,kimi-linear-mla:nano --depth 0,1k --tokens 4 --reps 2",
	"kbench load -m model.kmf --reps 2",
	"kbench convert -m hf --reps 2",
	"kbench machine --reps 1 --history runs.jsonl",
	"kbench trends --history runs.jsonl --plot trends.svg",
	"kbench kernels gemv_i4_f32 moe --reps 2 -j 1 --max-memory 300M",
	"kserve model.kmf & kbench serve -u http://127.0.0.1:8080/v1 --concurrency 1,8,64 --bar 'errors==0'",
	"kbench compare -- sleep 0.02 -- sleep 0.01",
	NULL
};

static const struct what {
	const char *name, *fields;
	int (*run)(struct k_bench *b, struct k_err *err);
	bool wants_model, synthetic;
	int64_t reps;
} whats[] = {
	{ "machine", "read_gbs peak_gops peak_bf16_gops peak_int8_gops bf16_unit_gops spread", k_bench_machine, false, false, 5 },
	{ "kernels", "limit_frac kernels", k_bench_kernels, false, false, 9 },
	{ "decode", "tok_s bytes_per_token limit_frac ratio ratio_least ratio_frac ref_error peak_rss spread", k_bench_decode, true, true, 5 },
	{ "prefill", "tok_s bytes_per_token limit_frac ratio ratio_least ratio_frac ref_error peak_rss spread", k_bench_prefill, true, true, 5 },
	{ "load", "ms ms_cold exec_ms exec_ms_cold peak_rss spread", k_bench_load, true, true, 5 },
	{ "convert", "gbs read_gbs limit_frac peak_rss spread", k_bench_convert, true, false, 5 },
	{ "serve", "req_s tok_s ttft_ms_p50 ttft_ms_p99 tpot_ms_p50 tpot_ms_p99 itl_ms_p50 itl_ms_p99 itl_ratio requests refused abandoned errors "
		"late unfinished tokens prompt_tokens cached_tokens mismatches", k_bench_serve, false, false, 1 },
	{ "compare", "ratio ci95_low ci95_high p_value noise_floor blocks", k_bench_compare, false, false, 15 },
	{ "trends", "records torn series slower faster busy worst", k_bench_trends, false, false, 1 },
};

static int find_what(int n_operands, char **operands, const struct what **out, struct k_err *err)
{
	for (size_t i = 0; n_operands && i < K_LEN(whats); i++)
		if (!strcmp(whats[i].name, operands[0])) {
			*out = &whats[i];
			return 0;
		}
	return k_err_set(err, K_EUSAGE, "%s%s%swanted one of machine, kernels, decode, prefill, load, convert, serve, compare, trends", n_operands ? "'" : "",
		n_operands ? operands[0] : "", n_operands ? "' cannot be measured; " : "");
}

/* "0,1024,4k" */
static int parse_list(const char *text, const char *option, int64_t lo, int64_t *v, int *n, struct k_err *err)
{
	static const char units[] = "kKmM";
	*n = 0;
	for (const char *p = text; ; p++) {
		char *end;
		int64_t x = strtoll(p, &end, 10);
		const char *unit = *end ? strchr(units, *end) : NULL;
		if (end != p && unit && x <= 1 << 24) {
			x <<= 10 * (1 + (unit - units) / 2);
			end++;
		}
		if (end == p || x < lo || x > 1 << 24 || (*end && *end != ',') || *n == 32)
			return k_err_set(err, K_EUSAGE, "%s is '%s', wanted up to 32 numbers with commas", option, text);
		v[(*n)++] = x;
		p = end;
		if (!*p)
			return 0;
	}
}

static int check_synthetic(const struct args *a, const struct what *w, int n_operands, struct k_err *err)
{
	if (!w->synthetic)
		return k_err_set(err, K_EUSAGE, "--synthetic: '%s' measures no model with made-up weights, wanted decode, prefill or load", w->name);
	if (a->model || n_operands > 1)
		return k_err_set(err, K_EUSAGE, "--synthetic and a model: wanted one of both");
	return 0;
}

/* The models of --synthetic, for the largest point that will be measured. */
static int make_synthetic(struct k_bench *b, const struct args *a, struct k_err *err)
{
	struct k_room room = { 0, 1 };
	if (!a->synthetic)
		return 0;
	for (int i = 0; i < b->n_depth; i++)
		for (int k = 0; k < b->n_batch; k++)
			room.tokens = K_MAX(room.tokens, b->batch[k] * (b->depth[i] + K_MAX(b->tokens, (int64_t)512) + 2 * K_PAGE));
	for (int k = 0; k < b->n_batch; k++)
		room.seqs = K_MAX(room.seqs, b->batch[k]);
	int r = k_synthetic_open(b->synthetic, (int)K_LEN(b->synthetic), &b->n_synthetic, a->synthetic, room, b->seed, b->ctx, err);
	b->model = b->synthetic[0].path;
	return r;
}

static int fill(struct k_bench *b, const struct args *a, const struct what *w, int n_operands, char **operands, struct k_err *err)
{
	b->model = a->model;
	b->device = a->common.device;
	b->tokens = a->tokens == UNSET ? 0 : a->tokens;
	b->reps = a->reps == UNSET ? w->reps : a->reps;
	b->commands = operands + 1;
	b->n_commands = n_operands - 1;
	b->url = a->url;
	b->name = a->name;
	b->file = a->file;
	b->rate = fmax(a->rate, 0);
	b->seconds = fmax(a->seconds, 0);
	b->slow = a->slow;
	b->abandon = a->abandon;
	b->seed = a->seed;
	b->ignore_output = a->ignore_output;
	if (a->rate <= 0 || a->rate > 1e6 || a->seconds <= 0 || a->seconds > 1e6)
		return k_err_set(err, K_EUSAGE, "--%s is %g, wanted a number above 0, at most 1000000", a->rate <= 0 || a->rate > 1e6 ? "rate" : "seconds",
			a->rate <= 0 || a->rate > 1e6 ? a->rate : a->seconds);
	if (b->slow < 0)
		return k_err_set(err, K_EUSAGE, "--slow is %lld, wanted a count", (long long)b->slow);
	if (b->abandon < 0 || b->abandon > 1)
		return k_err_set(err, K_EUSAGE, "--abandon is %g, wanted a share from 0 to 1", b->abandon);
	if (b->reps < 1 || b->reps > 1000)
		return k_err_set(err, K_EUSAGE, "--reps is %lld, wanted 1 to 1000", (long long)b->reps);
	if (a->tokens != UNSET && (a->tokens < 1 || a->tokens > 1 << 20))
		return k_err_set(err, K_EUSAGE, "--tokens is %lld, wanted 1 to %d", (long long)a->tokens, 1 << 20);
	if (a->fill && strcmp(a->fill, "prompt") && strcmp(a->fill, "random"))
		return k_err_set(err, K_EUSAGE, "--fill is '%s', wanted prompt or random", a->fill);
	b->stretch = a->fill ? !strcmp(a->fill, "random") : a->synthetic != NULL;
	int r = parse_list(a->depth, "--depth", 0, b->depth, &b->n_depth, err);
	if (r == 0)
		r = parse_list(a->batch, "--batch", 1, b->batch, &b->n_batch, err);
	if (r == 0)
		r = parse_list(a->concurrency, "--concurrency", 1, b->concurrency, &b->n_concurrency, err);
	if (r == 0 && w->run != k_bench_compare && w->run != k_bench_kernels && n_operands > (w->wants_model && !b->model ? 2 : 1))
		r = k_err_set(err, K_EUSAGE, "'%s' is one operand too many; see kbench --help", operands[n_operands - 1]);
	if (r == 0 && a->synthetic)
		return check_synthetic(a, w, n_operands, err);
	if (r == 0 && w->wants_model && !b->model)
		r = k_cli_model(n_operands - 1, operands + 1, &b->model, err);
	return r;
}

/* Before anything is measured. */
static int check_outputs(const struct args *a, const struct what *w, const struct k_bench *b, int n_operands, char **operands, struct k_err *err)
{
	const struct k_cli_file outs[] = { { "-o", a->common.output }, { "--report", a->report }, { "--junit", a->junit }, { "--plot", a->plot },
		{ "--history", a->history } };
	const struct k_cli_file ins[] = { { "-m", a->model }, { "-f", a->file } };
	int r = k_cli_apart(outs, K_LEN(outs), ins, K_LEN(ins), n_operands - 1, operands + 1, err);
	if (r == 0 && a->plot)
		r = k_bench_plot_check(w->name, a->plot, err);
	return r == 0 && a->history && w->run != k_bench_trends ? k_history_append(a->history, b, w->name, err) : r;
}

/* Also of a run whose answer is no: it was measured all the same. failed: 0, or K_ENO, which *err tells. */
static int write_outputs(const struct args *a, const struct what *w, const struct k_bench *b, int failed, struct k_err *err)
{
	struct k_err other;
	int r = 0;
	bool kept = a->history && w->run != k_bench_trends;
	if (kept && k_history_takes(b->rep))
		r = k_history_append(a->history, b, w->name, &other);
	else if (kept)
		k_logf(b->ctx->log, K_LOG_WARN, "'%s' does not get this run: an item failed", a->history);
	if (r == 0 && a->plot)
		r = k_bench_plot(w->name, b->rep, a->plot, &other);
	if (r < 0)
		*err = other;
	return r < 0 ? r : failed;
}

static int kbench_run(struct k_ctx *ctx, void *args, int n_operands, char **operands, struct k_err *err)
{
	struct args *a = args;
	const struct what *w = NULL;
	struct k_report *rep = NULL;
	char suite[64];
	ctx->spool = a->spool;
	ctx->any_order = true;
	int r = find_what(n_operands, operands, &w, err);
	struct k_bench *b = r == 0 ? k_calloc(1, sizeof(*b)) : NULL;
	if (r < 0 || !b)
		return r < 0 ? r : k_err_nomem(err, sizeof(*b), "a measurement");
	b->ctx = ctx;
	if (w->wants_model && n_operands > 1)
		k_opt_yield(&k_tool, a, "model synthetic");
	if (!w->synthetic)
		k_opt_yield(&k_tool, a, "synthetic");
	if (!k_bench_draws(w->name))
		k_opt_yield(&k_tool, a, "plot");
	r = fill(b, a, w, n_operands, operands, err);
	if (r < 0)
		goto out;
	b->history = a->history;
	r = check_outputs(a, w, b, n_operands, operands, err);
	if (r < 0)
		goto out;
	snprintf(suite, sizeof(suite), "kbench.%s", w->name);
	struct k_report_opts ro = { .suite = suite, .fields = w->fields, .write = k_cli_write, .report = a->report,
		.junit = a->junit, .bars = a->bars.v, .n_bars = a->bars.n, .keep = a->plot || a->history,
		.form = a->tap ? K_REPORT_TAP : k_cli_wants_table(&a->common) ? K_REPORT_TABLE : K_REPORT_JSON };
	r = k_report_open(&rep, &ro, err);
	if (r == 0)
		r = make_synthetic(b, a, err);
	if (r == 0) {
		b->rep = rep;
		r = w->run(b, err);
		if ((r == 0 || r == K_ENO) && k_report_summary_of(rep))
			r = write_outputs(a, w, b, r, err);
		r = k_report_end(rep, r, err);
	}
	k_report_close(rep);
out:
	for (size_t i = 0; i < K_LEN(b->synthetic); i++)
		k_synthetic_close(&b->synthetic[i]);
	k_free(b);
	return r;
}

const struct k_tool k_tool = {
	.name = "kbench",
	.about = "measure speed, with a verdict",
	.usage = "WHAT [-m MODEL | -u URL] [options] | compare [options] -- A... -- B...",
	.text = "kbench measures what WHAT names: machine (raw read bandwidth, and operations a second of the level on f32, bf16 and int8, and "
		"of the CPU on pairs of bf16), kernels (each "
		"operation of the engine on made-up weights against what bounds it: reading, scaling in place or multiply-adds of its own kind, timed right before and "
		"after; names behind it choose some), decode and prefill (tokens a second of a model), load "
		"(until a first token can be computed, ms, and until a kserve that was just started could answer, exec_ms), convert (kconvert and kquant beside a plain read of the same bytes, cold and warm), serve (requests and tokens a second of a server, and its latencies, under a load, behind one request that does not count; cached_tokens of prompt_tokens came from its prefix cache) or compare (two "
		"commands in turns). A record carries the machine, the kernel "
		"level, the threads, the spread of the repetitions, what they used and a digest of what was computed; decode and prefill fail where a few "
		"tokens computed at --cpu ref give other logits (ref_error, in standard deviations). limit_frac is the share of the "
		"machine's read bandwidth, timed right before and after, that a step's weights and caches (step_bytes) used; of a prompt what reading or multiply-adds of the activations' kind allow, "
		"whichever takes longer. placement tells how far apart two CPUs are (ping_ns: how long a cache line goes to and fro); samples during which "
		"that changed are dropped and counted. --synthetic with two names of as many layers measures both in turns and reports the time of a token of the second over "
		"the first (ratio), beside what their bytes promise (ratio_bytes, ratio_frac): kimi-linear:48b,kimi-linear-mla:48b is what the delta rule saves. "
		"--synthetic wants no checkpoint: experts are INT4 in groups of 32, all else is BF16, the bits are random and follow from --seed. What does not fit in "
		"three quarters of the memory that is available, or in --max-memory, gets fewer layers in the same pattern, a smaller vocabulary and fewer dense layers in that proportion "
		"(layers, layers_of and vocab of the record); kimi-linear-mla has the shape of kimi-linear and attention in all layers, kimi-linear-bf16 experts in BF16. compare says faster, slower, same (within 1 %) or "
		"undecided of B against A, by a test that is wrong in at most 1 of 100 comparisons; slower is exit status 1, unless a --bar on ratio, or on ci95_low (what is sure of it, also on a busy machine), says how much slower B may be, and so is wrong: B's records "
		"have other digests than A's, or B prints other bytes than A prints in every run. With fewer than 8 blocks (--reps) nothing is decided. "
		"--history FILE keeps what runs measured, unless one of their items failed, and trends judges it: the last run of each series (one figure of one "
		"thing on one machine, level, number of threads and placement) against the up to 10 before it; beyond where one more run of theirs would be in "
		"99 of 100 cases, and beyond the spread of the repetitions, it is faster or slower; slower is exit status 1, unless a --bar on worst says how much slower may be. Fewer than 3 earlier "
		"runs cannot tell, nor can a slower one whose threads waited longer for a CPU than theirs (waited, a share of the time; others ran): it is busy.",
	.opts = opts,
	.rivals = rivals,
	.examples = examples,
	.args_size = sizeof(struct args),
	.unset = &unset,
	.max_operands = -1,
	.run = kbench_run,
};

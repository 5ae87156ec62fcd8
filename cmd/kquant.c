/* kquant.c: quantises a checkpoint. The policy says which entry gets which type, libcore/stream.c does it in one pass, the ledger
 * watches. */
#include "libcore/base.h"
#include "cmd/cli.h"
#include "cmd/kquant/ledger.h"
#include "formats/format.h"
#include "libcore/history.h"
#include "libcore/job.h"
#include "libcore/kmf_target.h"
#include "libcore/policy.h"

struct args {
	struct k_common common;
	const char *out, *type, *preset, *ledger, *spool;
	struct k_strs rules, fail_if;
	int scale;
	bool plan, resume;
};

static const struct k_opt opts[] = {
	K_OPT_STR('t', "type", struct args, type, "TYPE", NULL, "type for the routed experts; default: i4g32, or what --preset says; ? lists the types"),
	K_OPT_LIST(0, "rule", struct args, rules, "ROLE=TYPE", "type for a role (experts, shared, attn, kda, embed, head, dense) or a glob on names; ROLE=keep; repeatable, the last match wins"),
	K_OPT_STR(0, "preset", struct args, preset, "NAME", NULL, "a set of rules: k2-thinking, small, fp8; ? lists them"),
	K_OPT_WORD(0, "scale", struct args, scale, "amax7|amax7.5", "amax7", "scale of an INT4 group: largest magnitude / 7, or / 7.5 as the compressed-tensors package"),
	K_OPT_STR(0, "ledger", struct args, ledger, "FILE", NULL, "JSON lines: error and digests of every tensor and every expert"),
	K_OPT_LIST(0, "fail-if", struct args, fail_if, "EXPR", "exit 1 and write nothing when it holds for a tensor, e.g. rel_rms>0.12 or experts.rel_rms>0.1; repeatable"),
	K_OPT_STR('o', "output", struct args, out, "FILE", NULL, "write to FILE instead of standard output"),
	K_OPT_FLAG(0, "plan", struct args, plan, "read only heads; print what would be written, memory and disk; exit 6 if it cannot fit"),
	K_OPT_FLAG(0, "resume", struct args, resume, "keep a journal beside OUT, and go on where an interrupted run of the same command ended"),
	K_OPT_STR(0, "spool", struct args, spool, "DIR", NULL, "where an archive from a pipe that does not fit in memory may be held"),
	K_OPT_COMMON(struct args, common),
	K_OPT_END
};

static const char *const examples[] = {
	"kconvert hf/ | kquant -t i4g32 > out.kmf",
	"kquant --preset k2-thinking --ledger out.jsonl model.kmf -o out.kmf",
	"kquant --rule embed=i8row --rule head=i8row model.kmf -o out.kmf",
	"kquant --fail-if 'experts.rel_rms>0.2' model.kmf -o out.kmf",
	NULL
};

static void list_row(struct k_buf *b, const char *what, const char *name, const char *about, double bits)
{
	k_buf_printf(b, "{\"%s\": ", what);
	k_json_quote(b, name, strlen(name));
	if (bits > 0)
		k_buf_printf(b, ", \"bits\": %.9g", bits);
	k_buf_puts(b, ", \"about\": ");
	k_json_quote(b, about, strlen(about));
	k_buf_puts(b, "}\n");
}

static int list_types(bool table, struct k_err *err)
{
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	for (int i = 0; k_qtype_at(i); i++) {
		const struct k_qtype *t = k_qtype_at(i);

		if (!t->quant || strcmp(t->layout, "rows") != 0)
			continue;
		if (table)
			k_buf_printf(&b, "%-10s %7.4f bits per weight  %s\n", t->name, t->bits, t->about);
		else
			list_row(&b, "type", t->name, t->about, t->bits);
	}
	r = k_buf_ok(&b, "the list", err);
	if (r == 0)
		r = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

static int list_presets(bool table, struct k_err *err)
{
	struct k_buf b;
	const char *name, *about;
	int r;

	k_buf_init(&b, 0);
	for (int i = 0; (name = k_policy_preset(i, &about)); i++) {
		if (table)
			k_buf_printf(&b, "%-12s %s\n", name, about);
		else
			list_row(&b, "preset", name, about, 0);
	}
	r = k_buf_ok(&b, "the list", err);
	if (r == 0)
		r = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

/* The row says what changes the result: nothing where nothing changed, so that quantising twice gives the same bytes. */
static int note(const struct args *a, struct k_json *history, struct k_err *err)
{
	struct k_json *row = k_json_object(), *rules = k_json_array();
	bool ok = row && rules;
	static const char *const scales[] = { "amax/7", "amax/7.5" };

	for (int i = 0; ok && i < a->rules.n; i++)
		ok = k_json_push(rules, k_json_new_string(a->rules.v[i], strlen(a->rules.v[i]))) == 0;
	ok = ok && k_json_set(row, "step", k_json_new_string("quantise", 8)) == 0 && k_json_set(row, "format", k_json_new_int(1)) == 0 &&
		(!a->type || k_json_set(row, "type", k_json_new_string(a->type, strlen(a->type))) == 0) &&
		k_json_set(row, "scale", k_json_new_string(scales[a->scale], strlen(scales[a->scale]))) == 0 &&
		(!a->preset || k_json_set(row, "preset", k_json_new_string(a->preset, strlen(a->preset))) == 0) &&
		(a->rules.n == 0 || k_json_set(row, "rules", k_json_keep(rules)) == 0);
	k_json_free(rules);
	if (!ok) {
		k_json_free(row);
		row = NULL;
	}
	return k_history_add(history, row, err);
}

static int print_plan(const struct k_stream *s, const struct k_entry *to, uint64_t limit, const struct k_ctx *ctx, struct k_err *err)
{
	uint64_t in = 0, out = 0, memory = k_stream_memory(s, ctx);
	struct k_buf b;
	int r;

	for (int i = 0; i < s->in->n_entries; i++) {
		in += s->in->entries[i].bytes;
		out += to[i].bytes;
	}
	k_buf_init(&b, 0);
	k_buf_printf(&b, "{\"entries\": %d, \"bytes_in\": %llu, \"bytes\": %llu, \"peak_memory\": %llu, \"max_memory\": %llu, \"fits\": %s}\n", s->in->n_entries,
		(unsigned long long)in, (unsigned long long)out, (unsigned long long)memory, (unsigned long long)limit, memory <= limit ? "true" : "false");
	r = k_buf_ok(&b, "the plan", err);
	if (r == 0)
		r = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

static int write_container(const struct args *a, struct k_job *job, struct k_entry *out, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_ledger *ledger = NULL;
	struct k_err late;
	int r = 0;

	if (a->ledger || a->fail_if.n) {
		r = k_ledger_open(&ledger, a->ledger, &a->fail_if, job->stream.in, out, err);
		if (r < 0)
			return r;
		job->stream.watch[job->stream.n_watch++] = k_ledger_watch(ledger);
	}
	r = k_job_run(job, ctx, err);
	if (ledger && (r == 0 || r == K_ENO) && k_ledger_commit(ledger, &late) < 0) {
		*err = late;
		r = late.code;
	}
	k_ledger_free(ledger);
	return r;
}

static int quantise_as(const struct args *a, struct k_ckpt *in, struct k_entry *out, int changed, const struct k_json *history, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_kmf_spec spec = { .in = in, .out = out, .history = history, .quant = { a->scale == 0 ? K_SCALE_AMAX7 : K_SCALE_AMAX75 } };
	struct k_job job = { .out = a->out, .resume = a->resume };
	struct k_target *target;
	int r = k_kmf_target_new(&target, &spec, ctx, err);

	if (r < 0)
		return r;
	job.stream = (struct k_stream){ .in = in, .target = target, .what = "quantising" };
	if (!changed)
		k_logf(ctx->log, K_LOG_INFO, "everything has its type already, nothing changes");
	r = a->plan ? print_plan(&job.stream, out, ctx->max_memory ? ctx->max_memory : 512u << 20, ctx, err) : write_container(a, &job, out, ctx, err);
	k_target_free(target);
	return r;
}

static int quantise(const struct args *a, struct k_ckpt *in, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_policy p = { a->type, a->preset, a->rules.v, a->rules.n };
	struct k_entry *out = k_calloc((size_t)in->n_entries + 1, sizeof(*out));
	struct k_json *history = NULL;
	int changed, r;

	if (!out)
		return k_err_nomem(err, (size_t)in->n_entries * sizeof(*out), "the entries");
	r = k_policy_apply(&p, in, out, &changed, ctx->log, err);
	if (r == 0)
		r = k_history_new(&history, in, err);
	if (r == 0 && changed)
		r = note(a, history, err);
	if (r == 0)
		r = quantise_as(a, in, out, changed, history, ctx, err);
	k_json_free(history);
	k_free(out);
	return r;
}

static int run(struct k_ctx *ctx, void *args, int n_operands, char **operands, struct k_err *err)
{
	struct args *a = args;
	bool table = k_cli_wants_table(&a->common);
	struct k_ckpt *in = NULL;
	const char *path;
	int r;

	if (a->type && strcmp(a->type, "?") == 0)
		return list_types(table, err);
	if (a->preset && strcmp(a->preset, "?") == 0)
		return list_presets(table, err);
	if (!a->type && !a->preset)
		a->type = "i4g32";
	if (a->ledger && strcmp(a->ledger, "-") == 0 && (!a->out || strcmp(a->out, "-") == 0))
		return k_err_set(err, K_EUSAGE, "--ledger - and the container cannot both go to standard output; give one of them a file");
	r = k_cli_model(n_operands, operands, &path, err);
	if (r == 0 && strcmp(path, "-") == 0 && a->resume)
		r = k_err_set(err, K_EUSAGE, "--resume wants an input that can be read again: a file or a folder");
	if (r < 0)
		return r;
	ctx->spool = a->spool;
	r = k_format_open(&in, path, false, ctx, err);
	if (r < 0)
		return r;
	r = quantise(a, in, ctx, err);
	k_ckpt_close(in);
	return r;
}

const struct k_tool k_tool = {
	.name = "kquant", .about = "quantise a model", .usage = "[-t TYPE] [options] [MODEL] [-o OUT]",
	.text = "Reads any checkpoint that kconvert reads and writes a KMF container in which the routed experts, and what --rule names, have another "
		"type. Tensors that have the wanted type already pass through bit for bit, so the INT4 experts of Kimi-K2-Thinking are kept exactly. The output is the "
		"same, byte for byte, on every machine, compiler and thread count, and by every route.\n\n"
		"Norms, routers, convolutions and decay vectors are never quantised by a role; a rule with a glob on names reaches them.",
	.opts = opts, .examples = examples, .args_size = sizeof(struct args), .max_operands = 1, .run = run,
};

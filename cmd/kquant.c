/* kquant.c: quantises a checkpoint. The policy says which entry gets which type, libcore/stream.c does it in one pass, the ledger
 * watches. */
#include "libcore/base.h"
#include "cmd/cli.h"
#include "cmd/kquant/budget.h"
#include "cmd/kquant/importance.h"
#include "cmd/kquant/ledger.h"
#include "formats/format.h"
#include "formats/verify.h"
#include "libcore/hash.h"
#include "libcore/history.h"
#include "libcore/job.h"
#include "libcore/kmf.h"
#include "libcore/kmf_target.h"
#include "libcore/policy.h"

struct args {
	struct k_common common;
	const char *out, *type, *preset, *ledger, *spool, *certificate;
	struct k_strs rules, fail_if, imatrix;
	int scale, mx_rule;
	uint64_t budget;
	bool plan, resume, from_qat, verify;
};

static const struct k_opt opts[] = {
	K_OPT_STR('t', "type", struct args, type, "TYPE", NULL, "type for the routed experts; default: i4g32, or what --preset says; ? lists the types"),
	K_OPT_LIST(0, "rule", struct args, rules, "ROLE=TYPE", "type for a role (experts, shared, attn, kda, embed, head, dense) or a glob on names; ROLE=keep; repeatable, the last match wins"),
	K_OPT_STR(0, "preset", struct args, preset, "NAME", NULL, "a set of rules: k2-thinking, small, fp8; ? lists them"),
	K_OPT_SIZE(0, "budget", struct args, budget, "SIZE", NULL, "choose bf16, i8row or the type of -t for each matrix that no rule names, so that the output is at most SIZE and the predicted error least"),
	K_OPT_WORD(0, "scale", struct args, scale, "amax7|amax7.5|mse|imatrix", "amax7", "scale of a group of INT4: largest magnitude / 7, or / 7.5 as the compressed-tensors package; of INT4 and MXFP4: least squared error, or that error weighted by --imatrix"),
	K_OPT_LIST(0, "imatrix", struct args, imatrix, "FILE", "activation statistics (GGUF or .dat, of keval or llama.cpp) for --scale imatrix; repeatable, the files are added up"),
	K_OPT_WORD(0, "mx-rule", struct args, mx_rule, "ct|ocp|ggml", "ct", "exponent of a group of MXFP4: as compressed-tensors, as the OCP standard, or as ggml, with ggml's rounding"),
	K_OPT_FLAG(0, "from-qat", struct args, from_qat, "the model was trained for INT4: find the scale of each group's grid, count the values that are off it"),
	K_OPT_STR(0, "ledger", struct args, ledger, "FILE", NULL, "JSON lines: error and digests of every tensor and every expert"),
	K_OPT_LIST(0, "fail-if", struct args, fail_if, "EXPR", "exit 1 and write nothing when it holds for a tensor, e.g. rel_rms>0.12 or experts.rel_rms>0.1; repeatable"),
	K_OPT_STR('o', "output", struct args, out, "FILE", NULL, "write to FILE instead of standard output"),
	K_OPT_FLAG(0, "plan", struct args, plan, "read only heads; print what would be written, memory and disk; exit 6 if it cannot fit"),
	K_OPT_STR(0, "certificate", struct args, certificate, "FILE", NULL, "JSON lines: digests of every tensor's source and output, and what quantising changed"),
	K_OPT_FLAG(0, "verify", struct args, verify, "read the output back and compare every value with the source, decoded by other code"),
	K_OPT_FLAG(0, "resume", struct args, resume, "keep a journal beside OUT, and go on where an interrupted run of the same command ended"),
	K_OPT_STR(0, "spool", struct args, spool, "DIR", NULL, "where an archive from a pipe that does not fit in memory may be held"),
	K_OPT_COMMON(struct args, common),
	K_OPT_END
};

static const char *const rivals[] = { "from-qat scale", NULL };

static const char *const examples[] = {
	"kconvert hf/ | kquant -t i4g32 > out.kmf",
	"kquant --preset k2-thinking --ledger out.jsonl model.kmf -o out.kmf",
	"kquant --rule embed=i8row --rule head=i8row model.kmf -o out.kmf",
	"kquant --fail-if 'experts.rel_rms>0.2' --fail-if 'outlier>12' model.kmf -o out.kmf",
	"kquant --budget 12M model.kmf -o out.kmf",
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

static const struct { const char *name; enum k_scale rule; } scales[] = {
	{ "amax/7", K_SCALE_AMAX7 }, { "amax/7.5", K_SCALE_AMAX75 }, { "mse", K_SCALE_MSE }, { "imatrix", K_SCALE_MSE },
};
static const char *const mx_rules[] = { "ct", "ocp", "ggml" };
enum { SCALE_IMATRIX = 3 };

/* A run: what is known before any weight is read. */
struct task {
	const struct args *a;
	struct k_ckpt *in;
	struct k_entry *out;
	int changed;                    /* entries that get another type */
	struct k_importance *importance;
	const struct k_ctx *ctx;
};

static bool set_text(struct k_json *row, const char *key, const char *text) { return !text || k_json_set(row, key, k_json_new_string(text, strlen(text))) == 0; }

/* The row says what changes the result. */
static struct k_json *new_row(const struct task *t)
{
	const struct args *a = t->a;
	struct k_json *row = k_json_object(), *rules = k_json_array(), *files = k_json_array();
	bool ok = row && rules && files;
	for (int i = 0; ok && i < a->rules.n; i++)
		ok = k_json_push(rules, k_json_new_string(a->rules.v[i], strlen(a->rules.v[i]))) == 0;
	for (int i = 0; ok && t->importance && i < a->imatrix.n; i++) {
		char hex[65];

		k_hex(hex, k_importance_digest(t->importance, i));
		ok = k_json_push(files, k_json_new_string(hex, 64)) == 0;
	}
	ok = ok && set_text(row, "step", "quantise") && k_json_set(row, "format", k_json_new_int(1)) == 0 && set_text(row, "type", a->type) &&
		set_text(row, "scale", a->from_qat ? "qat" : scales[a->scale].name) &&
		(a->imatrix.n == 0 || k_json_set(row, "imatrix_sha256", k_json_keep(files)) == 0) &&
		set_text(row, "mx_rule", a->mx_rule ? mx_rules[a->mx_rule] : NULL) && set_text(row, "preset", a->preset) &&
		(!a->budget || k_json_set(row, "budget", k_json_new_int((int64_t)a->budget)) == 0) &&
		(a->rules.n == 0 || k_json_set(row, "rules", k_json_keep(rules)) == 0);
	k_json_free(rules);
	k_json_free(files);
	if (ok)
		return row;
	k_json_free(row);
	return NULL;
}

/* The input's, and a row where something changed: quantising twice gives the same bytes. */
static int new_history(const struct task *t, int changed, struct k_json **out, struct k_err *err)
{
	int r = k_history_new(out, t->in, err);

	return r == 0 && changed ? k_history_add(*out, new_row(t), err) : r;
}

/* For the budget: the size of the file. */
static int total(void *arg, struct k_entry *entries, uint64_t *bytes, struct k_err *err)
{
	const struct task *t = arg;
	struct k_kmf_head head = { .arch = t->in->arch, .config = t->in->config, .config_len = t->in->config_len, .n_entries = t->in->n_entries, .entries = entries };
	struct k_kmf_plan *plan = NULL;
	struct k_json *history = NULL;
	int changed = 0, r;

	for (int i = 0; i < t->in->n_entries; i++)
		changed += entries[i].type != t->in->entries[i].type;
	r = new_history(t, changed, &history, err);
	head.history = history;
	if (r == 0)
		r = k_kmf_plan_new(&plan, &head, err);
	if (r == 0)
		*bytes = plan->total;
	k_kmf_plan_free(plan);
	k_json_free(history);
	return r;
}

static struct k_quant_opts quant_of(const struct args *a)
{
	return (struct k_quant_opts){ .scale = a->from_qat ? K_SCALE_QAT : scales[a->scale].rule, .mx = (enum k_mx_rule)a->mx_rule };
}

static int write_container(const struct task *t, struct k_job *job, struct k_err *err)
{
	struct k_ledger_spec spec = { t->a->ledger, &t->a->fail_if, t->in, t->out, quant_of(t->a) };
	struct k_ledger *ledger = NULL;
	struct k_err late;
	int r = 0;

	if (t->a->ledger || t->a->fail_if.n || t->a->from_qat) {
		r = k_ledger_open(&ledger, &spec, err);
		if (r < 0)
			return r;
		job->stream.watch[job->stream.n_watch++] = k_ledger_watch(ledger);
	}
	r = k_job_run(job, t->ctx, err);
	if (ledger && !t->a->plan && (r == 0 || r == K_ENO)) {
		k_ledger_say(ledger, t->ctx->log);
		if (k_ledger_commit(ledger, &late) < 0) {
			*err = late;
			r = late.code;
		}
	}
	k_ledger_free(ledger);
	return r;
}

static int quantise_as(const struct task *t, const struct k_json *history, struct k_err *err)
{
	const struct args *a = t->a;
	struct k_kmf_spec spec = { .in = t->in, .out = t->out, .history = history, .quant = quant_of(a) };
	struct k_job job = { .out = a->out, .resume = a->resume, .plan = a->plan, .table = k_cli_wants_table(&a->common), .verify = a->verify ? &k_verify_job : NULL, .watch_losses = a->certificate, .certificate = { .path = a->certificate, .lossy = true } };
	struct k_target *target;
	int r;

	if (t->importance) {
		spec.weights = k_importance_weights;
		spec.weights_arg = t->importance;
	}
	r = k_kmf_target_new(&target, &spec, t->ctx, err);
	if (r < 0)
		return r;
	job.stream = (struct k_stream){ .in = t->in, .target = target, .what = "quantising" };
	if (!t->changed)
		k_logf(t->ctx->log, K_LOG_INFO, "everything has its type already, nothing changes");
	r = write_container(t, &job, err);
	k_target_free(target);
	return r;
}

static int choose_types(struct task *t, struct k_err *err)
{
	const struct args *a = t->a;
	struct k_policy p = { a->type, a->preset, a->rules.v, a->rules.n, a->from_qat };
	struct k_quant_opts quant = quant_of(a);
	struct k_budget b = { .policy = &p, .in = t->in, .bytes = a->budget, .quant = &quant, .total = total, .arg = t };

	if (a->budget)
		return k_budget_choose(&b, t->out, &t->changed, t->ctx, err);
	return k_policy_apply(&p, t->in, t->out, &t->changed, t->ctx->log, err);
}

static int quantise(const struct args *a, struct k_ckpt *in, const struct k_ctx *ctx, struct k_err *err)
{
	struct task t = { .a = a, .in = in, .ctx = ctx };
	struct k_json *history = NULL;
	int r;

	t.out = k_calloc((size_t)in->n_entries + 1, sizeof(*t.out));
	if (!t.out)
		return k_err_nomem(err, (size_t)in->n_entries * sizeof(*t.out), "the entries");
	r = choose_types(&t, err);
	if (r == 0 && a->imatrix.n)
		r = k_importance_open(&t.importance, &a->imatrix, in, t.out, ctx->log, err);
	if (r == 0)
		r = new_history(&t, t.changed, &history, err);
	if (r == 0)
		r = quantise_as(&t, history, err);
	k_importance_close(t.importance);
	k_json_free(history);
	k_free(t.out);
	return r;
}

static int check_args(struct args *a, const char *path, struct k_err *err)
{
	if (!a->type && !a->preset && !a->budget)
		a->type = "i4g32";
	if (a->scale != SCALE_IMATRIX)
		k_opt_yield(&k_tool, a, "imatrix");
	if ((a->scale == SCALE_IMATRIX) != (a->imatrix.n > 0))
		return k_err_set(err, K_EUSAGE, a->imatrix.n ? "--imatrix is for --scale imatrix" : "--scale imatrix wants --imatrix FILE");
	if (a->from_qat && a->scale)
		return k_err_set(err, K_EUSAGE, "--from-qat finds scales itself; it goes with --scale amax7, which is for groups that are on no grid");
	if (a->ledger && strcmp(a->ledger, "-") == 0 && (!a->out || strcmp(a->out, "-") == 0))
		return k_err_set(err, K_EUSAGE, "--ledger - and the container cannot both go to standard output; give one of them a file");
	if (a->ledger && a->certificate && strcmp(a->ledger, "-") == 0 && strcmp(a->certificate, "-") == 0)
		return k_err_set(err, K_EUSAGE, "--ledger - and --certificate - cannot both go to standard output; give one of them a file");
	if (strcmp(path, "-") == 0 && (a->resume || a->budget))
		return k_err_set(err, K_EUSAGE, "--%s wants an input that can be read again: a file or a folder", a->resume ? "resume" : "budget");
	return 0;
}

/* A model may take the place of the one that it is made of, once it is whole; nothing else that is written may. */
static int check_files(const struct args *a, int n_operands, char **operands, struct k_err *err)
{
	const struct k_cli_file outs[] = { { "--ledger", a->ledger }, { "--certificate", a->certificate }, { "-o", a->out } };
	int r = k_cli_apart(outs, K_LEN(outs), NULL, 0, 0, NULL, err);

	for (int i = 0; r == 0 && i < a->imatrix.n; i++)
		r = k_cli_apart(outs, K_LEN(outs), &(struct k_cli_file){ "--imatrix", a->imatrix.v[i] }, 1, 0, NULL, err);
	return r == 0 ? k_cli_apart(outs, 2, NULL, 0, n_operands, operands, err) : r;
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
	r = k_cli_model(n_operands, operands, &path, err);
	if (r == 0)
		r = check_args(a, path, err);
	if (r < 0)
		return r;
	if (check_files(a, n_operands, operands, err) < 0)
		return err->code;
	ctx->spool = a->spool;
	r = k_format_open(&in, path, false, ctx, err);
	if (r < 0)
		return r;
	if (a->budget && in->sequential)
		r = k_err_set(err, K_EUSAGE, "'%s' can be read once only; --budget wants a file or a folder", path);
	else
		r = quantise(a, in, ctx, err);
	k_ckpt_close(in);
	return r;
}

const struct k_tool k_tool = {
	.name = "kquant", .about = "quantise a model", .usage = "[-t TYPE] [options] [MODEL] [-o OUT]",
	.text = "Reads any checkpoint that kconvert reads and writes a KMF container in which the routed experts, and what --rule names, have another "
		"type. Tensors that have the wanted type already pass through bit for bit, so the INT4 experts of Kimi-K2-Thinking are kept exactly. The output is the "
		"same, byte for byte, on every machine, compiler and thread count, and by every route.\n\n"
		"Norms, routers, convolutions and decay vectors are never quantised by a role; a rule with a glob on names reaches them.\n\n"
		"Every line of the ledger is a tensor, or an expert of one, and has what --fail-if may name: elements; rel_rms, max_abs, cos, sqnr_db and "
		"worst_group, which compare before with after; clipped values and zero_groups; off_grid values (--from-qat). An expert has more, also where it is "
		"kept as it is: rms and peak (largest magnitude / rms); row_corr and col_corr, how far the sizes of its rows and columns go with those of the "
		"other experts (a transposed one has none of it); in INT4 code_rms, short_groups (without a code of 7), negative_scales, "
		"repeated_scales (share that equal their left neighbour: scales a row), scale_fit (correlation of scales and code sizes, about -0.7; 0 where "
		"scales are not the codes' own); and outlier, its distance from the median of the layer's experts in robust deviations, in the figure outlier_in.\n\n"
		"--scale mse tries every bf16 between amax/9 and amax/6 for a group of INT4, and three exponents for one of MXFP4; of equals it takes the larger. "
		"--scale imatrix weights each column's error with the mean square of its activations. --budget measures each matrix through each type that it "
		"may have, on samples, and takes the sum of squared relative errors for the predicted error.",
	.opts = opts, .rivals = rivals, .examples = examples, .args_size = sizeof(struct args), .max_operands = 1, .run = run,
};

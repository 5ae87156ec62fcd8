/* keval.c: the tool around evals/: model or server, options, report; a task does the rest. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <unistd.h>
#include "cmd/cli.h"
#include "evals/answer.h"
#include "evals/asker.h"
#include "evals/client.h"
#include "evals/merge.h"
#include "evals/pictures.h"
#include "evals/report.h"
#include "formats/format.h"
#include "libcore/job.h"

struct args {
	struct k_common common;
	const char *model, *url, *name, *file, *bos, *report, *junit, *resume, *spool, *save_ref, *ref, *bundle, *lengths, *depths, *plot, *part;
	int64_t window, stride, batch, limit, seed, concurrency, steps, tools;
	double tol, rate, timeout;
	int profile;
	bool tap;
	struct k_strs bars;
};

/* Of these 0 can be meant. */
#define UNSET INT64_MIN
static const struct args unset = { .window = UNSET, .stride = UNSET, .steps = UNSET, .tools = UNSET, .tol = NAN, .rate = NAN, .timeout = NAN };

static const struct k_opt opts[] = {
	K_OPT_STR('m', "model", struct args, model, "MODEL", NULL, "the model; - or none: standard input; with score: whose chat layout reads recorded texts"),
	K_OPT_STR('u', "url", struct args, url, "URL", NULL, "ask an OpenAI-compatible server, http://host:port/v1; its key is OPENAI_API_KEY"),
	K_OPT_STR(0, "name", struct args, name, "NAME", NULL, "name of the model to ask the server for; default: the first that it lists"),
	K_OPT_INT(0, "concurrency", struct args, concurrency, "N", "8", "requests at once to a server"),
	K_OPT_NUM(0, "rate", struct args, rate, "R", NULL, "requests a second to a server, at most"),
	K_OPT_NUM(0, "timeout", struct args, timeout, "SECONDS", NULL, "how long a server may take for one answer; default 600"),
	K_OPT_STR('f', "file", struct args, file, "FILE", NULL, "what is asked: a text (ppl, kld, imatrix), a folder (parity), a golden.json (dump), JSON lines (the rest)"),
	K_OPT_OUTPUT(struct args, common),
	K_OPT_STR(0, "save-ref", struct args, save_ref, "FILE", NULL, "kld: write the reference; an unfinished one, FILE.partial, is continued"),
	K_OPT_STR(0, "ref", struct args, ref, "FILE", NULL, "kld: compare with the reference"),
	K_OPT_STR(0, "bundle", struct args, bundle, "FOLDER", NULL, "parity: write a new FOLDER of what each layer computes for -f (a text, or token ids), with bands; for parity -f and diff"),
	K_OPT_INT(0, "window", struct args, window, "N", NULL, "ppl, kld: tokens of a window, default 512; --bundle: default 128"),
	K_OPT_INT(0, "stride", struct args, stride, "N", NULL, "ppl, kld: distance of windows; default: the window"),
	K_OPT_STR(0, "bos", struct args, bos, "auto|yes|no", "auto", "ppl, kld: put BOS before each window; auto: where the chat layout begins with it"),
	K_OPT_INT('b', "batch", struct args, batch, "N", "1", "sequences computed at once; does not change a digit"),
	K_OPT_INT(0, "limit", struct args, limit, "N", NULL, "at most N items; 0, as by default: all"),
	K_OPT_STR(0, "part", struct args, part, "K/N", NULL, "ppl, kld --ref, choice, gen, needle, toolcall: every N-th item from the K-th on; keval merge joins the reports of all parts"),
	K_OPT_INT(0, "seed", struct args, seed, "N", NULL, "of what is drawn: the items of --limit (choice, gen, toolcall), needles, made-up tools, sampled answers, signs (diff)"),
	K_OPT_INT(0, "steps", struct args, steps, "N", NULL, "agent: calls; default: all of FILE, or 300"),
	K_OPT_INT(0, "tools", struct args, tools, "N", NULL, "agent: tools that are declared, where no FILE says which; default: 20"),
	K_OPT_STR(0, "lengths", struct args, lengths, "N,...", NULL, "needle: tokens of the text; default: 512,1024,2048"),
	K_OPT_STR(0, "depths", struct args, depths, "P,...", NULL, "needle: where the needle is, in percent of the text; default: 0,25,50,75,100"),
	K_OPT_NUM(0, "tol", struct args, tol, "X", NULL, "parity: tolerance in standard deviations of the golden logits, default 1e-4; of a bundle: instead of its bands"),
	K_OPT_WORD(0, "profile", struct args, profile, "engine|hf_remote", "engine", "where engines and Moonshot's remote code disagree: whose rule"),
	K_OPT_LIST(0, "bar", struct args, bars, "EXPR", "exit 1 unless EXPR holds for the summary, e.g. 'ppl<25'; repeatable"),
	K_OPT_STR(0, "report", struct args, report, "FILE", NULL, "items and summary as JSON lines into FILE"),
	K_OPT_STR(0, "junit", struct args, junit, "FILE", NULL, "items and bars as JUnit XML into FILE"),
	K_OPT_FLAG(0, "tap", struct args, tap, "items and bars as TAP version 14 on standard output"),
	K_OPT_STR(0, "plot", struct args, plot, "FILE", NULL, "needle, kld, diff: the result as a picture into FILE.svg or, by gnuplot, FILE.png"),
	K_OPT_STR(0, "resume", struct args, resume, "FILE", NULL, "write FILE item by item; continue it when it is there; imatrix: its sums are in FILE.state until it is done"),
	K_OPT_STR(0, "spool", struct args, spool, "DIR", NULL, "where an archive from a pipe that does not fit in memory may be held"),
	K_OPT_COMMON(struct args, common),
	K_OPT_COMPUTE(struct args, common),
	K_OPT_END
};

static const char *const rivals[] = { "model url", "save-ref ref", "save-ref part", "save-ref plot", NULL };

static const char *const examples[] = {
	"keval ppl -m model.kmf -f text.txt --bar 'ppl<100'",
	"keval kld -m bf16.kmf -f text.txt --save-ref text.ref",
	"keval kld -m i4.kmf -f text.txt --ref text.ref --bar 'kld_mean<0.01'",
	"keval diff before.jsonl after.jsonl --plot diff.svg",
	"keval ppl -m model.kmf -f text.txt --part 2/3 --report 2.jsonl",
	"keval merge 1.jsonl 2.jsonl 3.jsonl --report all.jsonl --bar 'ppl<100'",
	"keval parity -m tiny.kmf -f golden/",
	"keval parity -m model.kmf -f text.txt --bundle right.bundle && keval parity -m old.kmf -f right.bundle",
	"keval parity -m old.kmf -f right.bundle --bundle other.bundle && keval diff right.bundle other.bundle",
	"keval dump -m tiny.kmf -f golden/golden.json -o out.safetensors",
	"keval imatrix -m model.kmf -f text.txt -o model.imatrix.gguf",
	"kconvert hf/ | keval ppl -m - -f text.txt --json",
	"keval choice -m model.kmf -f questions.jsonl -b 4 --bar 'acc>=0.2'",
	"keval score toolcall -m model.kmf -f official.jsonl --bar 'schema_accuracy>=0.98' < vendor.jsonl",
	"keval prompts choice -f questions.jsonl | kserve --stdio model.kmf | keval score choice -f questions.jsonl",
	"kserve model.kmf & keval agent -u http://127.0.0.1:8080/v1 --steps 300 --tools 20 --bar 'invalid_calls==0'",
	NULL
};

static int find_task(int n_operands, char **operands, const struct k_eval **out, struct k_err *err)
{
	struct k_buf names;
	*out = n_operands ? k_eval_find(operands[0]) : NULL;
	if (*out)
		return 0;
	k_buf_init(&names, 0);
	for (int i = 0; k_eval_at(i); i++)
		k_buf_printf(&names, "%s ", k_eval_at(i)->name);
	k_buf_puts(&names, "merge");
	int r = k_buf_ok(&names, "names of tasks", err);
	if (r == 0 && n_operands)
		r = k_err_set(err, K_EUSAGE, "there is no task '%s'; there are: %s", operands[0], names.data);
	else if (r == 0)
		r = k_err_set(err, K_EUSAGE, "which task? There are: %s", names.data);
	k_buf_fini(&names);
	return r;
}

static int check_args(const struct args *a, struct k_err *err)
{
	if (strcmp(a->bos, "auto") && strcmp(a->bos, "yes") && strcmp(a->bos, "no"))
		return k_err_set(err, K_EUSAGE, "--bos is '%s', wanted auto, yes or no", a->bos);
	if (a->batch < 1 || a->batch > 4096)
		return k_err_set(err, K_EUSAGE, "--batch is %lld, wanted 1 to 4096", (long long)a->batch);
	if (a->window != UNSET && a->window < 2)
		return k_err_set(err, K_EUSAGE, "--window is %lld, wanted 2 or more", (long long)a->window);
	if (a->stride != UNSET && a->stride < 1)
		return k_err_set(err, K_EUSAGE, "--stride is %lld, wanted 1 or more", (long long)a->stride);
	if (a->limit < 0)
		return k_err_set(err, K_EUSAGE, "--limit is %lld, wanted a count", (long long)a->limit);
	if (a->concurrency < 1 || a->concurrency > 4096)
		return k_err_set(err, K_EUSAGE, "--concurrency is %lld, wanted 1 to 4096", (long long)a->concurrency);
	if (a->rate <= 0)
		return k_err_set(err, K_EUSAGE, "--rate is %g, wanted a number above 0", a->rate);
	if (a->timeout <= 0)
		return k_err_set(err, K_EUSAGE, "--timeout is %g, wanted a number of seconds above 0", a->timeout);
	if (a->steps != UNSET && (a->steps < 1 || a->steps > 1000000))
		return k_err_set(err, K_EUSAGE, "--steps is %lld, wanted 1 to 1000000", (long long)a->steps);
	if (a->tools != UNSET && (a->tools < 1 || a->tools > 1000))
		return k_err_set(err, K_EUSAGE, "--tools is %lld, wanted 1 to 1000", (long long)a->tools);
	if (a->tol < 0)
		return k_err_set(err, K_EUSAGE, "--tol is %g, wanted 0 or more", a->tol);
	return 0;
}

/* What only some tasks look at. */
#define ROW(option, member, tasks) { option, tasks, offsetof(struct args, member), sizeof(((struct args *)NULL)->member) }
static const struct { const char *option, *tasks; size_t at, bytes; } special[] = {
	ROW("window", window, "ppl kld imatrix parity"), ROW("stride", stride, "ppl kld"), ROW("save-ref", save_ref, "kld"), ROW("ref", ref, "kld"),
	ROW("bundle", bundle, "parity"), ROW("tol", tol, "parity diff"), ROW("steps", steps, "agent"), ROW("tools", tools, "agent"),
	ROW("lengths", lengths, "needle"), ROW("depths", depths, "needle"), ROW("limit", limit, "ppl kld imatrix parity choice gen needle toolcall"),
	ROW("seed", seed, "choice gen needle toolcall agent diff"),
};

/* In the environment it stands for the tasks that look at it. On the command line of another it is no mistake either, but nobody should believe
 * that it did something. */
static void tell_unused(struct args *a, const struct k_eval *task, const struct k_ctx *ctx)
{
	for (size_t i = 0; i < K_LEN(special); i++) {
		if (k_is_word_of(task->name, special[i].tasks))
			continue;
		k_opt_yield(&k_tool, a, special[i].option);
		if (memcmp((char *)a + special[i].at, (const char *)&unset + special[i].at, special[i].bytes))
			k_logf(ctx->log, K_LOG_WARN, "--%s says nothing to '%s', it is for: %s", special[i].option, task->name, special[i].tasks);
	}
}

static int open_model(struct k_model **out, struct k_device **dev, const struct args *a, int n_operands, char **operands,
	const struct k_ctx *ctx, struct k_err *err)
{
	struct k_model_opts mo = { .hf_remote = a->profile == 1 };
	struct k_ckpt *ck;
	const char *path = a->model;
	int r = path ? 0 : k_cli_model(n_operands - 1, operands + 1, &path, err);
	if (a->model && n_operands > 1)
		return k_err_set(err, K_EUSAGE, "two models, -m '%s' and '%s', wanted one", a->model, operands[1]);
	if (r == 0 && a->file && !strcmp(a->file, "-") && !strcmp(path, "-"))
		r = k_err_set(err, K_EUSAGE, "standard input cannot be both the model and -f");
	if (r == 0)
		r = k_device_open(dev, ctx, a->common.device, err);
	if (r == 0)
		r = k_format_open(&ck, path, true, ctx, err);
	return r < 0 ? r : k_model_open(out, ck, *dev, &mo, ctx, err);
}

/* --- who answers ------------------------------------------------------------------------------------------------------- */

enum answers { FROM_MODEL, FROM_URL, FROM_LINES, TO_LINES, FROM_FILES, FROM_PARTS };

struct run {
	struct args *a;
	const struct k_eval *task;
	enum answers from;
	int n_operands;                 /* from the task on */
	char **operands;
	struct k_model *m;
	struct k_device *dev;
	struct k_asker *asker;
	struct k_merge *merge;
};

/* "merge REPORT...": the task is what they are reports of. */
static int choose_merge(struct run *r, int n, char **operands, struct k_err *err)
{
	const struct args *a = r->a;
	k_opt_yield(&k_tool, r->a, "model url file part resume");
	if (a->model || a->url || a->file || a->part || a->resume)
		return k_err_set(err, K_EUSAGE, "merge wants the reports of parts, and none of -m, -u, -f, --part and --resume");
	int e = k_merge_open(&r->merge, (const char *const *)operands, n, err);
	r->from = FROM_PARTS;
	r->n_operands = n + 1;
	r->operands = operands - 1;
	r->task = e < 0 ? NULL : k_merge_task(r->merge);
	if (r->task && !r->task->draw)
		k_opt_yield(&k_tool, r->a, "plot");
	return e;
}

/* What the environment says of who answers, and of what this task has not, is out where the operands say other. */
static void yield(struct run *r, bool prompts, bool lines)
{
	if (r->task->files || prompts || (r->n_operands > 1 && !lines))
		k_opt_yield(&k_tool, r->a, "model url");
	if (lines || !r->task->ask)
		k_opt_yield(&k_tool, r->a, "url");
	if (prompts)
		k_opt_yield(&k_tool, r->a, "report resume junit bar");
	if (!*r->task->fields)
		k_opt_yield(&k_tool, r->a, "resume");
	if (!r->task->summarise)
		k_opt_yield(&k_tool, r->a, "part");
	if (!r->task->draw || prompts)
		k_opt_yield(&k_tool, r->a, "plot");
}

/* "prompts TASK", "score TASK", "TASK -": lines; the rest: a model or a server. */
static int choose(struct run *r, int n, char **operands, struct k_err *err)
{
	bool prompts = n && !strcmp(operands[0], "prompts"), score = n && !strcmp(operands[0], "score");
	if (n && !strcmp(operands[0], "merge"))
		return choose_merge(r, n - 1, operands + 1, err);
	r->n_operands = n - (prompts || score);
	r->operands = operands + (prompts || score);
	int e = find_task(r->n_operands, r->operands, &r->task, err);
	if (e < 0)
		return e;
	bool dash = r->task->ask && r->n_operands == 2 && !strcmp(r->operands[1], "-");
	yield(r, prompts, score || dash);
	if (r->a->part && !r->task->summarise)
		return k_err_set(err, K_EUSAGE, "--part: '%s' has no parts", r->task->name);
	if (r->a->resume && !*r->task->fields)
		return k_err_set(err, K_EUSAGE, "--resume: '%s' writes no report that could be continued; it begins anew", r->task->name);
	if (r->task->files) {
		r->from = FROM_FILES;
		return prompts || score || r->a->model || r->a->url ? k_err_set(err, K_EUSAGE, "'%s' wants reports, and nobody who answers", r->task->name) : 0;
	}
	r->from = prompts ? TO_LINES : score || dash ? FROM_LINES : r->a->url ? FROM_URL : FROM_MODEL;
	if (r->from == FROM_MODEL)
		return r->n_operands > 2 ? k_err_set(err, K_EUSAGE, "'%s' is one operand too many", r->operands[2]) : 0;
	if (!r->task->ask)
		return k_err_set(err, K_EUSAGE, "'%s' looks into the model: it needs one in the process (-m)", r->task->name);
	if ((r->a->model && r->from != FROM_LINES) || (r->from != FROM_URL && r->a->url))
		return k_err_set(err, K_EUSAGE, "one of -m, -u, prompts, score and - says who answers, wanted no more than one");
	if (r->n_operands > 1 && !dash)
		return k_err_set(err, K_EUSAGE, "'%s' is one operand too many", r->operands[1]);
	return 0;
}

/* A model (-m) lends its tokenizer and its chat layout to what was recorded. */
static int open_lines(struct run *r, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_files *files;
	struct k_reader *reader = NULL;
	struct k_ckpt *ck = NULL;
	int e = 0;
	if (r->a->model && !strcmp(r->a->model, "-"))
		return k_err_set(err, K_EUSAGE, "standard input cannot be both the model and the answers");
	if (r->a->model) {
		e = k_format_open(&ck, r->a->model, false, ctx, err);
		if (e == 0)
			e = k_ckpt_files(ck, &files, err);
		if (e == 0)
			e = k_reader_open(&reader, files, err);
		k_ckpt_close(ck);
	}
	return e < 0 ? e : k_asker_lines(&r->asker, reader, err);
}

static int open_asker(struct run *r, const struct k_eval_opts *eo, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_asker_server server = { .url = r->a->url, .name = r->a->name, .concurrency = r->a->concurrency, .rate = fmax(r->a->rate, 0),
		.timeout = fmax(r->a->timeout, 0) };
	if (r->from == FROM_URL)
		return k_asker_http(&r->asker, &server, ctx, err);
	if (r->from == FROM_LINES)
		return open_lines(r, ctx, err);
	if (r->from == TO_LINES)
		return k_asker_print(&r->asker, k_cli_write, err);
	if (r->from == FROM_FILES || r->from == FROM_PARTS)
		return 0;
	int e = open_model(&r->m, &r->dev, r->a, r->n_operands, r->operands, ctx, err);
	return e == 0 && r->task->ask ? k_asker_model(&r->asker, r->m, eo, ctx, err) : e;
}

static int do_task(struct run *r, const struct k_eval_opts *eo, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	int e = open_asker(r, eo, ctx, err);
	if (e < 0)
		return e;
	if (r->from == FROM_PARTS)
		return k_merge_report(r->merge, rep, err);
	if (r->from == FROM_FILES)
		return r->task->files((const char *const *)r->operands + 1, r->n_operands - 1, eo, rep, ctx, err);
	return r->asker ? r->task->ask(r->asker, eo, rep, ctx, err) : r->task->run(r->m, eo, rep, ctx, err);
}

/* What one run writes is as many files, and none of those that it reads. */
static int check_files(const struct run *r, struct k_err *err)
{
	const struct args *a = r->a;
	const struct k_cli_file outs[] = { { "-o", a->common.output }, { "--report", a->report }, { "--resume", a->resume }, { "--junit", a->junit },
		{ "--plot", a->plot }, { "--save-ref", a->save_ref }, { "--bundle", a->bundle } };
	const struct k_cli_file ins[] = { { "-m", a->model }, { "-f", a->file }, { "--ref", a->ref } };
	return k_cli_apart(outs, K_LEN(outs), ins, K_LEN(ins), r->n_operands - 1, r->operands + 1, err);
}

/* --- the picture --------------------------------------------------------------------------------------------------------- */

/* Before hours of work. */
static int check_plot(const struct run *r, struct k_err *err)
{
	const struct args *a = r->a;
	struct k_buf names;
	int e = 0;
	if (!a->plot)
		return 0;
	if (r->task->draw && (a->save_ref || r->from == TO_LINES))
		return k_err_set(err, K_EUSAGE, "--plot: there is nothing to draw of %s", a->save_ref ? "a reference alone" : "questions");
	if (r->task->draw)
		return k_plot_check(a->plot, err);
	k_buf_init(&names, 0);
	for (int i = 0; k_eval_at(i); i++)
		if (k_eval_at(i)->draw)
			k_buf_printf(&names, "%s%s", names.len ? " " : "", k_eval_at(i)->name);
	e = k_buf_ok(&names, "names of tasks", err);
	if (e == 0)
		e = k_err_set(err, K_EUSAGE, "--plot: there is no picture of '%s', there are of: %s", r->task->name, names.data);
	k_buf_fini(&names);
	return e;
}

/* Also of a report whose answer is no. */
static int write_plot(const struct run *r, const struct k_report *rep, struct k_err *err)
{
	struct k_picture f = { .items = k_report_items(rep), .summary = k_report_summary_of(rep), .aside = k_report_aside_of(rep) };
	struct k_plot p;
	k_plot_init(&p);
	if (!p.failed)
		r->task->draw(&p, &f);
	int e = k_plot_write(&p, r->a->plot, err);
	k_plot_fini(&p);
	return e;
}

static int64_t either(int64_t given, int64_t otherwise) { return given == UNSET ? otherwise : given; }

static int run_task(struct run *r, const struct k_ctx *ctx, struct k_err *err)
{
	const struct args *a = r->a;
	struct k_report *rep = NULL;
	char suite[64];
	bool silent = r->task->writes || r->from == TO_LINES;
	snprintf(suite, sizeof(suite), "keval.%s", r->task->name);
	struct k_report_opts ro = { .suite = suite, .fields = r->task->fields, .write = k_cli_write, .report = a->report,
		.resume = a->resume, .junit = a->junit, .bars = a->bars.v, .n_bars = a->bars.n, .keep = a->plot != NULL,
		.form = silent ? K_REPORT_SILENT : a->tap ? K_REPORT_TAP : k_cli_wants_table(&a->common) ? K_REPORT_TABLE : K_REPORT_JSON };
	struct k_eval_opts eo = { .file = a->file, .window = either(a->window, 0), .stride = either(a->stride, 0), .batch = a->batch,
		.limit = a->limit, .seed = a->seed, .bos = a->bos, .tol = a->tol, .bundle = a->bundle, .save_ref = a->save_ref,
		.ref = a->ref, .hf_remote = a->profile == 1, .resume = a->resume, .steps = either(a->steps, 0), .tools = either(a->tools, 20),
		.lengths = a->lengths ? a->lengths : "512,1024,2048", .depths = a->depths ? a->depths : "0,25,50,75,100" };
	if (r->from == TO_LINES && (a->report || a->resume || a->junit || a->bars.n))
		return k_err_set(err, K_EUSAGE, "prompts only prints questions: there is nothing to report");
	int e = a->part ? k_job_part(a->part, &eo.part, &eo.parts, err) : 0;
	if (e == 0)
		e = check_files(r, err);
	if (e == 0)
		e = check_plot(r, err);
	if (e == 0)
		e = k_report_open(&rep, &ro, err);
	if (e == 0) {
		e = do_task(r, &eo, rep, ctx, err);
		if (e == 0 && a->plot)
			e = write_plot(r, rep, err);
		e = k_report_end(rep, e, err);
	}
	k_report_close(rep);
	return e;
}

static int keval_run(struct k_ctx *ctx, void *args, int n_operands, char **operands, struct k_err *err)
{
	struct run r = { .a = args };
	int e = choose(&r, n_operands, operands, err);
	if (e == 0)
		e = check_args(r.a, err);
	if (e == 0)
		tell_unused(r.a, r.task, ctx);
	ctx->spool = r.a->spool;
	if (e == 0)
		e = run_task(&r, ctx, err);
	k_merge_close(r.merge);
	if (r.asker)
		r.asker->close(r.asker);
	k_model_close(r.m);
	k_device_close(r.dev);
	return e;
}

const struct k_tool k_tool = {
	.name = "keval",
	.about = "evaluate a model and gate on the result",
	.usage = "[prompts | score] TASK [-m MODEL | -u URL | -] [options], or keval merge REPORT... [options]",
	.text = "keval asks a model and scores it. TASK is ppl (perplexity of a text), kld (divergence of one model from "
		"another on a text, by a small file of the reference: kld_lower and kld_upper hold the exact mean, of which kld_mean, like kld_p99 and kld_max, leaves out what "
		"differs among all but the 512 likeliest tokens), parity (comparison with golden tensors or with a bundle, layer by "
		"layer), dump (logits, hidden rows, states and routing of given sequences, as safetensors), imatrix (mean squares of what enters "
		"each weight, by column and by expert, as a GGUF for kquant --scale imatrix), choice (multiple choice by log-likelihood), gen "
		"(generated answers that must match), needle (a sentence to be found in a long text), toolcall (tool calls as Kimi's vendor verifier "
		"judges them) or agent (a loop of tool calls "
		"against scripted or made-up tools). The last five ask a model in the process (-m), a server (-u), or, but for agent, lines: "
		"keval prompts TASK prints the requests, keval score TASK, or -, "
		"reads the answers by their id, so that keval prompts T | kserve --stdio M | keval score T is a pipe; score also reads recorded answers, "
		"without a server: results of the vendor verifier, and with -m raw completions and prompts, which the model's chat layout is held against. Items and a summary go to "
		"standard output as JSON lines, or as a table on a terminal. A missed --bar, or an item that failed, is exit status 1. A question that a server refuses, breaks at or leaves without an answer, "
		"while it answers others, is an item that failed; a server that is gone ends the run, exit status 5, and --resume goes on. "
		"In one process the digits are the same for every number of threads and every batch. keval diff A B says better, worse, same or undecided of report B, of reports that were "
		"asked the same, by tests that are wrong in at most 1 of 100 comparisons of a model with itself: fewer than 8 items that differ decide nothing; worse is exit status 1, unless a --bar on delta, ci95_low or ci95_high says how much worse B may be. With --part K/N a run is cut into parts for several "
		"machines; keval merge joins their reports to the bytes that one run would have written, with bars, JUnit and TAP as the task has them.",
	.opts = opts,
	.rivals = rivals,
	.examples = examples,
	.args_size = sizeof(struct args),
	.unset = &unset,
	.max_operands = -1,
	.run = keval_run,
	.library = k_client_library,
};

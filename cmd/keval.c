/* keval.c: the tool around evals/: model, options, report; a task does the rest. */
#include "libcore/base.h"
#include <stdio.h>
#include <unistd.h>
#include "cmd/cli.h"
#include "evals/report.h"
#include "formats/format.h"

struct args {
	struct k_common common;
	const char *model, *file, *bos, *report, *junit, *resume, *spool;
	int64_t window, stride, batch, limit, seed;
	double tol;
	int profile;
	bool tap;
	struct k_strs bars;
};

static const struct k_opt opts[] = {
	K_OPT_STR('m', "model", struct args, model, "MODEL", NULL, "the model; - or none: standard input"),
	K_OPT_STR('f', "file", struct args, file, "FILE", NULL, "what is asked: a text (ppl), a folder (parity), a golden.json (dump)"),
	K_OPT_OUTPUT(struct args, common),
	K_OPT_INT(0, "window", struct args, window, "N", "512", "ppl: tokens of a window"),
	K_OPT_INT(0, "stride", struct args, stride, "N", NULL, "ppl: distance of windows; default: the window"),
	K_OPT_STR(0, "bos", struct args, bos, "auto|yes|no", "auto", "ppl: put BOS before each window; auto: where the chat layout begins with it"),
	K_OPT_INT('b', "batch", struct args, batch, "N", "1", "sequences computed at once; does not change a digit"),
	K_OPT_INT(0, "limit", struct args, limit, "N", NULL, "at most N items"),
	K_OPT_INT(0, "seed", struct args, seed, "N", NULL, "for tasks that draw items"),
	K_OPT_NUM(0, "tol", struct args, tol, "X", NULL, "parity: tolerance in standard deviations of the golden logits; default 1e-4"),
	K_OPT_WORD(0, "profile", struct args, profile, "engine|hf_remote", "engine", "where engines and Moonshot's remote code disagree: whose rule"),
	K_OPT_LIST(0, "bar", struct args, bars, "EXPR", "exit 1 unless EXPR holds for the summary, e.g. 'ppl<25'; repeatable"),
	K_OPT_STR(0, "report", struct args, report, "FILE", NULL, "items and summary as JSON lines into FILE"),
	K_OPT_STR(0, "junit", struct args, junit, "FILE", NULL, "items and bars as JUnit XML into FILE"),
	K_OPT_FLAG(0, "tap", struct args, tap, "items and bars as TAP version 14 on standard output"),
	K_OPT_STR(0, "resume", struct args, resume, "FILE", NULL, "write FILE item by item; continue it when it is there"),
	K_OPT_STR(0, "spool", struct args, spool, "DIR", NULL, "where an archive from a pipe that does not fit in memory may be held"),
	K_OPT_COMMON(struct args, common),
	K_OPT_COMPUTE(struct args, common),
	K_OPT_END
};

static const char *const examples[] = {
	"keval ppl -m model.kmf -f text.txt --bar 'ppl<100'",
	"keval parity -m tiny.kmf -f golden/",
	"keval dump -m tiny.kmf -f golden/golden.json -o out.safetensors",
	"keval imatrix -m model.kmf -f text.txt -o model.imatrix.gguf",
	"kconvert hf/ | keval ppl -m - -f text.txt --json",
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
		k_buf_printf(&names, "%s%s", i ? " " : "", k_eval_at(i)->name);
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
	if (a->window < 2)
		return k_err_set(err, K_EUSAGE, "--window is %lld, wanted 2 or more", (long long)a->window);
	if (a->limit < 0)
		return k_err_set(err, K_EUSAGE, "--limit is %lld, wanted a count", (long long)a->limit);
	if (a->tol < 0)
		return k_err_set(err, K_EUSAGE, "--tol is %g, wanted a number above 0", a->tol);
	return 0;
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

static int keval_run(struct k_ctx *ctx, void *args, int n_operands, char **operands, struct k_err *err)
{
	const struct args *a = args;
	const struct k_eval *task;
	struct k_model *m = NULL;
	struct k_device *dev = NULL;
	struct k_report *rep = NULL;
	char suite[64];
	int r = find_task(n_operands, operands, &task, err);
	if (r == 0)
		r = check_args(a, err);
	if (r < 0)
		return r;
	ctx->spool = a->spool;
	snprintf(suite, sizeof(suite), "keval.%s", task->name);
	bool table = k_cli_wants_table(&a->common);
	struct k_report_opts ro = { .suite = suite, .fields = task->fields, .write = k_cli_write, .report = a->report,
		.resume = a->resume, .junit = a->junit, .bars = a->bars.v, .n_bars = a->bars.n,
		.form = task->writes ? K_REPORT_SILENT : a->tap ? K_REPORT_TAP : table ? K_REPORT_TABLE : K_REPORT_JSON };
	struct k_eval_opts eo = { .file = a->file, .window = a->window, .stride = a->stride, .batch = a->batch,
		.limit = a->limit, .seed = a->seed, .bos = a->bos, .tol = a->tol, .hf_remote = a->profile == 1, .resume = a->resume };
	r = k_report_open(&rep, &ro, err);
	if (r == 0) {
		r = open_model(&m, &dev, a, n_operands, operands, ctx, err);
		if (r == 0)
			r = task->run(m, &eo, rep, ctx, err);
		r = k_report_end(rep, r, err);
	}
	k_report_close(rep);
	k_model_close(m);
	k_device_close(dev);
	return r;
}

const struct k_tool k_tool = {
	.name = "keval",
	.about = "evaluate a model and gate on the result",
	.usage = "TASK [-m MODEL] [options]",
	.text = "keval asks a model and scores it. TASK is ppl (perplexity of a text), parity (comparison with golden tensors, layer by "
		"layer), dump (logits, hidden rows, states and routing of given sequences, as safetensors) or imatrix (mean squares of what enters "
		"each weight, by column and by expert, as a GGUF for kquant --scale imatrix). Items and a summary go to "
		"standard output as JSON lines, or as a table on a terminal. A missed --bar, or an item that failed, is exit status 1. "
		"In one process the digits are the same for every number of threads and every batch.",
	.opts = opts,
	.examples = examples,
	.args_size = sizeof(struct args),
	.max_operands = 2,
	.run = keval_run,
};

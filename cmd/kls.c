/* kls.c: look at a model: options, and which action of cmd/kls/ they ask for. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "formats/format.h"

struct args {
	struct k_common common;
	bool head, history, verify, stats, budget, raw, whole, specials, ids, diff;
	bool manifest, shards;
	const char *dump, *tokens, *render, *layout, *spool, *sign, *resign, *check_sign, *sig, *copy, *rederive, *from, *name_map;
	int64_t ctx;
	int act, kv;
};

static const struct k_opt opts[] = {
	K_OPT_FLAG(0, "head", struct args, head, "architecture and config"),
	K_OPT_FLAG(0, "history", struct args, history, "how the file came to be, a step a line"),
	K_OPT_FLAG(0, "verify", struct args, verify, "check everything that loading would check, every digest and every value"),
	K_OPT_FLAG(0, "stats", struct args, stats, "smallest and largest value, rms and zeros of each tensor"),
	K_OPT_FLAG(0, "budget", struct args, budget, "bytes read per decoded token by part; resident memory"),
	K_OPT_INT(0, "ctx", struct args, ctx, "N", "4096", "with --budget: context length"),
	K_OPT_WORD(0, "act", struct args, act, "f32|bf16|int8", "f32", "with --budget: as in the tools that compute"),
	K_OPT_WORD(0, "kv", struct args, kv, "auto|f32|bf16|int8", "auto", "with --budget: what keys and values are kept in, as in the tools that compute"),
	K_OPT_STR(0, "dump", struct args, dump, "NAME", NULL, "one tensor as npy in f32, named and ordered as in this file"),
	K_OPT_FLAG(0, "raw", struct args, raw, "with --dump: the bytes as stored"),
	K_OPT_FLAG(0, "diff", struct args, diff, "compare two models; exit 1 when they differ"),
	K_OPT_STR(0, "tokens", struct args, tokens, "FILE", NULL, "text to token ids, a JSON array a line; - is standard input"),
	K_OPT_FLAG(0, "whole", struct args, whole, "with --tokens: one array for the whole file"),
	K_OPT_FLAG(0, "specials", struct args, specials, "with --tokens: the texts of special tokens become their ids"),
	K_OPT_FLAG(0, "ids", struct args, ids, "with --tokens: the other way round, arrays of ids to text"),
	K_OPT_STR(0, "render", struct args, render, "FILE", NULL, "a chat request (JSON) to its prompt and ids; - is standard input"),
	K_OPT_STR(0, "chat-layout", struct args, layout, "NAME", NULL, "with --render: layout, where the model does not name one"),
	K_OPT_STR(0, "rederive", struct args, rederive, "NAME", NULL, "make one tensor, or one expert, again as --history says and compare; exit 1 when different"),
	K_OPT_STR(0, "from", struct args, from, "SOURCE", NULL, "with --rederive: the model that MODEL was made of; a multimodal one, too, whose text model it is"),
	K_OPT_STR(0, "name-map", struct args, name_map, "FILE", NULL, "with --from: the rules by which kconvert --name-map renamed SOURCE's tensors"),
	K_OPT_FLAG(0, "manifest", struct args, manifest, "the files and their digests, for sha256sum -c"),
	K_OPT_STR(0, "sign", struct args, sign, "KEY", NULL, "sign with a private key in PEM (P-256, P-384, P-521): an OpenSSF Model Signing bundle"),
	K_OPT_FLAG(0, "shards", struct args, shards, "with --sign: by shards, on all cores; verifiers that know whole files alone cannot read it"),
	K_OPT_STR(0, "resign", struct args, resign, "SIG", NULL, "with --sign: by shards, reading only those that changed since SIG was made with the same key"),
	K_OPT_STR(0, "check-sign", struct args, check_sign, "PUB", NULL, "check signature and every byte; exit 1 with tensor and offset when anything differs"),
	K_OPT_STR(0, "sig", struct args, sig, "SIG", NULL, "with --check-sign: the signature"),
	K_OPT_STR(0, "copy", struct args, copy, "FILE", NULL, "with --check-sign: the model goes to FILE (- is standard output), no shard before it is checked"),
	K_OPT_OUTPUT(struct args, common),
	K_OPT_STR(0, "spool", struct args, spool, "DIR", NULL, "where an archive from a pipe that does not fit in memory may be held"),
	K_OPT_COMMON(struct args, common),
	K_OPT_END
};

static const char *const rivals[] = { "head history verify stats budget diff dump tokens render rederive manifest sign check-sign", NULL };

static const char *const examples[] = {
	"kls model.kmf",
	"kls --verify model.kmf",
	"kls --history model.kmf",
	"kls --dump model.norm.weight model.kmf > out.npy",
	"echo 'Hello world' | kls --tokens - model.kmf",
	"kls --diff hf/ model.kmf",
	"kls --rederive model.layers.1.block_sparse_moe.experts.3.w1.weight --from hf/ model.kmf",
	"kls --manifest model.kmf | sha256sum -c",
	"kls --sign key.pem -o model.sig model.kmf",
	"kls --check-sign pub.pem --sig model.sig model.kmf",
	"ssh host cat model.kmf | kls --check-sign pub.pem --sig model.sig --copy - - | kquant -t i4g32 > small.kmf",
	"kls --budget --ctx 32768 --json model.kmf",
	NULL
};

static int diff(const struct args *a, char **operands, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_ckpt *x = NULL, *y = NULL;
	int r;

	if (strcmp(operands[0], "-") == 0 && strcmp(operands[1], "-") == 0)
		return k_err_set(err, K_EUSAGE, "standard input cannot be both models of --diff");
	r = k_format_open(&x, operands[0], false, ctx, err);

	if (r == 0)
		r = k_format_open(&y, operands[1], false, ctx, err);
	if (r == 0 && (x->sequential || y->sequential))
		r = k_err_set(err, K_EUSAGE, "--diff wants two files, not a pipe");
	if (r == 0)
		r = k_kls_diff(x, y, k_cli_wants_table(&a->common), ctx, err);
	k_ckpt_close(x);
	k_ckpt_close(y);
	return r;
}

static int act(const struct args *a, struct k_ckpt *c, const struct k_ctx *ctx, struct k_err *err)
{
	bool table = k_cli_wants_table(&a->common);
	struct k_kls_tokens tokens = { a->tokens, a->whole, a->specials, a->ids };
	struct k_kls_rederive rederive = { a->rederive, a->from, a->name_map };

	if (a->verify)
		return k_kls_verify(c, table, ctx, err);
	if (a->tokens)
		return k_kls_tokens(c, &tokens, err);
	if (a->render)
		return k_kls_render(c, a->render, a->layout, err);
	if (c->sequential && (a->dump || a->stats))
		return k_err_set(err, K_EUSAGE, "--%s wants a file or a folder, not a pipe", a->dump ? "dump" : "stats");
	if (a->dump)
		return k_kls_dump(c, a->dump, a->raw, ctx, err);
	if (a->head)
		return k_kls_head(c, table, err);
	if (a->history)
		return k_kls_history(c, table, err);
	if (a->rederive)
		return a->from ? k_kls_rederive(c, &rederive, ctx, err) : k_err_set(err, K_EUSAGE, "--rederive wants the model's source: --from SOURCE");
	if (a->stats)
		return k_kls_stats(c, table, ctx, err);
	if (a->budget)
		return k_kls_budget(c, a->ctx, k_kv_of(&(struct k_ctx){ .act = (enum k_act)a->act, .kv = a->kv }, true), table, err);
	return k_kls_list(c, table, err);
}

/* The actions that look at files, whatever is in them. */
static int act_on_files(const struct args *a, const char *path, struct k_ctx *ctx, struct k_err *err)
{
	struct k_kls_sign sign = { a->sign, a->resign, a->common.output, a->shards };
	struct k_kls_check check = { a->check_sign, a->sig, a->copy };

	if (a->manifest)
		return k_kls_manifest(path, a->common.output, ctx, err);
	if (a->sign)
		return k_kls_sign(&sign, path, ctx, err);
	if (!a->sig)
		return k_err_set(err, K_EUSAGE, "--check-sign wants the signature: --sig FILE.sig");
	return k_kls_check_sign(&check, path, ctx, err);
}

/* An option that belongs to an action is nothing without it. */
static int check_company(struct args *a, struct k_err *err)
{
	const struct { bool action; const char *options; } company[] = { { a->dump, "raw" }, { a->tokens, "whole specials ids" }, { a->render, "chat-layout" },
		{ a->rederive, "from name-map" }, { a->sign, "shards resign" }, { a->check_sign, "sig copy" } };
	for (size_t i = 0; i < K_LEN(company); i++)
		if (!company[i].action)
			k_opt_yield(&k_tool, a, company[i].options);
	const struct { bool given, action; const char *name, *wants; } rows[] = {
		{ a->raw, a->dump, "--raw", "--dump NAME" },
		{ a->whole || a->specials || a->ids, a->tokens, a->whole ? "--whole" : a->specials ? "--specials" : "--ids", "--tokens FILE" },
		{ a->layout, a->render, "--chat-layout", "--render FILE" },
		{ a->from || a->name_map, a->rederive, a->from ? "--from" : "--name-map", "--rederive NAME" },
		{ a->shards || a->resign, a->sign, a->shards ? "--shards" : "--resign", "--sign KEY" },
		{ a->sig || a->copy, a->check_sign, a->sig ? "--sig" : "--copy", "--check-sign PUB" },
	};

	for (size_t i = 0; i < K_LEN(rows); i++) {
		if (rows[i].given && !rows[i].action)
			return k_err_set(err, K_EUSAGE, "%s does nothing without %s", rows[i].name, rows[i].wants);
	}
	return 0;
}

/* A new signature may take the place of the one that it goes on from (--resign). */
static int check_files(const struct args *a, int n_operands, char **operands, struct k_err *err)
{
	const struct k_cli_file outs[] = { { "-o", a->common.output }, { "--copy", a->copy } };
	const struct k_cli_file ins[] = { { "--tokens", a->tokens }, { "--render", a->render }, { "--from", a->from }, { "--name-map", a->name_map }, { "--sign", a->sign },
		{ "--check-sign", a->check_sign }, { "--sig", a->sig } };

	return k_cli_apart(outs, K_LEN(outs), ins, K_LEN(ins), n_operands, operands, err);
}

static int run(struct k_ctx *ctx, void *args, int n_operands, char **operands, struct k_err *err)
{
	struct args *a = args;
	int n_actions = a->head + a->history + a->verify + a->stats + a->budget + a->diff + !!a->dump + !!a->tokens + !!a->render +
		a->manifest + !!a->sign + !!a->check_sign + !!a->rederive;
	struct k_ckpt *c = NULL;
	const char *path;
	int r;

	if (n_actions > 1)
		return k_err_set(err, K_EUSAGE, "one of --head, --history, --verify, --stats, --budget, --diff, --dump, --tokens, --render, --rederive, --manifest, --sign, --check-sign at a time");
	if (a->ctx < 0)
		return k_err_set(err, K_EUSAGE, "--ctx %lld is negative", (long long)a->ctx);
	r = check_company(a, err);
	if (r == 0)
		r = check_files(a, n_operands, operands, err);
	if (r < 0)
		return r;
	ctx->spool = a->spool;
	if (a->diff)
		return n_operands == 2 ? diff(a, operands, ctx, err) : k_err_set(err, K_EUSAGE, "--diff wants two models, got %d", n_operands);
	if (n_operands > 1)
		return k_err_set(err, K_EUSAGE, "one model at a time; '%s' is too many", operands[1]);
	r = k_cli_model(n_operands, operands, &path, err);
	if (r == 0 && (a->manifest || a->sign || a->check_sign))
		return act_on_files(a, path, ctx, err);
	if (r == 0)
		r = k_format_open(&c, path, false, ctx, err);
	if (r == 0)
		r = act(a, c, ctx, err);
	k_ckpt_close(c);
	return r;
}

const struct k_tool k_tool = {
	.name = "kls", .about = "list, verify and compare models", .usage = "[options] MODEL\nkls --diff A B",
	.text = "Without an action, lists the entries of a model: name, role, type, shape, bytes. MODEL is anything that kconvert reads; --tokens and --render "
		"need only its tokenizer files.\n\n"
		"A signature covers every byte of MODEL, a file, a folder, or all parts of a split GGUF, of which the first is named; other verifiers of "
		"OpenSSF Model Signing read it too. --sign reads a container "
		"twice: before its bytes are signed they are compared with its own digests, and one that is damaged is refused. --check-sign looks at "
		"the signature first, with the key that is given and none that lies beside it, then at every byte. From a pipe use --copy: nothing "
		"reaches FILE, or standard output, that was not checked before.",
	.opts = opts, .rivals = rivals, .examples = examples, .args_size = sizeof(struct args), .max_operands = 2, .run = run,
};

/* kconvert.c: any checkpoint in, any checkpoint out. What is read and written is the business of formats/ and libcore/stream.c; here
 * are the options, the types of the output's entries and what is said about it. */
#include "libcore/base.h"
#include "cmd/cli.h"
#include "cmd/kconvert/transport.h"
#include "formats/format.h"
#include "formats/verify.h"
#include "libcore/history.h"
#include "libcore/import.h"
#include "libcore/job.h"
#include "libcore/kmf_target.h"
#include "libcore/recipe.h"
#include "libcore/rename.h"
#include "libcore/seal.h"

enum { DTYPE_KEEP, DTYPE_BF16, DTYPE_F16, DTYPE_F32 };

struct args {
	struct k_common common;
	const char *out, *to, *spool, *part, *certificate, *name_map;
	uint64_t shard_size;
	int dtype;
	bool verify, keep_fp8, dequant, text_only, plan, resume, seal, require, lossy;
	struct k_transport transport;
};

static const struct k_opt opts[] = {
	K_OPT_STR('o', "output", struct args, out, "FILE", NULL, "write to FILE (a folder for hf) instead of standard output"),
	K_OPT_STR(0, "to", struct args, to, "FORMAT", "kmf", "output format: kmf, hf, gguf, safetensors"),
	K_OPT_SIZE(0, "shard-size", struct args, shard_size, "SIZE", NULL, "for hf and gguf: most bytes of tensors in a file; its head comes on top, and a larger tensor has a file for itself (hf: 5GB; gguf: one file)"),
	K_OPT_WORD(0, "dtype", struct args, dtype, "keep|bf16|f16|f32", "keep", "type of the plain floating tensors; what a narrowing loses is counted and said"),
	K_OPT_FLAG(0, "keep-fp8", struct args, keep_fp8, "block FP8 stays block FP8 (the default)"),
	K_OPT_FLAG(0, "dequant", struct args, dequant, "expand INT4, FP8, MXFP4 and GGUF's block types to bf16"),
	K_OPT_FLAG(0, "text-only", struct args, text_only, "leave out vision towers and projectors; the text model's config and names become the model's"),
	K_OPT_STR(0, "name-map", struct args, name_map, "FILE", NULL, "rename tensors: lines of FROM TO; what pattern FROM finds in a name becomes TO"),
	K_OPT_FLAG(0, "plan", struct args, plan, "read only heads; print what would be written, memory and disk; exit 6 if it cannot fit"),
	K_OPT_STR(0, "certificate", struct args, certificate, "FILE", NULL, "JSON lines: digests of every tensor's source and output, and whether every value was kept"),
	K_OPT_FLAG(0, "require-lossless", struct args, require, "exit 1 and write nothing when a value is not kept exactly"),
	K_OPT_FLAG(0, "lossy", struct args, lossy, "allow a type that cannot hold every value exactly (otherwise refused, with the list); "
		"a value that is too large for it is refused in any case, and a scale of integers becomes the largest there is"),
	K_OPT_FLAG(0, "verify", struct args, verify, "read the output back and compare every value with the source, decoded by other code"),
	K_OPT_FLAG(0, "resume", struct args, resume, "keep a journal beside OUT, and go on where an interrupted run of the same conversion ended"),
	K_OPT_STR(0, "part", struct args, part, "K/N", NULL, "write part K of N of OUT, in any order and on any machine that sees OUT.parts"),
	K_OPT_FLAG(0, "seal", struct args, seal, "complete OUT (the operand) when all its parts are there"),
	K_OPT_FLAG(0, "pack", struct args, transport.pack, "entries packed without loss for transport; every tool reads them as they are"),
	K_OPT_STR(0, "since", struct args, transport.since, "BASE", NULL, "write only what container BASE does not have; kconvert BASE DELTA -o FULL restores it"),
	K_OPT_STR(0, "spool", struct args, spool, "DIR", NULL, "where an archive from a pipe that does not fit in memory may be held"),
	K_OPT_COMMON(struct args, common),
	K_OPT_END
};

static const char *const rivals[] = { "keep-fp8 dequant", "require-lossless lossy", "seal output", "seal part", "part certificate", "since resume", "since part",
	"pack resume", "pack part", NULL };

static const char *const examples[] = {
	"kconvert hf/ -o out.kmf",
	"tar c -C hf . | kconvert - | kls --verify -",
	"kconvert model.kmf --to hf -o out.hf && rm -r out.hf",
	"kconvert --dtype f32 --to safetensors hf/ > out.safetensors",
	"kconvert hf/ --to gguf -o out.gguf",
	"kconvert --plan hf/",
	"kconvert hf/ --certificate out.jsonl --require-lossless -o out.kmf",
	"kconvert hf/ --resume -o out.kmf",
	"kconvert --pack hf/ | ssh host 'cat > packed.kmf'",
	"kconvert new/ --since old.kmf -o delta.kmf && kconvert old.kmf delta.kmf -o new.kmf",
	"for k in 1 2 3; do kconvert hf/ --part $k/3 -o parts.kmf; done && kconvert --seal parts.kmf",
	NULL
};

/* --- types of the output ------------------------------------------------------------------------------------------------ */

static const char *const dtype_names[] = { NULL, "bf16", "f16", "f32" };

/* --- running ------------------------------------------------------------------------------------------------------------ */

static int note_choices(const struct args *a, int changed, struct k_json *history, struct k_err *err)
{
	struct k_json *row;

	if (!changed)
		return 0;
	row = k_json_object();
	if (!row || k_json_set(row, "step", k_json_new_string("retype", 6)) < 0 || k_json_set(row, "format", k_json_new_int(1)) < 0 ||
	    (a->dtype && k_json_set(row, "dtype", k_json_new_string(dtype_names[a->dtype], strlen(dtype_names[a->dtype]))) < 0) ||
	    (a->dequant && k_json_set(row, "dequant", k_json_new_bool(true)) < 0)) {
		k_json_free(row);
		row = NULL;
	}
	return k_history_add(history, row, err);
}

static int convert(const struct args *a, struct k_ckpt *in, struct k_target *target, bool folder, bool changes, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_job job = { .out = a->out, .folder = folder, .resume = a->resume, .plan = a->plan, .table = k_cli_wants_table(&a->common), .verify = a->verify ? &k_verify_job : NULL, .watch_losses = changes || a->certificate,
		.certificate = { a->certificate, a->require, a->lossy } };
	int r = 0;

	job.stream = (struct k_stream){ .in = in, .target = target, .what = "converting" };
	if (a->part)
		r = k_job_part(a->part, &job.stream.part, &job.stream.n_parts, err);
	if (r == 0 && a->part && (a->certificate || target->n_files != 1))
		r = k_err_set(err, K_EUSAGE, "--part makes a part of one file, and %s", a->certificate ? "a certificate is of the whole: run kconvert --certificate on the sealed file" : "this output is several");
	if (r == 0)
		r = k_job_run(&job, ctx, err);
	return r;
}

static int to_format(const struct args *a, const struct k_format *f, struct k_ckpt *in, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_write_opts o = { .shard_size = a->shard_size, .dequant = a->dequant, .dtype = dtype_names[a->dtype] };
	bool named = a->out && strcmp(a->out, "-") != 0;
	struct k_target *target;
	int r;

	/* Of a plan nobody sees what its files are called. */
	r = f->target(&target, in, named ? a->out : a->plan ? "model.gguf" : NULL, &o, ctx, err);
	if (r < 0)
		return r;
	r = convert(a, in, target, f->folder, true, ctx, err);
	k_target_free(target);
	return r;
}

static int to_container(const struct args *a, struct k_ckpt *in, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_entry *out = k_calloc((size_t)in->n_entries + 1, sizeof(*out));
	struct k_json *history = NULL;
	struct k_kmf_spec spec = { .in = in, .out = out };
	struct k_target *target = NULL;
	int changed = 0, r = 0;

	if (!out)
		return k_err_nomem(err, (size_t)in->n_entries * sizeof(*out), "the entries");
	for (int i = 0; r == 0 && i < in->n_entries; i++) {
		out[i] = in->entries[i];
		r = k_recipe_retype(&out[i], dtype_names[a->dtype], a->dequant, err);
		changed += out[i].type != in->entries[i].type;
	}
	if (r == 0)
		r = k_history_new(&history, in, err);
	if (r == 0)
		r = note_choices(a, changed, history, err);
	spec.history = history;
	if (r == 0)
		r = k_transport_target(&a->transport, &target, &spec, ctx, err);
	if (r == 0)
		r = convert(a, in, target, false, changed, ctx, err);
	k_target_free(target);
	k_json_free(history);
	k_free(out);
	return r;
}

/* Containers and GGUF have their names already. */
static int check_names(const struct args *a, const struct k_ckpt *in, struct k_err *err)
{
	if (!a->text_only && !a->name_map)
		return 0;
	for (int i = 0; i < in->n_entries; i++)
		if (k_import_raw(in, i, 0) && !in->entries[i].source)
			return 0;
	return k_err_set(err, K_EUSAGE, "'%s': --text-only and --name-map are for folders and safetensors files; a container's names were settled when it was made", in->path);
}

/* A model may take the place of the one that it is made of, once it is whole; nothing else that is written may. */
static int check_files(const struct args *a, int n_operands, char **operands, struct k_err *err)
{
	const struct k_cli_file outs[] = { { "--certificate", a->certificate }, { "-o", a->out } };
	const struct k_cli_file ins[] = { { "--name-map", a->name_map }, { "--since", a->transport.since } };
	int r = k_cli_apart(outs, K_LEN(outs), ins, K_LEN(ins), 0, NULL, err);

	return r == 0 ? k_cli_apart(outs, 1, NULL, 0, n_operands, operands, err) : r;
}

static int run(struct k_ctx *ctx, void *args, int n_operands, char **operands, struct k_err *err)
{
	struct args *a = args;
	const struct k_format *f = k_format_find(a->to);
	struct k_renames *renames = NULL;
	struct k_ckpt *in = NULL;
	int r;

	if (!f || (!f->target && strcmp(a->to, "kmf") != 0))
		return k_err_set(err, K_EUSAGE, "--to '%s': wanted kmf, hf, gguf or safetensors", a->to);
	if (a->keep_fp8 && a->dequant)
		return k_err_set(err, K_EUSAGE, "--keep-fp8 and --dequant exclude each other");
	if (a->require && a->lossy)
		return k_err_set(err, K_EUSAGE, "--require-lossless and --lossy exclude each other");
	if (strcmp(a->to, "hf") != 0 && strcmp(a->to, "gguf") != 0)
		k_opt_yield(&k_tool, a, "shard-size");
	if (strcmp(a->to, "kmf") != 0)
		k_opt_yield(&k_tool, a, "pack since");
	if (a->shard_size && strcmp(a->to, "hf") != 0 && strcmp(a->to, "gguf") != 0)
		return k_err_set(err, K_EUSAGE, "--shard-size is for hf and gguf: %s is one file", a->to);
	if (a->seal && (a->out || a->part))
		return k_err_set(err, K_EUSAGE, "--seal wants the name of the output as its operand, and neither -o nor --part");
	if (strcmp(a->to, "hf") == 0 && (!a->out || strcmp(a->out, "-") == 0) && !a->plan)
		return k_err_set(err, K_EUSAGE, "--to hf writes a folder: -o DIR is wanted");
	if (a->seal)
		return n_operands == 1 ? k_seal(operands[0], ctx, err) : k_err_set(err, K_EUSAGE, "--seal wants the name of the output, got %d operands", n_operands);
	if ((a->resume || a->part) && (n_operands == 0 || strcmp(operands[n_operands - 1], "-") == 0))
		return k_err_set(err, K_EUSAGE, "--resume and --part want an input that can be read again: a file or a folder");
	if (k_transport_check(&a->transport, a->to, a->resume || a->part, err) < 0)
		return err->code;
	if (check_files(a, n_operands, operands, err) < 0)
		return err->code;
	ctx->spool = a->spool;
	ctx->text_only = a->text_only;
	r = a->name_map ? k_renames_read(&renames, a->name_map, err) : 0;
	ctx->renames = renames;
	if (r == 0)
		r = k_transport_open(&a->transport, &in, n_operands, operands, ctx, err);
	k_renames_free(renames);
	ctx->renames = NULL;
	if (r == 0)
		r = check_names(a, in, err);
	if (r == 0)
		r = strcmp(a->to, "kmf") == 0 ? to_container(a, in, ctx, err) : to_format(a, f, in, ctx, err);
	k_ckpt_close(in);
	k_transport_close(&a->transport);
	return r;
}

const struct k_tool k_tool = {
	.name = "kconvert", .about = "convert a model checkpoint", .usage = "[options] [MODEL | BASE DELTA] [-o OUT]",
	.text = "Reads a checkpoint - a Hugging Face folder, a safetensors or GGUF file (the first of a split one), a tar archive of these, or a KMF container - and writes it as a KMF "
		"container, a Hugging Face folder, a GGUF or a safetensors file. What the input is, is found by looking at its first bytes. MODEL may be '-': a KMF or tar "
		"stream on standard input.\n\n"
		"Every tensor's name and shape is checked against the architecture that config.json names, and every value for being a number. INT4 "
		"(compressed-tensors), block FP8 and MXFP4 pass through without being decoded; GPTQ, AWQ and AutoRound become types that hold their values exactly. Memory stays "
		"under 512 MiB whatever the model's size. The same input and options give the same bytes on every machine.\n\n"
		"To GGUF go Llama, the Kimi-K2 family, Kimi-Linear and Kimi-K3; what is no part of the text model is left out. INT4 becomes Q4_0 by moving bits, where f16 holds "
		"each group's scale; other values are refused without --lossy. MXFP4 stays, INT8 rows become Q8_0, block FP8 becomes bf16, GGUF's own types are as they "
		"were; vectors, norms, routers and convolutions are f32. With --shard-size, -o m.gguf names the files m-00001-of-00004.gguf and so on.\n\n"
		"For transport --pack makes a container smaller, and --since writes of a model only what another one has not. Both are containers: every tool reads a "
		"packed one as it is, and a delta is read by kconvert together with its base.",
	.opts = opts, .rivals = rivals, .examples = examples, .args_size = sizeof(struct args), .max_operands = 2, .run = run,
};

/* safetensors.c: one safetensors file: a checkpoint without a config. Its head is read by st_head.c, written by st_plan.c and
 * st_target.c. */
#include "libcore/base.h"
#include <limits.h>
#include <stdio.h>
#include "formats/format_int.h"
#include "formats/st.h"
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/rename.h"

static int taste(const struct k_format_in *in, const void *head, size_t n)
{
	return !in->dir && k_st_taste(head, n) ? 80 : 0;
}

/* One shard, as other tools want the first of a split GGUF: who gives it means the model. */
static void say_alone(const struct k_format_in *in)
{
	const char *slash = strrchr(in->path, '/'), *folder = slash ? in->path : ".";
	int n = slash ? (int)(slash - in->path) : 1;
	char config[PATH_MAX];

	/* What lies beside it in a folder or an archive was seen before. */
	if (!in->beside && snprintf(config, sizeof(config), "%.*s/config.json", n, folder) < (int)sizeof(config) && k_path_exists(config))
		k_logf(in->ctx->log, K_LOG_INFO, "'%s' is read alone, as tensors without a config; the model is its folder, '%.*s'", in->path, K_MAX(n, 1), folder);
}

static int open_file(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	struct k_rawset *set = k_format_new_set(k_source_name(in->src), err);

	if (!set) {
		k_source_close(in->src);
		return err->code;
	}
	say_alone(in);
	if (k_st_read_head(set, in->src, err) < 0 || k_rename(set, in->ctx->renames, in->ctx->text_only, in->ctx->log, err) < 0) {
		k_format_free_set(set);
		return err->code;
	}
	return k_import(out, set, in->ctx->log, err);
}

static int target(struct k_target **out, struct k_ckpt *c, const char *path K_UNUSED, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_st_plan *p;
	int r = k_st_plan_new(&p, c, o, 0, err);

	return r < 0 ? r : k_st_target_new(out, p, false, o, ctx, err);
}

const struct k_format k_format_safetensors = {
	.name = "safetensors", .about = "one safetensors file", .taste = taste, .open = open_file, .target = target,
};

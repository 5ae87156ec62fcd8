/* safetensors.c: one safetensors file: a checkpoint without a config. Its head is read by st_head.c, written by st_plan.c and
 * st_write.c. */
#include "libcore/base.h"
#include "formats/format_int.h"
#include "formats/st.h"
#include "libcore/import.h"

static int taste(const struct k_format_in *in, const void *head, size_t n)
{
	return !in->dir && k_st_taste(head, n) ? 80 : 0;
}

static int open_file(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	struct k_rawset *set = k_format_new_set(k_source_name(in->src), err);

	if (!set) {
		k_source_close(in->src);
		return err->code;
	}
	if (k_st_read_head(set, in->src, err) < 0) {
		k_format_free_set(set);
		return err->code;
	}
	return k_import(out, set, in->ctx->log, err);
}

/* --- writing ---------------------------------------------------------------------------------------------------------------- */

static int begin(void *arg, int64_t shard K_UNUSED, struct k_sink **sink, struct k_err *err)
{
	int r = k_sink_open(sink, arg, err);

	if (r == 0 && k_sink_is_terminal(*sink))
		r = k_err_set(err, K_EUSAGE, "weights are not written to a terminal; use -o FILE or a pipe");
	return r;
}

static int end(void *arg K_UNUSED, int64_t shard K_UNUSED, struct k_sink *sink, struct k_err *err)
{
	int r = k_sink_commit(sink, err);

	k_sink_close(sink);
	return r;
}

static int write_file(struct k_ckpt *c, const char *path, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_st_out to = { begin, end, (void *)(uintptr_t)path };
	struct k_st_plan *p;
	int r = k_st_plan_new(&p, c, o, 0, err);

	if (r == 0)
		r = k_st_write(p, &to, ctx, err);
	k_st_plan_free(p);
	return r;
}

const struct k_format k_format_safetensors = {
	.name = "safetensors", .about = "one safetensors file", .taste = taste, .open = open_file, .write = write_file,
};

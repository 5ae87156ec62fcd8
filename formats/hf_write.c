/* hf_write.c: a checkpoint as a Hugging Face folder: shards, their index, side files, and last config.json, so that a folder that
 * was cut off is no model. What was written before a failure is removed. */
#include "libcore/base.h"
#include "formats/st.h"
#include "libcore/log.h"
#include <stdio.h>
#include <unistd.h>

struct folder {
	const char *path;
	const struct k_st_plan *plan;
	struct k_arena arena;
	char **written; int64_t n_written;      /* paths under their final names */
};

static char *shard_name(struct folder *f, int64_t shard)
{
	long long n = (long long)f->plan->n_shards;

	if (n == 1)
		return k_arena_strdup(&f->arena, "model.safetensors");
	return k_arena_printf(&f->arena, "model-%05lld-of-%05lld.safetensors", (long long)shard + 1, n);
}

static char *path_of(struct folder *f, const char *name)
{
	return k_arena_printf(&f->arena, "%s%s%s", f->path, f->path[strlen(f->path) - 1] == '/' ? "" : "/", name);
}

/* Commits and closes. */
static int commit(struct folder *f, struct k_sink *sink, struct k_err *err)
{
	int r;

	f->written[f->n_written] = k_arena_strdup(&f->arena, k_sink_name(sink));
	if (f->written[f->n_written]) {
		f->n_written++;
		r = k_sink_commit(sink, err);
	} else {
		r = k_err_nomem(err, strlen(k_sink_name(sink)), "a file name");
	}
	k_sink_close(sink);
	return r;
}

static int begin_shard(void *arg, int64_t shard, struct k_sink **sink, struct k_err *err)
{
	struct folder *f = arg;
	char *name = shard_name(f, shard), *path = name ? path_of(f, name) : NULL;

	*sink = NULL;
	return path ? k_sink_open(sink, path, err) : k_err_nomem(err, strlen(f->path), "a file name");
}

static int end_shard(void *arg, int64_t shard K_UNUSED, struct k_sink *sink, struct k_err *err)
{
	return commit(arg, sink, err);
}

static int put_file(struct folder *f, const char *name, const void *p, size_t n, struct k_err *err)
{
	char *path = path_of(f, name);
	struct k_sink *sink;
	int r;

	if (!path)
		return k_err_nomem(err, strlen(f->path), "a file name");
	r = k_sink_open(&sink, path, err);
	if (r < 0)
		return r;
	r = k_sink_write(sink, p, n, err);
	if (r == 0)
		return commit(f, sink, err);
	k_sink_close(sink);
	return r;
}

/* --- index -------------------------------------------------------------------------------------------------------------------- */

static struct k_json *weight_map(struct folder *f)
{
	struct k_json *map = k_json_object();
	int r = map ? 0 : -1;

	for (int64_t i = 0; r == 0 && i < f->plan->n_shards; i++) {
		const struct k_st_shard *s = &f->plan->shards[i];
		char *name = shard_name(f, i);
		struct k_json *file = name ? k_json_new_string(name, strlen(name)) : NULL;

		if (!file)
			r = -1;
		for (int64_t k = s->first; r == 0 && k < s->first + s->n; k++)
			r = k_json_set(map, f->plan->parts[k].name, k_json_keep(file));
		k_json_free(file);
	}
	if (r == 0)
		return map;
	k_json_free(map);
	return NULL;
}

static int put_index(struct folder *f, struct k_err *err)
{
	struct k_json *index = k_json_object(), *meta = k_json_object();
	uint64_t bytes = 0;
	struct k_buf b;
	bool ok = index && meta;
	int r;

	for (int64_t i = 0; i < f->plan->n_shards; i++)
		bytes += f->plan->shards[i].bytes;
	ok = ok && k_json_set(meta, "total_size", k_json_new_int((int64_t)bytes)) == 0;
	ok = ok && k_json_set(index, "metadata", k_json_keep(meta)) == 0 && k_json_set(index, "weight_map", weight_map(f)) == 0;
	k_buf_init(&b, 0);
	if (ok) {
		k_json_dump(&b, index, K_JSON_INDENT | K_JSON_SORT);
		k_buf_putc(&b, '\n');
	}
	k_json_free(meta);
	k_json_free(index);
	r = ok ? k_buf_ok(&b, "the index", err) : k_err_nomem(err, 4096, "the index");
	if (r == 0)
		r = put_file(f, "model.safetensors.index.json", b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

/* --- the folder ----------------------------------------------------------------------------------------------------------------- */

/* Names of side files come from the checkpoint, and only known ones become names of files. */
static int put_side_files(struct folder *f, const struct k_files *files, const struct k_ctx *ctx, struct k_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < files->n; i++) {
		const struct k_file *one = &files->v[i];

		if (strcmp(one->name, "config.json") == 0)
			continue;
		if (k_files_known(one->name))
			r = put_file(f, one->name, one->data, one->len, err);
		else
			k_logf(ctx->log, K_LOG_WARN, "'%s': the side file '%.100s' is left out", f->plan->c->path, one->name);
	}
	return r;
}

static int put_all(struct folder *f, const struct k_files *files, const struct k_buf *config, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_st_out to = { begin_shard, end_shard, f };
	int r = f->plan->n_parts ? k_st_write(f->plan, &to, ctx, err) : k_ckpt_finish(f->plan->c, err);

	if (r == 0 && f->plan->n_shards > 1)
		r = put_index(f, err);
	if (r == 0)
		r = put_side_files(f, files, ctx, err);
	if (r == 0 && f->plan->c->config)
		r = put_file(f, "config.json", config->data, config->len, err);
	return r;
}

static int write_folder(struct folder *f, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_ckpt *c = f->plan->c;
	const struct k_files *files;
	bool there = k_path_exists(f->path);
	struct k_buf config;
	int r = k_ckpt_files(c, &files, err);

	k_buf_init(&config, 0);
	if (r == 0 && c->config)
		r = k_hf_config(f->plan, o, &config, err);
	if (r == 0) {
		f->written = k_arena_array(&f->arena, (size_t)f->plan->n_shards + (size_t)files->n + 2, sizeof(*f->written));
		r = f->written ? k_make_dir(f->path, err) : k_err_nomem(err, (size_t)f->plan->n_shards * sizeof(char *), "the list of shards");
	}
	if (r == 0) {
		r = put_all(f, files, &config, ctx, err);
		for (int64_t i = 0; r < 0 && i < f->n_written; i++)
			unlink(f->written[i]);
		if (r < 0 && !there)
			rmdir(f->path);
	}
	k_buf_fini(&config);
	return r;
}

int k_hf_write(struct k_ckpt *c, const char *path, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct folder f = { .path = path };
	struct k_st_plan *p;
	int r;

	if (!path || !path[0] || strcmp(path, "-") == 0)
		return k_err_set(err, K_EUSAGE, "a Hugging Face folder cannot be written to standard output");
	r = k_st_plan_new(&p, c, o, o->shard_size ? o->shard_size : UINT64_C(5) * 1000 * 1000 * 1000, err);
	if (r < 0)
		return r;
	k_arena_init(&f.arena);
	f.plan = p;
	r = write_folder(&f, o, ctx, err);
	k_arena_fini(&f.arena);
	k_st_plan_free(p);
	return r;
}

/* hf.c: a Hugging Face folder, real or inside an archive: config.json and other side files, weights in model.safetensors or in the
 * shards that model.safetensors.index.json names. Without weights it is a checkpoint too: a config, a tokenizer.
 *
 * The index is held against the shards both ways: every tensor lies where it says, and nothing lies there that it does not say.
 * The folder is written by st_target.c. */
#include "libcore/base.h"
#include "formats/format_int.h"
#include "formats/st.h"
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/map.h"
#include "libcore/rename.h"
#include "libcore/tokenizer.h"
#include <stdio.h>

#define SINGLE "model.safetensors"
#define INDEX_MAX (256u << 20)
#define SHARD_SIZE 5000000000u
enum { MOST_SHARDS = 10000 };

struct shard { const char *name; int64_t first, n; };  /* its tensors in the set */

struct hf {
	struct k_dir *dir;
	struct k_rawset *set;
	struct k_log *log;
	struct k_err *err;
	struct k_map names;             /* of shards -> their number, and one more */
	struct shard *shards; int n_shards, cap_shards;
	/* of the index */
	const char *where;
	bool weights;                   /* there is a weight_map */
	bool sized; uint64_t total_size;
	struct k_map tensors;           /* name -> struct k_raw * */
	bool *named;                    /* one a tensor */
};

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && strcmp(s + n - k, end) == 0;
}

static const char *first_with(const struct k_dir *d, const char *end)
{
	for (int i = 0; i < d->n; i++)
		if (ends_with(d->names[i], end))
			return d->names[i];
	return NULL;
}

static bool has_weights(const struct k_dir *d) { return k_dir_has(d, K_ST_INDEX) || first_with(d, ".safetensors"); }
static bool has_tokenizer(const struct k_dir *d) { return k_dir_has(d, "tiktoken.model") || k_dir_has(d, "tokenizer.json"); }

/* Side files alone are a checkpoint unless the weights lie there in another form. */
static int taste(const struct k_format_in *in, const void *head K_UNUSED, size_t n K_UNUSED)
{
	const struct k_dir *d = in->dir;

	if (!d)
		return 0;
	if (has_weights(d))
		return k_dir_has(d, "config.json") || k_dir_has(d, K_ST_INDEX) ? 90 : 60;
	return k_dir_has(d, "config.json") || has_tokenizer(d) ? 50 : 0;
}

/* --- side files ------------------------------------------------------------------------------------------------------------- */

static int read_file(struct hf *h, const char *name)
{
	char where[300], *data;
	struct k_buf b;
	size_t len;
	int r = k_dir_read(h->dir, name, K_FILE_MAX, &b, h->err);

	if (r < 0)
		return r;
	snprintf(where, sizeof(where), "%.200s/%.60s", h->dir->path, name);
	if (!k_files_prose(name) && k_format_refuse(where, b.data ? b.data : "", b.len, h->err) < 0) {
		k_buf_fini(&b);
		return h->err->code;
	}
	data = k_buf_take(&b, &len);
	if (!data)
		return k_err_nomem(h->err, 1, name);
	return k_files_add(&h->set->files, name, data, len, h->err);
}

static int read_files(struct hf *h)
{
	int r = 0;

	for (int i = 0; r == 0 && i < h->dir->n; i++)
		if (k_files_known(h->dir->names[i]))
			r = read_file(h, h->dir->names[i]);
	return r;
}

/* --- index -------------------------------------------------------------------------------------------------------------------- */

/* A name is a file of this folder, never a path. */
static bool name_is_safe(const char *s)
{
	return s[0] && s[0] != '.' && strlen(s) <= 255 && !strpbrk(s, "/\\:") && ends_with(s, ".safetensors");
}

static int add_shard(struct hf *h, const char *name)
{
	if (k_map_find(&h->names, name, strlen(name)))
		return 0;
	if (!name_is_safe(name))
		return k_err_set(h->err, K_EFORMAT, "'%s/%s' names the shard '%.100s', wanted the name of a .safetensors file in the folder",
			h->dir->path, K_ST_INDEX, name);
	if (h->n_shards == MOST_SHARDS)
		return k_err_set(h->err, K_EUNSUP, "'%s/%s' names more than %d shards", h->dir->path, K_ST_INDEX, MOST_SHARDS);
	if (h->n_shards == h->cap_shards) {
		int cap = h->cap_shards ? 2 * h->cap_shards : 64;
		struct shard *v = k_realloc(h->shards, (size_t)cap * sizeof(*v));

		if (!v)
			return k_err_nomem(h->err, (size_t)cap * sizeof(*v), "the list of shards");
		h->shards = v;
		h->cap_shards = cap;
	}
	name = k_arena_strdup(&h->set->arena, name);
	if (!name || k_map_put(&h->names, name, strlen(name), (void *)(intptr_t)(h->n_shards + 1)) < 0)
		return k_err_nomem(h->err, 64, "the list of shards");
	h->shards[h->n_shards++] = (struct shard){ .name = name };
	return 0;
}

/* Shards in the order in which the index first names them, which is the order of the file. */
static int list_shard(void *arg, const char *in, const char *name, const struct k_json *v, struct k_err *err K_UNUSED)
{
	struct hf *h = arg;
	const struct k_json *size = k_json_find(v, "total_size");

	if (!in && strcmp(name, "weight_map") == 0)
		return k_err_set(h->err, K_EFORMAT, "'%s': weight_map is %s, wanted an object", h->where, k_json_kind_name(v));
	if (!in && strcmp(name, "metadata") == 0 && size) {
		h->sized = true;
		h->total_size = (uint64_t)k_json_int(size);
	}
	if (!in)
		return 0;
	h->weights = true;
	if (!k_json_string(v))
		return k_err_set(h->err, K_EFORMAT, "'%s': weight_map.%.200s is %s, wanted the name of a file", h->where, name, k_json_kind_name(v));
	return add_shard(h, k_json_string(v));
}

/* All that are missing are counted; the first is named. */
static int check_shards_there(struct hf *h)
{
	const char *first = NULL;
	int missing = 0;

	for (int i = 0; i < h->n_shards; i++) {
		if (k_dir_has(h->dir, h->shards[i].name))
			continue;
		first = first ? first : h->shards[i].name;
		missing++;
	}
	if (missing == 1)
		return k_err_set(h->err, K_ENOENT, "'%s': the shard %s is missing", h->dir->path, first);
	if (missing)
		return k_err_set(h->err, K_ENOENT, "'%s': %d of %d shards are missing, the first is %s", h->dir->path, missing, h->n_shards, first);
	for (int i = 0; i < h->dir->n; i++) {
		const char *name = h->dir->names[i];

		if (ends_with(name, ".safetensors") && !k_map_find(&h->names, name, strlen(name)))
			k_logf(h->log, K_LOG_WARN, "'%s': %s is not named by the index and is left out", h->dir->path, name);
	}
	return 0;
}

static int open_shards(struct hf *h)
{
	for (int i = 0; i < h->n_shards; i++) {
		struct shard *shard = &h->shards[i];
		struct k_source *src;

		shard->first = h->set->n;
		if (h->dir->open(h->dir, shard->name, &src, h->err) < 0 || k_st_read_head(h->set, src, h->err) < 0)
			return h->err->code;
		shard->n = h->set->n - shard->first;
	}
	return 0;
}

/* A line of the index: the tensor is there, in that shard, and no other line names it. */
static int check_line(void *arg, const char *in, const char *name, const struct k_json *v, struct k_err *err K_UNUSED)
{
	struct hf *h = arg;
	const char *want = k_json_string(v);
	const struct k_raw *t = in ? k_map_find(&h->tensors, name, strlen(name)) : NULL;
	const struct shard *shard;
	int64_t i;

	if (!in)
		return 0;
	if (!t)
		return k_err_set(h->err, K_ENOENT, "'%s': %.200s is missing in %.100s, where the index says it is", h->dir->path, name, want);
	i = t - h->set->v;
	shard = &h->shards[(intptr_t)k_map_find(&h->names, want, strlen(want)) - 1];
	if (i < shard->first || i >= shard->first + shard->n)
		return k_err_set(h->err, K_EFORMAT, "'%s': %.200s should be in %.100s, says the index", t->file, name, want);
	if (h->named[i])
		return k_err_set(h->err, K_EFORMAT, "'%s': weight_map has %.200s twice", h->where, name);
	h->named[i] = true;
	return 0;
}

/* Two tensors of one name are found where the names of all are (join.c); here the first counts. */
static int check_index(struct hf *h, const struct k_buf *index)
{
	uint64_t bytes = 0;
	int r;

	for (int64_t i = 0; i < h->set->n; i++) {
		const struct k_raw *t = &h->set->v[i];

		bytes += t->bytes;
		if (k_map_put(&h->tensors, t->name, strlen(t->name), (void *)(uintptr_t)t) < 0)
			return k_err_nomem(h->err, (size_t)h->set->n * 32, "the names of tensors");
	}
	if (h->sized && h->total_size != bytes)
		k_logf(h->log, K_LOG_WARN, "'%s' says %lld bytes, the shards have %llu", h->where, (long long)h->total_size, (unsigned long long)bytes);
	h->named = k_calloc((size_t)h->set->n + 1, sizeof(*h->named));
	if (!h->named)
		return k_err_nomem(h->err, (size_t)h->set->n, "the names of tensors");
	r = k_json_each(index->data, index->len, "weight_map", h->where, check_line, h, h->err);
	for (int64_t i = 0; r == 0 && i < h->set->n; i++)
		if (!h->named[i] && k_map_find(&h->tensors, h->set->v[i].name, strlen(h->set->v[i].name)) == &h->set->v[i])
			r = k_err_set(h->err, K_EFORMAT, "'%s': %.200s is not in the index", h->set->v[i].file, h->set->v[i].name);
	return r;
}

static int read_index(struct hf *h, struct k_buf *b)
{
	int r = k_format_refuse(h->where, b->data ? b->data : "", b->len, h->err);

	if (r == 0)
		r = k_json_each(b->data ? b->data : "", b->len, "weight_map", h->where, list_shard, h, h->err);
	if (r == 0 && !h->weights)
		r = k_err_set(h->err, K_EFORMAT, "'%s': weight_map is missing or empty, wanted the tensors and their files", h->where);
	return r;
}

/* --- weights -------------------------------------------------------------------------------------------------------------------- */

static int with_index(struct hf *h)
{
	char where[300];
	struct k_buf index;
	int r = k_dir_read(h->dir, K_ST_INDEX, INDEX_MAX, &index, h->err);

	if (r < 0)
		return r;
	snprintf(where, sizeof(where), "%.200s/%s", h->dir->path, K_ST_INDEX);
	h->where = where;
	k_map_init(&h->tensors);
	r = read_index(h, &index);
	if (r == 0 && k_dir_has(h->dir, SINGLE))
		k_logf(h->log, K_LOG_WARN, "'%s' has an index and %s; the index holds", h->dir->path, SINGLE);
	if (r == 0)
		r = check_shards_there(h);
	if (r == 0)
		r = open_shards(h);
	if (r == 0)
		r = check_index(h, &index);
	k_map_fini(&h->tensors);
	k_free(h->named);
	k_buf_fini(&index);
	return r;
}

/* One file is the model whatever it is called; several are parts of something that only an index can tell. */
static int without_index(struct hf *h)
{
	const char *one = k_dir_has(h->dir, SINGLE) ? SINGLE : first_with(h->dir, ".safetensors");
	int r;

	for (int i = 0; i < h->dir->n; i++) {
		const char *name = h->dir->names[i];

		if (!ends_with(name, ".safetensors") || strcmp(name, one) == 0)
			continue;
		if (strcmp(one, SINGLE) != 0)
			return k_err_set(h->err, K_ENOENT, "'%s' has %s and %s, but no %s", h->dir->path, one, name, K_ST_INDEX);
		k_logf(h->log, K_LOG_WARN, "'%s': %s is left out beside %s", h->dir->path, name, SINGLE);
	}
	r = add_shard(h, one);
	return r < 0 ? r : open_shards(h);
}

/* No weights: a config or a tokenizer by itself, unless the weights are there in a form that is not read here. */
static int no_weights(struct hf *h)
{
	static const char *const others[] = { ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".npz" };
	const char *name = first_with(h->dir, ".gguf");

	if (name)
		return k_err_set(h->err, K_EUNSUP, "'%s' has no safetensors files, but %s: name that file", h->dir->path, name);
	for (size_t i = 0; i < K_LEN(others); i++) {
		name = first_with(h->dir, others[i]);
		if (name)
			return k_err_set(h->err, K_EUNSUP, "'%s' has its weights in %s, which is not read: convert them to safetensors first", h->dir->path, name);
	}
	return 0;
}

static int read_weights(struct hf *h)
{
	if (k_dir_has(h->dir, K_ST_INDEX))
		return with_index(h);
	return has_weights(h->dir) ? without_index(h) : no_weights(h);
}

/* --- opening -------------------------------------------------------------------------------------------------------------------- */

/* Where there is nothing but a tokenizer, it is what the caller wants: it has to open. */
static int check_tokenizer(struct k_ckpt *c, struct k_err *err)
{
	const struct k_files *files;
	struct k_tokenizer *t = NULL;
	int r = k_ckpt_files(c, &files, err);

	if (r == 0)
		r = k_tokenizer_open(&t, files, 0, err);
	k_tokenizer_free(t);
	return r < 0 ? k_err_add(err, "in '%s'", c->path) : r;
}

static int open_folder(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	struct hf h = { .dir = in->dir, .log = in->ctx->log, .err = err };
	bool alone = !has_weights(in->dir) && has_tokenizer(in->dir);
	int r;

	k_map_init(&h.names);
	h.set = k_format_new_set(in->dir->path, err);
	r = h.set ? read_files(&h) : err->code;
	if (r == 0)
		r = read_weights(&h);
	if (r == 0)
		r = k_rename(h.set, in->ctx->renames, in->ctx->text_only, in->ctx->log, err);
	k_map_fini(&h.names);
	k_free(h.shards);
	k_dir_close(in->dir);
	if (r < 0) {
		k_format_free_set(h.set);
		return r;
	}
	r = k_import(out, h.set, in->ctx->log, err);
	if (r == 0 && alone && check_tokenizer(*out, err) < 0) {
		r = err->code;
		k_ckpt_close(*out);
		*out = NULL;
	}
	return r;
}

static int target(struct k_target **out, struct k_ckpt *c, const char *path K_UNUSED, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_st_plan *p;
	int r = k_st_plan_new(&p, c, o, o->shard_size ? o->shard_size : SHARD_SIZE, err);

	return r < 0 ? r : k_st_target_new(out, p, true, o, ctx, err);
}

const struct k_format k_format_hf = {
	.name = "hf", .about = "Hugging Face folder", .taste = taste, .open = open_folder, .target = target, .folder = true,
};

/* gguf.c: GGUF files as a format: one file, or the parts NAME-00001-of-00003.gguf of one model.
 *
 *   part 1: keys -> side files; tensors    parts 2..: tensors    -> k_import, which maps the names through the architecture
 *
 * In an archive the parts are its members, in any order.
 *
 * The head is read through a map of the file, the weights by positioned reads: so a GGUF in a pipe cannot be read. */
#include "libcore/base.h"
#include "formats/format.h"
#include "formats/gguf_head.h"
#include "formats/gguf_parts.h"
#include "formats/gguf_write.h"
#include "libcore/import.h"

static int taste(const struct k_format_in *in, const void *head, size_t n)
{
	return !in->dir && n >= 4 && memcmp(head, "GGUF", 4) == 0 ? 100 : 0;
}

/* --- one file ------------------------------------------------------------------------------------------------------------ */

static int read_head(struct k_gguf *g, struct k_source *src, const char *where, struct k_log *log, struct k_err *err)
{
	const void *p;
	size_t n;
	int r = k_source_map(src, &p, &n, err);

	return r < 0 ? r : k_gguf_read(g, p, n, where, log, err);
}

/* Names that are there twice, in one part or in two, are found by the importer. */
static int add_tensors(struct k_rawset *set, const struct k_gguf *g, struct k_source *src, struct k_err *err)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < g->n_tensors; i++) {
		const struct k_gguf_tensor *t = &g->tensors[i];
		struct k_raw raw = { .file = g->where, .type = t->type, .src = src, .off = t->off, .bytes = t->bytes };

		raw.name = k_arena_strdup(&set->arena, t->name);
		r = raw.name ? k_rawset_shape(set, &raw, t->ndim, t->shape, err) : k_err_nomem(err, strlen(t->name), "the name of a tensor");
		if (r == 0)
			r = k_rawset_add(set, &raw, err);
	}
	return r;
}

/* --- parts --------------------------------------------------------------------------------------------------------------- */

static int open_part(struct k_source **src, const char *path, const struct k_gguf_parts *first, int64_t no, struct k_dir *in, struct k_err *err)
{
	const char *slash = strrchr(path, '/');

	if (in)
		return in->open(in, slash ? slash + 1 : path, src, err);
	if (!k_path_exists(path))
		return k_gguf_part_missing(path, no, first->count, err);
	return k_source_open(src, path, err);
}

static int add_part(struct k_rawset *set, const struct k_gguf_parts *first, int64_t no, struct k_dir *in, struct k_log *log, struct k_err *err)
{
	struct k_source *src;
	struct k_gguf_parts parts;
	struct k_gguf g;
	const char *path;
	int r = k_gguf_part_path(set->path, no, first->count, &set->arena, &path, err);

	if (r == 0)
		r = open_part(&src, path, first, no, in, err);
	if (r == 0)
		r = k_rawset_own(set, src, err);
	if (r < 0)
		return r;
	memset(&g, 0, sizeof(g));
	r = read_head(&g, src, path, log, err);
	if (r == 0)
		r = k_gguf_parts_read(&g, &parts, err);
	if (r == 0 && (parts.no != no - 1 || parts.count != first->count))
		r = k_err_set(err, K_EFORMAT, "'%s' says that it is part %lld of %lld, wanted %lld of %lld", path, (long long)parts.no + 1,
			(long long)parts.count, (long long)no, (long long)first->count);
	if (r == 0)
		r = add_tensors(set, &g, src, err);
	k_gguf_fini(&g);
	return r;
}

static int add_parts(struct k_rawset *set, const struct k_gguf_parts *first, struct k_dir *in, struct k_log *log, struct k_err *err)
{
	int r = k_gguf_parts_first(first, set->path, err);

	for (int64_t no = 2; r == 0 && no <= first->count; no++)
		r = add_part(set, first, no, in, log, err);
	if (r == 0 && first->tensors >= 0 && first->tensors != set->n)
		r = k_err_set(err, K_EFORMAT, "'%s': key split.tensors.count is %lld, but the parts have %lld tensors", set->path,
			(long long)first->tensors, (long long)set->n);
	return r;
}

/* --- opening ------------------------------------------------------------------------------------------------------------- */

static int fill(struct k_rawset *set, struct k_source *src, struct k_dir *beside, struct k_log *log, struct k_err *err)
{
	struct k_gguf_parts parts;
	struct k_gguf g;
	int r;

	memset(&g, 0, sizeof(g));
	r = read_head(&g, src, set->path, log, err);
	if (r == 0)
		r = k_gguf_parts_read(&g, &parts, err);
	if (r == 0)
		r = add_tensors(set, &g, src, err);
	if (r == 0)
		r = add_parts(set, &parts, beside, log, err);
	if (r == 0)
		r = k_gguf_files(&g, &set->files, err);
	k_gguf_fini(&g);
	return r;
}

/* Takes src. */
static int new_set(struct k_rawset **out, struct k_source *src, const char *path, struct k_err *err)
{
	struct k_rawset *set = k_alloc(sizeof(*set));
	int r;

	if (!set) {
		k_source_close(src);
		return k_err_nomem(err, sizeof(*set), "a GGUF");
	}
	k_rawset_init(set, path);
	set->gguf = true;
	set->path = set->files.where = k_arena_strdup(&set->arena, path);
	r = k_rawset_own(set, src, err);
	if (r == 0 && !set->path)
		r = k_err_nomem(err, strlen(path), "a path");
	if (r < 0) {
		k_rawset_fini(set);
		k_free(set);
		return r;
	}
	*out = set;
	return 0;
}

static int open_gguf(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	const char *path = in->path ? in->path : k_source_name(in->src);
	struct k_log *log = in->ctx ? in->ctx->log : NULL;
	struct k_rawset *set = NULL;
	int r;

	if (!k_source_seekable(in->src)) {
		r = k_err_set(err, K_EUNSUP, "'%s' is a pipe: a GGUF needs a file", path);
		k_source_close(in->src);
		return r;
	}
	r = new_set(&set, in->src, path, err);
	if (r < 0)
		return r;
	r = fill(set, in->src, in->beside, log, err);
	if (r < 0) {
		k_rawset_fini(set);
		k_free(set);
		return r;
	}
	return k_import(out, set, log, err);
}

const struct k_format k_format_gguf = { .name = "gguf", .about = "GGUF file", .taste = taste, .open = open_gguf,
	.target = k_gguf_target };

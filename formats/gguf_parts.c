/* gguf_parts.c: see gguf_parts.h. */
#include "libcore/base.h"
#include "formats/gguf_head.h"
#include "formats/gguf_parts.h"
#include "libcore/io.h"
#include <stdio.h>

enum { PARTS_MOST = 10000 };

int k_gguf_parts_read(const struct k_gguf *g, struct k_gguf_parts *out, struct k_err *err)
{
	int r = k_gguf_int_or(g, "split.count", 0, PARTS_MOST, 1, &out->count, err);

	out->count = K_MAX(out->count, 1);
	if (r == 0)
		r = k_gguf_int_or(g, "split.no", 0, PARTS_MOST, 0, &out->no, err);
	if (r == 0)
		r = k_gguf_int_or(g, "split.tensors.count", 0, INT32_MAX, -1, &out->tensors, err);
	return r;
}

int k_gguf_parts_first(const struct k_gguf_parts *parts, const char *path, struct k_err *err)
{
	if (parts->no == 0)
		return 0;
	return k_err_set(err, K_EUNSUP, "'%s' is part %lld of %lld, wanted part 1", path, (long long)parts->no + 1, (long long)parts->count);
}

int k_gguf_part_path(const char *first, int64_t no, int64_t count, struct k_arena *arena, const char **out, struct k_err *err)
{
	char end[64];
	size_t n, len = strlen(first);

	*out = NULL;
	n = (size_t)snprintf(end, sizeof(end), "-%05d-of-%05lld.gguf", 1, (long long)count);
	if (len < n || strcmp(first + len - n, end) != 0)
		return k_err_set(err, K_EUNSUP, "'%s' is the first of %lld parts, and the others cannot be found: its name does not end in %s",
			first, (long long)count, end);
	*out = k_arena_printf(arena, "%.*s-%05lld-of-%05lld.gguf", (int)(len - n), first, (long long)no, (long long)count);
	return *out ? 0 : k_err_nomem(err, len, "the path of a part");
}

int k_gguf_part_missing(const char *path, int64_t no, int64_t count, struct k_err *err)
{
	return k_err_set(err, K_ENOENT, "'%s' is missing: part %lld of %lld", path, (long long)no, (long long)count);
}

bool k_gguf_part_named(const char *name, size_t *stem)
{
	static const char end[] = "-00001-of-00000.gguf";
	size_t len = strlen(name), n = sizeof(end) - 1;
	const char *p = name + len - n;

	if (len < n || strspn(p + 10, "0123456789") != 5 || memcmp(p, end, 10) != 0 || strcmp(p + 15, end + 15) != 0)
		return false;
	*stem = len - n;
	return memcmp(p + 10, "00000", 5) != 0 && memcmp(p + 10, "00001", 5) != 0;
}

/* --- the files of a model ------------------------------------------------------------------------------------------------- */

static int read_parts(const char *path, bool *is_gguf, struct k_gguf_parts *parts, struct k_err *err)
{
	struct k_gguf g = { 0 };
	struct k_source *src;
	const void *p;
	size_t n;
	int r = k_source_open(&src, path, err);

	if (r < 0)
		return r;
	r = k_source_peek(src, &p, 4, &n, err);
	*is_gguf = r == 0 && n == 4 && memcmp(p, "GGUF", 4) == 0;
	if (*is_gguf) {
		r = k_source_map(src, &p, &n, err);
		if (r == 0)
			r = k_gguf_read_keys(&g, p, n, path, err);
		if (r == 0)
			r = k_gguf_parts_read(&g, parts, err);
		k_gguf_fini(&g);
	}
	k_source_close(src);
	return r;
}

static int list(const char *path, const struct k_gguf_parts *parts, struct k_arena *arena, const char ***paths, struct k_err *err)
{
	int r = k_gguf_parts_first(parts, path, err);

	*paths = k_arena_array(arena, (size_t)parts->count, sizeof(**paths));
	if (r == 0 && !*paths)
		r = k_err_nomem(err, (size_t)parts->count * sizeof(**paths), "the paths of parts");
	for (int64_t i = 0; r == 0 && i < parts->count; i++) {
		const char **part = &(*paths)[i];

		r = k_gguf_part_path(path, i + 1, parts->count, arena, part, err);
		if (r == 0 && !k_path_exists(*part))
			r = k_gguf_part_missing(*part, i + 1, parts->count, err);
	}
	return r;
}

int k_gguf_part_list(const char *path, struct k_arena *arena, const char ***paths, int *n, bool *split, struct k_err *err)
{
	struct k_gguf_parts parts = { .count = 1 };
	bool is_gguf = false, bad;
	size_t stem;
	int r = read_parts(path, &is_gguf, &parts, err);

	*n = 0;
	bad = r == K_EFORMAT || r == K_ETRUNC || r == K_EUNSUP;
	*split = is_gguf && (bad ? k_gguf_part_named(path, &stem) : r == 0 && parts.count > 1);
	if (bad && !*split)
		return 0;
	if (r < 0 || !*split)
		return r;
	r = list(path, &parts, arena, paths, err);
	*n = r == 0 ? (int)parts.count : 0;
	return r;
}

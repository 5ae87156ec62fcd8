/* tree.c: the files of a model, as a signature and a manifest list them. */
#include "libcore/base.h"
#include "cmd/kls/sign.h"
#include "formats/gguf_parts.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { DEEPEST = 64 };

static const char *const git[] = { ".git", ".gitattributes", ".github", ".gitignore" };

struct walk { struct k_tree *t; struct stat out; bool has_out; struct k_err *err; };

static bool ignored(const struct k_tree *t, const char *name)
{
	for (int i = 0; i < t->n_ignore; i++) {
		size_t n = strlen(t->ignore[i]);

		if (strncmp(name, t->ignore[i], n) == 0 && (!name[n] || name[n] == '/'))
			return true;
	}
	return false;
}

static int add(struct walk *w, const char *name, const char *path, const struct stat *st)
{
	struct k_tree *t = w->t;

	if (t->n == t->cap) {
		int cap = K_MAX(2 * t->cap, 64);
		struct k_tree_file *v = k_arena_array(&t->arena, (size_t)cap, sizeof(*v));

		if (!v)
			return k_err_nomem(w->err, (size_t)cap * sizeof(*v), "the files of a model");
		if (t->n)
			memcpy(v, t->v, (size_t)t->n * sizeof(*v));
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n] = (struct k_tree_file){ k_arena_strdup(&t->arena, name), k_arena_strdup(&t->arena, path), (uint64_t)st->st_size };
	if (!t->v[t->n].name || !t->v[t->n].path)
		return k_err_nomem(w->err, strlen(path), "the name of a file");
	t->n++;
	return 0;
}

static int enter(struct walk *w, const char *name, const char *path, int depth);

static int visit(struct walk *w, const char *name, const char *path, int depth)
{
	struct stat st;
	bool link;

	if (ignored(w->t, name))
		return 0;
	if (lstat(path, &st) < 0)
		return k_err_io(w->err, "cannot look at '%s'", path);
	link = S_ISLNK(st.st_mode);
	w->t->links |= link;
	if (link && stat(path, &st) < 0)
		return k_err_io(w->err, "cannot follow the symbolic link '%s'", path);
	if (S_ISDIR(st.st_mode) && !link)
		return enter(w, name, path, depth + 1);
	if (!S_ISREG(st.st_mode))
		return k_err_set(w->err, K_EUNSUP, "'%s' is %s, wanted files and folders alone", path,
			S_ISDIR(st.st_mode) ? "a symbolic link to a folder" : "no regular file");
	/* The signature or manifest that is just being written. */
	if (w->has_out && st.st_dev == w->out.st_dev && st.st_ino == w->out.st_ino)
		return 0;
	return add(w, name, path, &st);
}

static int enter(struct walk *w, const char *name, const char *path, int depth)
{
	DIR *d = depth < DEEPEST ? opendir(path) : NULL;
	struct dirent *e;
	int r = 0;

	if (depth >= DEEPEST)
		return k_err_set(w->err, K_EUNSUP, "'%s': more than %d folders within each other", path, DEEPEST);
	if (!d)
		return k_err_io(w->err, "cannot open the folder '%s'", path);
	while (r == 0 && (errno = 0, e = readdir(d))) {
		char *sub, *sub_name;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		sub = k_arena_printf(&w->t->arena, "%s/%s", path, e->d_name);
		sub_name = k_arena_printf(&w->t->arena, "%s%s%s", name, *name ? "/" : "", e->d_name);
		r = sub && sub_name ? visit(w, sub_name, sub, depth) : k_err_nomem(w->err, strlen(path) + 256, "the name of a file");
	}
	if (r == 0 && errno)
		r = k_err_io(w->err, "cannot read the folder '%s'", path);
	closedir(d);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct k_tree_file *)a)->name, ((const struct k_tree_file *)b)->name);
}

/* The path of `file` below the folder, or NULL: both without links on the way. The file need not be there yet. */
static char *below(struct k_arena *a, const char *folder, const char *file)
{
	const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
	char top[PATH_MAX], in[PATH_MAX], *up = k_arena_strndup(a, slash ? file : ".", slash ? (size_t)K_MAX(slash - file, 1) : 1);
	size_t n;

	if (!up || !realpath(folder, top) || !realpath(up, in))
		return NULL;
	n = strlen(top);
	if (strncmp(in, top, n) != 0 || (in[n] && in[n] != '/'))
		return NULL;
	return k_arena_printf(a, "%s%s%s", in[n] ? in + n + 1 : "", in[n] ? "/" : "", base);
}

static int list_ignored(struct k_tree *t, const char *path, const char *const *ignore, int n, const char *const *own, struct k_err *err)
{
	int n_own = 0;

	while (own[n_own])
		n_own++;
	t->ignore = k_arena_array(&t->arena, K_LEN(git) + (size_t)n + (size_t)n_own, sizeof(*t->ignore));
	if (!t->ignore)
		return k_err_nomem(err, sizeof(git), "paths");
	for (size_t i = 0; i < K_LEN(git); i++)
		t->ignore[t->n_ignore++] = git[i];
	for (int i = 0; i < n; i++)
		t->ignore[t->n_ignore++] = ignore[i];
	for (int i = 0; i < n_own; i++) {
		char *name = below(&t->arena, path, own[i]);

		if (name)
			t->ignore[t->n_ignore++] = name;
	}
	return 0;
}

static int name_subject(struct k_tree *t, const char *path, struct k_err *err)
{
	char real[PATH_MAX];
	const char *slash;

	if (!realpath(path, real))
		return k_err_io(err, "cannot open '%s'", path);
	slash = strrchr(real, '/');
	t->subject = k_arena_strdup(&t->arena, slash[1] ? slash + 1 : "model");
	return t->subject ? 0 : k_err_nomem(err, strlen(real), "a name");
}

/* The one file, or all parts of a split GGUF: a model is what the operand leads to. */
static int add_file(struct walk *w, const char *path, const struct stat *st)
{
	const char **parts;
	int n, r = k_gguf_part_list(path, &w->t->arena, &parts, &n, &w->t->split, w->err);

	if (r == 0 && n == 0)
		return add(w, ".", path, st);
	for (int i = 0; r == 0 && i < n; i++) {
		const char *slash = strrchr(parts[i], '/');

		r = visit(w, slash ? slash + 1 : parts[i], parts[i], 0);
	}
	return r;
}

int k_tree_read(struct k_tree *t, const char *path, const char *const *ignore, int n, const char *const *own, struct k_err *err)
{
	struct walk w = { .t = t, .err = err };
	struct stat st;
	size_t n_path;
	int r;

	memset(t, 0, sizeof(*t));
	k_arena_init(&t->arena);
	w.has_out = fstat(1, &w.out) == 0 && S_ISREG(w.out.st_mode);
	for (n_path = strlen(path); n_path > 1 && path[n_path - 1] == '/'; n_path--)
		;
	path = k_arena_strndup(&t->arena, path, n_path);
	if (!path)
		return k_err_nomem(err, n_path, "a name");
	if (lstat(path, &st) < 0)
		return k_err_io(err, "cannot open '%s'", path);
	t->links = S_ISLNK(st.st_mode);
	r = name_subject(t, path, err);
	if (r < 0)
		return r;
	t->folder = k_path_is_dir(path);
	if (!t->folder) {
		if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
			return k_err_set(err, K_EUNSUP, "'%s' is no regular file", path);
		return add_file(&w, path, &st);
	}
	r = list_ignored(t, path, ignore, n, own, err);
	if (r == 0)
		r = enter(&w, "", path, 0);
	if (r == 0 && t->n)
		qsort(t->v, (size_t)t->n, sizeof(*t->v), by_name);
	return r;
}

void k_tree_fini(struct k_tree *t)
{
	k_arena_fini(&t->arena);
}

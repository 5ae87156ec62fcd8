/* dir.c: a real folder as a struct k_dir: the regular files of its top level, sorted.
 *
 * Symbolic links are followed wherever they lead: the cache of the Hugging Face hub is a folder of links to files elsewhere. (Names
 * that a file gives, as an index does, are never paths: formats/hf.c.) What is no file, or a link that leads to none, is passed over
 * unless it bears the name of one that would be read: a model without its tokenizer or index is another model. */
#include "libcore/base.h"
#include "formats/format_int.h"
#include "formats/st.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder { struct k_dir dir; int fd; char *path; int cap; };

/* --- any folder --------------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

bool k_dir_has(const struct k_dir *d, const char *name)
{
	return d->n && bsearch(&name, d->names, (size_t)d->n, sizeof(*d->names), by_text);
}

void k_dir_close(struct k_dir *d)
{
	if (d)
		d->close(d);
}

int k_dir_read(struct k_dir *d, const char *name, size_t max, struct k_buf *b, struct k_err *err)
{
	struct k_source *src;
	int r = d->open(d, name, &src, err);

	if (r < 0)
		return r;
	k_buf_init(b, 0);
	r = k_source_slurp(src, b, max, err);
	k_source_close(src);
	if (r < 0)
		k_buf_fini(b);
	return r;
}

/* --- a real one --------------------------------------------------------------------------------------------------------- */

static int open_file(struct k_dir *d, const char *name, struct k_source **out, struct k_err *err)
{
	struct folder *f = d->impl;
	char *show;
	size_t n = strlen(d->path) + strlen(name) + 2;
	int r;

	*out = NULL;
	if (!k_dir_has(d, name))
		return k_err_set(err, K_ENOENT, "'%s': %s is missing", d->path, name);
	show = k_alloc(n);
	if (!show)
		return k_err_nomem(err, n, "a file name");
	snprintf(show, n, "%s%s%s", d->path, d->path[strlen(d->path) - 1] == '/' ? "" : "/", name);
	r = k_source_openat(out, f->fd, name, show, err);
	k_free(show);
	return r;
}

static void close_folder(struct k_dir *d)
{
	struct folder *f = d->impl;

	for (int i = 0; i < d->n; i++)
		k_free(d->names[i]);
	k_free(d->names);
	if (f->fd >= 0)
		close(f->fd);
	k_free(f->path);
	k_free(f);
}

static int add_name(struct folder *f, const char *name, struct k_err *err)
{
	struct k_dir *d = &f->dir;
	char *copy;

	if (d->n == f->cap) {
		int cap = f->cap ? 2 * f->cap : 32;
		char **names = k_realloc(d->names, (size_t)cap * sizeof(*names));

		if (!names)
			return k_err_nomem(err, (size_t)cap * sizeof(*names), "the names of a folder");
		d->names = names;
		f->cap = cap;
	}
	copy = k_strdup(name);
	if (!copy)
		return k_err_nomem(err, strlen(name) + 1, "the names of a folder");
	d->names[d->n++] = copy;
	return 0;
}

/* Without the file of this name a folder is another model, or none. */
static bool is_read(const char *name)
{
	size_t n = strlen(name);

	return (k_files_known(name) && !k_files_prose(name)) || strcmp(name, K_ST_INDEX) == 0 || (n > 12 && strcmp(name + n - 12, ".safetensors") == 0);
}

static int list_one(struct folder *f, const char *name, struct k_err *err)
{
	struct stat st;
	int r = fstatat(f->fd, name, &st, 0);

	if (r == 0 && S_ISREG(st.st_mode))
		return add_name(f, name, err);
	if (!is_read(name))
		return 0;
	if (r == 0)
		return k_err_set(err, K_EFORMAT, "'%s': %s is %s, wanted a file", f->path, name, S_ISDIR(st.st_mode) ? "a folder" : "a device or a pipe");
	if (errno == ENOENT || errno == ELOOP)
		return k_err_set(err, K_ENOENT, "'%s': %s is a symbolic link that leads nowhere", f->path, name);
	return k_err_io(err, "cannot look at '%s' in the folder '%s'", name, f->path);
}

static int list(struct folder *f, struct k_err *err)
{
	int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		r = k_err_io(err, "cannot read the folder '%s'", f->path);
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (errno = 0, e = readdir(d)))
		r = list_one(f, e->d_name, err);
	if (r == 0 && errno && !e)
		r = k_err_io(err, "cannot read the folder '%s'", f->path);
	closedir(d);
	if (f->dir.n)
		qsort(f->dir.names, (size_t)f->dir.n, sizeof(*f->dir.names), by_text);
	return r;
}

int k_dir_open(struct k_dir **out, const char *path, struct k_err *err)
{
	struct folder *f = k_calloc(1, sizeof(*f));
	int r = 0;

	*out = NULL;
	if (!f)
		return k_err_nomem(err, sizeof(*f), "a folder");
	f->path = k_strdup(path);
	f->dir = (struct k_dir){ .path = f->path, .open = open_file, .close = close_folder, .impl = f };
	f->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0)
		r = k_err_io(err, "cannot open the folder '%s'", path);
	else if (!f->path)
		r = k_err_nomem(err, strlen(path) + 1, "a folder");
	if (r == 0)
		r = list(f, err);
	if (r < 0) {
		close_folder(&f->dir);
		return r;
	}
	*out = &f->dir;
	return 0;
}

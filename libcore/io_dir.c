/* io_dir.c: making the folder that an output is written into. */
#include "libcore/base.h"
#include "libcore/io.h"
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

/* 1 when nothing is in it, 0 when something is, -1 when it cannot be read. */
static int is_empty(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int empty = 1;

	if (!d)
		return -1;
	while (empty && (e = readdir(d)))
		empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
	closedir(d);
	return empty;
}

int k_make_dir(const char *path, struct k_err *err)
{
	char *part = k_strdup(path);
	int rc = 0;

	if (!part)
		return k_err_nomem(err, strlen(path), "a file name");
	for (char *p = part + 1; *part && *p && !rc; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(part, 0777) && errno != EEXIST)
			rc = k_err_io(err, "cannot make the folder '%s'", part);
		*p = '/';
	}
	if (!rc && mkdir(path, 0777)) {
		if (errno != EEXIST)
			rc = k_err_io(err, "cannot make the folder '%s'", path);
		else if (!k_path_is_dir(path))
			rc = k_err_set(err, K_EUSAGE, "'%s' is a file, wanted a new folder", path);
		else if (is_empty(path) != 1)
			rc = k_err_set(err, K_EUSAGE, "the folder '%s' is not empty, wanted a new one", path);
	}
	k_free(part);
	return rc;
}

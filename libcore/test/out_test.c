/* out_test.c: the same bytes in a file and in a stream; what an interrupted run leaves, and what of it is used. */
#include "libcore/base.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libcore/io.h"
#include "libcore/io_place.h"
#include "libcore/out.h"
#include "libcore/test.h"

static const struct k_out_const consts[] = { { 0, "headheadhe", 10 }, { 50, "word", 4 }, { 90, "end", 3 } };
static const struct k_out_file one = { .bytes = 100, .consts = consts, .n_consts = 3 };
static const struct k_out_file two[] = { { .name = "a", .bytes = 100, .consts = consts, .n_consts = 1 }, { .name = "b", .bytes = 40 } };

static void in_dir(char out[300], const char *name) { snprintf(out, 300, "%s/%s", k_test_dir(), name); }

static void check_file(const char *path, const char *want, size_t n)
{
	struct k_buf b;
	struct k_err err;

	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(path, &b, 4096, &err));
	K_CHECK(b.len == n && memcmp(b.data, want, n) == 0);
	k_buf_fini(&b);
}

/* Two pieces that come early, one of them by two pieces; gaps everywhere. */
static void fill(const struct k_out_opts *o)
{
	struct k_out *out;
	struct k_err err;

	K_CHECK_OK(k_out_open(&out, o, &one, 1, &err));
	K_CHECK_OK(k_out_put(out, 0, 10, "0123", 4, false, &err));
	K_CHECK_OK(k_out_put(out, 0, 66, "later", 5, true, &err));
	K_CHECK_OK(k_out_put(out, 0, 60, "early", 5, true, &err));
	K_CHECK_OK(k_out_put(out, 0, 20, "4567", 4, false, &err));
	K_CHECK_OK(k_out_put(out, 0, 54, "8", 1, false, &err));
	K_CHECK_OK(k_out_commit(out, &err));
	k_out_close(out);
}

K_TEST(out_places_and_stream)
{
	char want[100] = { 0 }, file[300], stream[300];
	int fd;

	in_dir(file, "file");
	in_dir(stream, "stream");
	memcpy(want, "headheadhe0123", 14);
	memcpy(want + 20, "4567", 4);
	memcpy(want + 50, "word8", 5);
	memcpy(want + 60, "early", 5);
	memcpy(want + 66, "later", 5);
	memcpy(want + 90, "end", 3);
	fill(&(struct k_out_opts){ .path = file });
	check_file(file, want, sizeof(want));
	fd = open(stream, O_WRONLY | O_CREAT, 0666);
	K_CHECK(fd >= 0 && dup2(fd, 1) == 1);
	fill(&(struct k_out_opts){ .path = "-" });
	check_file(stream, want, sizeof(want));
}

static void put(struct k_out *out, int file, uint64_t at, const char *p, size_t n)
{
	struct k_record r = { .file = file, .at = { at }, .n = { n } };
	struct k_err err;

	K_CHECK_OK(k_out_put(out, file, at, p, n, false, &err));
	K_CHECK_OK(k_out_record(out, &r, &err));
}

/* A run of key 1 that was cut off in its second file, which is full of x. */
static void interrupted(struct k_out_opts *o, char path[300])
{
	struct k_out *out;
	struct k_err err;
	char x[40];

	in_dir(path, "model");
	memset(x, 'x', sizeof(x));
	*o = (struct k_out_opts){ .path = path, .folder = true, .resume = true, .key = { 1 } };
	K_CHECK_OK(k_out_open(&out, o, two, 2, &err));
	put(out, 0, 10, "0123", 4);
	put(out, 1, 0, x, sizeof(x));
	k_out_close(out);
}

K_TEST(out_refused_is_kept)
{
	struct k_out_opts o, other;
	struct k_out *out, *again;
	struct k_err err;
	char path[300], have[4];

	interrupted(&o, path);
	other = o;
	other.key[0] = 2;
	K_CHECK(k_out_open(&out, &other, two, 2, &err) == K_ECHECK);
	K_CHECK_OK(k_out_open(&out, &o, two, 2, &err));
	K_CHECK(k_out_open(&again, &o, two, 2, &err) == K_EIO);
	K_CHECK(k_out_done(out) == 2);
	K_CHECK_OK(k_out_read(out, 0, 10, have, 4, &err));
	K_CHECK(memcmp(have, "0123", 4) == 0);
	K_CHECK_OK(k_out_commit(out, &err));
	k_out_close(out);
	strcat(path, "/b");
	check_file(path, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 40);
}

/* The journal is gone, or nothing of what it says is kept: nothing of the other layout may stay in gaps or as files. */
K_TEST(out_anew)
{
	static const char want[40] = { [8] = 'n', 'e', 'w' };
	const struct k_out_file less[] = { { .name = "b", .bytes = 40 }, { .name = "c", .bytes = 3 } };
	struct k_out_opts o;
	struct k_out *out;
	struct k_err err;
	char path[300], name[320];

	for (int cut = 0; cut < 2; cut++) {
		interrupted(&o, path);
		snprintf(name, sizeof(name), "%s.journal", path);
		if (!cut)
			K_CHECK_OK(k_path_remove(name, &err));
		K_CHECK_OK(k_out_open(&out, &o, cut ? two : less, 2, &err));
		if (cut) {
			K_CHECK_OK(k_out_cut(out, 0, &err));
			put(out, 0, 10, "0123", 4);
		}
		put(out, cut, 8, "new", 3);
		K_CHECK_OK(k_out_commit(out, &err));
		k_out_close(out);
		snprintf(name, sizeof(name), "%s/b", path);
		check_file(name, want, sizeof(want));
		snprintf(name, sizeof(name), "%s/a", path);
		K_CHECK(k_path_exists(name) == cut);
		K_CHECK_OK(k_path_remove_dir(path, &err));
	}
}

K_TEST(out_folder_of_nothing)
{
	struct k_out *out;
	struct k_err err;
	char path[300];

	in_dir(path, "none");
	K_CHECK_OK(k_out_open(&out, &(struct k_out_opts){ .path = path, .folder = true }, NULL, 0, &err));
	K_CHECK_OK(k_out_commit(out, &err));
	k_out_close(out);
	K_CHECK(k_path_is_dir(path));
}

/* A single file of a folder has its name already when the folder gets its own. */
K_TEST(out_folder_of_one)
{
	struct k_out_file file = { .name = "only", .bytes = 10, .consts = consts, .n_consts = 1 };
	struct k_out *out;
	struct k_err err;
	char path[300], within[320];

	in_dir(path, "single");
	snprintf(within, sizeof(within), "%s/only", path);
	K_CHECK_OK(k_out_open(&out, &(struct k_out_opts){ .path = path, .folder = true }, &file, 1, &err));
	K_CHECK_OK(k_out_commit(out, &err));
	k_out_close(out);
	check_file(within, "headheadhe", 10);
	K_CHECK_OK(k_path_remove_dir(path, &err));
	K_CHECK_OK(k_out_open(&out, &(struct k_out_opts){ .path = path, .folder = true }, &file, 1, &err));
	K_CHECK_OK(k_out_put(out, 0, 0, "x", 1, false, &err));
	k_out_close(out);
	K_CHECK(!k_path_exists(path));
}

/* A name may be as long as the system has them, and a link to what is not there yet. */
K_TEST(out_names)
{
	struct k_err err;
	char path[600], link[300], name[256];

	memset(name, 'n', 255);
	name[255] = 0;
	snprintf(path, sizeof(path), "%s/%s", k_test_dir(), name);
	in_dir(link, "to_it");
	K_CHECK(!symlink(name, link));
	fill(&(struct k_out_opts){ .path = link });
	K_CHECK(k_path_exists(path) && readlink(link, name, sizeof(name)) == 255);
	K_CHECK_OK(k_path_remove(path, &err));
	fill(&(struct k_out_opts){ .path = path });
	K_CHECK(k_path_exists(path));
}

/* A process of another container may have our number: what it writes is held, what a killed one left is not. */
K_TEST(out_spares_what_another_process_writes)
{
	char folder[300], a[300], b[300], temp[340], within[360];
	const struct k_out_file files[] = { { .name = a, .bytes = 100, .consts = consts, .n_consts = 1 }, { .name = b, .bytes = 40 } };
	struct k_out *out;
	struct k_err err;

	in_dir(folder, "folder");
	in_dir(a, "a");
	in_dir(b, "b");
	for (int i = 0; i < 2; i++) {
		const struct k_out_opts o = { .path = i ? a : folder, .folder = !i };
		int other;

		snprintf(temp, sizeof(temp), "%s.tmp.%ld", o.path, (long)getpid());
		snprintf(within, sizeof(within), i ? "%s" : "%s/a", temp);
		K_CHECK(i || mkdir(temp, 0777) == 0);
		K_CHECK(close(open(within, O_WRONLY | O_CREAT, 0666)) == 0 && truncate(within, 7) == 0);
		other = open(temp, O_RDONLY);
		K_CHECK(flock(other, LOCK_EX) == 0);
		K_CHECK(k_out_open(&out, &o, i ? files : two, 2, &err) == K_EIO && strstr(err.msg, "another process"));
		check_file(within, "\0\0\0\0\0\0", 7);
		close(other);
		K_CHECK_OK(k_out_open(&out, &o, i ? files : two, 2, &err));
		other = open(temp, O_RDONLY);
		K_CHECK(flock(other, LOCK_EX | LOCK_NB) < 0);
		close(other);
		if (i)
			K_CHECK_OK(k_out_commit(out, &err));
		k_out_close(out);
		K_CHECK(!k_path_exists(temp) && k_path_exists(o.path) == i);
	}
}

K_TEST(out_remove_dir_of_others)
{
	struct k_err err;
	char dir[300], file[320], link[300];

	in_dir(dir, "dir");
	in_dir(link, "link");
	snprintf(file, sizeof(file), "%s/file", dir);
	K_CHECK(mkdir(dir, 0777) == 0 && symlink(dir, link) == 0);
	fill(&(struct k_out_opts){ .path = file });
	K_CHECK(k_path_remove_dir(link, &err) == K_EIO);
	K_CHECK(k_path_exists(file));
}

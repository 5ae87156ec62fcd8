/* out.c: see out.h. Two ways: `places`, files under unfinished names, and `stream`, which goes forward only.
 *
 * Files are filled in order, so one is open at a time; it is made (length, constants) when it is first written to. */
#include "libcore/base.h"
#include "libcore/io.h"
#include "libcore/io_place.h"
#include "libcore/out.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
	char *path, *unfinished;        /* path NULL: it stays under its unfinished name (a folder's file, a part) */
	bool made, renamed;
};

/* Bytes that came before those in front of them. */
struct held { struct held *next; uint64_t at; size_t n; char p[]; };

struct k_out {
	struct k_out_opts opts;
	const struct k_out_file *specs;
	char *path, *unfinished;        /* of the folder: its last name, and that until then; parts, resume: path alone */
	struct file *files;
	int n_files, open;              /* index of the file that is open, -1 */
	int claim;                      /* of a folder, of several files: descriptor by which they are ours; -1: they are not, or the journal says so */
	struct k_place *place;
	struct k_journal *journal;
	char *journal_path;
	bool committed;
	struct k_sink *sink;            /* stream */
	uint64_t pos;
	int64_t next_const;
	struct held *held;              /* by place */
};

/* --- names -------------------------------------------------------------------------------------------------------------- */

static char *printed(const char *fmt, const char *a, long b, long c)
{
	size_t n = strlen(a) + 64;
	char *s = k_alloc(n);

	if (s)
		snprintf(s, n, fmt, a, b, c);
	return s;
}

char *k_out_parts_path(const char *path) { return printed("%s.parts", path, 0, 0); }
char *k_out_part_path(const char *path, int part, int n_parts) { return printed("%s.part-%ld-of-%ld", path, part, n_parts); }

static char *unfinished_name(const struct k_out *o, const char *path)
{
	if (o->opts.n_parts)
		return k_out_parts_path(path);
	return o->opts.resume ? printed("%s.partial", path, 0, 0) : k_path_temp(path);
}

static char *in_folder(const char *folder, const char *name)
{
	size_t n = strlen(folder) + strlen(name) + 2;
	char *s = k_alloc(n);

	if (s)
		snprintf(s, n, "%s/%s", folder, name);
	return s;
}

/* Trailing slashes of a folder go. */
static int resolve(struct k_out *o, struct k_err *err)
{
	if (k_path_target(&o->path, o->opts.path, err) < 0)
		return err->code;
	for (size_t n = strlen(o->path); n > 1 && o->path[n - 1] == '/'; )
		o->path[--n] = 0;
	return 0;
}

static int name_files(struct k_out *o, struct k_err *err)
{
	for (int i = 0; i < o->n_files; i++) {
		struct file *f = &o->files[i];
		const char *name = o->specs[i].name;

		if (o->opts.folder) {
			f->unfinished = in_folder(o->unfinished, name);
		} else {
			f->path = name ? k_strdup(name) : k_strdup(o->path);
			f->unfinished = f->path ? unfinished_name(o, f->path) : NULL;
		}
		if (!f->unfinished)
			return k_err_nomem(err, 64, "a file name");
	}
	return 0;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

/* A folder appears whole, by a rename: it must not be there, or be empty. */
static int check_folder(const struct k_out *o, struct k_err *err)
{
	struct stat st;

	if (lstat(o->path, &st) < 0)
		return errno == ENOENT ? 0 : k_err_io(err, "cannot write '%s'", o->path);
	if (!S_ISDIR(st.st_mode))
		return k_err_set(err, K_EUSAGE, "'%s' is there and is no folder", o->path);
	if (rmdir(o->path) == 0)
		return mkdir(o->path, 0777) < 0 ? k_err_io(err, "cannot write '%s'", o->path) : 0;
	return k_err_set(err, K_EUSAGE, "'%s' is there and is not empty: wanted a new folder", o->path);
}

/* By the folder, or by the first of several files. A single one is held by its place, what is resumed by its journal. */
static int hold_unfinished(struct k_out *o, struct k_err *err)
{
	bool folder = o->opts.folder;

	if (o->claim >= 0)
		close(o->claim);
	o->claim = -1;
	if (o->journal || (!folder && o->n_files < 2))
		return 0;
	return k_path_hold(&o->claim, folder ? o->unfinished : o->files[0].unfinished, folder, folder ? o->path : o->files[0].path, err);
}

/* What an earlier run left there is of use only where the journal has blocks of it: another layout has other files. */
static int make_folder(struct k_out *o, struct k_err *err)
{
	o->unfinished = unfinished_name(o, o->path);
	if (!o->unfinished)
		return k_err_nomem(err, 64, "a file name");
	if (hold_unfinished(o, err) < 0 || (k_out_done(o) == 0 && k_path_remove_dir(o->unfinished, err) < 0))
		return err->code;
	return k_path_is_dir(o->unfinished) ? 0 : k_make_dir(o->unfinished, err);
}

static int open_journal(struct k_out *o, struct k_err *err)
{
	struct k_journal_id id = { .part = o->opts.n_parts ? (uint32_t)o->opts.part : 1, .n_parts = o->opts.n_parts ? (uint32_t)o->opts.n_parts : 1 };

	memcpy(id.key, o->opts.key, 32);
	o->journal_path = o->opts.n_parts ? k_out_part_path(o->path, o->opts.part, o->opts.n_parts) : printed("%s.journal", o->path, 0, 0);
	if (!o->journal_path)
		return k_err_nomem(err, 64, "a file name");
	return k_journal_open(&o->journal, o->journal_path, &id, o->opts.resume, err);
}

/* A name that is a device or a pipe is written in place. */
static bool is_stream(const char *path)
{
	struct stat st;

	return !path || strcmp(path, "-") == 0 || (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode));
}

static int open_places(struct k_out *o, struct k_err *err)
{
	struct stat st;

	if (resolve(o, err) < 0)
		return err->code;
	if (!o->opts.folder && stat(o->path, &st) == 0 && S_ISDIR(st.st_mode))
		return k_err_set(err, K_EUSAGE, "'%s' is a folder, wanted the name of a file to write", o->path);
	if (o->opts.folder && check_folder(o, err) < 0)
		return err->code;
	/* First of all: what another process writes, or the journal of another conversion has, is not touched. */
	if ((o->opts.resume || o->opts.n_parts) && open_journal(o, err) < 0)
		return err->code;
	if ((o->opts.folder && make_folder(o, err) < 0) || name_files(o, err) < 0)
		return err->code;
	return hold_unfinished(o, err);
}

int k_out_open(struct k_out **out, const struct k_out_opts *opts, const struct k_out_file *files, int n_files, struct k_err *err)
{
	struct k_out *o = k_calloc(1, sizeof(*o));
	int r;

	*out = NULL;
	if (!o)
		return k_err_nomem(err, sizeof(*o), "an output");
	o->opts = *opts;
	o->specs = files;
	o->n_files = n_files;
	o->open = o->claim = -1;
	o->files = k_calloc((size_t)n_files + 1, sizeof(*o->files));
	if (!o->files)
		r = k_err_nomem(err, (size_t)n_files * sizeof(*o->files), "the list of files");
	else if (!is_stream(opts->path))
		r = open_places(o, err);
	else if (opts->folder || n_files != 1)
		r = k_err_set(err, K_EUSAGE, "several files cannot be written to one stream: -o PATH is wanted");
	else if (opts->resume || opts->n_parts)
		r = k_err_set(err, K_EUSAGE, "--resume and --part want a file: -o FILE");
	else
		r = k_sink_open(&o->sink, opts->path, err);
	if (r < 0) {
		k_out_close(o);
		return r;
	}
	*out = o;
	return 0;
}

bool k_out_is_terminal(const struct k_out *o) { return o->sink && k_sink_is_terminal(o->sink); }
bool k_out_journals(const struct k_out *o) { return o->journal != NULL; }
int64_t k_out_done(const struct k_out *o) { return o->journal ? k_journal_n(o->journal) : 0; }

int k_out_get(struct k_out *o, int64_t i, struct k_record *out, struct k_err *err) { return k_journal_get(o->journal, i, out, err); }
int k_out_cut(struct k_out *o, int64_t n, struct k_err *err) { return k_journal_cut(o->journal, n, err); }

/* --- places ------------------------------------------------------------------------------------------------------------- */

static int leave_file(struct k_out *o, struct k_err *err)
{
	int r = 0;

	if (o->open < 0 || o->n_files == 1)
		return 0;
	r = k_place_sync(o->place, err);
	k_place_close(o->place);
	o->place = NULL;
	o->open = -1;
	return r;
}

static int write_consts(struct k_out *o, int i, struct k_err *err)
{
	const struct k_out_file *s = &o->specs[i];
	int r = 0;

	for (int64_t k = 0; r == 0 && k < s->n_consts; k++)
		r = k_place_write(o->place, s->consts[k].p, s->consts[k].n, s->consts[k].at, err);
	return r;
}

/* Opens file i. A single one is removed by signal handlers too; several, and those of a folder, are removed by close. */
static int enter_file(struct k_out *o, int i, struct k_err *err)
{
	struct file *f = &o->files[i];
	enum k_place_how how = o->journal || f->made ? K_PLACE_KEEP : o->n_files == 1 && !o->opts.folder ? K_PLACE_TEMP
		: K_PLACE_FRESH;

	if (o->open == i)
		return 0;
	if (leave_file(o, err) < 0 || k_place_open(&o->place, f->unfinished, f->path ? f->path : f->unfinished, how, err) < 0)
		return err->code;
	o->open = i;
	return 0;
}

/* Does file i have bytes that are kept? Files are filled in order. Those of parts belong to other processes too. */
static int is_begun(struct k_out *o, int i, bool *begun, struct k_err *err)
{
	struct k_record last;

	*begun = !o->journal || o->opts.n_parts;
	if (*begun || k_out_done(o) == 0)
		return 0;
	if (k_out_get(o, k_out_done(o) - 1, &last, err) < 0)
		return err->code;
	*begun = last.file >= i;
	return 0;
}

/* For writing: its length and its constants are there. What an earlier run left without a record is overwritten, but what lies
 * between the places that are written has to be zeros. */
static int make_file(struct k_out *o, int i, struct k_err *err)
{
	struct file *f = &o->files[i];
	bool begun;

	if (enter_file(o, i, err) < 0)
		return err->code;
	if (f->made)
		return 0;
	if (is_begun(o, i, &begun, err) < 0 || (!begun && k_place_size(o->place, 0, err) < 0))
		return err->code;
	if (k_place_size(o->place, o->specs[i].bytes, err) < 0 || write_consts(o, i, err) < 0)
		return err->code;
	f->made = true;
	return 0;
}

int k_out_read(struct k_out *o, int file, uint64_t at, void *p, size_t n, struct k_err *err)
{
	if (enter_file(o, file, err) < 0)
		return err->code;
	return k_place_read(o->place, p, n, at, err);
}

int k_out_record(struct k_out *o, const struct k_record *r, struct k_err *err)
{
	return o->journal ? k_journal_add(o->journal, r, err) : 0;
}

/* --- stream ------------------------------------------------------------------------------------------------------------- */

static int send(struct k_out *o, const void *p, size_t n, struct k_err *err)
{
	o->pos += n;
	return k_sink_write(o->sink, p, n, err);
}

static int send_zeros(struct k_out *o, uint64_t end, struct k_err *err)
{
	static const char zeros[4096];

	while (o->pos < end)
		if (send(o, zeros, (size_t)K_MIN(end - o->pos, sizeof(zeros)), err) < 0)
			return err->code;
	return 0;
}

static int send_held(struct k_out *o, struct k_err *err)
{
	struct held *h = o->held;
	int r = send(o, h->p, h->n, err);

	o->held = h->next;
	k_free(h);
	return r;
}

/* Everything in front of `end`: constants, what was held, zeros. */
static int send_until(struct k_out *o, uint64_t end, struct k_err *err)
{
	const struct k_out_file *s = o->specs;

	while (o->pos < end || (o->held && o->held->at == o->pos)) {
		const struct k_out_const *c = o->next_const < s->n_consts ? &s->consts[o->next_const] : NULL;
		uint64_t next = K_MIN(c ? c->at : UINT64_MAX, o->held ? o->held->at : UINT64_MAX);

		if (next > o->pos) {
			if (send_zeros(o, K_MIN(end, next), err) < 0)
				return err->code;
			if (next >= end)
				break;
		}
		if (next < o->pos)
			return k_err_set(err, K_EBUG, "'%s': byte %llu is written twice", k_sink_name(o->sink), (unsigned long long)next);
		if (c && c->at == next) {
			o->next_const++;
			if (send(o, c->p, c->n, err) < 0)
				return err->code;
		} else if (send_held(o, err) < 0) {
			return err->code;
		}
	}
	return 0;
}

static int hold(struct k_out *o, uint64_t at, const void *p, size_t n, struct k_err *err)
{
	struct held *h = k_alloc(sizeof(*h) + n), **where = &o->held;

	if (!h)
		return k_err_nomem(err, n, "bytes that are written later");
	while (*where && (*where)->at < at)
		where = &(*where)->next;
	*h = (struct held){ .next = *where, .at = at, .n = n };
	memcpy(h->p, p, n);
	*where = h;
	return 0;
}

int k_out_put(struct k_out *o, int file, uint64_t at, const void *p, size_t n, bool ahead, struct k_err *err)
{
	if (n == 0)
		return 0;
	if (!o->sink) {
		if (make_file(o, file, err) < 0)
			return err->code;
		return k_place_write(o->place, p, n, at, err);
	}
	if (ahead && at != o->pos)
		return hold(o, at, p, n, err);
	if (send_until(o, at, err) < 0)
		return err->code;
	if (o->pos != at)
		return k_err_set(err, K_EBUG, "'%s': byte %llu is written at %llu", k_sink_name(o->sink), (unsigned long long)at, (unsigned long long)o->pos);
	return send(o, p, n, err);
}

/* --- the end ------------------------------------------------------------------------------------------------------------ */

static int commit_stream(struct k_out *o, struct k_err *err)
{
	if (send_until(o, o->specs[0].bytes, err) < 0)
		return err->code;
	if (o->specs[0].grows)
		return k_sink_commit(o->sink, err);
	if (o->held || o->pos != o->specs[0].bytes)
		return k_err_set(err, K_EBUG, "'%s': %llu bytes were written, the head says %llu", k_sink_name(o->sink), (unsigned long long)o->pos,
			(unsigned long long)o->specs[0].bytes);
	return k_sink_commit(o->sink, err);
}

/* Under their last names: none before all are complete. */
static int rename_all(struct k_out *o, struct k_err *err)
{
	int r = 0;

	if (o->opts.folder) {
		k_place_close(o->place);
		o->place = NULL;
		if (o->n_files && k_path_sync(o->files[0].unfinished, err) < 0)
			return err->code;
		return k_path_rename(o->unfinished, o->path, err);
	}
	if (o->n_files == 1) {
		struct k_place *p = o->place;

		o->place = NULL;
		o->files[0].renamed = true;
		return k_place_rename(p, o->files[0].path, err);
	}
	for (int i = 0; r == 0 && i < o->n_files; i++) {
		r = k_path_rename(o->files[i].unfinished, o->files[i].path, err);
		o->files[i].renamed = r == 0;
	}
	return r;
}

int k_out_commit(struct k_out *o, struct k_err *err)
{
	int r = 0;

	K_ASSERT(!o->committed);
	if (o->sink) {
		r = commit_stream(o, err);
		o->committed = r == 0;
		return r;
	}
	for (int i = 0; r == 0 && i < o->n_files; i++)
		r = make_file(o, i, err);
	/* A folder may have no file at all. */
	if (r == 0 && o->place)
		r = k_place_sync(o->place, err);
	if (r == 0 && o->opts.n_parts)
		r = k_journal_end(o->journal, err);
	else if (r == 0)
		r = rename_all(o, err);
	if (r < 0)
		return r;
	o->committed = true;
	return o->journal && !o->opts.n_parts ? k_path_remove(o->journal_path, err) : 0;
}

static void remove_unfinished(struct k_out *o)
{
	struct k_err ignored;

	/* What made the run fail is what is said. */
	if (o->opts.folder && k_path_remove_dir(o->unfinished, &ignored) < 0)
		return;
	for (int i = 0; !o->opts.folder && i < o->n_files; i++)
		if ((i == 0 || o->files[i].made) && !o->files[i].renamed)
			unlink(o->files[i].unfinished);
}

void k_out_close(struct k_out *o)
{
	if (!o)
		return;
	k_place_close(o->place);
	if (!o->committed && o->claim >= 0)
		remove_unfinished(o);
	if (o->claim >= 0)
		close(o->claim);
	k_journal_close(o->journal);
	k_sink_close(o->sink);
	while (o->held) {
		struct held *next = o->held->next;

		k_free(o->held);
		o->held = next;
	}
	for (int i = 0; o->files && i < o->n_files; i++) {
		k_free(o->files[i].path);
		k_free(o->files[i].unfinished);
	}
	k_free(o->files);
	k_free(o->path);
	k_free(o->unfinished);
	k_free(o->journal_path);
	k_free(o);
}

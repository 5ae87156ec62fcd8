/* archive.c: a tar archive, plain or packed (gzip, zstd, xz), as a struct k_dir.
 *
 *     plain, in a file     members are ranges of that file: nothing is copied, shards may lie in any order
 *     pipe, or packed      members are held: in memory up to half of the ceiling, then in an unlinked file
 *
 * Nothing is unpacked to disk under a name. Of all that the archive holds only one folder counts: the one nearest to the top that
 * has files ("tar c DIR" and "tar c -C DIR ." are the same model). Every name is checked all the same; links and devices are
 * refused, and so is what expands a thousandfold. */
#include "libcore/base.h"
#include "formats/archive_lib.h"
#include "formats/format_int.h"
#include "libcore/arena.h"
#include "libcore/gz.h"
#include "libcore/json.h"
#include "libcore/map.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 256 * 1024, MOST_MEMBERS = 200000, MOST_DEPTH = 16, MOST_COMPONENT = 255, MOST_PADDING = 4 << 20 };
#define RATIO_FROM ((uint64_t)64 << 20)
#define RATIO 1000

struct member {
	const char *name;               /* without folders */
	struct k_source *of;            /* not owned; see held */
	uint64_t off, n;
	struct k_source *held;          /* its memory, when it is held there: owned */
};

struct tar {
	struct k_dir dir;
	const struct k_ctx *ctx;
	struct k_source *src;
	uint64_t pos;                   /* of a seekable source: where libarchive is */
	bool in_place;                  /* members are ranges of src */
	struct k_archive_lib lib;
	struct archive *a;
	char *chunk;
	struct k_gunzip *gz;            /* NULL: libarchive sees the source's own bytes */
	char *packed;
	uint64_t in, out;               /* bytes through gz */
	struct k_err io;                /* why our own reading failed */
	struct k_arena arena;
	struct member *v; int n, cap;
	struct k_map seen;              /* names in lower case */
	const char *folder;             /* that counts so far, "" at the top; NULL: no file yet */
	int depth;
	const char *other;              /* a second folder as near to the top */
	uint64_t memory;                /* held in memory */
	struct k_sink *spool_to; struct k_source *spool; uint64_t spooled;
};

/* --- the bytes for libarchive ----------------------------------------------------------------------------------------------- */

/* Only what the first bytes call for is enabled, so that a filter never hides another one. gzip is unpacked here: libarchive does
 * not compare its checksum, and weights with a wrong bit look like any others. */
static const struct packing { const char *magic; size_t n; const char *name; int filter; } packings[] = {
	{ "\x1f\x8b", 2, "gzip", ARCHIVE_FILTER_GZIP },
	{ "\x28\xb5\x2f\xfd", 4, "zstd", ARCHIVE_FILTER_ZSTD },
	{ "\xfd" "7zXZ\0", 6, "xz", ARCHIVE_FILTER_XZ },
};

static const struct packing *packing_of(const void *head, size_t n)
{
	for (size_t i = 0; i < K_LEN(packings); i++)
		if (n >= packings[i].n && memcmp(head, packings[i].magic, packings[i].n) == 0)
			return &packings[i];
	return NULL;
}

static int read_source(struct tar *t, char *to, size_t *got, struct k_err *err)
{
	int r = k_ctx_check(t->ctx, err);

	*got = 0;
	if (r == 0 && k_source_seekable(t->src)) {
		*got = (size_t)K_MIN((uint64_t)CHUNK, (uint64_t)k_source_size(t->src) - t->pos);
		r = k_source_pread(t->src, to, *got, t->pos, err);
		t->pos += *got;
	} else if (r == 0) {
		r = k_source_some(t->src, to, CHUNK, got, err);
	}
	return r;
}

static int read_packed(void *arg, const void **p, size_t *n, struct k_err *err)
{
	struct tar *t = arg;
	int r = read_source(t, t->packed, n, err);

	*p = t->packed;
	t->in += *n;
	return r;
}

static int read_chunk(struct tar *t, size_t *got, struct k_err *err)
{
	bool first = t->out == 0;
	int r;

	if (!t->gz)
		return read_source(t, t->chunk, got, err);
	r = k_gunzip_read(t->gz, t->chunk, CHUNK, got, err);
	t->out += *got;
	if (r == 0 && first && packing_of(t->chunk, *got))
		return k_err_set(err, K_EUNSUP, "'%s' is packed more than once", k_source_name(t->src));
	return r;
}

static la_ssize_t feed(struct archive *a, void *arg, const void **p)
{
	struct tar *t = arg;
	size_t got = 0;

	*p = t->chunk;
	if (read_chunk(t, &got, &t->io) < 0) {
		t->lib.archive_set_error(a, EIO, "%s", "read");
		return -1;
	}
	return (la_ssize_t)got;
}

static la_int64_t skip(struct archive *a K_UNUSED, void *arg, la_int64_t n)
{
	struct tar *t = arg;
	uint64_t left;

	if (t->gz || !k_source_seekable(t->src) || n <= 0)
		return 0;
	left = (uint64_t)k_source_size(t->src) - t->pos;
	n = (la_int64_t)K_MIN((uint64_t)n, left);
	t->pos += (uint64_t)n;
	return n;
}

static int failed(struct tar *t, struct k_err *err)
{
	const char *why = t->lib.archive_error_string(t->a);

	if (t->io.code) {
		*err = t->io;
		return err->code;
	}
	if (t->lib.archive_errno(t->a) == ENOMEM)
		return k_err_nomem(err, CHUNK, "unpacking an archive");
	return k_err_set(err, K_EFORMAT, "'%s' is no tar archive, or a damaged one: %s", k_source_name(t->src), why ? why : "it cannot be read");
}

static int start(struct tar *t, struct k_err *err)
{
	const struct packing *p;
	const void *head;
	size_t n;

	if (k_source_peek(t->src, &head, 8, &n, err) < 0)
		return err->code;
	p = packing_of(head, n);
	t->in_place = !p && k_source_seekable(t->src);
	if (k_archive_lib_open(&t->lib, err) < 0)
		return err->code;
	t->chunk = k_alloc(CHUNK);
	t->a = t->lib.archive_read_new();
	if (!t->chunk || !t->a)
		return k_err_nomem(err, CHUNK, "an archive");
	t->lib.archive_read_support_format_tar(t->a);
	if (p && p->filter == ARCHIVE_FILTER_GZIP) {
		t->packed = k_alloc(CHUNK);
		if (!t->packed)
			return k_err_nomem(err, CHUNK, "an archive");
		if (k_gunzip_new(&t->gz, read_packed, t, k_source_name(t->src), err) < 0)
			return err->code;
	}
	/* A warning means that libarchive would run a program for it. */
	if (p && !t->packed && t->lib.archive_read_support_filter_by_code(t->a, p->filter) != ARCHIVE_OK)
		return k_err_set(err, K_EUNSUP, "'%s' is packed with %s, which this libarchive cannot read", k_source_name(t->src), p->name);
	t->lib.archive_read_set_callback_data(t->a, t);
	t->lib.archive_read_set_read_callback(t->a, feed);
	t->lib.archive_read_set_skip_callback(t->a, skip);
	return t->lib.archive_read_open1(t->a) == ARCHIVE_OK ? 0 : failed(t, err);
}

/* --- names -------------------------------------------------------------------------------------------------------------------- */

/* Names that are devices on some systems, or lose their end there. */
static bool is_reserved(const char *p, size_t n)
{
	static const char *const devices[] = { "con", "prn", "aux", "nul", "com", "lpt" };
	const char *dot = memchr(p, '.', n);
	size_t stem = dot ? (size_t)(dot - p) : n;

	for (size_t i = 0; i < K_LEN(devices); i++)
		if (stem >= 3 && strncasecmp(p, devices[i], 3) == 0 && (i < 4 ? stem == 3 : stem == 4 && p[3] >= '1' && p[3] <= '9'))
			return true;
	return n > 0 && (p[n - 1] == '.' || p[n - 1] == ' ');
}

/* The name without "./" in front and "/" behind; NULL: err says what is wrong with it. "" is the top itself. */
static char *clean_name(struct tar *t, struct archive_entry *e, bool is_folder, struct k_err *err)
{
	const char *raw = t->lib.archive_entry_pathname_utf8(e), *why = NULL;
	int depth = 0;
	char *name;
	size_t n;

	raw = raw ? raw : t->lib.archive_entry_pathname(e);
	if (!raw || !k_utf8_ok(raw, strlen(raw))) {
		k_err_set(err, K_EFORMAT, "'%s' holds a name that is not UTF-8", k_source_name(t->src));
		return NULL;
	}
	for (name = (char *)(uintptr_t)raw; name[0] == '.' && name[1] == '/'; )
		name += 2;
	if (strcmp(name, ".") == 0)
		name++;
	n = strlen(name);
	if (is_folder && n && name[n - 1] == '/')
		n--;
	if (name[0] == '/' || memchr(name, '\\', n) || (n > 1 && name[1] == ':'))
		why = "which is no relative name";
	for (size_t i = 0, len; n && !why && i <= n; i += len + 1, depth++) {
		len = strcspn(name + i, "/");
		len = K_MIN(len, n - i);
		if (len == 0 || len > MOST_COMPONENT || (len == 1 && name[i] == '.') || (len == 2 && name[i] == '.' && name[i + 1] == '.'))
			why = "with a part that is empty, too long, '.' or '..'";
		else if (is_reserved(name + i, len))
			why = "which some systems reserve";
	}
	if (!why && (depth > MOST_DEPTH || (n == 0 && !is_folder)))
		why = n ? "which is too deep" : "which is empty";
	if (why) {
		k_err_set(err, K_EFORMAT, "'%s' holds the name '%.200s', %s", k_source_name(t->src), raw, why);
		return NULL;
	}
	name = k_arena_strndup(&t->arena, name, n);
	if (!name)
		k_err_nomem(err, n, "a name");
	return name;
}

/* Files of one name, or of names that some file systems take for one. */
static int check_once(struct tar *t, const char *name, struct k_err *err)
{
	char *low = k_arena_strdup(&t->arena, name);
	int put;

	for (char *p = low; p && *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p |= 32;
	put = low ? k_map_put(&t->seen, low, strlen(low), low) : -1;
	if (put < 0)
		return k_err_nomem(err, strlen(name), "the names of an archive");
	if (put == 0)
		return k_err_set(err, K_EFORMAT, "'%s' holds two files called '%.200s'", k_source_name(t->src), name);
	if (t->seen.n > MOST_MEMBERS)
		return k_err_set(err, K_EUNSUP, "'%s' holds more than %d files", k_source_name(t->src), MOST_MEMBERS);
	return 0;
}

static void forget_members(struct tar *t)
{
	for (int i = 0; i < t->n; i++) {
		if (t->v[i].held)
			t->memory -= t->v[i].n;
		k_source_close(t->v[i].held);
	}
	t->n = 0;
}

/* Does a file lie in the folder that counts? One nearer to the top makes its folder count instead. */
static bool counts(struct tar *t, const char *name, const char **base)
{
	const char *slash = strrchr(name, '/');
	size_t len = slash ? (size_t)(slash - name) : 0;
	int depth = 0;

	*base = slash ? slash + 1 : name;
	for (const char *p = name; *p; p++)
		depth += *p == '/';
	/* Hidden files and folders are the system's. */
	if ((*base)[0] == '.' || name[0] == '.' || strstr(name, "/."))
		return false;
	if (!t->folder || depth < t->depth) {
		forget_members(t);
		t->folder = k_arena_strndup(&t->arena, name, len);
		t->depth = depth;
		t->other = NULL;
		return true;
	}
	if (depth > t->depth)
		return false;
	if (strlen(t->folder) == len && strncmp(t->folder, name, len) == 0)
		return true;
	t->other = t->other ? t->other : name;
	return false;
}

/* --- members -------------------------------------------------------------------------------------------------------------------- */

static int check_kind(struct tar *t, struct archive_entry *e, const char *name, struct k_err *err)
{
	if (t->lib.archive_entry_hardlink(e) || t->lib.archive_entry_symlink(e))
		return k_err_set(err, K_EUNSUP, "'%s': %.200s is a link; make the archive with the files themselves (tar --dereference --hard-dereference)",
			k_source_name(t->src), name);
	if (t->lib.archive_entry_filetype(e) != AE_IFREG && t->lib.archive_entry_filetype(e) != AE_IFDIR)
		return k_err_set(err, K_EUNSUP, "'%s': %.200s is neither a file nor a folder", k_source_name(t->src), name);
	if (t->lib.archive_entry_sparse_count(e) > 0)
		return k_err_set(err, K_EUNSUP, "'%s': %.200s is stored as a sparse file; make the archive without --sparse", k_source_name(t->src), name);
	if (t->lib.archive_entry_filetype(e) == AE_IFREG && (!t->lib.archive_entry_size_is_set(e) || t->lib.archive_entry_size(e) < 0))
		return k_err_set(err, K_EFORMAT, "'%s': %.200s has no size", k_source_name(t->src), name);
	return 0;
}

static struct member *new_member(struct tar *t, const char *base, struct k_err *err)
{
	if (t->n == t->cap) {
		int cap = t->cap ? 2 * t->cap : 32;
		struct member *v = k_realloc(t->v, (size_t)cap * sizeof(*v));

		if (!v) {
			k_err_nomem(err, (size_t)cap * sizeof(*v), "the files of an archive");
			return NULL;
		}
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n] = (struct member){ .name = base };
	return &t->v[t->n];
}

static int check_ratio(struct tar *t, struct k_err *err)
{
	int64_t out = t->gz ? (int64_t)t->out : t->lib.archive_filter_bytes(t->a, 0), in = t->gz ? (int64_t)t->in : t->lib.archive_filter_bytes(t->a, -1);

	if (out > (int64_t)RATIO_FROM && out / RATIO > in)
		return k_err_set(err, K_EFORMAT, "'%s' expands more than %d to 1: wanted an archive of weights", k_source_name(t->src), RATIO);
	return 0;
}

/* The member's next bytes; *n 0 at its end. */
static int next_bytes(struct tar *t, const void **p, size_t *n, struct k_err *err)
{
	la_int64_t off;
	int r = t->lib.archive_read_data_block(t->a, p, n, &off);

	if (r == ARCHIVE_EOF) {
		*n = 0;
		return 0;
	}
	if (r != ARCHIVE_OK)
		return failed(t, err);
	return check_ratio(t, err);
}

static uint64_t memory_limit(const struct tar *t) { return k_ctx_ceiling(t->ctx) / 2; }

static int open_spool(struct tar *t, struct k_err *err)
{
	const char *dir = t->ctx->spool ? t->ctx->spool : getenv("TMPDIR");

	if (t->spool_to)
		return 0;
	if (!dir || !dir[0])
		return k_err_set(err, K_ENOMEM, "'%s' holds more than the %llu bytes that are kept in memory: give --spool DIR for the rest, or unpack it",
			k_source_name(t->src), (unsigned long long)memory_limit(t));
	return k_spool_open(&t->spool_to, &t->spool, dir, err);
}

static int hold_on_disk(struct tar *t, struct member *m, struct k_err *err)
{
	const void *p;
	size_t n;
	int r = open_spool(t, err);

	m->of = t->spool;
	m->off = t->spooled;
	while (r == 0 && (r = next_bytes(t, &p, &n, err)) == 0 && n > 0) {
		t->spooled += n;
		if (t->spooled - m->off > m->n)
			return k_err_set(err, K_EFORMAT, "'%s': %.200s is larger than its head says", k_source_name(t->src), m->name);
		r = k_sink_write(t->spool_to, p, n, err);
	}
	if (r == 0 && t->spooled - m->off != m->n)
		r = k_err_set(err, K_ETRUNC, "'%s': %.200s ends early", k_source_name(t->src), m->name);
	return r;
}

/* Memory grows with what comes, not with what the head promises. */
static int hold_in_memory(struct tar *t, struct member *m, struct k_err *err)
{
	struct k_buf b;
	const void *p;
	size_t n, len = 0;
	char *data;
	int r;

	k_buf_init(&b, 0);
	while ((r = next_bytes(t, &p, &n, err)) == 0 && n > 0) {
		k_buf_put(&b, p, n);
		if (b.failed || b.len > m->n)
			break;
	}
	if (r == 0)
		r = k_buf_ok(&b, m->name, err);
	if (r == 0 && b.len != m->n)
		r = k_err_set(err, K_ETRUNC, "'%s': %.200s has %zu bytes, its head says %llu", k_source_name(t->src), m->name, b.len,
			(unsigned long long)m->n);
	if (r < 0) {
		k_buf_fini(&b);
		return r;
	}
	data = k_buf_take(&b, &len);
	if (!data)
		return k_err_nomem(err, 1, m->name);
	r = k_source_mem(&m->held, data, len, true, m->name, err);
	m->of = m->held;
	t->memory += r == 0 ? m->n : 0;
	return r;
}

static int hold(struct tar *t, struct archive_entry *e, const char *base, struct k_err *err)
{
	struct member *m = new_member(t, base, err);
	int r;

	if (!m)
		return err->code;
	m->n = (uint64_t)t->lib.archive_entry_size(e);
	if (t->in_place) {
		m->of = t->src;
		m->off = (uint64_t)t->lib.archive_filter_bytes(t->a, 0);
		if (m->off > (uint64_t)k_source_size(t->src) || m->n > (uint64_t)k_source_size(t->src) - m->off)
			return k_err_set(err, K_ETRUNC, "'%s' ends in the middle of %.200s", k_source_name(t->src), base);
		r = 0;
	} else if (!t->spool_to && m->n <= memory_limit(t) - K_MIN(t->memory, memory_limit(t))) {
		r = hold_in_memory(t, m, err);
	} else {
		r = hold_on_disk(t, m, err);
	}
	if (r == 0)
		t->n++;
	return r;
}

/* What is not held is run through, so that its bytes are counted; a plain archive skips it. */
static int pass(struct tar *t, struct k_err *err)
{
	const void *p;
	size_t n = 1;
	int r = 0;

	if (t->in_place)
		return 0;
	while (r == 0 && n > 0)
		r = next_bytes(t, &p, &n, err);
	return r;
}

static int read_member(struct tar *t, struct archive_entry *e, struct k_err *err)
{
	bool is_folder = t->lib.archive_entry_filetype(e) == AE_IFDIR;
	char *name = clean_name(t, e, is_folder, err);
	const char *base;

	if (!name || check_kind(t, e, name, err) < 0)
		return err->code;
	if (is_folder)
		return 0;
	if (check_once(t, name, err) < 0)
		return err->code;
	if (!counts(t, name, &base))
		return pass(t, err);
	return t->folder ? hold(t, e, base, err) : k_err_nomem(err, strlen(name), "a name");
}

/* The checksum stands behind all that tar wrote. */
static int unpack_rest(struct tar *t, struct k_err *err)
{
	size_t got = 1;
	int r = 0;

	while (r == 0 && got > 0 && t->gz) {
		r = read_chunk(t, &got, err);
		if (r == 0)
			r = check_ratio(t, err);
	}
	return r;
}

/* tar fills its last record with zeros; who writes into a pipe should not find it closed. */
static int drain(struct tar *t, struct k_err *err)
{
	size_t got = 1, sum = 0;
	int r = 0;

	while (r == 0 && got > 0 && sum < MOST_PADDING && !k_source_seekable(t->src)) {
		r = k_source_some(t->src, t->chunk, CHUNK, &got, err);
		sum += got;
	}
	return r;
}

static int read_members(struct tar *t, struct k_err *err)
{
	struct archive_entry *e;
	int r, rc;

	for (;;) {
		rc = t->lib.archive_read_next_header(t->a, &e);
		if (rc == ARCHIVE_EOF)
			break;
		/* A warning is about a name in another character set, which is checked here. */
		if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
			return failed(t, err);
		if (t->lib.archive_filter_count(t->a) > 2)
			return k_err_set(err, K_EUNSUP, "'%s' is packed more than once", k_source_name(t->src));
		r = check_ratio(t, err);
		if (r == 0)
			r = read_member(t, e, err);
		if (r < 0)
			return r;
	}
	if (unpack_rest(t, err) < 0 || drain(t, err) < 0)
		return err->code;
	if (t->other)
		return k_err_set(err, K_EFORMAT, "'%s' holds several folders, %.100s and that of %.100s: wanted one model", k_source_name(t->src),
			t->folder, t->other);
	return 0;
}

/* --- the folder ----------------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int open_member(struct k_dir *d, const char *name, struct k_source **out, struct k_err *err)
{
	struct tar *t = d->impl;
	struct member key = { .name = name }, *m = t->n ? bsearch(&key, t->v, (size_t)t->n, sizeof(*t->v), by_name) : NULL;
	char *show;
	size_t n = strlen(d->path) + strlen(name) + 2;
	int r;

	*out = NULL;
	if (!m)
		return k_err_set(err, K_ENOENT, "'%s': %s is missing", d->path, name);
	show = k_alloc(n);
	if (!show)
		return k_err_nomem(err, n, "a file name");
	snprintf(show, n, "%s/%s", d->path, name);
	r = k_source_range(out, m->of, m->off, m->n, show, err);
	k_free(show);
	return r;
}

static void close_reader(struct tar *t)
{
	if (t->a)
		t->lib.archive_read_free(t->a);
	t->a = NULL;
	k_archive_lib_close(&t->lib);
	k_gunzip_free(t->gz);
	t->gz = NULL;
	k_free(t->packed);
	t->packed = NULL;
	k_free(t->chunk);
	t->chunk = NULL;
	k_map_fini(&t->seen);
}

/* Ranges that are open keep their source alive. */
static void close_tar(struct k_dir *d)
{
	struct tar *t = d->impl;

	close_reader(t);
	forget_members(t);
	k_free(t->v);
	k_sink_close(t->spool_to);
	k_source_close(t->spool);
	k_source_close(t->src);
	k_arena_fini(&t->arena);
	k_free(t);
}

/* All is read: what was written to disk can be read from it, and the names are listed. */
static int seal(struct tar *t, struct k_err *err)
{
	int r = t->spool_to ? k_sink_commit(t->spool_to, err) : 0;

	k_sink_close(t->spool_to);
	t->spool_to = NULL;
	close_reader(t);
	if (r < 0)
		return r;
	if (t->n)
		qsort(t->v, (size_t)t->n, sizeof(*t->v), by_name);
	t->dir.names = k_arena_array(&t->arena, (size_t)t->n + 1, sizeof(*t->dir.names));
	if (!t->dir.names)
		return k_err_nomem(err, (size_t)t->n * sizeof(*t->dir.names), "the files of an archive");
	for (int i = 0; i < t->n; i++)
		t->dir.names[i] = (char *)(uintptr_t)t->v[i].name;
	t->dir.n = t->n;
	return 0;
}

static int open_tar(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	struct tar *t = k_calloc(1, sizeof(*t));
	struct k_format_in folder = *in;
	int r;

	if (!t) {
		k_source_close(in->src);
		return k_err_nomem(err, sizeof(*t), "an archive");
	}
	t->ctx = in->ctx;
	t->src = in->src;
	t->dir = (struct k_dir){ .open = open_member, .close = close_tar, .impl = t };
	k_arena_init(&t->arena);
	k_map_init(&t->seen);
	t->dir.path = k_arena_strdup(&t->arena, k_source_name(in->src));
	r = t->dir.path ? start(t, err) : k_err_nomem(err, 1, "a name");
	if (r == 0)
		r = read_members(t, err);
	if (r == 0)
		r = seal(t, err);
	if (r < 0) {
		close_tar(&t->dir);
		return r;
	}
	folder.src = NULL;
	folder.dir = &t->dir;
	return k_format_open_dir(out, &folder, err);
}

/* The sum of a header's bytes, its own field taken as spaces. */
static bool is_header(const unsigned char *p)
{
	unsigned sum = 0, said = 0, i = 148;

	for (unsigned k = 0; k < 512; k++)
		sum += k >= 148 && k < 156 ? ' ' : p[k];
	while (i < 156 && p[i] == ' ')
		i++;
	for (; i < 156 && p[i] >= '0' && p[i] <= '7'; i++)
		said = 8 * said + (unsigned)(p[i] - '0');
	return said == sum && p[0];
}

static int taste(const struct k_format_in *in, const void *head, size_t n)
{
	if (in->dir)
		return 0;
	return packing_of(head, n) ? 40 : n >= 512 && is_header(head) ? 90 : 0;
}

const struct k_format k_format_archive = {
	.name = "tar", .about = "tar archive, plain or packed with gzip, zstd or xz", .taste = taste, .open = open_tar,
};

const char *k_archive_library(void) { return ARCHIVE_VERSION_STRING; }

/* kldref.c: see kldref.h. A window's place follows from its number: the rows of the windows before it are known from the cut. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/kldref.h"
#include "evals/report.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/io_place.h"

enum { FIXED = 16, MARK = 8, DIGEST = 32, HEAD_MOST = 1 << 16 };
#define BEGIN "KLDREF\r\n"
#define END "KLDEND\r\n"

struct k_kldref {
	const struct k_windows *w;
	struct k_place *to;             /* one of the two */
	struct k_source *from;
	char *path, *partial;
	struct k_buf head;              /* as in the file */
	uint8_t chain[DIGEST];          /* digest of what is before the window at hand */
	uint8_t last[DIGEST];           /* of a complete file: the last window's */
	int64_t at;                     /* that window */
	uint64_t off;                   /* where it begins */
	int top;
	size_t row_bytes;
	char *rows;                     /* u64 rows, the rows, room for a digest */
	struct k_sha256 *sha;
};

int k_kldref_top(const struct k_kldref *f) { return f->top; }

static int64_t window_rows(const struct k_kldref *f, int64_t i)
{
	struct k_window w = k_window_at(f->w, i);
	return w.to - w.score;
}

/* Bytes of a window up to its digest. */
static size_t window_bytes(const struct k_kldref *f, int64_t i) { return 8 + (size_t)window_rows(f, i) * f->row_bytes; }

struct k_kldrow k_kldref_row(const struct k_kldref *f, int64_t r)
{
	char *p = f->rows + 8 + (size_t)r * f->row_bytes;
	struct k_kldrow row;
	memcpy(&row, p, 24);
	row.id = (const uint32_t *)(p + 24);
	row.logp = (const float *)(p + 24 + 4 * (size_t)f->top);
	return row;
}

void k_kldref_set(struct k_kldref *f, int64_t r, double nll, double mass, double plogp)
{
	double v[3] = { nll, mass, plogp };
	memcpy(f->rows + 8 + (size_t)r * f->row_bytes, v, sizeof(v));
}

/* --- head ------------------------------------------------------------------------------------------------------------------ */

static int ids_digest(const struct k_windows *w, char hex[65], struct k_err *err)
{
	uint8_t raw[32];
	int r = k_sha256_once(w->ids.v ? (const void *)w->ids.v : "", w->ids.n * sizeof(*w->ids.v), raw, err);
	k_hex(hex, raw);
	return r;
}

static int make_head(struct k_kldref *f, struct k_err *err)
{
	char ids[65];
	struct k_json *o = k_json_object();
	int r = ids_digest(f->w, ids, err);
	if (r == 0 && (!o || k_windows_put(f->w, o) | k_put_str(o, "ids_sha256", ids) | k_put_int(o, "top", f->top) |
		k_put_int(o, "windows", f->w->n) | k_put_int(o, "vocab", k_model_hp(f->w->m)->n_vocab)))
		r = k_err_nomem(err, 1024, "the head of a reference");
	if (r == 0) {
		k_json_dump(&f->head, o, K_JSON_COMPACT);
		while (f->head.len % 8)
			k_buf_putc(&f->head, ' ');
		r = k_buf_ok(&f->head, "the head of a reference", err);
	}
	k_json_free(o);
	return r;
}

static int new_ref(struct k_kldref **out, const char *path, const struct k_windows *w, struct k_err *err)
{
	struct k_kldref *f = k_calloc(1, sizeof(*f));
	size_t n;
	*out = f;
	if (!f)
		return k_err_nomem(err, sizeof(*f), "a reference");
	f->w = w;
	f->top = (int)K_MIN(K_KLDREF_TOP, k_model_hp(w->m)->n_vocab);
	f->row_bytes = 24 + 8 * (size_t)f->top;
	k_buf_init(&f->head, HEAD_MOST);
	f->path = k_strdup(path);
	n = strlen(path) + sizeof(".partial");
	f->partial = k_alloc(n);
	if (!f->path || !f->partial)
		return k_err_nomem(err, n, "a reference");
	snprintf(f->partial, n, "%s.partial", path);
	if (!k_mul_size((size_t)w->window, f->row_bytes, &n) || !(f->rows = k_calloc(1, n + 8 + DIGEST)))
		return k_err_nomem(err, n, "the rows of a window");
	return k_sha256_new(&f->sha, err);
}

void k_kldref_close(struct k_kldref *f)
{
	if (!f)
		return;
	k_place_close(f->to);
	k_source_close(f->from);
	k_free(f->path);
	k_free(f->partial);
	k_buf_fini(&f->head);
	k_free(f->rows);
	k_sha256_free(f->sha);
	k_free(f);
}

/* The digest that the window's own must be, from what is in rows. */
static void chain_on(struct k_kldref *f, int64_t i, uint8_t out[DIGEST])
{
	k_sha256_add(f->sha, f->chain, DIGEST);
	k_sha256_add(f->sha, f->rows, window_bytes(f, i));
	k_sha256_end(f->sha, out);
}

static void step_on(struct k_kldref *f, int64_t i, const uint8_t digest[DIGEST])
{
	memcpy(f->chain, digest, DIGEST);
	f->off += window_bytes(f, i) + DIGEST;
	f->at = i + 1;
}

static void fixed_part(const struct k_kldref *f, char p[FIXED])
{
	uint32_t v[2] = { 1, (uint32_t)f->head.len };
	memcpy(p, BEGIN, MARK);
	memcpy(p + MARK, v, sizeof(v));
}

static int begin_chain(struct k_kldref *f, struct k_err *err)
{
	f->at = 0;
	f->off = FIXED + f->head.len;
	return k_sha256_once(f->head.data, f->head.len, f->chain, err);
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

/* Is window i whole in the unfinished file? Then it is in rows. */
static bool have_window(struct k_kldref *f, int64_t i)
{
	size_t n = window_bytes(f, i);
	uint64_t rows = (uint64_t)window_rows(f, i);
	uint8_t digest[DIGEST];
	struct k_err err = { 0 };
	if (f->off + n + DIGEST > k_place_bytes(f->to) || k_place_read(f->to, f->rows, n + DIGEST, f->off, &err) < 0)
		return false;
	chain_on(f, i, digest);
	return memcmp(f->rows, &rows, 8) == 0 && memcmp(digest, f->rows + n, DIGEST) == 0;
}

static bool same_head(struct k_kldref *f)
{
	char fixed[FIXED], have[FIXED];
	struct k_err err = { 0 };
	fixed_part(f, fixed);
	if (k_place_bytes(f->to) < FIXED + f->head.len || k_place_read(f->to, have, FIXED, 0, &err) < 0 || memcmp(fixed, have, FIXED))
		return false;
	char *head = k_alloc(f->head.len);
	bool same = head && k_place_read(f->to, head, f->head.len, FIXED, &err) == 0 && !memcmp(head, f->head.data, f->head.len);
	k_free(head);
	return same;
}

static int write_head(struct k_kldref *f, struct k_err *err)
{
	char fixed[FIXED];
	fixed_part(f, fixed);
	int r = k_place_write(f->to, fixed, FIXED, 0, err);
	return r < 0 ? r : k_place_write(f->to, f->head.data, f->head.len, FIXED, err);
}

int k_kldref_create(struct k_kldref **out, const char *path, const struct k_windows *w, int64_t *done, struct k_err *err)
{
	struct k_kldref *f;
	*done = 0;
	*out = NULL;
	/* It takes the place of what is there. */
	if (k_path_is_other(path))
		return k_err_set(err, K_EUSAGE, "--save-ref '%s' is there and is no file, wanted the name of one", path);
	int r = new_ref(&f, path, w, err);
	if (r == 0)
		r = make_head(f, err);
	if (r == 0)
		r = begin_chain(f, err);
	if (r == 0)
		r = k_place_open(&f->to, f->partial, path, K_PLACE_KEEP, err);
	if (r == 0)
		r = k_place_lock(f->to, err);
	if (r == 0 && same_head(f)) {
		while (f->at < w->n && have_window(f, f->at))
			step_on(f, f->at, (const uint8_t *)f->rows + window_bytes(f, f->at));
		*done = f->at;
		if (begin_chain(f, err) < 0)
			r = err->code;
	} else if (r == 0) {
		r = write_head(f, err);
	}
	if (r < 0) {
		k_kldref_close(f);
		f = NULL;
	}
	*out = f;
	return r;
}

int k_kldref_put(struct k_kldref *f, int64_t i, struct k_err *err)
{
	size_t n = window_bytes(f, i);
	uint64_t rows = (uint64_t)window_rows(f, i);
	memcpy(f->rows, &rows, 8);
	chain_on(f, i, (uint8_t *)f->rows + n);
	int r = k_place_write(f->to, f->rows, n + DIGEST, f->off, err);
	if (r == 0)
		step_on(f, i, (const uint8_t *)f->rows + n);
	return r;
}

int k_kldref_commit(struct k_kldref *f, uint64_t *bytes, struct k_err *err)
{
	char end[MARK + 8];
	uint64_t n = (uint64_t)f->w->n;
	struct k_place *to = f->to;
	memcpy(end, END, MARK);
	memcpy(end + MARK, &n, 8);
	*bytes = f->off + sizeof(end);
	int r = k_place_write(to, end, sizeof(end), f->off, err);
	/* What an earlier run left may be longer. */
	if (r == 0)
		r = k_place_size(to, *bytes, err);
	if (r < 0)
		return r;
	f->to = NULL;
	return k_place_rename(to, f->path, err);
}

int k_kldref_drop(struct k_kldref *f, struct k_err *err)
{
	k_place_close(f->to);
	f->to = NULL;
	return k_path_remove(f->partial, err);
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

static int read_next(struct k_kldref *f, struct k_err *err)
{
	int64_t i = f->at;
	size_t n = window_bytes(f, i);
	uint8_t digest[DIGEST];
	uint64_t rows = (uint64_t)window_rows(f, i);
	int r = f->to ? k_place_read(f->to, f->rows, n + DIGEST, f->off, err) : k_source_pread(f->from, f->rows, n + DIGEST, f->off, err);
	if (r < 0)
		return r;
	chain_on(f, i, digest);
	if (memcmp(f->rows, &rows, 8) || memcmp(digest, f->rows + n, DIGEST))
		return k_err_set(err, K_ECHECK, "'%s' is damaged at window %lld", f->path, (long long)i);
	step_on(f, i, digest);
	return 0;
}

int k_kldref_read(struct k_kldref *f, int64_t i, struct k_err *err)
{
	int r = 0;
	while (r == 0 && f->at <= i)
		r = read_next(f, err);
	return r;
}

void k_kldref_digest(const struct k_kldref *f, char hex[65]) { k_hex(hex, f->last); }

/* What must be equal, or the two runs scored different things. The model, and what computes it, may differ: that is the question. */
static const char *const same_members[] = { "window", "stride", "bos_id", "text_sha256", "ids_sha256", "vocab", "top", "windows" };

static int compare_heads(const struct k_kldref *f, const struct k_json *theirs, struct k_err *err)
{
	struct k_json *ours;
	int r = k_json_parse(&ours, f->head.data, f->head.len, K_JSON_STRICT, "the settings", err);
	for (size_t i = 0; r == 0 && i < K_LEN(same_members); i++) {
		struct k_buf a, b;
		const struct k_json *va = k_json_find(theirs, same_members[i]), *vb = k_json_find(ours, same_members[i]);
		k_buf_init(&a, 0);
		k_buf_init(&b, 0);
		if (va)
			k_json_dump(&a, va, K_JSON_COMPACT);
		k_json_dump(&b, vb, K_JSON_COMPACT);
		if (k_buf_ok(&a, "a value", err) == 0 && k_buf_ok(&b, "a value", err) == 0 && (a.len != b.len || memcmp(a.data, b.data, a.len)))
			r = k_err_set(err, K_EUSAGE, "'%s' was made with %s %s, this run has %s", f->path, same_members[i], va ? a.data : "missing", b.data);
		k_buf_fini(&a);
		k_buf_fini(&b);
	}
	k_json_free(ours);
	return r;
}

static int read_head(struct k_kldref *f, struct k_err *err)
{
	char fixed[FIXED];
	uint32_t v[2];
	struct k_json *head = NULL;
	int r = k_source_pread(f->from, fixed, FIXED, 0, err);
	if (r < 0)
		return r;
	memcpy(v, fixed + MARK, sizeof(v));
	if (memcmp(fixed, BEGIN, MARK))
		return k_err_set(err, K_EFORMAT, "'%s' is no reference of keval kld", f->path);
	if (v[0] != 1)
		return k_err_set(err, K_EUNSUP, "'%s' is a reference of version %u, this program knows 1", f->path, v[0]);
	if (v[1] > HEAD_MOST)
		return k_err_set(err, K_EFORMAT, "'%s' has a head of %u bytes", f->path, v[1]);
	char *text = k_alloc((size_t)v[1] + 1);
	if (!text)
		return k_err_nomem(err, v[1], "the head of a reference");
	r = k_source_pread(f->from, text, v[1], FIXED, err);
	if (r == 0)
		r = k_json_parse(&head, text, v[1], K_JSON_STRICT, f->path, err);
	if (r == 0)
		r = compare_heads(f, head, err);
	if (r == 0) {
		k_buf_reset(&f->head);
		k_buf_put(&f->head, text, v[1]);
		r = k_buf_ok(&f->head, "the head of a reference", err);
	}
	k_json_free(head);
	k_free(text);
	return r;
}

static int check_end(struct k_kldref *f, struct k_err *err)
{
	char end[DIGEST + MARK + 8], *mark = end + DIGEST;
	uint64_t at = f->off - DIGEST, n;
	for (int64_t i = 0; i < f->w->n; i++)
		at += window_bytes(f, i) + DIGEST;
	if (k_source_size(f->from) != (int64_t)(at + sizeof(end)))
		return k_err_set(err, K_ETRUNC, "'%s' has %lld bytes, wanted %llu", f->path, (long long)k_source_size(f->from),
			(unsigned long long)(at + sizeof(end)));
	int r = k_source_pread(f->from, end, sizeof(end), at, err);
	if (r < 0)
		return r;
	memcpy(f->last, end, DIGEST);
	memcpy(&n, mark + MARK, 8);
	return memcmp(mark, END, MARK) || n != (uint64_t)f->w->n ? k_err_set(err, K_ETRUNC, "'%s' has no end mark", f->path) : 0;
}

int k_kldref_open(struct k_kldref **out, const char *path, const struct k_windows *w, struct k_err *err)
{
	struct k_kldref *f;
	int r = new_ref(&f, path, w, err);
	if (r == 0)
		r = make_head(f, err);
	if (r == 0)
		r = k_source_open(&f->from, path, err);
	if (r == 0 && !k_source_seekable(f->from))
		r = k_err_set(err, K_EUSAGE, "--ref '%s' is a pipe, wanted a file", path);
	if (r == 0)
		r = read_head(f, err);
	if (r == 0)
		r = begin_chain(f, err);
	if (r == 0)
		r = check_end(f, err);
	if (r < 0) {
		k_kldref_close(f);
		f = NULL;
	}
	*out = f;
	return r;
}

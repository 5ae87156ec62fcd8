/* seen.c: see seen.h. */
#include "libcore/base.h"
#include "evals/seen.h"
#include "libcore/hash.h"
#include "libcore/io.h"

enum { MARK = 8, DIGEST = 32, NAME_MOST = 4096 };
static const char mark[MARK + 1] = "KSEEN 1\n";

void k_seen_init(struct k_seen_all *all)
{
	memset(all, 0, sizeof(*all));
	k_arena_init(&all->arena);
	k_map_init(&all->by_name);
	all->last = &all->first;
}

void k_seen_fini(struct k_seen_all *all)
{
	k_map_fini(&all->by_name);
	k_arena_fini(&all->arena);
}

static struct k_seen *begin(struct k_seen_all *all, const char *name, int64_t mats, int64_t cols)
{
	struct k_seen *s = k_arena_alloc(&all->arena, sizeof(*s));
	if (!s)
		return NULL;
	*s = (struct k_seen){ k_arena_strdup(&all->arena, name), mats, cols, NULL, NULL, NULL };
	s->sums = k_arena_array(&all->arena, (size_t)(mats * cols), sizeof(*s->sums));
	s->counts = k_arena_array(&all->arena, (size_t)mats, sizeof(*s->counts));
	if (!s->name || !s->sums || !s->counts || k_map_put(&all->by_name, s->name, strlen(s->name), s) < 0)
		return NULL;
	*all->last = s;
	all->last = &s->next;
	all->n++;
	return s;
}

struct k_seen *k_seen_of(struct k_seen_all *all, const char *name, int64_t mats, int64_t cols, struct k_err *err)
{
	struct k_seen *s = k_map_find(&all->by_name, name, strlen(name));
	if (!s && !(s = begin(all, name, mats, cols)))
		k_err_nomem(err, (size_t)(mats * cols) * sizeof(*s->sums), "activation statistics");
	if (!s || (s->mats == mats && s->cols == cols))
		return s;
	k_err_set(err, K_ESHAPE, "the statistics of '%.200s' are of %lld matrices with %lld columns, wanted %lld and %lld", name, (long long)s->mats,
		(long long)s->cols, (long long)mats, (long long)cols);
	return NULL;
}

/* --- writing ---------------------------------------------------------------------------------------------------------------- */

struct out { struct k_sink *sink; struct k_sha256 *sha; };

static int put(struct out *o, const void *p, size_t n, struct k_err *err)
{
	k_sha256_add(o->sha, p, n);
	return k_sink_write(o->sink, p, n, err);
}

static int put_number(struct out *o, int64_t v, struct k_err *err) { return put(o, &v, sizeof(v), err); }

static int put_head(struct out *o, const struct k_seen_all *all, const struct k_seen_at *at, struct k_err *err)
{
	uint8_t run[DIGEST];
	int r = k_sha256_once(at->run, strlen(at->run), run, err);
	if (r == 0)
		r = put(o, mark, MARK, err);
	if (r == 0)
		r = put(o, run, sizeof(run), err);
	if (r == 0)
		r = put_number(o, at->windows, err);
	if (r == 0)
		r = put_number(o, at->tokens, err);
	return r < 0 ? r : put_number(o, all->n, err);
}

static int put_seen(struct out *o, const struct k_seen *s, struct k_err *err)
{
	size_t n = strlen(s->name);
	int r = put_number(o, (int64_t)n, err);
	if (r == 0)
		r = put(o, s->name, n, err);
	if (r == 0)
		r = put_number(o, s->mats, err);
	if (r == 0)
		r = put_number(o, s->cols, err);
	if (r == 0)
		r = put(o, s->sums, (size_t)(s->mats * s->cols) * sizeof(*s->sums), err);
	return r < 0 ? r : put(o, s->counts, (size_t)s->mats * sizeof(*s->counts), err);
}

int k_seen_save(const struct k_seen_all *all, const char *path, const struct k_seen_at *at, struct k_err *err)
{
	struct out o = { NULL, NULL };
	uint8_t digest[DIGEST];
	int r = k_sha256_new(&o.sha, err);
	if (r == 0)
		r = k_sink_open(&o.sink, path, err);
	if (r == 0)
		r = put_head(&o, all, at, err);
	for (const struct k_seen *s = all->first; r == 0 && s; s = s->next)
		r = put_seen(&o, s, err);
	if (r == 0) {
		k_sha256_end(o.sha, digest);
		r = k_sink_write(o.sink, digest, sizeof(digest), err);
	}
	if (r == 0)
		r = k_sink_commit(o.sink, err);
	k_sink_close(o.sink);
	k_sha256_free(o.sha);
	return r;
}

/* --- reading ---------------------------------------------------------------------------------------------------------------- */

struct in { struct k_source *src; struct k_sha256 *sha; const char *path; };

static int damaged(const struct in *i, struct k_err *err) { return k_err_set(err, K_ECHECK, "'%s' is damaged: remove it to begin anew", i->path); }

static int get(struct in *i, void *p, size_t n, struct k_err *err)
{
	int r = k_source_read(i->src, p, n, err);
	if (r == 0)
		k_sha256_add(i->sha, p, n);
	return r;
}

/* A number of things of so many bytes, of which the file cannot hold more than it has bytes. */
static int get_count(struct in *i, int64_t *v, int64_t bytes, struct k_err *err)
{
	int r = get(i, v, sizeof(*v), err);
	if (r == 0 && (*v < 0 || *v > (k_source_size(i->src) - (int64_t)k_source_pos(i->src)) / bytes))
		r = damaged(i, err);
	return r;
}

static int get_head(struct in *i, struct k_seen_at *at, int64_t *n, struct k_err *err)
{
	char begins[MARK];
	uint8_t run[DIGEST], want[DIGEST];
	int r = get(i, begins, MARK, err);
	if (r == 0 && memcmp(begins, mark, MARK))
		return k_err_set(err, K_EFORMAT, "'%s' is no unfinished run of imatrix", i->path);
	if (r == 0)
		r = get(i, run, sizeof(run), err);
	if (r == 0)
		r = k_sha256_once(at->run, strlen(at->run), want, err);
	if (r == 0 && memcmp(run, want, sizeof(run)))
		r = k_err_set(err, K_EFORMAT, "'%s' is of another run (model, text, windows, or how it is computed): remove it to begin anew", i->path);
	if (r == 0)
		r = get(i, &at->windows, sizeof(at->windows), err);
	if (r == 0)
		r = get(i, &at->tokens, sizeof(at->tokens), err);
	if (r == 0 && (at->windows < 0 || at->tokens < 0))
		r = damaged(i, err);
	return r < 0 ? r : get_count(i, n, 24, err);
}

static int get_seen(struct in *i, struct k_seen_all *all, struct k_err *err)
{
	char name[NAME_MOST + 1];
	int64_t n, mats, cols;
	int r = get_count(i, &n, 1, err);
	if (r == 0 && n > NAME_MOST)
		r = damaged(i, err);
	if (r == 0)
		r = get(i, name, (size_t)n, err);
	if (r == 0)
		r = get_count(i, &mats, 8, err);
	if (r == 0)
		r = get_count(i, &cols, 8 * K_MAX(mats, 1), err);
	if (r < 0)
		return r;
	name[n] = 0;
	struct k_seen *s = k_seen_of(all, name, mats, cols, err);
	if (!s)
		return err->code;
	r = get(i, s->sums, (size_t)(mats * cols) * sizeof(*s->sums), err);
	return r < 0 ? r : get(i, s->counts, (size_t)mats * sizeof(*s->counts), err);
}

int k_seen_load(struct k_seen_all *all, const char *path, struct k_seen_at *at, struct k_err *err)
{
	struct in i = { .path = path };
	uint8_t want[DIGEST], digest[DIGEST];
	int64_t n = 0;
	at->windows = at->tokens = 0;
	if (!k_path_exists(path))
		return 0;
	int r = k_sha256_new(&i.sha, err);
	if (r == 0)
		r = k_source_open(&i.src, path, err);
	if (r == 0)
		r = get_head(&i, at, &n, err);
	for (int64_t k = 0; r == 0 && k < n; k++)
		r = get_seen(&i, all, err);
	if (r == 0) {
		k_sha256_end(i.sha, digest);
		r = k_source_read(i.src, want, sizeof(want), err);
	}
	if (r == 0 && memcmp(digest, want, sizeof(want)))
		r = damaged(&i, err);
	k_source_close(i.src);
	k_sha256_free(i.sha);
	return r;
}

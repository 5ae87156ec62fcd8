/* store.c: states on disk, see store.h.
 *
 *   DIR/<16 hex digits>.kseq      one conversation: a sequence as libcore/seq_save.c writes it, its tag the cache salt; written under
 *                                 a temporary name, synced, renamed
 *   DIR/<...>.kseq.refused        one that was wrong: for a look, removed at the next start
 *
 * A file is believed twice: its head when it enters the list (digest over the tokens), all of it (digest over everything) before it is
 * used. What fails either is set aside, and the prompt is computed. One of another model, or that was computed in another way, is for
 * whoever comes back to that: it offers nothing here, takes room, and goes when it is the oldest. Processes may share a folder: a file
 * may change, or go, without this one.
 *
 *   engine: k_store_save -> queue -> writer's thread -> file -> list -> oldest files removed until the rest fits
 *   engine: k_store_ask -> list -> reader's thread -> file -> k_store_take
 *   engine: k_store_order -> queue -> reader's thread -> file -> k_store_done
 *
 * The lock guards queue, list and what is asked for; files are read and written without it. So a file may be written again, or removed,
 * while it is read: each time that one enters the list it gets another serial number, which tells.
 *
 * A disk may never answer (a network's). Then the end does not wait for it: the thread is left where it is, and touches nothing but
 * what is left with it. */
#include "libcore/base.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcore/io.h"
#include "libcore/io_place.h"
#include "libcore/log.h"
#include "libcore/wait.h"
#include "cmd/kserve/store.h"

#define MOST_BYTES (UINT64_C(16) << 30)
#define LOOK_NS UINT64_C(1000000000)
#define MOST_WAITING 8                  /* sequences that wait to be written hold memory */

struct entry { uint64_t id, serial, bytes, used; struct k_seq_head head; struct entry *next; };         /* head.n 0: of another model */
struct save { struct k_seq *seq; uint64_t salt, id; struct save *next; };
/* A prompt whose beginning is wanted, and what there is of it. */
struct search { enum { NO_SEARCH, ASKED, FOUND } state; uint64_t salt, id; int32_t *ids; int64_t n, have; struct k_seq *seq; };

struct k_store {
	const struct k_server *s;
	const char *dir;
	void (*told)(void *arg);
	void *arg;
	pthread_t writer, reader;
	int n_threads;                  /* that were started */
	int n_running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct entry *entries;
	uint64_t serial;                /* of the entry that came last */
	struct search search;
	struct save *first, **last;
	int n_waiting;                  /* with the one that is being written */
	struct k_order *orders, **orders_end, *done;
	bool closing;
	bool left;                      /* nobody waits for the threads any more */
	uint64_t clock;
	uint64_t failed;                /* what could not be written last; 0: nothing since that was asked */
	struct k_store_stats stats;
};

static void path_of(const struct k_store *st, uint64_t id, char *out, size_t n)
{
	snprintf(out, n, "%s/%016" PRIx64 ".kseq", st->dir, id);
}

static void free_entry(struct entry *e)
{
	k_free(e->head.ids);
	k_free(e);
}

/* The entry of that name leaves the list; NULL: there is none. Lock held. */
static struct entry *take_entry(struct k_store *st, uint64_t id)
{
	for (struct entry **p = &st->entries; *p; p = &(*p)->next) {
		struct entry *e = *p;
		if (e->id != id)
			continue;
		*p = e->next;
		return e;
	}
	return NULL;
}

static void count(struct k_store *st, uint64_t *n)
{
	pthread_mutex_lock(&st->lock);
	++*n;
	pthread_mutex_unlock(&st->lock);
}

static bool is_left(struct k_store *st)
{
	pthread_mutex_lock(&st->lock);
	bool left = st->left;
	pthread_mutex_unlock(&st->lock);
	return left;
}

static void set_aside(struct k_store *st, const char *path, const struct k_err *why)
{
	char to[4200];
	if (is_left(st))
		return;
	snprintf(to, sizeof(to), "%s.refused", path);
	k_logf(st->s->log, K_LOG_WARN, "state refused, it will be computed again: %s", why->msg);
	if (rename(path, to))
		unlink(path);
	count(st, &st->stats.refused);
}

/* --- the list ------------------------------------------------------------------------------------------------------------------ */

/* Bytes of all files. Lock held. */
static uint64_t listed(const struct k_store *st)
{
	uint64_t sum = 0;
	for (const struct entry *e = st->entries; e; e = e->next)
		sum += e->bytes;
	return sum;
}

/* Half of what the disk has for them: with those that are there, or fewer would stay after every start. What others fill is not theirs any more. */
static void trim(struct k_store *st)
{
	for (;;) {
		struct entry *old = NULL;
		uint64_t room = k_disk_free(st->dir) / 2;
		pthread_mutex_lock(&st->lock);
		for (struct entry *e = st->entries; e; e = e->next)
			if (!old || e->used < old->used)
				old = e;
		uint64_t have = listed(st);
		bool over = have > K_MIN(MOST_BYTES, room + have / 2) && st->entries->next;
		if (over)
			old = take_entry(st, old->id);
		pthread_mutex_unlock(&st->lock);
		if (!over)
			return;
		char path[4200];
		path_of(st, old->id, path, sizeof(path));
		unlink(path);
		free_entry(old);
	}
}

/* Reads the head of a file into the list, in place of an entry of that name. K_EUNSUP: it is there, as one of another model. written: just
 * now, by whichever clock. */
static int list_file(struct k_store *st, uint64_t id, const char *path, bool written, struct k_err *err)
{
	struct k_source *src;
	struct stat info;
	struct entry *e = k_calloc(1, sizeof(*e)), *old;
	int rc = e ? k_source_open(&src, path, err) : k_err_nomem(err, sizeof(*e), "the list of states");
	if (!rc) {
		rc = k_seq_peek(&e->head, st->s->model, src, err);
		k_source_close(src);
	}
	if (rc && rc != K_EUNSUP) {
		k_free(e);
		return rc;
	}
	e->id = id;
	if (stat(path, &info) == 0) {
		e->bytes = (uint64_t)info.st_size;
		e->used = (uint64_t)info.st_mtim.tv_sec * 1000 + (uint64_t)info.st_mtim.tv_nsec / 1000000;
	}
	pthread_mutex_lock(&st->lock);
	old = take_entry(st, id);
	e->serial = ++st->serial;
	st->clock = K_MAX(st->clock + written, e->used);
	e->used = written ? st->clock : e->used;
	e->next = st->entries;
	st->entries = e;
	pthread_mutex_unlock(&st->lock);
	if (old)
		free_entry(old);
	return rc;
}

/* A name of ours: 16 hex digits and the ending; what follows is *rest. */
static bool own_name(const char *name, uint64_t *id, const char **rest)
{
	*id = 0;
	for (int i = 0; i < 16; i++) {
		const char *digit = name[i] ? strchr("0123456789abcdef", name[i]) : NULL;
		if (!digit)
			return false;
		*id = *id << 4 | (uint64_t)(digit - "0123456789abcdef");
	}
	*rest = name + 21;
	return !strncmp(name + 16, ".kseq", 5);
}

/* Whoever opens a pipe waits for its other end, here before the server has begun to listen. */
static int is_file(const char *path, struct k_err *err)
{
	struct stat st;
	return stat(path, &st) || S_ISREG(st.st_mode) ? 0 : k_err_set(err, K_EFORMAT, "'%s' is no file", path);
}

static int scan(struct k_store *st, struct k_err *err)
{
	DIR *d = opendir(st->dir);
	struct dirent *e;
	struct k_err other = { 0 };
	int n_others = 0;
	if (!d)
		return k_err_set(err, K_EIO, "--state-dir '%s': %s", st->dir, strerror(errno));
	while ((e = readdir(d))) {
		char path[4200];
		const char *rest;
		uint64_t id;
		struct k_err why = { 0 };
		snprintf(path, sizeof(path), "%s/%s", st->dir, e->d_name);
		if (!own_name(e->d_name, &id, &rest))
			continue;
		if (*rest && !k_path_is_held(path))
			unlink(path);           /* refused, or never finished */
		if (*rest)
			continue;
		int rc = is_file(path, &why);
		if (!rc)
			rc = list_file(st, id, path, false, &why);
		if (rc == K_EUNSUP) {
			other = why;
			n_others++;
		} else if (rc) {
			set_aside(st, path, &why);
		}
	}
	closedir(d);
	if (n_others)
		k_logf(st->s->log, K_LOG_INFO, "--state-dir: states that are not for this server stay until their room is wanted: %d, one of them: %s", n_others, other.msg);
	return 0;
}

/* Tokens of ids[0..n) that a saved sequence can give. */
static int64_t offers(const struct k_store *st, const struct k_seq_head *h, const int32_t *ids, int64_t n)
{
	int64_t same = 0, best = 0;
	while (same < h->n && same < n - 1 && h->ids[same] == ids[same])
		same++;
	if (!st->s->hybrid)
		return same;
	for (int i = 0; i < h->n_mark; i++)
		if (h->mark[i] <= same)
			best = h->mark[i];
	return best;
}

/* --- reading ------------------------------------------------------------------------------------------------------------------- */

/* The file that holds the longest beginning, longer than have; false: none does. */
static bool find_best(struct k_store *st, const struct search *q, uint64_t *id, uint64_t *serial)
{
	struct entry *best = NULL;
	int64_t have = q->have;
	pthread_mutex_lock(&st->lock);
	for (struct entry *e = st->entries; e; e = e->next) {
		int64_t more = e->head.tag == q->salt ? offers(st, &e->head, q->ids, q->n) : 0;
		if (more <= have)
			continue;
		have = more;
		best = e;
	}
	if (best) {
		best->used = ++st->clock;
		*id = best->id;
		*serial = best->serial;
	}
	pthread_mutex_unlock(&st->lock);
	return best;
}

/* The entry as it was found, NULL when its file was written again or removed since. Lock held. */
static struct entry *same_entry(struct k_store *st, uint64_t id, uint64_t serial)
{
	for (struct entry *e = st->entries; e; e = e->next)
		if (e->id == id)
			return e->serial == serial ? e : NULL;
	return NULL;
}

/* The tokens are those that the list knows: a file may have been exchanged since by others. */
static bool as_listed(struct k_store *st, uint64_t id, uint64_t serial, uint64_t tag, const struct k_seq *s)
{
	pthread_mutex_lock(&st->lock);
	const struct entry *e = same_entry(st, id, serial);
	bool same = !e || (e->head.tag == tag && e->head.n == k_seq_len(s) &&
		!memcmp(e->head.ids, k_seq_ids(s), (size_t)e->head.n * sizeof(int32_t)));
	pthread_mutex_unlock(&st->lock);
	return same;
}

/* *changed: it is whole, but of others than it was. */
static int load(struct k_store *st, uint64_t id, uint64_t serial, const char *path, struct k_seq **seq, bool *changed, struct k_err *err)
{
	struct k_source *src;
	uint64_t tag;
	int rc = k_source_open(&src, path, err);
	*seq = NULL;
	*changed = false;
	if (rc)
		return rc;
	rc = k_seq_load(seq, st->s->model, src, &tag, err);
	k_source_close(src);
	if (rc || as_listed(st, id, serial, tag, *seq))
		return rc;
	k_seq_free(*seq);
	*seq = NULL;
	*changed = true;
	return k_err_set(err, K_ECHECK, "'%s' holds other tokens than it did", path);
}

/* The file is not what it was listed as. false: it is another one by now, and nothing is said against that. */
static bool drop_entry(struct k_store *st, uint64_t id, uint64_t serial)
{
	pthread_mutex_lock(&st->lock);
	struct entry *e = same_entry(st, id, serial) ? take_entry(st, id) : NULL;
	pthread_mutex_unlock(&st->lock);
	if (e)
		free_entry(e);
	return e;
}

/* Another process with this folder had no room for it. */
static bool is_gone(const char *path) { return access(path, F_OK) && errno == ENOENT; }

/* Reads the best file; the next best where it is refused. */
static void read_best(struct k_store *st, struct search *q)
{
	uint64_t serial;
	while (find_best(st, q, &q->id, &serial)) {
		char path[4200];
		struct k_err err = { 0 };
		bool changed;
		path_of(st, q->id, path, sizeof(path));
		if (!load(st, q->id, serial, path, &q->seq, &changed, &err)) {
			count(st, &st->stats.read);
			return;
		}
		if (err.code == K_ENOMEM || is_left(st))
			return;
		if (!drop_entry(st, q->id, serial) || is_gone(path))
			continue;
		if (!changed || list_file(st, q->id, path, false, &err))
			set_aside(st, path, &err);
	}
}

/* The last that a thread does. Lock held. */
static void *ended(struct k_store *st)
{
	st->n_running--;
	pthread_cond_broadcast(&st->wake);
	pthread_mutex_unlock(&st->lock);
	return NULL;
}

/* The lock is held before and after. */
static void do_search(struct k_store *st)
{
	pthread_mutex_unlock(&st->lock);
	read_best(st, &st->search);
	pthread_mutex_lock(&st->lock);
	st->search.state = FOUND;
}

static void do_order(struct k_store *st)
{
	struct k_order *o = st->orders;
	st->orders = o->next;
	if (!st->orders)
		st->orders_end = &st->orders;
	pthread_mutex_unlock(&st->lock);
	k_order_do(o, st->s);
	pthread_mutex_lock(&st->lock);
	o->next = st->done;
	st->done = o;
}

static void *reader(void *arg)
{
	struct k_store *st = arg;
	pthread_mutex_lock(&st->lock);
	while (!st->closing) {
		if (!st->orders && st->search.state != ASKED) {
			pthread_cond_wait(&st->wake, &st->lock);
			continue;
		}
		(st->orders ? do_order : do_search)(st);
		if (st->closing)
			break;
		pthread_mutex_unlock(&st->lock);
		st->told(st->arg);
		pthread_mutex_lock(&st->lock);
	}
	return ended(st);
}

void k_store_order(struct k_store *st, struct k_order *o)
{
	o->next = NULL;
	pthread_mutex_lock(&st->lock);
	*st->orders_end = o;
	st->orders_end = &o->next;
	pthread_cond_broadcast(&st->wake);
	pthread_mutex_unlock(&st->lock);
}

struct k_order *k_store_done(struct k_store *st)
{
	pthread_mutex_lock(&st->lock);
	struct k_order *o = st->done;
	if (o)
		st->done = o->next;
	pthread_mutex_unlock(&st->lock);
	return o;
}

enum k_store_ask k_store_ask(struct k_store *st, uint64_t salt, const int32_t *ids, int64_t n, int64_t have)
{
	const struct search q = { .salt = salt, .ids = (int32_t *)(uintptr_t)ids, .n = n, .have = have };
	uint64_t id, serial;
	if (!find_best(st, &q, &id, &serial))
		return K_STORE_NOTHING;
	pthread_mutex_lock(&st->lock);
	bool idle = st->search.state == NO_SEARCH;
	pthread_mutex_unlock(&st->lock);
	if (!idle)
		return K_STORE_LATER;
	int32_t *copy = k_alloc((size_t)n * sizeof(*copy));
	if (!copy)
		return K_STORE_NOTHING;
	memcpy(copy, ids, (size_t)n * sizeof(*copy));
	pthread_mutex_lock(&st->lock);
	st->search = (struct search){ .state = ASKED, .salt = salt, .ids = copy, .n = n, .have = have };
	pthread_cond_broadcast(&st->wake);
	pthread_mutex_unlock(&st->lock);
	return K_STORE_READS;
}

bool k_store_take(struct k_store *st, struct k_seq **seq, uint64_t *salt, uint64_t *id)
{
	struct search q = { .state = NO_SEARCH };
	pthread_mutex_lock(&st->lock);
	/* While it is asked for, the rest is the reader's. */
	if (st->search.state == FOUND) {
		q = st->search;
		st->search = (struct search){ .state = NO_SEARCH };
	}
	pthread_mutex_unlock(&st->lock);
	if (q.state != FOUND)
		return false;
	k_free(q.ids);
	*seq = q.seq;
	*salt = q.salt;
	*id = q.id;
	return true;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------- */

static int write_file(struct k_store *st, const struct save *w, const char *path, struct k_err *err)
{
	struct k_sink *sink;
	int rc = k_sink_open(&sink, path, err);
	if (rc)
		return rc;
	rc = k_seq_save(w->seq, w->salt, sink, err);
	if (!rc)
		rc = k_sink_commit(sink, err);
	k_sink_close(sink);
	return rc ? rc : list_file(st, w->id, path, true, err);
}

static void write_one(struct k_store *st, struct save *w)
{
	char path[4200];
	struct k_err err = { 0 };
	path_of(st, w->id, path, sizeof(path));
	int rc = write_file(st, w, path, &err);
	if (is_left(st))
		return;
	if (rc) {
		k_logf(st->s->log, K_LOG_WARN, "state not saved: %s", err.msg);
		pthread_mutex_lock(&st->lock);
		st->failed = w->id;
		pthread_mutex_unlock(&st->lock);
	} else {
		k_logf(st->s->log, K_LOG_DEBUG, "state saved: '%s', %" PRId64 " tokens", path, k_seq_len(w->seq));
		count(st, &st->stats.written);
	}
	trim(st);
}

static void *writer(void *arg)
{
	struct k_store *st = arg;
	pthread_mutex_lock(&st->lock);
	for (;;) {
		struct save *w = st->first;
		if ((!w && st->closing) || st->left)
			break;
		if (!w) {
			pthread_cond_wait(&st->wake, &st->lock);
			continue;
		}
		st->first = w->next;
		if (!st->first)
			st->last = &st->first;
		pthread_mutex_unlock(&st->lock);
		write_one(st, w);
		k_seq_free(w->seq);
		k_free(w);
		pthread_mutex_lock(&st->lock);
		st->n_waiting--;
	}
	return ended(st);
}

bool k_store_busy(struct k_store *st)
{
	pthread_mutex_lock(&st->lock);
	bool busy = st->n_waiting > 0;
	pthread_mutex_unlock(&st->lock);
	return busy;
}

uint64_t k_store_failed(struct k_store *st)
{
	pthread_mutex_lock(&st->lock);
	uint64_t id = st->failed;
	st->failed = 0;
	pthread_mutex_unlock(&st->lock);
	return id;
}

void k_store_save(struct k_store *st, struct k_seq *seq, uint64_t salt, uint64_t id)
{
	struct save *w = k_calloc(1, sizeof(*w));
	pthread_mutex_lock(&st->lock);
	bool room = w && st->n_waiting < MOST_WAITING;
	if (room) {
		*w = (struct save){ seq, salt, id, NULL };
		*st->last = w;
		st->last = &w->next;
		st->n_waiting++;
		pthread_cond_broadcast(&st->wake);
	}
	pthread_mutex_unlock(&st->lock);
	if (room)
		return;
	k_logf(st->s->log, K_LOG_WARN, "a state is lost: more come than can be written");
	k_seq_free(seq);
	k_free(w);
}

void k_store_stats(struct k_store *st, struct k_store_stats *out)
{
	pthread_mutex_lock(&st->lock);
	*out = st->stats;
	pthread_mutex_unlock(&st->lock);
}

/* --- life ---------------------------------------------------------------------------------------------------------------------- */

static int start(struct k_store *st, pthread_t *t, void *(*body)(void *), struct k_err *err)
{
	if (pthread_create(t, NULL, body, st))
		return k_err_set(err, K_ENOMEM, "no thread for the states");
	st->n_threads++;
	return 0;
}

static int start_threads(struct k_store *st, struct k_err *err)
{
	st->n_running = 2;
	int rc = start(st, &st->writer, writer, err);
	if (!rc)
		rc = start(st, &st->reader, reader, err);
	st->n_running -= 2 - st->n_threads;
	return rc;
}

static int make_folder(const char *option, const char *dir, struct k_err *err)
{
	if (strlen(dir) > 4000)
		return k_err_set(err, K_EUSAGE, "%s: the name is too long", option);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return k_err_set(err, K_EIO, "%s '%s': %s", option, dir, strerror(errno));
	return k_path_is_dir(dir) ? 0 : k_err_set(err, K_EUSAGE, "%s '%s': it is no folder", option, dir);
}

int k_store_open(struct k_store **out, const struct k_server *s, void (*told)(void *arg), void *arg, struct k_err *err)
{
	struct k_store *st = k_calloc(1, sizeof(*st));
	if (!st)
		return k_err_nomem(err, sizeof(*st), "the states");
	st->s = s;
	st->dir = s->state_dir;
	st->told = told;
	st->arg = arg;
	st->last = &st->first;
	st->orders_end = &st->orders;
	pthread_mutex_init(&st->lock, NULL);
	k_cond_init(&st->wake);
	int rc = s->slot_dir ? make_folder("--slot-save-path", s->slot_dir, err) : 0;
	if (!rc && st->dir)
		rc = make_folder("--state-dir", st->dir, err);
	if (!rc && st->dir)
		rc = scan(st, err);
	if (!rc)
		rc = start_threads(st, err);
	if (rc) {
		if (!k_store_close(st, UINT64_MAX))
			k_bug("a store that was not opened does not close");
		return rc;
	}
	*out = st;
	return 0;
}

/* Until both threads have ended, or it is time. Lock held. */
static bool wait_for_threads(struct k_store *st, uint64_t until)
{
	uint64_t now;
	while (st->n_running && (now = k_now_ns()) < until)
		k_cond_wait(&st->wake, &st->lock, K_MIN(until - now, LOOK_NS));
	st->left = st->n_running;
	return !st->left;
}

static void free_orders(struct k_order *o)
{
	while (o) {
		struct k_order *next = o->next;
		k_order_free(o);
		o = next;
	}
}

bool k_store_close(struct k_store *st, uint64_t until)
{
	if (!st)
		return true;
	pthread_mutex_lock(&st->lock);
	st->closing = true;
	pthread_cond_broadcast(&st->wake);
	bool all = wait_for_threads(st, until);
	pthread_mutex_unlock(&st->lock);
	if (!all) {
		pthread_detach(st->writer);
		pthread_detach(st->reader);
		return false;
	}
	if (st->n_threads > 0)
		pthread_join(st->writer, NULL);
	if (st->n_threads > 1)
		pthread_join(st->reader, NULL);
	k_seq_free(st->search.seq);
	k_free(st->search.ids);
	free_orders(st->orders);
	free_orders(st->done);
	while (st->entries) {
		struct entry *e = st->entries;
		st->entries = e->next;
		free_entry(e);
	}
	pthread_cond_destroy(&st->wake);
	pthread_mutex_destroy(&st->lock);
	k_free(st);
	return true;
}

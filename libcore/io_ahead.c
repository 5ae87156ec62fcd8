/* io_ahead.c: a few buffers that are filled in the order in which ranges were asked for.
 *
 *   ranges   [step 7: values next..end) [step 7: scales next..end) [step 8: ...     what is to be fetched
 *   slots    fd, [from, to): read directly in whole blocks, or left to an ordinary read: in the page cache already, or the file
 *            system has no direct reads
 *
 * Ranges of a step take turns for their first slot, so that none of them waits behind a long one. One lock: positioned reads may come
 * from any thread. */
#include "libcore/base.h"
#include "libcore/io_ahead.h"
#include "libcore/io_queue.h"
#include "libcore/io_table.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SEGMENT = 2 << 20, N_SLOTS = 6, BLOCK = 4096, N_RANGES = 32 };

struct file { int fd, direct; bool plain; };    /* direct -1: no direct reads; plain: the file system said so only when it was asked to */
struct range { int fd; uint64_t next, end, step, id; };
struct slot {
	struct k_ioreq req;
	uint8_t *p;
	bool used, direct;
	int fd;
	uint64_t from, to, step, id;
};

struct k_ahead {
	pthread_mutex_t lock;
	struct k_ioq q;
	uint8_t *mem;
	struct slot slot[N_SLOTS];
	struct range range[N_RANGES];
	int n_ranges;
	struct file *file;
	int n_files, cap_files;
	uint64_t step, id;
};

/* --- making and freeing --------------------------------------------------------------------------------------------------- */

struct k_ahead *k_ahead_new(void)
{
	struct k_ahead *a = k_calloc(1, sizeof(*a));
	struct k_err err = { 0 };
	uint8_t *p;

	if (!a)
		return NULL;
	a->mem = k_alloc((size_t)SEGMENT * N_SLOTS + BLOCK);
	if (!a->mem || k_ioq_open(&a->q, N_SLOTS, &err) < 0) {
		k_free(a->mem);
		k_free(a);
		return NULL;
	}
	p = (uint8_t *)(uintptr_t)k_align_up((uintptr_t)a->mem, BLOCK);
	for (int i = 0; i < N_SLOTS; i++)
		a->slot[i].p = p + (size_t)i * SEGMENT;
	pthread_mutex_init(&a->lock, NULL);
	return a;
}

static void let_go(struct k_ahead *a, struct slot *s)
{
	if (s->direct)
		k_ioq_wait(&a->q, &s->req);
	s->used = false;
}

static void drop_all(struct k_ahead *a)
{
	for (int i = 0; i < N_SLOTS; i++)
		if (a->slot[i].used)
			let_go(a, &a->slot[i]);
	a->n_ranges = 0;
}

void k_ahead_free(struct k_ahead *a)
{
	if (!a)
		return;
	drop_all(a);
	k_ioq_close(&a->q);
	for (int i = 0; i < a->n_files; i++)
		if (a->file[i].direct >= 0)
			close(a->file[i].direct);
	k_free(a->file);
	k_free(a->mem);
	pthread_mutex_destroy(&a->lock);
	k_free(a);
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

static struct file *file_of(struct k_ahead *a, int fd)
{
	for (int i = 0; i < a->n_files; i++)
		if (a->file[i].fd == fd)
			return &a->file[i];
	return NULL;
}

/* Opened once more: a descriptor is direct or not. */
static bool add_file(struct k_ahead *a, int fd)
{
	char path[40];

	if (a->n_files == a->cap_files) {
		int cap = a->cap_files ? 2 * a->cap_files : 16;
		struct file *v = k_realloc(a->file, (size_t)cap * sizeof(*v));

		if (!v)
			return false;
		a->file = v;
		a->cap_files = cap;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	a->file[a->n_files++] = (struct file){ .fd = fd, .direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY) };
	return true;
}

void k_ahead_leave(struct k_ahead *a, int fd)
{
	struct file *f;

	pthread_mutex_lock(&a->lock);
	drop_all(a);
	f = file_of(a, fd);
	if (f) {
		if (f->direct >= 0)
			close(f->direct);
		*f = a->file[--a->n_files];
	}
	pthread_mutex_unlock(&a->lock);
}

/* cachestat(2) of Linux 6.5, which libraries do not know yet: pages of [off, off + n) in the page cache; -1: it does not say. */
static int64_t count_cached(int fd, uint64_t off, uint64_t n)
{
	struct { uint64_t off, len; } range = { off, n };
	struct { uint64_t cache, dirty, writeback, evicted, recently_evicted; } is = { 0, 0, 0, 0, 0 };

	return syscall(451, fd, &range, &is, 0) == 0 ? (int64_t)is.cache : -1;
}

/* The same by a map. */
static int64_t count_mapped(int fd, uint64_t off, uint64_t n, uint64_t page)
{
	unsigned char in[SEGMENT / BLOCK + 1];
	int64_t count = 0, pages = k_div_up((int64_t)n, (int64_t)page);
	void *p;

	if (off % page != 0 || (size_t)pages > sizeof(in))
		return 0;
	p = mmap(NULL, (size_t)n, PROT_READ, MAP_SHARED, fd, (off_t)off);
	if (p == MAP_FAILED)
		return 0;
	if (mincore(p, (size_t)n, in) == 0)
		for (int64_t i = 0; i < pages; i++)
			count += in[i] & 1;
	munmap(p, (size_t)n);
	return count;
}

/* Are most pages in the page cache already? Then they are read from there. */
static bool is_cached(int fd, uint64_t off, uint64_t n)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int64_t count = count_cached(fd, off, n);

	if (count < 0 && errno == ENOSYS)
		count = count_mapped(fd, off, n, page);
	return count > k_div_up((int64_t)n, (int64_t)page) / 2;
}

/* --- fetching --------------------------------------------------------------------------------------------------------------- */

static void fetch(struct k_ahead *a, struct slot *s, struct range *r)
{
	struct file *f = file_of(a, r->fd);
	uint64_t from = r->next & ~(uint64_t)(BLOCK - 1), to = K_MIN(k_align_up(r->end, BLOCK), from + SEGMENT);

	s->used = true;
	s->fd = r->fd;
	s->from = r->next;
	s->to = K_MIN(r->end, to);
	s->step = r->step;
	s->id = r->id;
	r->next = s->to;
	s->direct = f && f->direct >= 0 && !f->plain && !is_cached(s->fd, from, to - from);
	if (s->direct) {
		s->req = (struct k_ioreq){ .fd = f->direct, .p = s->p, .n = (size_t)(to - from), .off = from };
		k_ioq_start(&a->q, &s->req);
	} else {
		posix_fadvise(s->fd, (off_t)from, (off_t)(to - from), POSIX_FADV_WILLNEED);
	}
}

static bool in_store(const struct k_ahead *a, uint64_t id)
{
	for (int i = 0; i < N_SLOTS; i++)
		if (a->slot[i].used && a->slot[i].id == id)
			return true;
	return false;
}

/* The first range of which more is to be fetched; of its step, one of which nothing is there. */
static struct range *next_range(struct k_ahead *a)
{
	struct range *first = NULL;

	for (int i = 0; i < a->n_ranges; i++) {
		struct range *r = &a->range[i];

		if (r->next == r->end)
			continue;
		if (!first)
			first = r;
		if (r->step != first->step)
			break;
		if (!in_store(a, r->id))
			return r;
	}
	return first;
}

static struct slot *free_slot(struct k_ahead *a)
{
	for (int i = 0; i < N_SLOTS; i++)
		if (!a->slot[i].used)
			return &a->slot[i];
	return NULL;
}

static void refill(struct k_ahead *a)
{
	struct range *r;
	struct slot *s;

	while ((s = free_slot(a)) && (r = next_range(a)))
		fetch(a, s, r);
}

/* --- asking ----------------------------------------------------------------------------------------------------------------- */

bool k_ahead_hungry(struct k_ahead *a)
{
	uint64_t left = 0;
	bool yes;

	if (!a)
		return false;
	pthread_mutex_lock(&a->lock);
	for (int i = 0; i < a->n_ranges; i++)
		left += a->range[i].end - a->range[i].next;
	yes = left < (uint64_t)SEGMENT * N_SLOTS && a->n_ranges < N_RANGES - 2;
	pthread_mutex_unlock(&a->lock);
	return yes;
}

void k_ahead_step(struct k_ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->step++;
	pthread_mutex_unlock(&a->lock);
}

void k_ahead_want(struct k_ahead *a, struct k_source *src, uint64_t off, uint64_t n)
{
	int fd;

	if (!a || n == 0 || (fd = k_source_follow(src, a, &off)) < 0)
		return;
	pthread_mutex_lock(&a->lock);
	if (a->n_ranges < N_RANGES && (file_of(a, fd) || add_file(a, fd))) {
		a->range[a->n_ranges++] = (struct range){ fd, off, off + n, a->step, ++a->id };
		refill(a);
	}
	pthread_mutex_unlock(&a->lock);
}

void k_ahead_forget(struct k_ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	drop_all(a);
	pthread_mutex_unlock(&a->lock);
}

/* --- taking ----------------------------------------------------------------------------------------------------------------- */

/* The reader is at off of a range: what lies before it, and earlier steps, will not be read. */
static void pass(struct k_ahead *a, uint64_t step, uint64_t id, uint64_t off)
{
	int n = 0;

	for (int i = 0; i < N_SLOTS; i++) {
		struct slot *s = &a->slot[i];

		if (s->used && (s->step < step || (s->id == id && s->to <= off)))
			let_go(a, s);
	}
	for (int i = 0; i < a->n_ranges; i++) {
		struct range r = a->range[i];

		if (r.id == id)
			r.next = K_MAX(r.next, off);
		if (r.step >= step)
			a->range[n++] = r;
	}
	a->n_ranges = n;
}

/* The slot with byte off; NULL: nobody asked for it, or it was not fetched for want of room. */
static struct slot *slot_at(struct k_ahead *a, int fd, uint64_t off)
{
	struct slot *s = NULL;
	struct range *r;

	for (int i = 0; i < N_SLOTS && !s; i++)
		if (a->slot[i].used && a->slot[i].fd == fd && a->slot[i].from <= off && off < a->slot[i].to)
			s = &a->slot[i];
	if (s) {
		pass(a, s->step, s->id, off);
		return s;
	}
	for (int i = 0; i < a->n_ranges; i++) {
		r = &a->range[i];
		if (r->fd != fd || off < r->next || off >= r->end)
			continue;
		pass(a, r->step, r->id, off);
		s = free_slot(a);
		for (r = a->range; s && !s->used; r++)
			if (r->fd == fd && r->next == off && off < r->end)
				fetch(a, s, r);
		return s;
	}
	return NULL;
}

/* Bytes of [off, off + n) that the slot has; it is let go when it was read to its end. */
static size_t copy(struct k_ahead *a, struct slot *s, void *p, size_t n, uint64_t off)
{
	struct file *f = file_of(a, s->fd);
	uint64_t end;

	if (!s->direct)
		return 0;
	k_ioq_wait(&a->q, &s->req);
	/* Others are under way: the descriptor stays, for its number would be another file's. */
	if (s->req.did == -EINVAL && f)
		f->plain = true;
	end = s->req.did > 0 ? K_MIN(s->to, s->req.off + (uint64_t)s->req.did) : 0;
	if (end <= off) {
		s->used = false;
		return 0;
	}
	n = (size_t)K_MIN((uint64_t)n, end - off);
	memcpy(p, s->p + (off - s->req.off), n);
	if (off + n == s->to)
		s->used = false;
	return n;
}

size_t k_ahead_take(struct k_ahead *a, int fd, void *p, size_t n, uint64_t off)
{
	size_t got = 0, part = 1;

	pthread_mutex_lock(&a->lock);
	while (got < n && part > 0) {
		struct slot *s = slot_at(a, fd, off + got);

		part = s ? copy(a, s, (char *)p + got, n - got, off + got) : 0;
		got += part;
		refill(a);
	}
	pthread_mutex_unlock(&a->lock);
	return got;
}

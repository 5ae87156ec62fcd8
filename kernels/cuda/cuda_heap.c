/* cuda_heap.c: slabs, ascending by address, so that a block's is found by its own. */
#include "libcore/base.h"
#include <pthread.h>
#include "kernels/cuda/cuda_heap.h"

enum { ALIGN = 256, MOST_BLOCK = 1024 * 1024, FIRST_SLAB = 256 * 1024, MOST_SLAB = 32 * 1024 * 1024 };

/* free: blocks that nobody has, the last n_free of a stack; fresh: never given, and zero, the last of the blocks. */
struct slab { uint8_t *at; size_t block, n, fresh, n_free; uint32_t *free; };

struct cuda_heap {
	const struct cuda_rt *rt;
	void *on;
	uint64_t keep, used, peak;
	pthread_mutex_t lock;
	struct slab *slab;
	size_t n, cap;
};

struct cuda_heap *cuda_heap_new(const struct cuda_rt *rt, void *on, uint64_t keep)
{
	struct cuda_heap *h = k_calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->rt = rt;
	h->on = on;
	h->keep = keep;
	pthread_mutex_init(&h->lock, NULL);
	return h;
}

static void drop(struct cuda_heap *h, size_t i)
{
	h->rt->free(h->on, h->slab[i].at);
	k_free(h->slab[i].free);
	memmove(h->slab + i, h->slab + i + 1, (--h->n - i) * sizeof(*h->slab));
}

void cuda_heap_free(struct cuda_heap *h)
{
	if (!h)
		return;
	while (h->n)
		drop(h, h->n - 1);
	pthread_mutex_destroy(&h->lock);
	k_free(h->slab);
	k_free(h);
}

/* How many slabs begin at or before an address. */
static size_t before(const struct cuda_heap *h, const uint8_t *p)
{
	size_t low = 0, high = h->n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (h->slab[mid].at <= p)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Another slab of n blocks; NULL: no memory. */
static struct slab *more(struct cuda_heap *h, size_t block, size_t n)
{
	struct slab s = { .block = block, .n = n, .fresh = n };
	uint64_t left = h->rt->room(h->on);
	size_t at;
	if (h->n == h->cap) {
		size_t cap = 2 * h->cap + 64;
		struct slab *grown = k_realloc(h->slab, cap * sizeof(*grown));
		if (!grown)
			return NULL;
		h->slab = grown;
		h->cap = cap;
	}
	if (block * n > left - K_MIN(left, h->keep) || !(s.free = k_alloc(n * sizeof(*s.free))))
		return NULL;
	if (!(s.at = h->rt->alloc(h->on, block * n))) {
		k_free(s.free);
		return NULL;
	}
	at = before(h, s.at);
	memmove(h->slab + at + 1, h->slab + at, (h->n++ - at) * sizeof(s));
	h->slab[at] = s;
	return &h->slab[at];
}

/* One with a block of this size that nobody has. */
static struct slab *with_room(struct cuda_heap *h, size_t block)
{
	size_t all = 0;
	for (size_t i = 0; i < h->n; i++)
		if (h->slab[i].block == block) {
			if (h->slab[i].n_free || h->slab[i].fresh)
				return &h->slab[i];
			all += h->slab[i].n * block;
		}
	if (block > MOST_BLOCK || !h->rt->clear)
		return more(h, block, 1);
	all = K_MIN(K_MAX(all, (size_t)FIRST_SLAB), (size_t)MOST_SLAB);
	struct slab *s = more(h, block, K_MAX(all / block, (size_t)1));
	return s ? s : more(h, block, 1);
}

static void *take(struct cuda_heap *h, size_t block)
{
	struct slab *s = with_room(h, block);
	uint8_t *p;
	if (!s)
		return NULL;
	if (s->n_free) {
		p = s->at + s->free[--s->n_free] * block;
		h->rt->clear(h->on, p, block);
	} else {
		p = s->at + --s->fresh * block;
	}
	h->used += block;
	h->peak = K_MAX(h->peak, h->used);
	return p;
}

void *cuda_heap_take(struct cuda_heap *h, size_t n, uint64_t cap)
{
	size_t block = h->rt->clear ? (size_t)k_align_up(K_MAX(n, (size_t)1), ALIGN) : K_MAX(n, (size_t)1);
	void *p = NULL;
	pthread_mutex_lock(&h->lock);
	if (block >= n && (!cap || (h->used <= cap && block <= cap - h->used)))
		p = take(h, block);
	pthread_mutex_unlock(&h->lock);
	return p;
}

/* Has another slab of blocks as large as those of slab i one to give? */
static bool others_have(const struct cuda_heap *h, size_t i)
{
	for (size_t k = 0; k < h->n; k++)
		if (k != i && h->slab[k].block == h->slab[i].block && h->slab[k].n_free + h->slab[k].fresh)
			return true;
	return false;
}

void cuda_heap_give(struct cuda_heap *h, void *p)
{
	pthread_mutex_lock(&h->lock);
	size_t i = before(h, p);
	K_ASSERT(i && (size_t)((uint8_t *)p - h->slab[i - 1].at) < h->slab[i - 1].n * h->slab[i - 1].block);
	struct slab *s = &h->slab[--i];
	h->used -= s->block;
	s->free[s->n_free++] = (uint32_t)((size_t)((uint8_t *)p - s->at) / s->block);
	/* A slab that nobody uses goes back to the driver, unless the next page would ask for it again. */
	if (s->n_free + s->fresh == s->n && (s->n == 1 || others_have(h, i)))
		drop(h, i);
	pthread_mutex_unlock(&h->lock);
}

uint64_t cuda_heap_used(struct cuda_heap *h)
{
	pthread_mutex_lock(&h->lock);
	uint64_t n = h->used;
	pthread_mutex_unlock(&h->lock);
	return n;
}

uint64_t cuda_heap_peak(struct cuda_heap *h)
{
	pthread_mutex_lock(&h->lock);
	uint64_t n = h->peak;
	pthread_mutex_unlock(&h->lock);
	return n;
}

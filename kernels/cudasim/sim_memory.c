/* sim_memory.c: the device memory of the simulator: regions, ascending, each with the cells of its bytes; what goes to and from it. */
#include "libcore/base.h"
#include <sys/mman.h>
#include "kernels/cudasim/sim_int.h"

static void *reserve(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

bool k_sim_is_old(const struct k_sim *s) { return s->old; }

struct k_sim *k_sim_new(bool old)
{
	struct k_sim *s = k_aligned_zero(sizeof(*s));
	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	s->now = 1;
	s->old = old;
	s->fiber = k_calloc(MOST_THREADS, sizeof(*s->fiber));
	s->arena = k_aligned(ARENA_BYTES);
	s->arena_cells = k_calloc(ARENA_BYTES, CELLS_BYTES);
	s->arena_flying = k_calloc(ARENA_BYTES, 1);
	s->flight = k_calloc((size_t)MOST_THREADS * MOST_FLIGHTS, sizeof(*s->flight));
	s->stacks = reserve((size_t)MOST_THREADS * STACK);
	if (!s->fiber || !s->arena || !s->arena_cells || !s->arena_flying || !s->flight || !s->stacks) {
		k_sim_free(s);
		return NULL;
	}
	return s;
}

static size_t cells_of(const struct region *r) { return ((r->n >> r->shift) + 1) * CELLS_BYTES; }

void k_sim_free(struct k_sim *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_mem; i++) {
		munmap(s->mem[i].cells, cells_of(&s->mem[i]));
		k_free((void *)s->mem[i].at);
	}
	if (s->stacks)
		munmap(s->stacks, (size_t)MOST_THREADS * STACK);
	k_free(s->mem);
	k_free(s->fiber);
	k_free(s->arena);
	k_free(s->arena_cells);
	k_free(s->arena_flying);
	k_free(s->flight);
	pthread_mutex_destroy(&s->lock);
	k_free(s);
}

static void *alloc_locked(struct k_sim *s, size_t n)
{
	struct region r = { .n = n, .shift = 1 };
	size_t i = s->n_mem;
	if (s->n_mem == s->cap_mem) {
		size_t cap = 2 * s->cap_mem + 64;
		struct region *mem = k_realloc(s->mem, cap * sizeof(*mem));
		if (!mem)
			return NULL;
		s->mem = mem;
		s->cap_mem = cap;
	}
	void *p = k_aligned(K_MAX(n, (size_t)1));
	r.cells = p ? reserve(cells_of(&r)) : NULL;
	if (!r.cells) {
		k_free(p);
		return NULL;
	}
	memset(p, 0, n);
	for (r.at = (uintptr_t)p; i > 0 && s->mem[i - 1].at > r.at; i--)
		s->mem[i] = s->mem[i - 1];
	s->mem[i] = r;
	s->n_mem++;
	s->bytes += n;
	s->last = NULL;
	return p;
}

uint64_t k_sim_bytes(const struct k_sim *s) { return s->bytes; }

void *k_sim_alloc(struct k_sim *s, size_t n)
{
	pthread_mutex_lock(&s->lock);
	void *p = alloc_locked(s, n);
	pthread_mutex_unlock(&s->lock);
	return p;
}

struct region *sim_find_mem(const struct k_sim *s, uintptr_t at)
{
	size_t low = 0, high = s->n_mem;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (s->mem[mid].at <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low ? &s->mem[low - 1] : NULL;
}

void k_sim_release(struct k_sim *s, void *p)
{
	struct region *r;
	if (!p)
		return;
	pthread_mutex_lock(&s->lock);
	r = sim_find_mem(s, (uintptr_t)p);
	K_ASSERT(r && r->at == (uintptr_t)p);
	munmap(r->cells, cells_of(r));
	s->bytes -= r->n;
	k_free(p);
	memmove(r, r + 1, (size_t)(s->mem + s->n_mem - (r + 1)) * sizeof(*r));
	s->n_mem--;
	s->last = NULL;
	pthread_mutex_unlock(&s->lock);
}

void k_sim_copy(struct k_sim *s, void *dst, const void *src, size_t n, bool to_device)
{
	uintptr_t at = (uintptr_t)(to_device ? dst : src);
	if (!n)
		return;
	pthread_mutex_lock(&s->lock);
	if (!sim_in(sim_find_mem(s, at), at, n))
		k_sim_blame(s, "a copy of %zu bytes %s device memory leaves it", n, to_device ? "to" : "from");
	else
		memcpy(dst, src, n);
	pthread_mutex_unlock(&s->lock);
}

bool k_sim_holds(struct k_sim *s, const void *p, size_t n, const char *what)
{
	uintptr_t at = (uintptr_t)p;
	pthread_mutex_lock(&s->lock);
	if (!sim_in(sim_find_mem(s, at), at, n))
		k_sim_blame(s, "%s: %zu bytes leave device memory", what, n);
	pthread_mutex_unlock(&s->lock);
	return !*s->fault;
}

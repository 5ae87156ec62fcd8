/* recent.c: see recent.h. So few are kept that a list of them is as good as any other order. */
#include "libcore/base.h"
#include "libcore/recent.h"

int k_recent_new(struct k_recent **out, size_t max_bytes, void (*free)(void *thing), const char *what, struct k_err *err)
{
	struct k_recent *r = *out = k_calloc(1, sizeof *r);

	if (!r)
		return k_err_nomem(err, sizeof *r, what);
	r->max_bytes = max_bytes;
	r->free = free;
	pthread_mutex_init(&r->lock, NULL);
	return 0;
}

void k_recent_free(struct k_recent *r)
{
	if (!r)
		return;
	while (r->n)
		r->free(k_recent_take(r, r->n - 1));
	pthread_mutex_destroy(&r->lock);
	k_free(r);
}

void k_recent_use(struct k_recent *r, int i) { r->at[i].used = ++r->clock; }

void *k_recent_take(struct k_recent *r, int i)
{
	void *thing = r->at[i].thing;

	r->bytes -= r->at[i].bytes;
	r->at[i] = r->at[--r->n];
	return thing;
}

static int oldest(const struct k_recent *r)
{
	int best = 0;

	for (int i = 1; i < r->n; i++)
		best = r->at[i].used < r->at[best].used ? i : best;
	return best;
}

void k_recent_put(struct k_recent *r, void *thing, size_t bytes)
{
	if (bytes >= r->max_bytes / 4) {
		r->free(thing);
		return;
	}
	while (r->n == K_RECENT_MOST || r->bytes + bytes > r->max_bytes)
		r->free(k_recent_take(r, oldest(r)));
	r->clock++;
	r->at[r->n].thing = thing;
	r->at[r->n].bytes = bytes;
	r->at[r->n].number = r->at[r->n].used = r->clock;
	r->n++;
	r->bytes += bytes;
}

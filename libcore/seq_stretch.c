/* seq_stretch.c: a sequence made long without computing, for measurements at depths whose prompts would take hours.
 *
 *   pages computed | copies of those, drawn at random | what is then decoded */
#include "libcore/base.h"
#include "libcore/model_int.h"

static uint64_t draw(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return *x >> 33;
}

/* Page i becomes a copy of page from; host has room for one. */
static int copy_page(struct k_seq *s, int64_t i, int64_t from, void *host, struct k_err *err)
{
	int r = k_keep_get(s->m, K_KEEP_PAGE, host, s->page[from]->mem, err);
	return r == 0 ? k_keep_put(s->m, K_KEEP_PAGE, s->page[i]->mem, host, err) : r;
}

int k_seq_stretch(struct k_seq *s, int64_t n, uint64_t seed, struct k_err *err)
{
	int64_t whole = s->len / K_PAGE, last = k_div_up(n, K_PAGE);
	if (n <= s->len || !whole)
		return n <= s->len ? 0 : k_err_set(err, K_EBUG, "a sequence of %lld tokens cannot be stretched", (long long)s->len);
	void *host = k_alloc((size_t)k_seq_page_bytes(s->m));
	int r = host ? k_seq_room(s, n, err) : k_err_nomem(err, (size_t)k_seq_page_bytes(s->m), "a page of a sequence");
	for (int64_t i = k_div_up(s->len, K_PAGE); r == 0 && s->m->page_bytes && i < last; i++)
		r = copy_page(s, i, (int64_t)(draw(&seed) % (uint64_t)whole), host, err);
	/* The page that computing left half full too. */
	if (r == 0 && s->m->page_bytes && s->len % K_PAGE)
		r = copy_page(s, whole, (int64_t)(draw(&seed) % (uint64_t)whole), host, err);
	k_free(host);
	if (r < 0)
		return r;
	for (int64_t i = s->len; i < n; i++)
		s->ids[i] = s->ids[draw(&seed) % (uint64_t)s->len];
	s->len = n;
	return 0;
}

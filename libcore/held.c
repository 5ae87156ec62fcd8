/* held.c: what a model and its sequences hold of the host's memory, against the ceiling (--max-memory).
 *
 *   weights that are not mapped, small vectors, activations, logits, the rotary table, outputs      model.c, bind.c
 *   pages and KDA blocks of sequences (parts.c), marks (seq.c)                                      seq.h
 *
 * What lies in a device's own memory has that device's room as its bound (k_model_room), and files that are mapped are the page cache's. */
#include "libcore/base.h"
#include "libcore/ctx.h"
#include "libcore/model_int.h"
#include "libcore/opt.h"

uint64_t k_model_held(const struct k_model *m) { return __atomic_load_n(&m->held, __ATOMIC_RELAXED); }

int k_model_fits(const struct k_model *m, uint64_t n, const char *what, struct k_err *err)
{
	uint64_t held = k_model_held(m), most = m->ctx && m->ctx->max_memory ? m->ctx->max_memory : UINT64_MAX;
	char a[32], b[32], c[32];
	if (n <= most - K_MIN(held, most))
		return 0;
	return k_err_set(err, K_ENOMEM, "'%s': %s of %s on top of %s are more than --max-memory %s", m->ck->path, what, k_size_format(a, n),
		k_size_format(b, held), k_size_format(c, most));
}

static bool is_held(const struct k_device *dev) { return !dev || !dev->far; }

int k_model_take(struct k_model *m, struct k_device *dev, size_t n, void **out, const char *what, struct k_err *err)
{
	int r = is_held(dev) ? k_model_fits(m, n, what, err) : 0;
	*out = NULL;
	if (r < 0)
		return r;
	*out = dev ? dev->alloc(dev, n) : k_aligned(n);
	if (!*out)
		return k_err_nomem(err, n, what);
	if (is_held(dev))
		__atomic_add_fetch(&m->held, n, __ATOMIC_RELAXED);
	return 0;
}

void k_model_give(struct k_model *m, struct k_device *dev, size_t n, void *p)
{
	if (!p)
		return;
	if (is_held(dev))
		__atomic_sub_fetch(&m->held, n, __ATOMIC_RELAXED);
	if (dev)
		dev->free(dev, p);
	else
		k_free(p);
}

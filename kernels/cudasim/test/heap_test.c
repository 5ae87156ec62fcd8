/* heap_test.c: device memory in blocks, over a driver that counts. */
#include "libcore/base.h"
#include <stdlib.h>
#include "kernels/cuda/cuda_heap.h"
#include "libcore/test.h"

struct driver { uint64_t left; int asked, pieces; };
enum { PAGE = 49152, HEAD = 64 };

static uint64_t room(void *on) { return ((struct driver *)on)->left; }

/* The size lies before the piece. */
static void *ask(void *on, size_t n)
{
	struct driver *d = on;
	uint8_t *p = n <= d->left ? k_aligned_zero(n + HEAD) : NULL;
	if (!p)
		return NULL;
	memcpy(p, &n, sizeof(n));
	d->left -= n;
	d->asked++;
	d->pieces++;
	return p + HEAD;
}

static void give(void *on, void *p)
{
	struct driver *d = on;
	size_t n;
	memcpy(&n, (uint8_t *)p - HEAD, sizeof(n));
	d->left += n;
	d->pieces--;
	k_free((uint8_t *)p - HEAD);
}

static void clear(void *on K_UNUSED, void *p, size_t n) { memset(p, 0, n); }

static const struct cuda_rt rt = { .room = room, .alloc = ask, .free = give, .clear = clear };

K_TEST(heap_asks_the_driver_seldom_and_gives_zeros)
{
	struct driver d = { (uint64_t)1 << 30, 0, 0 };
	struct cuda_heap *h = cuda_heap_new(&rt, &d, 0);
	uint8_t *p[500];
	K_CHECK(h);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 500; i++) {
			p[i] = cuda_heap_take(h, PAGE, 0);
			K_CHECK(p[i]);
			for (int k = 0; k < PAGE; k += 512)
				K_CHECK(!p[i][k]);
			memset(p[i], 1 + i % 200, PAGE);
		}
		/* Nobody wrote into another's. */
		for (int i = 0; i < 500; i++)
			K_CHECK(p[i][0] == 1 + i % 200 && p[i][PAGE - 1] == 1 + i % 200);
		K_CHECK(cuda_heap_used(h) == 500 * PAGE);
		for (int i = 0; i < 500; i++)
			cuda_heap_give(h, p[i * 7 % 500]);
		K_CHECK(cuda_heap_used(h) == 0);
	}
	K_CHECK(d.asked < 40 && cuda_heap_peak(h) == 500 * PAGE);
	/* What nobody uses is the driver's again, but for one slab. */
	K_CHECK(d.pieces == 1);
	cuda_heap_free(h);
	K_CHECK(d.pieces == 0 && d.left == (uint64_t)1 << 30);
}

K_TEST(heap_keeps_to_its_limits)
{
	struct driver d = { 10 * 1024 * 1024, 0, 0 };
	struct cuda_heap *h = cuda_heap_new(&rt, &d, 1024 * 1024);
	K_CHECK(h && !cuda_heap_take(h, SIZE_MAX, 0) && !cuda_heap_take(h, 9 * 1024 * 1024 + 1, 0));
	void *p = cuda_heap_take(h, 8 * 1024 * 1024, 0);
	K_CHECK(p);
	K_CHECK(!cuda_heap_take(h, 1024, 8 * 1024 * 1024) && cuda_heap_take(h, 1024, 8 * 1024 * 1024 + 1024));
	/* Room for one block more, not for a slab of them. */
	K_CHECK(!cuda_heap_take(h, 1024 * 1024, 0) && cuda_heap_take(h, 512 * 1024, 0));
	cuda_heap_give(h, p);
	K_CHECK(cuda_heap_take(h, 1024 * 1024, 0));
	cuda_heap_free(h);
	K_CHECK(d.pieces == 0);
}

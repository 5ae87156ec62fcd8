/* placement.c: see placement.h. The caller's thread and a helper are held on two CPUs, and a line goes to and fro in short bursts, of which the fastest
 * counts: in the others somebody else had a CPU. */
#include "libcore/base.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/placement.h"

enum { BURSTS = 16, TRIPS = 100, SPINS = 20 * 1000 };
#define LONGEST 50e-3

/* Up to so many ns for a round trip. */
static const struct { double ns; const char *name; } states[K_PLACEMENTS] = {
	{ 0, "unknown" }, { 85, "same core" }, { 300, "same chiplet" }, { 1e9, "apart" }
};

struct ball { K_ALIGNED(64) atomic_int turn; K_ALIGNED(64) cpu_set_t there; };       /* turn: odd is the helper's; -1 ends */

static void *helper(void *arg)
{
	struct ball *b = arg;
	pthread_setaffinity_np(pthread_self(), sizeof(b->there), &b->there);
	for (int t = 1; ; t += 2) {
		int now = 0;
		for (int i = 0; (now = atomic_load_explicit(&b->turn, memory_order_acquire)) != t && now >= 0; i++)
			if (i > SPINS)
				sched_yield();
		/* The end may come in the place of the store. */
		if (now < 0 || !atomic_compare_exchange_strong(&b->turn, &now, t + 1))
			return NULL;
	}
}

/* Seconds of a round trip, of the fastest burst; 0: none ended. */
static double bursts(struct ball *b)
{
	double best = 0, begun = k_bench_now();
	for (int i = 0, t = 0; i < BURSTS; i++) {
		double start = k_bench_now();
		for (int k = 0; k < TRIPS; k++, t += 2) {
			atomic_store_explicit(&b->turn, t + 1, memory_order_release);
			for (int n = 1; atomic_load_explicit(&b->turn, memory_order_acquire) != t + 2; n++)
				if (n % SPINS == 0 && k_bench_now() - begun > LONGEST)
					return best;
		}
		double took = (k_bench_now() - start) / TRIPS;
		if (best == 0 || took < best)
			best = took;
	}
	return best;
}

static double ping(void)
{
	cpu_set_t all, here;
	struct ball b = { .turn = 0 };
	pthread_t thread;
	double s = 0;
	int cpu = sched_getcpu(), other = -1;
	if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof(all), &all))
		return 0;
	for (int i = 1; i < CPU_SETSIZE && other < 0; i++)
		if (CPU_ISSET((cpu + i) % CPU_SETSIZE, &all))
			other = (cpu + i) % CPU_SETSIZE;
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	CPU_ZERO(&b.there);
	if (other < 0 || pthread_setaffinity_np(pthread_self(), sizeof(here), &here))
		return 0;
	CPU_SET(other, &b.there);
	if (!pthread_create(&thread, NULL, helper, &b)) {
		s = bursts(&b);
		atomic_store(&b.turn, -1);
		pthread_join(thread, NULL);
	}
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
	return s;
}

static int state_now(struct k_placement *p)
{
	int i = 0;
	p->ns = ping() * 1e9;
	while (p->ns > states[i].ns && i < K_PLACEMENTS - 1)
		i++;
	return i;
}

void k_placement_begin(struct k_placement *p) { p->state = state_now(p); }

bool k_placement_end(struct k_placement *p)
{
	int now = state_now(p), before = p->state;
	bool same = now == before || !now || !before;   /* 0: other programs kept the CPUs busy, nobody knows */
	*(same ? &p->kept[K_MAX(now, before)] : &p->dropped) += 1;
	return same;
}

const char *k_placement_label(struct k_placement *p)
{
	int found = -1;
	for (int i = 1; i < K_PLACEMENTS; i++)
		if (p->kept[i])
			found = found < 0 ? i : K_PLACEMENTS;
	if (found < 0)
		found = p->kept[0] ? 0 : state_now(p);
	return found < K_PLACEMENTS ? states[found].name : "mixed";
}

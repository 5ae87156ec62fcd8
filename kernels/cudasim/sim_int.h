/* sim_int.h: private to sim*.c: what the simulator knows of memory and threads. */
#ifndef KERNELS_CUDASIM_SIM_INT_H
#define KERNELS_CUDASIM_SIM_INT_H

#include <pthread.h>
#include <setjmp.h>
#include "kernels/cudasim/sim.h"
#include "kernels/cudasim/sim_run.h"

enum { WARP = 32, MOST_THREADS = 1024, STACK = 128 * 1024, MOST_SHARED = 16, SHARED_BYTES = 48 * 1024, MOST_SHARED_BYTES = 227 * 1024, PAGE = 1024, ARGS_BYTES = 4096, MANY = 0xffff, OF_WARP = 0x8000,
	MOST_FLIGHTS = 64, MOST_PASSED = 64 };

/* writer, reader: a thread, OF_WARP | warp: several of it, MANY: others too. */
struct cell { uint32_t wrote, read, read_before; uint16_t writer, reader; };
/* Bytes [at, at + n); a cell every 1 << shift of them. */
struct region { uintptr_t at; size_t n; struct cell *cells; int shift; bool shared; };

enum state { READY, AT_BARRIER, AT_WARP, DONE };
struct fiber { jmp_buf at; enum state state; bool made, waited, ahead; int line, n_shared, n_flight, group; unsigned phase; uint32_t said[2][6]; };
/* A copy under way. */
struct flight { void *to; int group; uint8_t bytes[16]; };
struct warp { int arrived; uint32_t in_step; };  /* in_step: when it was last */

struct k_sim {
	pthread_mutex_t lock;           /* memory may be given back by a thread other than the one that launches */
	char fault[320];
	bool old, some_waited, some_ahead;      /* threads of the launch */
	struct region *mem;             /* device memory, ascending */
	size_t n_mem, cap_mem;
	uint64_t bytes;                 /* of all of it */
	const struct region *last;      /* where touch() found its word last */
	struct region shared[MOST_SHARED];
	int n_shared;
	uint8_t *arena;                 /* of shared memory, with gaps */
	struct cell *arena_cells;
	uint8_t *arena_flying;          /* bytes that a copy still fills */
	size_t arena_used, shared_bytes;
	uint32_t now, passed_at, block_at, launch_at, before_at;   /* passed_at: the last barrier; before_at: the launch before began */
	struct fiber *fiber;
	struct warp warp[MOST_THREADS / WARP];
	uint8_t *stacks;
	struct flight *flight;          /* MOST_FLIGHTS a thread */
	unsigned n_threads, at;         /* at: the thread that runs */
	struct k_sim_index block;
	const struct k_sim_launch *launch;
	struct k_sim_plant plant;       /* kernel NULL: none */
	struct k_sim_plant passed[MOST_PASSED];
	int n_passed;
	uint8_t args[ARGS_BYTES] K_ALIGNED(64);
	jmp_buf home;                   /* of the scheduler */
};

enum { ARENA_BYTES = MOST_SHARED_BYTES + PAGE + 2 * MOST_SHARED * 64, CELLS_BYTES = sizeof(struct cell) };

/* Do n bytes lie in a region, where there is one? */
static inline bool sim_in(const struct region *r, uintptr_t at, size_t n) { return r && at >= r->at && at - r->at <= r->n && n <= r->n - (at - r->at); }
/* The region of device memory that begins at or before an address; NULL. */
struct region *sim_find_mem(const struct k_sim *s, uintptr_t at);

#endif

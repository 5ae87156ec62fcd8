/* sim_run.h: running kernels in the simulator (sim.c). A fault is the first thing that a kernel did and must not:
 *
 *   - read or write outside device memory, the block's shared variables and the thread's own stack; write what is read-only
 *   - touch 2, 4, 8 or 16 bytes at an address that is no multiple of that
 *   - index an array of known size out of its bounds
 *   - race: touch a word that another thread of the block wrote, or write one that it read, with no barrier in between; or that a thread of
 *     another block of the launch wrote (read)
 *   - read shared memory that no thread of the block wrote
 *   - touch shared memory that an asynchronous copy fills and was not waited for; end before one
 *   - leave a barrier or a shuffle to some of the threads
 *
 * After a fault nothing runs any more. */
#ifndef KERNELS_CUDASIM_SIM_RUN_H
#define KERNELS_CUDASIM_SIM_RUN_H

#include "libcore/base.h"

struct k_sim;
struct k_sim_launch { const char *name; void (*kernel)(const void *args); unsigned blocks[3], threads; const void *args; size_t bytes, shared; };

/* NULL without memory. old: its tensor cores have f16 instead of bf16. */
struct k_sim *k_sim_new(bool old);
bool k_sim_is_old(const struct k_sim *s);
void k_sim_free(struct k_sim *s);
/* Zeroed device memory; NULL without. */
void *k_sim_alloc(struct k_sim *s, size_t n);
/* That were allocated and not released. */
uint64_t k_sim_bytes(const struct k_sim *s);
void k_sim_release(struct k_sim *s, void *p);
/* From and to device memory, which is checked. */
void k_sim_copy(struct k_sim *s, void *dst, const void *src, size_t n, bool to_device);
/* Is all of it device memory? Else that is the fault. */
bool k_sim_holds(struct k_sim *s, const void *p, size_t n, const char *what);
void k_sim_run(struct k_sim *s, const struct k_sim_launch *l);
/* A mistake that the caller found. */
void k_sim_blame(struct k_sim *s, const char *fmt, ...) K_PRINTF(2, 3);
/* A mistake that a check plants in a kernel: the barriers of a line let everybody pass, or waits for copies do not wait. Lines of the barriers that a kernel has
 * passed since: how many, at most `most`. */
struct k_sim_plant { const char *kernel; int line; bool no_waits; };
void k_sim_plant(struct k_sim *s, const struct k_sim_plant *plant);
int k_sim_barriers(const struct k_sim *s, const char *kernel, int *lines, int most);
/* NULL: none so far. */
const char *k_sim_fault(const struct k_sim *s);

#endif

/* sim.c: a scalar model of a thread block.
 *
 *   block after block;  in a block:  thread 0 | thread 1 | ...      fibers; each runs until it waits, at a barrier or for its warp
 *
 *   kernel object, compiled with -fsanitize=thread,bounds, names changed:   load, store -> k_sim_read4(p), k_sim_write4(p) ... -> touch()
 *
 * So every access of a kernel to memory that others can see comes here, without a word in the kernel. touch() finds the region, and the
 * cells of the bytes: who wrote and who read them last, and when. Time is counted in intervals: one more at each barrier, each block, each
 * launch. Intervals are never used twice, so that a number tells launch and block:
 *
 *   launch_at <= when < block_at    another block of this launch       when >= passed_at   this block, since the last barrier; of the own warp: since it was in step
 *   before_at <= when < launch_at   the launch before this one
 *
 * The hooks have no argument that says which simulator runs: a pointer of the thread says it. */
#undef _FORTIFY_SOURCE                  /* its longjmp takes a jump to another stack for an attack */
#include "libcore/base.h"
#include <stdarg.h>
#include <stdio.h>
#include <ucontext.h>
#include "kernels/cudasim/sim_int.h"
#include "libcore/dtype.h"
#ifdef K_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

static _Thread_local struct k_sim *running;

/* --- faults ------------------------------------------------------------------------------------------------------------------ */

static K_PRINTF(2, 0) void note(struct k_sim *s, const char *fmt, va_list ap)
{
	int n = 0;
	if (*s->fault)
		return;
	if (s->launch)
		n = snprintf(s->fault, sizeof(s->fault), "kernel %s, block (%u, %u, %u), thread %u: ", s->launch->name, s->block.x, s->block.y,
			s->block.z, s->at);
	vsnprintf(s->fault + n, sizeof(s->fault) - (size_t)n, fmt, ap);
}

void k_sim_blame(struct k_sim *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note(s, fmt, ap);
	va_end(ap);
}

static void switch_home(struct k_sim *s);

/* In a fiber: the launch is over. */
static K_PRINTF(2, 3) K_NORETURN void fault(struct k_sim *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note(s, fmt, ap);
	va_end(ap);
	switch_home(s);
	k_bug("a thread goes on after a fault");
}

const char *k_sim_fault(const struct k_sim *s) { return *s->fault ? s->fault : NULL; }

/* --- accesses ---------------------------------------------------------------------------------------------------------------- */

/* Shared memory is a new one in each block. */
static bool other_block(const struct k_sim *s, const struct region *r, uint32_t when)
{
	return !r->shared && when >= s->launch_at && when < s->block_at;
}
static unsigned warp_of(uint16_t who) { return who & OF_WARP ? who & ~(unsigned)OF_WARP : who / WARP; }
static bool own_warp(const struct k_sim *s, uint16_t who) { return who != MANY && warp_of(who) == s->at / WARP; }
static bool other_thread(const struct k_sim *s, uint32_t when, uint16_t who)
{
	return when >= s->passed_at && who != s->at && !(own_warp(s, who) && when < s->warp[s->at / WARP].in_step);
}

static uint16_t readers(const struct k_sim *s, const struct cell *c)
{
	if (!other_thread(s, c->read, c->reader))
		return (uint16_t)s->at;
	return own_warp(s, c->reader) ? (uint16_t)(OF_WARP | s->at / WARP) : MANY;
}

static K_NORETURN void race(struct k_sim *s, const struct region *r, size_t i, bool write, bool wrote, uint32_t when, uint16_t who)
{
	const char *mine = write ? "writes" : "reads", *theirs = wrote ? "wrote" : "read", *what = r->shared ? "shared" : "device";
	if (other_block(s, r, when))
		fault(s, "%s byte %zu of %zu of %s memory that another block %s", mine, i, r->n, what, theirs);
	if (who & OF_WARP)
		fault(s, "%s byte %zu of %zu of %s memory that other threads %s, with no barrier in between", mine, i, r->n, what, theirs);
	fault(s, "%s byte %zu of %zu of %s memory that thread %u %s, with no barrier in between", mine, i, r->n, what, who, theirs);
}

/* A kernel begins while the one before it ends, and waits for it where it says so. */
static void mark_early(struct k_sim *s, const struct region *r, size_t i, const struct cell *c, bool write)
{
	if (write && !s->fiber[s->at].ahead)
		fault(s, "writes byte %zu of %zu of device memory before it waits for the kernel before", i, r->n);
	if (write && c->read && c->read >= s->before_at && c->read < s->launch_at)
		fault(s, "writes byte %zu of %zu of device memory before it waits for the kernel before, which read it", i, r->n);
	if (c->wrote && c->wrote >= s->before_at && c->wrote < s->launch_at)
		fault(s, "%s byte %zu of %zu of device memory before it waits for the kernel before, which wrote it", write ? "writes" : "reads", i, r->n);
}

static void mark(struct k_sim *s, const struct region *r, size_t i, bool write)
{
	struct cell *c = &r->cells[i >> r->shift];
	if (!r->shared && !s->fiber[s->at].waited)
		mark_early(s, r, i, c, write);
	if (r->shared && s->arena_flying[r->at + i - (uintptr_t)s->arena])
		fault(s, "%s byte %zu of %zu of shared memory that a copy still fills", write ? "writes" : "reads", i, r->n);
	if (other_block(s, r, c->wrote) || other_thread(s, c->wrote, c->writer))
		race(s, r, i, write, true, c->wrote, c->writer);
	if (write) {
		if (other_block(s, r, c->read_before))
			race(s, r, i, true, false, c->read_before, MANY);
		if (other_block(s, r, c->read) || other_thread(s, c->read, c->reader))
			race(s, r, i, true, false, c->read, c->reader);
		c->wrote = s->now;
		c->writer = (uint16_t)s->at;
		return;
	}
	if (r->shared && c->wrote < s->block_at)
		fault(s, "reads byte %zu of %zu of shared memory that nobody wrote", i, r->n);
	if (other_block(s, r, c->read))
		c->read_before = c->read;
	c->reader = readers(s, c);
	c->read = s->now;
}

static const struct region *find(struct k_sim *s, uintptr_t at, size_t n)
{
	if (sim_in(s->last, at, n))
		return s->last;
	for (int i = 0; i < s->n_shared; i++)
		if (sim_in(&s->shared[i], at, n))
			return s->last = &s->shared[i];
	const struct region *r = sim_find_mem(s, at);
	return sim_in(r, at, n) ? s->last = r : NULL;
}

/* Says where an address lies from the nearest memory. */
static K_NORETURN void outside(struct k_sim *s, uintptr_t at, size_t n, bool write)
{
	enum { NEAR = 4096, GAP = 64 };
	const char *how = write ? "writes" : "reads";
	const struct region *r = sim_find_mem(s, at), *next = r ? r + 1 : s->mem;
	for (int i = 0; i < s->n_shared; i++)
		if (at + n > s->shared[i].at && at < s->shared[i].at + s->shared[i].n + GAP)
			fault(s, "%s %zu bytes at offset %td of a shared variable of %zu bytes", how, n, at - s->shared[i].at, s->shared[i].n);
	if (next < s->mem + s->n_mem && next->at - at < NEAR && (!r || next->at - at < at - (r->at + r->n)))
		fault(s, "%s %zu bytes at offset -%td of device memory of %zu bytes", how, n, next->at - at, next->n);
	if (r && at - r->at < r->n + NEAR)
		fault(s, "%s %zu bytes at offset %td of device memory of %zu bytes", how, n, at - r->at, r->n);
	fault(s, "%s %zu bytes where there is no memory of its own", how, n);
}

static void touch(const void *p, size_t n, size_t align, bool write)
{
	struct k_sim *s = running;
	uintptr_t at = (uintptr_t)p;
	const struct region *r;
	if (at - (uintptr_t)(s->stacks + (size_t)s->at * STACK) < STACK)
		return;
	if (!write && at - (uintptr_t)s->args < ARGS_BYTES)
		return;
	if (at & (align - 1))
		fault(s, "%s %zu bytes at an address that is no multiple of that", write ? "writes" : "reads", n);
	r = find(s, at, n);
	if (!r)
		outside(s, at, n, write);
	for (size_t i = at - r->at, end = i + n; i < end; i += (size_t)1 << r->shift)
		mark(s, r, i, write);
}

/* What the compiler calls, with its own names before the makefile changes them. */
#define HOOK(n) \
	void k_sim_read##n(const void *p); \
	void k_sim_read##n(const void *p) { touch(p, n, n, false); } \
	void k_sim_write##n(void *p); \
	void k_sim_write##n(void *p) { touch(p, n, n, true); }
HOOK(1) HOOK(2) HOOK(4) HOOK(8) HOOK(16)
#undef HOOK
/* Where the compiler does not know better (clang). */
#define HOOK(n) \
	void k_sim_unaligned_read##n(const void *p); \
	void k_sim_unaligned_read##n(const void *p) { touch(p, n, 1, false); } \
	void k_sim_unaligned_write##n(void *p); \
	void k_sim_unaligned_write##n(void *p) { touch(p, n, 1, true); }
HOOK(2) HOOK(4) HOOK(8) HOOK(16)
#undef HOOK
void k_sim_read_range(const void *p, size_t n);
void k_sim_read_range(const void *p, size_t n) { touch(p, n, 1, false); }
void k_sim_write_range(void *p, size_t n);
void k_sim_write_range(void *p, size_t n) { touch(p, n, 1, true); }
void k_sim_func_entry(void *caller);
void k_sim_func_entry(void *caller K_UNUSED) {}
void k_sim_func_exit(void);
void k_sim_func_exit(void) {}
void k_sim_init(void);
void k_sim_init(void) {}
void k_sim_out_of_bounds(const void *data, uintptr_t index);
void k_sim_out_of_bounds(const void *data K_UNUSED, uintptr_t index)
{
	fault(running, "index %jd is outside of its array", (intmax_t)index);
}

struct k_u4 k_load16(const void *p)
{
	struct k_u4 v;
	touch(p, sizeof(v), sizeof(v), false);
	memcpy(&v, p, sizeof(v));
	return v;
}

void k_store16(void *p, struct k_u4 v)
{
	touch(p, sizeof(v), sizeof(v), true);
	memcpy(p, &v, sizeof(v));
}

struct k_u2 k_load8(const void *p)
{
	struct k_u2 v;
	touch(p, sizeof(v), sizeof(v), false);
	memcpy(&v, p, sizeof(v));
	return v;
}

void k_store8(void *p, struct k_u2 v)
{
	touch(p, sizeof(v), sizeof(v), true);
	memcpy(p, &v, sizeof(v));
}

/* The bytes are read now, and written at the wait. */
void k_copy16(void *to, const void *from, bool there)
{
	struct k_sim *s = running;
	struct fiber *f = &s->fiber[s->at];
	struct flight *l = s->flight + (size_t)s->at * MOST_FLIGHTS + f->n_flight;
	const struct region *r;
	if (f->n_flight >= MOST_FLIGHTS)
		fault(s, "has more than %d copies under way", MOST_FLIGHTS);
	*l = (struct flight){ to, f->group, { 0 } };
	if (there) {
		touch(from, sizeof(l->bytes), sizeof(l->bytes), false);
		memcpy(l->bytes, from, sizeof(l->bytes));
	}
	touch(to, sizeof(l->bytes), sizeof(l->bytes), true);
	r = find(s, (uintptr_t)to, sizeof(l->bytes));
	if (!r || !r->shared)
		fault(s, "copies to memory that is not shared");
	memset(to, 0xff, sizeof(l->bytes));
	memset(s->arena_flying + ((uintptr_t)to - (uintptr_t)s->arena), 1, sizeof(l->bytes));
	f->n_flight++;
}

void k_copy_commit(void) { running->fiber[running->at].group++; }

static bool planted(const struct k_sim *s);

void k_copy_wait(int left)
{
	struct k_sim *s = running;
	struct fiber *f = &s->fiber[s->at];
	struct flight *l = s->flight + (size_t)s->at * MOST_FLIGHTS;
	int n = 0;
	if (planted(s) && s->plant.no_waits)
		return;
	for (int i = 0; i < f->n_flight; i++) {
		if (l[i].group >= f->group - left) {
			l[n++] = l[i];
			continue;
		}
		memset(s->arena_flying + ((uintptr_t)l[i].to - (uintptr_t)s->arena), 0, sizeof(l->bytes));
		touch(l[i].to, sizeof(l->bytes), sizeof(l->bytes), true);
		memcpy(l[i].to, l[i].bytes, sizeof(l->bytes));
	}
	f->n_flight = n;
}

/* --- threads ------------------------------------------------------------------------------------------------------------------ */

#ifdef K_ASAN
/* The sanitizer wants to know whose stack it is on. Home is the stack of whoever launched. */
static _Thread_local const void *home_stack;
static _Thread_local size_t home_bytes;
#define LEAVE(save, stack, bytes) __sanitizer_start_switch_fiber(save, stack, bytes)
#define ENTER(save, stack, bytes) __sanitizer_finish_switch_fiber(save, stack, bytes)
#else
#define LEAVE(save, stack, bytes) ((void)0)
#define ENTER(save, stack, bytes) ((void)0)
#endif

static void switch_home(struct k_sim *s)
{
	struct fiber *f = &s->fiber[s->at];
	LEAVE(NULL, home_stack, home_bytes);
	if (!_setjmp(f->at))
		_longjmp(s->home, 1);
	ENTER(NULL, &home_stack, &home_bytes);
}

/* A fiber's life: kernel after kernel. */
static void live(void)
{
	struct k_sim *s = running;
	ENTER(NULL, &home_stack, &home_bytes);
	for (;;) {
		switch_home(s);
		s->launch->kernel(s->args);
		if (s->fiber[s->at].n_flight)
			fault(s, "ends before its copies");
		s->fiber[s->at].state = DONE;
	}
}

static void switch_to(struct k_sim *s, unsigned i)
{
	struct fiber *f = &s->fiber[i];
	s->at = i;
	LEAVE(NULL, s->stacks + (size_t)i * STACK, STACK);
	if (!_setjmp(s->home))
		_longjmp(f->at, 1);
	ENTER(NULL, NULL, NULL);
}

static void first_steps(struct k_sim *s, ucontext_t *c)
{
	LEAVE(NULL, s->stacks + (size_t)s->at * STACK, STACK);
	if (!_setjmp(s->home))
		setcontext(c);
	ENTER(NULL, NULL, NULL);
}

static void make_fiber(struct k_sim *s, unsigned i)
{
	ucontext_t c;
	if (s->fiber[i].made)
		return;
	getcontext(&c);
	c.uc_stack.ss_sp = s->stacks + (size_t)i * STACK;
	c.uc_stack.ss_size = STACK;
	c.uc_link = NULL;
	makecontext(&c, live, 0);
	s->at = i;
	first_steps(s, &c);
	s->fiber[i].made = true;
}

struct k_sim_index k_sim_thread(void) { return (struct k_sim_index){ running->at, 0, 0 }; }
struct k_sim_index k_sim_block(void) { return running->block; }

void k_sim_plant(struct k_sim *s, const struct k_sim_plant *plant) { s->plant = plant ? *plant : (struct k_sim_plant){ NULL, 0, false }; }

static bool planted(const struct k_sim *s) { return s->plant.kernel && strcmp(s->plant.kernel, s->launch->name) == 0; }

static void note_barrier(struct k_sim *s, int line)
{
	for (int i = 0; i < s->n_passed; i++)
		if (s->passed[i].line == line && strcmp(s->passed[i].kernel, s->launch->name) == 0)
			return;
	if (s->n_passed < MOST_PASSED)
		s->passed[s->n_passed++] = (struct k_sim_plant){ s->launch->name, line, false };
}

int k_sim_barriers(const struct k_sim *s, const char *kernel, int *lines, int most)
{
	int n = 0;
	for (int i = 0; i < s->n_passed && n < most; i++)
		if (strcmp(s->passed[i].kernel, kernel) == 0)
			lines[n++] = s->passed[i].line;
	return n;
}

void k_sim_barrier(int line)
{
	struct k_sim *s = running;
	if (s->at == 0)
		note_barrier(s, line);
	if (planted(s) && s->plant.line == line)
		return;
	s->fiber[s->at].state = AT_BARRIER;
	s->fiber[s->at].line = line;
	switch_home(s);
}

void k_sim_wait_before(void) { running->fiber[running->at].waited = running->some_waited = true; }
void k_sim_go_ahead(void) { running->fiber[running->at].ahead = running->some_ahead = true; }

/* Waits until all lanes of the warp have said their n words. They wait in one of two places, so that the next time cannot overtake a lane that has
 * yet to hear this one. Returns the first lane's fiber; *at: which place. */
static const struct fiber *tell_warp(struct k_sim *s, const uint32_t *words, int n, unsigned *at)
{
	struct fiber *f = &s->fiber[s->at];
	unsigned first = s->at / WARP * WARP, phase = f->phase++ & 1;
	struct warp *w = &s->warp[s->at / WARP];
	memcpy(f->said[phase], words, (size_t)n * sizeof(*words));
	if (++w->arrived < WARP) {
		f->state = AT_WARP;
		switch_home(s);
	} else {
		w->arrived = 0;
		for (unsigned i = 0; i < WARP; i++)
			s->fiber[first + i].state = READY;
	}
	*at = phase;
	return &s->fiber[first];
}

void k_sim_warp_in_step(int line)
{
	struct k_sim *s = running;
	struct warp *w = &s->warp[s->at / WARP];
	uint32_t nothing = 0;
	unsigned at;
	if (s->at == 0)
		note_barrier(s, line);
	if (planted(s) && s->plant.line == line)
		return;
	if (w->arrived == WARP - 1)
		w->in_step = ++s->now;
	tell_warp(s, &nothing, 1, &at);
}

float k_sim_shuffle(float v, int x)
{
	struct k_sim *s = running;
	uint32_t word = k_f_bits(v);
	unsigned at;
	const struct fiber *warp = tell_warp(s, &word, 1, &at);
	return k_bits_f(warp[(s->at ^ (unsigned)x) % WARP].said[at][0]);
}

void k_sim_matrices(uint32_t *out, const void *row, bool turned)
{
	struct k_sim *s = running;
	struct k_u4 mine = k_load16(row);
	unsigned at, lane = s->at % WARP;
	const struct fiber *warp = tell_warp(s, mine.w, 4, &at);
	const struct region *r = find(s, (uintptr_t)row, sizeof(mine));
	if (!r || !r->shared)
		fault(s, "reads matrices from memory that is not shared");
	for (unsigned i = 0; i < 4; i++) {
		const struct fiber *matrix = warp + 8 * i;
		unsigned two = lane % 4, col = lane / 4;
		uint32_t first = matrix[2 * two].said[at][col / 2] >> col % 2 * 16, second = matrix[2 * two + 1].said[at][col / 2] >> col % 2 * 16;
		out[i] = turned ? (first & 0xffff) | second << 16 : matrix[lane / 4].said[at][two];
	}
}

/* Column k of what a lane said: two columns a word, the lower half first. */
static double half_of(const struct k_sim *s, const struct fiber *warp, unsigned at, int lane, int word, int k)
{
	uint32_t w = warp[lane].said[at][word];
	float x = k_bits_f(k & 1 ? w & 0xffff0000 : w << 16);
	return s->old ? k_f16_to_f32(k_f16_from_f32(x > 65504 ? 65504 : x < -65504 ? -65504 : x)) : x;
}

void k_sim_mma16816(float *c, const uint32_t *a, const uint32_t *b)
{
	struct k_sim *s = running;
	uint32_t words[6] = { a[0], a[1], a[2], a[3], b[0], b[1] };
	unsigned at;
	const struct fiber *warp = tell_warp(s, words, 6, &at);
	int lane = (int)s->at % WARP, group = lane / 4, quad = lane % 4;
	for (int i = 0; i < 4; i++) {
		int row = group + i / 2 * 8, col = 2 * quad + i % 2;
		double sum = c[i];
		for (int k = 0; k < 16; k++)
			sum += half_of(s, warp, at, row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2, k) * half_of(s, warp, at, col * 4 + k % 8 / 2, 4 + k / 8, k);
		c[i] = (float)sum;
	}
}

bool k_sim_has_bf16(void) { return !running->old; }

uint32_t k_sim_turn8(uint32_t word)
{
	struct k_sim *s = running;
	unsigned at, lane = s->at % WARP, col = lane / 4, row = 2 * (lane % 4);
	const struct fiber *warp = tell_warp(s, &word, 1, &at);
	uint32_t first = warp[4 * row + col / 2].said[at][0] >> col % 2 * 16, second = warp[4 * row + 4 + col / 2].said[at][0] >> col % 2 * 16;
	return (first & 0xffff) | second << 16;
}

static void *shared(size_t n, bool more)
{
	struct k_sim *s = running;
	int i = s->fiber[s->at].n_shared++;
	struct region *r = s->shared + i;
	if (i >= MOST_SHARED)
		fault(s, "has more than %d shared variables", MOST_SHARED);
	if (i < s->n_shared) {
		if (r->n != n)
			fault(s, "its shared variable %d has %zu bytes, that of other threads %zu", i, n, r->n);
		return (void *)r->at;
	}
	if ((s->shared_bytes += n) > SHARED_BYTES && !s->launch->shared)
		fault(s, "%zu bytes of shared memory, there are %d", s->shared_bytes, SHARED_BYTES);
	if (s->shared_bytes > MOST_SHARED_BYTES)
		fault(s, "%zu bytes of shared memory, there are %d", s->shared_bytes, MOST_SHARED_BYTES);
	if (more)
		s->arena_used = k_align_up((uintptr_t)s->arena + s->arena_used, PAGE) - (uintptr_t)s->arena;
	*r = (struct region){ (uintptr_t)(s->arena + s->arena_used), n, s->arena_cells + s->arena_used, 0, true };
	s->arena_used += k_align_up(n, 64) + 64;
	s->n_shared++;
	memset((void *)r->at, 0xff, n);
	return (void *)r->at;
}

void *k_sim_shared(size_t n) { return shared(n, false); }
void *k_sim_shared_more(void) { return shared(running->launch->shared, true); }

/* --- blocks ------------------------------------------------------------------------------------------------------------------- */

static unsigned count(const struct k_sim *s, enum state state, unsigned *one)
{
	unsigned n = 0;
	for (unsigned i = 0; i < s->n_threads; i++)
		if (s->fiber[i].state == state) {
			n++;
			*one = i;
		}
	return n;
}

/* No thread can go on: the barrier lets them pass, or never will. */
static void pass_barrier(struct k_sim *s)
{
	unsigned waiting = 0, done = 0, shuffling = 0;
	int line;
	if (count(s, AT_WARP, &shuffling)) {
		s->at = shuffling;
		k_sim_blame(s, "shuffles without all of its warp");
		return;
	}
	count(s, AT_BARRIER, &waiting);
	s->at = waiting;
	if (count(s, DONE, &done)) {
		k_sim_blame(s, "waits at a barrier that thread %u never reaches", done);
		return;
	}
	line = s->fiber[waiting].line;
	for (unsigned i = 0; i < s->n_threads; i++) {
		if (s->fiber[i].line != line) {
			k_sim_blame(s, "waits at the barrier of line %d, thread %u at that of line %d", line, i, s->fiber[i].line);
			return;
		}
		s->fiber[i].state = READY;
	}
	s->passed_at = ++s->now;
}

static void run_block(struct k_sim *s)
{
	unsigned any;
	s->passed_at = s->block_at = ++s->now;
	s->n_shared = 0;
	s->arena_used = 64;
	s->shared_bytes = 0;
	s->last = NULL;
	memset(s->warp, 0, sizeof(s->warp));
	for (unsigned i = 0; i < s->n_threads; i++) {
		s->fiber[i].state = READY;
		s->fiber[i].waited = s->fiber[i].ahead = false;
		s->fiber[i].n_shared = 0;
		s->fiber[i].phase = 0;
		s->fiber[i].n_flight = s->fiber[i].group = 0;
	}
	while (!*s->fault && count(s, DONE, &any) < s->n_threads) {
		bool moved = false;
		for (unsigned i = 0; i < s->n_threads && !*s->fault; i++)
			if (s->fiber[i].state == READY) {
				switch_to(s, i);
				moved = true;
			}
		if (!moved)
			pass_barrier(s);
	}
}

void k_sim_run(struct k_sim *s, const struct k_sim_launch *l)
{
	if (*s->fault)
		return;
	pthread_mutex_lock(&s->lock);
	K_ASSERT(l->threads && l->threads % WARP == 0 && l->threads <= MOST_THREADS && l->bytes <= ARGS_BYTES);
	running = s;
	s->launch = l;
	s->n_threads = l->threads;
	memcpy(s->args, l->args, l->bytes);
	for (unsigned i = 0; i < s->n_threads; i++)
		make_fiber(s, i);
	s->before_at = s->launch_at;
	s->launch_at = ++s->now;
	s->some_waited = s->some_ahead = false;
	for (unsigned z = 0; z < l->blocks[2]; z++)
		for (unsigned y = 0; y < l->blocks[1]; y++)
			for (unsigned x = 0; x < l->blocks[0] && !*s->fault; x++) {
				s->block = (struct k_sim_index){ x, y, z };
				run_block(s);
			}
	if (!*s->fault && s->some_ahead && !s->some_waited)
		k_sim_blame(s, "kernel %s: no block waits for the kernel before", l->name);
	/* What hangs in the middle of a kernel begins anew. */
	for (unsigned i = 0; *s->fault && i < s->n_threads; i++)
		s->fiber[i].made = false;
	s->launch = NULL;
	running = NULL;
	pthread_mutex_unlock(&s->lock);
}

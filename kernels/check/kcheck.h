/* kcheck.h: what the checkers of kernels share.
 *
 *   kcheck.c       command line, levels x rows of kk.def, sums
 *   kcheck_box.c   memory between guards, random data, comparison
 *   kcheck_elem.c  element by element kernels, norms, reductions          one table
 *   kcheck_mat.c   gemm, unpack, rope, conv_silu                          one table
 *   kcheck_delta.c the delta rule                                         one table
 *   kcheck_attn.c  scores, mix                                            one table
 *   kcheck_page.c  the same on pages of int8                              one table
 *   kcheck_quant.c conversions between types                              one table
 *   kcheck_cpu.c   operations of the CPU device: threads, cuts of a batch one table
 *   kcheck_speed.c   what a device does beside what it can                one table
 *   kcheck_device.c  operations of other devices, against the CPU's        one table; kcheck_world.c: on what
 *   kcheck_sample.c  tokens that a device chooses, against libcore's       two tables
 *
 * A checker is called with the reference and with a level's table laid over it, makes cases, and compares. It works at once on
 * the reference itself, where only the guards and the promises about order are at stake. */
#ifndef KERNELS_CHECK_KCHECK_H
#define KERNELS_CHECK_KCHECK_H

#include "kernels/kk.h"
#include "libcore/log.h"

static inline double seconds_now(void) { return (double)k_now_ns() * 1e-9; }

enum tol_kind { TOL_EXACT, TOL_ULP, TOL_NMSE };
struct tol { enum tol_kind kind; double bound, least; };     /* least: what an element counts as at least (NMSE) */

/* One checker at work on one level. */
struct run {
	const struct kk *ref, *got;
	const char *level, *name;
	struct tol tol;
	uint64_t seed, rng;
	bool timed;                     /* boxes are aligned, steps are the rows' own */
	int failures;                   /* of this run; the first few are printed */
	double worst;                   /* largest error as a part of the tolerance */
	char where[160];                /* the case, for messages */
};

struct bench { const char *what; void (*go)(const struct kk *k, void *arg); void *arg; };

struct row {
	const char *name;               /* of kk.def */
	void (*check)(struct run *r, const void *how);
	const void *how;
	/* Sets up what is timed, calls time(b) for each size. */
	void (*bench)(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx);
};
extern const struct row kcheck_elem[], kcheck_mat[], kcheck_delta[], kcheck_attn[], kcheck_page[], kcheck_quant[];    /* end with name NULL */

/* An operation of the CPU device at one level: same bits at any number of threads, however a batch is cut. */
struct op_row { const char *name; void (*check)(struct run *r); };
extern const struct op_row kcheck_ops[];
/* What a device does beside what it can (kcheck_speed.c); kernel: those rows alone, NULL: all. */
void kcheck_device_bench(const char *spec, const char *kernel, int *passed, int *failed);
bool kcheck_device_row(const char *name);
/* An operation of another device; false: nobody checks it. */
bool kcheck_device_op(struct run *r, const char *spec, const char *op);
void kcheck_device_sample(struct run *r, const char *spec);

/* --- kcheck_box.c ------------------------------------------------------------------------------------------------------- */

/* Memory in a slot of its own between two guard pages. Even calls put its end at the guard, so that a read or write behind it is
 * a fault; odd ones put it at an odd multiple of `unit`, between canaries. Canaries are NaNs. */
enum { BOX_SLOTS = 16 };
void *box(struct run *r, int slot, size_t count, size_t unit);
float *box_f(struct run *r, int slot, size_t n);
/* Canaries of all boxes are there still? */
void box_check(struct run *r);

uint64_t rnd(struct run *r);
size_t rnd_below(struct run *r, size_t n);
/* How much longer than a row a step is. */
size_t slack(struct run *r);
/* 1 to `left`, where a vector is cut. */
size_t piece(struct run *r, size_t left);
float rnd_float(struct run *r, float lo, float hi);
/* One of a list of sizes. */
#define PICK(r, list) ((size_t)(list)[rnd_below(r, K_LEN(list))])

/* Kinds of data: a handful of magnitudes; all magnitudes that squares survive; arguments of exp and sigmoid; every float that is a
 * number; all floats; zeros of both signs and less; positive factors up to 1. */
enum data { DATA_PLAIN, DATA_WIDE, DATA_GATE, DATA_FINITE, DATA_ANY, DATA_ZERO, DATA_PART };
void fill(struct run *r, float *x, size_t n, enum data kind);
/* The same, in a box. */
float *box_data(struct run *r, int slot, size_t n, enum data kind);
/* A box that holds a copy. */
float *box_copy(struct run *r, int slot, const float *x, size_t n);

void where(struct run *r, const char *fmt, ...) K_PRINTF(2, 3);
void fail(struct run *r, const char *fmt, ...) K_PRINTF(2, 3);
/* Within the row's tolerance, or bit for bit (NaN for NaN). */
void near(struct run *r, const char *what, const float *got, const float *want, size_t n);
/* terms: sums of the squares of the terms that make an element, its size where they cancel. */
void near_terms(struct run *r, const char *what, const float *got, const float *want, const double *terms, size_t n);
void same(struct run *r, const char *what, const float *got, const float *want, size_t n);
/* Gaps between rows (n of them, y_step apart, `rows` long) hold what box() put there. */
void gaps(struct run *r, const float *y, size_t n, size_t step, size_t rows);
/* Floats from the first on that n such rows span. */
static inline size_t span(size_t n, size_t step, size_t rows) { return n ? (n - 1) * step + rows : 0; }
static inline double square(double x) { return x * x; }
/* What a fault prints. */
void box_watch(struct run *r);

/* Lengths around the widths of vectors and the sizes of blocks. */
extern const size_t kcheck_lengths[];
extern const int kcheck_n_lengths;

#endif

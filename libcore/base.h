/* base.h: first include of every .c file: feature macros, attributes, checked arithmetic, banned calls.
 *
 * Everything here is a macro or a static inline; nothing has state. */
#ifndef K_BASE_H
#define K_BASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Same bytes everywhere: a product or a sum is what IEEE 754 says it is, in its own precision. */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "results would differ from those of other machines: build without -ffast-math, -Ofast, and what is part of them"
#endif
#ifndef __SIZEOF_INT128__
#error "ktools wants a machine of 64 bits: models are larger than what others can address"
#endif

#define K_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define K_MUST_USE __attribute__((warn_unused_result))
#define K_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define K_UNUSED __attribute__((unused))
#define K_NORETURN __attribute__((noreturn))
#define K_ALIGNED(n) __attribute__((aligned(n)))
#define K_MIN(a, b) ((a) < (b) ? (a) : (b))
#define K_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Sizes that come from files are multiplied and added through these: false on overflow, *out then undefined. */
static inline bool k_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool k_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool k_mul_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool k_add_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline int64_t k_div_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }
/* n rounded up to a multiple of align (a power of two). The caller has checked that n is far from the end of the range. */
static inline uint64_t k_align_up(uint64_t n, uint64_t align) { return (n + align - 1) & ~(align - 1); }

/* Memory. Every allocation of ktools goes through these, so that a test build (-DK_FAULTS) can fail the n-th.
 * NULL when there is none; k_alloc(0) and k_calloc(0, x) give a pointer that may be freed. k_calloc checks n * size.
 * k_aligned's memory is aligned to 64 bytes, k_aligned_zero's is zeroed as well. All are freed with k_free, which takes NULL. */
void *k_alloc(size_t n) K_MUST_USE;
void *k_calloc(size_t n, size_t size) K_MUST_USE;
void *k_realloc(void *p, size_t n) K_MUST_USE;
void *k_aligned(size_t n) K_MUST_USE;
void *k_aligned_zero(size_t n) K_MUST_USE;
/* Zeros that may be much and hardly used: a page that nobody writes to costs nothing. Aligned to 64 bytes; freed with k_zeros_free,
 * which takes NULL. */
void *k_zeros(size_t n) K_MUST_USE;
void k_zeros_free(void *p);
char *k_strdup(const char *s) K_MUST_USE;
char *k_strndup(const char *s, size_t n) K_MUST_USE;
void k_free(void *p);
/* From now on what is large goes back to the system when it is freed: for a process that runs long and must keep to a limit. Before there are threads. */
void k_alloc_for_long(void);

/* A broken invariant of our own: says where and ends with status 70. Never for bad input. */
K_NORETURN void k_bug_at(const char *file, int line, const char *what);
#define k_bug(what) k_bug_at(__FILE__, __LINE__, what)
#define K_ASSERT(x) ((x) ? (void)0 : k_bug(#x))

#endif

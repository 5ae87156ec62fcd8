/* arena.h: things that die together. Blocks of growing size; alignment 64 on request, 16 otherwise. */
#ifndef K_ARENA_H
#define K_ARENA_H

#include "libcore/base.h"

struct k_arena_block;
struct k_arena { struct k_arena_block *head; size_t total; };

void k_arena_init(struct k_arena *a);
void k_arena_fini(struct k_arena *a);
/* Forgets everything, keeps the largest block. */
void k_arena_reset(struct k_arena *a);
/* NULL when there is no memory. Zeroed. */
void *k_arena_alloc(struct k_arena *a, size_t n) K_MUST_USE;
void *k_arena_array(struct k_arena *a, size_t n, size_t size) K_MUST_USE;   /* n * size checked */
void *k_arena_aligned(struct k_arena *a, size_t n) K_MUST_USE;              /* 64 bytes, not zeroed */
char *k_arena_strdup(struct k_arena *a, const char *s) K_MUST_USE;
char *k_arena_strndup(struct k_arena *a, const char *s, size_t n) K_MUST_USE;
char *k_arena_printf(struct k_arena *a, const char *fmt, ...) K_PRINTF(2, 3) K_MUST_USE;

#endif

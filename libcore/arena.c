/* arena.c: blocks in a list, the newest first; each at least twice as large as what came before, up to 1 MiB.
 *
 *     head -> [next | end | used ....... free ......] -> [ ... ]
 *
 * A block's data begins at 64 bytes behind its (64-aligned) address, so offsets and addresses are aligned
 * alike. */
#include "libcore/base.h"
#include "libcore/arena.h"
#include <stdarg.h>
#include <stdio.h>

enum { HEAD = 64, FIRST = 4096, LARGEST = 1 << 20 };

struct k_arena_block { struct k_arena_block *next; size_t end, used; };

void k_arena_init(struct k_arena *a) { *a = (struct k_arena){ NULL, 0 }; }

void k_arena_fini(struct k_arena *a)
{
	for (struct k_arena_block *b = a->head, *next; b; b = next) {
		next = b->next;
		k_free(b);
	}
	k_arena_init(a);
}

void k_arena_reset(struct k_arena *a)
{
	struct k_arena_block *keep = a->head;

	for (struct k_arena_block *b = a->head; b; b = b->next)
		if (b->end > keep->end)
			keep = b;
	for (struct k_arena_block *b = a->head, *next; b; b = next) {
		next = b->next;
		if (b != keep)
			k_free(b);
	}
	a->head = keep;
	a->total = 0;
	if (keep) {
		keep->next = NULL;
		keep->used = HEAD;
		a->total = keep->end;
	}
}

static void *take(struct k_arena *a, size_t n, size_t align)
{
	struct k_arena_block *b = a->head;
	size_t at, end, size;

	if (b) {
		at = k_align_up(b->used, align);
		if (at <= b->end && n <= b->end - at) {
			b->used = at + n;
			return (char *)b + at;
		}
	}
	if (!k_add_size(n, HEAD, &end))
		return NULL;
	size = K_MAX(end, K_MIN(K_MAX(a->total, (size_t)FIRST), (size_t)LARGEST));
	b = k_aligned(size);
	if (!b)
		return NULL;
	*b = (struct k_arena_block){ a->head, size, end };
	/* A large one that is full at once goes second, so that the room left in the head is not lost. */
	if (a->head && end == size) {
		b->next = a->head->next;
		a->head->next = b;
	} else {
		a->head = b;
	}
	a->total += size;
	return (char *)b + HEAD;
}

void *k_arena_alloc(struct k_arena *a, size_t n)
{
	void *p = take(a, n ? n : 1, 16);

	return p ? memset(p, 0, n) : NULL;
}

void *k_arena_array(struct k_arena *a, size_t n, size_t size)
{
	size_t total;

	return k_mul_size(n, size, &total) ? k_arena_alloc(a, total) : NULL;
}

void *k_arena_aligned(struct k_arena *a, size_t n) { return take(a, n ? n : 1, 64); }
char *k_arena_strdup(struct k_arena *a, const char *s) { return k_arena_strndup(a, s, strlen(s)); }

char *k_arena_strndup(struct k_arena *a, const char *s, size_t n)
{
	char *p = n < SIZE_MAX ? take(a, n + 1, 1) : NULL;

	if (!p)
		return NULL;
	memcpy(p, s, n);
	p[n] = 0;
	return p;
}

char *k_arena_printf(struct k_arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *p = NULL;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n >= 0)
		p = take(a, (size_t)n + 1, 1);
	if (p)
		vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return p;
}

/* alloc.c: the only caller of malloc and its kin, and the end of a broken invariant.
 *
 * Every request passes k_fault_alloc(), which in a test build fails the n-th. */
#include "libcore/base.h"
#include "libcore/fault.h"
#include "libcore/io.h"
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

/* glibc learns from the first large piece that is freed to take all of up to 32 MiB from the heap, where small ones that outlive their neighbours hold
 * what lies between. Told the number that it begins with, it does not learn. Maps are few in a process (65,530 by default): a part of them. */
void k_alloc_for_long(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	mallopt(M_MMAP_MAX, 16384);
#endif
}

void *k_alloc(size_t n)
{
	return k_fault_alloc() ? NULL : malloc(n ? n : 1);
}

void *k_calloc(size_t n, size_t size)
{
	return k_fault_alloc() ? NULL : calloc(n ? n : 1, size ? size : 1);
}

void *k_realloc(void *p, size_t n)
{
	return k_fault_alloc() ? NULL : realloc(p, n ? n : 1);
}

void *k_aligned(size_t n)
{
	void *p;

	if (k_fault_alloc() || n > SIZE_MAX - 64 || posix_memalign(&p, 64, k_align_up(n ? n : 1, 64)))
		return NULL;
	return p;
}

void *k_aligned_zero(size_t n)
{
	void *p = k_aligned(n);

	return p ? memset(p, 0, n) : NULL;
}

/* Before the memory: how much was mapped, 0 where it came from the heap. 64 bytes, so that what follows is aligned. */
struct zeros { size_t mapped; char rest[64 - sizeof(size_t)]; };
enum { ZEROS_MAP = 1 << 18, ZEROS_HUGE = 4 << 20, HUGE_PAGE = 2 << 20 };

static void *map(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* At a huge page's beginning, and huge pages asked for: rows of activations are pages apart, and to find out where each page is takes longer than to
 * read what is wanted of it. What lies before and behind is given back. */
static void *map_huge(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), end = k_align_up(n, page), before;
	char *p = n <= SIZE_MAX / 2 ? map(end + HUGE_PAGE) : NULL;

	if (!p)
		return NULL;
	before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
	if (before)
		munmap(p, before);
	p += before;
	if (before < HUGE_PAGE)
		munmap(p + end, HUGE_PAGE - before);
	madvise(p, end, MADV_HUGEPAGE);
	return p;
}

void *k_zeros(size_t n)
{
	struct zeros *z;
	size_t all;

	if (!k_add_size(n, sizeof *z, &all))
		return NULL;
	if (all < ZEROS_MAP) {
		z = k_aligned_zero(all);
		return z ? z + 1 : NULL;
	}
	z = k_fault_alloc() ? NULL : all < ZEROS_HUGE ? map(all) : map_huge(all);
	if (!z)
		return NULL;
	z->mapped = all;
	return z + 1;
}

void k_zeros_free(void *p)
{
	struct zeros *z = p ? (struct zeros *)p - 1 : NULL;

	if (z && z->mapped)
		munmap(z, z->mapped);
	else
		k_free(z);
}

char *k_strndup(const char *s, size_t n)
{
	char *p = n < SIZE_MAX ? k_alloc(n + 1) : NULL;

	if (!p)
		return NULL;
	memcpy(p, s, n);
	p[n] = 0;
	return p;
}

char *k_strdup(const char *s) { return k_strndup(s, strlen(s)); }
void k_free(void *p) { free(p); }

/* write() and _exit() only: the heap or a lock may be what is broken. */
void k_bug_at(const char *file, int line, const char *what)
{
	char digits[16], *d = digits + sizeof digits;
	const char *parts[] = { "ktools: a bug: ", file, ":", NULL, ": ", what, "\n" };

	*--d = 0;
	do
		*--d = (char)('0' + line % 10);
	while ((line /= 10) > 0);
	parts[3] = d;
	for (size_t i = 0; i < K_LEN(parts); i++)
		if (write(2, parts[i], strlen(parts[i])) < 0)
			break;
	k_io_cleanup();
	_exit(70);
}

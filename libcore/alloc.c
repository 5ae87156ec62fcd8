/* alloc.c: the only caller of malloc and its kin, and the end of a broken invariant.
 *
 * Every request passes k_fault_alloc(), which in a test build fails the n-th. */
#include "libcore/base.h"
#include "libcore/fault.h"
#include "libcore/io.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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
enum { ZEROS_MAP = 1 << 18 };

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
	z = k_fault_alloc() ? MAP_FAILED : mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (z == MAP_FAILED)
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

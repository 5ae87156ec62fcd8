/* fault.c: the counters of fault.h. Empty in an ordinary build.
 *
 * The counters are the one place with global mutable state: malloc itself has no context to carry them in. */
#include "libcore/base.h"
#include "libcore/fault.h"

#ifdef K_FAULTS
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long n_alloc, n_io, n_device;
static long fail_alloc, fail_io, fail_device;
static pid_t owner;

static void report(void)
{
	const char *path = getenv("K_FAULT_COUNT");
	char text[80];
	int fd, n;

	if (!path || getpid() != owner)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	n = snprintf(
		text, sizeof text, "allocations %ld\nio %ld\n", atomic_load(&n_alloc), atomic_load(&n_io));
	if (write(fd, text, (size_t)n) != n)
		unlink(path);
	close(fd);
}

static long number(const char *name)
{
	const char *s = getenv(name);

	return s ? atol(s) : 0;
}

__attribute__((constructor)) static void start(void)
{
	fail_alloc = number("K_FAULT_ALLOC");
	fail_io = number("K_FAULT_IO");
	fail_device = number("K_FAULT_DEVICE");
	owner = getpid();
	atexit(report);
}

bool k_fault_alloc(void) { return atomic_fetch_add(&n_alloc, 1) + 1 == fail_alloc; }
bool k_fault_io(void) { return atomic_fetch_add(&n_io, 1) + 1 == fail_io; }
bool k_fault_device(void) { return atomic_fetch_add(&n_device, 1) + 1 == fail_device; }
#endif

/* io_table.c: temporary files and maps that are open now, in static tables that signal handlers can read.
 *
 * A slot is free while its name is NULL. The name is written last and cleared first, so a handler that sees a
 * name sees the rest; strings and maps outlive their slot. This is process-wide because signals are. */
#include "libcore/base.h"
#include "libcore/io_table.h"
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum { N_TEMPS = 256, N_MAPS = 4096 };

static struct { _Atomic(const char *) name; pid_t owner; } temps[N_TEMPS];
static struct { atomic_bool used; _Atomic(const char *) name; const char *p; size_t n; } maps[N_MAPS];
static _Atomic(const volatile sig_atomic_t *) stop_flag;

void k_io_watch(const volatile sig_atomic_t *stop) { atomic_store(&stop_flag, stop); }

bool k_io_stopped(void)
{
	const volatile sig_atomic_t *stop = atomic_load(&stop_flag);

	return stop && *stop;
}

int k_io_temp_begin(const char *path)
{
	for (int i = 0; i < N_TEMPS; i++) {
		const char *none = NULL;

		if (atomic_compare_exchange_strong(&temps[i].name, &none, path)) {
			temps[i].owner = getpid();
			return i;
		}
	}
	return -1;
}

void k_io_temp_end(int slot)
{
	if (slot >= 0)
		atomic_store(&temps[slot].name, NULL);
}

bool k_io_temp_is_ours(const char *path)
{
	for (int i = 0; i < N_TEMPS; i++) {
		const char *name = atomic_load(&temps[i].name);

		if (name && !strcmp(name, path))
			return true;
	}
	return false;
}

void k_io_cleanup(void)
{
	for (int i = 0; i < N_TEMPS; i++) {
		const char *name = atomic_load(&temps[i].name);

		if (name && temps[i].owner == getpid())
			unlink(name);
	}
}

int k_io_map_begin(const void *p, size_t n, const char *name)
{
	for (int i = 0; i < N_MAPS; i++) {
		if (atomic_exchange(&maps[i].used, true))
			continue;
		maps[i].p = p;
		maps[i].n = n;
		atomic_store(&maps[i].name, name);
		return i;
	}
	return -1;
}

void k_io_map_end(int slot)
{
	if (slot < 0)
		return;
	atomic_store(&maps[slot].name, NULL);
	atomic_store(&maps[slot].used, false);
}

uint64_t k_io_mapped(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < N_MAPS; i++)
		if (atomic_load(&maps[i].name))
			sum += maps[i].n;
	return sum;
}

const char *k_io_fault_name(const void *addr)
{
	const char *a = addr;

	for (int i = 0; i < N_MAPS; i++) {
		const char *name = atomic_load(&maps[i].name);

		if (name && a >= maps[i].p && (size_t)(a - maps[i].p) < maps[i].n)
			return name;
	}
	return NULL;
}

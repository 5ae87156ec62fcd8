/* resident.c: see resident.h. getrusage's figure is no use: a process begins with that of the one that started it. */
#include "libcore/base.h"
#include "libcore/cgroup.h"
#include "libcore/resident.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct k_resident k_resident(void)
{
	struct k_resident r = { 0 };
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long kib;
	char line[200];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmRSS: %llu kB", &kib) == 1)
			r.now = (uint64_t)kib << 10;
		else if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			r.most = (uint64_t)kib << 10;
	}
	if (f)
		fclose(f);
	return r;
}

static bool number(const char *folder, const char *name, uint64_t *out)
{
	char path[600], text[64], *end;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (!k_small_file(path, text, sizeof text))
		return false;
	*out = strtoull(text, &end, 10);
	return end != text;             /* "max" */
}

/* The number behind what a line of text begins with. */
static uint64_t field(const char *text, const char *begin, uint64_t otherwise)
{
	size_t n = strlen(begin);

	for (const char *line = text; line; line = strchr(line, '\n'), line += line != NULL)
		if (!strncmp(line, begin, n))
			return strtoull(line + n, NULL, 10);
	return otherwise;
}

/* What a control group may still take. Files that are in memory count as taken there, and go when memory is wanted. */
static void limit_of(const char *folder, void *arg)
{
	static const struct { const char *most, *now, *files[2]; } names[] = {
		{ "memory.max", "memory.current", { "active_file ", "inactive_file " } },
		{ "memory.limit_in_bytes", "memory.usage_in_bytes", { "total_active_file ", "total_inactive_file " } },
	};
	uint64_t *least = arg, most, now;
	char path[600], stat[8192] = "";

	for (size_t i = 0; i < K_LEN(names); i++) {
		if (!number(folder, names[i].most, &most) || !number(folder, names[i].now, &now))
			continue;
		snprintf(path, sizeof path, "%s/memory.stat", folder);
		if (k_small_file(path, stat, sizeof stat))
			now -= K_MIN(now, field(stat, names[i].files[0], 0) + field(stat, names[i].files[1], 0));
		*least = K_MIN(*least, most - K_MIN(most, now));
	}
}

/* KiB of the whole machine. */
static uint64_t meminfo(const char *begin, uint64_t otherwise)
{
	char text[4096];

	return k_small_file("/proc/meminfo", text, sizeof text) ? field(text, begin, otherwise) : otherwise;
}

uint64_t k_memory_free(void)
{
	uint64_t pages = (uint64_t)K_MAX(sysconf(_SC_AVPHYS_PAGES), 0L), n = meminfo("MemAvailable:", pages * (uint64_t)K_MAX(sysconf(_SC_PAGESIZE), 0L) >> 10) << 10;

	k_cgroup_each("memory", limit_of, &n);
	return n;
}

uint64_t k_swap_free(void) { return meminfo("SwapFree:", 0) << 10; }

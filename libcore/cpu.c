/* cpu.c: features by name, CPUs by affinity and quota, the CPU's name.
 *
 * A feature counts when CPUID has it and the system saves its registers (XGETBV); AMX also wants permission
 * from the kernel, which is asked for here, once per question (the request is idempotent). */
#include "libcore/base.h"
#include "libcore/cgroup.h"
#include "libcore/cpu.h"
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum reg { EAX, EBX, ECX, EDX };
enum save { NONE, YMM = 0x06, ZMM = 0xe6, TILE = 0x60006 };     /* bits of XCR0 that must be set */

/* Leaf 1 first: it says whether XGETBV is there. */
static const struct { unsigned leaf, sub; } leaves[] = { { 1, 0 }, { 7, 0 }, { 7, 1 } };
enum leaf { BASE, MORE, MORE_1 };

static const struct {
	const char *name;
	enum leaf leaf;
	enum reg reg;
	int bit;
	unsigned save;
} features[] = {
	{ "sse4.2", BASE, ECX, 20, NONE },
	{ "popcnt", BASE, ECX, 23, NONE },
	{ "avx", BASE, ECX, 28, YMM },
	{ "fma", BASE, ECX, 12, YMM },
	{ "f16c", BASE, ECX, 29, YMM },
	{ "bmi2", MORE, EBX, 8, NONE },
	{ "avx2", MORE, EBX, 5, YMM },
	{ "avx512f", MORE, EBX, 16, ZMM },
	{ "avx512dq", MORE, EBX, 17, ZMM },
	{ "avx512cd", MORE, EBX, 28, ZMM },
	{ "avx512bw", MORE, EBX, 30, ZMM },
	{ "avx512vl", MORE, EBX, 31, ZMM },
	{ "avx512vbmi", MORE, ECX, 1, ZMM },
	{ "avx512vnni", MORE, ECX, 11, ZMM },
	{ "avx512fp16", MORE, EDX, 23, ZMM },
	{ "amx-bf16", MORE, EDX, 22, TILE },
	{ "amx-tile", MORE, EDX, 24, TILE },
	{ "amx-int8", MORE, EDX, 25, TILE },
	{ "avxvnni", MORE_1, EAX, 4, YMM },
	{ "avx512bf16", MORE_1, EAX, 5, ZMM },
	{ "amx-fp16", MORE_1, EAX, 21, TILE },
};

/* What the CPU says of itself does not change, and in a virtual machine each CPUID leaves it: a level's list of features would be 50 us. */
static struct { unsigned leaf[K_LEN(leaves)][4], saved; bool amd; } cpu;

static void ask_cpu(void)
{
	unsigned lo, hi;

	for (size_t i = 0; i < K_LEN(leaves); i++) {
		unsigned *r = cpu.leaf[i];

		if (!__get_cpuid_count(leaves[i].leaf, leaves[i].sub, &r[EAX], &r[EBX], &r[ECX], &r[EDX]))
			memset(r, 0, sizeof cpu.leaf[i]);
	}
	unsigned vendor[4] = { 0 };
	cpu.amd = __get_cpuid(0, &vendor[EAX], &vendor[EBX], &vendor[ECX], &vendor[EDX]) && !memcmp(&vendor[EBX], "Auth", 4);
	if (cpu.leaf[0][ECX] >> 27 & 1) {
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		cpu.saved = lo;
	}
}

static bool may_use_tiles(void)
{
	enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };

	return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}

/* NULL: it is here. Else why not. */
static const char *missing(const char *name, size_t n)
{
	static pthread_once_t asked = PTHREAD_ONCE_INIT;

	pthread_once(&asked, ask_cpu);
	if (n == 3 && !memcmp(name, "amd", n))
		return cpu.amd ? NULL : "this CPU has not";
	for (size_t i = 0; i < K_LEN(features); i++) {
		if (strlen(features[i].name) != n || memcmp(features[i].name, name, n))
			continue;
		if (!(cpu.leaf[features[i].leaf][features[i].reg] >> features[i].bit & 1))
			return "this CPU has not";
		if ((cpu.saved & features[i].save) != features[i].save)
			return "this system does not save the registers of";
		return features[i].save != TILE || may_use_tiles() ? NULL : "this system does not let this process use";
	}
	return "nobody here knows of";
}
#else
static const char *missing(const char *name K_UNUSED, size_t n K_UNUSED) { return "this CPU has not"; }
#endif

bool k_cpu_lacks(const char *list, char *why, size_t size)
{
	while (*list) {
		size_t n = strcspn(list, " ");
		const char *because = n ? missing(list, n) : NULL;

		if (because) {
			snprintf(why, size, "%s %.*s", because, (int)n, list);
			return true;
		}
		list += n + (list[n] == ' ');
	}
	return false;
}

bool k_cpu_has(const char *list)
{
	char why[80];

	return !k_cpu_lacks(list, why, sizeof(why));
}

/* The smallest quota so far, and that of a folder of a control group. */
static void quota_of(const char *folder, void *arg)
{
	long long quota = 0, period = 0;
	char path[600], text[64];
	int *least = arg, n;

	snprintf(path, sizeof path, "%s/cpu.max", folder);
	if (k_small_file(path, text, sizeof text)) {
		if (sscanf(text, "%lld %lld", &quota, &period) != 2)
			return;
	} else {
		snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
		if (!k_small_file(path, text, sizeof text) || sscanf(text, "%lld", &quota) != 1)
			return;
		snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
		if (!k_small_file(path, text, sizeof text) || sscanf(text, "%lld", &period) != 1)
			return;
	}
	if (quota <= 0 || period <= 0)
		return;
	n = (int)K_MIN((quota + period - 1) / period, 1 << 20);
	*least = *least ? K_MIN(*least, n) : n;
}

int k_cpu_count(void)
{
	int n = 0, q = 0;
	cpu_set_t *set;

	k_cgroup_each("cpu", quota_of, &q);
	/* The kernel refuses a set smaller than its own number of CPUs. */
	for (int bits = 1024; bits <= 1 << 16 && !n; bits *= 4) {
		set = CPU_ALLOC((size_t)bits);
		if (!set)
			break;
		if (sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)bits), set) == 0)
			n = CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)bits), set);
		CPU_FREE(set);
	}
	if (n < 1)
		n = (int)K_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L);
	return q && q < n ? q : n;
}

void k_cpu_name(char *buf, size_t n)
{
	char text[4096], *at, *end;

	snprintf(buf, n, "unknown CPU");
	if (!k_small_file("/proc/cpuinfo", text, sizeof text))
		return;
	at = strstr(text, "model name");
	at = at ? strchr(at, ':') : NULL;
	if (!at)
		return;
	at += 1 + strspn(at + 1, " \t");
	end = at + strcspn(at, "\n");
	*end = 0;
	snprintf(buf, n, "%s", at);
}

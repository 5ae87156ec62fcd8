/* cpu.h: what this CPU can do and how many of them this process may use. Compiled without any level's flags. */
#ifndef K_CPU_H
#define K_CPU_H

#include "libcore/base.h"

/* Does this CPU (and the system) have every feature of a space-separated list, e.g. "avx2 fma f16c avx512f avx512bw avx512vl
 * avx512vnni avx512bf16 amx-tile amx-int8 amx-bf16"? "amd" is one that AMD's CPUs have. Unknown names count as absent. */
bool k_cpu_has(const char *features);
/* The first of them that is not here and why, as a sentence; false: all of them are. */
bool k_cpu_lacks(const char *features, char *why, size_t n);
/* CPUs by affinity and cgroup quota (v1 and v2), at least 1. */
int k_cpu_count(void);
/* "AMD EPYC ..." into buf. */
void k_cpu_name(char *buf, size_t n);

#endif

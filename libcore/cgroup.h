/* cgroup.h: where the system says what it grants this process, by control groups of v1 and v2. */
#ifndef K_CGROUP_H
#define K_CGROUP_H

#include "libcore/base.h"

/* A file of /proc or /sys that fits into buf, NUL-terminated; false when it cannot be read. These are no
 * models: io.c, with its failure on purpose, is not asked. */
bool k_small_file(const char *path, char *buf, size_t n);
/* The folders of our group and of those above it, in both hierarchies, one by one: what each says counts. */
void k_cgroup_each(const char *controller, void (*fn)(const char *folder, void *arg), void *arg);

#endif

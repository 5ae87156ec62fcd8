/* resident.h: what this process has of the machine's memory, and may have. */
#ifndef K_RESIDENT_H
#define K_RESIDENT_H

#include "libcore/base.h"

/* Bytes now, and the most there were; 0 where nobody says. */
struct k_resident { uint64_t now, most; };
struct k_resident k_resident(void);
/* Bytes that it may still take: what the machine can give without swapping, or less where a control group's limit is nearer. */
uint64_t k_memory_free(void);
uint64_t k_swap_free(void);

#endif

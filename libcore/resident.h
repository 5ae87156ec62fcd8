/* resident.h: what this process has of the machine's memory. */
#ifndef K_RESIDENT_H
#define K_RESIDENT_H

#include "libcore/base.h"

/* Bytes now, and the most there were; 0 where nobody says. */
struct k_resident { uint64_t now, most; };
struct k_resident k_resident(void);

#endif

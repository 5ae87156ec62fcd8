/* fault.h: failure on purpose, in builds with -DK_FAULTS only. The environment says which:
 *
 *     K_FAULT_ALLOC=n    the n-th allocation (from 1) gives NULL
 *     K_FAULT_IO=n       the n-th read or write fails with EIO
 *     K_FAULT_DEVICE=n   the n-th step of a model fails as if its device did
 *     K_FAULT_COUNT=FILE at exit the totals "allocations N\nio N\n" are written to FILE
 *
 * Elsewhere they are constants, and the compiler removes the question. */
#ifndef K_FAULT_H
#define K_FAULT_H

#include "libcore/base.h"

#ifdef K_FAULTS
bool k_fault_alloc(void);       /* true: fail this one */
bool k_fault_io(void);
bool k_fault_device(void);
#else
static inline bool k_fault_alloc(void) { return false; }
static inline bool k_fault_io(void) { return false; }
static inline bool k_fault_device(void) { return false; }
#endif

#endif

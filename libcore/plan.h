/* plan.h: what a conversion takes, said before its first byte (cli.md 2, --plan). */
#ifndef K_PLAN_H
#define K_PLAN_H

#include "libcore/buf.h"
#include "libcore/err.h"

struct k_plan {
	const char *in, *out;           /* paths; out NULL or "-": a stream */
	int entries;
	uint64_t bytes_in, bytes;       /* read, written */
	uint64_t there;                 /* bytes of disk that an unfinished output has already */
	uint64_t memory, max_memory;
	bool ceiling_given;             /* by --max-memory */
};

/* K_ENOMEM with a sentence when memory or the disk at the output's place is too small. */
int k_plan_check(const struct k_plan *p, struct k_err *err) K_MUST_USE;
/* One JSON object, or a table. The input's disk is read for a moment to tell the time. */
void k_plan_put(const struct k_plan *p, bool table, struct k_buf *b);

#endif

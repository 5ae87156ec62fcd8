/* job.h: one conversion from beginning to end: what kconvert and kquant have in common once input and target are known. */
#ifndef K_JOB_H
#define K_JOB_H

#include "libcore/stream.h"

struct k_job {
	struct k_stream stream;
	const char *out;                /* path, NULL: standard output */
	bool folder, resume;
	const char *choices;            /* options that change the bytes and that no head shows; NULL: none */
};
/* Parses "K/N", 1 <= K <= N <= 10000. */
int k_job_part(const char *text, int *part, int *n_parts, struct k_err *err) K_MUST_USE;
/* Refuses before the first byte what does not fit in memory (K_ENOMEM); opens the output, streams, commits. */
int k_job_run(struct k_job *job, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif

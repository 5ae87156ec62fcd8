/* job.h: one conversion from beginning to end: what kconvert and kquant have in common once input and target are known. */
#ifndef K_JOB_H
#define K_JOB_H

#include "libcore/certificate.h"

struct k_job;

struct k_job_verify {
	/* Reads the finished output at path again; what it does not accept is removed. */
	int (*run)(const struct k_job *job, const char *path, const struct k_ctx *ctx, struct k_err *err);
	uint64_t (*memory)(const struct k_job *job, const struct k_ctx *ctx);   /* most that it will take, all that there is beside it included */
};

struct k_job {
	struct k_stream stream;
	const char *out;                /* path, NULL: standard output */
	bool folder, resume;
	bool plan, table;               /* only say what it takes, on standard output, as JSON or a table */
	const char *choices;            /* options that change the bytes and that no head shows; NULL: none */
	const struct k_job_verify *verify;      /* NULL: none */
	bool watch_losses;              /* values may change where they should not, or a certificate is wanted: */
	struct k_certificate_opts certificate;
};
/* Parses "K/N", 1 <= K <= N <= 10000. */
int k_job_part(const char *text, int *part, int *n_parts, struct k_err *err) K_MUST_USE;
/* Refuses before the first byte what does not fit in memory or on the disk (K_ENOMEM); opens the output, streams, commits. A complete certificate is
 * left also when the answer is no. */
int k_job_run(struct k_job *job, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif

/* selftest.h: the digests of the model's file are read and compared while the server answers already, by a thread of low priority. */
#ifndef K_SELFTEST_H
#define K_SELFTEST_H

#include "libcore/ctx.h"

enum k_selftest_state {
	K_SELFTEST_NONE,                /* nothing to read: a pipe, or the start has checked it */
	K_SELFTEST_RUNS,
	K_SELFTEST_OK,
	K_SELFTEST_BAD,
};
struct k_selftest;

/* Opens path again and reads all of it. What comes out goes to the log: ctx's, which must outlive the test. */
int k_selftest_begin(struct k_selftest **out, const char *path, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
enum k_selftest_state k_selftest_state(const struct k_selftest *t);     /* NULL: NONE */
/* Ends it where it is. Takes NULL. */
void k_selftest_end(struct k_selftest *t);

#endif

/* ctx.h: what a tool hands down to every library call that works for long. Made once by cmd/cli.c; never global. */
#ifndef K_CTX_H
#define K_CTX_H

#include <signal.h>
#include "libcore/err.h"

struct k_codec;
struct k_log;
struct k_pool;

enum k_act { K_ACT_F32, K_ACT_BF16, K_ACT_INT8 };     /* precision of the activations that enter matrix products */

struct k_renames;

struct k_ctx {
	struct k_log *log;                      /* never NULL in tools; tests may leave it NULL */
	struct k_pool *pool;
	const volatile sig_atomic_t *stop;      /* non-zero: a signal asked to stop; may be NULL */
	uint64_t max_memory;                    /* bytes; 0 = the tool's default */
	uint64_t gpu_memory;                    /* of a device with a memory of its own; 0 = what is free there */
	const char *cpu;                        /* highest kernel level, NULL = best */
	enum k_act act;
	int kv;                                 /* what pages hold: 0 as `act` says, else 1 + enum k_kv */
	bool any_order;                         /* how many rows are computed at once may show in the last digits: libraries may multiply */
	const struct k_codec *codec;            /* fast conversions (libcore/qtype.h); NULL: the types' own */
	const char *spool;                      /* folder for spooled archives, NULL = none */
	const struct k_renames *renames;        /* libcore/rename.h: for tensors of other people's files; NULL = none */
	bool text_only;                         /* of a multimodal checkpoint */
};

/* Bytes: max_memory, or what streaming tools keep to without it. */
uint64_t k_ctx_ceiling(const struct k_ctx *ctx);
/* 0, or K_ECANCEL with a sentence when a signal asked to stop. */
int k_ctx_check(const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif

/* synthetic.h: models of a known shape with random weights, for speed without a checkpoint. A container in memory, which is opened by its
 * path as any other and is read where it lies. */
#ifndef K_SYNTHETIC_H
#define K_SYNTHETIC_H

#include "evals/report.h"
#include "libcore/ctx.h"

struct k_synthetic {
	const char *name;               /* "kimi-linear:48b" */
	int64_t layers, layers_of;      /* that it has; of the shape that it is named after */
	int64_t vocab;                  /* cut in the proportion of the layers, so that the head keeps its share of a token */
	uint64_t bytes;                 /* of weights */
	int fd;                         /* children inherit it, and so can open path */
	char path[32];
};

/* What is held beside each of them: caches of so many tokens in all, of so many sequences. */
struct k_room { int64_t tokens, seqs; };
/* text: one name or several with commas; those are shapes of as many layers, and get as many. As many layers as fit in --max-memory, or three quarters of what is available. At most max models. The bits follow from
 * names, layers and seed. K_EUSAGE: no such name; K_ENOMEM: not even the fewest layers fit. */
int k_synthetic_open(struct k_synthetic *s, int max, int *n, const char *text, struct k_room room, int64_t seed, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;
void k_synthetic_close(struct k_synthetic *s);          /* takes a zeroed one */
int k_synthetic_put(struct k_json *o, const struct k_synthetic *s) K_MUST_USE;

#endif

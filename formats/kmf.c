/* kmf.c: the container as one of the formats. Its bytes are the business of libcore/kmf_read.c; writing it is the one loop of
 * libcore/stream.c, so there is no write here. */
#include "libcore/base.h"
#include "formats/format.h"
#include "libcore/kmf.h"

static int taste(const struct k_format_in *in, const void *head, size_t n)
{
	/* A magic number whose line ends a transfer changed is still recognised, to be refused by name. */
	return !in->dir && n >= 4 && memcmp(head, K_KMF_MAGIC, 4) == 0 ? 100 : 0;
}

static int open_kmf(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	return k_kmf_open(out, in->src, in->map, in->ctx->log, err);
}

const struct k_format k_format_kmf = { .name = "kmf", .about = "KMF container", .taste = taste, .open = open_kmf };

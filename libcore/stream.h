/* stream.h: checkpoint -> container in one forward pass, memory bounded by construction: the one loop of kconvert and kquant.
 *
 *   entry: block, block, ...   --read--> [bytes] --work: convert rows--> [bytes] --write--> sink, digest in passing
 *
 * The output's entries are known before any data is read (types and shapes); blocks are a few MiB; a bounded number is in flight. */
#ifndef K_STREAM_H
#define K_STREAM_H

#include "libcore/ckpt.h"
#include "libcore/kmf.h"

struct k_block_stats;   /* of one block, for the ledger */

struct k_stream {
	struct k_ckpt *in;
	struct k_entry *out;            /* one for each input entry, same order, name, shape; type may differ; in->n_entries */
	struct k_json *history;         /* input's rows and the new one; borrowed */
	const char *config; size_t config_len;  /* NULL: the input's */
	struct k_quant_opts quant;
	/* Called by the writer in order for each block of an entry whose type changed: values before and after (f32), for the ledger; and for
	 * each block of a stack that passes as it is: no rows, no values, its bytes as src and as dst. NULL: none. */
	int (*seen)(void *arg, int entry, int64_t slice, int64_t row, int64_t n_rows, const float *before, const float *after, const void *src_bytes, size_t src_n, const void *dst_bytes, size_t dst_n, struct k_err *err);
	/* Called when an entry is complete, with its digest. NULL: none. */
	int (*done)(void *arg, int entry, const uint8_t digest[32], struct k_err *err);
	void *arg;
	/* Asked before the end mark is written: K_ENO ends the stream without one (--fail-if). NULL: none. */
	int (*verdict)(void *arg, struct k_err *err);
};
/* Writes a container to sink (not committed here). Values are checked in passing (k_qtype.check of the source). */
int k_stream_run(const struct k_stream *s, struct k_sink *sink, const struct k_ctx *ctx, const char *what, struct k_err *err) K_MUST_USE;
/* Most memory that it will take, for --plan and --max-memory. */
uint64_t k_stream_memory(const struct k_stream *s, const struct k_ctx *ctx);

#endif

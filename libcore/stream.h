/* stream.h: checkpoint -> files in one forward pass, memory bounded by construction: the one loop of every converter.
 *
 *   entry: block, block, ...   --read--> src --work: unpack, make, digest--> dst --write: watchers, then the files-->
 *
 * What the output looks like is a target: which files, what stands in them before any weight is read (heads), how each entry is cut
 * into blocks, how a block becomes bytes, and where they go. A container, GGUF, safetensors and a Hugging Face folder are targets.
 * Everything else is done here once for all of them: bounded pipe, order, checks of values, ledgers and certificates (watchers),
 * resuming (journal.h), parts of one output, progress.
 *
 * The blocks of a stream are numbered; which blocks there are depends on the input's entries and the target alone, not on threads
 * or memory. */
#ifndef K_STREAM_H
#define K_STREAM_H

#include "libcore/ckpt.h"
#include "libcore/out.h"

enum { K_BLOCK = 2 << 20 };             /* bytes of source that a block should have */

/* Bytes that go to one place of one file. */
struct k_plane { uint8_t *p; size_t n; int file; uint64_t at; };

struct k_block {
	int64_t index;                  /* of the stream */
	int entry;
	uint64_t off;                   /* in the source's entry; n_src bytes, whole granules (elements) of one slice */
	int64_t slice;
	int64_t row, n_rows;            /* in the slice; 0 rows where the cut is K_CUT_BYTES */
	const uint8_t *src; size_t n_src;
	/* The source's values, and the output's in the same order; NULL where nobody wants them (after: only for watchers). */
	float *before, *after; int64_t n_values;
	struct k_plane dst[2];          /* dst[1].n == 0: one plane */
	bool ends_slice, ends_entry;
	const uint8_t *leaf;            /* K_CUT_BYTES: SHA-256 of src, which is one leaf; else NULL */
	const uint8_t *held; size_t n_held;     /* k_cut.held: all bytes of the entry before, as the source has them; else NULL */
};

enum k_cut_how {
	K_CUT_SKIP,                     /* not in the output: read past */
	K_CUT_HOLD,                     /* not in the output by itself: an entry of one slice, some rows, that the next one is made with */
	K_CUT_BYTES,                    /* a copy, leaf by leaf; dst[0] has as many bytes as src */
	K_CUT_ROWS,                     /* whole rows: multiples of step rows, and of the source's granule */
	K_CUT_SLICE,                    /* a slice (expert, matrix) at once: for transforms that need all of it */
};
struct k_cut {
	enum k_cut_how how;
	int64_t step;                   /* ROWS: a power of two */
	bool floats;                    /* make wants before (the source's values in f32) */
	bool held;                      /* make wants the bytes of the entry before, which is K_CUT_HOLD */
	bool flat;                      /* plain types: the rows of all slices are counted as those of one */
};

struct k_target {
	int n_files; const struct k_out_file *files;    /* in the order in which they are filled */
	/* How entry i is cut. Called once an entry, before anything is read. */
	void (*cut)(const struct k_target *t, int entry, struct k_cut *out);
	/* Fills file, at and n of b->dst from entry, slice, row, n_rows (or off, n_src). No data is there yet. */
	void (*place)(const struct k_target *t, struct k_block *b);
	/* Worker, several at once: fills the memory of b->dst (n bytes each, 64-byte aligned) from src and before. NULL, or K_CUT_BYTES:
	 * the bytes of src. A refusal names row and column; the caller adds file and tensor.
	 * K_ENO (values too large for their type): dst is complete all the same, so that what else there is can be said; the run goes on,
	 * shows it to the watchers, and its answer is no. */
	int (*make)(const struct k_target *t, struct k_block *b, struct k_err *err);
	/* Worker, only when a watcher wants values: fills b->after (n_values floats, in the order of before) from dst. NULL: exact, a copy
	 * of before. */
	void (*decode)(const struct k_target *t, struct k_block *b);
	/* Worker: dst is there, made now or read back from an interrupted run: for digests. May be NULL. */
	int (*note)(const struct k_target *t, const struct k_block *b, struct k_err *err);
	/* Writer, in order, after the watchers: the last word on dst, where its length was not known before. May be NULL. */
	int (*settle)(const struct k_target *t, struct k_block *b, struct k_err *err);
	int beside;                     /* times dst that the target itself holds of a block, for the forecast of memory */
	/* After the last block, in the writer: what could not be known before (trailer). May be NULL. */
	int (*end)(const struct k_target *t, struct k_out *out, struct k_err *err);
	/* What the certificate says of entry i. name: of the output's tensor that plane holds (0 or 1) of slice, into buf; NULL: the slice's own
	 * name, and one plane. must_hold: a type that is to hold every value exactly, so a loss is refused without --lossy; NULL: no entry.
	 * derived: the formula of values that are computed anew and cannot be compared; NULL: none. */
	void (*name)(const struct k_target *t, int entry, int64_t slice, int plane, char *buf, size_t n);
	bool (*must_hold)(const struct k_target *t, int entry);
	const char *(*derived)(const struct k_target *t, int entry);
	const struct k_quant_opts *quant;       /* how it quantises; NULL: it does not. For who checks the output */
	struct k_ckpt *base;            /* without which the output, a delta, cannot be read; NULL: it stands alone */
	void (*free)(struct k_target *t);
	void *arg;
};
static inline void k_target_free(struct k_target *t) { if (t) t->free(t); }

/* Sees every block in order, in the writer. */
struct k_watch {
	bool values;                    /* wants before and after where the cut has rows and the type has values */
	int (*block)(void *arg, const struct k_block *b, struct k_err *err);
	/* Asked before end: K_ENO (the answer is no) ends the run without a complete output. May be NULL. */
	int (*verdict)(void *arg, struct k_err *err);
	void *arg;
};

struct k_stream {
	struct k_ckpt *in;
	const struct k_target *target;
	struct k_watch watch[3]; int n_watch;
	int part, n_parts;              /* n_parts 0: the whole; else the blocks of part 1..n_parts, whatever each part's size */
	uint64_t held;                  /* bytes of memory that there are before it begins: the tables of input and target; 0: not known */
	const char *what;               /* "converting": the meter's word */
};

/* Reads, makes, writes; out is committed by the caller. Values are checked in passing (k_qtype.check of the source). */
int k_stream_run(const struct k_stream *s, struct k_out *out, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* Most memory that it will take, for --plan and --max-memory. */
uint64_t k_stream_memory(const struct k_stream *s, const struct k_ctx *ctx);
/* Of which are not the blocks: the program and the tables that were made, or what these take at least; and those that are still to be. */
uint64_t k_stream_rest(const struct k_stream *s);

#endif

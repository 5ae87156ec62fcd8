/* ckpt.h: a checkpoint as every tool sees it, whatever it was read from: entries in layer order, each with a role, a type and a
 * shape; side files; a history. A container (file, map or pipe) is one by nature; a folder, GGUF or archive becomes one through
 * import.h.
 *
 * Names are those of the Hugging Face checkpoint, so that a message names what the user has. The experts of a layer are one
 * entry whose name has '*' for the number: "model.layers.3.mlp.experts.*.gate_proj.weight", shape [experts, out, in].
 * The parts of a quantised tensor (weight_packed + weight_scale + weight_shape; weight + weight_scale_inv) are one entry,
 * "....weight". Side files other than config.json are entries too: role "file", type u8, name = file name; they come first. */
#ifndef K_CKPT_H
#define K_CKPT_H

#include "libcore/arena.h"
#include "libcore/ctx.h"
#include "libcore/files.h"
#include "libcore/hash.h"
#include "libcore/json.h"
#include "libcore/map.h"
#include "libcore/tensor.h"

struct k_entry {
	const char *name;
	const char *role;               /* experts shared router attn kda embed head dense norm file other */
	const char *source;             /* the tensor's name in a source with other names (GGUF); NULL: as name */
	const struct k_qtype *type;
	int ndim;
	int64_t shape[K_MAX_DIMS];
	uint64_t offset, bytes;         /* offset: from the start of the data section (containers) */
	int64_t zeros_from;             /* values from this one on are no part of the weight and must be 0 (k_weight's pad_zero); 0: all are */
	const char *form;               /* how the source spelt it where a writer must know: "ct.i64" (weight_shape I64), "ct.bf16", "ct.f16" (scales); NULL */
};

struct k_ckpt {
	const char *path;               /* as given by the user, for messages */
	const char *arch;               /* "kimi_linear"; NULL: not a model this build knows (single tensors, tokenizer only) */
	const char *config;             /* config.json verbatim, NUL-terminated; NULL when there is none */
	size_t config_len;
	int n_entries;
	struct k_entry *entries;
	struct k_json *history;         /* array of objects; never NULL */
	struct k_arena arena;           /* owns the strings and the entries */
	bool sequential;                /* a pipe: read() only in order, each byte once */
	const struct k_ckpt_ops *ops;
	void *impl;
	struct k_log *log;
	struct k_files *files;          /* of k_ckpt_files; NULL before */
	struct k_sha256 *hash;          /* of k_ckpt_take: what was read of the leaf that entry `taken` has at take_off */
	int taken;
	uint64_t take_off;
};

struct k_ckpt_ops {
	/* n bytes of entry i at off; off and n are whole granules (any bytes for plain types); may span slices. One thread at a time. */
	int (*read)(struct k_ckpt *, int i, uint64_t off, void *dst, size_t n, struct k_err *);
	/* read in two steps, for whole leaves: what one thread does, in order, and what any thread may do, in place. NULL: read, nothing. */
	int (*fetch)(struct k_ckpt *, int i, uint64_t off, void *dst, size_t n, struct k_err *);
	int (*unpack)(struct k_ckpt *, int i, uint64_t off, void *p, size_t n, struct k_err *);
	/* After the last byte of the last entry was read in order: trailer, digests, end mark (a pipe), padding (a file). NULL: nothing
	 * to check. */
	int (*finish)(struct k_ckpt *, struct k_err *);
	/* Leaf `leaf` of entry i was read and has this digest: is it the one that is known? Any thread, any order. A pipe, which has its
	 * digests at its end, takes note, and finish compares. NULL: the checkpoint has no digests. */
	int (*leaf)(struct k_ckpt *, int i, uint64_t leaf, const uint8_t digest[32], struct k_err *);
	/* Adds what tells this input from another one of the same heads: a container's identity, or k_source_stamp of the files and,
	 * where these may be copies (not here), samples of each entry. NULL: nothing does. */
	int (*stamp)(struct k_ckpt *, bool here, struct k_sha256 *h, struct k_err *);
	/* Base of entry i in memory, NULL when it is not mapped. */
	const void *(*map)(struct k_ckpt *, int i);
	void (*close)(struct k_ckpt *);
};

/* Only reads. */
int k_ckpt_read(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err) K_MUST_USE;
/* The same in two steps, for whole leaves: fetch in order by one thread, then unpack in place by any. */
int k_ckpt_fetch(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err) K_MUST_USE;
int k_ckpt_unpack(struct k_ckpt *c, int i, uint64_t off, void *p, size_t n, struct k_err *err) K_MUST_USE;
/* Compares bytes [off, off + n) of entry i, which are whole leaves, with the digests: for many threads. K_ECHECK names tensor, expert
 * and rows. */
int k_ckpt_seen(struct k_ckpt *c, int i, uint64_t off, const void *p, size_t n, struct k_err *err) K_MUST_USE;
/* The same where the digest of the leaf that begins at off is known. */
int k_ckpt_leaf(struct k_ckpt *c, int i, uint64_t off, const uint8_t digest[32], struct k_err *err) K_MUST_USE;
/* Reads, and compares each leaf that was read in order with its digest: for one thread and any cuts. */
int k_ckpt_take(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err) K_MUST_USE;
int k_ckpt_finish(struct k_ckpt *c, struct k_err *err) K_MUST_USE;
const void *k_ckpt_map(struct k_ckpt *c, int i);
void k_ckpt_close(struct k_ckpt *c);                    /* takes NULL; frees c */
int k_ckpt_find(const struct k_ckpt *c, const char *name);      /* index or -1 */
/* For who looks for many of them: m, which is initialised, takes name -> struct k_entry *; then k_ckpt_named is k_ckpt_find. */
int k_ckpt_names(const struct k_ckpt *c, struct k_map *m, struct k_err *err) K_MUST_USE;
int k_ckpt_named(const struct k_ckpt *c, const struct k_map *m, const char *name);
/* The side files in memory (config.json too). Of a sequential checkpoint: only before the first weight is read; the file entries
 * are consumed by it. Opened once and kept; borrowed. */
int k_ckpt_files(struct k_ckpt *c, const struct k_files **out, struct k_err *err) K_MUST_USE;
/* Rows of an entry, in steps that fit in memory: the largest number of bytes <= target that is whole granules (>= 1 granule),
 * plain types: whole elements. Blocks never span slices. */
size_t k_entry_block(const struct k_entry *e, size_t target);
uint64_t k_entry_slice_bytes(const struct k_entry *e);
/* Leaves: the pieces of an entry that a container has digests of (kmf.5, LEAVES): whole granules, or pieces of one long row. Every
 * block of a stream is whole leaves. An entry without bytes has none. */
enum { K_LEAF = 2 << 20 };
struct k_leaves { uint64_t span, leaf, per_span, n; };         /* bytes of a span and of a leaf; leaves of a span, of the entry */
void k_entry_leaves(const struct k_entry *e, struct k_leaves *out);
/* Leaf i is bytes [*off, *off + n) of the entry; returns n. */
uint64_t k_leaf_at(const struct k_leaves *l, uint64_t i, uint64_t *off);
/* The leaf that byte off lies in. */
uint64_t k_leaf_of(const struct k_leaves *l, uint64_t off);
int64_t k_entry_slices(const struct k_entry *e);
static inline int64_t k_entry_rows(const struct k_entry *e) { return k_shape_rows(e->ndim, e->shape); }
static inline int64_t k_entry_cols(const struct k_entry *e) { return k_shape_cols(e->ndim, e->shape); }
/* Are all values of bytes [off, off + n) of entry i numbers? The bytes are whole granules (elements) of one slice. K_EFORMAT names
 * tensor, row and column. libcore/ckpt_values.c. */
int k_ckpt_check_block(const struct k_ckpt *c, int i, uint64_t off, const void *p, size_t n, struct k_err *err) K_MUST_USE;
/* Fills type-dependent bytes from type and shape; K_ESHAPE on overflow or where the type refuses the shape. */
int k_entry_size(struct k_entry *e, struct k_err *err) K_MUST_USE;
/* "...experts.*.w1.weight" and 7 -> "...experts.7.w1.weight"; without '*' the name. */
const char *k_entry_slice_name(const struct k_entry *e, int64_t slice, char *buf, size_t n);

#endif

/* format.h: other people's files <-> checkpoints. Each format is a file of this folder with a `const struct k_format
 * k_format_<stem>` and registers by existing. What an input is, is found by tasting its first bytes (for a folder: what lies in
 * it), never by its name. */
#ifndef K_FORMAT_H
#define K_FORMAT_H

#include "libcore/ckpt.h"
#include "libcore/io.h"
#include "libcore/raw.h"

/* A folder, real or inside an archive: names -> sources. */
struct k_dir {
	const char *path;               /* for messages */
	int n; char **names;            /* sorted; regular files of the top level (links followed) */
	int (*open)(struct k_dir *, const char *name, struct k_source **out, struct k_err *err);        /* absent: K_ENOENT */
	void (*close)(struct k_dir *);
	void *impl;
};
bool k_dir_has(const struct k_dir *d, const char *name);
int k_dir_open(struct k_dir **out, const char *path, struct k_err *err) K_MUST_USE;     /* a real folder */
void k_dir_close(struct k_dir *d);

struct k_format_in {                    /* what is tasted and opened: one of the two is set */
	const char *path;
	struct k_source *src;           /* taken by open (also on failure) */
	struct k_dir *dir;              /* taken by open (also on failure) */
	struct k_dir *beside;           /* where the other parts of src lie; borrowed by open. NULL: beside path */
	const struct k_ctx *ctx;        /* log, max_memory, spool, stop */
	bool map;                       /* the caller wants k_ckpt_map to work (a container file) */
};

struct k_target;

struct k_write_opts {
	uint64_t shard_size;            /* 0: the format's default */
	bool dequant;                   /* INT4, FP8, MXFP4 and GGUF's block types become dtype, or bf16 */
	const char *dtype;              /* of plain floats: NULL keep, "bf16", "f16", "f32" */
};

struct k_format {
	const char *name, *about;
	/* 0: not mine; higher is more certain. head: the first n (<= 4096) bytes of a source; dir NULL or the folder. */
	int (*taste)(const struct k_format_in *in, const void *head, size_t n);
	int (*open)(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err);
	/* `--to NAME`: what a stream makes of c. path: where the output will be, from which the files of a split one have their names (NULL:
	 * standard output). c stays open until the target is freed. NULL: read only. folder: the output is one. */
	int (*target)(struct k_target **out, struct k_ckpt *c, const char *path, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err);
	bool folder;
};

/* Any model operand of cli.md: a path, "-" (standard input). Opened formats: containers; folders; safetensors; GGUF; archives of these
 * (plain, gzip, zstd, xz); a tokenizer file alone (tiktoken.model or tokenizer.json by content: a checkpoint without weights).
 * Git LFS pointers, HTML pages, pickles, zips are refused with a sentence that says what they are. */
int k_format_open(struct k_ckpt **out, const char *path, bool map, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
const struct k_format *k_format_find(const char *name);
const struct k_format *k_format_at(int i);
/* "libarchive 3.6.2" */
const char *k_archive_library(void);

#endif

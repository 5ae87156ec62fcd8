/* sign.h: between the actions that sign, check and list: the files of a model, one pass over their bytes, and where a byte lies. */
#ifndef K_KLS_SIGN_H
#define K_KLS_SIGN_H

#include "libcore/arena.h"
#include "libcore/ctx.h"
#include "libcore/io.h"
#include "libcore/oms.h"

/* --- tree.c: the files of a model ---------------------------------------------------------------------------------------- */

struct k_tree_file { const char *name, *path; uint64_t bytes; };
struct k_tree {
	struct k_arena arena;
	const char *subject;            /* base name */
	bool folder, links;             /* links: something was reached through a symbolic link */
	bool split;                     /* a GGUF of several files, which the first one leads to */
	struct k_tree_file *v; int n, cap;      /* sorted by name; a model that is one file has the name "." */
	const char **ignore; int n_ignore;      /* left out, with all below them */
};
/* Every regular file of the folder, all parts of a split GGUF, or the one file. Left out of a folder: what git keeps at its top, the n
 * paths of `ignore`, the files `own` (NULL-terminated; the signature, wherever it lies), and standard output where that is one of them.
 * Links to files are followed; a link to a folder, and what is no file: K_EUNSUP. A part that is missing, or none: an error, with split set. */
int k_tree_read(struct k_tree *t, const char *path, const char *const *ignore, int n, const char *const *own, struct k_err *err) K_MUST_USE;
void k_tree_fini(struct k_tree *t);

/* --- pass.c: digests of files and shards, in one ordered pass -------------------------------------------------------------- */

enum { K_PASS_SHARD_MAX = 64 << 20 };   /* longer shards are hashed by one thread, and cannot be copied */

struct k_pass_file { const char *path; uint64_t shard_size; bool whole; };
struct k_pass {
	const struct k_pass_file *files; int n;
	uint64_t total;                 /* bytes, for the meter; 0: unknown */
	struct k_sink *copy;            /* gets each block once its shards were accepted; NULL: none */
	/* Called in order. wanted NULL: all shards are read, as those of a file must be that has a digest of the whole. shard: of files that
	 * are cut. */
	bool (*wanted)(void *arg, int file, int64_t shard);
	int (*shard)(void *arg, int file, int64_t i, uint64_t off, size_t n, const uint8_t digest[32], struct k_err *err);
	int (*end)(void *arg, int file, uint64_t bytes, const uint8_t digest[32], struct k_err *err);
	void *arg;
	uint64_t n_read;                /* result */
};
/* what: "signing", for the meter. Memory: a few blocks of a shard each. */
int k_pass_run(struct k_pass *p, const struct k_ctx *ctx, const char *what, struct k_err *err) K_MUST_USE;

/* --- sign.c -------------------------------------------------------------------------------------------------------------- */

int k_kls_key(struct k_key **key, const char *path, bool private, struct k_err *err) K_MUST_USE;
/* Is it a container whose entries lie where their offsets say? */
int k_kls_plain_container(struct k_source *src, bool *is, struct k_err *err) K_MUST_USE;
int k_kls_bundle(struct k_oms **o, const char *path, const struct k_key *key, struct k_err *err) K_MUST_USE;

/* --- where.c ---------------------------------------------------------------------------------------------------------------- */

/* Sets K_ENO: the bytes [from, to) of a file are not what was signed, in which tensor, expert and row, from which byte on. path NULL: a
 * stream, of which nothing can be read again. */
int k_where(const struct k_oms *o, const char *path, const char *show, uint64_t from, uint64_t to, struct k_ctx *ctx, struct k_err *err);

#endif

/* gguf_parts.h: a GGUF in several files, NAME-00001-of-00003.gguf and so on. Part 1 says how many there are, its name where the others lie. */
#ifndef K_GGUF_PARTS_H
#define K_GGUF_PARTS_H

#include "libcore/arena.h"
#include "libcore/err.h"

struct k_gguf;

struct k_gguf_parts { int64_t no, count, tensors; };    /* no: from 0; count: 1 for one file; tensors: of all parts, -1 unknown */
int k_gguf_parts_read(const struct k_gguf *g, struct k_gguf_parts *out, struct k_err *err) K_MUST_USE;
/* K_EUNSUP: that is not part 1. */
int k_gguf_parts_first(const struct k_gguf_parts *parts, const char *path, struct k_err *err) K_MUST_USE;
/* The path of part `no` (from 1), from that of part 1. */
int k_gguf_part_path(const char *first, int64_t no, int64_t count, struct k_arena *arena, const char **out, struct k_err *err) K_MUST_USE;
/* K_ENOENT: there is no such part. */
int k_gguf_part_missing(const char *path, int64_t no, int64_t count, struct k_err *err);
/* Is it a name that part 1 of several has? *stem: bytes before "-00001-of-". */
bool k_gguf_part_named(const char *name, size_t *stem);

/* The files of the model whose first file is `path`; *n 0: it is one file. Of the head only keys are read, so tensors may be of any type.
 * A head that cannot be read is an error where the name is that of a part, since then the other files are not known; else *n is 0. *split is
 * set where there are several files, also on failure. A part that is not there: K_ENOENT. */
int k_gguf_part_list(const char *path, struct k_arena *arena, const char ***paths, int *n, bool *split, struct k_err *err) K_MUST_USE;

#endif

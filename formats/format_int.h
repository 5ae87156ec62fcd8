/* format_int.h: what the readers share: opening what lies inside something else, and sentences for what is no model at all.
 * Nobody outside formats/ includes it. */
#ifndef K_FORMAT_INT_H
#define K_FORMAT_INT_H

#include "formats/format.h"

enum { K_FORMAT_HEAD = 4096 };          /* most bytes that are tasted */

/* in->dir is a folder of any kind: a Hugging Face folder, or one that holds a single model file. Takes it. */
int k_format_open_dir(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err) K_MUST_USE;
/* in->src by its first bytes. Takes it. inside: it lies in an archive, so it must not be one. */
int k_format_open_source(struct k_ckpt **out, const struct k_format_in *in, bool inside, struct k_err *err) K_MUST_USE;
/* What people have in place of a model: 0, or an error that says what these first bytes are. */
int k_format_refuse(const char *name, const void *head, size_t n, struct k_err *err) K_MUST_USE;
/* A set for k_import that keeps its own path; NULL: err says why. */
struct k_rawset *k_format_new_set(const char *path, struct k_err *err) K_MUST_USE;
void k_format_free_set(struct k_rawset *set);           /* takes NULL */
/* A file of a folder in memory, at most max bytes, NUL-terminated. b is made here, and empty on failure. */
int k_dir_read(struct k_dir *d, const char *name, size_t max, struct k_buf *b, struct k_err *err) K_MUST_USE;

#endif

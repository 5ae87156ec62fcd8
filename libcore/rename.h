/* rename.h: other names for the tensors of a checkpoint, before the architecture looks for them: rules of the user's, and the text
 * model of a multimodal one. */
#ifndef K_RENAME_H
#define K_RENAME_H

#include "libcore/raw.h"

struct k_log;
struct k_renames;

/* A rule a line: FROM TO, blanks between; what the pattern FROM (PCRE2) finds first in a name becomes TO (nothing, where there is none).
 * Rules follow each other. Empty lines and lines that begin with # are left out. K_EFORMAT names the line. */
int k_renames_read(struct k_renames **out, const char *path, struct k_err *err) K_MUST_USE;
void k_renames_free(struct k_renames *r);               /* takes NULL */

/* Before k_import. renames may be NULL. text_only: where the config has a text_config, that becomes the config (with quantization_config
 * and the ids of bos, eos, pad, if they stood outside), tensors of "language_model." lose this prefix, and all others go; without one only vision towers and
 * projectors go. This is the checkpoint that engines load as the text model. One that has been made so, but for its config, is always taken for it. */
int k_rename(struct k_rawset *set, const struct k_renames *renames, bool text_only, struct k_log *log, struct k_err *err) K_MUST_USE;

#endif

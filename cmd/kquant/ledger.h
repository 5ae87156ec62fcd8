/* ledger.h: what quantising did to each tensor and each expert: errors, worst group, digests; how an expert stands among those of its
 * layer; and --fail-if on these figures (figures.h).
 *
 * One JSON line a slice (an expert), one a tensor that is no stack of experts. Sums run in double in the order of the data, so the
 * ledger does not depend on threads. */
#ifndef K_LEDGER_H
#define K_LEDGER_H

#include "libcore/opt.h"
#include "libcore/stream.h"

struct k_ledger;

struct k_ledger_spec {
	const char *path;               /* NULL: no file, --fail-if or --from-qat only */
	const struct k_strs *bars;      /* "rel_rms>0.12", "experts.rel_rms>0.1" (a role before the field): the line where one HOLDS fails */
	const struct k_ckpt *in;
	const struct k_entry *out;      /* the entries that are written, parallel to in's; borrowed */
	struct k_quant_opts quant;      /* how values are quantised */
};
/* Unknown field or role, or a figure that no tensor of this run has: K_EUSAGE. */
int k_ledger_open(struct k_ledger **l, const struct k_ledger_spec *spec, struct k_err *err) K_MUST_USE;
/* Sees the blocks; its verdict is K_ENO with tensor, field, value and bar. */
struct k_watch k_ledger_watch(struct k_ledger *l);
int k_ledger_commit(struct k_ledger *l, struct k_err *err) K_MUST_USE;  /* also when the verdict is no */
/* With K_SCALE_QAT: of how many values that were quantised the new type has others. */
void k_ledger_say(const struct k_ledger *l, struct k_log *log);
void k_ledger_free(struct k_ledger *l);                 /* takes NULL */

#endif

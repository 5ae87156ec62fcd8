/* kmf_pack.h: a checkpoint as a packed container or as a delta (kmf.5, PACKED CONTAINERS): a target as kmf_target.h is, with blocks in
 * the place of the data. */
#ifndef K_KMF_PACK_H
#define K_KMF_PACK_H

#include "libcore/kmf_target.h"

/* base: a container, or NULL: leaves that it has are not written (K_EUSAGE where its digests are not known before its end: a pipe).
 * Pointers are borrowed until free. One file without a name, which grows: no parts, no journal. */
int k_kmf_pack_target_new(struct k_target **out, const struct k_kmf_spec *spec, struct k_ckpt *base, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

#endif

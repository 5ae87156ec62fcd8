/* transport.h: kconvert for moving models: --pack, --since BASE, and the operands BASE DELTA. */
#ifndef K_KCONVERT_TRANSPORT_H
#define K_KCONVERT_TRANSPORT_H

#include "libcore/kmf_target.h"

struct k_transport {
	bool pack;
	const char *since;              /* path of the base, NULL */
	struct k_ckpt *base;            /* of --since, or of a delta that is read: open until k_transport_close */
};
/* Can it be, with the other options? K_EUSAGE. to: the output format; places: --resume or --part. */
int k_transport_check(const struct k_transport *t, const char *to, bool places, struct k_err *err) K_MUST_USE;
/* Opens the input: a model, or a base and a delta; and the base of --since. K_ECHECK when the base is another one. */
int k_transport_open(struct k_transport *t, struct k_ckpt **in, int n_operands, char **operands, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* The target that the options ask for: a container as it is, packed, or a delta. */
int k_transport_target(const struct k_transport *t, struct k_target **out, const struct k_kmf_spec *spec, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* After the input was closed. */
void k_transport_close(struct k_transport *t);

#endif

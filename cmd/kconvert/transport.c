/* transport.c: see transport.h. What packed containers and deltas are is the business of libcore/kmf_pack*.c. */
#include "libcore/base.h"
#include "cmd/cli.h"
#include "cmd/kconvert/transport.h"
#include "formats/format.h"
#include "libcore/kmf.h"
#include "libcore/kmf_pack.h"

int k_transport_check(const struct k_transport *t, const char *to, bool places, struct k_err *err)
{
	const char *name = t->since ? "--since" : "--pack";

	if (!t->pack && !t->since)
		return 0;
	if (strcmp(to, "kmf") != 0)
		return k_err_set(err, K_EUSAGE, "%s writes a container, not %s", name, to);
	if (places)
		return k_err_set(err, K_EUSAGE, "%s excludes --resume and --part: where packed bytes go is not known before they are there", name);
	return 0;
}

static int open_delta(struct k_transport *t, struct k_ckpt **in, char **operands, const struct k_ctx *ctx, struct k_err *err)
{
	int r = k_format_open(&t->base, operands[0], false, ctx, err);

	if (r == 0)
		r = k_format_open(in, operands[1], false, ctx, err);
	return r < 0 ? r : k_kmf_set_base(*in, t->base, err);
}

static int open_model(struct k_transport *t, struct k_ckpt **in, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	int r = k_format_open(in, path, false, ctx, err);

	if (r == 0 && k_kmf_is_delta(*in))
		return k_err_set(err, K_EUSAGE, "'%s' is a delta: kconvert BASE '%s' -o FULL restores what it was made from", path, path);
	return r == 0 && t->since ? k_format_open(&t->base, t->since, false, ctx, err) : r;
}

int k_transport_open(struct k_transport *t, struct k_ckpt **in, int n_operands, char **operands, const struct k_ctx *ctx, struct k_err *err)
{
	const char *path;

	if (n_operands == 2 && t->since)
		return k_err_set(err, K_EUSAGE, "--since wants one model, got a base and a delta: restore it first");
	if (n_operands == 2)
		return open_delta(t, in, operands, ctx, err);
	if (k_cli_model(n_operands, operands, &path, err) < 0)
		return err->code;
	return open_model(t, in, path, ctx, err);
}

int k_transport_target(const struct k_transport *t, struct k_target **out, const struct k_kmf_spec *spec, const struct k_ctx *ctx, struct k_err *err)
{
	if (!t->pack && !t->since)
		return k_kmf_target_new(out, spec, ctx, err);
	return k_kmf_pack_target_new(out, spec, t->since ? t->base : NULL, ctx, err);
}

void k_transport_close(struct k_transport *t)
{
	k_ckpt_close(t->base);
	t->base = NULL;
}

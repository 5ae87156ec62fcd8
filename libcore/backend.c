/* backend.c: the list of devices that were compiled in. A spec is the backend's name, perhaps with ":" and a number; the backend
 * that gives it the highest score opens it; "auto" is the CPU's where nobody else wants it. */
#include "libcore/base.h"
#include "libcore/backend.h"

#define X(name) extern const struct k_backend k_backend_##name;
#include "backends.list"
#undef X

const char *const k_kv_names[] = { "f32", "bf16", "int8" };

static const struct k_backend *const backends[] = {
#define X(name) &k_backend_##name,
#include "backends.list"
#undef X
	NULL
};

const struct k_backend *k_backend_at(int i)
{
	return i >= 0 && (size_t)i < K_LEN(backends) ? backends[i] : NULL;
}

static const struct k_backend *best_for(const char *spec)
{
	const struct k_backend *best = NULL;
	int top = 0;
	for (int i = 0; backends[i]; i++) {
		int score = backends[i]->score(spec);
		if (score > top) {
			top = score;
			best = backends[i];
		}
	}
	return best;
}

bool k_device_known(const char *spec) { return strcmp(spec, "auto") == 0 || best_for(spec); }

int k_device_open(struct k_device **out, const struct k_ctx *ctx, const char *spec, struct k_err *err)
{
	if (!spec)
		spec = "cpu";
	const struct k_backend *best = best_for(spec);
	if (!best && strcmp(spec, "auto") == 0)
		best = best_for("cpu");
	*out = NULL;
	if (!best)
		return k_err_set(err, K_EDEVICE, "there is no device '%s' here; --device=? lists what there is", spec);
	return best->open(out, ctx, spec, err);
}

void k_device_close(struct k_device *d)
{
	if (d)
		d->close(d);
}

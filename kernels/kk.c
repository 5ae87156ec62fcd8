/* kk.c: the levels that were compiled in, and the table made of those that this CPU can run. */
#include "libcore/base.h"
#include "kernels/kk.h"
#include "libcore/cpu.h"

#define X(name) extern const struct kk_level kk_level_##name;
#include "levels.list"
#undef X

static const struct { const struct kk_level *level; const char *needs, *best; } levels[] = {
#define XL(name, needs, best) { &kk_level_##name, needs, best },
#include "levels.list"
#undef XL
};

const struct kk_level *kk_level_at(int i) { return i >= 0 && (size_t)i < K_LEN(levels) ? levels[i].level : NULL; }

const char *kk_level_needs(int i) { return levels[i].needs; }

bool kk_level_usable(int i) { return !*levels[i].needs || k_cpu_has(levels[i].needs); }

void kk_overlay(struct kk *out, const struct kk_level *level)
{
#define KK(name, ret, args, tolerance) if (level->fn.name) out->name = level->fn.name;
#include "kernels/kk.def"
#undef KK
}

/* The usable level of the lowest rank above `above`, up to `top`; -1: none. Who did not ask for one gets none that is slower here than what lies below. */
static int next_level(int above, int top, int asked)
{
	int best = -1;
	for (int i = 0; kk_level_at(i); i++) {
		int rank = levels[i].level->rank;
		if (rank > above && rank <= top && kk_level_usable(i) && (i == asked || k_cpu_has(levels[i].best)) &&
			(best < 0 || rank < levels[best].level->rank))
			best = i;
	}
	return best;
}

static int lacks(int i, struct k_err *err)
{
	char why[160] = "";
	(void)k_cpu_lacks(levels[i].needs, why, sizeof(why));
	return k_err_set(err, K_EUSAGE, "kernel level '%s' needs a CPU with %s: %s", levels[i].level->name, levels[i].needs, why);
}

int kk_select(struct kk *out, const char **name, const char *max_level, struct k_err *err)
{
	int top = INT32_MAX, found = -1;
	for (int i = 0; max_level && kk_level_at(i); i++)
		if (strcmp(levels[i].level->name, max_level) == 0)
			found = i;
	if (max_level && found < 0)
		return k_err_set(err, K_EUSAGE, "there is no kernel level '%s' here", max_level);
	if (found >= 0 && !kk_level_usable(found))
		return lacks(found, err);
	if (found >= 0)
		top = K_MAX(levels[found].level->rank, 0);
	memset(out, 0, sizeof(*out));
	for (int rank = -1, i; (i = next_level(rank, top, found)) >= 0; rank = levels[i].level->rank) {
		kk_overlay(out, levels[i].level);
		*name = levels[i].level->name;
	}
	if (found >= 0 && levels[found].level->rank < 0) {
		kk_overlay(out, levels[found].level);
		*name = levels[found].level->name;
	}
	K_ASSERT(out->gemm_f32);
	return 0;
}

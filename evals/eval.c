/* eval.c: the list of tasks that were compiled in. */
#include "libcore/base.h"
#include "evals/eval.h"

#define X(name) extern const struct k_eval k_eval_##name;
#include "evals.list"
#undef X

static const struct k_eval *const evals[] = {
#define X(name) &k_eval_##name,
#include "evals.list"
#undef X
	NULL
};

const struct k_eval *k_eval_at(int i)
{
	return i >= 0 && (size_t)i < K_LEN(evals) ? evals[i] : NULL;
}

const struct k_eval *k_eval_find(const char *name)
{
	for (int i = 0; evals[i]; i++)
		if (!strcmp(evals[i]->name, name))
			return evals[i];
	return NULL;
}

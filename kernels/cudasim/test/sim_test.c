/* sim_test.c: the simulator finds each planted mistake and says what it is; where there is none it computes. */
#include "libcore/base.h"
#include <stdio.h>
#include "kernels/cudasim/sim_run.h"
#include "kernels/cudasim/test/defects.h"
#include "libcore/test.h"

#define DEFECT(name, says) void k_sim_##name(const void *args);
#include "kernels/cudasim/test/defects.def"
#undef DEFECT

static const struct { const char *name; void (*kernel)(const void *args); const char *says; } defects[] = {
#define DEFECT(name, says) { #name, k_sim_##name, says },
#include "kernels/cudasim/test/defects.def"
#undef DEFECT
};

enum { N = DEFECT_THREADS * DEFECT_BLOCKS };

/* Runs it; what the simulator says is copied to `said`, "" for nothing. */
static void run(int i, float y[N], char said[320])
{
	struct k_sim *s = k_sim_new(false);
	float x[N], host[N] = { 0 };
	for (int k = 0; k < N; k++)
		x[k] = (float)k;
	K_CHECK(s);
	struct defect a = { k_sim_alloc(s, sizeof(x)), k_sim_alloc(s, sizeof(x)), host, N };
	k_sim_copy(s, (void *)(uintptr_t)a.x, x, sizeof(x), true);
	/* The first of them is right, and writes y: the launch before. */
	for (int k = 0; k <= i; k += K_MAX(i, 1))
		k_sim_run(s, &(struct k_sim_launch){ defects[k].name, defects[k].kernel, { DEFECT_BLOCKS, 1, 1 }, DEFECT_THREADS, &a, sizeof(a), 0 });
	const char *fault = k_sim_fault(s);
	snprintf(said, 320, "%s", fault ? fault : "");
	k_sim_copy(s, y, a.y, sizeof(x), false);
	k_sim_free(s);
}

K_TEST(sim_finds_each_defect)
{
	for (size_t i = 0; i < K_LEN(defects); i++) {
		float y[N];
		char said[320];
		run((int)i, y, said);
		if (*defects[i].says ? !strstr(said, defects[i].says) : *said)
			fprintf(stderr, "%s: %s\n", defects[i].name, said);
		K_CHECK(*defects[i].says ? strstr(said, defects[i].says) != NULL : !*said);
		/* It names the kernel. */
		K_CHECK(!*said || strstr(said, defects[i].name));
	}
}

K_TEST(sim_computes_what_is_right)
{
	float y[N];
	char said[320];
	run(0, y, said);
	for (int i = 0; i < N; i++)
		K_CHECK(y[i] == (float)(i / DEFECT_THREADS * DEFECT_THREADS + DEFECT_THREADS - 1 - i % DEFECT_THREADS));
}

/* Nothing runs after a fault, and memory that was given back is no longer there. */
K_TEST(sim_copies_are_checked)
{
	struct k_sim *s = k_sim_new(false);
	char *p = k_sim_alloc(s, 16), host[32] = { 0 };
	k_sim_copy(s, p + 8, host, 8, true);
	K_CHECK(!k_sim_fault(s));
	k_sim_copy(s, p + 8, host, 9, true);
	K_CHECK(k_sim_fault(s));
	k_sim_free(s);
}

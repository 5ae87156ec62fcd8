/* routing_test.c: margins of router choices, worked out by hand. */
#include "libcore/base.h"
#include <math.h>
#include "evals/routing.h"
#include "libcore/test.h"

static bool near(double a, double b) { return fabs(a - b) < 1e-6; }

K_TEST(routing_margin)
{
	/* 0.5 is the last in, 0.4 the first out: both may move by 0.05. */
	static const float s[] = { 0.9f, 0.4f, 0.5f, 0.1f };
	static const int32_t in[] = { 0, 2 }, other[] = { 0, 1 };
	K_CHECK(near(k_routing_margin(s, 4, in, 2, 1, 1), 0.05));
	/* Not the choice of these scores. */
	K_CHECK(k_routing_margin(s, 4, other, 2, 1, 1) == 0);
}

K_TEST(routing_margin_of_groups)
{
	/* Groups of two are worth 1.0, 1.4, 1.2; the best two are kept: 1.2 against 1.0, four scores move, 0.2 / 4. Within them 0.7 is in
	 * and 0.6 is out: 0.1 / 2. */
	static const float even[] = { 0.6f, 0.4f, 0.8f, 0.6f, 0.7f, 0.5f };
	static const int32_t in[] = { 2, 4 };
	K_CHECK(near(k_routing_margin(even, 6, in, 2, 3, 2), 0.05));
	/* 1.1 against 1.2 now. */
	static const float close[] = { 0.6f, 0.5f, 0.8f, 0.6f, 0.7f, 0.5f };
	K_CHECK(near(k_routing_margin(close, 6, in, 2, 3, 2), 0.025));
	/* A score of 0.95 in a group that is dropped chooses nothing. */
	static const float alone[] = { 0.95f, 0.0f, 0.8f, 0.6f, 0.7f, 0.5f };
	K_CHECK(near(k_routing_margin(alone, 6, in, 2, 3, 2), 0.05));
}

K_TEST(routing_scores)
{
	struct k_hp hp = { .n_expert = 3 };
	static const float logits[] = { 0, 1, -1 }, bias[] = { 0.5f, 0, 0 };
	float s[3];
	k_routing_scores(&hp, logits, bias, s);
	K_CHECK(near(s[0], 1.0) && near(s[1], 0.7310586) && near(s[2], 0.2689414));
	hp.router_softmax = true;
	k_routing_scores(&hp, logits, NULL, s);
	K_CHECK(near(s[0], 0.2447285) && near(s[1], 0.6652410) && near(s[2], 0.0900306));
}

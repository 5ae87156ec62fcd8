/* settings.h: what a request asks of an answer's length, its end and its sampling, as kserve reads it (serving-api.md, 1.1 and 1.2): null is absent,
 * 16.0 is an integer, what a server answers with 400 is refused. What only a server can do is refused too, and not passed over. */
#ifndef K_SETTINGS_H
#define K_SETTINGS_H

#include "libcore/json.h"
#include "libcore/sample.h"

enum { K_SETTINGS_STOPS = 64 };

struct k_settings {
	int64_t limit;                  /* tokens; 0: the request does not say */
	struct k_sampler sampler;       /* greedy where it does not say */
	const char *stops[K_SETTINGS_STOPS];    /* borrowed from the request */
	int n_stops;
};

/* chat: else the request has a prompt. seed: where it has none. K_EFORMAT, K_EUNSUP. */
int k_settings_read(struct k_settings *s, const struct k_json *request, bool chat, int64_t seed, struct k_err *err) K_MUST_USE;
/* Does reasoning_effort (or thinking.effort) turn thoughts off? */
bool k_settings_thoughtless(const struct k_json *request);

#endif

/* routing.h: how near a router's choice was to another one, computed apart from the engine.
 *
 *   logits --sigmoid or softmax--> + bias = scores --the best of the best groups--> experts
 *
 * A choice holds as long as no score moves by as much as its margin. */
#ifndef K_ROUTING_H
#define K_ROUTING_H

#include "libcore/arch.h"

/* scores[n_expert] of one row; bias may be NULL. */
void k_routing_scores(const struct k_hp *hp, const float *logits, const float *bias, float *scores);
/* Of experts[used], chosen by scores[n] out of the `kept` best of `groups` equal groups (1 of 1: no groups). Every score may move by
 * less than this, and the choice is the same; 0 where the scores are not those of the choice. */
double k_routing_margin(const float *scores, int64_t n, const int32_t *experts, int64_t used, int64_t groups, int64_t kept);

#endif

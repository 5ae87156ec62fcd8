/* rope.h: tables of rotary embedding. A pair j of channels turns by pos * inv[j]; scalings change inv (and, for YaRN, the length
 * of the rotated vector and the temperature of the softmax). Angles are computed in double; the table holds f32. */
#ifndef K_ROPE_H
#define K_ROPE_H

#include "libcore/arch.h"

/* Turns a position, for each of the dim / 2 pairs. */
void k_rope_inv(const struct k_rope_hp *r, double *inv);
/* What cos and sin are multiplied by (1 except for YaRN). */
double k_rope_gain(const struct k_rope_hp *r);
/* What the softmax scale of MLA is multiplied by (1 except for YaRN with mscale_all_dim). */
double k_rope_softmax(const struct k_rope_hp *r);
/* table[pos - from][j] = (cos, sin) for positions [from, to). */
void k_rope_fill(const struct k_rope_hp *r, const double *inv, int64_t from, int64_t to, float *table);

#endif

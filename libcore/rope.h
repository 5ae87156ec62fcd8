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

/* Llama 3's scaling as GGUF has it: what inv[j] is divided by, 1 to factor. For files: the same bits on every machine. */
void k_rope_factors(const struct k_rope_hp *r, float *out);
/* Back: where r is plain, Llama 3.1's scaling is tried and set in *r if it gives these factors (all 1: r stays); where r is Llama 3's, it
 * must give them. Anything else is refused. */
int k_rope_set_factors(struct k_rope_hp *r, const float *factors, int64_t n, struct k_err *err) K_MUST_USE;

#endif

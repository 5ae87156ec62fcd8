/* kda_state.h: what a layer of Kimi delta attention keeps of a sequence where the device defers updates (k_device.kda_deferred).
 *
 * A matrix S of a head is what it was after the last whole chunk of K_KDA_CHUNK tokens, counted from position 0; the tokens since then are
 * pending beside it. S is as of now once they are applied:   S[i][v] decay[i] + sum_j key_j[i] e_j[v]
 *
 *   state   count of pending tokens, then zeros: K_KDA_HEADER floats
 *   head    decay [d'] since the chunk began, a key channel at a time; keys [K_KDA_CHUNK][d'], each decayed up to now
 *   strip   K_KDA_STRIP value channels of it: S [d][K_KDA_STRIP], e [K_KDA_CHUNK][K_KDA_STRIP]
 *
 * d' is d with zeros up to a multiple of K_KDA_LANES; the last strip may have lanes that stand for no channel. */
#ifndef K_KDA_STATE_H
#define K_KDA_STATE_H

#include "libcore/base.h"

enum { K_KDA_CHUNK = 16, K_KDA_STRIP = 32, K_KDA_LANES = 16, K_KDA_HEADER = 16 };

static inline int64_t k_kda_padded(int64_t d) { return (d + K_KDA_LANES - 1) / K_KDA_LANES * K_KDA_LANES; }
/* Floats of a row of factors, one for each row of a strip; up to a multiple of K_KDA_LANES. */
static inline int64_t k_kda_reads(int64_t d) { return k_kda_padded(d + K_KDA_CHUNK); }
static inline int64_t k_kda_strips(int64_t d) { return (d + K_KDA_STRIP - 1) / K_KDA_STRIP; }
static inline int64_t k_kda_keys_floats(int64_t d) { return (1 + K_KDA_CHUNK) * k_kda_padded(d); }
static inline int64_t k_kda_strip_floats(int64_t d) { return (d + K_KDA_CHUNK) * K_KDA_STRIP; }
static inline int64_t k_kda_head_floats(int64_t d) { return k_kda_keys_floats(d) + k_kda_strips(d) * k_kda_strip_floats(d); }
static inline int64_t k_kda_floats(int64_t heads, int64_t d) { return K_KDA_HEADER + heads * k_kda_head_floats(d); }

/* Floats that a token reads and writes, on average over a chunk: S is read each time and written once a chunk; half of the keys that are pending
 * in the middle are read and written, their e read; the decay goes on; a key and an e come in addition. */
static inline int64_t k_kda_moved(int64_t heads, int64_t d)
{
	return heads * (d * d + d * d / K_KDA_CHUNK + d * (3 * (K_KDA_CHUNK - 1) / 2 + 4));
}

static inline float *k_kda_head(float *state, int64_t head, int64_t d) { return state + K_KDA_HEADER + head * k_kda_head_floats(d); }
static inline float *k_kda_strip(float *head, int64_t strip, int64_t d) { return head + k_kda_keys_floats(d) + strip * k_kda_strip_floats(d); }
static inline int64_t k_kda_count(const float *state) { return (int64_t)state[0]; }

/* Can that be a count? What came from a file is asked before anything else is done with it. */
static inline bool k_kda_is_count(float count) { return count >= 0 && count < K_KDA_CHUNK && (float)(int)count == count; }

/* Zeros where nothing is pending, whatever was left there: states that go on alike are the same bytes. */
void k_kda_clean(float *state, int64_t heads, int64_t d);
/* S[i][v] of a strip as of now, of a head with d key channels. */
float k_kda_now(const float *keys, const float *strip, int64_t count, int64_t d, int64_t i, int64_t v);
/* plain[head][key][value] = the matrices as of now. */
void k_kda_plain(float *plain, const float *state, int64_t heads, int64_t d);

#endif

/* seq.h: one timeline of tokens: ids so far, pages of the attention layers, states of the KDA layers.
 *
 * An attention layer keeps something for each token and can be cut back to any length; a KDA layer keeps one matrix a head and
 * cannot. So a mark is a snapshot at a length, and rewind goes back to the nearest mark at or before the wanted length; models
 * without KDA layers rewind to any length without marks. Whoever asks for reuse is told how much was reused. */
#ifndef K_SEQ_H
#define K_SEQ_H

#include "libcore/model.h"

int k_seq_new(struct k_seq **out, struct k_model *m, struct k_err *err) K_MUST_USE;
void k_seq_free(struct k_seq *s);
int64_t k_seq_len(const struct k_seq *s);
const int32_t *k_seq_ids(const struct k_seq *s);
uint64_t k_seq_bytes(const struct k_seq *s);            /* memory that it holds, with what it shares */
uint64_t k_seq_page_bytes(const struct k_model *m);     /* of 64 tokens, all attention layers */
uint64_t k_seq_state_bytes(const struct k_model *m);    /* of all KDA layers at one length: of a sequence, of a mark */
uint64_t k_seq_moved_bytes(const struct k_model *m);    /* of them read and written by a token, on average */
/* Remembers the present length (copies the KDA states). max_marks oldest are dropped first (default 8). */
int k_seq_mark(struct k_seq *s, struct k_err *err) K_MUST_USE;
void k_seq_unmark(struct k_seq *s);                     /* forgets all marks */
/* Cuts back to the largest length <= n that it can return to; *len says which (0: emptied). */
int k_seq_rewind(struct k_seq *s, int64_t n, int64_t *len, struct k_err *err) K_MUST_USE;
/* Makes the timeline a prefix of ids[0..n) (n > 0), at most n - 1 long so that there is always a token to compute; *reused tokens
 * are kept. The caller then steps with the rest. */
int k_seq_sync(struct k_seq *s, const int32_t *ids, int64_t n, int64_t *reused, struct k_err *err) K_MUST_USE;
/* A copy that goes its own way. Pages are shared until one of both writes to them, marks for good. */
int k_seq_fork(struct k_seq **out, const struct k_seq *s, struct k_err *err) K_MUST_USE;
/* For measurements: n tokens long without computing, by copies of its pages (of 64 tokens: one must be full) and ids, drawn by seed; states of
 * KDA layers stay. Not what a prompt gives, but as long, as large, and of the same size of numbers. */
int k_seq_stretch(struct k_seq *s, int64_t n, uint64_t seed, struct k_err *err) K_MUST_USE;
/* Written with the model's digest, how it was computed, tokens and a sha256; tag is the owner's. load refuses (K_ECHECK) what is
 * damaged, of another model or computed in another way. */
struct k_sink;
struct k_source;
int k_seq_save(const struct k_seq *s, uint64_t tag, struct k_sink *sink, struct k_err *err) K_MUST_USE;
int k_seq_load(struct k_seq **out, struct k_model *m, struct k_source *src, uint64_t *tag, struct k_err *err) K_MUST_USE;
/* The same checks for the beginning alone: what the rest is for. ids is freed by the caller (k_free). */
#define K_MARKS 8
struct k_seq_head { uint64_t tag; int32_t *ids; int64_t n, mark[K_MARKS]; int n_mark; };
int k_seq_peek(struct k_seq_head *out, struct k_model *m, struct k_source *src, struct k_err *err) K_MUST_USE;
/* For goldens: a KDA layer's state as [head][key channel][value channel] and its convolution tail [3][P][taps-1], on the host. */
int k_seq_kda(const struct k_seq *s, int layer, float *state, float *conv, struct k_err *err) K_MUST_USE;

#endif

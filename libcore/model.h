/* model.h: a loaded model and the one way to compute with it. One engine, many sequences: struct k_model is what was loaded
 * (immutable, shared); struct k_seq (seq.h) is one timeline of tokens; k_model_step runs a batch of runs of tokens. */
#ifndef K_MODEL_H
#define K_MODEL_H

#include "libcore/arch.h"
#include "libcore/backend.h"
#include "libcore/ckpt.h"
#include "libcore/tokenizer.h"

struct k_model;
struct k_seq;

struct k_model_opts { bool hf_remote; /* profile: biased router weights (kimi_linear), inner eps 1e-6 */ bool verify; };

/* Takes ck (closed with the model, also on failure) and borrows dev. A mapped container is used where it lies; any other checkpoint's
 * entries are read into memory (in order, so a pipe works). Small vectors (norms, conv, A_log ...) become f32. K_EUNSUP: ck has no architecture. */
int k_model_open(struct k_model **out, struct k_ckpt *ck, struct k_device *dev, const struct k_model_opts *o, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
void k_model_close(struct k_model *m);
/* What opening would refuse before it reads weights: the config, a tensor that is missing or has another shape. ck stays the caller's, and its values can
 * then be checked for what this architecture wants of them. */
int k_model_check(struct k_ckpt *ck, struct k_err *err) K_MUST_USE;

const struct k_hp *k_model_hp(const struct k_model *m);
const struct k_arch *k_model_arch(const struct k_model *m);
const struct k_files *k_model_files(const struct k_model *m);
struct k_device *k_model_device(const struct k_model *m);       /* the first: others are its next */
const char *k_model_kv(const struct k_model *m);                /* what keys and values are kept in: "f32" */
/* Bytes that sequences may take, before the first device that has their layers is full; UINT64_MAX: it is the host's memory. */
uint64_t k_model_room(const struct k_model *m);
/* Bytes of the host's memory that the model and its sequences hold, of what is counted (held.c); beyond ctx->max_memory they get no more (K_ENOMEM). */
uint64_t k_model_held(const struct k_model *m);
/* NULL when the model has no tokenizer (or one that could not be opened: *why then says so). Opened once at load. */
const struct k_tokenizer *k_model_tokenizer(const struct k_model *m, const char **why);
/* Bytes of weights that one decoded token reads: routed experts counted n_used / n_expert; embedding: one row. */
uint64_t k_model_bytes_per_token(const struct k_model *m);
/* The same by role, of that what lies in the last layer, and how many weights a token of a prompt is multiplied by: at most max roles, in the order of the table of
 * weights; how many there are. */
struct k_token_part { const char *role; uint64_t bytes, last, weights; };
int k_model_token_parts(const struct k_model *m, struct k_token_part *out, int max);
/* Weights of the model, and the bytes that they take as they are stored; files that come with them are not counted. */
void k_model_size(const struct k_model *m, uint64_t *weights, uint64_t *bytes);
/* sha256 of what was loaded (the container's identity; for other sources over config, entry table and samples of the values): for state files and reports. */
void k_model_digest(const struct k_model *m, uint8_t out[32]);

/* What a router made of n rows: logits [n][n_expert] and bias [n_expert] (NULL: none), of them ids, weights [n][n_expert_used]. */
struct k_routing { const float *logits, *bias; const int32_t *ids; const float *weights; int64_t n; };
/* Looks into a step, which then computes all rows in all layers, where otherwise the last one does so for those that are wanted; any pointer may be NULL. Values are on the host, valid during the call; row counts in the batch's order. */
struct k_probe {
	/* after layer `layer` (-1: the embedding): n rows of n_embd */
	void (*hidden)(void *arg, int layer, const float *x, int64_t n);
	void (*router)(void *arg, int layer, const struct k_routing *r);
	void *arg;
};

/* One run of new tokens of one sequence; a batch may hold many (each sequence at most once). out: rows that want logits: the last n_out of the run (0: none). */
struct k_run { struct k_seq *seq; const int32_t *ids; int64_t n, n_out; };
/* Computes the runs; each sequence advances by its n. hidden: final-norm rows of all wanted outputs, in order (sum of n_out rows of n_embd floats),
 * in the device's memory, valid until the next step; for k_model_logits. K_EUSAGE: an id out of range. On failure the sequences are as before
 * only if nothing was computed; after K_ENOMEM they must be dropped. The model is used by one thread at a time. */
int k_model_step(struct k_model *m, const struct k_run *runs, int n_runs, const float **hidden, const struct k_probe *probe, struct k_err *err) K_MUST_USE;
/* Logits of n hidden rows: n x n_vocab floats on the host. Few rows at a time: the caller bounds memory. */
int k_model_logits(struct k_model *m, const float *hidden, int64_t n, float *logits, struct k_err *err) K_MUST_USE;
/* The same, for tokens: where draw[i] is not NULL and the device knows the token (backend.h), ids[i] is it, and row i of logits is left as it was; else ids[i] is -1
 * and the row is there, for k_sample. */
int k_model_choose(struct k_model *m, const float *hidden, int64_t n, const struct k_draw *const *draw, int32_t *ids, float *logits,
	struct k_err *err) K_MUST_USE;

#endif

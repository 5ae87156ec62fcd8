/* block.h: a part of a layer: the weights it wants, the state it keeps, its step. One file libcore/block_<x>.c defines one
 * (`const struct k_block k_block_<x>`) and registers by existing; the architecture's plan names it. */
#ifndef K_BLOCK_H
#define K_BLOCK_H

#include "libcore/model.h"

/* What a block may ask of the loader: the weight of a slot in this layer as stored (NULL when optional and absent), or as f32 in device memory. */
struct k_layer_weights;
const struct k_tensor *k_layer_weight(const struct k_layer_weights *w, const char *slot);
const float *k_layer_vector(const struct k_layer_weights *w, const char *slot);       /* expanded to f32, flat */
const float *k_layer_columns(const struct k_layer_weights *w, const char *slot);      /* the same, turned: what had the last index comes first */

struct k_scratch;       /* per-step activations, in device memory */
float *k_scratch_rows(struct k_scratch *s, int64_t width);      /* room for the step's rows x width; valid until the block returns. Never fails: sizes were reserved by want() */

/* What a sequence keeps: values a token in pages (0: none), and their groups where those have scales (k_blocks_keep counts them); floats of states and of conv tails; floats of both that a token reads and writes. */
struct k_kept { int64_t page, groups, state, conv, moved; };

struct k_block {
	const char *name;
	/* Resolves weights once at load: *self in the model's arena. */
	int (*open)(void **self, const struct k_hp *hp, int64_t layer, const struct k_layer_weights *w, struct k_arena *arena, struct k_device *dev, struct k_err *err);
	/* Floats a row of scratch that step() asks for, in all; append() asks for no more. */
	int64_t (*scratch)(const struct k_hp *hp);
	/* NULL: nothing. deferred: on a device that defers updates (k_device.kda_deferred). */
	struct k_kept (*keeps)(const struct k_hp *hp, bool deferred);
	/* y[n][D] = block(x[n][D]). seg: this layer's states. probe may be NULL. */
	void (*step)(void *self, struct k_device *dev, const struct k_hp *hp, float *y, const float *x, const struct k_seg *seg, int64_t n_seg, int64_t n,
		const float *rope, struct k_scratch *scratch, const struct k_probe *probe, int layer);
	/* What step() keeps of x, without the y: for rows that nobody asks for the output of. NULL: takes as much as a step. */
	void (*append)(void *self, struct k_device *dev, const struct k_hp *hp, const float *x, const struct k_seg *seg, int64_t n_seg, int64_t n,
		const float *rope, struct k_scratch *scratch);
};
const struct k_block *k_block_find(const char *name);
/* The sum over layers [layer, layer + n). */
struct k_kept k_blocks_keep(const struct k_arch *arch, const struct k_hp *hp, bool deferred, int64_t layer, int64_t n);

#endif

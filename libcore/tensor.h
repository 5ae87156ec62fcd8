/* tensor.h: a view of a tensor in memory. It owns nothing and is copied freely. Shapes are outermost first, as people and
 * checkpoints write them: [experts, out, in]; the last dimension is contiguous. */
#ifndef K_TENSOR_H
#define K_TENSOR_H

#include "libcore/qtype.h"

#define K_MAX_DIMS 8

struct k_tensor {
	const char *name;
	const struct k_qtype *type;
	int ndim;
	int64_t shape[K_MAX_DIMS];
	const void *data;               /* slices one after the other */
	bool host;                      /* in the host's memory, though the device has one of its own that was too small */
};

/* Rows x cols of one slice, number of slices. ndim 0: 1 x 1; ndim 1: 1 row. */
static inline int64_t k_shape_cols(int ndim, const int64_t *shape) { return ndim ? shape[ndim - 1] : 1; }
static inline int64_t k_shape_rows(int ndim, const int64_t *shape) { return ndim > 1 ? shape[ndim - 2] : 1; }
static inline int64_t k_shape_slices(int ndim, const int64_t *shape)
{
	int64_t n = 1;
	for (int i = 0; i < ndim - 2; i++)
		n *= shape[i];
	return n;
}
/* Checked product of all dimensions; false on overflow or a negative one. */
bool k_shape_count(int ndim, const int64_t *shape, int64_t *out);
/* "[384, 2048, 7168]" */
const char *k_shape_format(char buf[128], int ndim, const int64_t *shape);
/* Slice i as a 2-D tensor. */
struct k_tensor k_tensor_slice(const struct k_tensor *t, int64_t i);
/* Rows [row, row + n) of a 2-D tensor's values in f32: n x cols floats. */
void k_tensor_rows(const struct k_tensor *t, int64_t row, int64_t n, float *dst);

#endif

/* tensor.c: shapes, and values of a view as floats. */
#include "libcore/base.h"
#include "libcore/tensor.h"
#include <stdio.h>

bool k_shape_count(int ndim, const int64_t *shape, int64_t *out)
{
	int64_t n = 1;

	for (int i = 0; i < ndim; i++)
		if (shape[i] < 0 || !k_mul_i64(n, shape[i], &n))
			return false;
	*out = n;
	return true;
}

const char *k_shape_format(char buf[128], int ndim, const int64_t *shape)
{
	size_t n = 0, max = 128;

	n += (size_t)snprintf(buf, max, "[");
	/* Eight numbers of up to 20 characters do not fit; no real shape is cut. */
	for (int i = 0; i < ndim && n < max; i++)
		n += (size_t)snprintf(buf + n, max - n, i ? ", %lld" : "%lld", (long long)shape[i]);
	if (n < max)
		snprintf(buf + n, max - n, "]");
	return buf;
}

struct k_tensor k_tensor_slice(const struct k_tensor *t, int64_t i)
{
	int64_t rows = k_shape_rows(t->ndim, t->shape), cols = k_shape_cols(t->ndim, t->shape);
	struct k_tensor s = { .name = t->name, .type = t->type, .ndim = 2, .shape = { rows, cols } };
	uint64_t bytes;

	if (!k_qtype_slice_bytes(t->type, rows, cols, &bytes))
		k_bug("a tensor in memory is larger than memory");
	s.data = (const char *)t->data + (uint64_t)i * bytes;
	return s;
}

void k_tensor_rows(const struct k_tensor *t, int64_t row, int64_t n, float *dst)
{
	const struct k_qtype *q = t->type;
	int64_t rows = k_shape_rows(t->ndim, t->shape), cols = k_shape_cols(t->ndim, t->shape);
	size_t step = q->granule_bytes(cols, q->granule);

	K_ASSERT(q->dequant && row >= 0 && n >= 0 && row + n <= rows);
	for (int64_t r = row; r < row + n; r++) {
		int64_t g = r / q->granule;
		int64_t left = rows - g * q->granule;

		q->dequant(dst, (const char *)t->data + (size_t)g * step, cols, (int)K_MIN(left, (int64_t)q->granule),
			(int)(r % q->granule));
		dst += cols;
	}
}

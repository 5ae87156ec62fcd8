/* cuda_sample.c: logits to tokens as launches (sample.cu): the largest of each row; and where a row is drawn from, weights, candidates, the draw. */
#include "libcore/base.h"
#include "kernels/cuda/cuda_impl.h"

/* Rows at once: their parameters always fit into the table. */
enum { MOST_ROWS = 1024 };

static int64_t row_bytes(int64_t chunks)
{
	return chunks * (int64_t)sizeof(struct cuda_sample_chunk) + CUDA_CANDIDATES * (int64_t)sizeof(struct cuda_candidate);
}

/* Does a row of these want more than its largest logit? */
static bool draws(const struct k_draw *d, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (d[i].temperature > 0)
			return true;
	return false;
}

/* The parameters of n rows, where the device will find them. */
static const struct cuda_draw *tell(struct cuda *c, const struct k_draw *d, int64_t n)
{
	int64_t bytes = n * (int64_t)sizeof(struct cuda_draw);
	uint8_t *host, *there = cuda_tell(c, bytes, &host);
	K_ASSERT(there);
	for (int64_t i = 0; i < n; i++)
		((struct cuda_draw *)host)[i] = (struct cuda_draw){ d[i].u, d[i].temperature, d[i].top_p, d[i].min_p, d[i].top_k };
	cuda_told(c, host, bytes);
	return (const struct cuda_draw *)there;
}

void cuda_sample(struct k_device *dev, const struct k_op_sample *op)
{
	struct cuda *c = cuda_of(dev);
	int64_t chunks = k_div_up(op->vocab, CUDA_CHUNK_LOGITS), n;
	for (int64_t i = 0; i < op->n; i += n) {
		cuda_begin(c);
		n = K_MIN(cuda_fit(c, op->n - i, row_bytes(chunks)), (int64_t)MOST_ROWS);
		struct cuda_sample s = { .ids = op->ids + i, .logits = op->logits + i * op->vocab, .draw = tell(c, op->draw + i, n), .vocab = op->vocab,
			.n_chunk = (int)chunks };
		s.chunk = cuda_take(c, n * chunks * (int64_t)sizeof(*s.chunk));
		s.list = cuda_take(c, n * CUDA_CANDIDATES * (int64_t)sizeof(*s.list));
		bool all = draws(op->draw + i, n);
		cuda_launch(c, sample_top, chunks, n, 1, .sample = s);
		cuda_launch(c, sample_weigh, all ? chunks : 0, n, 1, .sample = s);
		cuda_launch(c, sample_gather, all ? chunks : 0, n, 1, .sample = s);
		cuda_launch(c, sample_pick, n, 1, 1, .sample = s);
	}
}

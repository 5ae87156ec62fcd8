/* sample.cu: logits to a token, by the rules of libcore/sample.h, for rows that want neither mask nor bias nor penalties.
 *
 *   row  [ chunk of CUDA_CHUNK_LOGITS ][ chunk ] ...                                                 a block each
 *
 *   sample_top      the largest of a chunk, the lowest id of them                                    temperature 0 ends here
 *   sample_weigh    weights exp((x - top) / T) of a chunk: their sum; how many are behind each cut
 *   sample_gather   top-k, top-p: what is not below the lowest cut that CUDA_CANDIDATES logits reach, in order of id
 *   sample_pick     a block a row: those sorted, heaviest first, kept as long as top-k and top-p say, and the draw; or the draw from all
 *
 * Cuts are steps of a weight: cut i is top - T i / 2. Where the candidates do not suffice (a flat row), or a logit is not a number, or all are masked, the id is
 * -1, and the CPU decides. Weights and sums are double, added in the order of the CPU: where candidates are drawn from exactly in it, else by chunks. */
#include "kernels/cuda/cuda_dev.h"

enum { EACH = CUDA_CHUNK_LOGITS / CUDA_THREADS, SLICE = CUDA_CHUNK_LOGITS / CUDA_WARPS };

/* A row and what is known of it behind sample_top. */
struct sampled { const float *x; struct cuda_sample_chunk *chunk; struct cuda_draw d; int64_t vocab; int n_chunk, top_id; float top; double scale; bool weighs; };

K_DEV struct sampled sampled_row(const struct cuda_sample *a, int64_t row)
{
	struct sampled s = { a->logits + row * a->vocab, a->chunk + row * a->n_chunk, a->draw[row], a->vocab, a->n_chunk, 0, -INFINITY, 0, false };
	bool nan = false;
	for (int i = 0; i < s.n_chunk; i++) {
		nan |= s.chunk[i].nan != 0;
		if (s.chunk[i].top > s.top) {
			s.top = s.chunk[i].top;
			s.top_id = s.chunk[i].top_id;
		}
	}
	if (nan || s.top == -INFINITY)
		s.top_id = -1;
	else if (s.d.temperature > 0 && s.top < INFINITY)
		s.weighs = true;
	s.scale = 1.0 / (double)s.d.temperature;
	return s;
}

/* 0 for one that is nothing beside the largest. */
K_DEV double weight(const struct sampled *s, float x)
{
	double w = exp(((double)x - (double)s->top) * s->scale);
	return w > 0 ? w : 0;
}

K_DEV float cut(const struct sampled *s, int i) { return i ? s->top - 0.5f * (float)i * s->d.temperature : s->top; }

/* The first logit of a thread's run of its chunk, and how many it has. */
K_DEV int64_t run_of(const struct sampled *s, int64_t chunk, int thread, int *n)
{
	int64_t at = chunk * CUDA_CHUNK_LOGITS + (int64_t)thread * EACH, left = s->vocab - at;
	*n = left < 0 ? 0 : left < EACH ? (int)left : EACH;
	return at;
}

/* --- the largest ---------------------------------------------------------------------------------------------------------- */

struct top { float x; int32_t id; };

K_DEV struct top higher(struct top a, struct top b) { return b.x > a.x || (b.x == a.x && b.id < a.id) ? b : a; }

K_KERNEL(sample_top)
{
	K_SHARED(float, tops, CUDA_WARPS);
	K_SHARED(int32_t, ids, CUDA_WARPS);
	K_SHARED(float, nans, CUDA_WARPS);
	const struct cuda_sample *op = &a.sample;
	const float *x = op->logits + blockIdx.y * op->vocab;
	int64_t from = (int64_t)blockIdx.x * CUDA_CHUNK_LOGITS, to = from + CUDA_CHUNK_LOGITS < op->vocab ? from + CUDA_CHUNK_LOGITS : op->vocab;
	struct top t = { -INFINITY, INT32_MAX };
	float nan = 0;
	for (int64_t i = from + threadIdx.x; i < to; i += CUDA_THREADS) {
		struct top mine = { x[i], (int32_t)i };
		nan += mine.x != mine.x;
		t = higher(t, mine);
	}
	for (int m = K_WARP / 2; m > 0; m /= 2) {
		float other = __shfl_xor_sync(0xffffffffu, t.x, m), id = __shfl_xor_sync(0xffffffffu, k_bits_f((uint32_t)t.id), m);
		struct top theirs = { other, (int32_t)k_f_bits(id) };
		t = higher(t, theirs);
	}
	nan = k_warp_sum(nan);
	if (k_lane() == 0) {
		tops[k_warp()] = t.x;
		ids[k_warp()] = t.id;
		nans[k_warp()] = nan;
	}
	__syncthreads();
	if (threadIdx.x == 0) {
		for (int i = 1; i < CUDA_WARPS; i++) {
			struct top theirs = { tops[i], ids[i] };
			t = higher(t, theirs);
			nan += nans[i];
		}
		struct cuda_sample_chunk *c = op->chunk + blockIdx.y * op->n_chunk + blockIdx.x;
		c->top = t.x;
		c->top_id = t.id;
		c->nan = nan > 0;
	}
}

/* --- weights -------------------------------------------------------------------------------------------------------------- */

/* Where a logit of the chunk lies in shared memory: runs of threads begin at different banks. */
K_DEV int slot(int i) { return i + i / EACH; }

K_KERNEL(sample_weigh)
{
	K_SHARED(float, x, CUDA_CHUNK_LOGITS + CUDA_THREADS);
	K_SHARED(double, all, CUDA_THREADS);
	K_SHARED(double, least, CUDA_THREADS);
	K_SHARED(int32_t, some, CUDA_THREADS);
	K_SHARED(int32_t, count, CUDA_WARPS * CUDA_CUTS);
	struct sampled s = sampled_row(&a.sample, blockIdx.y);
	struct cuda_sample_chunk *c = s.chunk + blockIdx.x;
	int64_t from = (int64_t)blockIdx.x * CUDA_CHUNK_LOGITS;
	int n = (int)(s.vocab - from < CUDA_CHUNK_LOGITS ? s.vocab - from : CUDA_CHUNK_LOGITS), mine, me = (int)threadIdx.x;
	double sum = 0, sum_least = 0;
	int over = 0, nonzero = 0;
	if (!s.weighs)
		return;
	for (int i = me; i < n; i += CUDA_THREADS)
		x[slot(i)] = s.x[from + i];
	__syncthreads();
	run_of(&s, blockIdx.x, me, &mine);
	for (int i = 0; i < mine; i++) {
		double w = weight(&s, x[slot(me * EACH + i)]);
		sum += w;
		sum_least += w >= (double)s.d.min_p ? w : 0;
		nonzero += w > 0;
	}
	all[me] = sum;
	least[me] = sum_least;
	some[me] = nonzero;
	/* A lane a cut. */
	for (int i = k_warp() * SLICE; i < (k_warp() + 1) * SLICE && i < n; i++)
		over += x[slot(i)] >= cut(&s, k_lane());
	count[k_warp() * CUDA_CUTS + k_lane()] = over;
	__syncthreads();
	if (me < CUDA_CUTS) {
		over = 0;
		for (int i = 0; i < CUDA_WARPS; i++)
			over += count[i * CUDA_CUTS + me];
		c->count[me] = over;
	} else if (me == CUDA_CUTS) {
		sum = 0;
		for (int i = 0; i < CUDA_THREADS; i++)
			sum += all[i];
		c->sum = sum;
	} else if (me == 2 * CUDA_CUTS) {
		sum = 0;
		for (int i = 0; i < CUDA_THREADS; i++)
			sum += least[i];
		c->sum_least = sum;
	} else if (me == 3 * CUDA_CUTS) {
		nonzero = 0;
		for (int i = 0; i < CUDA_THREADS; i++)
			nonzero += some[i];
		c->nonzero = nonzero;
	}
}

/* --- candidates ----------------------------------------------------------------------------------------------------------- */

/* level: the lowest cut that at most CUDA_CANDIDATES reach, -1: none; n: how many do; before: of those, in chunks before this one. */
struct chosen { int level, n, before; int64_t nonzero; bool cuts; };

/* total, before: CUDA_CUTS of shared memory each. All threads; ends with a barrier. */
K_DEV struct chosen choose_level(const struct sampled *s, int chunk, int32_t *total, int32_t *before)
{
	struct chosen c = { -1, 0, 0, 0, false };
	int me = (int)threadIdx.x;
	if (me < CUDA_CUTS) {
		int all = 0, mine = 0;
		for (int i = 0; i < s->n_chunk; i++) {
			mine += i < chunk ? s->chunk[i].count[me] : 0;
			all += s->chunk[i].count[me];
		}
		total[me] = all;
		before[me] = mine;
	}
	__syncthreads();
	for (int i = 0; i < CUDA_CUTS && total[i] <= CUDA_CANDIDATES; i++) {
		c.level = i;
		c.n = total[i];
		c.before = before[i];
	}
	for (int i = 0; i < s->n_chunk; i++)
		c.nonzero += s->chunk[i].nonzero;
	c.cuts = (s->d.top_k > 0 && s->d.top_k < c.nonzero) || s->d.top_p < 1;
	return c;
}

K_KERNEL(sample_gather)
{
	K_SHARED(int32_t, total, CUDA_CUTS);
	K_SHARED(int32_t, before, CUDA_CUTS);
	K_SHARED(int32_t, found, CUDA_THREADS);
	struct sampled s = sampled_row(&a.sample, blockIdx.y);
	struct cuda_candidate *list = a.sample.list + (int64_t)blockIdx.y * CUDA_CANDIDATES;
	int me = (int)threadIdx.x, n, mine = 0, at;
	if (!s.weighs)
		return;
	struct chosen c = choose_level(&s, (int)blockIdx.x, total, before);
	if (!c.cuts || c.level < 0)
		return;
	int64_t from = run_of(&s, blockIdx.x, me, &n);
	for (int i = 0; i < n; i++)
		mine += s.x[from + i] >= cut(&s, c.level);
	found[me] = mine;
	__syncthreads();
	at = c.before;
	for (int i = 0; i < me; i++)
		at += found[i];
	for (int i = 0; i < n; i++)
		if (s.x[from + i] >= cut(&s, c.level)) {
			list[at].weight = weight(&s, s.x[from + i]);
			list[at++].id = (int32_t)(from + i);
		}
}

/* --- the draw ------------------------------------------------------------------------------------------------------------- */

/* Heaviest first, lower id first; n a power of two. */
K_DEV void sort_candidates(double *w, int32_t *id, int n)
{
	for (int size = 2; size <= n; size *= 2)
		for (int step = size / 2; step > 0; step /= 2) {
			for (int k = (int)threadIdx.x; k < n / 2; k += CUDA_THREADS) {
				int i = k / step * 2 * step + k % step, j = i + step;
				bool after = w[i] < w[j] || (w[i] == w[j] && id[i] > id[j]);
				if (after == ((i & size) == 0)) {
					double heavy = w[i];
					int32_t its = id[i];
					w[i] = w[j];
					id[i] = id[j];
					w[j] = heavy;
					id[j] = its;
				}
			}
			__syncthreads();
		}
}

/* What is below a cut weighs at most this. */
K_DEV double weight_below(const struct sampled *s, float x)
{
	uint32_t u = k_f_bits(x);
	if (x == -INFINITY)
		return 0;
	return weight(s, k_bits_f(x > 0 ? u - 1 : x < 0 ? u + 1 : 0x80000001));
}

/* How many of the sorted candidates stay, as keep_heaviest has it; -1: that is not known. */
K_DEV int keep(const struct sampled *s, const struct chosen *c, const double *w)
{
	bool counts = s->d.top_k > 0 && s->d.top_k < c->nonzero, whole = c->n >= c->nonzero;
	int64_t k = counts ? s->d.top_k : c->nonzero;
	double sum = 0, kept = 0, p = s->d.top_p;
	int m = 0;
	if (counts && k > c->n)
		return -1;
	for (int i = 0; counts && i < k; i++)
		sum += w[i];
	for (int i = 0; !counts && i < s->n_chunk; i++)
		sum += s->chunk[i].sum;
	if (counts && p >= 1)
		m = (int)k;
	else
		for (; m < k && m < c->n && (m == 0 || kept < p * sum); m++)
			kept += w[m];
	if (!counts && m == c->n && !whole && kept < p * sum)
		return -1;
	return whole || w[m - 1] > weight_below(s, cut(s, c->level)) ? m : -1;
}

/* From the lightest to the heaviest. */
K_DEV int32_t draw_kept(const struct sampled *s, const double *w, const int32_t *id, int m)
{
	double sum = 0, at = 0, least = s->d.min_p;
	int32_t last = -1;
	for (int i = m - 1; i >= 0; i--)
		sum += w[i] >= least ? w[i] : 0;
	for (int i = m - 1; i >= 0; i--) {
		if (w[i] < least || w[i] == 0)
			continue;
		at += w[i];
		last = id[i];
		if (at > s->d.u * sum)
			break;
	}
	return last;
}

/* From all in the order of ids: the chunk, the thread's run in it, the logit. run: CUDA_THREADS of shared memory. All threads; thread 0 knows. */
K_DEV int32_t draw_all(const struct sampled *s, double *run)
{
	double sum = 0, at = 0, least = s->d.min_p, mine = 0;
	int chunk = -1, n, i = 0;
	int32_t last = -1;
	for (i = 0; i < s->n_chunk; i++)
		sum += s->chunk[i].sum_least;
	/* The last one that has any, where rounding says that none is reached. */
	for (i = 0; i < s->n_chunk && !(at > s->d.u * sum); i++)
		if (s->chunk[i].sum_least > 0) {
			chunk = i;
			at += s->chunk[i].sum_least;
		}
	if (chunk < 0)
		return -1;
	at = 0;
	for (i = 0; i < chunk; i++)
		at += s->chunk[i].sum_least;
	int64_t from = run_of(s, chunk, (int)threadIdx.x, &n);
	for (i = 0; i < n; i++) {
		double w = weight(s, s->x[from + i]);
		mine += w >= least ? w : 0;
	}
	run[threadIdx.x] = mine;
	__syncthreads();
	for (int t = 0; t < CUDA_THREADS && threadIdx.x == 0; t++) {
		if (!(run[t] > 0))
			continue;
		bool here = at + run[t] > s->d.u * sum;
		from = run_of(s, chunk, t, &n);
		double part = 0;
		for (i = 0; i < n; i++) {
			double w = weight(s, s->x[from + i]);
			if (w < least || w == 0)
				continue;
			part += w;
			last = (int32_t)(from + i);
			if (here && at + part > s->d.u * sum)
				break;
		}
		if (here)
			break;
		at += run[t];
	}
	return last;
}

K_KERNEL(sample_pick)
{
	K_SHARED(int32_t, total, CUDA_CUTS);
	K_SHARED(int32_t, before, CUDA_CUTS);
	K_SHARED(double, w, CUDA_CANDIDATES);
	K_SHARED(int32_t, id, CUDA_CANDIDATES);
	struct sampled s = sampled_row(&a.sample, blockIdx.x);
	const struct cuda_candidate *list = a.sample.list + (int64_t)blockIdx.x * CUDA_CANDIDATES;
	int32_t *out = a.sample.ids + blockIdx.x, got;
	int size = 2;
	if (!s.weighs) {
		if (threadIdx.x == 0)
			*out = s.top_id;
		return;
	}
	struct chosen c = choose_level(&s, 0, total, before);
	if (!c.cuts) {
		got = draw_all(&s, w);
		if (threadIdx.x == 0)
			*out = got;
		return;
	}
	if (c.level < 0) {
		if (threadIdx.x == 0)
			*out = -1;
		return;
	}
	while (size < c.n)
		size *= 2;
	for (int i = threadIdx.x; i < size; i += CUDA_THREADS) {
		w[i] = i < c.n ? list[i].weight : -1;
		id[i] = i < c.n ? list[i].id : INT32_MAX;
	}
	__syncthreads();
	sort_candidates(w, id, size);
	if (threadIdx.x == 0) {
		int m = keep(&s, &c, w);
		*out = m < 0 ? -1 : draw_kept(&s, w, id, m);
	}
}

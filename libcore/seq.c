/* seq.c: one timeline of tokens, see seq.h and the picture in model_int.h.
 *
 *   layer[i].page[p]  64 tokens of an attention layer, made when the sequence reaches them, kept when it is cut back
 *   kda               one block of device memory with the states and convolution tails of all KDA layers
 *   mark[]            copies of that block at earlier lengths; only models with KDA layers have any */
#include "libcore/base.h"
#include "libcore/model_int.h"

static int64_t pages(int64_t n)
{
	return k_div_up(n, K_PAGE);
}

static size_t page_bytes(const struct k_layer *l)
{
	return (size_t)(l->page_width * K_PAGE) * sizeof(float);
}

static size_t kda_bytes(const struct k_model *m)
{
	return (size_t)m->n_kda * sizeof(float);
}

static int room_ids(struct k_seq *s, int64_t n, struct k_err *err)
{
	if (n <= s->cap_ids)
		return 0;
	int64_t cap = K_MAX(n, K_MAX(2 * s->cap_ids, 256));
	size_t bytes;
	int32_t *p = k_mul_size((size_t)cap, sizeof(*p), &bytes) ? k_realloc(s->ids, bytes) : NULL;
	if (!p)
		return k_err_nomem(err, (size_t)cap * sizeof(*p), "the tokens of a sequence");
	s->ids = p;
	s->cap_ids = cap;
	return 0;
}

/* The lists of pages grow for all layers at once. */
static int room_lists(struct k_seq *s, int64_t n, struct k_err *err)
{
	if (n <= s->cap_page)
		return 0;
	int64_t cap = K_MAX(n, K_MAX(2 * s->cap_page, 8));
	for (int64_t i = 0; i < s->m->hp.n_layer; i++) {
		if (!s->m->layers[i].page_width)
			continue;
		float **p = k_realloc(s->layer[i].page, (size_t)cap * sizeof(*p));
		if (!p)
			return k_err_nomem(err, (size_t)cap * sizeof(*p), "the pages of a sequence");
		s->layer[i].page = p;
	}
	s->cap_page = cap;
	return 0;
}

int k_seq_room(struct k_seq *s, int64_t n, struct k_err *err)
{
	struct k_device *d = s->m->dev;
	int r = room_ids(s, n, err);
	if (r == 0)
		r = room_lists(s, pages(n), err);
	if (r < 0)
		return r;
	for (int64_t i = 0; i < s->m->hp.n_layer; i++) {
		const struct k_layer *l = &s->m->layers[i];
		struct k_seq_layer *sl = &s->layer[i];
		while (l->page_width && sl->n_page < pages(n)) {
			float *p = d->alloc(d, page_bytes(l));
			if (!p)
				return k_err_nomem(err, page_bytes(l), "a page of a sequence");
			sl->page[sl->n_page++] = p;
		}
	}
	return 0;
}

int k_seq_new(struct k_seq **out, struct k_model *m, struct k_err *err)
{
	*out = NULL;
	struct k_seq *s = k_calloc(1, sizeof(*s));
	if (!s)
		return k_err_nomem(err, sizeof(*s), "a sequence");
	s->m = m;
	s->layer = k_calloc((size_t)m->hp.n_layer, sizeof(*s->layer));
	if (m->n_kda)
		s->kda = m->dev->alloc(m->dev, kda_bytes(m));
	if (!s->layer || (m->n_kda && !s->kda)) {
		k_seq_free(s);
		return k_err_nomem(err, kda_bytes(m), "a sequence");
	}
	for (int64_t i = 0; i < m->hp.n_layer; i++)
		if (m->layers[i].n_state) {
			s->layer[i].state = s->kda + m->layers[i].state_at;
			s->layer[i].conv = s->layer[i].state + m->layers[i].n_state;
		}
	*out = s;
	return 0;
}

void k_seq_free(struct k_seq *s)
{
	if (!s)
		return;
	struct k_device *d = s->m->dev;
	for (int64_t i = 0; s->layer && i < s->m->hp.n_layer; i++) {
		for (int64_t p = 0; p < s->layer[i].n_page; p++)
			d->free(d, s->layer[i].page[p]);
		k_free(s->layer[i].page);
	}
	for (int i = 0; i < s->n_mark; i++)
		k_free(s->mark[i].kda);
	if (s->kda)
		d->free(d, s->kda);
	k_free(s->layer);
	k_free(s->ids);
	k_free(s);
}

int64_t k_seq_len(const struct k_seq *s) { return s->len; }
const int32_t *k_seq_ids(const struct k_seq *s) { return s->ids; }

uint64_t k_seq_bytes(const struct k_seq *s)
{
	uint64_t n = (uint64_t)s->cap_ids * sizeof(*s->ids) + (uint64_t)(1 + s->n_mark) * kda_bytes(s->m);
	for (int64_t i = 0; i < s->m->hp.n_layer; i++)
		n += (uint64_t)s->layer[i].n_page * page_bytes(&s->m->layers[i]);
	return n;
}

/* --- marks ------------------------------------------------------------------------------------------------------------ */

static void drop_marks(struct k_seq *s, int from, int n)
{
	for (int i = from; i < from + n; i++)
		k_free(s->mark[i].kda);
	memmove(s->mark + from, s->mark + from + n, (size_t)(s->n_mark - from - n) * sizeof(*s->mark));
	s->n_mark -= n;
}

int k_seq_mark(struct k_seq *s, struct k_err *err)
{
	struct k_device *d = s->m->dev;
	if (!s->kda || !s->len || (s->n_mark && s->mark[s->n_mark - 1].len == s->len))
		return 0;
	float *copy = k_alloc(kda_bytes(s->m));
	if (!copy)
		return k_err_nomem(err, kda_bytes(s->m), "a mark of a sequence");
	int r = d->get(d, copy, s->kda, kda_bytes(s->m), err);
	if (r < 0) {
		k_free(copy);
		return r;
	}
	if (s->n_mark == K_MARKS)
		drop_marks(s, 0, 1);
	s->mark[s->n_mark++] = (struct k_mark){ s->len, copy };
	return 0;
}

static int clear_kda(struct k_seq *s, struct k_err *err)
{
	static const float zeros[4096];
	struct k_device *d = s->m->dev;
	for (int64_t i = 0, n; i < s->m->n_kda; i += n) {
		n = K_MIN(s->m->n_kda - i, (int64_t)K_LEN(zeros));
		int r = d->put(d, s->kda + i, zeros, (size_t)n * sizeof(float), err);
		if (r < 0)
			return r;
	}
	return 0;
}

int k_seq_rewind(struct k_seq *s, int64_t n, int64_t *len, struct k_err *err)
{
	struct k_device *d = s->m->dev;
	int r = 0;
	*len = s->len;
	if (n >= s->len)
		return 0;
	if (s->kda) {
		int i = s->n_mark;
		while (i > 0 && s->mark[i - 1].len > n)
			i--;
		drop_marks(s, i, s->n_mark - i);
		n = i ? s->mark[i - 1].len : 0;
		r = i ? d->put(d, s->kda, s->mark[i - 1].kda, kda_bytes(s->m), err) : clear_kda(s, err);
	}
	s->len = n = K_MAX(n, 0);
	*len = n;
	return r;
}

int k_seq_sync(struct k_seq *s, const int32_t *ids, int64_t n, int64_t *reused, struct k_err *err)
{
	int64_t same = 0, most = K_MIN(s->len, n - 1);
	while (same < most && s->ids[same] == ids[same])
		same++;
	return k_seq_rewind(s, same, reused, err);
}

/* --- copies ----------------------------------------------------------------------------------------------------------- */

static int copy_device(struct k_device *d, float *dst, const float *src, float *host, size_t n, struct k_err *err)
{
	int r = d->get(d, host, src, n, err);
	return r < 0 ? r : d->put(d, dst, host, n, err);
}

static int copy_marks(struct k_seq *dst, const struct k_seq *s, struct k_err *err)
{
	for (int i = 0; i < s->n_mark; i++) {
		float *p = k_alloc(kda_bytes(s->m));
		if (!p)
			return k_err_nomem(err, kda_bytes(s->m), "a mark of a sequence");
		memcpy(p, s->mark[i].kda, kda_bytes(s->m));
		dst->mark[dst->n_mark++] = (struct k_mark){ s->mark[i].len, p };
	}
	return 0;
}

int k_seq_fork(struct k_seq **out, const struct k_seq *s, struct k_err *err)
{
	struct k_seq *f;
	struct k_device *d = s->m->dev;
	int r = k_seq_new(&f, s->m, err);
	*out = NULL;
	if (r < 0)
		return r;
	size_t most = kda_bytes(s->m);
	for (int64_t i = 0; i < s->m->hp.n_layer; i++)
		most = K_MAX(most, page_bytes(&s->m->layers[i]));
	float *host = k_alloc(most);
	r = host ? k_seq_room(f, s->len, err) : k_err_nomem(err, most, "a copy of a sequence");
	for (int64_t i = 0; r == 0 && i < s->m->hp.n_layer; i++)
		for (int64_t p = 0; r == 0 && s->m->layers[i].page_width && p < pages(s->len); p++)
			r = copy_device(d, f->layer[i].page[p], s->layer[i].page[p], host, page_bytes(&s->m->layers[i]), err);
	if (r == 0 && s->kda)
		r = copy_device(d, f->kda, s->kda, host, kda_bytes(s->m), err);
	if (r == 0)
		r = copy_marks(f, s, err);
	k_free(host);
	if (r < 0) {
		k_seq_free(f);
		return r;
	}
	if (s->len)
		memcpy(f->ids, s->ids, (size_t)s->len * sizeof(*s->ids));
	f->len = s->len;
	*out = f;
	return 0;
}

int k_seq_kda(const struct k_seq *s, int layer, float *state, float *conv, struct k_err *err)
{
	struct k_device *d = s->m->dev;
	if (layer < 0 || layer >= s->m->hp.n_layer || !s->layer[layer].state)
		return k_err_set(err, K_EUSAGE, "layer %d keeps no state", layer);
	const struct k_layer *l = &s->m->layers[layer];
	int64_t n = s->m->hp.kda_dim;
	float *host = k_alloc((size_t)l->n_state * sizeof(float));
	if (!host)
		return k_err_nomem(err, (size_t)l->n_state * sizeof(float), "a state");
	int r = d->get(d, host, s->layer[layer].state, (size_t)l->n_state * sizeof(float), err);
	if (r == 0)
		r = d->get(d, conv, s->layer[layer].conv, (size_t)l->n_conv * sizeof(float), err);
	for (int64_t h = 0; r == 0 && h < s->m->hp.kda_head; h++)
		for (int64_t v = 0; v < n; v++)
			for (int64_t k = 0; k < n; k++)
				state[(h * n + k) * n + v] = host[(h * n + v) * n + k];
	k_free(host);
	return r;
}

/* seq.c: one timeline of tokens, see seq.h and the picture in model_int.h.
 *
 *   page[p]           64 tokens of all attention layers, made when the sequence reaches them, kept when it is cut back; counted, and
 *                     copied before the first write where somebody else holds it too
 *   layer[i].page[p]  the rows of one layer in it, for the operations
 *   kda               one block of device memory with the states and convolution tails of all KDA layers
 *   mark[]            copies of that block at earlier lengths, counted; only models with KDA layers have any */
#include "libcore/base.h"
#include "libcore/kda_state.h"
#include "libcore/model_int.h"

static int64_t pages(int64_t n)
{
	return k_div_up(n, K_PAGE);
}

static size_t page_bytes(const struct k_model *m) { return k_keep_bytes(m, K_KEEP_PAGE); }
static size_t kda_bytes(const struct k_model *m) { return k_keep_bytes(m, K_KEEP_KDA); }

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
int k_seq_lists(struct k_seq *s, int64_t n, struct k_err *err)
{
	int r = room_ids(s, n, err);
	if (r < 0 || pages(n) <= s->cap_page)
		return r;
	int64_t cap = K_MAX(pages(n), K_MAX(2 * s->cap_page, 8));
	struct k_page **all = k_realloc(s->page, (size_t)cap * sizeof(*all));
	if (!all)
		return k_err_nomem(err, (size_t)cap * sizeof(*all), "the pages of a sequence");
	s->page = all;
	for (int64_t i = 0; i < s->m->hp.n_layer; i++) {
		if (!s->m->layers[i].page_width)
			continue;
		void **p = k_realloc(s->layer[i].page, (size_t)cap * sizeof(*p));
		if (!p)
			return k_err_nomem(err, (size_t)cap * sizeof(*p), "the pages of a sequence");
		s->layer[i].page = p;
	}
	s->cap_page = cap;
	return 0;
}

/* --- what is shared ---------------------------------------------------------------------------------------------------- */

static int new_page(struct k_page **out, struct k_model *m, struct k_err *err)
{
	struct k_page *p = *out = k_calloc(1, sizeof(*p));
	if (!p)
		return k_err_nomem(err, sizeof(*p), "a page of a sequence");
	*p = (struct k_page){ .m = m, .refs = 1 };
	int r = k_keep_alloc(m, K_KEEP_PAGE, p->mem, err);
	if (r < 0)
		k_free(p);
	return r;
}

struct k_page *k_page_hold(struct k_page *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
	return p;
}

void k_page_drop(struct k_page *p)
{
	if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	k_keep_free(p->m, K_KEEP_PAGE, p->mem);
	k_free(p);
}

int k_state_new(struct k_state **out, struct k_model *m, struct k_err *err)
{
	struct k_state *s = k_calloc(1, sizeof(*s));
	void *kda;
	*out = NULL;
	if (!s)
		return k_err_nomem(err, sizeof(*s), "a mark of a sequence");
	int r = k_model_take(m, NULL, kda_bytes(m), &kda, "a mark of a sequence", err);
	if (r < 0) {
		k_free(s);
		return r;
	}
	*s = (struct k_state){ .m = m, .kda = kda, .refs = 1 };
	*out = s;
	return 0;
}

struct k_state *k_state_hold(struct k_state *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void k_state_drop(struct k_state *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	k_model_give(s->m, NULL, kda_bytes(s->m), s->kda);
	k_free(s);
}

/* Page i becomes p; the reference goes to the sequence. */
static void put_page(struct k_seq *s, int64_t i, struct k_page *p)
{
	K_ASSERT(i <= s->n_page && i < s->cap_page);
	if (i < s->n_page)
		k_page_drop(s->page[i]);
	s->page[i] = p;
	s->n_page = K_MAX(s->n_page, i + 1);
	for (int64_t k = 0; k < s->m->hp.n_layer; k++) {
		const struct k_layer *l = &s->m->layers[k];
		if (!l->page_width)
			continue;
		s->layer[k].page[i] = (char *)p->mem[l->part] + (l->page_at - s->m->part[l->part].page_at);
		s->layer[k].n_page = s->n_page;
	}
}

void k_seq_set_page(struct k_seq *s, int64_t i, struct k_page *p)
{
	put_page(s, i, k_page_hold(p));
}

/* A page of the sequence's own at i, with the rows of the one that is there below its end. */
static int own_page(struct k_seq *s, int64_t i, struct k_err *err)
{
	const struct k_page *old = i < s->n_page ? s->page[i] : NULL;
	if (old && __atomic_load_n(&old->refs, __ATOMIC_ACQUIRE) == 1)
		return 0;
	struct k_page *p;
	int r = new_page(&p, s->m, err);
	if (r < 0)
		return r;
	if (old && i * K_PAGE < s->len) {
		void *host = k_alloc(page_bytes(s->m));
		r = host ? k_keep_get(s->m, K_KEEP_PAGE, host, old->mem, err) : k_err_nomem(err, page_bytes(s->m), "a page");
		if (r == 0)
			r = k_keep_put(s->m, K_KEEP_PAGE, p->mem, host, err);
		k_free(host);
		if (r < 0) {
			k_page_drop(p);
			return r;
		}
	}
	put_page(s, i, p);
	return 0;
}

int k_seq_room(struct k_seq *s, int64_t n, struct k_err *err)
{
	int r = k_seq_lists(s, n, err);
	if (r == 0 && pages(n) > s->n_page)
		r = k_model_fits(s->m, (uint64_t)(pages(n) - s->n_page) * k_keep_held(s->m, K_KEEP_PAGE), "keys and values", err);
	for (int64_t i = s->len / K_PAGE; r == 0 && s->m->page_bytes && i < pages(n); i++)
		r = own_page(s, i, err);
	return r;
}

int k_seq_new(struct k_seq **out, struct k_model *m, struct k_err *err)
{
	*out = NULL;
	struct k_seq *s = k_calloc(1, sizeof(*s));
	if (!s)
		return k_err_nomem(err, sizeof(*s), "a sequence");
	s->m = m;
	s->layer = k_calloc((size_t)m->hp.n_layer, sizeof(*s->layer));
	int r = s->layer ? k_keep_alloc(m, K_KEEP_KDA, s->kda, err) : k_err_nomem(err, (size_t)m->hp.n_layer * sizeof(*s->layer), "a sequence");
	if (r < 0) {
		k_free(s->layer);
		k_free(s);
		return r;
	}
	for (int64_t i = 0; i < m->hp.n_layer; i++) {
		s->layer[i].kv = m->kv;
		const struct k_layer *l = &m->layers[i];
		if (l->n_state) {
			s->layer[i].state = (float *)s->kda[l->part] + l->state_at - m->part[l->part].kda_at;
			s->layer[i].conv = s->layer[i].state + l->n_state;
			s->layer[i].deferred = m->part[l->part].dev->kda_deferred;
		}
	}
	*out = s;
	return 0;
}

void k_seq_free(struct k_seq *s)
{
	if (!s)
		return;
	for (int64_t p = 0; p < s->n_page; p++)
		k_page_drop(s->page[p]);
	for (int64_t i = 0; s->layer && i < s->m->hp.n_layer; i++)
		k_free(s->layer[i].page);
	k_seq_unmark(s);
	k_keep_free(s->m, K_KEEP_KDA, s->kda);
	k_free(s->layer);
	k_free(s->page);
	k_free(s->ids);
	k_free(s);
}

int64_t k_seq_len(const struct k_seq *s) { return s->len; }
const int32_t *k_seq_ids(const struct k_seq *s) { return s->ids; }

uint64_t k_seq_bytes(const struct k_seq *s)
{
	uint64_t n = (uint64_t)s->cap_ids * sizeof(*s->ids) + (uint64_t)(1 + s->n_mark) * kda_bytes(s->m);
	return n + (uint64_t)s->n_page * page_bytes(s->m);
}

uint64_t k_seq_page_bytes(const struct k_model *m) { return page_bytes(m); }
uint64_t k_seq_state_bytes(const struct k_model *m) { return kda_bytes(m); }
uint64_t k_seq_moved_bytes(const struct k_model *m) { return (uint64_t)m->n_moved * sizeof(float); }

/* --- marks ------------------------------------------------------------------------------------------------------------ */

static void drop_marks(struct k_seq *s, int from, int n)
{
	for (int i = from; i < from + n; i++)
		k_state_drop(s->mark[i].state);
	memmove(s->mark + from, s->mark + from + n, (size_t)(s->n_mark - from - n) * sizeof(*s->mark));
	s->n_mark -= n;
}

void k_seq_unmark(struct k_seq *s)
{
	drop_marks(s, 0, s->n_mark);
}

void k_seq_add_mark(struct k_seq *s, int64_t len, struct k_state *state)
{
	if (s->n_mark == K_MARKS)
		drop_marks(s, 0, 1);
	s->mark[s->n_mark++] = (struct k_mark){ len, k_state_hold(state) };
}

int k_seq_mark(struct k_seq *s, struct k_err *err)
{
	if (!s->m->n_kda || !s->len || (s->n_mark && s->mark[s->n_mark - 1].len == s->len))
		return 0;
	struct k_state *copy;
	int r = k_state_new(&copy, s->m, err);
	if (r == 0)
		r = k_keep_get(s->m, K_KEEP_KDA, copy->kda, s->kda, err);
	if (r == 0)
		k_seq_add_mark(s, s->len, copy);
	k_state_drop(copy);
	return r;
}

int k_seq_set_state(struct k_seq *s, const struct k_state *state, struct k_err *err)
{
	return k_keep_put(s->m, K_KEEP_KDA, s->kda, state->kda, err);
}

static int clear_kda(struct k_seq *s, struct k_err *err)
{
	static const float zeros[4096];
	int r = 0;
	for (int p = 0; p < s->m->n_part; p++) {
		const struct k_part *part = &s->m->part[p];
		for (int64_t i = 0, n; i < part->n_kda && r == 0; i += n) {
			n = K_MIN(part->n_kda - i, (int64_t)K_LEN(zeros));
			r = part->dev->put(part->dev, (float *)s->kda[p] + i, zeros, (size_t)n * sizeof(float), err);
		}
	}
	return r;
}

int k_seq_rewind(struct k_seq *s, int64_t n, int64_t *len, struct k_err *err)
{
	int r = 0;
	*len = s->len;
	if (n >= s->len)
		return 0;
	if (s->m->n_kda) {
		int i = s->n_mark;
		while (i > 0 && s->mark[i - 1].len > n)
			i--;
		drop_marks(s, i, s->n_mark - i);
		n = i ? s->mark[i - 1].len : 0;
		r = i ? k_seq_set_state(s, s->mark[i - 1].state, err) : clear_kda(s, err);
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

static int copy_kda(struct k_seq *f, const struct k_seq *s, struct k_err *err)
{
	float *host = k_alloc(kda_bytes(s->m));
	if (!host)
		return k_err_nomem(err, kda_bytes(s->m), "a copy of a sequence");
	int r = k_keep_get(s->m, K_KEEP_KDA, host, s->kda, err);
	if (r == 0)
		r = k_keep_put(s->m, K_KEEP_KDA, f->kda, host, err);
	k_free(host);
	return r;
}

int k_seq_fork(struct k_seq **out, const struct k_seq *s, struct k_err *err)
{
	struct k_seq *f;
	int r = k_seq_new(&f, s->m, err);
	*out = NULL;
	if (r == 0)
		r = k_seq_lists(f, s->len, err);
	if (r == 0 && s->m->n_kda)
		r = copy_kda(f, s, err);
	if (r < 0) {
		k_seq_free(f);
		return r;
	}
	for (int64_t p = 0; s->m->page_bytes && p < pages(s->len); p++)
		k_seq_set_page(f, p, s->page[p]);
	for (int i = 0; i < s->n_mark; i++)
		k_seq_add_mark(f, s->mark[i].len, s->mark[i].state);
	if (s->len)
		memcpy(f->ids, s->ids, (size_t)s->len * sizeof(*s->ids));
	f->len = s->len;
	*out = f;
	return 0;
}

int k_seq_kda(const struct k_seq *s, int layer, float *state, float *conv, struct k_err *err)
{
	if (layer < 0 || layer >= s->m->hp.n_layer || !s->layer[layer].state)
		return k_err_set(err, K_EUSAGE, "layer %d keeps no state", layer);
	const struct k_layer *l = &s->m->layers[layer];
	struct k_device *d = s->m->part[l->part].dev;
	int64_t n = s->m->hp.kda_dim;
	size_t bytes = (size_t)K_MAX(l->n_state, l->n_conv) * sizeof(float);
	float *host = k_alloc(bytes);
	if (!host)
		return k_err_nomem(err, bytes, "a state");
	int r = d->get(d, host, s->layer[layer].state, (size_t)l->n_state * sizeof(float), err);
	if (r == 0 && d->kda_deferred)
		k_kda_plain(state, host, s->m->hp.kda_head, n);
	for (int64_t h = 0; r == 0 && !d->kda_deferred && h < s->m->hp.kda_head; h++)
		for (int64_t v = 0; v < n; v++)
			for (int64_t k = 0; k < n; k++)
				state[(h * n + k) * n + v] = host[(h * n + v) * n + k];
	int64_t P = s->m->hp.kda_head * n, keep = s->m->hp.kda_conv - 1;
	if (r == 0)
		r = d->get(d, host, s->layer[layer].conv, (size_t)l->n_conv * sizeof(float), err);
	for (int64_t i = 0; r == 0 && i < l->n_conv; i++)
		conv[(i / (keep * P) * P + i % P) * keep + i / P % keep] = host[i];
	k_free(host);
	return r;
}

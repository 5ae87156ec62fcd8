/* prefix_test.c: the prefix cache against a slow model of it, and what it promises: that going on from what was kept gives the same
 * bits as computing anew, whatever was written to shared pages in between. */
#include "libcore/base.h"
#include <stdlib.h>
#include "formats/format.h"
#include "libcore/pool.h"
#include "libcore/prefix.h"
#include "libcore/test.h"

enum { MOST = 260, LIVE = 6, KEPT = 400 };
static const char *const names[] = { "tiny/kimi-linear-tiny", "tiny/kimi-k2-tiny", "tiny/llama-tiny" };

struct bench {
	struct k_ctx ctx;
	struct k_device *dev;
	struct k_model *m;
	int64_t vocab;
	bool hybrid;
	struct k_prefix *p;
	float *logits, *want;
	uint64_t random;
	/* the slow model: every prefix that can be gone on from, one after another */
	struct { uint64_t salt; int32_t ids[MOST]; int64_t len; } kept[KEPT];
	int n_kept;
	bool evicted;
};

static void set_up(struct bench *b, const char *name)
{
	struct k_ckpt *c;
	struct k_err err;

	memset(b, 0, sizeof(*b));
	K_CHECK_OK(k_pool_new(&b->ctx.pool, 1, &err));
	K_CHECK_OK(k_format_open(&c, k_test_data(name), false, &b->ctx, &err));
	K_CHECK_OK(k_device_open(&b->dev, &b->ctx, NULL, &err));
	K_CHECK_OK(k_model_open(&b->m, c, b->dev, &(struct k_model_opts){ 0 }, &b->ctx, &err));
	K_CHECK_OK(k_prefix_new(&b->p, b->m, &err));
	b->vocab = k_model_hp(b->m)->n_vocab;
	b->hybrid = strstr(name, "linear") != NULL;
	b->logits = malloc((size_t)b->vocab * sizeof(float));
	b->want = malloc((size_t)b->vocab * sizeof(float));
	b->random = 88172645463325252u;
}

static void tear_down(struct bench *b)
{
	k_prefix_free(b->p);
	k_model_close(b->m);
	k_device_close(b->dev);
	k_pool_free(b->ctx.pool);
	free(b->logits);
	free(b->want);
}

static int64_t below(struct bench *b, int64_t n)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return (int64_t)(b->random >> 11) % n;
}

static void step(struct bench *b, struct k_seq *s, const int32_t *ids, int64_t n, float *logits)
{
	const float *hidden;
	struct k_err err;
	struct k_run r = { s, ids, n, 1 };

	K_CHECK_OK(k_model_step(b->m, &r, 1, &hidden, NULL, &err));
	K_CHECK_OK(k_model_logits(b->m, hidden, 1, logits, &err));
}

/* The logits behind ids[0..n), computed by a sequence of their own. */
static void check_bits(struct bench *b, const int32_t *ids, int64_t n, const char *what)
{
	struct k_seq *s;
	struct k_err err;

	K_CHECK_OK(k_seq_new(&s, b->m, &err));
	step(b, s, ids, n, b->want);
	k_seq_free(s);
	K_CHECK_MSG(memcmp(b->want, b->logits, (size_t)b->vocab * sizeof(float)) == 0, "%s: other bits behind %ld tokens", what, (long)n);
}

static void keep(struct bench *b, uint64_t salt, struct k_seq *s)
{
	struct k_err err;

	if (b->n_kept == KEPT)
		return;
	K_CHECK_OK(k_seq_mark(s, &err));
	K_CHECK_OK(k_prefix_put(b->p, salt, s, 0, false, &err));
	k_seq_unmark(s);
	b->kept[b->n_kept].salt = salt;
	b->kept[b->n_kept].len = k_seq_len(s);
	memcpy(b->kept[b->n_kept++].ids, k_seq_ids(s), (size_t)k_seq_len(s) * sizeof(int32_t));
}

static int64_t slow_find(const struct bench *b, uint64_t salt, const int32_t *ids, int64_t n, int64_t grid)
{
	int64_t best = 0;

	for (int i = 0; i < b->n_kept; i++) {
		int64_t same = 0;
		while (same < b->kept[i].len && same < n - 1 && b->kept[i].ids[same] == ids[same])
			same++;
		if (b->hybrid && same < b->kept[i].len)
			continue;
		if (b->hybrid && same % grid)
			continue;
		same -= same % grid;
		if (b->kept[i].salt == salt && same > best)
			best = same;
	}
	return best;
}

struct live { struct k_seq *s; uint64_t salt; int32_t ids[MOST]; int64_t n; };

/* Computes what is left of l->ids in pieces, keeping some of the ends. */
static void compute(struct bench *b, struct live *l)
{
	for (int64_t at = k_seq_len(l->s), n; at < l->n; at += n) {
		n = 1 + below(b, K_MIN(l->n - at, 70));
		step(b, l->s, l->ids + at, n, b->logits);
		if (at + n == l->n || below(b, 3) == 0)
			keep(b, l->salt, l->s);
	}
}

static void grow(struct bench *b, struct live *l, int64_t n)
{
	for (int64_t i = 0; i < n && l->n < MOST; i++)
		l->ids[l->n++] = (int32_t)below(b, below(b, 8) ? 1 : 3);
}

static void begin(struct bench *b, struct live *l)
{
	int64_t found, grid = below(b, 3) ? 1 : K_PAGE;
	struct k_err err;

	l->salt = (uint64_t)below(b, 2);
	l->n = 0;
	if (b->n_kept && below(b, 2)) {
		int i = (int)below(b, b->n_kept);
		l->n = K_MIN(b->kept[i].len, 2 + below(b, MOST));
		memcpy(l->ids, b->kept[i].ids, (size_t)l->n * sizeof(int32_t));
	}
	grow(b, l, 2 + below(b, 100));
	K_CHECK_OK(k_seq_new(&l->s, b->m, &err));
	int64_t look = k_prefix_look(b->p, l->salt, l->ids, l->n, grid), want = slow_find(b, l->salt, l->ids, l->n, grid);
	K_CHECK_OK(k_prefix_take(b->p, l->salt, l->ids, l->n, grid, l->s, &found, &err));
	K_CHECK_MSG(found == look && k_seq_len(l->s) == found && found < l->n, "found %ld, looked %ld", (long)found, (long)look);
	K_CHECK_MSG(b->evicted ? found <= want : found == want, "found %ld, wanted %ld", (long)found, (long)want);
	K_CHECK(!found || memcmp(k_seq_ids(l->s), l->ids, (size_t)found * sizeof(int32_t)) == 0);
	compute(b, l);
	check_bits(b, l->ids, l->n, "begun from the cache");
}

static void act(struct bench *b, struct live *live)
{
	struct live *l = &live[below(b, LIVE)], *o = &live[below(b, LIVE)];
	struct k_err err;
	int64_t len;

	if (!l->s) {
		begin(b, l);
		return;
	}
	switch (below(b, 6)) {
	case 0:
		k_seq_free(l->s);
		l->s = NULL;
		break;
	case 1:
		if (o->s)
			break;
		K_CHECK_OK(k_seq_fork(&o->s, l->s, &err));
		memcpy(o->ids, l->ids, sizeof(l->ids));
		o->n = l->n;
		o->salt = l->salt;
		break;
	case 2:
		K_CHECK_OK(k_seq_rewind(l->s, below(b, l->n), &len, &err));
		K_CHECK(b->hybrid ? len == 0 : len <= l->n);
		l->n = len;
		grow(b, l, 20);
		compute(b, l);
		check_bits(b, l->ids, l->n, "cut back");
		break;
	case 3:
		if (below(b, 3))
			break;
		b->evicted = true;
		k_prefix_limit(b->p, (uint64_t)below(b, 40) * (k_seq_page_bytes(b->m) + k_seq_state_bytes(b->m)), NULL, NULL);
		break;
	default:
		if (l->n == MOST)
			break;
		grow(b, l, 1 + below(b, 40));
		compute(b, l);
		check_bits(b, l->ids, l->n, "gone on");
	}
}

K_TEST(prefix_does_what_a_slow_model_of_it_does)
{
	for (size_t i = 0; i < K_LEN(names); i++) {
		static struct bench b;
		static struct live live[LIVE];
		struct k_prefix_stats st;
		struct k_err err;

		set_up(&b, names[i]);
		for (int epoch = 0; epoch < 6; epoch++) {
			memset(live, 0, sizeof(live));
			b.n_kept = 0;
			b.evicted = false;
			for (int k = 0; k < 40; k++) {
				act(&b, live);
				K_CHECK_MSG(k_prefix_sound(b.p, &err), "%s: %s", names[i], err.msg);
			}
			for (int k = 0; k < LIVE; k++)
				k_seq_free(live[k].s);
			k_prefix_limit(b.p, 0, NULL, NULL);
			k_prefix_stats(b.p, &st);
			K_CHECK(st.bytes == 0 && st.tokens == 0 && st.states == 0 && st.nodes == 0);
		}
		tear_down(&b);
	}
}

/* What is lost or saved is a sequence that can be gone on from. */
static void lost(void *arg, struct k_seq *s, uint64_t salt, uint64_t id)
{
	struct k_seq **to = arg;

	K_CHECK(salt == 5 && id && !*to);
	*to = s;
}

K_TEST(prefix_hands_out_what_is_not_saved)
{
	static struct bench b;
	struct live l = { .salt = 5 };
	struct k_seq *s, *gone = NULL;
	struct k_err err;
	uint64_t salt, id, again;
	int64_t found;

	set_up(&b, names[0]);
	grow(&b, &l, 150);
	K_CHECK_OK(k_seq_new(&l.s, b.m, &err));
	compute(&b, &l);
	K_CHECK_OK(k_prefix_unsaved(b.p, UINT64_MAX, &s, &salt, &id, &err));
	K_CHECK(s && salt == 5 && id && k_seq_len(s) == 150);
	k_seq_free(s);
	K_CHECK_OK(k_prefix_unsaved(b.p, UINT64_MAX, &s, &salt, &id, &err));
	K_CHECK(!s);
	grow(&b, &l, 10);
	compute(&b, &l);
	K_CHECK_OK(k_prefix_unsaved(b.p, 0, &s, &salt, &again, &err));
	K_CHECK(!s);
	k_prefix_limit(b.p, 0, lost, &gone);
	K_CHECK(gone && k_seq_len(gone) == 160);
	K_CHECK(k_prefix_look(b.p, 5, l.ids, l.n, 1) == 0);
	K_CHECK_OK(k_prefix_put(b.p, 5, gone, id, false, &err));
	k_seq_free(gone);
	k_seq_free(l.s);
	K_CHECK_OK(k_prefix_unsaved(b.p, UINT64_MAX, &s, &salt, &again, &err));
	K_CHECK(!s);
	K_CHECK_OK(k_seq_new(&l.s, b.m, &err));
	grow(&b, &l, 5);
	K_CHECK_OK(k_prefix_take(b.p, 5, l.ids, l.n, 1, l.s, &found, &err));
	K_CHECK(found == 160);
	step(&b, l.s, l.ids + found, l.n - found, b.logits);
	check_bits(&b, l.ids, l.n, "lost and found");
	k_seq_free(l.s);
	tear_down(&b);
}

/* Two conversations that part behind a beginning of 70 tokens: each is copied whole, and what is forgotten of one is not the other's. */
K_TEST(prefix_copies_and_forgets_one_of_two)
{
	for (size_t m = 0; m < K_LEN(names); m++) {
		struct bench b;
		struct k_err err;
		struct k_seq *s[2], *got;
		struct k_prefix_stats st;
		int32_t ids[2][100];

		set_up(&b, names[m]);
		for (int k = 0; k < 2; k++) {
			for (int i = 0; i < 100; i++)
				ids[k][i] = i < 70 ? 3 + i : 40 + k + i;
			K_CHECK_OK(k_seq_new(&s[k], b.m, &err));
			step(&b, s[k], ids[k], 70, b.logits);
			keep(&b, 5, s[k]);
			step(&b, s[k], ids[k] + 70, 26, b.logits);
			keep(&b, 5, s[k]);
			k_seq_free(s[k]);
		}
		for (int k = 0; k < 2; k++) {
			K_CHECK_OK(k_prefix_copy(b.p, 5, ids[k], 96, &got, &err));
			K_CHECK(got && k_seq_len(got) == 96 && !memcmp(k_seq_ids(got), ids[k], 96 * sizeof(int32_t)));
			step(&b, got, ids[k] + 96, 4, b.logits);
			check_bits(&b, ids[k], 100, names[m]);
			k_seq_free(got);
		}
		/* It can be cut back to where the others part. */
		K_CHECK_OK(k_prefix_copy(b.p, 5, ids[0], 80, &got, &err));
		K_CHECK(got && k_seq_len(got) == (b.hybrid ? 70 : 80));
		k_seq_free(got);
		K_CHECK_OK(k_prefix_copy(b.p, 6, ids[0], 96, &got, &err));
		K_CHECK(!got);
		k_prefix_forget(b.p, 6, ids[0], 96);
		k_prefix_forget(b.p, 5, ids[0], 96);
		K_CHECK(k_prefix_sound(b.p, &err));
		K_CHECK(k_prefix_look(b.p, 5, ids[0], 100, 1) == 70 && k_prefix_look(b.p, 5, ids[1], 100, 1) == 96);
		k_prefix_forget(b.p, 5, ids[1], 96);
		K_CHECK(k_prefix_sound(b.p, &err));
		k_prefix_stats(b.p, &st);
		K_CHECK(st.bytes == 0 && st.nodes == 0 && k_prefix_look(b.p, 5, ids[1], 100, 1) == 0);
		tear_down(&b);
	}
}

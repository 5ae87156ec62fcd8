/* engine_test.c: what a sequence promises, on the tiny models: chunks, batch mates, marks, copies and saved states do not change a bit
 * of a logit. That the logits are right is the business of the golden sets (cmd/test/parity.sh). */
#include "libcore/base.h"
#include <stdlib.h>
#include "formats/format.h"
#include "libcore/pool.h"
#include "libcore/seq.h"
#include "libcore/test.h"

enum { LEN = 100, LONG = 2300 };
static const char *const names[] = { "tiny/kimi-linear-tiny", "tiny/kimi-k2-tiny", "tiny/kimi-linear-tiny-int4", "tiny/llama-tiny" };

struct bench { struct k_ctx ctx; struct k_device *dev; struct k_model *m; int64_t vocab; int32_t ids[LONG]; };

/* Pages of three kinds: f32, with activations of bf16, and int8. */
enum { KINDS = 3 };
static const struct k_ctx kinds[KINDS] = { { .act = K_ACT_F32 }, { .act = K_ACT_BF16 }, { .kv = 1 + K_KV_INT8 } };

static void set_up_kind(struct bench *b, const char *name, int threads, int kind)
{
	struct k_ckpt *c;
	struct k_err err;

	memset(b, 0, sizeof(*b));
	b->ctx = kinds[kind];
	K_CHECK_OK(k_pool_new(&b->ctx.pool, threads, &err));
	K_CHECK_OK(k_format_open(&c, k_test_data(name), false, &b->ctx, &err));
	K_CHECK_OK(k_device_open(&b->dev, &b->ctx, NULL, &err));
	K_CHECK_OK(k_model_open(&b->m, c, b->dev, &(struct k_model_opts){ 0 }, &b->ctx, &err));
	b->vocab = k_model_hp(b->m)->n_vocab;
	for (int i = 0; i < LONG; i++)
		b->ids[i] = (int32_t)((i * 7919 + 13) % b->vocab);
}

static void set_up(struct bench *b, const char *name, int threads) { set_up_kind(b, name, threads, 0); }

static void tear_down(struct bench *b)
{
	k_model_close(b->m);
	k_device_close(b->dev);
	k_pool_free(b->ctx.pool);
}

static struct k_seq *new_seq(struct bench *b)
{
	struct k_err err;
	struct k_seq *s;

	K_CHECK_OK(k_seq_new(&s, b->m, &err));
	return s;
}

/* Runs ids [from, to) in chunks; logits of the last. */
static float *run(struct bench *b, struct k_seq *s, int from, int to, int chunk)
{
	float *logits = malloc((size_t)b->vocab * sizeof(float));
	const float *hidden;
	struct k_err err;

	for (int i = from; i < to; i += chunk) {
		struct k_run r = { s, b->ids + i, K_MIN(chunk, to - i), 1 };

		K_CHECK_OK(k_model_step(b->m, &r, 1, &hidden, NULL, &err));
	}
	K_CHECK_OK(k_model_logits(b->m, hidden, 1, logits, &err));
	return logits;
}

static void same(struct bench *b, const char *what, float *x, const float *y)
{
	K_CHECK_MSG(memcmp(x, y, (size_t)b->vocab * sizeof(float)) == 0, "%s: other bits", what);
	free(x);
}

/* As large as one that was computed, the same bits for a seed, other ones for another. */
K_TEST(engine_stretched_sequences)
{
	enum { FAR = 800, IDS = 4096 };         /* the room for ids grows in steps */
	static const uint64_t seeds[] = { 1, 1, 2 };
	for (size_t i = 0; i < K_LEN(names); i++) {
		float *logits[K_LEN(seeds)];
		struct k_err err;
		struct bench b;

		set_up(&b, names[i], 2);
		struct k_seq *whole = new_seq(&b);
		free(run(&b, whole, 0, FAR, LEN));
		for (size_t k = 0; k < K_LEN(seeds); k++) {
			struct k_seq *s = new_seq(&b);

			free(run(&b, s, 0, 3 * K_PAGE + 5, LEN));
			K_CHECK_OK(k_seq_stretch(s, FAR, seeds[k], &err));
			K_CHECK(k_seq_len(s) == FAR && k_seq_bytes(s) <= k_seq_bytes(whole) + IDS && k_seq_bytes(whole) <= k_seq_bytes(s) + IDS);
			logits[k] = run(&b, s, 0, 1, 1);
			k_seq_free(s);
		}
		k_seq_free(whole);
		K_CHECK(memcmp(logits[0], logits[2], (size_t)b.vocab * sizeof(float)) != 0);
		same(&b, names[i], logits[0], logits[1]);
		free(logits[1]);
		free(logits[2]);
		tear_down(&b);
	}
}

K_TEST(engine_chunks_do_not_matter)
{
	for (size_t i = 0; i < KINDS * K_LEN(names); i++) {
		const char *name = names[i / KINDS];
		struct bench b;
		struct k_seq *s;
		float *want;

		set_up_kind(&b, name, 2, (int)(i % KINDS));
		s = new_seq(&b);
		want = run(&b, s, 0, LEN, LEN);
		K_CHECK(k_seq_len(s) == LEN && k_seq_ids(s)[LEN - 1] == b.ids[LEN - 1]);
		k_seq_free(s);
		for (int chunk = 1; chunk < LEN; chunk = chunk * 3 + 1) {
			s = new_seq(&b);
			same(&b, name, run(&b, s, 0, LEN, chunk), want);
			k_seq_free(s);
		}
		free(want);
		tear_down(&b);
	}
}

/* A long context is attended to in spans, which are tasks when there are few queries and many threads. */
K_TEST(engine_long_contexts_do_not_depend_on_threads)
{
	for (size_t i = 0; i < K_LEN(names); i++) {
		struct bench b;
		struct k_seq *s;
		float *want;

		set_up(&b, names[i], 1);
		s = new_seq(&b);
		want = run(&b, s, 0, LONG, 500);
		k_seq_free(s);
		tear_down(&b);
		set_up(&b, names[i], 7);
		s = new_seq(&b);
		free(run(&b, s, 0, LONG - 9, LONG));
		same(&b, names[i], run(&b, s, LONG - 9, LONG, 1), want);
		k_seq_free(s);
		free(want);
		tear_down(&b);
	}
}

K_TEST(engine_batch_mates_do_not_matter)
{
	for (size_t i = 0; i < K_LEN(names); i++) {
		struct k_seq *s[5];
		struct k_run runs[5];
		const float *hidden;
		float *rows, *want;
		struct bench b;
		struct k_err err;

		set_up(&b, names[i], 3);
		rows = malloc(5 * (size_t)b.vocab * sizeof(float));
		for (int k = 0; k < 5; k++) {
			s[k] = new_seq(&b);
			free(run(&b, s[k], 0, 10 * k + 1, 64));
			runs[k] = (struct k_run){ s[k], b.ids + 10 * k + 1, k % 2 ? 1 : 7, 1 };
		}
		K_CHECK_OK(k_model_step(b.m, runs, 5, &hidden, NULL, &err));
		K_CHECK_OK(k_model_logits(b.m, hidden, 5, rows, &err));
		for (int k = 0; k < 5; k++) {
			k_seq_free(s[k]);
			s[k] = new_seq(&b);
			want = run(&b, s[k], 0, (int)(10 * k + 1 + runs[k].n), 64);
			same(&b, names[i], want, rows + k * b.vocab);
			k_seq_free(s[k]);
		}
		free(rows);
		tear_down(&b);
	}
}

static void nothing(void *arg, int layer, const float *x, int64_t n) { (void)arg, (void)layer, (void)x, (void)n; }

enum { SEQS = 3, FIRST = 60 };

/* n tokens of each of three sequences behind some that they have, of which the last of[] are wanted: their logits, and those of a token more. All rows pass all
 * layers where somebody looks on. */
static float *wanted_rows(struct bench *b, int n, const int *of, bool looks)
{
	static const struct k_probe probe = { .hidden = nothing };
	float *logits = malloc((size_t)(SEQS * (n + 1) * b->vocab) * sizeof(float));
	int64_t outs = 0;
	struct k_run runs[SEQS];
	struct k_seq *s[SEQS];
	const float *hidden;
	struct k_err err;
	for (int q = 0; q < SEQS; q++) {
		s[q] = new_seq(b);
		free(run(b, s[q], 0, FIRST * q + 1, 64));
		runs[q] = (struct k_run){ s[q], b->ids + FIRST * q + 1, n, of[q] };
		outs += of[q];
	}
	K_CHECK_OK(k_model_step(b->m, runs, SEQS, &hidden, looks ? &probe : NULL, &err));
	K_CHECK_OK(k_model_logits(b->m, hidden, outs, logits, &err));
	for (int q = 0; q < SEQS; q++) {
		float *next = run(b, s[q], FIRST * q + 1 + n, FIRST * q + 2 + n, 1);
		memcpy(logits + (outs + q) * b->vocab, next, (size_t)b->vocab * sizeof(*next));
		free(next);
		k_seq_free(s[q]);
	}
	return logits;
}

/* Rows that nobody wants do not pass the last layer: a model that ends with each kind of mixer, runs within a chunk of rows and over its end. */
K_TEST(engine_rows_that_are_not_wanted_do_not_matter)
{
	static const char *const ends[] = { "tiny/kimi-linear-tiny", "tiny/kimi-linear-tiny-d128", "tiny/llama-tiny" };
	static const int length[] = { 9, 300 }, half[][SEQS] = { { 0, 0, 0 }, { 0, 1, 2 }, { 2, 1, 0 }, { 1, 0, 1 }, { 1, 1, 1 }, { 2, 2, 2 } };
	for (size_t i = 0; i < KINDS * K_LEN(ends) * K_LEN(length); i++) {
		const char *name = ends[i / KINDS % K_LEN(ends)];
		int n = length[i / KINDS / K_LEN(ends)];
		struct bench b;
		set_up_kind(&b, name, 2, (int)(i % KINDS));
		size_t row = (size_t)b.vocab;
		float *want = wanted_rows(&b, n, (int[]){ n, n, n }, true);
		for (size_t k = 0; k < K_LEN(half); k++) {
			int of[SEQS] = { half[k][0] * n / 2, half[k][1] * n / 2, half[k][2] * n / 2 };
			float *got = wanted_rows(&b, n, of, false), *at = got;
			for (int q = 0; q < SEQS; at += (size_t)of[q++] * row)
				K_CHECK_MSG(!memcmp(at, want + (size_t)(n * (q + 1) - of[q]) * row, (size_t)of[q] * row * sizeof(*at)), "%s: %d of %d rows of sequence %d", name, of[q], n, q);
			K_CHECK_MSG(!memcmp(at, want + (size_t)(SEQS * n) * row, SEQS * row * sizeof(*at)), "%s: the tokens behind %d", name, n);
			free(got);
		}
		free(want);
		tear_down(&b);
	}
}

/* A ceiling in the middle of a sequence: it gets no further, stays as it was, and what it gives back another one has. */
K_TEST(engine_the_ceiling_holds)
{
	for (size_t i = 0; i < KINDS * K_LEN(names); i++) {
		struct bench b;
		struct k_err err;
		const float *hidden;
		set_up_kind(&b, names[i / KINDS], 2, (int)(i % KINDS));
		uint64_t start = k_model_held(b.m), before;
		K_CHECK(start > 0);
		struct k_seq *s = new_seq(&b), *t = new_seq(&b);
		b.ctx.max_memory = k_model_held(b.m) + 2 * k_seq_page_bytes(b.m) + 4 * (uint64_t)k_model_hp(b.m)->n_embd;
		free(run(&b, s, 0, 100, 100));
		before = k_model_held(b.m);
		struct k_run on = { s, b.ids + 100, LONG - 100, 1 };
		K_CHECK(k_model_step(b.m, &on, 1, &hidden, NULL, &err) == K_ENOMEM && strstr(err.msg, "--max-memory"));
		K_CHECK(k_seq_len(s) == 100 && k_model_held(b.m) == before);
		struct k_run two = { t, b.ids, 100, 1 };
		if (k_seq_page_bytes(b.m)) {
			K_CHECK(k_model_step(b.m, &two, 1, &hidden, NULL, &err) == K_ENOMEM);
			k_seq_free(s);
			s = NULL;
			free(run(&b, t, 0, 100, 100));
		}
		k_seq_free(s);
		k_seq_free(t);
		b.ctx.max_memory = 0;
		K_CHECK(k_model_held(b.m) <= start + 4 * (uint64_t)k_model_hp(b.m)->n_embd);
		tear_down(&b);
	}
}

K_TEST(engine_rewind_is_as_if_never_gone)
{
	for (size_t i = 0; i < K_LEN(names); i++) {
		bool linear = strstr(names[i], "linear") != NULL;
		int64_t len, reused;
		struct k_seq *s;
		struct bench b;
		struct k_err err;
		float *want;

		set_up(&b, names[i], 1);
		s = new_seq(&b);
		free(run(&b, s, 0, 70, 70));
		K_CHECK_OK(k_seq_mark(s, &err));
		want = run(&b, s, 70, LEN, 64);
		K_CHECK_OK(k_seq_rewind(s, 80, &len, &err));
		K_CHECK_MSG(len == (linear ? 70 : 80), "%s: %lld", names[i], (long long)len);
		same(&b, names[i], run(&b, s, (int)len, LEN, 64), want);
		K_CHECK_OK(k_seq_sync(s, b.ids, 75, &reused, &err));
		K_CHECK_MSG(reused == (linear ? 70 : 74), "%s: %lld", names[i], (long long)reused);
		same(&b, names[i], run(&b, s, (int)reused, LEN, 64), want);
		b.ids[3] = (b.ids[3] + 1) % (int32_t)b.vocab;
		K_CHECK_OK(k_seq_sync(s, b.ids, 75, &reused, &err));
		K_CHECK(reused == (linear ? 0 : 3));
		free(want);
		k_seq_free(s);
		tear_down(&b);
	}
}

K_TEST(engine_fork_and_saved_state_go_on)
{
	for (size_t i = 0; i < KINDS * K_LEN(names); i++) {
		const char *name = names[i / KINDS];
		struct k_seq *s, *t;
		struct k_source *src;
		struct k_sink *sink;
		uint64_t tag;
		struct k_buf file;
		struct bench b;
		struct k_err err;
		float *want;

		set_up_kind(&b, name, 1, (int)(i % KINDS));
		s = new_seq(&b);
		free(run(&b, s, 0, 70, 70));
		K_CHECK_OK(k_seq_fork(&t, s, &err));
		k_buf_init(&file, 0);
		K_CHECK_OK(k_sink_mem(&sink, &file, &err));
		K_CHECK_OK(k_seq_save(s, 7, sink, &err));
		K_CHECK_OK(k_sink_commit(sink, &err));
		k_sink_close(sink);
		want = run(&b, s, 70, LEN, 64);
		same(&b, "fork", run(&b, t, 70, LEN, 64), want);
		k_seq_free(t);
		K_CHECK_OK(k_source_mem(&src, file.data, file.len, false, "state", &err));
		K_CHECK_OK(k_seq_load(&t, b.m, src, &tag, &err));
		K_CHECK(tag == 7);
		k_source_close(src);
		same(&b, "saved", run(&b, t, 70, LEN, 64), want);
		k_seq_free(t);
		for (size_t at = 0; at < file.len; at += 1 + file.len / 23) {
			file.data[at] ^= 4;
			K_CHECK_OK(k_source_mem(&src, file.data, file.len, false, "state", &err));
			K_CHECK_MSG(k_seq_load(&t, b.m, src, &tag, &err) < 0, "byte %zu is wrong and nobody says so", at);
			k_source_close(src);
			file.data[at] ^= 4;
		}
		for (size_t n = 0; n < file.len; n += 1 + file.len / 7) {
			K_CHECK_OK(k_source_mem(&src, file.data, n, false, "state", &err));
			K_CHECK(k_seq_load(&t, b.m, src, &tag, &err) < 0);
			k_source_close(src);
		}
		free(want);
		k_buf_fini(&file);
		k_seq_free(s);
		tear_down(&b);
	}
}

K_TEST(engine_refuses_ids_out_of_range)
{
	struct bench b;
	struct k_seq *s;
	struct k_err err;
	const float *hidden;
	int32_t bad[] = { -1, 1 << 30 };

	set_up(&b, names[1], 1);
	s = new_seq(&b);
	for (int i = 0; i < 2; i++) {
		struct k_run r = { s, bad + i, 1, 1 };

		K_CHECK(k_model_step(b.m, &r, 1, &hidden, NULL, &err) == K_EUSAGE);
	}
	K_CHECK(k_seq_len(s) == 0);
	k_seq_free(s);
	tear_down(&b);
}

/* Half the memory, and for each 32 values 32 bytes and 4; a state with pages of another kind is not taken for one's own. */
K_TEST(engine_pages_are_of_three_kinds)
{
	for (size_t i = 0; i < K_LEN(names); i++) {
		struct bench b[KINDS];
		struct k_err err;

		for (int k = 0; k < KINDS; k++)
			set_up_kind(&b[k], names[i], 1, k);
		K_CHECK(k_seq_page_bytes(b[0].m) == 2 * k_seq_page_bytes(b[1].m) && k_seq_page_bytes(b[1].m) > 0);
		K_CHECK(k_seq_page_bytes(b[2].m) >= k_seq_page_bytes(b[0].m) * 36 / 128 && k_seq_page_bytes(b[2].m) < k_seq_page_bytes(b[1].m));
		K_CHECK(k_seq_state_bytes(b[0].m) == k_seq_state_bytes(b[1].m) && k_seq_state_bytes(b[0].m) == k_seq_state_bytes(b[2].m));
		for (int k = 0; k < KINDS; k++) {
			struct k_seq *s = new_seq(&b[k]), *t;
			struct k_source *src;
			struct k_sink *sink;
			struct k_buf file;
			uint64_t tag;

			free(run(&b[k], s, 0, 70, 70));
			k_buf_init(&file, 0);
			K_CHECK_OK(k_sink_mem(&sink, &file, &err));
			K_CHECK_OK(k_seq_save(s, 7, sink, &err));
			K_CHECK_OK(k_sink_commit(sink, &err));
			k_sink_close(sink);
			K_CHECK_OK(k_source_mem(&src, file.data, file.len, false, "state", &err));
			K_CHECK(k_seq_load(&t, b[(k + 1) % KINDS].m, src, &tag, &err) == K_EUNSUP && strstr(err.msg, "another way"));
			k_source_close(src);
			k_buf_fini(&file);
			k_seq_free(s);
		}
		for (int k = 0; k < KINDS; k++)
			tear_down(&b[k]);
	}
}

/* parts_test.c: a model on several devices is the model on one, to the bit: logits, saved states, what a mark and a copy go on with. Each simulated device
 * has a memory of its own, and a kernel that touches another's fails. */
#include "libcore/base.h"
#include "formats/format.h"
#include "libcore/io.h"
#include "libcore/pool.h"
#include "libcore/seq.h"
#include "libcore/test.h"

enum { PROMPT = 4, MARK = 3, LEN = 6 };
/* With KDA layers, with experts, with an embedding that is the head too. */
static const char *const names[] = { "tiny/kimi-linear-tiny", "tiny/kimi-k2-tiny-int4", "tiny/llama-tiny" };

struct bench { struct k_ctx ctx; struct k_device *dev; struct k_model *m; int32_t ids[LEN]; };
/* What a device gave: logits behind a prompt, a token, the way back, a copy, the prompt token by token; and the state as bytes. */
struct result { float *logits[5]; struct k_buf state; size_t bytes; };

static bool set_up(struct bench *b, const char *name, const char *spec, enum k_act act)
{
	struct k_ckpt *c;
	struct k_err err;
	memset(b, 0, sizeof(*b));
	b->ctx.act = act;
	K_CHECK_OK(k_pool_new(&b->ctx.pool, 1, &err));
	if (!k_device_known(spec))
		return false;
	K_CHECK_OK(k_device_open(&b->dev, &b->ctx, spec, &err));
	K_CHECK_OK(k_format_open(&c, k_test_data(name), false, &b->ctx, &err));
	K_CHECK_OK(k_model_open(&b->m, c, b->dev, &(struct k_model_opts){ 0 }, &b->ctx, &err));
	for (int i = 0; i < LEN; i++)
		b->ids[i] = (i * 7919 + 13) % (int32_t)k_model_hp(b->m)->n_vocab;
	return true;
}

static void tear_down(struct bench *b)
{
	k_model_close(b->m);
	k_device_close(b->dev);
	k_pool_free(b->ctx.pool);
}

static float *run(struct bench *b, struct k_seq *s, int64_t from, int64_t to)
{
	float *logits = k_calloc((size_t)k_model_hp(b->m)->n_vocab, sizeof(float));
	const float *hidden;
	struct k_err err;
	K_CHECK(logits);
	K_CHECK_OK(k_model_step(b->m, &(struct k_run){ s, b->ids + from, to - from, 1 }, 1, &hidden, NULL, &err));
	K_CHECK_OK(k_model_logits(b->m, hidden, 1, logits, &err));
	return logits;
}

static void compute(struct bench *b, struct result *r)
{
	struct k_seq *s, *copy;
	struct k_sink *sink;
	struct k_err err;
	int64_t len;
	r->bytes = (size_t)k_model_hp(b->m)->n_vocab * sizeof(float);
	K_CHECK_OK(k_seq_new(&s, b->m, &err));
	k_free(run(b, s, 0, MARK));
	K_CHECK_OK(k_seq_mark(s, &err));
	r->logits[0] = run(b, s, MARK, PROMPT);
	r->logits[1] = run(b, s, PROMPT, LEN);
	K_CHECK_OK(k_seq_rewind(s, MARK, &len, &err));
	K_CHECK(len == MARK);
	r->logits[2] = run(b, s, MARK, PROMPT);
	K_CHECK_OK(k_seq_fork(&copy, s, &err));
	r->logits[3] = run(b, copy, PROMPT, LEN);
	k_buf_init(&r->state, 0);
	K_CHECK_OK(k_sink_mem(&sink, &r->state, &err));
	K_CHECK_OK(k_seq_save(s, 7, sink, &err));
	K_CHECK_OK(k_sink_commit(sink, &err));
	k_sink_close(sink);
	k_seq_free(copy);
	k_seq_free(s);
	K_CHECK_OK(k_seq_new(&s, b->m, &err));
	for (int64_t i = 0; i < PROMPT - 1; i++)
		K_CHECK_OK(k_model_step(b->m, &(struct k_run){ s, b->ids + i, 1, 0 }, 1, NULL, NULL, &err));
	r->logits[4] = run(b, s, PROMPT - 1, PROMPT);
	k_seq_free(s);
}

static void goes_on(struct bench *b, const struct result *r)
{
	struct k_source *src;
	struct k_err err;
	struct k_seq *s;
	uint64_t tag;
	K_CHECK_OK(k_source_mem(&src, r->state.data, r->state.len, false, "state", &err));
	K_CHECK_OK(k_seq_load(&s, b->m, src, &tag, &err));
	float *logits = run(b, s, PROMPT, LEN);
	K_CHECK(!memcmp(logits, r->logits[1], r->bytes));
	k_free(logits);
	k_seq_free(s);
	k_source_close(src);
}

static void drop(struct result *r)
{
	for (size_t i = 0; i < K_LEN(r->logits); i++)
		k_free(r->logits[i]);
	k_buf_fini(&r->state);
}

/* Bytes of the saved state; 0: there is no simulator. */
static size_t one_model(const char *name, enum k_act act)
{
	struct bench one, two;
	struct result a = { 0 }, b = { 0 };
	if (!set_up(&one, name, "cudasim", act)) {
		k_pool_free(one.ctx.pool);
		return 0;
	}
	compute(&one, &a);
	set_up(&two, name, "cudasim:3,1", act);
	compute(&two, &b);
	for (size_t k = 0; k < K_LEN(a.logits); k++)
		K_CHECK_MSG(!memcmp(a.logits[k], b.logits[k], a.bytes), "%s: logits %zu have other bits", name, k);
	K_CHECK(!memcmp(a.logits[0], a.logits[2], a.bytes) && !memcmp(a.logits[1], a.logits[3], a.bytes));
	K_CHECK_MSG(!memcmp(a.logits[0], a.logits[4], a.bytes), "%s: a prompt and its tokens one by one", name);
	goes_on(&two, &b);
	size_t bytes = b.state.len;
	tear_down(&one);
	tear_down(&two);
	drop(&a);
	drop(&b);
	return bytes;
}

K_TEST(parts_are_one_model)
{
	for (size_t i = 0; i < K_LEN(names); i++)
		one_model(names[i], K_ACT_F32);
}

/* What attention keeps is half as large. Values a token: 2 layers of a latent of 48 and 8 that are rotated; 3 of 48 and 16; 4 of keys and values, 2 heads of 16. */
K_TEST(parts_with_pages_of_bf16)
{
	static const size_t values[] = { 2 * (48 + 8), 3 * (48 + 16), 4 * 2 * 2 * 16 };
	for (size_t i = 0; i < K_LEN(names); i++) {
		size_t half = one_model(names[i], K_ACT_BF16);
		if (half)
			K_CHECK(one_model(names[i], K_ACT_F32) - half == PROMPT * values[i] * sizeof(uint16_t));
	}
}

/* More devices than layers. */
K_TEST(parts_want_a_layer_each)
{
	struct k_ctx ctx = { 0 };
	struct k_device *d;
	struct k_model *m;
	struct k_ckpt *c;
	struct k_err err;
	K_CHECK_OK(k_pool_new(&ctx.pool, 1, &err));
	if (k_device_known("cudasim")) {
		K_CHECK_OK(k_device_open(&d, &ctx, "cudasim:0,1,2,3,4,5,6,7", &err));
		K_CHECK_OK(k_format_open(&c, k_test_data("tiny/llama-tiny"), false, &ctx, &err));
		K_CHECK(k_model_open(&m, c, d, &(struct k_model_opts){ 0 }, &ctx, &err) == K_EUSAGE && strstr(err.msg, "8 devices"));
		k_device_close(d);
	}
	k_pool_free(ctx.pool);
}

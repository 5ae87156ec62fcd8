/* policy_test.c: which entry gets which type: roles, globs, presets, the last rule, what is kept, what is refused. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/policy.h"
#include "libcore/test.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A model in small: an entry of each role, shapes that types like and shapes that they do not. */
static const struct { const char *name, *role, *type; int ndim; int64_t shape[4]; } model[] = {
	{ "tokenizer.json", "file", "u8", 1, { 100 } },
	{ "model.embed_tokens.weight", "embed", "bf16", 2, { 128, 64 } },
	{ "model.layers.0.input_layernorm.weight", "norm", "bf16", 1, { 64 } },
	{ "model.layers.0.self_attn.q_proj.weight", "kda", "bf16", 2, { 64, 64 } },
	{ "model.layers.0.self_attn.q_conv1d.weight", "kda", "bf16", 3, { 64, 1, 4 } },
	{ "model.layers.0.self_attn.dt_bias", "kda", "f32", 1, { 64 } },
	{ "model.layers.0.self_attn.A_log", "kda", "f32", 4, { 1, 1, 2, 1 } },
	{ "model.layers.1.self_attn.o_proj.weight", "attn", "fp8b128", 2, { 64, 200 } },
	{ "model.layers.0.mlp.down_proj.weight", "dense", "bf16", 2, { 64, 200 } },
	{ "model.layers.1.mlp.gate.weight", "router", "bf16", 2, { 8, 64 } },
	{ "model.layers.1.mlp.experts.*.up_proj.weight", "experts", "bf16", 3, { 8, 32, 64 } },
	{ "model.layers.1.mlp.experts.*.down_proj.weight", "experts", "bf16", 3, { 8, 64, 40 } },
	{ "model.layers.1.mlp.shared_experts.up_proj.weight", "shared", "bf16", 2, { 32, 64 } },
	{ "lm_head.weight", "head", "bf16", 2, { 128, 64 } },
	{ "counts", "other", "i64", 2, { 4, 64 } },
};
enum { N = K_LEN(model), EMBED = 1, NORM, KDA_Q, CONV, DT_BIAS, A_LOG, ATTN, DENSE, ROUTER, UP, DOWN, SHARED, HEAD, COUNTS };

struct box { struct k_ckpt c; struct k_entry in[N], out[N]; int changed; struct k_err err; };

static void make(struct box *x)
{
	memset(x, 0, sizeof(*x));
	for (int i = 0; i < N; i++) {
		struct k_entry *e = &x->in[i];
		*e = (struct k_entry){ .name = model[i].name, .role = model[i].role, .type = k_qtype_find(model[i].type, NULL), .ndim = model[i].ndim };
		for (int d = 0; d < e->ndim; d++)
			e->shape[d] = model[i].shape[d];
		K_CHECK(e->type && k_entry_size(e, &x->err) == 0);
	}
	x->c = (struct k_ckpt){ .path = "model", .arch = "kimi_linear", .n_entries = N, .entries = x->in };
}

static int apply(struct box *x, const char *type, const char *preset, const char *const *rules)
{
	struct k_policy p = { .type = type, .preset = preset, .rules = rules };
	while (rules && rules[p.n_rules])
		p.n_rules++;
	return k_policy_apply(&p, &x->c, x->out, &x->changed, NULL, &x->err);
}

#define RULES(...) (const char *const[]){ __VA_ARGS__, NULL }

/* Types of the entries, "-" for those that stay: one word an entry that is not a file. */
static void expect(const struct box *x, const char *const want[N])
{
	int changed = 0;
	for (int i = 0; i < N; i++) {
		const char *type = want[i] ? want[i] : model[i].type;
		uint64_t bytes;
		K_CHECK_MSG(!strcmp(x->out[i].type->name, type), "%s is %s, wanted %s", model[i].name, x->out[i].type->name, type);
		K_CHECK(k_qtype_slice_bytes(x->out[i].type, k_entry_rows(&x->out[i]), k_entry_cols(&x->out[i]), &bytes));
		K_CHECK_MSG(x->out[i].bytes == bytes * (uint64_t)k_entry_slices(&x->out[i]), "%s: %llu bytes", model[i].name,
			(unsigned long long)x->out[i].bytes);
		K_CHECK(!strcmp(x->out[i].name, model[i].name) && x->out[i].ndim == model[i].ndim);
		changed += strcmp(type, model[i].type) != 0;
	}
	K_CHECK_MSG(x->changed == changed, "%d changed, wanted %d", x->changed, changed);
}

K_TEST(policy_type_is_for_routed_experts)
{
	struct box x;
	make(&x);
	K_CHECK(apply(&x, "i4g32", NULL, NULL) == 0);
	/* 40 columns are no multiple of 32: kept. */
	expect(&x, (const char *const[N]){ [UP] = "i4g32" });
	K_CHECK(!strcmp(x.out[UP].type->layout, "x16"));
	make(&x);
	K_CHECK(apply(&x, "i8row", NULL, NULL) == 0);
	expect(&x, (const char *const[N]){ [UP] = "i8row", [DOWN] = "i8row" });
	make(&x);
	K_CHECK(apply(&x, "bf16", NULL, NULL) == 0);
	expect(&x, (const char *const[N]){ NULL });
	/* The source is not touched. */
	K_CHECK(x.in[UP].type == k_qtype_find("bf16", NULL));
}

K_TEST(policy_roles_leave_small_things_alone)
{
	struct box x;
	make(&x);
	K_CHECK(apply(&x, NULL, NULL, RULES("kda=i8row", "embed=i8row", "head=q8_0", "shared=f16", "attn=bf16", "dense=i4g32")) == 0);
	expect(&x, (const char *const[N]){ [KDA_Q] = "i8row", [EMBED] = "i8row", [HEAD] = "q8_0", [SHARED] = "f16", [ATTN] = "bf16" });
	make(&x);
	K_CHECK(apply(&x, "i8row", NULL, RULES("router=i8row", "norm=i8row")) == 0);
	expect(&x, (const char *const[N]){ [UP] = "i8row", [DOWN] = "i8row" });
}

K_TEST(policy_globs_reach_everything_but_files)
{
	struct box x;
	make(&x);
	K_CHECK(apply(&x, NULL, NULL, RULES("*=f32")) == 0);
	/* Integers have no values: kept. */
	expect(&x, (const char *const[N]){ [EMBED] = "f32", [NORM] = "f32", [KDA_Q] = "f32", [CONV] = "f32", [ATTN] = "f32", [DENSE] = "f32",
		[ROUTER] = "f32", [UP] = "f32", [DOWN] = "f32", [SHARED] = "f32", [HEAD] = "f32" });
	make(&x);
	K_CHECK(apply(&x, NULL, NULL, RULES("model.layers.1.*=i8row", "*.gate.weight=keep")) == 0);
	expect(&x, (const char *const[N]){ [ATTN] = "i8row", [UP] = "i8row", [DOWN] = "i8row", [SHARED] = "i8row" });
	make(&x);
	K_CHECK(apply(&x, NULL, NULL, RULES("lm_head.weight=i8row")) == 0);
	expect(&x, (const char *const[N]){ [HEAD] = "i8row" });
}

K_TEST(policy_last_match_wins)
{
	struct box x;
	make(&x);
	K_CHECK(apply(&x, "i4g32", NULL, RULES("experts=i8row", "*.down_proj.*=q8_0", "*experts.\\*.down*=f16")) == 0);
	/* The dense down projection matches the middle rule, but 200 columns are no multiple of 32. */
	expect(&x, (const char *const[N]){ [UP] = "i8row", [DOWN] = "f16" });
	make(&x);
	K_CHECK(apply(&x, "i8row", NULL, RULES("experts=keep")) == 0);
	expect(&x, (const char *const[N]){ NULL });
	make(&x);
	K_CHECK(apply(&x, "i8row", NULL, RULES("experts=keep", "*.up_proj.*=f32")) == 0);
	expect(&x, (const char *const[N]){ [UP] = "f32", [SHARED] = "f32" });
}

K_TEST(policy_presets)
{
	struct box x;
	const char *about, *name;
	make(&x);
	K_CHECK(apply(&x, NULL, "k2-thinking", NULL) == 0);
	expect(&x, (const char *const[N]){ [UP] = "i4g32", [ATTN] = "bf16" });
	make(&x);
	K_CHECK(apply(&x, NULL, "small", NULL) == 0);
	expect(&x, (const char *const[N]){ [UP] = "i4g32", [EMBED] = "i8row", [KDA_Q] = "i8row", [ATTN] = "i8row", [DENSE] = "i8row",
		[SHARED] = "i8row", [HEAD] = "i8row" });
	make(&x);
	K_CHECK(apply(&x, "i8row", "fp8", NULL) == 0);
	expect(&x, (const char *const[N]){ [UP] = "i8row", [DOWN] = "i8row", [DENSE] = "fp8b128", [SHARED] = "fp8b128" });
	for (int i = 0; (name = k_policy_preset(i, &about)); i++) {
		make(&x);
		K_CHECK_MSG(*about && apply(&x, NULL, name, NULL) == 0, "%s: %s", name, x.err.msg);
	}
	K_CHECK(!k_policy_preset(-1, &about));
}

static const struct { const char *type, *preset, *rule, *says; } refused[] = {
	{ "i3", NULL, NULL, "'i3'" }, { NULL, "tiny", NULL, "k2-thinking" }, { NULL, NULL, "attn", "ROLE=TYPE" }, { NULL, NULL, "=bf16", "ROLE=TYPE" },
	{ NULL, NULL, "attn=i3", "'i3'" }, { NULL, NULL, "attention=bf16", "shared" }, { NULL, NULL, "attn=", "type ''" }, { "", NULL, NULL, "type ''" },
	{ NULL, NULL, "attn=q4_k", "read but not made" }, { "q4_k", NULL, NULL, "read but not made" }, { NULL, NULL, "*=u8", "read but not made" },
};

K_TEST(policy_refuses)
{
	for (size_t i = 0; i < K_LEN(refused); i++) {
		struct box x;
		make(&x);
		int r = apply(&x, refused[i].type, refused[i].preset, refused[i].rule ? RULES(refused[i].rule) : NULL);
		K_CHECK_MSG(r == K_EUSAGE && strstr(x.err.msg, refused[i].says), "case %zu: %d '%s'", i, r, x.err.msg);
	}
	/* A pattern that is too long is not cut. */
	struct box x;
	char longer[400];
	memset(longer, '*', sizeof(longer));
	strcpy(longer + 300, "=bf16");
	make(&x);
	K_CHECK(apply(&x, NULL, NULL, RULES(longer)) == K_EUSAGE);
}

/* A model without routed experts: the message names a rule that would do something. */
K_TEST(policy_without_experts_says_what_would_help)
{
	struct box x;
	make(&x);
	x.c.n_entries = UP;
	K_CHECK(apply(&x, "i8row", NULL, NULL) == K_EUSAGE);
	K_CHECK_MSG(strstr(x.err.msg, "'model'") && strstr(x.err.msg, "--rule dense=i8row"), "%s", x.err.msg);
	K_CHECK(apply(&x, NULL, NULL, RULES("dense=i8row")) == 0 && x.changed == 1);
	x.c.n_entries = NORM;
	K_CHECK(apply(&x, "i4g32", NULL, NULL) == K_EUSAGE && strstr(x.err.msg, "--rule embed=i4g32"));
	x.c.n_entries = 0;
	K_CHECK(apply(&x, "i4g32", NULL, NULL) == K_EUSAGE);
}

K_TEST(policy_log_names_what_is_kept)
{
	struct box x;
	struct k_log log;
	struct k_policy p = { .type = "i4g32" };
	char path[256], text[2048] = "";
	snprintf(path, sizeof(path), "%s/log", k_test_dir());
	make(&x);
	k_log_init(&log, "test");
	log.fd = open(path, O_RDWR | O_CREAT, 0600);
	log.level = K_LOG_WARN;
	K_CHECK(log.fd >= 0 && k_policy_apply(&p, &x.c, x.out, &x.changed, &log, &x.err) == 0);
	K_CHECK(pread(log.fd, text, sizeof(text) - 1, 0) > 0);
	K_CHECK_MSG(strstr(text, "experts.*.down_proj.weight") && strstr(text, "multiple of 32") && strstr(text, "bf16"), "%s", text);
	K_CHECK(!strstr(text, "up_proj"));
	close(log.fd);
	k_log_fini(&log);
}

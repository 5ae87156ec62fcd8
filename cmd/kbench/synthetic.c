/* synthetic.c: which shapes there are, and how much of one fits in memory.
 *
 *   row of the table, layers --> config.json --> the architecture's hyper-parameters and table of weights --> entries
 *
 * With fewer layers than the model it is named after, the pattern of the layers stays, and the vocabulary and the dense layers at the beginning
 * are cut in the same proportion: a token's bytes and operations keep theirs. */
#include "libcore/base.h"
#include <stdio.h>
#include "cmd/kbench/synthetic_int.h"
#include "libcore/backend.h"
#include "libcore/block.h"
#include "libcore/buf.h"
#include "libcore/opt.h"
#include "libcore/resident.h"

/* experts_as: the type of routed experts. full_every: the pattern of the layers; 0: all of them are attention. */
struct shape {
	const char *name, *experts_as;
	void (*config)(struct k_buf *b, const struct shape *s, int64_t layers, int64_t dense, int64_t vocab);
	int64_t layers, vocab, hidden, dense_width, heads, q_lora, kv_lora, nope, rope, v, experts, used, expert_width, full_every;
};

static void list_layers(struct k_buf *b, const struct shape *s, int64_t n, bool full)
{
	const char *comma = "";
	for (int64_t i = 1; i <= n; i++) {
		/* The last layer of the whole model is attention as well, though its number is no multiple. */
		bool is_full = !s->full_every || i % s->full_every == 0 || i == s->layers;
		if (is_full == full) {
			k_buf_printf(b, "%s%lld", comma, (long long)i);
			comma = ",";
		}
	}
}

/* The rest of linear_attn_config, and what is around it. */
static void end_with_layers(struct k_buf *b, const struct shape *s, int64_t layers)
{
	k_buf_puts(b, "\"kda_layers\":[");
	list_layers(b, s, layers, false);
	k_buf_puts(b, "],\"full_attn_layers\":[");
	list_layers(b, s, layers, true);
	k_buf_puts(b, "]}}");
}

static void common(struct k_buf *b, const struct shape *s, const char *act, int64_t layers, int64_t dense, int64_t vocab)
{
	k_buf_printf(b, "\"num_hidden_layers\":%lld,\"first_k_dense_replace\":%lld,\"vocab_size\":%lld,\"hidden_size\":%lld,"
		"\"intermediate_size\":%lld,\"num_attention_heads\":%lld,\"num_key_value_heads\":%lld,\"kv_lora_rank\":%lld,\"qk_nope_head_dim\":%lld,"
		"\"qk_rope_head_dim\":%lld,\"v_head_dim\":%lld,\"moe_intermediate_size\":%lld,\"moe_layer_freq\":1,\"hidden_act\":\"%s\","
		"\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":false,\"bos_token_id\":1,\"eos_token_id\":2,", (long long)layers, (long long)dense,
		(long long)vocab, (long long)s->hidden, (long long)s->dense_width, (long long)s->heads, (long long)s->heads, (long long)s->kv_lora,
		(long long)s->nope, (long long)s->rope, (long long)s->v, (long long)s->expert_width, act);
}

static void linear_config(struct k_buf *b, const struct shape *s, int64_t layers, int64_t dense, int64_t vocab)
{
	k_buf_puts(b, "{\"architectures\":[\"KimiLinearForCausalLM\"],\"model_type\":\"kimi_linear\",");
	common(b, s, "silu", layers, dense, vocab);
	k_buf_printf(b, "\"num_experts\":%lld,\"num_experts_per_token\":%lld,\"num_shared_experts\":1,\"num_expert_group\":1,\"topk_group\":1,"
		"\"use_grouped_topk\":true,\"moe_renormalize\":true,\"moe_router_activation_func\":\"sigmoid\",\"routed_scaling_factor\":2.446,"
		"\"mla_use_nope\":true,\"q_lora_rank\":null,\"rope_scaling\":null,\"rope_theta\":10000.0,\"model_max_length\":1048576,"
		"\"linear_attn_config\":{\"short_conv_kernel_size\":4,\"head_dim\":128,\"num_heads\":%lld,", (long long)s->experts,
		(long long)s->used, (long long)s->heads);
	end_with_layers(b, s, layers);
}

static void k2_config(struct k_buf *b, const struct shape *s, int64_t layers, int64_t dense, int64_t vocab)
{
	k_buf_puts(b, "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"kimi_k2\",");
	common(b, s, "silu", layers, dense, vocab);
	k_buf_printf(b, "\"q_lora_rank\":%lld,\"n_routed_experts\":%lld,\"num_experts_per_tok\":%lld,\"n_shared_experts\":1,\"n_group\":1,"
		"\"topk_group\":1,\"norm_topk_prob\":true,\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\",\"routed_scaling_factor\":2.827,"
		"\"max_position_embeddings\":131072,\"rope_theta\":50000.0,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":32.0,\"beta_fast\":1.0,"
		"\"beta_slow\":1.0,\"mscale\":1.0,\"mscale_all_dim\":1.0,\"original_max_position_embeddings\":4096}}", (long long)s->q_lora,
		(long long)s->experts, (long long)s->used);
}

/* Experts on half a row, blocks of three times the pattern. */
static void k3_config(struct k_buf *b, const struct shape *s, int64_t layers, int64_t dense, int64_t vocab)
{
	k_buf_puts(b, "{\"model_type\":\"kimi_k3\",");
	common(b, s, "situ", layers, dense, vocab);
	k_buf_printf(b, "\"activation_situ_beta\":4.0,\"activation_situ_linear_beta\":25.0,\"num_experts\":%lld,\"num_experts_per_token\":%lld,"
		"\"num_shared_experts\":2,\"routed_expert_hidden_size\":%lld,\"latent_moe_use_norm\":true,\"attn_res_block_size\":%lld,\"q_lora_rank\":%lld,"
		"\"mla_use_nope\":true,\"mla_use_output_gate\":true,\"max_position_embeddings\":1048576,\"linear_attn_config\":{\"short_conv_kernel_size\":4,"
		"\"head_dim\":128,\"num_heads\":%lld,\"gate_lower_bound\":-5.0,\"use_full_rank_gate\":true,", (long long)s->experts,
		(long long)s->used, (long long)s->hidden / 2, (long long)s->full_every * 3, (long long)s->q_lora, (long long)s->heads);
	end_with_layers(b, s, layers);
}

/* kimi-linear-mla: what kimi-linear would be if all its layers were attention; -bf16: if its experts were not INT4. */
#define LINEAR_48B linear_config, 27, 163840, 2304, 9216, 32, 0, 512, 128, 64, 128, 256, 8, 1024
#define LINEAR_NANO linear_config, 8, 4096, 256, 768, 4, 0, 128, 64, 32, 64, 16, 4, 64
static const struct shape shapes[] = {
	{ "kimi-linear:48b", "i4g32", LINEAR_48B, 4 },
	{ "kimi-linear:nano", "i4g32", LINEAR_NANO, 4 },
	{ "kimi-linear-mla:48b", "i4g32", LINEAR_48B, 0 },
	{ "kimi-linear-mla:nano", "i4g32", LINEAR_NANO, 0 },
	{ "kimi-linear-bf16:48b", "bf16", LINEAR_48B, 4 },
	{ "kimi-linear-bf16:nano", "bf16", LINEAR_NANO, 4 },
	{ "kimi-k2:tiny", "i4g32", k2_config, 8, 4096, 512, 1024, 8, 256, 128, 64, 32, 64, 32, 4, 256, 0 },
	{ "kimi-k2:1t", "i4g32", k2_config, 61, 163840, 7168, 18432, 64, 1536, 512, 128, 64, 128, 384, 8, 2048, 0 },
	{ "kimi-k3:tiny", "mxfp4", k3_config, 8, 4096, 512, 1024, 4, 256, 128, 64, 32, 64, 32, 4, 256, 4 },
	{ "kimi-k3:2.8t", "mxfp4", k3_config, 93, 163840, 7168, 33792, 96, 1536, 512, 128, 64, 128, 896, 16, 3072, 4 },
};

static int find_shape(const struct shape **out, const char *name, size_t len, struct k_err *err)
{
	char list[512];
	size_t at = 0;
	for (size_t i = 0; i < K_LEN(shapes); i++) {
		*out = &shapes[i];
		if (strlen(shapes[i].name) == len && !memcmp(shapes[i].name, name, len))
			return 0;
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", shapes[i].name);
		at = K_MIN(at, sizeof(list) - 1);
	}
	return k_err_set(err, K_EUSAGE, "--synthetic: there is no '%.*s', wanted one of %s", (int)K_MIN(len, (size_t)64), name, list);
}

/* --- what a model of so many layers consists of -------------------------------------------------------------------------- */

static int add_entry(struct k_outline *o, const struct shape *s, const struct k_weight *w, int64_t layer, struct k_err *err)
{
	struct k_entry *e = &o->entries[o->n];
	char name[512];
	k_arch_name(name, sizeof(name), w->name, "", layer, -1);
	int r = k_arch_shape(o->arch, &o->hp, w->shape, &e->ndim, e->shape, err);
	if (r < 0)
		return r;
	e->name = k_arena_strdup(&o->arena, name);
	if (!e->name)
		return k_err_nomem(err, sizeof(name), "a weight's name");
	e->role = w->role;
	o->filler[o->n] = k_filler_of(w, s->experts_as);
	e->type = k_qtype_for(o->filler[o->n]->type, k_entry_rows(e), k_entry_cols(e));
	r = k_entry_size(e, err);
	o->bytes += e->bytes;
	o->n++;
	return r;
}

static int add_entries(struct k_outline *o, const struct shape *s, struct k_err *err)
{
	size_t rows = 0;
	while (o->arch->weights[rows].slot)
		rows++;
	o->entries = k_arena_array(&o->arena, rows * (size_t)(o->hp.n_layer + 1), sizeof(*o->entries));
	o->filler = k_arena_array(&o->arena, rows * (size_t)(o->hp.n_layer + 1), sizeof(*o->filler));
	if (!o->entries || !o->filler)
		return k_err_nomem(err, rows * (size_t)o->hp.n_layer * sizeof(*o->entries), "a table of weights");
	for (int64_t layer = -1; layer < o->hp.n_layer; layer++)
		for (const struct k_weight *w = o->arch->weights; w->slot; w++)
			if (w->per_layer == (layer >= 0) && (!w->when || w->when(&o->hp, layer))) {
				int r = add_entry(o, s, w, layer, err);
				if (r < 0)
					return r;
			}
	return 0;
}

static int64_t share(int64_t of, int64_t layers, const struct shape *s) { return (of * layers + s->layers / 2) / s->layers; }

static int64_t vocab_of(const struct shape *s, int64_t layers) { return layers == s->layers ? s->vocab : share(s->vocab / 64, layers, s) * 64; }

/* The caller ends the arena, also after a failure. */
static int outline(struct k_outline *o, const struct shape *s, int64_t layers, struct k_err *err)
{
	const struct k_json *text;
	const char *prefix;
	struct k_json *config = NULL;
	struct k_buf b;
	memset(o, 0, sizeof(*o));
	k_arena_init(&o->arena);
	k_buf_init(&b, 1 << 20);
	s->config(&b, s, layers, share(1, layers, s), vocab_of(s, layers));
	int r = k_buf_ok(&b, "a config", err);
	if (r == 0 && !(o->config = k_arena_strdup(&o->arena, b.data)))
		r = k_err_nomem(err, b.len, "a config");
	k_buf_fini(&b);
	if (r == 0)
		r = k_json_parse(&config, o->config, strlen(o->config), K_JSON_STRICT, s->name, err);
	if (r == 0)
		r = k_arch_find(config, s->name, &o->arch, &text, &prefix, err);
	if (r == 0)
		r = k_arch_parse(o->arch, config, text, s->name, &o->hp, err);
	k_json_free(config);
	return r == 0 ? add_entries(o, s, err) : r;
}

/* --- how many layers fit ------------------------------------------------------------------------------------------------- */

/* Weights, and beside them caches, a copy of the states for a repetition, copies of vectors and room to work. */
static uint64_t wants(const struct k_outline *o, struct k_room room, const struct k_ctx *ctx)
{
	struct k_kept kept = k_blocks_keep(o->arch, &o->hp, true, 0, o->hp.n_layer);
	uint64_t floats = (uint64_t)(2 * room.seqs * (kept.state + kept.conv));
	return o->bytes + (uint64_t)room.tokens * k_kv_bytes(k_kv_of(ctx, true), kept.page, kept.groups) + floats * sizeof(float) + ((uint64_t)64 << 20);
}

static uint64_t available(const struct k_ctx *ctx)
{
	return ctx->max_memory ? ctx->max_memory : k_memory_free() / 4 * 3;
}

/* Of all shapes together with so many layers. */
static int total(const struct shape *const *s, int n, int64_t layers, struct k_room room, const struct k_ctx *ctx, uint64_t *bytes, struct k_err *err)
{
	*bytes = 0;
	for (int i = 0; i < n; i++) {
		struct k_outline o;
		int r = outline(&o, s[i], layers, err);
		if (r == 0)
			*bytes += wants(&o, room, ctx);
		k_arena_fini(&o.arena);
		if (r < 0)
			return r;
	}
	return 0;
}

static int choose_layers(const struct shape *const *s, int n, struct k_room room, const struct k_ctx *ctx, int64_t *layers, struct k_err *err)
{
	uint64_t most = available(ctx), bytes = 0;
	int64_t step = 1;
	char a[32], b[32];
	for (int i = 0; i < n; i++)
		step = K_MAX(step, s[i]->full_every);
	for (int64_t l = s[0]->layers; l > 0; l = (l - 1) / step * step) {
		int r = total(s, n, l, room, ctx, &bytes, err);
		if (r < 0)
			return r;
		*layers = l;
		if (bytes <= most)
			return 0;
	}
	return k_err_set(err, K_ENOMEM, "--synthetic %s: %lld layers and caches of %lld tokens want %s, there are %s", s[0]->name, (long long)*layers,
		(long long)room.tokens, k_size_format(a, bytes), k_size_format(b, most));
}

/* --- open ---------------------------------------------------------------------------------------------------------------- */

static int parse_names(const char *text, int max, const struct shape **s, int *n, struct k_err *err)
{
	*n = 0;
	for (const char *p = text; ; p++) {
		size_t len = strcspn(p, ",");
		if (*n == max)
			return k_err_set(err, K_EUSAGE, "--synthetic '%s': wanted at most %d shapes", text, max);
		int r = find_shape(&s[*n], p, len, err);
		if (r < 0)
			return r;
		if (s[*n]->layers != s[0]->layers)
			return k_err_set(err, K_EUSAGE, "--synthetic '%s': %s has %lld layers and %s %lld, wanted as many", text, s[0]->name,
				(long long)s[0]->layers, s[*n]->name, (long long)s[*n]->layers);
		++*n;
		p += len;
		if (!*p)
			return 0;
	}
}

int k_synthetic_open(struct k_synthetic *s, int max, int *n, const char *text, struct k_room room, int64_t seed, const struct k_ctx *ctx,
	struct k_err *err)
{
	const struct shape *shape[8] = { NULL };
	int64_t layers = 0;
	int r = parse_names(text, K_MIN(max, (int)K_LEN(shape)), shape, n, err);
	if (r == 0)
		r = choose_layers(shape, *n, room, ctx, &layers, err);
	for (int i = 0; r == 0 && i < *n; i++) {
		struct k_outline o;
		r = outline(&o, shape[i], layers, err);
		s[i] = (struct k_synthetic){ .name = shape[i]->name, .layers = layers, .layers_of = shape[i]->layers, .vocab = o.hp.n_vocab, .bytes = o.bytes };
		if (r == 0)
			r = k_synthetic_make(&s[i], &o, seed, ctx, err);
		k_arena_fini(&o.arena);
	}
	return r;
}

void k_synthetic_close(struct k_synthetic *s)
{
	if (s->path[0])
		close(s->fd);
	*s = (struct k_synthetic){ 0 };
}

int k_synthetic_put(struct k_json *o, const struct k_synthetic *s)
{
	return k_put_str(o, "synthetic", s->name) | k_put_int(o, "layers", s->layers) | k_put_int(o, "layers_of", s->layers_of) |
		k_put_int(o, "vocab", s->vocab) | k_put_int(o, "weight_bytes", (int64_t)s->bytes);
}

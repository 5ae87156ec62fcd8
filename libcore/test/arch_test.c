/* arch_test.c: architectures: configs of released and tiny models field by field, what is refused and how, names and shapes, counts. */
#include "libcore/base.h"
#include "libcore/arch.h"
#include "libcore/io.h"
#include "libcore/test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct k_json *json(const char *text)
{
	struct k_json *v;
	struct k_err err = { 0 };
	K_CHECK_OK(k_json_parse(&v, text, strlen(text), K_JSON_STRICT, "test", &err));
	return v;
}

static struct k_json *config_of(const char *rel)
{
	struct k_buf b;
	struct k_json *v;
	struct k_err err = { 0 };
	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(k_test_data(rel), &b, 1 << 20, &err));
	K_CHECK_OK(k_json_parse(&v, b.data, b.len, K_JSON_STRICT, rel, &err));
	k_buf_fini(&b);
	return v;
}

static int parse(const struct k_json *config, const struct k_arch **arch, struct k_hp *hp, struct k_err *err)
{
	const struct k_json *text;
	const char *prefix;
	int r = k_arch_find(config, "config.json", arch, &text, &prefix, err);
	return r < 0 ? r : k_arch_parse(*arch, config, text, "config.json", hp, err);
}

/* --- released models: section 1 of the specification -------------------------------------------------------------------------- */

#define KIMI_LINEAR "{\"model_type\": \"kimi_linear\", \"vocab_size\": 163840, \"hidden_size\": 2304, \"num_hidden_layers\": 27," \
	"\"intermediate_size\": 9216, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, \"num_attention_heads\": 32, \"num_key_value_heads\": 32," \
	"\"head_dim\": 72, \"q_lora_rank\": null, \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64," \
	"\"v_head_dim\": 128, \"mla_use_nope\": true, \"rope_theta\": 10000.0, \"rope_scaling\": null, \"linear_attn_config\": {" \
	"\"kda_layers\": [1,2,3,5,6,7,9,10,11,13,14,15,17,18,19,21,22,23,25,26], \"full_attn_layers\": [4,8,12,16,20,24,27]," \
	"\"num_heads\": 32, \"head_dim\": 128, \"short_conv_kernel_size\": 4}, \"num_experts\": 256, \"num_experts_per_token\": 8," \
	"\"num_shared_experts\": 1, \"moe_intermediate_size\": 1024, \"moe_renormalize\": true, \"moe_router_activation_func\": \"sigmoid\"," \
	"\"routed_scaling_factor\": 2.446, \"use_grouped_topk\": true, \"num_expert_group\": 1, \"topk_group\": 1," \
	"\"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, \"num_nextn_predict_layers\": 0, \"tie_word_embeddings\": false," \
	"\"model_max_length\": 1048576, \"bos_token_id\": 163584, \"eos_token_id\": 163586, \"pad_token_id\": 163839}"
#define DEEPSEEK(type, hidden, layers, inter, heads, qlora, theta, scaling, experts, used, shared, width, scale, eos) "{\"model_type\": \"" type \
	"\", \"vocab_size\": 163840, \"hidden_size\": " hidden ", \"num_hidden_layers\": " layers ", \"intermediate_size\": " inter \
	", \"hidden_act\": \"silu\", \"num_attention_heads\": " heads ", \"num_key_value_heads\": " heads ", \"q_lora_rank\": " qlora \
	", \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"rms_norm_eps\": 1e-5" \
	", \"rope_theta\": " theta ", \"rope_scaling\": " scaling ", \"n_routed_experts\": " experts ", \"num_experts_per_tok\": " used \
	", \"n_shared_experts\": " shared ", \"moe_intermediate_size\": " width ", \"n_group\": 1, \"topk_group\": 1, \"norm_topk_prob\": true" \
	", \"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\", \"routed_scaling_factor\": " scale ", \"first_k_dense_replace\": 1" \
	", \"moe_layer_freq\": 1, \"attention_bias\": false, \"tie_word_embeddings\": false, \"max_position_embeddings\": 131072" \
	", \"bos_token_id\": 163584, \"eos_token_id\": " eos ", \"aux_loss_alpha\": 0.001, \"seq_aux\": true, \"ep_size\": 1, \"pretraining_tp\": 1}"
#define YARN "{\"type\": \"yarn\", \"factor\": 32.0, \"original_max_position_embeddings\": 4096, \"beta_fast\": 1.0, \"beta_slow\": 1.0, " \
	"\"mscale\": 1.0, \"mscale_all_dim\": 1.0}"
#define KIMI_K2 DEEPSEEK("kimi_k2", "7168", "61", "18432", "64", "1536", "50000.0", YARN, "384", "8", "1", "2048", "2.827", "163585")
#define MOONLIGHT DEEPSEEK("deepseek_v3", "2048", "27", "11264", "16", "null", "50000.0", "null", "64", "6", "2", "1408", "2.446", "163585")
#define SMOLLM2 "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": 49152, \"hidden_size\": 576," \
	"\"num_hidden_layers\": 30, \"intermediate_size\": 1536, \"num_attention_heads\": 9, \"num_key_value_heads\": 3," \
	"\"rms_norm_eps\": 1e-5, \"rope_theta\": 100000, \"rope_scaling\": null, \"rope_interleaved\": false, \"max_position_embeddings\": 8192," \
	"\"attention_bias\": false, \"tie_word_embeddings\": true, \"hidden_act\": \"silu\", \"bos_token_id\": 1, \"eos_token_id\": 2}"

/* The released K3, its experts as they are multiplied. */
#define KIMI_K3 "{\"model_type\": \"kimi_k3\", \"bos_token_id\": 163584, \"eos_token_id\": 163586, \"text_config\": {\"model_type\": \"kimi_linear\"," \
	"\"vocab_size\": 163840, \"hidden_size\": 7168, \"num_hidden_layers\": 93, \"num_attention_heads\": 96, \"num_key_value_heads\": 96," \
	"\"intermediate_size\": 33792, \"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, \"hidden_act\": \"situ\", \"activation_situ_beta\": 4.0," \
	"\"activation_situ_linear_beta\": 25.0, \"rms_norm_eps\": 1e-5, \"q_lora_rank\": 1536, \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128," \
	"\"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"mla_use_nope\": true, \"mla_use_output_gate\": true, \"linear_attn_config\": {" \
	"\"num_heads\": 96, \"head_dim\": 128, \"short_conv_kernel_size\": 4, \"gate_lower_bound\": -5.0, \"use_full_rank_gate\": true," \
	"\"full_attn_layers\": [" \
	"4,8,12,16,20,24,28,32,36,40,44,48,52,56,60,64,68,72,76,80,84,88,92,93" \
	"], \"kda_layers\": [" \
	"1,2,3,5,6,7,9,10,11,13,14,15,17,18,19,21,22,23,25,26,27,29,30,31,33,34,35,37,38,39,41,42,43,45,46,47,49,50,51," \
	"53,54,55,57,58,59,61,62,63,65,66,67,69,70,71,73,74,75,77,78,79,81,82,83,85,86,87,89,90,91" \
	"]}, \"num_experts\": 896, \"num_experts_per_token\": 16, \"num_shared_experts\": 2, \"moe_intermediate_size\": 3072," \
	"\"routed_expert_hidden_size\": 3584, \"latent_moe_use_norm\": true, \"moe_router_activation_func\": \"sigmoid\", \"moe_renormalize\": true," \
	"\"routed_scaling_factor\": 1.0, \"use_grouped_topk\": true, \"num_expert_group\": 1, \"topk_group\": 1, \"topk_method\": \"noaux_tc\"," \
	"\"attn_res_block_size\": 12, \"tie_word_embeddings\": false, \"max_position_embeddings\": 1048576, \"num_nextn_predict_layers\": 0}}"

/* Tensors and parameters, as the published models have them (sections 2.6 and 6). */
static const struct { const char *config, *arch; int64_t tensors, params; } released[] = {
	{ KIMI_LINEAR, "kimi_linear", 20493, 49122681728 }, { KIMI_K2, "kimi_k2", 69975, 1026408232448 },
	{ MOONLIGHT, "kimi_k2", 5317, 15960110208 }, { SMOLLM2, "llama", 272, 134515008 },
	{ KIMI_K3, "kimi_k3", 249756, 2779484476000 },
};

K_TEST(arch_counts_of_released_models)
{
	for (size_t i = 0; i < K_LEN(released); i++) {
		struct k_json *config = json(released[i].config);
		const struct k_arch *a;
		struct k_hp *hp = k_alloc(sizeof(*hp));
		struct k_err err = { 0 };
		int64_t tensors = 0, params = 0;
		K_CHECK(hp);
		K_CHECK_OK(parse(config, &a, hp, &err));
		K_CHECK(!strcmp(a->name, released[i].arch));
		for (const struct k_weight *w = a->weights; w->slot; w++)
			for (int64_t l = w->per_layer ? 0 : -1; l < (w->per_layer ? hp->n_layer : 0); l++) {
				int64_t dims[K_MAX_DIMS], n;
				int ndim;
				if (w->when && !w->when(hp, l))
					continue;
				K_CHECK_OK(k_arch_shape(a, hp, w->shape, &ndim, dims, &err));
				K_CHECK(k_shape_count(ndim, dims, &n));
				tensors += strstr(w->name, "{e}") ? dims[0] : 1;
				params += n;
			}
		K_CHECK_MSG(tensors == released[i].tensors, "%s: %lld tensors", a->name, (long long)tensors);
		K_CHECK_MSG(params == released[i].params, "%s: %lld parameters", a->name, (long long)params);
		k_json_free(config);
		k_free(hp);
	}
}

K_TEST(arch_kimi_linear_fields)
{
	static const int full[] = { 3, 7, 11, 15, 19, 23, 26 };
	struct k_json *config = json(KIMI_LINEAR);
	const struct k_arch *a;
	struct k_hp h;
	struct k_plan p;
	struct k_err err = { 0 };
	K_CHECK_OK(parse(config, &a, &h, &err));
	K_CHECK(h.n_layer == 27 && h.n_vocab == 163840 && h.n_embd == 2304 && h.n_ff == 9216 && h.n_head == 32 && h.head_dim == 0);
	K_CHECK(h.q_lora == 0 && h.kv_lora == 512 && h.d_nope == 128 && h.d_rope == 64 && h.d_v == 128);
	K_CHECK(h.kda_head == 32 && h.kda_dim == 128 && h.kda_conv == 4);
	K_CHECK(h.n_expert == 256 && h.n_expert_used == 8 && h.n_shared == 1 && h.n_ff_expert == 1024 && h.n_group == 1 && h.n_group_used == 1);
	K_CHECK(h.expert_norm && !h.router_softmax && h.expert_scale == 2.446 && !h.router_biased && !h.tied);
	K_CHECK(h.eps == 1e-5 && h.eps_inner == 1e-5 && h.rope.kind == K_ROPE_NONE && h.n_ctx == 1048576);
	K_CHECK(h.bos == 163584 && h.n_stop == 1 && h.stop[0] == 163586 && h.n_dense_first == 1 && h.moe_freq == 1);
	for (int i = 0, k = 0; i < 27; i++) {
		bool is_full = k < 7 && full[k] == i;
		k += is_full;
		a->plan(&h, i, &p);
		K_CHECK_MSG(k_hp_is_kda(&h, i) == !is_full && !strcmp(p.mixer, is_full ? "mla" : "kda"), "layer %d", i);
		K_CHECK_MSG(!strcmp(p.ffn, i ? "moe" : "mlp"), "layer %d", i);
	}
	k_json_free(config);
}

K_TEST(arch_kimi_k3_fields)
{
	struct k_json *config = json(KIMI_K3);
	const struct k_arch *a;
	struct k_hp h;
	struct k_plan p;
	struct k_err err = { 0 };
	K_CHECK_OK(parse(config, &a, &h, &err));
	K_CHECK(h.situ == 4 && h.situ_up == 25 && h.gate_bound == -5 && h.kda_gate_whole && h.mla_gate && h.q_lora == 1536 && h.kda_head == 96);
	K_CHECK(h.n_latent == 3584 && h.latent_norm && h.n_shared == 2 && h.n_expert == 896 && h.n_expert_used == 16 && h.expert_scale == 1);
	K_CHECK(h.res_block == 12 && k_hp_res_blocks(&h) == 8 && k_hp_expert_width(&h) == 3584 && h.n_ctx == 1048576);
	K_CHECK(h.bos == 163584 && h.n_stop == 1 && h.stop[0] == 163586 && h.rope.kind == K_ROPE_NONE && h.eps == 1e-5 && h.eps_inner == 1e-5);
	for (int i = 0; i < 93; i++) {
		a->plan(&h, i, &p);
		K_CHECK_MSG(!strcmp(p.mixer, i % 4 == 3 || i == 92 ? "mla" : "kda") && !strcmp(p.ffn, i ? "moe" : "mlp"), "layer %d", i);
	}
	k_json_free(config);
}

K_TEST(arch_kimi_k2_fields)
{
	struct k_json *config = json(KIMI_K2), *moon = json(MOONLIGHT);
	const struct k_arch *a;
	struct k_hp h;
	struct k_plan p;
	struct k_err err = { 0 };
	K_CHECK_OK(parse(config, &a, &h, &err));
	K_CHECK(h.q_lora == 1536 && h.n_expert == 384 && h.n_shared == 1 && h.expert_norm && h.expert_scale == 2.827 && h.n_ctx == 131072);
	K_CHECK(h.rope.kind == K_ROPE_YARN && h.rope.interleaved && h.rope.dim == 64 && h.rope.theta == 50000 && h.rope.factor == 32);
	K_CHECK(h.rope.original == 4096 && h.rope.beta_fast == 1 && h.rope.beta_slow == 1 && h.rope.mscale == 1 && h.rope.mscale_all_dim == 1);
	a->plan(&h, 0, &p);
	K_CHECK(!strcmp(p.mixer, "mla") && !strcmp(p.ffn, "mlp"));
	a->plan(&h, 60, &p);
	K_CHECK(!strcmp(p.mixer, "mla") && !strcmp(p.ffn, "moe") && !k_hp_is_kda(&h, 60));
	K_CHECK_OK(parse(moon, &a, &h, &err));
	K_CHECK(h.q_lora == 0 && h.n_shared == 2 && h.n_expert_used == 6 && h.rope.kind == K_ROPE_PLAIN && h.rope.theta == 50000);
	k_json_free(config);
	k_json_free(moon);
}

/* Fields that may be absent have the defaults of the config classes. */
K_TEST(arch_defaults)
{
	struct k_json *config = json("{\"model_type\": \"llama\", \"vocab_size\": 100, \"hidden_size\": 64, \"num_hidden_layers\": 2,"
		"\"intermediate_size\": 96, \"num_attention_heads\": 4}");
	struct k_json *yarn = json("{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}}");
	const struct k_arch *a;
	struct k_hp h;
	struct k_rope_hp r;
	struct k_err err = { 0 };
	K_CHECK_OK(parse(config, &a, &h, &err));
	K_CHECK(h.n_head_kv == 4 && h.head_dim == 16 && h.eps == 1e-6 && !h.tied && !h.attn_bias && !h.mlp_bias && h.bos == -1 && h.n_stop == 0);
	K_CHECK(h.rope.theta == 10000 && h.rope.kind == K_ROPE_PLAIN && !h.rope.interleaved && h.rope.dim == 16 && h.n_ctx == 0);
	memset(&r, 0, sizeof(r));
	K_CHECK_OK(k_arch_rope(yarn, "x", &r, &err));
	K_CHECK(r.kind == K_ROPE_YARN && r.original == 4096 && r.beta_fast == 32 && r.beta_slow == 1 && r.mscale == 1 && r.mscale_all_dim == 0);
	K_CHECK(!r.has_mscale && r.theta == 10000);
	k_json_free(config);
	k_json_free(yarn);
}

/* --- one field changed ----------------------------------------------------------------------------------------------------- */

/* path: "a" or "a.b"; value: JSON, NULL: the member is left out. code 0: accepted. */
static const struct change { char base; const char *path, *value; int code; const char *says; } changes[] = {
	/* What belongs to other models. */
	{ 'l', "forget_gate_lower_bound", "-5", K_EUNSUP, "forget_gate_lower_bound" },
	{ 'l', "linear_attn_config.gate_lower_bound", "-5.0", K_EUNSUP, "gate_lower_bound" },
	{ 'l', "linear_attn_config.use_full_rank_gate", "true", K_EUNSUP, "use_full_rank_gate" },
	{ 'l', "use_full_rank_output_gate", "true", K_EUNSUP, "use_full_rank_output_gate" },
	{ 'l', "routed_expert_hidden_size", "512", K_EUNSUP, "routed_expert_hidden_size" },
	{ 'l', "attn_res_block_size", "4", K_EUNSUP, "attn_res_block_size" },
	{ 'k', "routed_expert_hidden_size", "512", K_EUNSUP, "routed_expert_hidden_size" },
	{ 'k', "gate_lower_bound", "-5", K_EUNSUP, "gate_lower_bound" }, { 'k', "use_full_rank_gate", "true", K_EUNSUP, "use_full_rank_gate" },
	{ 'k', "index_topk", "2048", K_EUNSUP, "index_topk" }, { 'k', "attention_bias", "true", K_EUNSUP, "attention_bias" },
	{ 'l', "use_full_rank_output_gate", "false", 0, NULL }, { 'l', "gate_lower_bound", "null", 0, NULL },
	{ 'k', "index_topk", "\"\"", 0, NULL }, { 'k', "mlp_bias", "[]", 0, NULL }, { 'k', "mlp_bias", "[1]", K_EUNSUP, "mlp_bias" },
	/* Kimi-Linear is a K3 that lacks everything new. */
	{ 'l', "model_type", "\"kimi_k3\"", 0, NULL }, { '3', "model_type", "\"kimi_linear\"", K_ENOENT, "vocab_size" },
	{ '3', "text_config.hidden_act", "\"gelu\"", K_EUNSUP, "gelu" }, { '3', "text_config.hidden_act", "\"silu\"", 0, NULL },
	{ '3', "text_config.activation_situ_beta", "null", 0, NULL }, { '3', "text_config.activation_situ_beta", "-1", K_EFORMAT, "activation_situ_beta" },
	{ '3', "text_config.activation_situ_linear_beta", "\"25\"", K_EFORMAT, "activation_situ_linear_beta" },
	{ '3', "text_config.linear_attn_config.gate_lower_bound", "1", K_EFORMAT, "gate_lower_bound" },
	{ '3', "text_config.linear_attn_config.gate_lower_bound", "null", 0, NULL }, { '3', "text_config.gate_lower_bound", "-5", K_EUNSUP, "gate_lower_bound" },
	{ '3', "text_config.linear_attn_config.use_full_rank_gate", "1", K_EFORMAT, "use_full_rank_gate" },
	{ '3', "text_config.linear_attn_config.allow_neg_eigval", "true", K_EUNSUP, "allow_neg_eigval" },
	{ '3', "text_config.mla_use_nope", "false", K_EUNSUP, "mla_use_nope" }, { '3', "text_config.mla_use_output_gate", "[]", K_EFORMAT, "mla_use_output_gate" },
	{ '3', "text_config.q_lora_rank", "null", 0, NULL }, { '3', "text_config.q_lora_rank", "0", K_EFORMAT, "q_lora_rank" },
	{ '3', "text_config.num_key_value_heads", "8", K_EUNSUP, "num_key_value_heads" },
	{ '3', "text_config.routed_expert_hidden_size", "0", K_EFORMAT, "routed_expert_hidden_size" }, { '3', "text_config.routed_expert_hidden_size", "null", 0, NULL },
	{ '3', "text_config.attn_res_block_size", "0", K_EFORMAT, "attn_res_block_size" }, { '3', "text_config.attn_res_block_size", "null", 0, NULL },
	{ '3', "text_config.num_experts_per_token", "897", K_EFORMAT, "897 experts a token" },
	{ 'k', "model_type", "\"deepseek_v32\"", K_EUNSUP, "deepseek_v32" },
	{ 'k', "model_type", "7", K_EFORMAT, "model_type" }, { 's', "model_type", NULL, 0, NULL },
	{ 's', "num_local_experts", "8", K_EUNSUP, "num_local_experts" }, { 's', "rope_interleaved", "true", K_EUNSUP, "rope_interleaved" },
	{ 's', "sliding_window", "4096", K_EUNSUP, "sliding_window" }, { 's', "sliding_window", "null", 0, NULL },
	{ 'l', "linear_attn_config.num_v_heads", "64", K_EUNSUP, "num_v_heads" }, { 'l', "linear_attn_config.num_v_heads", "32", 0, NULL },
	{ 'l', "q_lora_rank", "1536", K_EUNSUP, "q_lora_rank" },
	/* Words. */
	{ 'l', "hidden_act", "\"gelu\"", K_EUNSUP, "gelu" }, { 'k', "hidden_act", "3", K_EFORMAT, "hidden_act" }, { 's', "hidden_act", NULL, 0, NULL },
	{ 'k', "scoring_func", "\"softmax\"", K_EUNSUP, "softmax" }, { 'k', "topk_method", "\"greedy\"", K_EUNSUP, "greedy" },
	{ 'l', "topk_method", "\"group_limited_greedy\"", K_EUNSUP, "topk_method" }, { 'l', "moe_router_activation_func", "\"softmax\"", 0, NULL },
	{ 'l', "moe_router_activation_func", "\"tanh\"", K_EUNSUP, "tanh" },
	/* Sizes. */
	{ 'l', "vocab_size", "0", K_EFORMAT, "vocab_size" }, { 'k', "hidden_size", "-1", K_EFORMAT, "hidden_size" },
	{ 's', "hidden_size", "16777217", K_EFORMAT, "hidden_size" }, { 's', "hidden_size", "1e3", K_EFORMAT, "hidden_size" },
	{ 's', "hidden_size", NULL, K_ENOENT, "hidden_size" }, { 's', "hidden_size", "null", K_ENOENT, "hidden_size" },
	{ 's', "hidden_size", "9223372036854775807", K_EFORMAT, "hidden_size" }, { 's', "hidden_size", "99999999999999999999", K_EFORMAT, "hidden_size" },
	{ 's', "num_hidden_layers", "4097", K_EFORMAT, "num_hidden_layers" }, { 's', "intermediate_size", "true", K_EFORMAT, "intermediate_size" },
	{ 's', "num_attention_heads", "7", K_EFORMAT, "num_attention_heads" }, { 's', "num_key_value_heads", "2", K_EFORMAT, "num_key_value_heads" },
	{ 's', "num_key_value_heads", "18", K_EFORMAT, "num_key_value_heads" }, { 's', "head_dim", "63", K_EFORMAT, "head_dim" },
	{ 's', "head_dim", "128", 0, NULL }, { 's', "num_key_value_heads", "0", K_EFORMAT, "num_key_value_heads" },
	{ 'k', "qk_rope_head_dim", "63", K_EFORMAT, "qk_rope_head_dim" }, { 'k', "kv_lora_rank", NULL, K_ENOENT, "kv_lora_rank" },
	{ 'l', "v_head_dim", "0", K_EFORMAT, "v_head_dim" }, { 'k', "q_lora_rank", "0", K_EFORMAT, "q_lora_rank" }, { 'k', "q_lora_rank", NULL, 0, NULL },
	{ 'l', "rms_norm_eps", "0", K_EFORMAT, "rms_norm_eps" }, { 'l', "rms_norm_eps", "2", K_EFORMAT, "rms_norm_eps" },
	{ 'l', "rms_norm_eps", "\"1e-5\"", K_EFORMAT, "rms_norm_eps" }, { 's', "tie_word_embeddings", "1", K_EFORMAT, "tie_word_embeddings" },
	{ 's', "max_position_embeddings", "0", K_EFORMAT, "max_position_embeddings" },
	/* Tokens. */
	{ 's', "bos_token_id", "49152", K_EFORMAT, "bos_token_id" }, { 's', "eos_token_id", "-1", K_EFORMAT, "eos_token_id" },
	{ 's', "eos_token_id", "[1, 2, 3]", 0, NULL }, { 's', "eos_token_id", "[1, \"2\"]", K_EFORMAT, "eos_token_id" },
	{ 's', "eos_token_id", "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", K_EUNSUP, "eos_token_id" }, { 's', "eos_token_id", "null", 0, NULL },
	/* Layer lists count from 1 and part the layers. */
	{ 'l', "linear_attn_config", NULL, K_ENOENT, "linear_attn_config" }, { 'l', "linear_attn_config", "[]", K_EFORMAT, "linear_attn_config" },
	{ 'l', "linear_attn_config.kda_layers", NULL, K_ENOENT, "kda_layers" }, { 'l', "linear_attn_config.kda_layers", "[0]", K_EFORMAT, "wanted 1 to 27" },
	{ 'l', "linear_attn_config.kda_layers", "[28]", K_EFORMAT, "28" }, { 'l', "linear_attn_config.kda_layers", "[1, 1]", K_EFORMAT, "twice" },
	{ 'l', "linear_attn_config.kda_layers", "[-9223372036854775808]", K_EFORMAT, "wanted 1 to 27" },
	{ 'l', "linear_attn_config.kda_layers", "[1, 2, 4]", K_EFORMAT, "layer 4 stands twice" },
	{ 'l', "linear_attn_config.kda_layers", "[1, 2]", K_EFORMAT, "layer 3 is neither" },
	{ 'l', "linear_attn_config.kda_layers", "[1.5]", K_EFORMAT, "kda_layers" }, { 'l', "linear_attn_config.kda_layers", "3", K_EFORMAT, "kda_layers" },
	{ 'l', "linear_attn_config.short_conv_kernel_size", "65", K_EFORMAT, "short_conv_kernel_size" },
	{ 'l', "linear_attn_config.num_heads", "0", K_EFORMAT, "num_heads" }, { 'l', "linear_attn_config.head_dim", NULL, K_ENOENT, "head_dim" },
	{ 'l', "mla_use_nope", NULL, K_EUNSUP, "mla_use_nope" }, { 'l', "mla_use_nope", "false", K_EUNSUP, "mla_use_nope" },
	{ 'l', "head_dim", "99", 0, NULL },
	/* Experts. */
	{ 'l', "num_experts_per_token", "257", K_EFORMAT, "257 experts a token" }, { 'l', "num_experts_per_token", NULL, K_ENOENT, "num_experts_per_token" },
	{ 'l', "num_experts_per_token", "0", K_EFORMAT, "num_experts_per_token" }, { 'k', "num_experts_per_tok", NULL, K_ENOENT, "num_experts_per_tok" },
	{ 'k', "n_group", "7", K_EFORMAT, "groups" }, { 'k', "topk_group", "2", K_EFORMAT, "topk_group" }, { 'k', "n_group", "384", K_EFORMAT, "hold" },
	{ 'k', "n_group", "4", 0, NULL }, { 'k', "n_group", "96", K_EFORMAT, "chosen groups hold 4" }, { 'l', "num_expert_group", "8", 0, NULL },
	{ 'l', "moe_layer_freq", "0", K_EFORMAT, "moe_layer_freq" }, { 'l', "first_k_dense_replace", "-1", K_EFORMAT, "first_k_dense_replace" },
	{ 'k', "n_routed_experts", NULL, 0, NULL }, { 'k', "n_routed_experts", "384.0", K_EFORMAT, "n_routed_experts" },
	{ 'k', "routed_scaling_factor", "\"2\"", K_EFORMAT, "routed_scaling_factor" }, { 'k', "norm_topk_prob", "1", K_EFORMAT, "norm_topk_prob" },
	/* Rotation. */
	{ 'k', "rope_theta", "0", K_EFORMAT, "rope_theta" }, { 'k', "rope_theta", "-1", K_EFORMAT, "rope_theta" }, { 'k', "rope_theta", "1", K_EFORMAT, "rope_theta" },
	{ 'k', "rope_scaling.type", "\"longrope\"", K_EUNSUP, "longrope" }, { 'k', "rope_scaling.type", "\"dynamic\"", K_EUNSUP, "dynamic" },
	{ 'k', "rope_scaling.type", NULL, K_ENOENT, "type" }, { 'k', "rope_scaling.type", "5", K_EFORMAT, "type" },
	{ 'k', "rope_scaling.factor", NULL, K_ENOENT, "factor" }, { 'k', "rope_scaling.factor", "0", K_EFORMAT, "factor" },
	{ 'k', "rope_scaling.factor", "\"32\"", K_EFORMAT, "factor" }, { 'k', "rope_scaling.beta_fast", "0", K_EFORMAT, "beta_fast" },
	{ 'k', "rope_scaling.original_max_position_embeddings", "0", K_EFORMAT, "original_max_position_embeddings" },
	{ 'k', "rope_scaling.attention_factor", "1.2", K_EUNSUP, "attention_factor" }, { 'k', "rope_scaling.truncate", "false", K_EUNSUP, "truncate" },
	{ 'k', "rope_scaling", "\"yarn\"", K_EFORMAT, "rope_scaling" }, { 'k', "rope_scaling", "{}", 0, NULL },
	{ 'k', "rope_parameters", "{\"type\": \"default\"}", K_EUNSUP, "both" }, { 'k', "partial_rotary_factor", "0.5", K_EUNSUP, "partial_rotary_factor" },
	{ 's', "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 5.0}", K_EFORMAT, "two values" },
	{ 's', "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 100000}", 0, NULL },
	{ 's', "rope_scaling", "{\"type\": \"linear\", \"factor\": 2}", 0, NULL },
	{ 's', "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4, "
		"\"original_max_position_embeddings\": 8192}", K_EFORMAT, "high_freq_factor" },
	{ 's', "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, "
		"\"original_max_position_embeddings\": 8192}", 0, NULL },
	{ 's', "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4}", K_ENOENT, "original_max" },
};

/* A copy of obj with the member at path as value says. */
static struct k_json *changed(const struct k_json *obj, const char *path, const char *value)
{
	struct k_json *out = k_json_object(), *v;
	size_t len = strcspn(path, ".");
	const char *key;
	void *it = NULL;
	bool there = false;
	while (k_json_next(obj, &it, &key, &v)) {
		bool hit = strlen(key) == len && !memcmp(key, path, len);
		there |= hit;
		if (hit && path[len])
			K_CHECK(k_json_set(out, key, changed(v, path + len + 1, value)) == 0);
		else if (!hit || value)
			K_CHECK(k_json_set(out, key, hit ? json(value) : k_json_copy(v)) == 0);
	}
	if (!there && value) {
		K_CHECK(!path[len] && k_json_set(out, path, json(value)) == 0);
	}
	return out;
}

K_TEST(arch_one_field_changed)
{
	struct k_json *linear = json(KIMI_LINEAR), *k2 = json(KIMI_K2), *k3 = json(KIMI_K3), *smol = json(SMOLLM2);
	for (size_t i = 0; i < K_LEN(changes); i++) {
		const struct change *c = &changes[i];
		struct k_json *config = changed(c->base == 'l' ? linear : c->base == 'k' ? k2 : c->base == '3' ? k3 : smol, c->path, c->value);
		const struct k_arch *a;
		struct k_hp h;
		struct k_err err = { 0 };
		int r = parse(config, &a, &h, &err);
		K_CHECK_MSG(r == c->code, "%c: %s = %s gives %s (%s), wanted %s", c->base, c->path, c->value ? c->value : "(absent)",
			r ? k_err_name(r) : "0", err.msg, c->code ? k_err_name(c->code) : "0");
		K_CHECK_MSG(!c->says || strstr(err.msg, c->says), "%c: %s: '%s' does not say '%s'", c->base, c->path, err.msg, c->says);
		K_CHECK_MSG(!c->says || strstr(err.msg, "'config.json"), "%s: '%s' does not name the file", c->path, err.msg);
		k_json_free(config);
	}
	k_json_free(linear);
	k_json_free(k2);
	k_json_free(k3);
	k_json_free(smol);
}

/* Statistics of what enters a matrix are kept by GGUF's name, of at most 63 bytes with its end. */
K_TEST(arch_matrices_have_short_names)
{
	for (int i = 0; k_arch_at(i); i++)
		for (const struct k_weight *w = k_arch_at(i)->weights; w->slot; w++)
			if (strchr(w->shape, ',') && !strstr(w->slot, "conv") && strcmp(w->role, "norm") && !strstr(w->slot, "a_log"))
				K_CHECK_MSG(w->gguf && strlen(w->gguf) + strlen("4095.in_sum2") - strlen("{i}") <= 63, "%s: %s", k_arch_at(i)->name, w->slot);
}

/* --- folders ---------------------------------------------------------------------------------------------------------------- */

K_TEST(arch_tiny_models_are_known)
{
	static const struct { const char *folder, *arch; int64_t layers, experts; } all[] = {
		{ "kimi-linear-tiny", "kimi_linear", 5, 8 }, { "kimi-linear-groups-tiny", "kimi_linear", 6, 12 }, { "kimi-linear-tiny-d128", "kimi_linear", 2, 0 },
		{ "kimi-linear-tiny-int4", "kimi_linear", 5, 8 }, { "kimi-k2-tiny", "kimi_k2", 3, 8 }, { "kimi-k2-tiny-int4", "kimi_k2", 3, 8 },
		{ "kimi-k2-tiny-fp8", "kimi_k2", 3, 8 }, { "moonlight-tiny", "kimi_k2", 4, 8 }, { "k3-tiny", "kimi_k3", 13, 12 }, { "llama-tiny", "llama", 4, 0 },
	};
	for (size_t i = 0; i < K_LEN(all); i++) {
		char rel[128];
		const struct k_arch *a;
		struct k_hp h;
		struct k_err err = { 0 };
		snprintf(rel, sizeof(rel), "tiny/%s/config.json", all[i].folder);
		struct k_json *config = config_of(rel);
		K_CHECK_OK(parse(config, &a, &h, &err));
		K_CHECK_MSG(!strcmp(a->name, all[i].arch), "%s is %s", all[i].folder, a->name);
		if (strcmp(all[i].folder, "kimi-linear-tiny-d128"))
			K_CHECK_MSG(h.n_layer == all[i].layers && h.n_expert == all[i].experts, "%s", all[i].folder);
		k_json_free(config);
	}
}

static int class_of(int code)
{
	return code == 0 ? 'o' : code == K_EUNSUP ? 'u' : code == K_ENOENT ? 'm' : code == K_ESHAPE ? 's' : 'f';
}

/* Folders of bad/config that show no fault before their tensors are seen, or whose fault is another reader's. */
static bool needs_tensors(const char *folder)
{
	static const char *const all[] = { "hidden_other", "vocab_other", "bias_without_tensors", "layers_many", "quant_unknown", "quant_number",
		"head_dim_other" };
	for (size_t i = 0; i < K_LEN(all); i++)
		if (!strcmp(folder, all[i]))
			return true;
	return false;
}

/* "format|shape" holds the class whose first letter is c; a malformed file is format whatever its name. */
static bool allows(const char *classes, int c)
{
	for (const char *p = classes; p; p = strchr(p, '|'), p = p ? p + 1 : NULL)
		if (*p == c)
			return true;
	return false;
}

K_TEST(arch_bad_configs)
{
	struct k_buf list, text;
	struct k_err err = { 0 };
	int seen = 0;
	k_buf_init(&list, 0);
	K_CHECK_OK(k_read_file(k_test_data("bad/EXPECT.tsv"), &list, 1 << 20, &err));
	char *save, *line = strtok_r(list.data, "\n", &save);
	for (; line; line = strtok_r(NULL, "\n", &save)) {
		char folder[64], rel[128], *what = strchr(line, '\t'), *classes = what ? strchr(what + 1, '\t') : NULL;
		struct k_json *config;
		const struct k_arch *a;
		struct k_hp h;
		if (!classes || sscanf(line, "config/%63[^/]/", folder) != 1)
			continue;
		snprintf(rel, sizeof(rel), "bad/config/%s/config.json", folder);
		k_buf_init(&text, 0);
		K_CHECK_OK(k_read_file(k_test_data(rel), &text, 1 << 20, &err));
		int r = k_json_parse(&config, text.data, text.len, K_JSON_STRICT, rel, &err);
		if (r == 0) {
			r = parse(config, &a, &h, &err);
			k_json_free(config);
		}
		K_CHECK_MSG(allows(classes + 1, class_of(r)) || (r == 0 && needs_tensors(folder)), "%s: %s (%s), wanted %s", folder,
			r ? k_err_name(r) : "accepted", err.msg, classes + 1);
		k_buf_fini(&text);
		seen++;
	}
	K_CHECK_MSG(seen > 60, "%d folders", seen);
	k_buf_fini(&list);
}

/* --- wrappers, names, shapes ---------------------------------------------------------------------------------------------------- */

/* What the text's own object lacks, or has as null, is said around it. */
K_TEST(arch_ids_around_a_text_model)
{
	struct k_json *config = json("{\"model_type\": \"kimi_k25\", \"bos_token_id\": 7, \"eos_token_id\": [8, 9], \"text_config\": " KIMI_K2 "}");
	struct k_json *inner = k_json_find(config, "text_config");
	const struct k_json *text;
	const struct k_arch *a;
	const char *prefix;
	struct k_hp h;
	struct k_err err = { 0 };

	K_CHECK_OK(k_arch_find(config, "c", &a, &text, &prefix, &err));
	K_CHECK_OK(k_arch_parse(a, config, text, "c", &h, &err));
	K_CHECK(h.bos == 163584 && h.n_stop == 1 && h.stop[0] == 163585);
	K_CHECK(!k_json_set(inner, "bos_token_id", k_json_new_null()) && !k_json_set(inner, "eos_token_id", k_json_new_null()));
	K_CHECK_OK(k_arch_parse(a, config, text, "c", &h, &err));
	K_CHECK(h.bos == 7 && h.n_stop == 2 && h.stop[0] == 8 && h.stop[1] == 9);
	K_CHECK(!k_json_set(config, "eos_token_id", k_json_new_int(1 << 30)));
	K_CHECK(k_arch_parse(a, config, text, "c", &h, &err) == K_EFORMAT && strstr(err.msg, "eos_token_id"));
	k_json_free(config);
}

K_TEST(arch_wrappers_hold_a_text_model)
{
	struct k_json *config = json("{\"model_type\": \"kimi_k25\", \"hidden_act\": \"gelu\", \"text_config\": " KIMI_K2 "}");
	struct k_json *none = json("{\"model_type\": \"kimi_vl\"}"), *odd = json("{\"model_type\": \"kimi_vl\", \"text_config\": 5}");
	struct k_json *bare = json("{\"architectures\": [\"DeepseekV3ForCausalLM\"]}"), *array = json("[]"), *empty = json("{}");
	const struct k_json *text;
	const struct k_arch *a;
	const char *prefix;
	struct k_hp h;
	struct k_err err = { 0 };
	K_CHECK_OK(k_arch_find(config, "c", &a, &text, &prefix, &err));
	K_CHECK(!strcmp(a->name, "kimi_k2") && !strcmp(prefix, "language_model.") && text == k_json_find(config, "text_config"));
	K_CHECK_OK(a->parse(text, "c", &h, &err));
	K_CHECK_OK(k_arch_parse(a, config, text, "c", &h, &err));
	K_CHECK(h.bos == 163584 && h.n_stop == 1 && h.stop[0] == 163585);
	K_CHECK(k_arch_find(none, "c", &a, &text, &prefix, &err) == K_ENOENT && strstr(err.msg, "text_config"));
	K_CHECK(k_arch_find(odd, "c", &a, &text, &prefix, &err) == K_EFORMAT);
	K_CHECK_OK(k_arch_find(bare, "c", &a, &text, &prefix, &err));
	K_CHECK(!strcmp(a->name, "kimi_k2") && !*prefix && text == bare);
	K_CHECK(k_arch_find(array, "c", &a, &text, &prefix, &err) == K_EFORMAT && k_arch_find(empty, "c", &a, &text, &prefix, &err) == K_EUNSUP);
	k_json_free(config), k_json_free(none), k_json_free(odd), k_json_free(bare), k_json_free(array), k_json_free(empty);
}

/* The text_config of K3's release, which says kimi_linear, as a config of its own: the same model. */
K_TEST(arch_k3_text_config_alone)
{
	struct k_json *config = json(KIMI_K3), *alone = k_json_copy(k_json_find(config, "text_config"));
	static const char *const marks[] = { "attn_res_block_size", "routed_expert_hidden_size" };
	const struct k_json *text;
	const struct k_arch *a;
	const char *prefix;
	struct k_hp whole, h;
	struct k_err err = { 0 };

	K_CHECK_OK(parse(config, &a, &whole, &err));
	K_CHECK_OK(k_arch_find(alone, "c", &a, &text, &prefix, &err));
	K_CHECK(!strcmp(a->name, "kimi_k3") && !*prefix && text == alone);
	K_CHECK_OK(k_arch_parse(a, alone, text, "c", &h, &err));
	K_CHECK(h.res_block == 12 && h.n_latent == 3584 && h.n_layer == whole.n_layer && h.gate_bound == -5 && h.situ == 4 && h.mla_gate);
	for (size_t i = 0; i < K_LEN(marks); i++) {
		K_CHECK(!k_json_set(alone, marks[i], k_json_new_null()));
		K_CHECK(parse(alone, &a, &h, &err) == K_EUNSUP && !strcmp(a->name, "kimi_linear"));
		K_CHECK(!k_json_set(alone, marks[i], k_json_copy(k_json_find(k_json_find(config, "text_config"), marks[i]))));
	}
	k_json_free(config), k_json_free(alone);
}

K_TEST(arch_registry)
{
	const struct k_arch *a;
	for (int i = 0; (a = k_arch_at(i)); i++) {
		K_CHECK(k_arch_named(a->name) == a && a->about && a->match && a->parse && a->dim && a->plan && a->weights);
		K_CHECK(!a->gguf_arch || (k_arch_gguf(a->gguf_arch) == a && a->gguf_keys && a->gguf_class));
		for (const struct k_weight *w = a->weights; w->slot; w++) {
			K_CHECK_MSG(w->name && w->role && w->shape, "%s %s", a->name, w->slot);
			K_CHECK_MSG(w->per_layer == (strstr(w->name, "{i}") != NULL), "%s %s", a->name, w->slot);
			K_CHECK_MSG(!strstr(w->name, "{e}") || w->shape[0] == 'E', "%s %s", a->name, w->slot);
		}
	}
	K_CHECK(!k_arch_at(-1) && !k_arch_named("gpt2") && !k_arch_gguf("gemma"));
}

K_TEST(arch_names)
{
	static const char *const p = "model.layers.{i}.mlp.experts.{e}.up_proj.weight";
	char buf[96];
	k_arch_name(buf, sizeof(buf), p, "", 3, -1);
	K_CHECK_MSG(!strcmp(buf, "model.layers.3.mlp.experts.*.up_proj.weight"), "%s", buf);
	k_arch_name(buf, sizeof(buf), p, "language_model.", 60, 383);
	K_CHECK_MSG(!strcmp(buf, "language_model.model.layers.60.mlp.experts.383.up_proj.weight"), "%s", buf);
	/* Cut at any size, terminated, nothing behind. */
	for (size_t n = 0; n <= 64; n++) {
		memset(buf, '#', sizeof(buf));
		k_arch_name(buf, n, p, "a.", 12345, 678);
		for (size_t i = n; i < sizeof(buf); i++)
			K_CHECK(buf[i] == '#');
		K_CHECK_MSG(n == 0 || !strncmp(buf, "a.model.layers.12345.mlp.experts.678.up_proj.weight", strlen(buf)), "%s", buf);
	}
}

K_TEST(arch_shapes)
{
	const struct k_arch *a = k_arch_named("kimi_linear");
	struct k_hp h = { .n_expert = 5, .n_ff_expert = 7, .n_embd = 11, .kda_head = 2, .kda_dim = 3, .kda_conv = 4 };
	int64_t d[K_MAX_DIMS];
	struct k_err err = { 0 };
	int n;
	K_CHECK_OK(k_arch_shape(a, &h, "E,Fe,D", &n, d, &err));
	K_CHECK(n == 3 && d[0] == 5 && d[1] == 7 && d[2] == 11);
	K_CHECK_OK(k_arch_shape(a, &h, "P,1,K", &n, d, &err));
	K_CHECK(n == 3 && d[0] == 6 && d[1] == 1 && d[2] == 4);
	K_CHECK(k_arch_shape(a, &h, "D,Zz", &n, d, &err) == K_EBUG && strstr(err.msg, "Zz"));
	K_CHECK(k_arch_shape(a, &h, "1,1,1,1,1,1,1,1,1", &n, d, &err) == K_EBUG && k_arch_shape(a, &h, ",D", &n, d, &err) == K_EBUG);
}

/* --- GGUF --------------------------------------------------------------------------------------------------------------------- */

#define KEYS "\"llama.embedding_length\": 64, \"llama.block_count\": 2, \"llama.feed_forward_length\": 96, \"llama.attention.head_count\": 4," \
	"\"llama.attention.layer_norm_rms_epsilon\": 1e-5"
#define VOCAB ", \"llama.vocab_size\": 100"

static const struct { const char *keys; int code; const char *says; } gguf[] = {
	{ "{" KEYS ", \"llama.vocab_size\": 100}", 0, NULL }, { "{" KEYS "}", K_ENOENT, "vocab_size" },
	{ "{" KEYS ", \"llama.vocab_size\": 100, \"llama.rope.scaling.type\": \"linear\", \"llama.rope.scaling.factor\": 2.0}", 0, NULL },
	{ "{" KEYS ", \"llama.vocab_size\": 100, \"llama.rope.scaling.type\": \"none\", \"llama.rope.dimension_count\": 16}", 0, NULL },
	{ "{" KEYS ", \"llama.rope.scaling.type\": \"linear\"}", K_ENOENT, "rope.scaling.factor" },
	{ "{" KEYS ", \"llama.rope.scaling.type\": \"yarn\", \"llama.rope.scaling.factor\": 2.0}", K_EUNSUP, "yarn" },
	{ "{" KEYS VOCAB ", \"llama.expert_count\": 8}", K_EUNSUP, "experts" }, { "{" KEYS VOCAB ", \"llama.rope.dimension_count\": 8}", K_EUNSUP, "dimension_count" },
	{ "{" KEYS VOCAB ", \"llama.attention.value_length\": 8}", K_EUNSUP, "value_length" },
	{ "{" KEYS ", \"llama.attention.head_count_kv\": [4, 2]}", K_EUNSUP, "head_count_kv" },
	{ "{\"llama.embedding_length\": 64}", K_ENOENT, "block_count" },
};

K_TEST(arch_llama_of_gguf_keys)
{
	const struct k_arch *a = k_arch_gguf("llama");
	for (size_t i = 0; i < K_LEN(gguf); i++) {
		struct k_json *keys = json(gguf[i].keys), *config = NULL;
		struct k_err err = { 0 };
		struct k_hp h;
		int r = k_arch_gguf_config(a, keys, "x.gguf", &config, &err);
		K_CHECK_MSG(r == gguf[i].code, "%s: %d %s", gguf[i].keys, r, err.msg);
		K_CHECK_MSG(!gguf[i].says || strstr(err.msg, gguf[i].says), "%s", err.msg);
		if (r == 0) {
			K_CHECK_OK(a->parse(config, "x.gguf", &h, &err));
			K_CHECK(h.n_embd == 64 && h.n_head == 4 && h.n_head_kv == 4 && h.head_dim == 16 && h.eps == 1e-5 && h.n_vocab == 100);
			K_CHECK(h.rope.kind == (i == 2 ? K_ROPE_LINEAR : K_ROPE_PLAIN) && (i != 2 || h.rope.factor == 2));
			k_json_free(config);
		}
		k_json_free(keys);
	}
}

/* The converter of llama.cpp: w.reshape(heads, 2, d/2, cols).swapaxes(1, 2). Its inverse brings each row home once. */
K_TEST(arch_llama_rows_of_gguf)
{
	const struct k_weight *w = k_arch_named("llama")->weights;
	struct k_hp h = { .n_head = 3, .head_dim = 10 };
	int32_t order[30], made[30];
	while (strcmp(w->slot, "gqa.q"))
		w++;
	w->gguf_rows(&h, order, 30);
	for (int head = 0, at = 0; head < 3; head++)
		for (int i = 0; i < 5; i++)
			for (int half = 0; half < 2; half++)
				made[at++] = head * 10 + half * 5 + i;
	for (int r = 0; r < 30; r++)
		K_CHECK_MSG(made[order[r]] == r, "row %d", r);
}

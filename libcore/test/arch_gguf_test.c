/* arch_gguf_test.c: keys of GGUF and config.json: the keys of each architecture by name, order and value, the way back, refusals. */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/arch.h"
#include "libcore/io.h"
#include "libcore/test.h"

static struct k_json *json(const char *text)
{
	struct k_json *v;
	struct k_err err = { 0 };

	K_CHECK_OK(k_json_parse(&v, text, strlen(text), K_JSON_STRICT, "test", &err));
	return v;
}

/* The order is that of the specification of the files, section 5.7. */
static const struct { const char *config, *keys; } models[] = {
	{ "tiny/llama-tiny/config.json", "{\"llama.vocab_size\": 512, \"llama.context_length\": 512, \"llama.embedding_length\": 96, "
		"\"llama.block_count\": 4, \"llama.feed_forward_length\": 160, \"llama.attention.head_count\": 6, "
		"\"llama.attention.head_count_kv\": 2, \"llama.attention.layer_norm_rms_epsilon\": 1e-05, \"llama.rope.dimension_count\": 16, "
		"\"llama.rope.freq_base\": 100000.0}" },
	{ "tiny/kimi-k2-tiny/config.json", "{\"deepseek2.vocab_size\": 512, \"deepseek2.context_length\": 512, "
		"\"deepseek2.embedding_length\": 160, \"deepseek2.block_count\": 3, \"deepseek2.feed_forward_length\": 200, "
		"\"deepseek2.attention.head_count\": 4, \"deepseek2.attention.head_count_kv\": 1, "
		"\"deepseek2.attention.layer_norm_rms_epsilon\": 1e-05, \"deepseek2.attention.key_length\": 64, "
		"\"deepseek2.attention.value_length\": 48, \"deepseek2.attention.key_length_mla\": 48, "
		"\"deepseek2.attention.value_length_mla\": 24, \"deepseek2.attention.q_lora_rank\": 56, "
		"\"deepseek2.attention.kv_lora_rank\": 48, \"deepseek2.rope.dimension_count\": 16, \"deepseek2.rope.freq_base\": 50000.0, "
		"\"deepseek2.rope.scaling.type\": \"yarn\", \"deepseek2.rope.scaling.factor\": 8.0, "
		"\"deepseek2.rope.scaling.original_context_length\": 64, \"deepseek2.rope.scaling.yarn_beta_fast\": 1.0, "
		"\"deepseek2.rope.scaling.yarn_beta_slow\": 1.0, \"deepseek2.rope.scaling.yarn_log_multiplier\": 0.1, "
		"\"deepseek2.leading_dense_block_count\": 1, \"deepseek2.expert_feed_forward_length\": 32, \"deepseek2.expert_count\": 8, "
		"\"deepseek2.expert_used_count\": 3, \"deepseek2.expert_shared_count\": 1, \"deepseek2.expert_group_count\": 1, "
		"\"deepseek2.expert_group_used_count\": 1, \"deepseek2.expert_weights_scale\": 2.827, "
		"\"deepseek2.expert_weights_norm\": true, \"deepseek2.expert_gating_func\": 2}" },
	{ "tiny/kimi-linear-tiny/config.json", "{\"kimi-linear.vocab_size\": 512, \"kimi-linear.context_length\": 4096, "
		"\"kimi-linear.embedding_length\": 96, \"kimi-linear.block_count\": 5, \"kimi-linear.feed_forward_length\": 144, "
		"\"kimi-linear.attention.head_count\": 4, \"kimi-linear.attention.head_count_kv\": [0, 0, 1, 0, 1], "
		"\"kimi-linear.attention.layer_norm_rms_epsilon\": 1e-05, \"kimi-linear.attention.key_length\": 56, "
		"\"kimi-linear.attention.key_length_mla\": 32, \"kimi-linear.attention.value_length_mla\": 20, "
		"\"kimi-linear.attention.kv_lora_rank\": 48, \"kimi-linear.rope.dimension_count\": 8, "
		"\"kimi-linear.rope.freq_base\": 10000.0, \"kimi-linear.leading_dense_block_count\": 1, "
		"\"kimi-linear.expert_feed_forward_length\": 32, \"kimi-linear.expert_count\": 8, \"kimi-linear.expert_used_count\": 3, "
		"\"kimi-linear.expert_shared_count\": 1, \"kimi-linear.expert_group_count\": 1, "
		"\"kimi-linear.expert_group_used_count\": 1, \"kimi-linear.expert_weights_scale\": 2.446, "
		"\"kimi-linear.expert_gating_func\": 2, \"kimi-linear.ssm.conv_kernel\": 4, \"kimi-linear.kda.head_dim\": 32, "
		"\"kimi-linear.kda.head_count\": 3}" },
	{ "tiny/k3-tiny/config.json", "{\"kimi-k3.vocab_size\": 96, \"kimi-k3.context_length\": 1048576, \"kimi-k3.embedding_length\": 64, "
		"\"kimi-k3.block_count\": 13, \"kimi-k3.feed_forward_length\": 96, \"kimi-k3.attention.head_count\": 2, "
		"\"kimi-k3.attention.head_count_kv\": [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1], "
		"\"kimi-k3.attention.layer_norm_rms_epsilon\": 1e-05, \"kimi-k3.attention.key_length\": 40, "
		"\"kimi-k3.attention.value_length\": 32, \"kimi-k3.attention.key_length_mla\": 24, \"kimi-k3.attention.value_length_mla\": 12, "
		"\"kimi-k3.attention.q_lora_rank\": 24, \"kimi-k3.attention.kv_lora_rank\": 32, \"kimi-k3.rope.dimension_count\": 8, "
		"\"kimi-k3.leading_dense_block_count\": 1, \"kimi-k3.expert_feed_forward_length\": 64, \"kimi-k3.expert_count\": 12, "
		"\"kimi-k3.expert_used_count\": 3, \"kimi-k3.expert_shared_count\": 2, \"kimi-k3.expert_group_count\": 1, "
		"\"kimi-k3.expert_group_used_count\": 1, \"kimi-k3.expert_weights_scale\": 1.0, \"kimi-k3.expert_weights_norm\": true, "
		"\"kimi-k3.expert_gating_func\": 2, \"kimi-k3.ssm.conv_kernel\": 4, \"kimi-k3.kda.head_dim\": 16, \"kimi-k3.kda.head_count\": 3, "
		"\"kimi-k3.kda.gate_lower_bound\": -5.0, \"kimi-k3.expert_latent_length\": 32, \"kimi-k3.activation.situ_beta\": 4.0, "
		"\"kimi-k3.activation.situ_linear_beta\": 25.0, \"kimi-k3.attn_res.block_size\": 5}" },
	{ "tiny/kimi-linear-groups-tiny/config.json", NULL }, { "tiny/moonlight-tiny/config.json", NULL }, { "nano/config.json", NULL },
};

static void check_model(const char *rel, const char *want)
{
	struct k_json *config, *keys = k_json_object(), *back;
	const struct k_json *text;
	const struct k_arch *a;
	const char *prefix;
	struct k_err err = { 0 };
	struct k_hp hp, again;
	struct k_buf b;

	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(k_test_data(rel), &b, 1 << 20, &err));
	config = json(b.data);
	k_buf_reset(&b);
	K_CHECK_OK(k_arch_find(config, rel, &a, &text, &prefix, &err));
	K_CHECK_OK(a->parse(text, rel, &hp, &err));
	K_CHECK_OK(k_arch_gguf_keys(a, &hp, text, rel, keys, &err));
	k_json_dump(&b, keys, 0);
	K_CHECK_MSG(!want || strcmp(b.data, want) == 0, "%s: %s", rel, b.data);
	K_CHECK_OK(k_arch_gguf_config(a, keys, "x.gguf", &back, &err));
	K_CHECK_OK(a->parse(back, "x.gguf", &again, &err));
	/* The ids are keys of the tokenizer; whether the head is tied, and K3's gate and norm, are seen in the tensors. */
	again.bos = hp.bos;
	again.n_stop = hp.n_stop;
	memcpy(again.stop, hp.stop, sizeof(hp.stop));
	again.tied = hp.tied;
	again.mla_gate = hp.mla_gate;
	again.latent_norm = hp.latent_norm;
	K_CHECK_MSG(memcmp(&hp, &again, sizeof(hp)) == 0, "%s: other fields come back", rel);
	k_json_free(back);
	k_json_free(keys);
	k_json_free(config);
	k_buf_fini(&b);
}

K_TEST(arch_gguf_keys_and_back)
{
	for (size_t i = 0; i < K_LEN(models); i++)
		check_model(models[i].config, models[i].keys);
}

/* One key of the good ones changed or, with value NULL, taken out. */
static const struct { const char *arch, *key, *value; int code; const char *says; } wrong[] = {
	{ "deepseek2", "attention.kv_lora_rank", NULL, K_ENOENT, "kv_lora_rank is missing" },
	{ "deepseek2", "attention.key_length_mla", NULL, K_EUNSUP, "key_length_mla" },
	{ "deepseek2", "attention.key_length_mla", "16", K_EFORMAT, "qk_nope_head_dim" },
	{ "deepseek2", "attention.key_length", "65", K_EUNSUP, "key_length is 65, wanted 64" },
	{ "deepseek2", "attention.head_count_kv", "4", K_EUNSUP, "head_count_kv is 4, wanted 1" },
	{ "deepseek2", "attention.head_count_kv", "[1, 1, 1]", K_EUNSUP, "differs by layer" },
	{ "deepseek2", "attention.head_count", "0", K_EFORMAT, "num_attention_heads" },
	{ "deepseek2", "block_count", "\"3\"", K_EFORMAT, "block_count" },
	{ "deepseek2", "expert_gating_func", "1", K_EUNSUP, "gating" },
	{ "deepseek2", "expert_gating_func", NULL, K_EUNSUP, "gating" },
	{ "deepseek2", "rope.scaling.type", "\"longrope\"", K_EUNSUP, "longrope" },
	{ "deepseek2", "rope.scaling.type", "7", K_EFORMAT, "rope.scaling.type" },
	{ "deepseek2", "rope.scaling.factor", NULL, K_ENOENT, "rope.scaling.factor" },
	{ "deepseek2", "rope.freq_base", "\"x\"", K_EFORMAT, "freq_base" },
	{ "deepseek2", "expert_used_count", "9", K_EFORMAT, "9 experts a token" },
	{ "kimi-linear", "attention.head_count_kv", "[0, 0, 1, 0]", K_EFORMAT, "has 4 numbers, wanted one for each of 5 layers" },
	{ "kimi-linear", "attention.head_count_kv", "[0, 0, 1, 0, 1, 1]", K_EFORMAT, "has 6 numbers" },
	{ "kimi-linear", "attention.head_count_kv", "[0, 0, 2, 0, 1]", K_EUNSUP, "2 for layer 2" },
	{ "kimi-linear", "attention.head_count_kv", "1", K_EFORMAT, "wanted an array" },
	{ "kimi-linear", "attention.head_count_kv", NULL, K_ENOENT, "head_count_kv" },
	{ "kimi-linear", "attention.head_count", "0", K_EFORMAT, "num_attention_heads" },
	{ "kimi-linear", "block_count", "0", K_EFORMAT, "layers" },
	{ "kimi-linear", "block_count", "5000", K_EFORMAT, "5000 layers" },
	{ "kimi-linear", "kda.head_dim", NULL, K_ENOENT, "kda.head_dim" },
	{ "kimi-linear", "kda.head_count", "0", K_EFORMAT, "num_heads" },
	{ "kimi-linear", "ssm.conv_kernel", "65", K_EFORMAT, "short_conv_kernel_size" },
	{ "kimi-linear", "attention.q_lora_rank", "8", K_EUNSUP, "q_lora_rank" },
	{ "kimi-linear", "expert_gating_func", "4", K_EUNSUP, "gating" },
	{ "kimi-k3", "attn_res.block_size", NULL, K_ENOENT, "attn_res.block_size is missing" },
	{ "kimi-k3", "attn_res.block_size", "1.5", K_EFORMAT, "wanted a whole number" },
	{ "kimi-k3", "activation.situ_beta", NULL, K_ENOENT, "situ_beta is missing" },
	{ "kimi-k3", "activation.situ_beta", "0.0", K_EFORMAT, "wanted more than 0" },
	{ "kimi-k3", "moe_latent_size", "32", K_EUNSUP, "convert the checkpoint again" },
	{ "kimi-k3", "attn_res_block_size", "5", K_EUNSUP, "convert the checkpoint again" },
	{ "kimi-k3", "attention.value_length", "33", K_EUNSUP, "value_length is 33, wanted 32" },
};

/* The good keys with one of them changed. */
static struct k_json *changed(const char *good, const char *arch, const char *key, const char *value)
{
	struct k_json *all = json(good), *out = k_json_object(), *v;
	const char *name;
	char full[96];

	snprintf(full, sizeof(full), "%s.%s", arch, key);
	for (void *it = NULL; k_json_next(all, &it, &name, &v); )
		if (strcmp(name, full) != 0)
			K_CHECK(k_json_set(out, name, k_json_keep(v)) == 0);
	if (value)
		K_CHECK(k_json_set(out, full, json(value)) == 0);
	k_json_free(all);
	return out;
}

K_TEST(arch_gguf_wrong_keys)
{
	for (size_t i = 0; i < K_LEN(wrong); i++) {
		const char *good = models[strcmp(wrong[i].arch, "deepseek2") == 0 ? 1 : strcmp(wrong[i].arch, "kimi-linear") == 0 ? 2 : 3].keys;
		struct k_json *keys = changed(good, wrong[i].arch, wrong[i].key, wrong[i].value), *config;
		struct k_err err = { 0 };
		int r = k_arch_gguf_config(k_arch_gguf(wrong[i].arch), keys, "x.gguf", &config, &err);

		K_CHECK_MSG(r == wrong[i].code && strstr(err.msg, wrong[i].says), "%s.%s %s: %d %s", wrong[i].arch, wrong[i].key,
			wrong[i].value ? wrong[i].value : "", r, err.msg);
		k_json_free(keys);
	}
}

/* What a GGUF cannot say is not written. */
K_TEST(arch_gguf_lacks)
{
	static const struct { const char *config, *member, *value, *says; } all[] = {
		{ "tiny/kimi-k2-tiny/config.json", "moe_layer_freq", "2", "n-th layer" },
		{ "tiny/kimi-k2-tiny/config.json", "rope_interleave", "false", "neighbours" },
		{ "tiny/kimi-k2-tiny/config.json", "rope_scaling",
			"{\"type\": \"yarn\", \"factor\": 8.0, \"mscale\": 0.7, \"mscale_all_dim\": 1.0}", "two different multipliers" },
		{ "tiny/kimi-linear-tiny/config.json", "moe_renormalize", "false", "divided by their sum" },
		{ "tiny/kimi-k2-tiny/config.json", "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
			"\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}", "Llama 3" },
	};

	for (size_t i = 0; i < K_LEN(all); i++) {
		struct k_json *config, *keys = k_json_object();
		const struct k_json *text;
		const struct k_arch *a;
		const char *prefix;
		struct k_err err = { 0 };
		struct k_hp hp;
		struct k_buf b;

		k_buf_init(&b, 0);
		K_CHECK_OK(k_read_file(k_test_data(all[i].config), &b, 1 << 20, &err));
		config = json(b.data);
		K_CHECK(k_json_set(config, all[i].member, json(all[i].value)) == 0);
		K_CHECK_OK(k_arch_find(config, "c", &a, &text, &prefix, &err));
		K_CHECK_OK(a->parse(text, "c", &hp, &err));
		K_CHECK(k_arch_gguf_keys(a, &hp, text, "c", keys, &err) == K_EUNSUP);
		K_CHECK_MSG(strstr(err.msg, all[i].says), "%s", err.msg);
		k_json_free(keys);
		k_json_free(config);
		k_buf_fini(&b);
	}
}

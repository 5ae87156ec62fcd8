/* arch.h: what an architecture is: a config checked field by field, a table of weights, a plan of layers. One file in
 * libcore/arch/ defines one (`const struct k_arch k_arch_<stem>`) and registers by existing. */
#ifndef K_ARCH_H
#define K_ARCH_H

#include "libcore/json.h"
#include "libcore/tensor.h"

#define K_MAX_LAYERS 4096
#define K_MAX_STOPS 16

enum k_rope_kind { K_ROPE_NONE, K_ROPE_PLAIN, K_ROPE_LINEAR, K_ROPE_YARN, K_ROPE_LLAMA3 };
struct k_rope_hp {
	enum k_rope_kind kind;
	bool interleaved;               /* pairs (2j, 2j+1); else (j, j + d/2) */
	int64_t dim;                    /* channels that are rotated */
	double theta, factor;
	int64_t original;               /* original_max_position_embeddings */
	double beta_fast, beta_slow, mscale, mscale_all_dim;    /* yarn */
	bool has_mscale;
	double low_freq, high_freq;     /* llama3 */
};

/* Hyper-parameters: the union of what the blocks need; each field is 0 where an architecture has no such thing. */
struct k_hp {
	int64_t n_layer, n_vocab, n_embd, n_ff;                 /* layers, vocabulary, hidden size, dense width */
	int64_t n_head, n_head_kv, head_dim;
	int64_t q_lora, kv_lora, d_nope, d_rope, d_v;           /* MLA */
	int64_t kda_head, kda_dim, kda_conv;                    /* KDA: heads, channels a head (key = value), taps */
	double gate_bound;              /* KDA: what the log of the decay is above, below 0; 0: there is no bound */
	bool kda_gate_whole;            /* KDA: the output gate is one matrix, not two of rank kda_dim */
	bool mla_gate;                  /* MLA's output has a gate */
	int64_t n_expert, n_expert_used, n_shared, n_ff_expert, n_group, n_group_used;
	bool expert_norm;               /* weights are divided by their sum */
	bool router_softmax;            /* else sigmoid */
	double expert_scale;
	int64_t n_latent;               /* width that routed experts see; 0: n_embd */
	bool latent_norm;               /* their sum is normed before it goes back to n_embd */
	bool router_biased;             /* profile hf_remote of kimi_linear: weights are the biased scores */
	double situ, situ_up;           /* caps of SiTU: of the gate, 0: the unit is SwiGLU; of the other branch, 0: none */
	int64_t res_block;              /* layers of a block of attention residuals; 0: ordinary residuals */
	bool tied, attn_bias, mlp_bias;
	double eps, eps_inner;          /* norms; MLA's inner norms */
	struct k_rope_hp rope;
	int64_t n_ctx;                  /* metadata: longest context, 0 unknown */
	int32_t bos; int n_stop; int32_t stop[K_MAX_STOPS];     /* -1 / none */
	uint8_t kda_layer[K_MAX_LAYERS / 8];                    /* bit i: layer i has a KDA mixer */
	int64_t n_dense_first, moe_freq;                        /* layer i is MoE iff i >= n_dense_first && i % moe_freq == 0 */
};
static inline bool k_hp_is_kda(const struct k_hp *h, int64_t layer) { return h->kda_layer[layer / 8] >> (layer % 8) & 1; }
static inline int64_t k_hp_expert_width(const struct k_hp *h) { return h->n_latent ? h->n_latent : h->n_embd; }
/* Blocks of attention residuals that the rows of a step have when all layers are through. */
static inline int64_t k_hp_res_blocks(const struct k_hp *h) { return h->res_block ? k_div_up(h->n_layer, h->res_block) : 0; }
static inline bool k_hp_is_moe(const struct k_hp *h, int64_t layer)
{
	return h->n_expert && layer >= h->n_dense_first && layer % h->moe_freq == 0;
}

/* A weight: slot is what blocks ask for; name is the Hugging Face name with {i} the layer and {e} the expert (a stack);
 * gguf the GGUF name with {i} (NULL: not there); shape in terms of letters that the architecture's dim() resolves, e.g. "E,F,D".
 * A GGUF tensor may lack or have more dimensions of 1; a stack of experts is one tensor there.
 * when(hp, layer) says whether the layer has it (NULL: always; layer -1: once a model). Accepted other spellings of the shape: alt. */
struct k_weight {
	const char *slot, *name, *gguf, *role, *shape, *alt;
	bool (*when)(const struct k_hp *, int64_t layer);
	bool per_layer, optional;
	/* Row order of the GGUF form (llama's q and k), filled with rows entries; NULL: the same order. */
	const char *gguf_shape;         /* written so; NULL: as shape */
	void (*gguf_rows)(const struct k_hp *, int32_t *order, int64_t rows);
	bool pad_zero;                  /* a vector that may be stored in any shape, with zeros behind it */
};

/* Layer plan: which block computes each half of a layer. */
struct k_plan { const char *mixer, *ffn; };             /* block names: "kda" "mla" "gqa"; "mlp" "moe" */

/* A key of GGUF: its name behind "ARCH.", what it is in config.json, and where its value is in the hyper-parameters. */
enum k_key_kind { K_KEY_INT, K_KEY_REAL, K_KEY_BOOL };
struct k_arch_key {
	const char *key;
	enum k_key_kind kind;
	/* Reading: the member that gets the value; "a.b": b of the object a. NULL: k_arch.gguf_rest takes it, or it follows from others. */
	const char *member;
	bool wanted;                    /* reading: a file without it is refused */
	/* Writing, one of: a field of struct k_hp by its offset; a whole number that follows from fields (reading: it must agree with the
	 * file's); any value, *out NULL: not written. A number that is 0 is not written unless zero is set. */
	size_t at;
	int64_t (*count)(const struct k_hp *);
	int (*make)(const struct k_hp *, const struct k_json *config, struct k_json **out);
	bool zero;
	const char *if_member;          /* written only where config has this member */
};

struct k_arch_fact { const char *glob, *member; };

/* What the names of a text model begin with inside a multimodal one. */
#define K_ARCH_WRAPPED "language_model."

struct k_arch {
	const char *name, *about;
	/* > 0: mine (higher wins). config: the object that describes the text model. */
	int (*match)(const struct k_json *config);
	/* Checks every field; unknown values that would change the result: K_EUNSUP; impossible ones: K_EFORMAT; absent: K_ENOENT. */
	int (*parse)(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err);
	const struct k_weight *weights;         /* ends with slot NULL */
	int64_t (*dim)(const struct k_hp *, const char *letter);        /* value of a letter of a shape ("D", "P", "Hq"); -1 unknown */
	void (*plan)(const struct k_hp *, int64_t layer, struct k_plan *out);
	/* Names whose presence means another model: prefix or glob, NULL-terminated; may be NULL. */
	const char *const *refuse;
	/* GGUF: value of general.architecture (NULL: no such form), and its keys in the order of writing (key NULL ends). */
	const char *gguf_arch;
	const struct k_arch_key *gguf_keys;
	const char *gguf_class, *gguf_model_type;       /* architectures[0] and model_type of a config made from keys */
	/* Reading: members that no key says, true where a tensor's name matches the glob; glob NULL ends. May be NULL. */
	const struct k_arch_fact *gguf_facts;
	/* Reading: the members that are no plain copies of a key. May be NULL. */
	int (*gguf_rest)(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err);
	/* Writing: what of a model GGUF has no key for (a sentence part), NULL: nothing. May be NULL. */
	const char *(*gguf_lacks)(const struct k_hp *);
};

/* The architecture of a config (top level, or its text_config for wrappers kimi_k25, kimi_vl, kimi_k3: *text is the object to use and
 * *prefix K_ARCH_WRAPPED then, else ""). None: K_EUNSUP that names model_type. */
int k_arch_find(const struct k_json *config, const char *where, const struct k_arch **out, const struct k_json **text, const char **prefix, struct k_err *err) K_MUST_USE;
/* The model_type that the text model of a wrapped config has when it stands alone; NULL: its own. */
const char *k_arch_text_type(const struct k_json *config);
/* A token id (or a list): what text says, or where it says nothing, the config around it. NULL or null: neither does. */
const struct k_json *k_arch_id(const struct k_json *config, const struct k_json *text, const char *key);
/* Members that a text model may have in the config around it; NULL ends. */
extern const char *const k_arch_outer_ids[];
/* a->parse of text, with the ids that k_arch_id finds. */
int k_arch_parse(const struct k_arch *a, const struct k_json *config, const struct k_json *text, const char *where, struct k_hp *out, struct k_err *err) K_MUST_USE;
const struct k_arch *k_arch_named(const char *name);
const struct k_arch *k_arch_at(int i);
const struct k_arch *k_arch_gguf(const char *gguf_arch);
/* Resolves w->shape for a layer: ndim and dims. */
int k_arch_shape(const struct k_arch *a, const struct k_hp *hp, const char *shape, int *ndim, int64_t dims[K_MAX_DIMS], struct k_err *err) K_MUST_USE;
/* "model.layers.{i}.x.{e}.y" -> "model.layers.3.x.*.y" (e < 0) or with the expert's number. */
void k_arch_name(char *buf, size_t n, const char *pattern, const char *prefix, int64_t layer, int64_t expert);
/* Shared checks of config fields (positive sizes below 2^31, dividing, eps, rope_scaling, stop ids): libcore/arch_fields.c. */
int k_arch_rope(const struct k_json *config, const char *where, struct k_rope_hp *out, struct k_err *err) K_MUST_USE;
int k_arch_common(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err) K_MUST_USE;
/* The same without hidden_act, of which k_arch_common takes silu alone. */
int k_arch_sizes(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err) K_MUST_USE;
/* kv_lora_rank and the sizes of MLA's heads. */
int k_arch_mla_sizes(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err) K_MUST_USE;
/* Experts but for their groups, by members that families call differently; routers: what that of the router may be (k_arch_word), the second one softmax. No experts:
 * n_expert is 0, and nothing else is read. */
struct k_moe_names { const char *experts, *used, *shared, *norm, *router; const char *const *routers; };
int k_arch_moe(const struct k_json *config, const char *where, const struct k_moe_names *names, struct k_hp *out, struct k_err *err) K_MUST_USE;
/* linear_attn_config of Kimi-Linear and Kimi-K3: heads, taps, which layers are KDA's; refused: members that it must not have. Then MLA without rotation,
 * apart from q_lora_rank; then experts. libcore/arch_kimi.c. */
int k_arch_kda(const struct k_json *config, const char *where, const char *const *refused, struct k_hp *out, struct k_err *err) K_MUST_USE;
int k_arch_nope_mla(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err) K_MUST_USE;
int k_arch_kimi_moe(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err) K_MUST_USE;
/* Members of later or other models: one that is there and neither null, false nor empty is K_EUNSUP. NULL-terminated. */
int k_arch_refuse(const struct k_json *config, const char *where, const char *const *members, struct k_err *err) K_MUST_USE;
/* A member that is a word: *out its place in words (absent: 0); another word is K_EUNSUP. NULL-terminated. */
int k_arch_word(const struct k_json *config, const char *key, const char *where, const char *const *words, int *out, struct k_err *err) K_MUST_USE;
/* A member that is a size: 1 to 2^24, required. */
int k_arch_size(const struct k_json *config, const char *key, const char *where, int64_t *out, struct k_err *err) K_MUST_USE;
/* Experts whose fields were read: do the numbers agree with one another? */
int k_arch_check_moe(const struct k_hp *hp, const char *where, struct k_err *err) K_MUST_USE;
/* GGUF keys -> config, an owned object in the shape of config.json. keys: object of the file's keys (long arrays may lack). A key that
 * is missing: K_ENOENT; that contradicts another: K_EFORMAT; that says what is not known here: K_EUNSUP. libcore/arch_gguf.c. */
int k_arch_gguf_config(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json **config,
	struct k_err *err) K_MUST_USE;
/* The other way: adds "ARCH.key" members to keys, in the order of the table. Kinds of JSON values are the types of GGUF: integers u32,
 * reals f32, bools, strings, arrays of integers i32. What GGUF cannot say: K_EUNSUP. */
int k_arch_gguf_keys(const struct k_arch *a, const struct k_hp *hp, const struct k_json *config, const char *where, struct k_json *keys,
	struct k_err *err) K_MUST_USE;
/* Key "ARCH.name" of keys; NULL. */
struct k_json *k_arch_gguf_find(const struct k_arch *a, const struct k_json *keys, const char *name);
/* For gguf_rest: sets a member ("a.b" as in k_arch_key), takes value. */
int k_arch_gguf_set(struct k_json *config, const char *member, struct k_json *value, struct k_err *err) K_MUST_USE;
/* rope_scaling of keys rope.scaling.*: none, linear and, where yarn is set, yarn; other types are K_EUNSUP. */
int k_arch_gguf_scaling(const struct k_arch *a, const struct k_json *keys, const char *where, bool yarn, struct k_json *config,
	struct k_err *err) K_MUST_USE;
/* k_arch_key.make of the same keys. */
int k_arch_key_scaling(const struct k_hp *hp, const struct k_json *config, struct k_json **out);
int k_arch_key_factor(const struct k_hp *hp, const struct k_json *config, struct k_json **out);
int k_arch_key_log_multiplier(const struct k_hp *hp, const struct k_json *config, struct k_json **out);
/* Rows of k_arch.gguf_keys that several architectures have: sizes (context_: the member that tells the longest context); of Kimi-Linear and Kimi-K3 what
 * follows on MLA's heads, and the router with KDA. */
#define K_ARCH_KEYS_SIZES(context_) \
	{ .key = "vocab_size", .member = "vocab_size", .at = offsetof(struct k_hp, n_vocab) }, \
	{ .key = "context_length", .member = context_, .at = offsetof(struct k_hp, n_ctx) }, \
	{ .key = "embedding_length", .member = "hidden_size", .wanted = true, .at = offsetof(struct k_hp, n_embd) }, \
	{ .key = "block_count", .member = "num_hidden_layers", .wanted = true, .at = offsetof(struct k_hp, n_layer) }, \
	{ .key = "feed_forward_length", .member = "intermediate_size", .wanted = true, .at = offsetof(struct k_hp, n_ff) }, \
	{ .key = "attention.head_count", .member = "num_attention_heads", .wanted = true, .at = offsetof(struct k_hp, n_head) }
#define K_ARCH_KEYS_KIMI_MOE \
	{ .key = "attention.kv_lora_rank", .member = "kv_lora_rank", .wanted = true, .at = offsetof(struct k_hp, kv_lora) }, \
	{ .key = "rope.dimension_count", .member = "qk_rope_head_dim", .wanted = true, .at = offsetof(struct k_hp, d_rope) }, \
	{ "rope.freq_base", K_KEY_REAL, "rope_theta", .make = k_arch_key_theta, .if_member = "rope_theta" }, \
	{ .key = "leading_dense_block_count", .member = "first_k_dense_replace", .at = offsetof(struct k_hp, n_dense_first), .zero = true }, \
	{ .key = "expert_feed_forward_length", .member = "moe_intermediate_size", .at = offsetof(struct k_hp, n_ff_expert) }, \
	{ .key = "expert_count", .member = "num_experts", .at = offsetof(struct k_hp, n_expert) }, \
	{ .key = "expert_used_count", .member = "num_experts_per_token", .at = offsetof(struct k_hp, n_expert_used) }, \
	{ .key = "expert_shared_count", .member = "num_shared_experts", .at = offsetof(struct k_hp, n_shared), .zero = true }, \
	{ .key = "expert_group_count", .member = "num_expert_group", .at = offsetof(struct k_hp, n_group), .if_member = "num_expert_group" }, \
	{ .key = "expert_group_used_count", .member = "topk_group", .at = offsetof(struct k_hp, n_group_used), .if_member = "topk_group" }, \
	{ "expert_weights_scale", K_KEY_REAL, "routed_scaling_factor", .at = offsetof(struct k_hp, expert_scale) }
#define K_ARCH_KEYS_KDA \
	{ .key = "expert_gating_func", .count = k_arch_key_gating }, \
	{ .key = "ssm.conv_kernel", .member = "linear_attn_config.short_conv_kernel_size", .wanted = true, .at = offsetof(struct k_hp, kda_conv) }, \
	{ .key = "kda.head_dim", .member = "linear_attn_config.head_dim", .wanted = true, .at = offsetof(struct k_hp, kda_dim) }, \
	{ .key = "kda.head_count", .member = "linear_attn_config.num_heads", .make = k_arch_key_kda_heads }
/* k_arch_key.count and .make of keys that Kimi-Linear and Kimi-K3 share, and their gguf_rest: layers, router, heads. libcore/arch_kimi_gguf.c. */
int64_t k_arch_key_qk_dim(const struct k_hp *hp);
int64_t k_arch_key_kv_dim(const struct k_hp *hp);
int64_t k_arch_key_gating(const struct k_hp *hp);
int k_arch_key_kinds(const struct k_hp *hp, const struct k_json *config, struct k_json **out);
int k_arch_key_theta(const struct k_hp *hp, const struct k_json *config, struct k_json **out);
int k_arch_key_kda_heads(const struct k_hp *hp, const struct k_json *config, struct k_json **out);
int k_arch_gguf_kimi(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err) K_MUST_USE;
/* Does yarn's gain for the table of rotation follow from its multiplier for the scores, as GGUF has it? */
bool k_arch_gguf_yarn(const struct k_hp *hp);
/* The letters that all architectures share, for k_arch.dim. */
int64_t k_arch_dim(const struct k_hp *hp, const char *letter);

#endif

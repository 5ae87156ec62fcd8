/* import_rope.c: Llama 3's scaling of the rotation in a GGUF.
 *
 *   rope_freqs.weight [pairs], f32    what each frequency is divided by
 *   llama.rope.llama3.*               the numbers that it was made of; ours alone, other writers have no such keys
 *
 * The config has numbers, so those are wanted: our keys', which must give the table, or Llama 3.1's, if they give it. */
#include "libcore/base.h"
#include "libcore/import.h"
#include "libcore/rope.h"

enum { PAIRS_MOST = 1 << 16 };

static int read_table(const struct k_raw *t, float **out, int64_t *n, struct k_err *err)
{
	int r;

	*n = k_shape_cols(t->ndim, t->shape);
	if (t->type != k_qtype_find("f32", NULL) || k_shape_rows(t->ndim, t->shape) != 1 || *n < 1 || *n > PAIRS_MOST)
		return k_err_set(err, K_ESHAPE, "'%s': %s is no vector of f32", t->file, t->name);
	*out = k_alloc((size_t)*n * sizeof(**out));
	if (!*out)
		return k_err_nomem(err, (size_t)*n * sizeof(**out), t->name);
	r = k_raw_read(t, 0, 0, 1, *out, err);
	if (r < 0)
		k_free(*out);
	return r;
}

static int set_scaling(struct k_json *config, const struct k_rope_hp *r, struct k_err *err)
{
	int e = k_arch_gguf_set(config, "rope_scaling.rope_type", k_json_new_string("llama3", 6), err);

	if (e == 0)
		e = k_arch_gguf_set(config, "rope_scaling.factor", k_json_new_number(k_json_short((float)r->factor)), err);
	if (e == 0)
		e = k_arch_gguf_set(config, "rope_scaling.low_freq_factor", k_json_new_number(r->low_freq), err);
	if (e == 0)
		e = k_arch_gguf_set(config, "rope_scaling.high_freq_factor", k_json_new_number(r->high_freq), err);
	if (e == 0)
		e = k_arch_gguf_set(config, "rope_scaling.original_max_position_embeddings", k_json_new_int(r->original), err);
	return e;
}

int k_import_rope(const struct k_arch *arch, struct k_json *config, const struct k_raw *t, struct k_err *err)
{
	bool plain = false;
	struct k_hp hp;
	float *table = NULL;
	int64_t n;
	int r = arch->parse(config, t->file, &hp, err);

	if (r == 0)
		r = read_table(t, &table, &n, err);
	if (r == 0) {
		plain = hp.rope.kind == K_ROPE_PLAIN;
		r = k_rope_set_factors(&hp.rope, table, n, err);
		k_free(table);
		if (r < 0) {
			struct k_err why = *err;

			r = k_err_set(err, why.code, "'%s': %s: %s", t->file, t->name, why.msg);
		}
	}
	if (r == 0 && plain && hp.rope.kind == K_ROPE_LLAMA3)
		r = set_scaling(config, &hp.rope, err);
	return r;
}

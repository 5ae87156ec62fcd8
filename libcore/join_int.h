/* join_int.h: what the files of joining share. Nobody else includes it.
 *
 *   quantization_config --join_config.c--> schemes: how the modules that its targets name are stored
 *   tensors             --join.c--------> which modules are quantised; their parts found and checked against the scheme
 *                       --join_codes.c--> INT4 and INT8: pack-quantized, int-quantized, GPTQ, AWQ
 *                       --join_float.c--> FP8, FP4 */
#ifndef K_JOIN_INT_H
#define K_JOIN_INT_H

#include "libcore/import.h"
#include "libcore/map.h"

struct k_rx;

/* A name, or a pattern that begins a name ("re:..."). */
struct k_pattern { const char *text; struct k_rx *rx; bool unknown; };
struct k_patterns { struct k_pattern *v; size_t n; };

enum k_method {
	K_BY_TENSORS,                   /* no config: what the tensors say */
	K_PACKED,                       /* weight_packed I32 */
	K_INT8,                         /* weight I8 */
	K_FP8,                          /* weight F8_E4M3, weight_scale */
	K_BLOCK_FP8,                    /* weight F8_E4M3, weight_scale_inv */
	K_MXFP4, K_MXFP8, K_NVFP4,
	K_GPTQ, K_AWQ,                  /* qweight */
};
enum { K_PER_TENSOR = 0, K_PER_ROW = -1 };      /* group sizes that are none */

struct k_scheme {
	enum k_method method;
	int64_t bits, group;            /* columns to a scale */
	int64_t block;                  /* FP8: rows and columns to a scale, 0: by group */
	bool symmetric;
	int zero_bias;                  /* GPTQ: added to what is stored */
	struct k_patterns targets;      /* none: all */
};

struct k_qconfig {
	const char *where;              /* "MODEL/config.json" */
	struct k_log *log;
	struct k_scheme *schemes; int n_schemes;        /* none: no quantization_config */
	bool lists;                     /* says which modules are not quantised */
	struct k_patterns ignore;
};

int k_qconfig_read(struct k_qconfig *q, const struct k_json *config, struct k_err *err) K_MUST_USE;
void k_qconfig_fini(struct k_qconfig *q);
/* The scheme of a quantised module (the first len bytes of t's name): K_EFORMAT where it is on the ignore list, or no target. A q
 * without schemes: one with K_BY_TENSORS. */
int k_qconfig_scheme(struct k_qconfig *q, const struct k_raw *t, size_t module, const struct k_scheme **out, struct k_err *err) K_MUST_USE;
/* Does a plain weight have to be on the ignore list, and is it not? */
bool k_qconfig_unlisted(struct k_qconfig *q, const char *name);

struct k_join {
	struct k_rawset *set;
	struct k_qconfig config;
	struct k_map map;               /* name -> struct k_raw */
	bool *gone;                     /* parts that were used up */
};

/* The part of module (the first len bytes of name) with a suffix; NULL: not there. */
struct k_raw *k_join_part(const struct k_join *j, const char *name, size_t len, const char *suffix);
/* The same; K_ENOENT where it is not there. */
int k_join_need(const struct k_join *j, const struct k_raw *t, size_t len, const char *suffix, struct k_raw **out, struct k_err *err) K_MUST_USE;
bool k_join_is(const struct k_raw *t, const char *dtype);
int k_join_wrong_shape(const struct k_raw *t, int64_t rows, int64_t cols, struct k_err *err);
int k_join_wrong_dtype(const struct k_raw *t, const char *wanted, struct k_err *err);
/* Scales as [rows, cols], or as one number where both are 1: K_ESHAPE, K_EUNSUP (not floating). */
int k_join_check_scales(const struct k_raw *scale, int64_t rows, int64_t cols, struct k_err *err) K_MUST_USE;
/* The joined tensor, in the place of parts->values; the parts leave the list. type NULL or one that refuses the shape: K_EUNSUP, K_ESHAPE. */
int k_join_put(struct k_join *j, struct k_raw *at, size_t module, const struct k_qtype *type, int64_t rows, int64_t cols,
	const struct k_raw_parts *parts, const char *form, struct k_err *err) K_MUST_USE;

/* The form of f32 scales that were something else, one a row; NULL. */
const char *k_join_scale_form(const struct k_raw *scale);

/* t is the tensor of codes. */
int k_join_packed(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err) K_MUST_USE;
int k_join_int8(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err) K_MUST_USE;
int k_join_qweight(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err) K_MUST_USE;
int k_join_fp8(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err) K_MUST_USE;
int k_join_fp4(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err) K_MUST_USE;

#endif

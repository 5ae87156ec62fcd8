/* golden.h: a folder of golden values: golden.json (sequences of ids, a greedy run) and golden.safetensors (tensors that another
 * program computed). The layout is described in testdata/golden/README.md. A bundle is such a folder whose golden.json has bands and
 * digests as well; a tensor that differs from its digest, or has none there, is refused. */
#ifndef K_GOLDEN_H
#define K_GOLDEN_H

#include "libcore/arena.h"
#include "libcore/io.h"
#include "libcore/json.h"

struct k_golden_seq { const char *name; const int32_t *ids; int64_t n; };

enum k_golden_type { K_GOLDEN_F32, K_GOLDEN_I32 };
struct k_golden_tensor {
	const char *name;
	enum k_golden_type type;
	int ndim;
	int64_t shape[8], count;
	const void *data;               /* aligned to 4 bytes; count elements */
};

struct k_golden {
	struct k_arena arena;
	const char *path;
	struct k_golden_seq *seq;
	int64_t n_seq;
	const int32_t *prompt, *greedy; /* greedy NULL: only how many is given */
	int64_t n_prompt, n_greedy;
	double tolerance;               /* below 0: none given */
	int64_t n_layer, groups, groups_kept;   /* 0: not said */
	struct k_bands *bands;          /* NULL: none; it is a bundle then (bands.h) */
	struct k_golden_tensor *tensor; /* in the file's order */
	int64_t n_tensor;
	struct k_source *src;
};

/* path: the folder or its golden.json. Ids must be below vocab. Tensors are read only when wanted. */
int k_golden_open(struct k_golden **out, const char *path, int64_t vocab, bool tensors, struct k_err *err) K_MUST_USE;
void k_golden_close(struct k_golden *g);                /* takes NULL */
/* code with the first value that is none: nothing can be held against it. */
int k_golden_finite(const struct k_golden *g, int code, struct k_err *err) K_MUST_USE;
const struct k_golden_tensor *k_golden_find(const struct k_golden *g, const char *name);

#endif

/* gguf_head.h: the head of a GGUF file, and what is made of it. Only formats/gguf*.c, places.c and tests include it.
 *
 *   gguf_head.c     bytes -> keys and tensors, every length checked against the bytes that are left
 *   gguf_keys.c     keys -> config.json, generation_config.json
 *   gguf_tokens.c   keys -> tokenizer.json, tokenizer_config.json
 *   gguf_parts.c    keys -> the files of a model
 *   gguf.c          tensors and files -> a set of raw tensors
 *
 * Values point into the file, which must stay mapped; nothing of the large arrays is copied. */
#ifndef K_GGUF_HEAD_H
#define K_GGUF_HEAD_H

#include "libcore/arena.h"
#include "libcore/files.h"
#include "libcore/json.h"
#include "libcore/log.h"
#include "libcore/map.h"
#include "libcore/tensor.h"

enum k_gguf_type {
	K_GGUF_U8, K_GGUF_I8, K_GGUF_U16, K_GGUF_I16, K_GGUF_U32, K_GGUF_I32, K_GGUF_F32, K_GGUF_BOOL, K_GGUF_STRING, K_GGUF_ARRAY,
	K_GGUF_U64, K_GGUF_I64, K_GGUF_F64, K_GGUF_TYPES
};
enum { K_GGUF_DIMS = 4 };

struct k_gguf_value {
	const char *key;
	enum k_gguf_type type;          /* of an array: of its elements */
	bool array;
	uint64_t n;                     /* elements; 1 for what is no array */
	const uint8_t *p;               /* the first element; strings begin with their length */
};

struct k_gguf_tensor {
	const char *name;
	const struct k_qtype *type;
	int ndim;
	int64_t shape[K_GGUF_DIMS];     /* outermost first */
	uint64_t off, bytes;            /* in the file */
};

struct k_gguf {
	const char *where;              /* the file, for messages; borrowed */
	struct k_gguf_value *keys;
	uint64_t n_keys;
	struct k_map by_key;            /* key -> struct k_gguf_value * */
	struct k_gguf_tensor *tensors;
	uint64_t n_tensors;
	struct k_arena arena;           /* names, keys and the two tables */
};

/* p, n: the whole file. Fills *g, which is to be finished also on failure. */
int k_gguf_read(struct k_gguf *g, const void *p, size_t n, const char *where, struct k_log *log, struct k_err *err) K_MUST_USE;
/* The same up to the tensors, of which there are none then. */
int k_gguf_read_keys(struct k_gguf *g, const void *p, size_t n, const char *where, struct k_err *err) K_MUST_USE;
void k_gguf_fini(struct k_gguf *g);

const struct k_gguf_value *k_gguf_find(const struct k_gguf *g, const char *key);
/* Bytes of a number of that type; 0 for strings and arrays. */
size_t k_gguf_size(enum k_gguf_type type);
/* An element that is an integer; false when it is none, or beyond int64. */
bool k_gguf_int_at(enum k_gguf_type type, const uint8_t *p, int64_t *out);
/* A key that is an integer within [lo, hi]; absent: def. */
int k_gguf_int_or(const struct k_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t def, int64_t *out,
	struct k_err *err) K_MUST_USE;
/* The string that begins at *p, which is moved behind it. It was checked by k_gguf_read: UTF-8 without NUL. */
const char *k_gguf_string(const uint8_t **p, size_t *len);
/* Elements of tokenizer.ggml.tokens, 0 when there is no such array of strings. */
int64_t k_gguf_n_tokens(const struct k_gguf *g);

/* The side file that holds the keys of a GGUF that nothing else of a checkpoint says (general.name, general.license, ...), as a JSON
 * object: so they come back when it is written as GGUF again. Is this such a key? */
#define K_GGUF_KEYS_FILE "gguf_keys.json"
bool k_gguf_is_kept(const char *key);
/* Our own key: all ids that end a turn, where there is more than one. */
#define K_GGUF_STOPS_KEY "kimi.stop_token_ids"

/* All side files that the keys can make. A file without keys of its architecture makes no config.json. */
int k_gguf_files(const struct k_gguf *g, struct k_files *files, struct k_err *err) K_MUST_USE;
/* The tokenizer's. keys: the numbers and strings as JSON; vocab: rows of the embedding, 0 unknown. */
int k_gguf_tokenizer(const struct k_gguf *g, const struct k_json *keys, int64_t vocab, struct k_files *files,
	struct k_err *err) K_MUST_USE;
/* Adds the text in b to files, and empties b (also on failure). */
int k_gguf_put_file(struct k_files *files, const char *name, struct k_buf *b, struct k_err *err) K_MUST_USE;

#endif

/* tokenizer_int.h: what the parts of the tokenizer share. Only tokenizer*.c and their tests include it.
 *
 *   tokenizer_tiktoken.c, tokenizer_bpe.c   fill a struct k_tokenizer from files
 *   tokenizer.c                             slices, specials, the encoding of a text
 *   tokenizer_split.c                       where a piece ends
 *   tokenizer_ranks.c                       bytes to a rank (tiktoken)
 *   tokenizer_merge.c                       a piece to ids
 *   tokenizer_decode.c                      ids to text
 *
 * One array of tokens serves both kinds. Looking up is by bytes (tiktoken) or by the symbols of the byte alphabet, as the file
 * spells them (BPE); pairs of ids lead to merges (BPE only). */
#ifndef K_TOKENIZER_INT_H
#define K_TOKENIZER_INT_H

#include "libcore/arena.h"
#include "libcore/json.h"
#include "libcore/map.h"
#include "libcore/tokenizer.h"

enum { K_TOKEN_ADDED = 1, K_TOKEN_CONTROL = 2 };
enum k_split { K_SPLIT_KIMI, K_SPLIT_LLAMA3, K_SPLIT_GPT2, K_SPLIT_DIGITS /* single digits, then GPT-2 */ };

struct k_token { const char *text; uint32_t len, flags; };      /* text NULL: a hole */
struct k_merge { int32_t a, b, id; };                           /* index: priority */
struct k_special { const char *text; size_t len; int32_t id; bool late; /* second pass: after normalisation */ };

struct k_tokenizer {
	struct k_arena arena;           /* all texts, tokens, merges */
	struct k_token *tokens;
	int32_t n, vocab;               /* ids below n; vocab: rows of the model, 0 unknown */
	size_t longest;                 /* of the keys of ranks or by_text */
	int32_t byte_id[256];           /* -1: the vocabulary lacks this byte */
	bool by_pair;
	enum k_split split;
	/* tiktoken only */
	struct { struct k_rank_slot *slots; size_t mask; uint64_t secret[2]; } ranks;   /* bytes -> id */
	/* BPE only */
	struct k_map by_text;           /* symbols -> id + 1 */
	struct k_merge *merges;
	struct k_map by_ids;            /* {a, b} -> merge */
	bool whole_first;               /* ignore_merges: a piece that is a token is not merged */
	bool fuse_unk;
	int32_t unk;
	int32_t add_before[4], add_after[4];
	int n_before, n_after;
	/* added tokens, by text */
	struct k_special *specials;
	int n_specials;
	bool late_specials;
	int32_t bos, eos;
};

/* Readers. name: the file, for messages. */
int k_tokenizer_read_tiktoken(struct k_tokenizer *t, const struct k_file *model, const struct k_json *config, struct k_err *err);
int k_tokenizer_read_bpe(struct k_tokenizer *t, const struct k_file *file, struct k_err *err);
/* One entry of an added token: content, special and flags; refuses what is not supported. Borrowed text. */
struct k_added { const char *text; size_t len; bool special, normalized; };
int k_tokenizer_read_added(const struct k_json *v, const char *where, struct k_added *out, struct k_err *err);
/* Sorts specials and refuses a text that is there twice. */
int k_tokenizer_sort_specials(struct k_tokenizer *t, const char *where, struct k_err *err);

/* The first n tokens have their texts: which of them is there twice, in the words of a reader. */
int k_ranks_fill(struct k_tokenizer *t, int32_t n, const char *where, struct k_err *err);
int32_t k_ranks_find(const struct k_tokenizer *t, const char *p, size_t n);     /* -1: none */
void k_ranks_fini(struct k_tokenizer *t);

/* End of the piece that begins at pos < n. */
size_t k_tokenizer_piece_end(enum k_split split, const char *p, size_t n, size_t pos);

/* Working memory of one encode call. */
struct k_merge_node { int32_t prev, next, id; uint32_t at, rank; };
struct k_merger {
	const struct k_tokenizer *t;
	struct k_merge_node *nodes;
	uint64_t *heap;                 /* rank << 32 | node */
	size_t cap_nodes, n_heap, cap_heap;
	struct k_buf symbols;
};
void k_merger_init(struct k_merger *m, const struct k_tokenizer *t);
void k_merger_fini(struct k_merger *m);
/* Ids of one piece, appended. Any bytes. */
int k_merger_put(struct k_merger *m, const char *p, size_t n, struct k_ids *out, struct k_err *err);

#endif

/* tokenizer.h: text <-> token ids. Two models of merging behind one interface: tiktoken (rank of the merged bytes; Kimi) and
 * byte-level BPE of tokenizer.json (rank of the pair; SmolLM2, Llama-3). Immutable once open; shared by threads.
 *
 *   text --specials?--> runs --slices (Kimi)--> pieces by the pattern --merge--> ids
 */
#ifndef K_TOKENIZER_H
#define K_TOKENIZER_H

#include "libcore/buf.h"
#include "libcore/files.h"

struct k_tokenizer;

struct k_ids { int32_t *v; size_t n, cap; };            /* growing list; k_ids_fini */
void k_ids_init(struct k_ids *ids);
void k_ids_fini(struct k_ids *ids);
int k_ids_put(struct k_ids *ids, int32_t id, struct k_err *err) K_MUST_USE;
int k_ids_add(struct k_ids *ids, const int32_t *v, size_t n, struct k_err *err) K_MUST_USE;

/* Chooses by the files that are there: tiktoken.model (with tokenizer_config.json's added_tokens_decoder) or tokenizer.json.
 * No tokenizer file: K_ENOENT. vocab: the model's embedding rows, 0 = unknown; ids must be below. Everything is checked here:
 * ranks, base64, merges, added tokens, pre-tokenizer kinds (unknown ones: K_EUNSUP by name). */
int k_tokenizer_open(struct k_tokenizer **out, const struct k_files *files, int64_t vocab, struct k_err *err) K_MUST_USE;
void k_tokenizer_free(struct k_tokenizer *t);

enum {
	K_ENC_SPECIALS = 1,     /* texts of special (added) tokens become their ids; else everything is ordinary text */
	K_ENC_ADD = 2,          /* what the post-processor adds (Llama-3's BOS); nothing for Kimi and SmolLM2 */
};
/* Appends. text must be UTF-8 (K_EFORMAT with the offset otherwise). Linear-time on hostile text (1 MiB of one letter). */
int k_tokenizer_encode(const struct k_tokenizer *t, const char *text, size_t len, int flags, struct k_ids *out, struct k_err *err) K_MUST_USE;

/* How a text is cut into pieces: "kimi", "llama3", "gpt2", "digits" (single digits, then GPT-2). */
const char *k_tokenizer_pattern(const struct k_tokenizer *t);
int32_t k_tokenizer_vocab(const struct k_tokenizer *t);         /* ids are below this */
/* Bytes of one token: for a special its text. NULL, *len 0 when the id has none (a hole in the vocabulary). Lives as long as t. */
const char *k_tokenizer_bytes(const struct k_tokenizer *t, int32_t id, size_t *len);
/* Id of a special token by its text, -1 if none. */
int32_t k_tokenizer_special(const struct k_tokenizer *t, const char *text);
bool k_tokenizer_is_special(const struct k_tokenizer *t, int32_t id);   /* an added token of any kind */
bool k_tokenizer_is_control(const struct k_tokenizer *t, int32_t id);   /* special flag set: not shown in decoded text */
int32_t k_tokenizer_bos(const struct k_tokenizer *t);           /* -1 when there is none */
int32_t k_tokenizer_eos(const struct k_tokenizer *t);

/* The byte alphabet of GPT-2: the scalar that stands for a byte, and back (-1: none). */
uint32_t k_tokenizer_symbol(int byte);
int k_tokenizer_symbol_byte(uint32_t c);
/* Is this one of Kimi's special tokens that show in decoded text (tool calls, thinking)? */
bool k_tokenizer_kimi_shows(const char *text, size_t len);

/* Streaming decode: keeps back at most 3 bytes that may become a character; invalid parts become U+FFFD, one per maximal
 * invalid subpart (as Python's 'replace'). */
struct k_decoder { const struct k_tokenizer *t; unsigned char tail[4]; int n_tail; bool show_control; };
void k_decoder_init(struct k_decoder *d, const struct k_tokenizer *t, bool show_control);
void k_decoder_put(struct k_decoder *d, int32_t id, struct k_buf *out);
void k_decoder_end(struct k_decoder *d, struct k_buf *out);

#endif

/* files.h: the side files of a checkpoint (config.json, tokenizer files, generation_config.json, chat_template.jinja), whole and
 * in memory. Whatever the source was (a folder, a container, an archive, a GGUF whose keys were turned into these files), the
 * tokenizer and the chat layer see only this. */
#ifndef K_FILES_H
#define K_FILES_H

#include "libcore/err.h"

struct k_file { char *name; char *data; size_t len; };  /* data is NUL-terminated after len bytes; both are the list's */
struct k_files { struct k_file *v; int n, cap; const char *where; /* the model's path, for messages; borrowed */ };

void k_files_init(struct k_files *f, const char *where);
void k_files_fini(struct k_files *f);
/* Copies name, takes data (k_alloc'd, NUL-terminated) - also on failure. A second file of the same name: K_EFORMAT. */
int k_files_add(struct k_files *f, const char *name, char *data, size_t len, struct k_err *err) K_MUST_USE;
const struct k_file *k_files_find(const struct k_files *f, const char *name);
/* Is this a name that travels with a model? config.json, generation_config.json, tokenizer.json, tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json, tiktoken.model, chat_template.jinja, vocab.json, merges.txt, preprocessor_config.json, gguf_keys.json, LICENSE, README.md */
bool k_files_known(const char *name);
/* Is it one for people: LICENSE, README.md? */
bool k_files_prose(const char *name);
/* Largest size that is accepted (64 MiB; 256 MiB for an index). */
#define K_FILE_MAX (64u << 20)

#endif

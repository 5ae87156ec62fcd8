/* rewrite.h: for who makes one request out of another. Functions return -1 with a fault; what they share with the request is kept by
 * reference. */
#ifndef K_REWRITE_H
#define K_REWRITE_H

#include "cmd/kserve/openai.h"

/* "where is a number, wanted ..."; v may be NULL: missing. */
int k_wrong(struct k_fault *f, const char *where, const struct k_json *v, const char *wanted);
/* Is v this very string? */
bool k_is(const struct k_json *v, const char *word);

/* o[key] = v; takes v, which may be NULL for want of memory. */
int k_put(struct k_json *o, const char *key, struct k_json *v, struct k_fault *f);
int k_put_word(struct k_json *o, const char *key, const char *word, struct k_fault *f);
int k_put_text(struct k_json *o, const char *key, const struct k_buf *b, struct k_fault *f);
/* o[to] = from[key], if that is there. */
int k_share(struct k_json *o, const char *to, const struct k_json *from, const char *key, struct k_fault *f);
/* Fields of the same name and meaning in all APIs here, and those that only extend them. */
int k_share_common(struct k_json *o, const struct k_json *from, struct k_fault *f);
/* Is it one of those? */
bool k_is_common(const char *key);

/* Appends {"role":..,"content":..}; borrowed; NULL with a fault. */
struct k_json *k_add_message(struct k_json *messages, const char *role, const struct k_buf *content, struct k_fault *f);

/* A turn of the assistant that is being put together. */
struct k_turn {
	struct k_buf text, thought;
	struct k_json *calls;           /* NULL: none */
	bool thinks;
};
void k_turn_init(struct k_turn *t);
void k_turn_fini(struct k_turn *t);
/* id and name are strings. */
int k_turn_call(struct k_turn *t, struct k_json *id, struct k_json *name, const struct k_buf *args, struct k_fault *f);
/* Appends the turn and empties t; borrowed, NULL with a fault. */
struct k_json *k_turn_add(struct k_json *messages, struct k_turn *t, struct k_fault *f);

/* Appends {"type":"function","function":{..}} with the members of tool, schema under its name there. */
int k_add_tool(struct k_json *list, const struct k_json *tool, const char *schema, struct k_fault *f);
/* o.tool_choice = the function of that name. */
int k_put_named(struct k_json *o, const struct k_json *named, struct k_fault *f);
/* o.response_format = a schema, of this name (NULL: none) where it has none. strict: where format does not say. */
int k_put_schema(struct k_json *o, const struct k_json *format, const char *name, bool strict, struct k_fault *f);

/* What a fault names in the request that was made has another name in the one that came: in paths that begin with `in`, `from` is `to`. */
struct k_renamed { const char *in, *from, *to; };
void k_fault_rename(struct k_fault *f, const struct k_renamed *rows, size_t n);

#endif

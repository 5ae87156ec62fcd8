/* xtml.h: how Kimi-K3 writes attributes and the types of arguments: what those share who write prompts (chat_xtml.c), read answers (chat_parse_k3.c)
 * and say what answers may be (schema_call.c, grammar*.c). */
#ifndef K_XTML_H
#define K_XTML_H

#include "libcore/buf.h"

/* Bytes of a tag: of a longer one the end was left out. Of a name in its attribute, which leaves room for the rest. */
enum { K_XTML_TAG = 4096, K_XTML_NAME = 4000 };
/* The types that the attribute of an argument names. */
enum { K_ARG_STRING, K_ARG_NUMBER, K_ARG_BOOL, K_ARG_NULL, K_ARG_OBJECT, K_ARG_ARRAY, K_N_ARG_TYPES };
extern const char *const k_arg_types[K_N_ARG_TYPES];
/* Of a valid value by its first letter. */
int k_arg_type(char first);

/* & and " become &amp; and &quot;; and back. What fails is in the buffer. */
void k_attr_escape(struct k_buf *out, const char *s, size_t n);
void k_attr_unescape(struct k_buf *out, const char *s, size_t n);

#endif

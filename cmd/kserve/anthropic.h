/* anthropic.h: requests of Anthropic's messages API. */
#ifndef K_ANTHROPIC_H
#define K_ANTHROPIC_H

#include "cmd/kserve/dialect.h"

/* The same request as an OpenAI chat request, NULL with a fault. body is borrowed; what is not changed is shared with it. counted:
 * only the prompt is wanted, so max_tokens may be missing. */
struct k_json *k_anthropic_to_chat(const struct k_json *body, bool counted, struct k_fault *f);

/* Where the n-th message of that request comes from in body: "messages[4]", of a tool's answer its block, "messages[4].content[0]". */
void k_anthropic_place(const struct k_json *body, size_t n, char *out, size_t size);

/* {"input_tokens":n}: a route's answer. */
int k_answer_count_tokens(const struct k_server *s, struct k_json *body, const char *rest, struct k_buf *out, struct k_fault *f) K_MUST_USE;

#endif

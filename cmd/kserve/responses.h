/* responses.h: requests of OpenAI's responses API. */
#ifndef K_RESPONSES_H
#define K_RESPONSES_H

#include "cmd/kserve/dialect.h"

/* The same request as a chat request, NULL with a fault. body is borrowed; what is not changed is shared with it. */
struct k_json *k_responses_to_chat(const struct k_json *body, struct k_fault *f);

#endif

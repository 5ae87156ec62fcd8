/* chat_int.h: what the parts of the renderer share. Only chat*.c include it.
 *
 *   chat.c          prompts, layouts, options, stops
 *   chat_check.c    is this a request?
 *   chat_ids.c      the ids of calls in a history
 *   chat_past.c     prompts that go on with an earlier one
 *   chat_kimi.c     the envelope of all Kimi layouts; chat_ts.c their tools as TypeScript
 *   chat_chatml.c   the envelope of ChatML
 *   chat_xtml.c     elements, and calls as elements, of Kimi-K3; chat_k3.c its messages
 *   chat_NAME.c     a layout */
#ifndef K_CHAT_INT_H
#define K_CHAT_INT_H

#include "libcore/chat.h"

struct k_render {
	const struct k_tokenizer *t;    /* NULL: text only */
	struct k_prompt *out;
	size_t run;                     /* what of out->text is encoded already */
	int flags;                      /* of k_tokenizer_encode, for runs */
	bool parts_apart;               /* each part of a content is a run of its own */
	struct k_chat_memory *memory;   /* NULL: nothing is remembered */
	struct k_chat_past *past;       /* NULL: the prompt begins anew, and nobody wants to go on with it */
};
/* Encodes the run that is open. */
int k_render_flush(struct k_render *r, struct k_err *err) K_MUST_USE;
void k_render_json(struct k_render *r, const struct k_json *v, int flags);
/* Content of a message: strings and text parts. Other parts go to media, which may be NULL: K_EUNSUP. */
typedef int k_render_media(struct k_render *r, const char *type, struct k_err *err);
int k_render_content(struct k_render *r, const struct k_json *msg, size_t i, k_render_media *media, struct k_err *err) K_MUST_USE;

/* Behind the header of a turn of the assistant. opens: what else a prompt would have before its answer, specials and runs up to NULL. 1: the
 * turn is there, as it was sampled; 0: it must be rendered. */
int k_render_recall(struct k_render *r, const struct k_json *msg, const char *const *opens, bool thoughts, struct k_err *err) K_MUST_USE;

/* chat_past.c. A layout asks before it writes anything: *first messages, and all before them, are there. history: messages before it are rendered as
 * history, if the layout knows such. Behind each message that is complete it marks the place; what follows begins with a special. */
int k_render_resume(struct k_render *r, size_t history, size_t *first, struct k_err *err) K_MUST_USE;
int k_render_mark(struct k_render *r, struct k_err *err) K_MUST_USE;
/* Around a layout: which messages are the same; what the prompt was. */
int k_past_begin(struct k_chat_past *p, struct k_json *messages, struct k_json *tools, const struct k_chat_options *o, struct k_err *err) K_MUST_USE;
int k_past_end(struct k_chat_past *p, const struct k_ids *ids, struct k_err *err) K_MUST_USE;

/* A member, NULL when absent or null. */
struct k_json *k_chat_field(const struct k_json *obj, const char *key);
/* Is v this very string? */
bool k_chat_is(const struct k_json *v, const char *s);
/* system, user, assistant or tool; the other names of system are one of these. NULL: none of them. */
const char *k_chat_role(const struct k_json *msg);
bool k_chat_has_calls(const struct k_json *msg);

/* Messages and tools of a request are what a layout may rely on; K_EUSAGE with the path else, K_EUNSUP for what it lacks. Messages before `from` are
 * known to be. */
int k_chat_check(const struct k_layout *l, const struct k_json *request, size_t from, struct k_err *err) K_MUST_USE;

/* Every Kimi layout is this envelope and a few facts. */
struct k_kimi {
	const char *system;             /* what is said where the first message is not from system; NULL: nothing */
	bool names;                     /* headers give the name of who speaks, where there is one */
	bool thinks;                    /* turns of the assistant begin with a think block */
	bool opens;                     /* the generation prompt opens it */
	bool typescript;                /* tools are declared so, where they can be */
	k_render_media *media;
};
int k_kimi_render(const struct k_kimi *k, struct k_render *r, const struct k_json *messages, const struct k_json *tools,
	const struct k_chat_options *o, struct k_err *err) K_MUST_USE;
/* An image as K2 spells it. */
int k_kimi_image(struct k_render *r, const char *type, struct k_err *err) K_MUST_USE;
/* 1: appended; 0: the tools cannot be expressed, or are none: out is as it was. */
int k_chat_typescript(struct k_buf *out, const struct k_json *tools, struct k_err *err) K_MUST_USE;

/* An element: <|open|>name key="value" ...<|sep|> ... <|close|>name<|sep|>. Each piece of it is a run of its own. */
struct k_attr { const char *key, *value; size_t n; };
int k_xtml_open(struct k_render *r, const char *name, const struct k_attr *attrs, size_t n, struct k_err *err) K_MUST_USE;
int k_xtml_close(struct k_render *r, const char *name, struct k_err *err) K_MUST_USE;
int k_xtml_text(struct k_render *r, const char *s, size_t n, struct k_err *err) K_MUST_USE;
/* The calls of a turn. */
int k_xtml_calls(struct k_render *r, const struct k_json *list, struct k_err *err) K_MUST_USE;

int k_chatml_render(const char *system, struct k_render *r, const struct k_json *messages, const struct k_chat_options *o,
	struct k_err *err) K_MUST_USE;

#endif

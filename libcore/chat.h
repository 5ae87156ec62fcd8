/* chat.h: messages -> prompt, and generated tokens -> text, reasoning, tool calls. No template engine: each layout is a
 * file libcore/chat_<name>.c that registers by existing. User text can never forge a turn: rendering makes a list of structural
 * special tokens and text runs, and runs are encoded with specials off. */
#ifndef K_CHAT_H
#define K_CHAT_H

#include "libcore/json.h"
#include "libcore/tokenizer.h"

/* --- a prompt: text for people, ids for the model ----------------------------------------------------------------- */

struct k_prompt { struct k_buf text; struct k_ids ids; };
void k_prompt_init(struct k_prompt *p);
void k_prompt_fini(struct k_prompt *p);

/* What layouts write to: special() appends a structural token by its text (K_EUNSUP when the tokenizer has no such token),
 * text() extends the current run. Consecutive text() calls form ONE run, which is encoded when the next special or the end comes. */
struct k_render;
int k_render_special(struct k_render *r, const char *token, struct k_err *err) K_MUST_USE;
void k_render_text(struct k_render *r, const char *s, size_t n);
void k_render_puts(struct k_render *r, const char *s);

/* reasoning_effort, as clients say it. */
#define K_CHAT_EFFORTS "none, minimal, low, medium, high, xhigh, max"
bool k_chat_knows_effort(const struct k_json *v);

enum k_effort { K_EFFORT_NONE, K_EFFORT_LOW, K_EFFORT_HIGH, K_EFFORT_MAX };           /* NONE: the prompt does not speak of it */
enum k_tool_choice { K_TOOLS_AUTO, K_TOOLS_REQUIRED, K_TOOLS_NONE };
struct k_chat_options {
	bool generation_prompt, continue_final, thinking, preserve_thinking;
	/* For layouts that write XTML; others have no words for these. */
	enum k_effort effort;
	enum k_tool_choice tool_choice;
	const struct k_json *format;    /* response_format, where it asks for JSON: the request's. NULL: text */
};

struct k_layout {
	const char *name, *about;       /* "k2_thinking" */
	int (*match)(const char *template_text, const char *sha256_hex);       /* > 0: this layout; higher is more certain */
	int (*render)(struct k_render *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err);
	bool thinking;                  /* default of the option */
	int start;                      /* k_parse state that generation begins in: K_PARSE_... for thinking on */
	bool tools;                     /* renders tools */
	bool xtml;                      /* K3: answers are elements; prompts tell the effort, the choice of tools, the format, and tools that came later */
	const char *const *tokens;      /* by whose names a vocabulary without a template is known, up to NULL; NULL: by none */
};

/* By name ("k2_instruct k2_thinking k25 k3 kimi_linear smollm2 chatml"), NULL when unknown. i-th: NULL past the end. */
const struct k_layout *k_layout_find(const char *name);
const struct k_layout *k_layout_at(int i);
/* From chat_template.jinja or tokenizer_config.json's chat_template (by hash, then by markers); without either from the names of its added
 * tokens. NULL, no error: none known. */
const struct k_layout *k_layout_match(const struct k_files *files, struct k_err *err);

/* request: an object with messages, tools?, add_generation_prompt?, continue_final_message?, chat_template_kwargs?{thinking,
 * enable_thinking, preserve_thinking, thinking_effort}, thinking?{type, effort}, reasoning_effort?, tool_choice?, response_format?, and the OpenAI shape of messages. Validates (K_EUSAGE with the path:
 * "messages[3].role is 'x', wanted system, user, assistant or tool"), normalises nothing (ids verbatim), renders. parse_specials:
 * text runs are encoded with specials on (strict parity with the reference). t may be NULL: text only, ids stay empty. */
int k_chat_render(const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *request, bool parse_specials, struct k_prompt *out, struct k_err *err) K_MUST_USE;
/* Who remembers the tokens of earlier answers. Asked for each turn of the assistant that is over, with the prompt up to where the
 * answer was asked for: 1: the turn's own tokens were appended to ids; 0: not known, and ids is as it was. thoughts: the layout
 * shows the reasoning of this turn. */
struct k_chat_memory { int (*recall)(struct k_chat_memory *m, const struct k_json *msg, bool thoughts, struct k_ids *ids, struct k_err *err); };
/* What an earlier prompt was made of, and how many ids there were behind each of its messages. */
struct k_chat_past {
	struct k_json *messages, *tools;        /* the request's, which nobody edits from then on; NULL: none */
	struct k_chat_options options;
	size_t n;                       /* messages whose end is known */
	size_t *end;                    /* ids up to each one's end; room for all messages */
	size_t history;                 /* messages before it were rendered as history */
	struct k_ids ids;               /* up to the last end */
};
void k_chat_past_init(struct k_chat_past *p);
void k_chat_past_fini(struct k_chat_past *p);           /* leaves it as init does */
/* How many messages at its beginning a prompt of these shares with the earlier one; 0 where it is no more than `most`. */
size_t k_chat_past_same(const struct k_chat_past *p, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, size_t most);
/* The first n messages of another. On failure `to` is empty. */
int k_chat_past_copy(struct k_chat_past *to, const struct k_chat_past *from, size_t n, struct k_err *err) K_MUST_USE;

/* As k_chat_render, for the ids alone: out->text lacks what was recalled or taken over. m and past may be NULL. past: an earlier prompt or an
 * empty one, whose messages are not rendered where the request begins with the same; afterwards this one, empty on failure. out is empty before. */
int k_chat_render_ids(const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *request, struct k_chat_memory *m, struct k_chat_past *past,
	struct k_prompt *out, struct k_err *err) K_MUST_USE;
/* The options of a request as they were understood (thinking etc.). */
int k_chat_options(const struct k_layout *l, const struct k_json *request, struct k_chat_options *o, struct k_err *err) K_MUST_USE;
/* Rewrites tool-call ids of the history to functions.NAME:N where they are not (and the tool messages that refer to them);
 * a tool message whose id matches nothing: K_EUSAGE. Edits the request. Kimi layouts only. */
int k_chat_normalise_ids(struct k_json *request, struct k_err *err) K_MUST_USE;

/* --- output: a state machine on token ids --------------------------------------------------------------------------- */

/* The tokens that structure an answer, by their texts; those of calls come first. Not every layout and tokenizer has them. */
enum k_marker {
	K_MARKER_SECTION_BEGIN, K_MARKER_SECTION_END, K_MARKER_CALL_BEGIN, K_MARKER_ARGS_BEGIN, K_MARKER_CALL_END, K_N_CALL_MARKERS,
	K_MARKER_THINK = K_N_CALL_MARKERS, K_MARKER_UNTHINK, K_N_MARKERS
};
extern const char *const k_marker_texts[K_N_MARKERS];

enum { K_PARSE_START, K_PARSE_REASON, K_PARSE_CONTENT, K_PARSE_SECTION, K_PARSE_HEADER, K_PARSE_ARGS };
enum k_event_kind { K_EVENT_REASONING, K_EVENT_CONTENT, K_EVENT_CALL, K_EVENT_ARGS };
struct k_event {
	enum k_event_kind kind;
	const char *text; size_t len;   /* REASONING, CONTENT, ARGS: a delta, whole characters */
	int call;                       /* CALL, ARGS: index within this message, from 0 */
	const char *id, *name;          /* CALL */
};
struct k_parser;
/* tools: the request's, may be NULL (names are then taken as they come); keeps a reference. n_used: calls that the history
 * already has, for ids that must be made up. emit is called in order; returns non-zero to stop. */
int k_parser_new(struct k_parser **out, const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *tools, int n_used, const struct k_chat_options *o,
	int (*emit)(void *arg, const struct k_event *ev), void *arg, struct k_err *err) K_MUST_USE;
/* messages: the request's, which have these ids already: no call gets one of them again. Before the first token. */
int k_parser_history(struct k_parser *p, const struct k_json *messages, struct k_err *err) K_MUST_USE;
int k_parser_put(struct k_parser *p, int32_t id, struct k_err *err) K_MUST_USE;
int k_parser_end(struct k_parser *p, struct k_err *err) K_MUST_USE;     /* flushes what was held back */
int k_parser_calls(const struct k_parser *p);                           /* calls emitted so far */
const struct k_buf *k_parser_lead(const struct k_parser *p);            /* white space that is content as soon as something follows; NULL: none */
/* The id that the next call of this name gets if the model writes none, functions.NAME:N: N counts all calls, and passes over those whose id is taken. It takes the
 * place of what *id holds, which is marked where memory gives out. */
void k_parser_next_id(const struct k_parser *p, const char *name, size_t n, struct k_buf *id);
int k_parser_state(const struct k_parser *p);
/* What was put right so far: a header that is no id of its own got one, a call without a name was named by its arguments, arguments that were
 * left out are {}, what cannot be a call came out as text. */
enum k_repair { K_REPAIR_ID, K_REPAIR_NAME, K_REPAIR_ARGS, K_REPAIR_TEXT, K_REPAIRS };
const uint64_t *k_parser_repairs(const struct k_parser *p);            /* of each kind */
void k_parser_free(struct k_parser *p);

/* Appends what ends the thoughts of an answer and begins what it says; nothing where the tokenizer has no such tokens. */
int k_chat_unthink(const struct k_layout *l, const struct k_tokenizer *t, struct k_ids *out, struct k_err *err) K_MUST_USE;

/* Ids that end a turn: eos of generation_config.json and config.json, the layout's own end tokens. Appended, without doubles. */
int k_chat_stops(const struct k_tokenizer *t, const struct k_files *files, struct k_ids *out, struct k_err *err) K_MUST_USE;

#endif

/* answer.h: tokens that answer a chat request become the message of an answer, as the model's chat layout reads them; and the other way round, what was
 * recorded of a server is held against that layout.
 *
 *   request --layout--> prompt text       is it the recorded one?
 *   completion --tokens, parser--> message: text, thoughts, calls       are the calls the recorded ones? */
#ifndef K_ANSWER_H
#define K_ANSWER_H

#include "libcore/chat.h"
#include "libcore/json.h"

struct k_answer {
	struct k_parser *parser;        /* between begin and end */
	struct k_buf text, reasoning;
	struct k_json *calls;
	bool broken;                    /* memory gave out within a callback */
};
void k_answer_init(struct k_answer *r);
void k_answer_fini(struct k_answer *r);
/* Empties it; then with k_answer_begin it waits for tokens (k_parser_put). */
int k_answer_reset(struct k_answer *r, struct k_err *err) K_MUST_USE;
int k_answer_begin(struct k_answer *r, const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *request, struct k_err *err) K_MUST_USE;
/* What was held back comes. *why: why it ended; "stop" becomes "tool_calls" where there are calls. */
int k_answer_end(struct k_answer *r, const char **why, struct k_err *err) K_MUST_USE;
/* {"role","content","reasoning_content"?,"tool_calls"?}; NULL without memory. */
struct k_json *k_answer_message(const struct k_answer *r);

/* Who reads recorded texts: a tokenizer, its chat layout, and where turns end. No weights. */
struct k_reader;
int k_reader_open(struct k_reader **out, const struct k_files *files, struct k_err *err) K_MUST_USE;
void k_reader_close(struct k_reader *d);                /* takes NULL */
const char *k_reader_layout(const struct k_reader *d);
/* 0; K_ENO with where they part. */
int k_reader_prompt(struct k_reader *d, const struct k_json *request, const char *text, size_t n, struct k_err *err) K_MUST_USE;
/* The choice {"message","finish_reason"} that a completion is; why: its own finish_reason. */
int k_reader_choice(struct k_reader *d, const struct k_json *request, const char *text, size_t n, const char *why, struct k_json **out, struct k_err *err) K_MUST_USE;
/* 0; K_ENO with how the calls of two messages differ: their number, a name, arguments (as JSON, where both are; else as text). Ids are not compared:
 * servers make up their own. */
int k_answer_same_calls(const struct k_json *made, const struct k_json *recorded, struct k_err *err) K_MUST_USE;

#endif

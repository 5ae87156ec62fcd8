/* chat_parse_int.h: what the machines of the output parser share: chat_parse.c, for the markers of Kimi-K2 or none, and chat_parse_k3.c.
 * Only these two include it. */
#ifndef K_CHAT_PARSE_INT_H
#define K_CHAT_PARSE_INT_H

#include "libcore/arena.h"
#include "libcore/chat.h"
#include "libcore/map.h"

struct span { const char *s; size_t n; };
struct tool { const char *name; const struct k_json *schema; };

/* Where the answer is; those from CALL on are within a call. */
enum place { OUTSIDE, THOUGHT, RESPONSE, TOOLS, CALL, VALUE, RAW, N_PLACES };
struct k_xtml {
	int32_t open, close, sep, end;      /* the markers */
	enum place at;
	int32_t tag;                        /* the marker that began the tag which is not over; -1: none */
	bool string;                        /* VALUE: of the type string, which goes out as it comes */
	enum { NOTHING, MEMBERS, WHOLE } told;      /* of the arguments of this call */
};

struct k_parser {
	const struct k_tokenizer *t;
	struct k_json *tools;
	struct tool *declared;
	size_t n_declared;
	int32_t marks[K_N_MARKERS];         /* -1: the layout or the tokenizer has no such marker */
	int (*emit)(void *arg, const struct k_event *ev);
	void *arg;

	int state, n_used, calls;
	bool stopped;                   /* by emit */
	bool nomem;
	uint64_t repairs[K_REPAIRS];
	struct k_decoder dec;
	struct k_buf text;              /* characters that the decoder has just finished */
	struct k_buf held;              /* white space: before content, at the end of arguments */
	bool said;                      /* the content since the last marker, the arguments of this call: more than white space */
	struct k_buf header;            /* of a call; the tag of an element */
	bool unnamed;                   /* the header alone does not say which tool it is: the arguments are collected */
	struct k_buf args;              /* that are collected; the value of one */
	struct k_arena ids;             /* of the conversation, */
	struct k_map used;              /* so that none is given twice */
	bool xtml;
	struct k_xtml x;
};

/* chat_parse.c */
void k_parse_send(struct k_parser *p, enum k_event_kind kind, const char *s, size_t n);
void k_parse_hold(struct k_parser *p, struct k_buf *b, const char *s, size_t n);
bool k_parse_is_space(char c);
/* Declared, or what a tool may be called. */
bool k_parse_names_tool(const struct k_parser *p, struct span name);
/* A call of this name, under an id of ours. */
void k_parse_call(struct k_parser *p, struct span name);
/* Content begins with the first character that is not white space: a line break between two markers is none. */
void k_parse_content(struct k_parser *p, const char *s, size_t n);

/* chat_parse_k3.c */
void k_xtml_begin(struct k_parser *p, bool thinking);
void k_xtml_put(struct k_parser *p, int32_t id);
void k_xtml_end(struct k_parser *p);

#endif

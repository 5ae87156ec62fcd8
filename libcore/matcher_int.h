/* matcher_int.h: what the parts of the matcher share.
 *
 *   grammar.c             frames, states, masks
 *   grammar_scalar.c      a byte within words, strings, numbers
 *   grammar_container.c   a byte of an array or object outside its values
 *   grammar_names.c       names that an object has */
#ifndef K_MATCHER_INT_H
#define K_MATCHER_INT_H

#include "libcore/buf.h"
#include "libcore/grammar_int.h"

enum { K_MAX_THREADS = 256 };

/* Where one node is: inside which frame (0: none), how far (a, b, n: as the node likes), within how many containers. */
struct k_frame { uint32_t parent, node, a, b; uint64_t n; uint32_t depth, hash; };
/* All stacks that a text may stand for, by their top frames; next: [byte] the state behind it, NULL until a step is taken; used: when the
 * mask was asked for last; vague: a name is read that may be one that was not told; once: so the mask is of one text. */
struct k_state { uint32_t *threads; uint32_t n, hash; bool accept, vague, once; uint32_t *next; uint64_t *mask, used; };
struct k_table { uint32_t *slots; size_t cap; };
struct k_matcher {
	struct k_grammar *g;
	const struct k_vocab *v;
	struct k_frame *frames; uint32_t n_frames, cap_frames; struct k_table by_frame;
	struct k_state *states; uint32_t n_states, cap_states; struct k_table by_state;
	uint32_t now;
	uint32_t n_masks;
	uint64_t clock;                 /* masks that were asked for */
	struct k_buf name; size_t name_from;    /* bytes of the name that is read, from there on */
	uint32_t out[K_MAX_THREADS], n_out;     /* of the step that is taken */
	bool out_accept, full;          /* full: memory or room gave out */
	bool once;                      /* the mask that is made is of this text only */
	bool cut;                       /* alternatives were left out, or room gave out: what the tables say may depend on what came before */
};

/* a of a frame. */
enum { ARRAY_OPEN, ARRAY_FIRST, ARRAY_AFTER, ARRAY_NEXT, ARRAY_SPACE };
enum { OBJ_OPEN, OBJ_FIRST, OBJ_KEY, OBJ_EXTRA, OBJ_COLON, OBJ_SPACE, OBJ_AFTER, OBJ_NEXT, OBJ_WANT, OBJ_GAP };
/* Of a CALL, beside KEY, EXTRA, COLON, AFTER and NEXT. */
enum { ARG_HEAD = OBJ_GAP + 1, ARG_TYPE, ARG_AFTER_STRING, ARG_CLOSE, ARG_TAIL };
/* ESCAPE: of an ATTRIBUTE, within &amp; or &quot;. */
enum { STR_BODY, STR_UTF8, STR_ESCAPE, STR_HEX, STR_LOW_SLASH, STR_LOW_U, STR_LOW, STR_OPEN };

/* In b of a STRING's frame: K_NAME_NONE, or text frame + 1 of how far the name is like a used one. */
enum { K_NAME_NONE = 0, K_NAME_FIRST = 1 };
#define K_NAME_VAGUE UINT32_MAX

/* The frame with this content; 0: there is none. */
uint32_t k_frame_find(const struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t a, uint32_t b, uint64_t n);
/* The same, which is made if it is not there; 0 without memory. */
uint32_t k_frame_of(struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t depth, uint32_t a, uint32_t b, uint64_t n);
/* One of the stacks that the step leads to. */
void k_frame_emit(struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t depth, uint32_t a, uint32_t b, uint64_t n);
/* The same frame, further on. */
void k_frame_go_on(struct k_matcher *m, const struct k_frame *f, uint32_t a, uint32_t b, uint64_t n);
bool k_frame_has_room(const struct k_matcher *m, uint32_t depth, uint32_t node);
/* A value of the node may come now; the value within parent is whole. */
void k_node_enter(struct k_matcher *m, uint32_t node, uint32_t parent);
void k_node_leave(struct k_matcher *m, uint32_t parent);

/* Of the sorted words that begin as words[lo] does up to depth: the first that goes on with c; n: none. */
uint32_t k_word_step(const struct k_word *words, uint32_t n, uint32_t lo, uint32_t depth, unsigned char c);
bool k_word_same_begin(const struct k_word *a, const struct k_word *b, uint32_t n);

/* How far a string is: the pattern's state and, of a name, what b of the frame says. */
struct k_string { const struct k_matcher *m; const struct k_frame *f; const struct k_pattern *p; uint32_t a, name; uint64_t s; enum k_form form; };
/* One more character; one of [lo, hi]; no more: can the string, and a name that no used one is, go on like that? */
bool k_string_char(struct k_string *t, uint32_t c);
bool k_string_range(const struct k_string *t, uint32_t lo, uint32_t hi);
bool k_string_end(const struct k_string *t);

/* Members that an object has or begins, by its frame. */
static inline int64_t k_members_of(const struct k_frame *f) { return (int64_t)(f->b & 0xffff) + (f->b >> 16); }
/* Can a name of the kind begin that is none of the used ones? name: for b of its frame. */
bool k_name_begin(const struct k_matcher *m, uint32_t used, uint32_t key, uint32_t *name);
/* What is below an object's frame but for the used names. */
uint32_t k_names_below(const struct k_matcher *m, uint32_t frame);
/* Is a name read that will be a used one? */
bool k_name_is_read(const struct k_matcher *m, const uint32_t *threads, uint32_t n);
/* What the name was that has just ended. False: without memory. */
bool k_name_tell(struct k_matcher *m, uint32_t *threads, uint32_t n, const char *s, size_t len);
void k_name_leave(struct k_matcher *m, const struct k_frame *f);

/* What one more byte makes of a frame: any number of k_frame_emit and k_node_leave. f is a copy. */
typedef void k_step(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c);
k_step k_step_words, k_step_string, k_step_integer, k_step_number, k_step_array, k_step_object, k_step_call;

#endif

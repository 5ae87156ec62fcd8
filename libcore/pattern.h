/* pattern.h: regular expressions over characters as automata: what a JSON string may hold.
 *
 * A pattern is the intersection of parts, each a regular expression (searched for, as JSON Schema says) or a literal, possibly
 * negated, and of a range of lengths in characters. Everything is decided when it is compiled: a step is possible only where the
 * string can still be finished. */
#ifndef K_PATTERN_H
#define K_PATTERN_H

#include "libcore/err.h"

struct k_pattern;
struct k_pattern_part {
	const char *text; size_t len;
	bool literal;                   /* the text itself, whole; else a regular expression */
	bool negate;
};

/* min, max: characters; max < 0: any number. n 0: any string of that length. ECMA syntax without lookaround, backreferences, \b,
 * \p: K_EUNSUP by name; what is no expression: K_EFORMAT. Classes whose members depend on the reader (\d, \w, \s, .) hold the
 * characters that all readers agree on. Too large to be decided: K_EUNSUP. */
int k_pattern_new(struct k_pattern **out, const struct k_pattern_part *parts, int n, int64_t min, int64_t max, struct k_err *err)
	K_MUST_USE;
void k_pattern_free(struct k_pattern *p);               /* takes NULL */

bool k_pattern_none(const struct k_pattern *p);         /* no string fits */
/* The state is a number; 0 begins. */
bool k_pattern_step(const struct k_pattern *p, uint64_t *state, uint32_t c);
/* Can a character of [lo, hi] follow? */
bool k_pattern_range(const struct k_pattern *p, uint64_t state, uint32_t lo, uint32_t hi);
bool k_pattern_end(const struct k_pattern *p, uint64_t state);
/* From here on every character is possible, *room of them at least (INT64_MAX: any number). False: not known to be so. */
bool k_pattern_open(const struct k_pattern *p, uint64_t state, int64_t *room);
/* How many strings go on from here, K_PATTERN_MANY for as many or more. First k_pattern_count. */
enum { K_PATTERN_MANY = 0xffff };
int k_pattern_count(struct k_pattern *p, struct k_err *err) K_MUST_USE;
uint32_t k_pattern_ways(const struct k_pattern *p, uint64_t state);
/* Does the whole text (UTF-8) fit? */
bool k_pattern_fits(const struct k_pattern *p, const char *s, size_t n);

#endif

/* rx.h: compiled patterns (rx.c is the only includer of pcre2.h). UTF-8 text, PCRE2 syntax, JIT where there is one. */
#ifndef K_RX_H
#define K_RX_H

#include "libcore/err.h"

struct k_rx;
enum { K_RX_NO_UTF_CHECK = 1 /* the text is known to be valid */, K_RX_ANCHORED = 2, K_RX_NO_CASE = 4 };
/* A pattern that does not compile: K_EFORMAT with the offset. The compiled pattern is immutable and shared by threads. */
int k_rx_new(struct k_rx **out, const char *pattern, int flags, struct k_err *err) K_MUST_USE;
void k_rx_free(struct k_rx *rx);
/* 1: first match at or after start, [*a, *b); 0: none; error (K_ENOMEM: match limit). */
int k_rx_find(const struct k_rx *rx, const char *text, size_t len, size_t start, size_t *a, size_t *b, struct k_err *err) K_MUST_USE;
/* Shell glob (* ? [...]) on names; for --rule. */
bool k_glob(const char *pattern, const char *name);

/* "PCRE2 10.42 2022-12-11" into buf. */
void k_rx_library(char buf[64]);

#endif

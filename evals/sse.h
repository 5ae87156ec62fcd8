/* sse.h: server-sent events, cut into what each of them says. Bytes come in pieces of any size; an event is its data lines, joined by LF.
 * Comments, other fields and a byte order mark are passed over. */
#ifndef K_SSE_H
#define K_SSE_H

#include "libcore/buf.h"

struct k_sse {
	struct k_buf line, data;
	bool has_data, cr, begun;
	/* data is NUL-terminated; returns non-zero to stop, which k_sse_put passes on. */
	int (*event)(void *arg, const char *data, size_t n);
	void *arg;
};

/* max: the largest line and the largest event. */
void k_sse_init(struct k_sse *s, size_t max, int (*event)(void *arg, const char *data, size_t n), void *arg);
void k_sse_fini(struct k_sse *s);
void k_sse_reset(struct k_sse *s);
/* 0, what event returned, or K_ENOMEM: an event is larger than max. */
int k_sse_put(struct k_sse *s, const char *p, size_t n) K_MUST_USE;

#endif

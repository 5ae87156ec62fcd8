/* buf.h: growing bytes with a largest size. Appending after a failure does nothing, so a row of appends is checked once
 * (k_buf_ok). data is always NUL-terminated once something was appended; len does not count the NUL. */
#ifndef K_BUF_H
#define K_BUF_H

#include "libcore/err.h"

struct k_buf {
	char *data;
	size_t len, cap, max;
	bool failed;                    /* out of memory or over max */
};

void k_buf_init(struct k_buf *b, size_t max);           /* max 0: no limit */
void k_buf_fini(struct k_buf *b);
void k_buf_reset(struct k_buf *b);                      /* len 0, memory kept, failed cleared */
void k_buf_put(struct k_buf *b, const void *p, size_t n);
void k_buf_puts(struct k_buf *b, const char *s);
void k_buf_putc(struct k_buf *b, char c);
void k_buf_printf(struct k_buf *b, const char *fmt, ...) K_PRINTF(2, 3);
/* Room for n more bytes at data + len (len is not changed); NULL on failure. */
void *k_buf_room(struct k_buf *b, size_t n);
/* 0 or K_ENOMEM. */
int k_buf_ok(const struct k_buf *b, const char *what, struct k_err *err) K_MUST_USE;
/* Hands the memory over (NUL-terminated, k_free) and leaves b empty; NULL when failed or without memory. */
char *k_buf_take(struct k_buf *b, size_t *len);
/* Is there nothing in a line but spaces, tabs and the CR of a line that ends with CR LF? */
bool k_is_blank(const char *s, size_t n);

#endif

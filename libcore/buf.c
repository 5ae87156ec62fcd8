/* buf.c: growing bytes. cap is always at least len + 1 once there is memory: the NUL has its place. */
#include "libcore/base.h"
#include "libcore/buf.h"
#include <stdarg.h>
#include <stdio.h>

void k_buf_init(struct k_buf *b, size_t max) { *b = (struct k_buf){ .max = max }; }

void k_buf_fini(struct k_buf *b)
{
	k_free(b->data);
	k_buf_init(b, b->max);
}

void k_buf_reset(struct k_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = 0;
}

void *k_buf_room(struct k_buf *b, size_t n)
{
	size_t want, cap;
	char *p;

	if (b->failed || !k_add_size(b->len, n, &want) || want == SIZE_MAX || (b->max && want > b->max)) {
		b->failed = true;
		return NULL;
	}
	want++;
	if (want > b->cap) {
		cap = b->cap < SIZE_MAX / 2 ? K_MAX(b->cap + b->cap / 2, (size_t)64) : want;
		cap = K_MAX(cap, want);
		p = k_realloc(b->data, cap);
		if (!p) {
			b->failed = true;
			return NULL;
		}
		b->data = p;
		b->cap = cap;
	}
	return b->data + b->len;
}

void k_buf_put(struct k_buf *b, const void *p, size_t n)
{
	char *at = k_buf_room(b, n);

	if (!at)
		return;
	if (n)
		memcpy(at, p, n);
	b->len += n;
	b->data[b->len] = 0;
}

void k_buf_puts(struct k_buf *b, const char *s) { k_buf_put(b, s, strlen(s)); }
void k_buf_putc(struct k_buf *b, char c) { k_buf_put(b, &c, 1); }

void k_buf_printf(struct k_buf *b, const char *fmt, ...)
{
	va_list ap, again;
	char *at;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	at = n < 0 ? NULL : k_buf_room(b, (size_t)n);
	if (at) {
		vsnprintf(at, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	} else {
		b->failed = true;
	}
	va_end(again);
	va_end(ap);
}

int k_buf_ok(const struct k_buf *b, const char *what, struct k_err *err)
{
	if (!b->failed)
		return 0;
	if (b->max && b->len >= b->max / 2)
		return k_err_set(err, K_ENOMEM, "%s is larger than the limit of %zu bytes", what, b->max);
	return k_err_nomem(err, b->len, what);
}

char *k_buf_take(struct k_buf *b, size_t *len)
{
	char *p = NULL;

	if (!b->failed && k_buf_room(b, 0)) {
		p = b->data;
		p[b->len] = 0;
		if (len)
			*len = b->len;
		b->data = NULL;
	}
	k_buf_fini(b);
	return p;
}

bool k_is_blank(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r')
			return false;
	return true;
}

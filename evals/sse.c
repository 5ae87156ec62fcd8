/* sse.c: see sse.h. A line ends with LF, CR or CR LF; an empty line ends an event. */
#include "libcore/base.h"
#include "evals/sse.h"

void k_sse_init(struct k_sse *s, size_t max, int (*event)(void *arg, const char *data, size_t n), void *arg)
{
	*s = (struct k_sse){ .event = event, .arg = arg };
	k_buf_init(&s->line, max);
	k_buf_init(&s->data, max);
}

void k_sse_fini(struct k_sse *s)
{
	k_buf_fini(&s->line);
	k_buf_fini(&s->data);
}

void k_sse_reset(struct k_sse *s)
{
	k_buf_reset(&s->line);
	k_buf_reset(&s->data);
	s->has_data = s->cr = s->begun = false;
}

static int end_line(struct k_sse *s)
{
	const char *p = s->line.len ? s->line.data : "";
	size_t n = s->line.len;
	int r = 0;
	if (!s->begun && n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) {
		p += 3;
		n -= 3;
	}
	s->begun = true;
	if (n == 0) {
		if (s->has_data)
			r = s->event(s->arg, s->data.len ? s->data.data : "", s->data.len);
		k_buf_reset(&s->data);
		s->has_data = false;
	} else if (n >= 4 && !memcmp(p, "data", 4) && (n == 4 || p[4] == ':')) {
		size_t skip = n == 4 ? 4 : n > 5 && p[5] == ' ' ? 6 : 5;
		if (s->has_data)
			k_buf_putc(&s->data, '\n');
		k_buf_put(&s->data, p + skip, n - skip);
		s->has_data = true;
	}
	if (r == 0 && (s->line.failed || s->data.failed))
		r = K_ENOMEM;
	k_buf_reset(&s->line);
	return r;
}

int k_sse_put(struct k_sse *s, const char *p, size_t n)
{
	for (size_t i = 0; i < n; ) {
		if (s->cr && p[i] == '\n') {
			s->cr = false;
			i++;
			continue;
		}
		s->cr = false;
		size_t k = i;
		while (k < n && p[k] != '\n' && p[k] != '\r')
			k++;
		k_buf_put(&s->line, p + i, k - i);
		if (s->line.failed)
			return K_ENOMEM;
		if (k < n) {
			s->cr = p[k] == '\r';
			int r = end_line(s);
			if (r)
				return r;
			k++;
		}
		i = k;
	}
	return 0;
}

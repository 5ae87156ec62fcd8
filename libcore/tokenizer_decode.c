/* tokenizer_decode.c: ids to text.
 *
 * The bytes of tokens are one stream: a character may span tokens. What cannot be decided yet (a proper prefix of a well-formed
 * sequence, at most three bytes) waits in the tail; every maximal invalid part becomes one U+FFFD. */
#include "libcore/base.h"
#include "libcore/tokenizer_int.h"
#include "libcore/unicode.h"

static const char replacement[] = "\xef\xbf\xbd";

/* Appends whole characters of p; returns how many bytes at the end are an unfinished one. */
static size_t put_whole(const char *p, size_t n, struct k_buf *out)
{
	size_t good = 0, i = 0;

	while (i < n) {
		int len = (unsigned char)p[i] < 0x80 ? 1 : k_unicode_step(p + i, n - i);

		if (len > 0) {
			i += (size_t)len;
			continue;
		}
		k_buf_put(out, p + good, i - good);
		if (!len)
			return n - i;
		k_buf_puts(out, replacement);
		i += (size_t)-len;
		good = i;
	}
	k_buf_put(out, p + good, n - good);
	return 0;
}

void k_decoder_init(struct k_decoder *d, const struct k_tokenizer *t, bool show_control)
{
	*d = (struct k_decoder){ .t = t, .show_control = show_control };
}

void k_decoder_put(struct k_decoder *d, int32_t id, struct k_buf *out)
{
	size_t n = 0, left;
	const char *p = k_tokenizer_bytes(d->t, id, &n);

	if (!p || (!d->show_control && k_tokenizer_is_control(d->t, id)))
		return;
	/* The tail takes bytes one by one until it is whole or broken; the rest needs no copy. */
	while (d->n_tail && n) {
		d->tail[d->n_tail++] = (unsigned char)*p++;
		n--;
		left = put_whole((char *)d->tail, (size_t)d->n_tail, out);
		memmove(d->tail, d->tail + (size_t)d->n_tail - left, left);
		d->n_tail = (int)left;
	}
	if (d->n_tail || !n)
		return;
	left = put_whole(p, n, out);
	memcpy(d->tail, p + n - left, left);
	d->n_tail = (int)left;
}

void k_decoder_end(struct k_decoder *d, struct k_buf *out)
{
	if (d->n_tail)
		k_buf_puts(out, replacement);
	d->n_tail = 0;
}

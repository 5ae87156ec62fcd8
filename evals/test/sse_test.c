#include "libcore/base.h"
#include "evals/sse.h"
#include "libcore/test.h"

/* Each event with a bar behind it. */
static int keep(void *arg, const char *data, size_t n)
{
	struct k_buf *b = arg;
	k_buf_put(b, data, n);
	k_buf_putc(b, '|');
	return n == 4 && !memcmp(data, "stop", 4);
}

static const char stream[] = "\xef\xbb\xbf: ping\n\ndata: {\"a\":1}\r\n\r\nevent: x\rdata:two\rdata: lines\r\rid: 7\ndata\n\ndata:  [DONE]\n\n\ndata: lost";

/* However the bytes are cut, the events are the same. */
K_TEST(sse_cut_anywhere)
{
	for (size_t piece = 1; piece < sizeof(stream); piece++) {
		struct k_buf b;
		struct k_sse s;
		k_buf_init(&b, 0);
		k_sse_init(&s, 1024, keep, &b);
		for (size_t at = 0; at < sizeof(stream) - 1; at += piece)
			K_CHECK(k_sse_put(&s, stream + at, K_MIN(piece, sizeof(stream) - 1 - at)) == 0);
		K_CHECK(b.data && !strcmp(b.data, "{\"a\":1}|two\nlines|| [DONE]|"));
		k_sse_fini(&s);
		k_buf_fini(&b);
	}
}

K_TEST(sse_stops_and_is_bounded)
{
	struct k_buf b;
	struct k_sse s;
	k_buf_init(&b, 0);
	k_sse_init(&s, 16, keep, &b);
	K_CHECK(k_sse_put(&s, "data: stop\n\ndata: more\n\n", 24) == 1);
	K_CHECK(b.data && !strcmp(b.data, "stop|"));
	k_sse_reset(&s);
	K_CHECK(k_sse_put(&s, "data: 01234567890123456789", 26) == K_ENOMEM);
	k_sse_reset(&s);
	K_CHECK(k_sse_put(&s, "data: 0123456789\ndata: 0123456789\n", 34) == K_ENOMEM);
	k_sse_fini(&s);
	k_buf_fini(&b);
}

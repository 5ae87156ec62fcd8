/* fuzz_bodies.c: a body is the same value, or an error, whether one that begins like it was parsed before or not. */
#include "libcore/base.h"
#include <stdlib.h>
#include "libcore/bodies.h"
#include "libcore/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool check(struct k_recent *t, const char *text, size_t len)
{
	struct k_json *v = NULL, *whole = NULL;
	struct k_err err = { 0 };
	int r = k_bodies_parse(t, &v, text, len, &err), want = k_bodies_parse(NULL, &whole, text, len, &err);

	if (r != want || (r == 0 && !k_json_same(v, whole)))
		abort();
	if (r == 0)
		k_json_free(v);
	if (want == 0)
		k_json_free(whole);
	return r == 0;
}

/* The text, the text again, and the text up to each of some places and from there on as it ends, behind as many blanks as make it worth keeping. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { BLANKS = 4096, PLACES = 16 };
	struct k_recent *t;
	struct k_err err = { 0 };
	struct k_buf b, part;
	bool right = false;

	if (k_bodies_new(&t, 1 << 24, &err))
		return -1;
	k_buf_init(&b, 0);
	k_buf_init(&part, 0);
	for (int i = 0; i < BLANKS; i++)
		k_buf_putc(&b, ' ');
	k_buf_put(&b, data, size);
	for (int round = 0; round < 2 && !b.failed; round++)
		right = check(t, b.data, b.len);
	for (size_t i = 1; i < PLACES && right; i++) {
		size_t cut = size * i / PLACES, skip = size * (i + 1) / PLACES;

		k_buf_reset(&part);
		k_buf_put(&part, b.data, BLANKS + cut);
		k_buf_put(&part, data + skip, size - skip);
		if (!part.failed)
			check(t, part.data, part.len);
		check(t, b.data, b.len);
	}
	k_buf_fini(&b);
	k_buf_fini(&part);
	k_recent_free(t);
	return right ? 0 : -1;
}

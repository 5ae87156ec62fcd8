/* fuzz_json.c: any text is a JSON value or an error; a value written in any form and read again is the same value. */
#include "libcore/base.h"
#include <stdlib.h>
#include "libcore/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read(const struct k_json *v, int flags)
{
	struct k_json *again;
	struct k_err err = { 0 };
	struct k_buf b;

	k_buf_init(&b, 0);
	k_json_dump(&b, v, flags);
	if (k_buf_ok(&b, "a text", &err) < 0 || k_json_parse(&again, b.data, b.len, K_JSON_LAST_WINS, "written", &err) < 0 ||
	    !k_json_equal(v, again))
		abort();
	k_json_free(again);
	k_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int forms[] = { 0, K_JSON_COMPACT, K_JSON_SORT, K_JSON_INDENT };
	struct k_json *strict = NULL, *last = NULL;
	struct k_err err = { 0 };
	int r = k_json_parse(&strict, (const char *)data, size, K_JSON_STRICT, "input", &err);
	int r2 = k_json_parse(&last, (const char *)data, size, K_JSON_LAST_WINS, "input", &err);

	/* What a file may have, a request may have. */
	if (r == 0 && (r2 < 0 || !k_json_equal(strict, last)))
		abort();
	for (size_t i = 0; i < K_LEN(forms) && r2 == 0; i++)
		write_and_read(last, forms[i]);
	if (r == 0)
		k_json_free(strict);
	if (r2 == 0)
		k_json_free(last);
	return r2 == 0 ? 0 : -1;
}

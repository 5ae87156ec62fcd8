/* rx.c: compiled patterns over PCRE2, and globs. The only includer of pcre2.h.
 *
 * The code is immutable and shared. Match data is per call: a match that starts a thousand times a second
 * costs one small allocation each, and no thread waits for another. */
#include "libcore/base.h"
#include "libcore/rx.h"
#include <fnmatch.h>
#include <stdio.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct k_rx { pcre2_code *code; pcre2_match_context *limits; uint32_t flags; };

static void *take(size_t n, void *arg K_UNUSED) { return k_alloc(n); }
static void give(void *p, void *arg K_UNUSED) { k_free(p); }

int k_rx_new(struct k_rx **out, const char *pattern, int flags, struct k_err *err)
{
	uint32_t how = PCRE2_UTF | PCRE2_UCP;
	pcre2_general_context *memory;
	pcre2_compile_context *cc;
	struct k_rx *rx;
	PCRE2_SIZE at = 0;
	int number = 0;

	*out = NULL;
	rx = k_calloc(1, sizeof *rx);
	memory = rx ? pcre2_general_context_create(take, give, NULL) : NULL;
	cc = memory ? pcre2_compile_context_create(memory) : NULL;
	if (cc)
		rx->limits = pcre2_match_context_create(memory);
	if (!cc || !rx->limits) {
		pcre2_compile_context_free(cc);
		pcre2_general_context_free(memory);
		k_rx_free(rx);
		return k_err_nomem(err, sizeof *rx, "a pattern");
	}
	if (flags & K_RX_ANCHORED)
		how |= PCRE2_ANCHORED;
	if (flags & K_RX_NO_CASE)
		how |= PCRE2_CASELESS;
	rx->flags = flags & K_RX_NO_UTF_CHECK ? PCRE2_NO_UTF_CHECK : 0;
	pcre2_set_match_limit(rx->limits, 10000000);
	pcre2_set_heap_limit(rx->limits, 64 * 1024);
	rx->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, how, &number, &at, cc);
	pcre2_compile_context_free(cc);
	pcre2_general_context_free(memory);
	if (!rx->code) {
		PCRE2_UCHAR why[160];

		k_rx_free(rx);
		if (number == PCRE2_ERROR_HEAP_FAILED)
			return k_err_nomem(err, strlen(pattern), "a pattern");
		pcre2_get_error_message(number, why, sizeof why);
		return k_err_set(err, K_EFORMAT, "pattern '%.200s' does not compile at offset %zu: %s",
			pattern, (size_t)at, (const char *)why);
	}
	/* Where there is no JIT the interpreter gives the same matches. */
	pcre2_jit_compile(rx->code, PCRE2_JIT_COMPLETE);
	*out = rx;
	return 0;
}

void k_rx_free(struct k_rx *rx)
{
	if (!rx)
		return;
	pcre2_code_free(rx->code);
	pcre2_match_context_free(rx->limits);
	k_free(rx);
}

int k_rx_find(const struct k_rx *rx, const char *text, size_t len, size_t start, size_t *a, size_t *b,
	struct k_err *err)
{
	pcre2_match_data *m;
	int n;

	if (start > len)
		return 0;
	m = pcre2_match_data_create_from_pattern(rx->code, NULL);
	if (!m)
		return k_err_nomem(err, len, "a pattern match");
	n = pcre2_match(rx->code, (PCRE2_SPTR)(text ? text : ""), len, start, rx->flags, m, rx->limits);
	if (n == PCRE2_ERROR_JIT_STACKLIMIT)
		n = pcre2_match(rx->code, (PCRE2_SPTR)(text ? text : ""), len, start,
			rx->flags | PCRE2_NO_JIT, m, rx->limits);
	if (n >= 0) {
		const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m);

		/* \K can put the start behind the end. */
		*a = K_MIN(at[0], at[1]);
		*b = at[1];
	}
	pcre2_match_data_free(m);
	if (n >= 0)
		return 1;
	if (n == PCRE2_ERROR_NOMATCH)
		return 0;
	if (n == PCRE2_ERROR_MATCHLIMIT || n == PCRE2_ERROR_HEAPLIMIT || n == PCRE2_ERROR_DEPTHLIMIT ||
		n == PCRE2_ERROR_NOMEMORY)
		return k_err_set(err, K_ENOMEM, "a pattern needs too many steps on a text of %zu bytes", len);
	return k_err_set(err, K_EFORMAT,
		"a text of %zu bytes cannot be searched: it is not valid UTF-8 (PCRE2 error %d)", len, n);
}

bool k_glob(const char *pattern, const char *name) { return fnmatch(pattern, name, 0) == 0; }

void k_rx_library(char buf[64])
{
	char version[48] = "";

	/* The longest string is about 24 bytes; the call says 0 or less when it cannot tell. */
	if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) < (int)sizeof version)
		pcre2_config(PCRE2_CONFIG_VERSION, version);
	snprintf(buf, 64, "PCRE2 %s", version);
}

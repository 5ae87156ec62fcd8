/* report_forms.c: see report_forms.h. */
#include "libcore/base.h"
#include "evals/report_forms.h"

/* --- the table ------------------------------------------------------------------------------------------------------ */

static void cell(struct k_buf *b, const struct k_json *v)
{
	switch (k_json_kind(v)) {
	case K_JSON_REAL:
		k_buf_printf(b, " %14.6g", k_json_number(v));
		break;
	case K_JSON_INT:
		k_buf_printf(b, " %14lld", (long long)k_json_int(v));
		break;
	case K_JSON_STRING:
		k_buf_printf(b, " %14s", k_json_string(v));
		break;
	case K_JSON_BOOL:
		k_buf_printf(b, " %14s", k_json_bool(v) ? "yes" : "no");
		break;
	default:
		k_buf_printf(b, " %14s", "-");
	}
}

static bool is_column(const char *key) { return strcmp(key, "item") && strcmp(key, "why"); }

void k_form_heads(struct k_buf *b, const struct k_json *item)
{
	const char *key;
	struct k_json *v;
	k_buf_printf(b, "%-28s", "");
	for (void *it = NULL; k_json_next(item, &it, &key, &v); )
		if (is_column(key))
			k_buf_printf(b, " %14s", key);
	k_buf_putc(b, '\n');
}

void k_form_row(struct k_buf *b, const struct k_json *item)
{
	const char *key;
	struct k_json *v;
	k_buf_printf(b, "%-28s", k_json_string(k_json_find(item, "item")));
	for (void *it = NULL; k_json_next(item, &it, &key, &v); )
		if (is_column(key))
			cell(b, v);
	k_buf_putc(b, '\n');
}

void k_form_summary(struct k_buf *b, const struct k_json *summary)
{
	const char *key;
	struct k_json *v;
	for (void *it = NULL; k_json_next(summary, &it, &key, &v); )
		if (strcmp(key, "summary")) {
			k_buf_printf(b, "%-28s ", key);
			if (k_json_kind(v) == K_JSON_STRING)
				k_buf_puts(b, k_json_string(v));
			else
				k_json_dump(b, v, 0);
			k_buf_putc(b, '\n');
		}
}

/* --- TAP ------------------------------------------------------------------------------------------------------------ */

void k_form_tap(struct k_buf *b, int64_t n, const char *name, bool ok, const char *why)
{
	k_buf_printf(b, "%s %lld - ", ok ? "ok" : "not ok", (long long)n);
	for (const char *p = name; *p; p++) {           /* '#' begins a directive */
		if (*p == '#' || *p == '\\')
			k_buf_putc(b, '\\');
		k_buf_putc(b, *p);
	}
	k_buf_putc(b, '\n');
	if (!ok) {
		k_buf_puts(b, "  ---\n  message: ");
		k_json_quote(b, why, strlen(why));
		k_buf_puts(b, "\n  ...\n");
	}
}

void k_form_bail(struct k_buf *b, const char *why)
{
	k_buf_puts(b, "Bail out! ");
	k_utf8_mend(b, why, strlen(why));
	k_buf_putc(b, '\n');
}

/* --- JUnit ---------------------------------------------------------------------------------------------------------- */

/* Names of files, and what servers say, are whatever bytes they are. XML has no way to write a control character, nor U+FFFE and U+FFFF. */
static void xml(struct k_buf *out, const char *s)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	k_utf8_mend(&b, s, strlen(s));
	for (const char *p = b.len ? b.data : "", *end = p + b.len; p < end; p++)
		switch (*p) {
		case '&': k_buf_puts(out, "&amp;"); break;
		case '<': k_buf_puts(out, "&lt;"); break;
		case '>': k_buf_puts(out, "&gt;"); break;
		case '"': k_buf_puts(out, "&quot;"); break;
		default:
			if (end - p >= 3 && !memcmp(p, "\xef\xbf", 2) && (p[2] == '\xbe' || p[2] == '\xbf')) {
				k_buf_puts(out, "\xef\xbf\xbd");
				p += 2;
			} else {
				k_buf_putc(out, (unsigned char)*p < 0x20 ? ' ' : *p);
			}
		}
	out->failed |= b.failed;
	k_buf_fini(&b);
}

void k_form_case(struct k_buf *b, const char *suite, const char *name, const char *element, const char *why)
{
	k_buf_puts(b, "    <testcase classname=\"");
	xml(b, suite);
	k_buf_puts(b, "\" name=\"");
	xml(b, name);
	if (!element) {
		k_buf_puts(b, "\"/>\n");
		return;
	}
	k_buf_printf(b, "\">\n      <%s message=\"", element);
	xml(b, why);
	k_buf_printf(b, "\"/>\n    </testcase>\n");
}

void k_form_suite(struct k_buf *b, const char *suite, int64_t tests, int64_t failures, int64_t errors, const struct k_buf *cases)
{
	k_buf_puts(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"");
	xml(b, suite);
	k_buf_printf(b, "\" tests=\"%lld\" failures=\"%lld\" errors=\"%lld\">\n", (long long)tests, (long long)failures, (long long)errors);
	k_buf_put(b, cases->data, cases->len);
	k_buf_puts(b, "  </testsuite>\n</testsuites>\n");
	b->failed |= cases->failed;
}

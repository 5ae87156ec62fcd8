/* page.c: the files of the chat page, packed by gzip, their types, their headers. The policy lets the page load from its own server alone, run no
 * script that is not a file of it, send no form and stand in no frame. */
#include "libcore/base.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/kserve/page.h"
#include "libcore/gz.h"

static const unsigned char index_html[] = {
#include "web/index.html.gz.inc"
};
static const unsigned char style_css[] = {
#include "web/style.css.gz.inc"
};
static const unsigned char theme_js[] = {
#include "web/theme.js.gz.inc"
};
static const unsigned char app_js[] = {
#include "web/app.js.gz.inc"
};
static const unsigned char chat_js[] = {
#include "web/chat.js.gz.inc"
};
static const unsigned char markdown_js[] = {
#include "web/markdown.js.gz.inc"
};
static const unsigned char store_js[] = {
#include "web/store.js.gz.inc"
};
static const unsigned char view_js[] = {
#include "web/view.js.gz.inc"
};

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define JS "text/javascript; charset=utf-8"

#define POLICY "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " \
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
/* Kept by the browser, and asked for by its tag each time. */
#define HEADERS POLICY "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n" \
	"Vary: Accept-Encoding\r\n"

#define FILE_AT(where, kind, bytes) { where, K_GET, K_AUTH_NONE, K_NEED_NONE, K_ROUTE_PAGE, \
	.page = &(const struct k_page){ kind, HEADERS, bytes, sizeof(bytes) } }
static const struct k_route pages[] = {
	FILE_AT("/", HTML, index_html),
	FILE_AT("/style.css", CSS, style_css),
	FILE_AT("/theme.js", JS, theme_js),
	FILE_AT("/app.js", JS, app_js),
	FILE_AT("/chat.js", JS, chat_js),
	FILE_AT("/markdown.js", JS, markdown_js),
	FILE_AT("/store.js", JS, store_js),
	FILE_AT("/view.js", JS, view_js),
};

const struct k_route *k_page_find(const char *path)
{
	for (size_t i = 0; i < K_LEN(pages); i++) {
		if (!strcmp(path, pages[i].path))
			return &pages[i];
	}
	return NULL;
}

/* Is gzip one of the codings, and not with a weight of 0? */
bool k_page_packed(const char *accept_encoding)
{
	for (const char *p = accept_encoding; p && *p; p += strcspn(p, ",")) {
		p += strspn(p, ", \t");
		size_t n = strcspn(p, ",; \t");
		if (n != strlen("gzip") || strncasecmp(p, "gzip", n) != 0)
			continue;
		p += n;
		size_t rest = strcspn(p, ","), q = strspn(p, "; \t");
		bool weighed = q + 2 < rest && strncasecmp(p + q, "q=", 2) == 0;
		return !weighed || strspn(p + q + 2, "0.") < strcspn(p + q + 2, ", \t");
	}
	return false;
}

struct all { const struct k_page *p; bool given; };

static int give_all(void *arg, const void **p, size_t *n, struct k_err *err K_UNUSED)
{
	struct all *a = arg;
	*p = a->p->data;
	*n = a->given ? 0 : a->p->n;
	a->given = true;
	return 0;
}

int k_page_unpack(const struct k_page *p, struct k_buf *out, struct k_err *err)
{
	struct all all = { p, false };
	struct k_gunzip *z;
	char piece[4096];
	size_t got = sizeof(piece);
	int r = k_gunzip_new(&z, give_all, &all, "the page", err);
	if (r < 0)
		return r;
	while (r == 0 && got == sizeof(piece)) {
		r = k_gunzip_read(z, piece, sizeof(piece), &got, err);
		if (r == 0)
			k_buf_put(out, piece, got);
	}
	k_gunzip_free(z);
	return r < 0 ? r : k_buf_ok(out, "the page", err);
}

/* FNV-1a: nobody gains from two versions with one tag. */
void k_page_etag(const struct k_page *p, bool packed, char out[24])
{
	const unsigned char *data = p->data;
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < p->n; i++)
		h = (h ^ data[i]) * UINT64_C(1099511628211);
	snprintf(out, 24, "\"%016" PRIx64 "%s\"", h, packed ? "-gz" : "");
}

bool k_page_unchanged(const char *if_none_match, const char *etag)
{
	return if_none_match && (strstr(if_none_match, etag) || !strcmp(if_none_match, "*"));
}

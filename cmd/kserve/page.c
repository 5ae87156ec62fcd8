/* page.c: the files of the chat page, their types, their headers. The policy lets the page load from its own server alone, run no
 * script that is not a file of it, send no form and stand in no frame. */
#include "libcore/base.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/kserve/page.h"

static const unsigned char index_html[] = {
#include "web/index.html.inc"
};
static const unsigned char style_css[] = {
#include "web/style.css.inc"
};
static const unsigned char theme_js[] = {
#include "web/theme.js.inc"
};
static const unsigned char app_js[] = {
#include "web/app.js.inc"
};
static const unsigned char chat_js[] = {
#include "web/chat.js.inc"
};
static const unsigned char markdown_js[] = {
#include "web/markdown.js.inc"
};
static const unsigned char store_js[] = {
#include "web/store.js.inc"
};
static const unsigned char view_js[] = {
#include "web/view.js.inc"
};

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define JS "text/javascript; charset=utf-8"

#define POLICY "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " \
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
/* Kept by the browser, and asked for by its tag each time. */
#define HEADERS POLICY "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n"

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

/* FNV-1a: nobody gains from two versions with one tag. */
void k_page_etag(const struct k_page *p, char out[24])
{
	const unsigned char *data = p->data;
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < p->n; i++)
		h = (h ^ data[i]) * UINT64_C(1099511628211);
	snprintf(out, 24, "\"%016" PRIx64 "\"", h);
}

bool k_page_unchanged(const char *if_none_match, const char *etag)
{
	return if_none_match && (strstr(if_none_match, etag) || !strcmp(if_none_match, "*"));
}

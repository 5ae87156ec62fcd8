/* page.h: the chat page: files of cmd/kserve/web/ that the program carries, each a route. They are code and no data of anybody, so
 * they are served without a key; what the page asks for goes through the API like everybody's requests. */
#ifndef K_PAGE_H
#define K_PAGE_H

#include "cmd/kserve/routes.h"
#include "libcore/buf.h"

/* NULL when the path is none of the page's. */
const struct k_route *k_page_find(const char *path);
/* Does an Accept-Encoding (NULL: none) take the bytes as they lie here, packed by gzip? Else: what they are unpacked. */
bool k_page_packed(const char *accept_encoding);
int k_page_unpack(const struct k_page *p, struct k_buf *out, struct k_err *err) K_MUST_USE;
/* The entity tag, in quotes: by content and coding, so that another version is another tag. */
void k_page_etag(const struct k_page *p, bool packed, char out[24]);
/* Does the If-None-Match of a request (NULL: none) hold this tag, or is it a star? */
bool k_page_unchanged(const char *if_none_match, const char *etag);

#endif

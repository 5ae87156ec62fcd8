/* page.h: the chat page: files of cmd/kserve/web/ that the program carries, each a route. They are code and no data of anybody, so
 * they are served without a key; what the page asks for goes through the API like everybody's requests. */
#ifndef K_PAGE_H
#define K_PAGE_H

#include "cmd/kserve/routes.h"

/* NULL when the path is none of the page's. */
const struct k_route *k_page_find(const char *path);
/* The entity tag, in quotes: by content, so that another version is another tag. */
void k_page_etag(const struct k_page *p, char out[24]);
/* Does the If-None-Match of a request (NULL: none) hold this tag, or is it a star? */
bool k_page_unchanged(const char *if_none_match, const char *etag);

#endif

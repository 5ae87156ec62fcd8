/* head.h: the head of an HTTP/1 request and the framing of its body, read strictly: where readers of HTTP differ, this one refuses,
 * so that nobody in between has seen another request than the one that is answered. Knows no sockets.
 *
 *   bytes -> k_head_scan (is it whole?) -> k_head_parse -> k_frame_take (body) */
#ifndef K_HEAD_H
#define K_HEAD_H

#include "libcore/buf.h"
#include "cmd/kserve/server.h"

enum { K_HEAD_LINE = 8 << 10, K_HEAD_BYTES = 32 << 10, K_HEAD_FIELDS = 100 };

struct k_field_line { const char *name, *value; };
struct k_head {
	char *text;                     /* what the rest points into; k_head_fini */
	const char *method;             /* "GET" */
	const char *path;               /* decoded, begins with '/', without slashes at its end; "*" of OPTIONS */
	const char *query;              /* as it came, "" for none */
	bool old;                       /* HTTP/1.0 */
	bool keep;                      /* the connection may serve another request */
	bool expects;                   /* waits for 100 (Continue) */
	bool chunked;
	int64_t length;                 /* Content-Length, -1: none; K_HEAD_HUGE: more than 18 digits */
	struct k_field_line field[K_HEAD_FIELDS];
	int n_fields;
};
#define K_HEAD_HUGE INT64_MAX

/* Bytes of the head with its empty line when all of it is there, 0 when more must come; -1 with a fault. *scanned: how far the
 * bytes were looked at before, 0 at first. */
int64_t k_head_scan(const char *p, size_t n, size_t *scanned, struct k_fault *f);
/* A whole head. On failure what was understood so far stands in h (path "" at least), for whoever tells of it. */
int k_head_parse(struct k_head *h, const char *p, size_t n, struct k_fault *f) K_MUST_USE;
void k_head_fini(struct k_head *h);
/* NULL when the request has no such line; the first one otherwise. */
const char *k_head_get(const struct k_head *h, const char *name);
/* The value in the query, as it came, up to its '&': *n bytes. NULL: none. */
const char *k_head_query(const struct k_head *h, const char *name, size_t *n);

/* The body of one request. */
struct k_frame {
	int state;
	bool chunked, done;
	uint64_t left;                  /* bytes of the body, or of the chunk */
	uint64_t got, max;
	size_t line;                    /* bytes of the line that is being read */
	size_t extra;                   /* bytes of trailers */
	int digits;
};
void k_frame_begin(struct k_frame *b, const struct k_head *h, uint64_t max);
/* Takes what belongs to the body and appends the content to out (NULL: dropped). Bytes taken; -1 with a fault. */
int64_t k_frame_take(struct k_frame *b, const char *p, size_t n, struct k_buf *out, struct k_fault *f);

#endif

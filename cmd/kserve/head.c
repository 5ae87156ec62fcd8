/* head.c: scanning, request line, header lines, what they say together, and the frame of a body. */
#include "libcore/base.h"

#include <strings.h>

#include "libcore/json.h"
#include "cmd/kserve/head.h"
#include "cmd/kserve/openai.h"

#define MAX_EXTENSION 256               /* bytes of a chunk's size line */
#define MAX_TRAILERS (8u << 10)

static int bad(struct k_fault *f, const char *what) { return k_fault_set(f, 400, NULL, NULL, "%s", what); }

static bool is_token(const char *s, size_t n)
{
	static const char chars[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	for (size_t i = 0; i < n; i++) {
		if (!s[i] || !strchr(chars, s[i]))
			return false;
	}
	return n > 0;
}

/* --- scanning ----------------------------------------------------------------------------------------------------------------- */

/* Too much, with or without an end in sight. */
static int check_sizes(size_t line, size_t rest, struct k_fault *f)
{
	if (line > K_HEAD_LINE)
		return k_fault_set(f, 414, "uri_too_long", NULL, "the request line has more than %d bytes", K_HEAD_LINE);
	if (rest > K_HEAD_BYTES)
		return k_fault_set(f, 431, "headers_too_large", NULL, "the headers of the request have more than %d bytes", K_HEAD_BYTES);
	return 0;
}

int64_t k_head_scan(const char *p, size_t n, size_t *scanned, struct k_fault *f)
{
	if (n && !is_token(p, 1))
		return bad(f, "the request does not begin with a method: this port speaks HTTP/1.1");
	for (size_t i = *scanned; i < n; i++) {
		bool lf = p[i] == '\n', after_cr = i > 0 && p[i - 1] == '\r';
		if (!p[i])
			return bad(f, "the head of the request holds a NUL");
		if (lf != after_cr)
			return bad(f, "a line of the request's head ends in a bare line feed or carriage return");
		if (lf && i >= 3 && p[i - 2] == '\n') {
			const char *first = memchr(p, '\n', i);
			size_t line = (size_t)(first - p) + 1;
			return check_sizes(line, i + 1 - line, f) ? -1 : (int64_t)i + 1;
		}
	}
	/* The last byte may be a carriage return whose line feed is to come. */
	*scanned = n;
	const char *first = memchr(p, '\n', n);
	size_t line = first ? (size_t)(first - p) + 1 : n;
	return check_sizes(line, n - line, f);
}

/* --- the request line --------------------------------------------------------------------------------------------------------- */

static int hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
	return at ? (int)(at - digits) : -1;
}

/* In place. */
static int decode_path(char *p, struct k_fault *f)
{
	char *to = p;
	for (char *s = p; *s; s++) {
		bool coded = *s == '%';         /* before *to is written, which may be *s */
		int hi = coded ? hex(s[1]) : 0, lo = coded && hi >= 0 ? hex(s[2]) : 0;
		if (hi < 0 || lo < 0 || (coded && !(hi | lo)))
			return bad(f, "the path of the request is malformed");
		*to++ = coded ? (char)(hi << 4 | lo) : *s;
		s += coded ? 2 : 0;
	}
	*to = 0;
	size_t n = (size_t)(to - p);
	if (!k_utf8_ok(p, n) || strstr(p, "/../") || (n >= 3 && !strcmp(p + n - 3, "/..")))
		return bad(f, "the path of the request is malformed");
	while (n > 1 && p[n - 1] == '/')
		p[--n] = 0;
	return 0;
}

/* Origin form, absolute form, or "*". */
static int parse_target(struct k_head *h, char *t, struct k_fault *f)
{
	for (const char *s = t; *s; s++) {
		if (*s < 0x21 || *s > 0x7e || *s == '#')
			return bad(f, "the target of the request is malformed");
	}
	if (!strcmp(t, "*") && !strcmp(h->method, "OPTIONS")) {
		h->path = t;
		return 0;
	}
	size_t scheme = !strncasecmp(t, "http://", 7) ? 7 : !strncasecmp(t, "https://", 8) ? 8 : 0;
	if (scheme)
		t += scheme + strcspn(t + scheme, "/");
	if (*t != '/')
		return bad(f, "the target of the request is malformed");
	char *q = strchr(t, '?');
	if (q) {
		*q = 0;
		h->query = q + 1;
	}
	if (decode_path(t, f))
		return -1;
	h->path = t;
	return 0;
}

static int parse_line(struct k_head *h, char *line, struct k_fault *f)
{
	char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
	if (!version || !is_token(line, (size_t)(target - line)) || target - line > 32)
		return bad(f, "the request line is malformed");
	*target++ = 0;
	*version++ = 0;
	h->method = line;
	h->old = !strcmp(version, "HTTP/1.0");
	if (!h->old && strcmp(version, "HTTP/1.1"))
		return bad(f, "the version of the request is neither HTTP/1.1 nor HTTP/1.0");
	return parse_target(h, target, f);
}

/* --- header lines --------------------------------------------------------------------------------------------------------------- */

static int parse_field(struct k_head *h, char *line, struct k_fault *f)
{
	char *colon = strchr(line, ':');
	if (h->n_fields == K_HEAD_FIELDS)
		return k_fault_set(f, 431, "headers_too_large", NULL, "the request has more than %d header lines", K_HEAD_FIELDS);
	if (!colon || !is_token(line, (size_t)(colon - line)))
		return bad(f, "a header line of the request is malformed");
	*colon = 0;
	char *v = colon + 1 + strspn(colon + 1, " \t");
	size_t n = strlen(v);
	while (n && strchr(" \t", v[n - 1]))
		n--;
	v[n] = 0;
	for (const char *s = v; *s; s++) {
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return bad(f, "a header line of the request holds a control character");
	}
	h->field[h->n_fields++] = (struct k_field_line){ line, v };
	return 0;
}

const char *k_head_get(const struct k_head *h, const char *name)
{
	for (int i = 0; i < h->n_fields; i++) {
		if (!strcasecmp(h->field[i].name, name))
			return h->field[i].value;
	}
	return NULL;
}

const char *k_head_query(const struct k_head *h, const char *name, size_t *n)
{
	size_t len = strlen(name);
	for (const char *p = h->query; *p; p += strcspn(p, "&"), p += *p == '&') {
		if (strncmp(p, name, len) || p[len] != '=')
			continue;
		*n = strcspn(p + len + 1, "&");
		return p + len + 1;
	}
	return NULL;
}

/* Is word one of the list "a, b"? */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	while (*list) {
		list += strspn(list, ", \t");
		size_t len = strcspn(list, ", \t");
		if (len == n && !strncasecmp(list, word, n))
			return true;
		list += len;
	}
	return false;
}

static int parse_length(struct k_head *h, const char *v, struct k_fault *f)
{
	size_t n = strspn(v, "0123456789");
	int64_t length = 0;
	if (!n || v[n])
		return bad(f, "Content-Length is not a number");
	for (size_t i = 0; i < n; i++)
		length = length > INT64_MAX / 10 - 10 ? K_HEAD_HUGE : length * 10 + v[i] - '0';
	if (h->length >= 0 && h->length != length)
		return bad(f, "the request has two lengths that differ");
	h->length = length;
	return 0;
}

static bool is_host(const char *v) { return !v[strspn(v, "!$%&'()*+,-.:;=[]_~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")]; }

struct counts { int hosts, encodings; bool closes; };

static int note_field(struct k_head *h, const struct k_field_line *l, struct counts *c, struct k_fault *f)
{
	if (!strcasecmp(l->name, "Host")) {
		if (++c->hosts > 1 || !is_host(l->value))
			return bad(f, "the request wants one valid Host");
	} else if (!strcasecmp(l->name, "Content-Length")) {
		return parse_length(h, l->value, f);
	} else if (!strcasecmp(l->name, "Transfer-Encoding")) {
		if (++c->encodings > 1 || strcasecmp(l->value, "chunked") || h->old)
			return bad(f, "Transfer-Encoding must be chunked, once, in HTTP/1.1");
		h->chunked = true;
	} else if (!strcasecmp(l->name, "Expect")) {
		if (strcasecmp(l->value, "100-continue"))
			return k_fault_set(f, 417, NULL, NULL, "Expect must be 100-continue");
		h->expects = !h->old;
	} else if (!strcasecmp(l->name, "Connection")) {
		c->closes |= has_word(l->value, "close");
		h->keep = !c->closes && (h->keep || has_word(l->value, "keep-alive"));
	}
	return 0;
}

/* What the lines say about the connection and the body. */
static int note_fields(struct k_head *h, struct k_fault *f)
{
	struct counts c = { 0 };
	h->keep = !h->old;
	for (int i = 0; i < h->n_fields; i++) {
		if (note_field(h, &h->field[i], &c, f))
			return -1;
	}
	if (!c.hosts && !h->old)
		return bad(f, "the request wants one valid Host");
	if (h->chunked && h->length >= 0)
		return bad(f, "the request has both Content-Length and Transfer-Encoding");
	return 0;
}

int k_head_parse(struct k_head *h, const char *p, size_t n, struct k_fault *f)
{
	memset(h, 0, sizeof(*h));
	h->method = h->path = h->query = "";
	h->length = -1;
	h->text = k_strndup(p, n);
	if (!h->text)
		return k_no_memory(f);
	int i = 0;
	for (char *line = h->text, *end; (end = strstr(line, "\r\n")) && end != line; line = end + 2, i++) {
		*end = 0;
		if (i ? parse_field(h, line, f) : parse_line(h, line, f))
			return -1;
	}
	return note_fields(h, f);
}

void k_head_fini(struct k_head *h)
{
	k_free(h->text);
	memset(h, 0, sizeof(*h));
	h->method = h->path = h->query = "";
}

/* --- bodies ------------------------------------------------------------------------------------------------------------------- */

/* LENGTH: left bytes of content. The rest are the places within a body in chunks. */
enum { LENGTH, SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_TEXT, TRAILER_LF, LAST_LF };

void k_frame_begin(struct k_frame *b, const struct k_head *h, uint64_t max)
{
	*b = (struct k_frame){ .chunked = h->chunked, .state = h->chunked ? SIZE : LENGTH, .max = max };
	if (!h->chunked && h->length > 0)
		b->left = (uint64_t)h->length;
	b->done = !h->chunked && !b->left;
}

static int bad_chunk(struct k_fault *f) { return bad(f, "the request's body in chunks is malformed"); }

static int too_large(const struct k_frame *b, struct k_fault *f)
{
	return k_fault_set(f, 413, "request_too_large", NULL, "the body of the request has more than %llu bytes", (unsigned long long)b->max);
}

static int size_byte(struct k_frame *b, char c, struct k_fault *f)
{
	int d = hex(c);
	if (d >= 0 && b->state == SIZE) {
		b->left = b->left << 4 | (unsigned)d;
		return ++b->digits > 16 ? bad_chunk(f) : 0;
	}
	if (!b->digits || (b->state == SIZE && !strchr("\r; \t", c)))
		return bad_chunk(f);
	b->state = c == '\r' ? SIZE_LF : EXTENSION;
	if (c == '\n' || !c || ++b->line > MAX_EXTENSION)
		return bad_chunk(f);
	return b->left > b->max - b->got ? too_large(b, f) : 0;
}

static int trailer_byte(struct k_frame *b, char c, struct k_fault *f)
{
	bool start = b->state == TRAILER;
	if (c == '\n' || !c || ++b->extra > MAX_TRAILERS || (start && (c == ' ' || c == '\t')))
		return bad_chunk(f);
	b->state = c != '\r' ? TRAILER_TEXT : start ? LAST_LF : TRAILER_LF;
	return 0;
}

/* One byte that is not content. */
static int frame_byte(struct k_frame *b, char c, struct k_fault *f)
{
	if (b->state == SIZE || b->state == EXTENSION)
		return size_byte(b, c, f);
	if (b->state == TRAILER || b->state == TRAILER_TEXT)
		return trailer_byte(b, c, f);
	if (c != (b->state == DATA_CR ? '\r' : '\n'))
		return bad_chunk(f);
	b->done = b->state == LAST_LF;
	b->state = b->state == SIZE_LF ? (b->left ? DATA : TRAILER) : b->state == DATA_CR ? DATA_LF : b->state == DATA_LF ? SIZE : TRAILER;
	if (b->state == SIZE)
		b->line = 0, b->digits = 0, b->left = 0;
	return 0;
}

int64_t k_frame_take(struct k_frame *b, const char *p, size_t n, struct k_buf *out, struct k_fault *f)
{
	size_t at = 0;
	if (b->state == LENGTH && b->left > b->max - b->got)
		return too_large(b, f);
	while (at < n && !b->done) {
		if (b->state != LENGTH && b->state != DATA) {
			if (frame_byte(b, p[at++], f))
				return -1;
			continue;
		}
		size_t part = (size_t)K_MIN(b->left, (uint64_t)(n - at));
		if (out)
			k_buf_put(out, p + at, part);
		at += part;
		b->got += part;
		b->left -= part;
		if (!b->left) {
			b->done = b->state == LENGTH;
			b->state = b->state == DATA ? DATA_CR : LENGTH;
		}
	}
	if (out && out->failed)
		return k_no_memory(f);
	return (int64_t)at;
}

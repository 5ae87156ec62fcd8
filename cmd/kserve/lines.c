/* lines.c: plain lines of standard input, and the choice of a way. */
#include "libcore/base.h"

#include <unistd.h>

#include "libcore/io.h"
#include "cmd/cli.h"
#include "cmd/kserve/lines.h"
#include "cmd/kserve/openai.h"

#define READ_BYTES 4096

struct plain {
	struct k_source *src;
	struct k_buf rest;              /* read and not yet given */
	bool end;
	const struct k_ctx *ctx;
};

static void plain_close(void *own)
{
	struct plain *p = own;
	k_buf_fini(&p->rest);
	k_source_close(p->src);
	k_free(p);
}

static int plain_open(void **own, const struct k_ctx *ctx, struct k_err *err)
{
	struct plain *p = k_calloc(1, sizeof(*p));
	if (!p)
		return k_err_nomem(err, sizeof(*p), "lines");
	p->ctx = ctx;
	k_buf_init(&p->rest, K_MAX_BODY);
	int rc = k_source_open(&p->src, "-", err);
	if (rc) {
		plain_close(p);
		return rc;
	}
	*own = p;
	return 0;
}

static int more(struct plain *p, struct k_err *err)
{
	size_t got = 0;
	void *room = k_buf_room(&p->rest, READ_BYTES);
	int rc = room ? k_ctx_check(p->ctx, err)
		: k_err_set(err, K_EFORMAT, "'standard input': a line has more than %u bytes", K_MAX_BODY);
	if (!rc)
		rc = k_source_some(p->src, room, READ_BYTES, &got, err);
	if (rc)
		return rc;
	p->rest.len += got;
	p->end = got == 0;
	return 0;
}

static int plain_get(void *own, const char *prompt, struct k_buf *line, enum k_line *what, struct k_err *err)
{
	struct plain *p = own;
	char *nl;
	int rc = isatty(0) && isatty(1) ? k_cli_write(prompt, strlen(prompt), err) : 0;
	k_buf_reset(line);
	while (!rc && !(nl = p->rest.len ? memchr(p->rest.data, '\n', p->rest.len) : NULL) && !p->end)
		rc = more(p, err);
	if (rc)
		return rc;
	size_t n = nl ? (size_t)(nl - p->rest.data) : p->rest.len, used = n + (nl != NULL);
	*what = used ? K_LINE_TEXT : K_LINE_END;
	if (!used)
		return 0;
	k_buf_put(line, p->rest.data, n && p->rest.data[n - 1] == '\r' ? n - 1 : n);
	memmove(p->rest.data, p->rest.data + used, p->rest.len - used);
	p->rest.len -= used;
	return k_buf_ok(line, "a line", err);
}

static const struct k_lines_way k_lines_plain = { "plain", plain_open, plain_get, plain_close };

#define X(name) extern const struct k_lines_way k_lines_##name;
#include "lineways.list"
#undef X

const struct k_lines_way *k_lines_way(bool terminal)
{
#define X(name) &k_lines_##name,
	static const struct k_lines_way *const edited[] = {
#include "lineways.list"
		&k_lines_plain,
	};
#undef X
	return terminal ? edited[0] : &k_lines_plain;
}

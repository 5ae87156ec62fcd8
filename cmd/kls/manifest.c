/* manifest.c: the files of a model and their digests, as sha256sum writes and checks them. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "cmd/kls/sign.h"

struct listing { const struct k_tree *t; const char *path; struct k_buf *b; };

/* coreutils: a line whose name has a backslash or a line end begins with a backslash, and these are escaped. */
static void put_line(struct k_buf *b, const uint8_t digest[32], const char *name)
{
	char hex[65];

	k_hex(hex, digest);
	k_buf_printf(b, "%s%s  ", strpbrk(name, "\\\n\r") ? "\\" : "", hex);
	for (; *name; name++) {
		if (*name == '\\' || *name == '\n' || *name == '\r')
			k_buf_printf(b, "\\%c", *name == '\n' ? 'n' : *name == '\r' ? 'r' : '\\');
		else
			k_buf_putc(b, *name);
	}
	k_buf_putc(b, '\n');
}

/* Names as the operand leads to them, so that the list holds where it was made; those in the present folder without "./". */
static int take_end(void *arg, int file, uint64_t bytes K_UNUSED, const uint8_t digest[32], struct k_err *err)
{
	struct listing *l = arg;
	const char *name = l->t->n ? l->t->v[file].path : l->path;

	put_line(l->b, digest, strncmp(name, "./", 2) == 0 && l->t->folder ? name + 2 : name);
	return k_buf_ok(l->b, "the list", err);
}

static int list(const struct k_tree *t, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	int n = K_MAX(t->n, 1), r;
	struct k_pass_file *in = k_calloc((size_t)n, sizeof(*in));
	struct k_buf b;
	struct listing l = { t, path, &b };
	struct k_pass p = { .files = in, .n = t->n || !t->folder ? n : 0, .end = take_end, .arg = &l };

	if (!in)
		return k_err_nomem(err, (size_t)n * sizeof(*in), "the files of a model");
	for (int i = 0; i < n; i++) {
		in[i] = (struct k_pass_file){ t->n ? t->v[i].path : path, 0, true };
		p.total += t->n ? t->v[i].bytes : 0;
	}
	k_buf_init(&b, 0);
	r = k_pass_run(&p, ctx, "hashing", err);
	if (r == 0 && b.len)
		r = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	k_free(in);
	return r;
}

int k_kls_manifest(const char *path, const char *out, const struct k_ctx *ctx, struct k_err *err)
{
	const char *own[] = { out && strcmp(out, "-") != 0 ? out : NULL, NULL };
	struct k_tree t = { 0 };
	int r = 0;

	k_arena_init(&t.arena);
	if (strcmp(path, "-") != 0)
		r = k_tree_read(&t, path, NULL, 0, own, err);
	if (r == 0)
		r = list(&t, path, ctx, err);
	k_tree_fini(&t);
	return r;
}

/* text.c: the tokenizer and the chat layouts at work: text to ids and back, a chat request to its prompt. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "libcore/chat.h"
#include "libcore/io.h"
#include "libcore/tokenizer.h"

static int open_tokenizer(struct k_ckpt *c, const struct k_files **files, struct k_tokenizer **t, struct k_err *err)
{
	int r = k_ckpt_files(c, files, err);

	return r < 0 ? r : k_tokenizer_open(t, *files, 0, err);
}

static int read_text(const char *file, struct k_buf *b, struct k_err *err)
{
	struct k_source *s;
	int r = k_source_open(&s, file, err);

	if (r < 0)
		return r;
	r = k_source_slurp(s, b, 1u << 30, err);
	k_source_close(s);
	return r;
}

static void put_ids(struct k_buf *b, const struct k_ids *ids)
{
	k_buf_putc(b, '[');
	for (size_t i = 0; i < ids->n; i++)
		k_buf_printf(b, i ? ", %d" : "%d", ids->v[i]);
	k_buf_putc(b, ']');
}

/* One piece of text -> an array of ids on a line. */
static int encode(const struct k_tokenizer *t, const char *p, size_t n, int flags, struct k_buf *out, struct k_err *err)
{
	struct k_ids ids;
	int r;

	k_ids_init(&ids);
	r = k_tokenizer_encode(t, p, n, flags, &ids, err);
	if (r == 0) {
		put_ids(out, &ids);
		k_buf_putc(out, '\n');
	}
	k_ids_fini(&ids);
	return r;
}

/* One JSON array of ids -> a JSON string on a line. */
static int decode(const struct k_tokenizer *t, const char *p, size_t n, struct k_buf *out, struct k_err *err)
{
	struct k_json *a, *v;
	struct k_decoder d;
	struct k_buf text;
	int r = k_json_parse(&a, p, n, K_JSON_STRICT, "ids", err);

	if (r < 0)
		return r;
	k_buf_init(&text, 0);
	k_decoder_init(&d, t, true);
	for (size_t i = 0; r == 0 && (v = k_json_at(a, i)); i++) {
		int64_t id = k_json_int(v);

		if (k_json_kind(v) != K_JSON_INT || id < 0 || id >= k_tokenizer_vocab(t))
			r = k_err_set(err, K_EFORMAT, "ids[%zu] is no token id (0 to %d)", i, k_tokenizer_vocab(t) - 1);
		else
			k_decoder_put(&d, (int32_t)id, &text);
	}
	if (r == 0 && k_json_kind(a) != K_JSON_ARRAY)
		r = k_err_set(err, K_EFORMAT, "wanted a JSON array of ids, got %s", k_json_kind_name(a));
	if (r == 0) {
		k_decoder_end(&d, &text);
		k_json_quote(out, text.data ? text.data : "", text.len);
		k_buf_putc(out, '\n');
	}
	k_buf_fini(&text);
	k_json_free(a);
	return r;
}

int k_kls_tokens(struct k_ckpt *c, const struct k_kls_tokens *o, struct k_err *err)
{
	const struct k_files *files;
	struct k_tokenizer *t = NULL;
	struct k_buf in, out;
	int flags = o->specials ? K_ENC_SPECIALS : 0, r;

	k_buf_init(&in, 0);
	k_buf_init(&out, 0);
	r = open_tokenizer(c, &files, &t, err);
	if (r == 0)
		r = read_text(o->file, &in, err);
	for (size_t a = 0; r == 0 && (a < in.len || (o->whole && a == 0)); ) {
		const char *nl = o->whole ? NULL : memchr(in.data + a, '\n', in.len - a);
		size_t b = nl ? (size_t)(nl - in.data) : in.len;
		const char *p = in.data ? in.data + a : "";

		r = o->ids ? decode(t, p, b - a, &out, err) : encode(t, p, b - a, flags, &out, err);
		a = b + 1;
	}
	if (r == 0)
		r = k_buf_ok(&out, "the output", err);
	if (r == 0 && out.len)
		r = k_cli_write(out.data, out.len, err);
	k_buf_fini(&in);
	k_buf_fini(&out);
	k_tokenizer_free(t);
	return r;
}

static int unknown_layout(const char *name, struct k_err *err)
{
	struct k_buf b;

	k_buf_init(&b, 0);
	for (int i = 0; k_layout_at(i); i++)
		k_buf_printf(&b, "%s%s", i ? ", " : "", k_layout_at(i)->name);
	k_err_set(err, K_EUSAGE, "unknown chat layout '%s'; known are %s", name, b.len ? b.data : "none");
	k_buf_fini(&b);
	return err->code;
}

static int choose_layout(const struct k_layout **l, const char *name, const struct k_ckpt *c, const struct k_files *files, struct k_err *err)
{
	*l = name ? k_layout_find(name) : k_layout_match(files, err);
	if (*l)
		return 0;
	if (name)
		return unknown_layout(name, err);
	return k_err_set(err, K_EUNSUP, "'%s': its chat template is not known; --chat-layout NAME chooses one", c->path);
}

int k_kls_render(struct k_ckpt *c, const char *file, const char *layout, struct k_err *err)
{
	const struct k_files *files;
	struct k_tokenizer *t = NULL;
	struct k_json *request = NULL;
	const struct k_layout *l;
	struct k_prompt p;
	struct k_buf in, out;
	int r;

	k_buf_init(&in, 0);
	k_buf_init(&out, 0);
	k_prompt_init(&p);
	r = open_tokenizer(c, &files, &t, err);
	if (r == 0)
		r = choose_layout(&l, layout, c, files, err);
	if (r == 0)
		r = read_text(file, &in, err);
	if (r == 0)
		r = k_json_parse(&request, in.data ? in.data : "", in.len, K_JSON_LAST_WINS | K_JSON_NUL, file, err);
	if (r == 0)
		r = k_chat_render(l, t, request, false, &p, err);
	if (r == 0) {
		k_buf_puts(&out, "{\"prompt\": ");
		k_json_quote(&out, p.text.data ? p.text.data : "", p.text.len);
		k_buf_puts(&out, ", \"ids\": ");
		put_ids(&out, &p.ids);
		k_buf_puts(&out, "}\n");
		r = k_buf_ok(&out, "the output", err);
	}
	if (r == 0)
		r = k_cli_write(out.data, out.len, err);
	k_prompt_fini(&p);
	k_json_free(request);
	k_buf_fini(&in);
	k_buf_fini(&out);
	k_tokenizer_free(t);
	return r;
}

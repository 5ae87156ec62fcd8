/* json_each.c: the members of a large object, one at a time. The head of a safetensors file and the index of a folder may have half a million
 * of them: as one value they take ten times the text.
 *
 * Here it is only found where a member ends; what it is is read by k_json_parse. A text that is wrong is given to it whole, for the sentence. */
#include "libcore/base.h"
#include "libcore/json.h"

struct each {
	const char *p, *end;
	const char *deep;
	bool seen;                      /* deep was there */
	bool wrong;                     /* no JSON, or no object */
	struct k_buf name;
	k_json_member *fn;
	void *arg;
	struct k_err *err;
};

static int bad(struct each *e)
{
	e->wrong = true;
	return K_EFORMAT;
}

static void skip(struct each *e)
{
	while (e->p < e->end && (*e->p == ' ' || *e->p == '\n' || *e->p == '\r' || *e->p == '\t'))
		e->p++;
}

static bool eat(struct each *e, char c)
{
	skip(e);
	if (e->p == e->end || *e->p != c)
		return false;
	e->p++;
	return true;
}

/* Behind the value that begins at p: its closing bracket or quote, or what cannot be part of it. */
static const char *value_end(const char *p, const char *end)
{
	int64_t depth = 0;

	while (p < end) {
		if (depth == 0 && (*p == ',' || *p == '}' || *p == ']'))
			return p;
		depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
		p = *p == '"' ? k_json_string_end(p, end) : p + 1;
		if (depth == 0 && (p[-1] == '}' || p[-1] == ']' || p[-1] == '"'))
			return p;
	}
	return end;
}

static int parse(struct each *e, const char *end, struct k_json **out)
{
	int r = k_json_parse(out, e->p, (size_t)(end - e->p), K_JSON_STRICT, "a member", e->err);

	e->p = end;
	return r == K_EFORMAT ? bad(e) : r;
}

static bool is_simple(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] == '\\' || (unsigned char)s[i] < 0x20)
			return false;
	return k_utf8_ok(s, n);
}

static int read_name(struct each *e)
{
	struct k_json *v = NULL;
	const char *end;
	int r = 0;

	skip(e);
	if (e->p == e->end || *e->p != '"')
		return bad(e);
	end = k_json_string_end(e->p, e->end);
	k_buf_reset(&e->name);
	if (end - e->p >= 2 && end[-1] == '"' && is_simple(e->p + 1, (size_t)(end - e->p) - 2)) {
		k_buf_put(&e->name, e->p + 1, (size_t)(end - e->p) - 2);
		e->p = end;
	} else {
		r = parse(e, end, &v);
		if (r == 0)
			k_buf_put(&e->name, k_json_string(v), k_json_len(v));
		k_json_free(v);
	}
	k_buf_putc(&e->name, 0);
	return r == 0 ? k_buf_ok(&e->name, "a name", e->err) : r;
}

static int read_members(struct each *e, const char *in);

static int read_member(struct each *e, const char *in)
{
	struct k_json *v = NULL;
	int r = read_name(e);

	if (r < 0)
		return r;
	if (!eat(e, ':'))
		return bad(e);
	skip(e);
	if (!in && e->deep && strcmp(e->name.data, e->deep) == 0) {
		if (e->seen)
			return bad(e);
		e->seen = true;
		if (e->p < e->end && *e->p == '{')
			return read_members(e, e->deep);
	}
	r = parse(e, value_end(e->p, e->end), &v);
	if (r == 0)
		r = e->fn(e->arg, in, e->name.data, v, e->err);
	k_json_free(v);
	return r;
}

static int read_members(struct each *e, const char *in)
{
	int r = 0;

	if (!eat(e, '{'))
		return bad(e);
	if (eat(e, '}'))
		return 0;
	do
		r = read_member(e, in);
	while (r == 0 && eat(e, ','));
	return r < 0 || eat(e, '}') ? r : bad(e);
}

static int say_wrong(const char *text, size_t len, const char *what, struct k_err *err)
{
	struct k_json *v = NULL;
	enum k_json_kind kind;

	if (k_json_parse(&v, text, len, K_JSON_STRICT, what, err) < 0)
		return err->code;
	kind = k_json_kind(v);
	k_err_set(err, K_EFORMAT, "'%s' is %s, wanted an object", what, k_json_kind_name(v));
	k_json_free(v);
	return kind == K_JSON_OBJECT ? k_err_set(err, K_EBUG, "'%s': an object whose members cannot be told apart", what) : err->code;
}

int k_json_each(const char *text, size_t len, const char *deep, const char *what, k_json_member *fn, void *arg, struct k_err *err)
{
	struct each e = { .p = text, .end = text + len, .deep = deep, .fn = fn, .arg = arg, .err = err };
	int r;

	k_buf_init(&e.name, 0);
	r = read_members(&e, NULL);
	skip(&e);
	if (r == 0 && e.p < e.end)
		r = bad(&e);
	k_buf_fini(&e.name);
	return e.wrong ? say_wrong(text, len, what, err) : r;
}

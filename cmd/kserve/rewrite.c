/* rewrite.c: pieces of OpenAI chat requests. */
#include "libcore/base.h"

#include <stdio.h>

#include "cmd/kserve/rewrite.h"

int k_wrong(struct k_fault *f, const char *where, const struct k_json *v, const char *wanted)
{
	return k_fault_set(f, 400, NULL, where, "%s is %s, wanted %s", where, v ? k_json_kind_name(v) : "missing", wanted);
}

bool k_is(const struct k_json *v, const char *word)
{
	const char *s = k_word(v);
	return s && !strcmp(s, word);
}

int k_put(struct k_json *o, const char *key, struct k_json *v, struct k_fault *f) { return k_json_set(o, key, v) ? k_no_memory(f) : 0; }

int k_put_word(struct k_json *o, const char *key, const char *word, struct k_fault *f)
{
	return k_put(o, key, k_json_new_string(word, strlen(word)), f);
}

int k_put_text(struct k_json *o, const char *key, const struct k_buf *b, struct k_fault *f)
{
	return b->failed ? k_no_memory(f) : k_put(o, key, k_json_new_string(b->len ? b->data : "", b->len), f);
}

int k_share(struct k_json *o, const char *to, const struct k_json *from, const char *key, struct k_fault *f)
{
	struct k_json *v = k_json_given(from, key);
	return v ? k_put(o, to, k_json_keep(v), f) : 0;
}

/* Fields that mean the same in all dialects. */
static const char *const same[] = {
	"model", "stream", "temperature", "top_p", "top_k", "seed", "min_p", "presence_penalty", "frequency_penalty",
	"repetition_penalty", "logit_bias", "min_tokens", "ignore_eos", "chat_template_kwargs", "cache_salt", "cache_prompt",
	"prompt_cache_key", "id_slot", "priority",
};

bool k_is_common(const char *key)
{
	for (size_t i = 0; i < K_LEN(same); i++)
		if (!strcmp(same[i], key))
			return true;
	return false;
}

int k_share_common(struct k_json *o, const struct k_json *from, struct k_fault *f)
{
	for (size_t i = 0; i < K_LEN(same); i++) {
		if (k_share(o, same[i], from, same[i], f))
			return -1;
	}
	return 0;
}

/* o[key] = inner, and list + o; takes inner and o. */
static int push_with(struct k_json *list, struct k_json *o, const char *key, struct k_json *inner, struct k_fault *f)
{
	if (k_put(o, key, inner, f)) {
		k_json_free(o);
		return -1;
	}
	return k_json_push(list, o) ? k_no_memory(f) : 0;
}

/* --- messages ---------------------------------------------------------------------------------------------------------------------- */

struct k_json *k_add_message(struct k_json *messages, const char *role, const struct k_buf *content, struct k_fault *f)
{
	struct k_json *m = k_json_object();
	if (k_put_word(m, "role", role, f) || k_put_text(m, "content", content, f)) {
		k_json_free(m);
		return NULL;
	}
	if (!k_json_push(messages, m))
		return k_json_at(messages, k_json_len(messages) - 1);
	k_no_memory(f);
	return NULL;
}

void k_turn_init(struct k_turn *t)
{
	*t = (struct k_turn){ .calls = NULL };
	k_buf_init(&t->text, 0);
	k_buf_init(&t->thought, 0);
}

void k_turn_fini(struct k_turn *t)
{
	k_buf_fini(&t->text);
	k_buf_fini(&t->thought);
	k_json_free(t->calls);
}

int k_turn_call(struct k_turn *t, struct k_json *id, struct k_json *name, const struct k_buf *args, struct k_fault *f)
{
	struct k_json *call = k_json_object(), *fn = k_json_object();
	if (!t->calls)
		t->calls = k_json_array();
	if (!k_put(call, "id", k_json_keep(id), f) && !k_put_word(call, "type", "function", f) && !k_put(fn, "name", k_json_keep(name), f) &&
		!k_put_text(fn, "arguments", args, f))
		return push_with(t->calls, call, "function", fn, f);
	k_json_free(call);
	k_json_free(fn);
	return -1;
}

struct k_json *k_turn_add(struct k_json *messages, struct k_turn *t, struct k_fault *f)
{
	struct k_json *m = k_add_message(messages, "assistant", &t->text, f);
	if (m && t->thinks && k_put_text(m, "reasoning_content", &t->thought, f))
		m = NULL;
	if (m && t->calls && k_put(m, "tool_calls", k_json_keep(t->calls), f))
		m = NULL;
	k_turn_fini(t);
	k_turn_init(t);
	return m;
}

/* --- tools and formats ---------------------------------------------------------------------------------------------------------------- */

int k_add_tool(struct k_json *list, const struct k_json *tool, const char *schema, struct k_fault *f)
{
	struct k_json *one = k_json_object(), *fn = k_json_object();
	if (!k_put_word(one, "type", "function", f) && !k_share(fn, "name", tool, "name", f) &&
		!k_share(fn, "description", tool, "description", f) && !k_share(fn, "parameters", tool, schema, f) &&
		!k_share(fn, "strict", tool, "strict", f))
		return push_with(list, one, "function", fn, f);
	k_json_free(one);
	k_json_free(fn);
	return -1;
}

/* o[key] = {"type":type, inner_key: inner}; takes inner. */
static int put_typed(struct k_json *o, const char *key, const char *type, const char *inner_key, struct k_json *inner, struct k_fault *f)
{
	struct k_json *v = k_json_object();
	if (k_put(v, inner_key, inner, f) || k_put_word(v, "type", type, f)) {
		k_json_free(v);
		return -1;
	}
	return k_put(o, key, v, f);
}

int k_put_named(struct k_json *o, const struct k_json *named, struct k_fault *f)
{
	struct k_json *fn = k_json_object();
	if (!k_share(fn, "name", named, "name", f))
		return put_typed(o, "tool_choice", "function", "function", fn, f);
	k_json_free(fn);
	return -1;
}

int k_put_schema(struct k_json *o, const struct k_json *format, const char *name, bool strict, struct k_fault *f)
{
	struct k_json *js = k_json_object();
	if (!(name && k_put_word(js, "name", name, f)) && !k_share(js, "name", format, "name", f) && !k_share(js, "schema", format, "schema", f) &&
		!k_put(js, "strict", k_json_new_bool(strict), f) && !k_share(js, "strict", format, "strict", f))
		return put_typed(o, "response_format", "json_schema", "json_schema", js, f);
	k_json_free(js);
	return -1;
}

/* --- faults ------------------------------------------------------------------------------------------------------------------------ */

static bool in_word(char ch)
{
	return (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z') || ch == '_';
}

/* The path by its new names; false: it has no others. */
static bool renamed(char *out, size_t size, const char *path, const struct k_renamed *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct k_renamed *r = &rows[i];
		const char *at = strncmp(path, r->in, strlen(r->in)) ? NULL : *r->in ? strstr(path, r->from) : path;
		size_t len = strlen(r->from);
		if (!at || strncmp(at, r->from, len) || in_word(at[len]))
			continue;
		snprintf(out, size, "%.*s%s%s", (int)(at - path), path, r->to, at + len);
		return true;
	}
	return false;
}

void k_fault_rename(struct k_fault *f, const struct k_renamed *rows, size_t n)
{
	char path[sizeof(f->param)], msg[sizeof(f->msg)];
	size_t len = strlen(f->param), at = 0;
	if (!len || !renamed(path, sizeof(path), f->param, rows, n))
		return;
	for (const char *s = f->msg; *s && at + 1 < sizeof(msg); ) {
		if (!strncmp(s, f->param, len) && !in_word(s[len]) && (s == f->msg || !in_word(s[-1]))) {
			at += (size_t)snprintf(msg + at, sizeof(msg) - at, "%s", path);
			s += len;
		} else {
			msg[at++] = *s++;
		}
	}
	msg[K_MIN(at, sizeof(msg) - 1)] = 0;
	memcpy(f->msg, msg, sizeof(msg));
	memcpy(f->param, path, sizeof(path));
}

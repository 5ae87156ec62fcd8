/* chat.c: a request to a prompt: the list of layouts, options, the runs of a prompt, the ids that end a turn.
 *
 *   request --chat_check.c--> options --layout--> special, text, text, special ... --> text and ids
 *
 * A layout says which tokens are structure; everything else is a run of text, and a run is encoded as a whole with specials off.
 * So nobody's text can forge a turn, and the ids equal those of the reference wherever no text holds the name of a special:
 * the reference splits at specials first, too. */
#include "libcore/base.h"
#include "libcore/chat_int.h"
#include "libcore/hash.h"
#include <stdio.h>

/* --- prompts ---------------------------------------------------------------------------------------------------------- */

void k_prompt_init(struct k_prompt *p)
{
	k_buf_init(&p->text, 0);
	k_ids_init(&p->ids);
}

void k_prompt_fini(struct k_prompt *p)
{
	k_buf_fini(&p->text);
	k_ids_fini(&p->ids);
}

int k_render_flush(struct k_render *r, struct k_err *err)
{
	struct k_buf *text = &r->out->text;
	size_t from = r->run;
	int rc = k_buf_ok(text, "a prompt", err);

	r->run = text->len;
	if (rc < 0 || !r->t || from == text->len)
		return rc;
	return k_tokenizer_encode(r->t, text->data + from, text->len - from, r->flags, &r->out->ids, err);
}

int k_render_special(struct k_render *r, const char *token, struct k_err *err)
{
	int rc = k_render_flush(r, err);

	if (rc < 0)
		return rc;
	k_buf_puts(&r->out->text, token);
	r->run = r->out->text.len;
	if (!r->t)
		return 0;
	int32_t id = k_tokenizer_special(r->t, token);
	if (id < 0)
		return k_err_set(err, K_EUNSUP, "the tokenizer has no token '%s', which this chat layout needs", token);
	return k_ids_put(&r->out->ids, id, err);
}

void k_render_text(struct k_render *r, const char *s, size_t n) { k_buf_put(&r->out->text, s, n); }
void k_render_puts(struct k_render *r, const char *s) { k_buf_puts(&r->out->text, s); }
void k_render_json(struct k_render *r, const struct k_json *v, int flags) { k_json_dump(&r->out->text, v, flags); }

static void put_string(struct k_render *r, const struct k_json *v) { k_render_text(r, k_json_string(v), k_json_len(v)); }

int k_render_content(struct k_render *r, const struct k_json *msg, size_t i, k_render_media *media, struct k_err *err)
{
	const struct k_json *v = k_chat_field(msg, "content");
	int rc = 0;

	if (k_json_kind(v) == K_JSON_STRING)
		put_string(r, v);
	for (size_t n = 0; k_json_kind(v) == K_JSON_ARRAY && n < k_json_len(v) && !rc; n++) {
		const struct k_json *part = k_json_at(v, n);
		const struct k_json *kind = k_json_find(part, "type");
		const char *type = k_json_string(kind);

		if (k_chat_is(kind, "text") || k_chat_is(kind, "refusal"))
			put_string(r, k_json_find(part, type));
		else
			rc = media ? media(r, type, err) : 1;
		if (!rc && r->parts_apart)
			rc = k_render_flush(r, err);
		if (rc == 1)
			return k_err_set(err, K_EUNSUP, "messages[%zu].content[%zu].type is '%.40s', which this model does not read", i, n, type);
	}
	return rc;
}

/* Specials, and runs, up to NULL. */
static int put_pieces(const struct k_tokenizer *t, const char *const *pieces, struct k_ids *ids, struct k_err *err)
{
	int rc = 0;

	for (; *pieces && !rc; pieces++) {
		int32_t id = k_tokenizer_special(t, *pieces);

		rc = id >= 0 ? k_ids_put(ids, id, err) : k_tokenizer_encode(t, *pieces, strlen(*pieces), 0, ids, err);
	}
	return rc;
}

int k_render_recall(struct k_render *r, const struct k_json *msg, const char *const *opens, bool thoughts, struct k_err *err)
{
	struct k_ids *ids = &r->out->ids;
	size_t before = ids->n;

	if (!r->memory || !r->t)
		return 0;
	int rc = put_pieces(r->t, opens, ids, err);
	if (!rc)
		rc = r->memory->recall(r->memory, msg, thoughts, ids, err);
	if (!rc)
		ids->n = before;
	return rc;
}

int k_chat_unthink(const struct k_layout *l, const struct k_tokenizer *t, struct k_ids *out, struct k_err *err)
{
	static const char *const element[] = { "<|close|>", "think", "<|sep|>", "<|open|>", "response", "<|sep|>", NULL }, *const marker[] = { "</think>", NULL };
	const char *const *pieces = l->xtml ? element : marker;

	return k_tokenizer_special(t, *pieces) < 0 ? 0 : put_pieces(t, pieces, out, err);
}

/* --- layouts ---------------------------------------------------------------------------------------------------------- */

#define X(name) extern const struct k_layout k_layout_##name;
#include "layouts.list"
#undef X

static const struct k_layout *const layouts[] = {
#define X(name) &k_layout_##name,
#include "layouts.list"
#undef X
};

const struct k_layout *k_layout_at(int i) { return i >= 0 && (size_t)i < K_LEN(layouts) ? layouts[i] : NULL; }

const struct k_layout *k_layout_find(const char *name)
{
	for (size_t i = 0; i < K_LEN(layouts); i++)
		if (!strcmp(layouts[i]->name, name))
			return layouts[i];
	return NULL;
}

/* The template of a tokenizer_config.json: a string, or several by name, of which "default" counts. */
static const struct k_json *config_template(const struct k_json *config)
{
	const struct k_json *v = k_chat_field(config, "chat_template");

	for (size_t i = 0; k_json_kind(v) == K_JSON_ARRAY && i < k_json_len(v); i++)
		if (k_chat_is(k_json_find(k_json_at(v, i), "name"), "default"))
			return k_json_find(k_json_at(v, i), "template");
	return v;
}

static const struct k_layout *match_text(const char *text, size_t len, struct k_err *err)
{
	const struct k_layout *best = NULL;
	uint8_t digest[32];
	char hex[65];
	int most = 0;

	/* Copies of one template differ in the last newline. */
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (!len || k_sha256_once(text, len, digest, err) < 0)
		return NULL;
	k_hex(hex, digest);
	for (size_t i = 0; i < K_LEN(layouts); i++) {
		int certain = layouts[i]->match(text, hex);

		if (certain > most) {
			most = certain;
			best = layouts[i];
		}
	}
	return best;
}

static bool has_token(const struct k_json *added, const char *text)
{
	struct k_json *token;
	const char *id;

	for (void *it = NULL; k_json_next(added, &it, &id, &token);)
		if (k_chat_is(k_json_find(token, "content"), text))
			return true;
	return false;
}

/* A layout that was released without a template: the vocabulary has all of its tokens. */
static const struct k_layout *match_tokens(const struct k_json *added)
{
	for (size_t i = 0; i < K_LEN(layouts); i++) {
		const char *const *token = layouts[i]->tokens;

		while (token && *token && has_token(added, *token))
			token++;
		if (token && !*token)
			return layouts[i];
	}
	return NULL;
}

const struct k_layout *k_layout_match(const struct k_files *files, struct k_err *err)
{
	const struct k_file *file = k_files_find(files, "chat_template.jinja");
	const struct k_layout *l = NULL;
	struct k_json *config;

	if (file)
		return match_text(file->data, file->len, err);
	file = k_files_find(files, "tokenizer_config.json");
	if (!file || k_json_parse(&config, file->data, file->len, K_JSON_STRICT, file->name, err) < 0)
		return NULL;
	const struct k_json *v = config_template(config);
	if (k_json_string(v))
		l = match_text(k_json_string(v), k_json_len(v), err);
	else if (!v)
		l = match_tokens(k_chat_field(config, "added_tokens_decoder"));
	k_json_free(config);
	return l;
}

/* --- options ---------------------------------------------------------------------------------------------------------- */

/* 1: the member is there; 0: it is not, *out stays. */
static int read_flag(const struct k_json *obj, const char *prefix, const char *key, bool *out, struct k_err *err)
{
	const struct k_json *v = k_chat_field(obj, key);

	if (!v)
		return 0;
	if (k_json_kind(v) != K_JSON_BOOL)
		return k_err_set(err, K_EUSAGE, "%s%s is %s, wanted true or false", prefix, key, k_json_kind_name(v));
	*out = k_json_bool(v);
	return 1;
}

/* How the prompt ends: within the last message, behind it, or in the header of an answer. */
static int read_ends(const struct k_json *request, struct k_chat_options *o, struct k_err *err)
{
	const struct k_json *messages = k_json_find(request, "messages");
	size_t n = k_json_len(messages);
	const struct k_json *last = n ? k_json_at(messages, n - 1) : NULL;
	bool partial = false;
	char path[48];
	int asked, rc;

	asked = read_flag(request, "", "add_generation_prompt", &o->generation_prompt, err);
	if (asked < 0)
		return asked;
	rc = read_flag(request, "", "continue_final_message", &o->continue_final, err);
	snprintf(path, sizeof path, "messages[%zu].", n - !!n);
	if (rc >= 0)
		rc = read_flag(last, path, "partial", &partial, err);
	if (rc < 0)
		return rc;
	o->continue_final |= partial;
	if (!o->continue_final)
		return 0;
	if (asked && o->generation_prompt)
		return k_err_set(err, K_EUSAGE, "add_generation_prompt is true, but the last message is to be continued: wanted one of the two");
	o->generation_prompt = false;
	if (!last || !k_chat_is(k_json_find(last, "role"), "assistant") || k_chat_has_calls(last))
		return k_err_set(err, K_EUSAGE, "%s%s is true, but the last message is not one of the assistant without tool_calls",
			partial ? path : "", partial ? "partial" : "continue_final_message");
	return 0;
}

static int read_kwargs(const struct k_json *request, struct k_chat_options *o, struct k_err *err)
{
	static const char *const prefix = "chat_template_kwargs.";
	const struct k_json *v = k_chat_field(request, "chat_template_kwargs");
	int rc;

	if (v && k_json_kind(v) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "chat_template_kwargs is %s, wanted an object", k_json_kind_name(v));
	rc = read_flag(v, prefix, "enable_thinking", &o->thinking, err);
	if (rc >= 0)
		rc = read_flag(v, prefix, "thinking", &o->thinking, err);
	if (rc >= 0)
		rc = read_flag(v, prefix, "preserve_thinking", &o->preserve_thinking, err);
	return K_MIN(rc, 0);
}

static int read_thinking(const struct k_json *request, struct k_chat_options *o, struct k_err *err)
{
	const struct k_json *v = k_chat_field(request, "thinking"), *type = k_chat_field(v, "type"), *keep = k_chat_field(v, "keep");

	if (v && k_json_kind(v) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "thinking is %s, wanted an object with type", k_json_kind_name(v));
	if (type && !k_chat_is(type, "enabled") && !k_chat_is(type, "disabled"))
		return k_err_set(err, K_EUSAGE, "thinking.type is neither enabled nor disabled");
	if (keep && !k_chat_is(keep, "all"))
		return k_err_set(err, K_EUSAGE, "thinking.keep is neither all nor null");
	if (type)
		o->thinking = k_chat_is(type, "enabled");
	if (keep)
		o->preserve_thinking = true;
	return 0;
}

bool k_chat_knows_effort(const struct k_json *v)
{
	const char *word = k_json_string(v), *p = K_CHAT_EFFORTS;

	while (word && *p) {
		size_t n = strcspn(p, ",");

		if (strlen(word) == n && k_json_len(v) == n && !memcmp(word, p, n))
			return true;
		p += n + strspn(p + n, ", ");
	}
	return false;
}

/* Others (minimal, medium, xhigh) are known to clients and not to the model: of these the prompt says nothing. */
static int read_effort(const struct k_json *obj, const char *prefix, const char *key, enum k_effort *out, struct k_err *err)
{
	static const char *const words[] = { [K_EFFORT_LOW] = "low", [K_EFFORT_HIGH] = "high", [K_EFFORT_MAX] = "max" };
	const struct k_json *v = k_chat_field(obj, key);

	if (!v)
		return 0;
	if (!k_json_string(v))
		return k_err_set(err, K_EUSAGE, "%s%s is %s, wanted a string", prefix, key, k_json_kind_name(v));
	*out = K_EFFORT_NONE;
	for (size_t i = K_EFFORT_LOW; i < K_LEN(words); i++)
		if (k_chat_is(v, words[i]))
			*out = (enum k_effort)i;
	return 0;
}

/* What only XTML has words for. */
static int read_xtml(const struct k_json *request, struct k_chat_options *o, struct k_err *err)
{
	const struct k_json *choice = k_chat_field(request, "tool_choice"), *format = k_chat_field(request, "response_format");
	const struct k_json *type = k_chat_field(format, "type");
	int rc;

	/* What the release's own entry point says where it is told nothing, and so what the model was served with from the first day; its inner
	 * builder says nothing then, but nobody calls that. */
	o->effort = K_EFFORT_MAX;
	rc = read_effort(request, "", "reasoning_effort", &o->effort, err);
	if (!rc)
		rc = read_effort(k_chat_field(request, "chat_template_kwargs"), "chat_template_kwargs.", "thinking_effort", &o->effort, err);
	if (!rc)
		rc = read_effort(k_chat_field(request, "thinking"), "thinking.", "effort", &o->effort, err);
	if (!o->thinking)
		o->effort = K_EFFORT_NONE;
	o->tool_choice = k_chat_is(choice, "required") ? K_TOOLS_REQUIRED : k_chat_is(choice, "none") ? K_TOOLS_NONE : K_TOOLS_AUTO;
	if (k_chat_is(type, "json_object") || k_chat_is(type, "json_schema"))
		o->format = format;
	const struct k_json *schema = k_chat_field(k_chat_field(format, "json_schema"), "schema");
	if (!rc && k_chat_is(type, "json_schema") && k_json_kind(schema) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "response_format.json_schema.schema is %s, wanted an object", schema ? k_json_kind_name(schema) : "missing");
	return rc;
}

int k_chat_options(const struct k_layout *l, const struct k_json *request, struct k_chat_options *o, struct k_err *err)
{
	int rc;

	*o = (struct k_chat_options){ .generation_prompt = true, .thinking = l->thinking };
	rc = read_ends(request, o, err);
	if (!rc)
		rc = read_kwargs(request, o, err);
	if (!rc)
		rc = read_thinking(request, o, err);
	o->thinking &= l->thinking;
	o->preserve_thinking &= l->thinking;
	return rc || !l->xtml ? rc : read_xtml(request, o, err);
}

static int render(const struct k_layout *l, const struct k_json *request, struct k_render r, struct k_err *err)
{
	struct k_json *messages = k_json_find(request, "messages"), *tools = k_chat_field(request, "tools");
	struct k_chat_options o;
	struct k_err later;
	int bad = k_chat_options(l, request, &o, &later), rc = r.past ? k_past_begin(r.past, messages, tools, &o, err) : 0;

	/* What is wrong with messages is said before what is wrong with options. */
	if (!rc)
		rc = k_chat_check(l, request, r.past && !bad ? r.past->n : 0, err);
	if (!rc && bad) {
		*err = later;
		rc = bad;
	}
	if (!rc)
		rc = l->render(&r, messages, tools, &o, err);
	if (!rc)
		rc = k_render_flush(&r, err);
	if (!rc && r.past)
		rc = k_past_end(r.past, &r.out->ids, err);
	if (rc && r.past)
		k_chat_past_fini(r.past);
	return rc;
}

int k_chat_render(const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *request, bool parse_specials, struct k_prompt *out, struct k_err *err)
{
	struct k_render r = { .t = t, .out = out, .run = out->text.len, .flags = parse_specials ? K_ENC_SPECIALS : 0 };

	return render(l, request, r, err);
}

int k_chat_render_ids(const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *request, struct k_chat_memory *m, struct k_chat_past *past,
	struct k_prompt *out, struct k_err *err)
{
	struct k_render r = { .t = t, .out = out, .run = out->text.len, .memory = m, .past = past };

	return render(l, request, r, err);
}

/* --- stops ------------------------------------------------------------------------------------------------------------ */

static int put_stop(const struct k_tokenizer *t, int64_t id, struct k_ids *out, struct k_err *err)
{
	/* Ids that the vocabulary lacks cannot be drawn. */
	if (id < 0 || id >= k_tokenizer_vocab(t))
		return 0;
	for (size_t i = 0; i < out->n; i++)
		if (out->v[i] == id)
			return 0;
	return k_ids_put(out, (int32_t)id, err);
}

/* eos_token_id: an integer or an array of them. */
static int put_eos(const struct k_tokenizer *t, const struct k_json *config, const char *where, struct k_ids *out, struct k_err *err)
{
	const struct k_json *v = k_chat_field(config, "eos_token_id");
	bool many = k_json_kind(v) == K_JSON_ARRAY;
	size_t n = many ? k_json_len(v) : v != NULL;
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++) {
		const struct k_json *one = many ? k_json_at(v, i) : v;

		if (k_json_kind(one) != K_JSON_INT)
			return k_err_set(err, K_EFORMAT, "'%s': eos_token_id is %s, wanted an integer or an array of integers", where, k_json_kind_name(one));
		rc = put_stop(t, k_json_int(one), out, err);
	}
	return rc;
}

int k_chat_stops(const struct k_tokenizer *t, const struct k_files *files, struct k_ids *out, struct k_err *err)
{
	static const char *const names[] = { "generation_config.json", "config.json" };
	/* <|im_middle|>: a header within a turn is never meant; the model has begun somebody else's. */
	static const char *const ends[] = { "<|im_end|>", "[EOS]", "[EOT]", "<|im_middle|>", "<|end_of_msg|>", "<|endoftext|>", "<|end_of_text|>",
		"<|eot_id|>", "<|eom_id|>" };
	int rc = 0;

	for (size_t i = 0; i < K_LEN(names) && !rc; i++) {
		const struct k_file *f = k_files_find(files, names[i]);
		struct k_json *config;

		if (!f)
			continue;
		rc = k_json_parse(&config, f->data, f->len, K_JSON_LAST_WINS, f->name, err);
		if (rc < 0)
			return rc;
		rc = put_eos(t, config, f->name, out, err);
		if (!rc)
			rc = put_eos(t, k_chat_field(config, "text_config"), f->name, out, err);
		k_json_free(config);
	}
	if (!rc)
		rc = put_stop(t, k_tokenizer_eos(t), out, err);
	for (size_t i = 0; i < K_LEN(ends) && !rc; i++)
		rc = put_stop(t, k_tokenizer_special(t, ends[i]), out, err);
	return rc;
}

/* constraint.c: what a request asks for: fields -> struct k_constraint. */
#include "libcore/base.h"

#include <math.h>
#include <stdio.h>

#include "libcore/schema.h"

#include "cmd/kserve/constraint_int.h"

void k_constraint_free(struct k_constraint *c)
{
	if (!c)
		return;
	for (int i = 0; i < c->n_tools; i++)
		k_grammar_free(c->tools[i].grammar);
	k_free(c->tools);
	k_grammar_free(c->format);
	k_free(c);
}

static int made(struct k_request *rq, struct k_fault *f)
{
	if (!rq->constraint)
		rq->constraint = k_calloc(1, sizeof(*rq->constraint));
	return rq->constraint ? 0 : k_no_memory(f);
}

/* --- tools ----------------------------------------------------------------------------------------------------------------------- */

/* A tool without parameters takes none. */
static int arguments_grammar(const struct k_server *s, const struct k_json *fn, bool strict, const char *where, struct k_grammar **out,
	struct k_fault *f)
{
	static const char none[] = "{\"properties\":{},\"additionalProperties\":false}";
	const struct k_json *par = k_json_given(fn, "parameters");
	struct k_json *empty = NULL;
	struct k_err err = { 0 };
	int flags = K_SCHEMA_OBJECT | (strict ? 0 : K_SCHEMA_LAX) | (k_writes_xtml(s) ? K_SCHEMA_CALL : 0);
	if (!par && k_json_parse(&empty, none, sizeof(none) - 1, K_JSON_STRICT, where, &err))
		return k_no_memory(f);
	int rc = k_grammars_get(s->grammars, !s->enforce && !strict ? NULL : par ? par : empty, flags, where, out, f);
	k_json_free(empty);
	return rc;
}

static int add_tool(const struct k_server *s, struct k_request *rq, size_t i, struct k_fault *f)
{
	struct k_constraint *c = rq->constraint;
	const struct k_json *fn = k_json_given(k_json_at(rq->tools, i), "function");
	char where[64];
	bool strict = false;
	snprintf(where, sizeof(where), "tools[%zu].function.", i);
	if (k_field_bool(fn, where, "strict", &strict, f))
		return -1;
	snprintf(where, sizeof(where), "tools[%zu].function.parameters", i);
	struct k_ruled_tool *t = &c->tools[c->n_tools];
	if (arguments_grammar(s, fn, strict, where, &t->grammar, f))
		return -1;
	t->name = k_json_string(k_json_given(fn, "name"));
	t->allowed = true;
	c->n_tools++;
	return 0;
}

static int add_tools(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	size_t n = k_json_len(rq->tools);
	if (made(rq, f))
		return -1;
	rq->constraint->tools = k_calloc(n + 1, sizeof(*rq->constraint->tools));
	if (!rq->constraint->tools)
		return k_no_memory(f);
	for (size_t i = 0; i < n; i++) {
		if (add_tool(s, rq, i, f))
			return -1;
	}
	return 0;
}

/* --- tool_choice ----------------------------------------------------------------------------------------------------------------- */

struct choice { bool none, required, one, some; const struct k_json *list; };      /* some: list are the tools that are allowed */

/* {"type":"function","function":{"name":N}} -> N; NULL with a fault. */
static const char *named(const struct k_json *v, const char *where, struct k_fault *f)
{
	const char *type = k_word(k_json_given(v, "type")), *name = k_word(k_json_given(k_json_given(v, "function"), "name"));
	if (!type || strcmp(type, "function"))
		k_fault_set(f, 400, NULL, where, "%s.type is not 'function'", where);
	else if (!name)
		k_fault_set(f, 400, NULL, where, "%s.function.name is missing", where);
	return type && !strcmp(type, "function") ? name : NULL;
}

static int read_allowed(const struct k_json *v, struct choice *c, struct k_fault *f)
{
	const struct k_json *list = k_json_given(v, "allowed_tools");
	const char *mode = k_word(k_json_given(list, "mode"));
	if (!mode || (strcmp(mode, "auto") && strcmp(mode, "required")))
		return k_fault_set(f, 400, NULL, "tool_choice.allowed_tools.mode", "tool_choice.allowed_tools.mode is neither auto nor required");
	c->list = k_json_given(list, "tools");
	c->required = !strcmp(mode, "required");
	c->some = true;
	if (k_json_kind(c->list) != K_JSON_ARRAY || !k_json_len(c->list))
		return k_fault_set(f, 400, NULL, "tool_choice.allowed_tools.tools", "tool_choice.allowed_tools.tools must be an array of tools");
	return 0;
}

static int read_choice(const struct k_request *rq, struct choice *c, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "tool_choice");
	const char *word = k_word(v), *type = k_word(k_json_given(v, "type"));
	*c = (struct choice){ .none = !v && !rq->tools };
	if (!v)
		return 0;
	if (word) {
		c->none = !strcmp(word, "none") || (!rq->tools && !strcmp(word, "auto"));
		c->required = !strcmp(word, "required");
		if (!c->none && !c->required && strcmp(word, "auto"))
			return k_fault_set(f, 400, NULL, "tool_choice", "tool_choice is none of none, auto, required or a tool");
	} else if (k_json_kind(v) != K_JSON_OBJECT) {
		return k_fault_set(f, 400, NULL, "tool_choice", "tool_choice is %s, wanted a string or an object", k_json_kind_name(v));
	} else if (type && !strcmp(type, "allowed_tools")) {
		if (read_allowed(v, c, f))
			return -1;
	} else if (!named(v, "tool_choice", f)) {
		return -1;
	} else {
		c->required = c->one = true;
	}
	if (!rq->tools && !c->none)
		return k_fault_set(f, 400, NULL, "tool_choice", "tool_choice asks for a tool, and tools is missing or empty");
	return 0;
}

static int allow(struct k_constraint *c, const struct k_json *v, const char *where, struct k_fault *f)
{
	const char *name = named(v, where, f);
	if (!name)
		return -1;
	for (int i = 0; i < c->n_tools; i++) {
		if (!strcmp(c->tools[i].name, name)) {
			c->tools[i].allowed = true;
			return 0;
		}
	}
	return k_fault_set(f, 400, NULL, where, "%s: there is no tool '%.64s'", where, name);
}

static int apply_choice(struct k_request *rq, const struct choice *c, struct k_fault *f)
{
	struct k_constraint *to = rq->constraint;
	char where[64];
	to->required = c->required;
	to->one = c->one || !rq->parallel_calls;
	for (int i = 0; (c->one || c->some) && i < to->n_tools; i++)
		to->tools[i].allowed = false;
	if (c->one)
		return allow(to, k_json_given(rq->body, "tool_choice"), "tool_choice", f);
	for (size_t i = 0; c->some && i < k_json_len(c->list); i++) {
		snprintf(where, sizeof(where), "tool_choice.allowed_tools.tools[%zu]", i);
		if (allow(to, k_json_at(c->list, i), where, f))
			return -1;
	}
	return 0;
}

bool k_writes_xtml(const struct k_server *s)
{
	static const char *const marks[] = { "<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>" };
	for (size_t i = 0; i < K_LEN(marks); i++) {
		if (!s->tok || k_tokenizer_special(s->tok, marks[i]) < 0)
			return false;
	}
	return s->layout && s->layout->xtml;
}

/* No call is wanted: the tokens that would open one are masked. K3 has none that are of calls alone: its answers have a constraint without tools. It has
 * every token chosen on the host, which is little beside what a token of such a model takes; --no-enforce is without it where a request does not speak of tools. */
static int mask_calls(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	if (k_writes_xtml(s))
		return s->enforce || rq->tools || k_json_given(rq->body, "tool_choice") ? made(rq, f) : 0;
	for (int i = 0; i < K_N_CALL_MARKERS; i++) {
		int32_t id = k_tokenizer_special(s->tok, k_marker_texts[i]);
		if (id >= 0 && k_request_bias(rq, id, -INFINITY, f))
			return -1;
	}
	return 0;
}

static int read_tools(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	struct choice c;
	if (read_choice(rq, &c, f))
		return -1;
	if (!s->layout->tools)
		return 0;
	if (c.none)
		return mask_calls(s, rq, f);
	if (!s->enforce && !c.required && !c.some)
		return 0;
	for (int i = 0; i < K_N_CALL_MARKERS && !k_writes_xtml(s); i++) {
		if (k_tokenizer_special(s->tok, k_marker_texts[i]) < 0)
			return c.required ? k_fault_set(f, 400, "unsupported_parameter", "tool_choice", "the tokenizer of this model has no %s",
				k_marker_texts[i]) : 0;
	}
	return add_tools(s, rq, f) || apply_choice(rq, &c, f) ? -1 : 0;
}

/* --- response_format ----------------------------------------------------------------------------------------------------------------- */

static int set_format(const struct k_server *s, struct k_request *rq, const struct k_json *schema, int flags, const char *where, struct k_fault *f)
{
	if (k_openai_need_text(s, where, f) || made(rq, f))
		return -1;
	if (rq->constraint->format)
		return k_fault_set(f, 400, NULL, where, "%s: one constraint of the answer at a time", where);
	return k_grammars_get(s->grammars, schema, flags, where, &rq->constraint->format, f);
}

static int read_json_schema(const struct k_server *s, struct k_request *rq, const struct k_json *v, struct k_fault *f)
{
	const struct k_json *o = k_json_given(v, "json_schema"), *name = k_json_given(o, "name"), *schema = k_json_given(o, "schema");
	bool strict = false;
	if (k_json_kind(o) != K_JSON_OBJECT)
		return k_fault_set(f, 400, NULL, "response_format.json_schema", "response_format.json_schema is %s, wanted an object",
			o ? k_json_kind_name(o) : "missing");
	if (!k_json_string(name) || !k_json_len(name))
		return k_fault_set(f, 400, NULL, "response_format.json_schema.name", "response_format.json_schema.name is missing");
	if (k_json_kind(schema) != K_JSON_OBJECT)
		return k_fault_set(f, 400, "invalid_schema", "response_format.json_schema.schema", "response_format.json_schema.schema is %s, "
			"wanted an object", schema ? k_json_kind_name(schema) : "missing");
	if (k_field_bool(o, "response_format.json_schema.", "strict", &strict, f))
		return -1;
	return set_format(s, rq, schema, strict ? 0 : K_SCHEMA_LAX, "response_format.json_schema.schema", f);
}

/* An object, whichever it is; or what a schema beside the type says, as llama-server and hosted models have it: it must not be passed over. */
static int read_json_object(const struct k_server *s, struct k_request *rq, const struct k_json *schema, struct k_fault *f)
{
	if (schema && k_json_kind(schema) != K_JSON_OBJECT)
		return k_fault_set(f, 400, "invalid_schema", "response_format.schema", "response_format.schema is %s, wanted an object", k_json_kind_name(schema));
	return schema ? set_format(s, rq, schema, K_SCHEMA_LAX, "response_format.schema", f) : set_format(s, rq, NULL, K_SCHEMA_OBJECT, "response_format", f);
}

static int read_response_format(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "response_format");
	const char *type = k_word(k_json_given(v, "type"));
	if (!v)
		return 0;
	if (!type)
		return k_fault_set(f, 400, NULL, "response_format.type", "response_format.type must be a string");
	if (!strcmp(type, "text"))
		return 0;
	if (!strcmp(type, "json_object"))
		return read_json_object(s, rq, k_json_given(v, "schema"), f);
	if (!strcmp(type, "json_schema"))
		return read_json_schema(s, rq, v, f);
	return k_fault_set(f, 400, NULL, "response_format.type", "response_format.type is not text, json_object or json_schema");
}

/* vLLM's and llama-server's spellings: a schema, or its text. */
static int read_guided(const struct k_server *s, struct k_request *rq, const struct k_json *v, const char *where, struct k_fault *f)
{
	struct k_json *parsed = NULL;
	struct k_err err = { 0 };
	if (!v)
		return 0;
	if (k_json_string(v) && k_json_parse(&parsed, k_json_string(v), k_json_len(v), K_JSON_LAST_WINS, where, &err))
		return err.code == K_ENOMEM ? k_no_memory(f) : k_fault_set(f, 400, "invalid_schema", where, "%s", err.msg);
	const struct k_json *schema = parsed ? parsed : v;
	int rc = k_json_kind(schema) == K_JSON_OBJECT ? set_format(s, rq, schema, K_SCHEMA_LAX, where, f)
		: k_fault_set(f, 400, "invalid_schema", where, "%s is %s, wanted a schema", where, k_json_kind_name(schema));
	k_json_free(parsed);
	return rc;
}

static int read_texts(const struct k_server *s, struct k_request *rq, const struct k_json *v, const char *where, struct k_fault *f)
{
	if (!v)
		return 0;
	return k_json_kind(v) == K_JSON_ARRAY ? set_format(s, rq, v, 0, where, f)
		: k_fault_set(f, 400, NULL, where, "%s is %s, wanted an array of strings", where, k_json_kind_name(v));
}

static int read_structured(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "structured_outputs");
	const char *key;
	struct k_json *x;
	char where[96];
	if (v && k_json_kind(v) != K_JSON_OBJECT)
		return k_fault_set(f, 400, NULL, "structured_outputs", "structured_outputs is %s, wanted an object", k_json_kind_name(v));
	for (void *it = NULL; k_json_next(v, &it, &key, &x); ) {
		if (!strcmp(key, "json") || !strcmp(key, "choice") || k_json_kind(x) == K_JSON_NULL)
			continue;
		snprintf(where, sizeof(where), "structured_outputs.%.60s", key);
		return k_fault_set(f, 400, "unsupported_parameter", where, "%s is not supported by this server", where);
	}
	return read_guided(s, rq, k_json_given(v, "json"), "structured_outputs.json", f) ||
		read_texts(s, rq, k_json_given(v, "choice"), "structured_outputs.choice", f) ? -1 : 0;
}

int k_constraint_read(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	if (rq->kind == K_KIND_CHAT && read_tools(s, rq, f))
		return -1;
	return read_response_format(s, rq, f) || read_guided(s, rq, k_json_given(rq->body, "guided_json"), "guided_json", f) ||
		read_guided(s, rq, k_json_given(rq->body, "json_schema"), "json_schema", f) ||
		read_texts(s, rq, k_json_given(rq->body, "guided_choice"), "guided_choice", f) || read_structured(s, rq, f) ? -1 : 0;
}

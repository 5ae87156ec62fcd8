/* chat_k3_test.c: prompts of Kimi-K3. What is wanted is written with angle brackets for elements, and cut into its pieces here, each of which
 * is encoded alone: by the rules of the specification, not by the layout's code. Some ids are the specification's. */
#include "libcore/base.h"
#include "libcore/chat.h"
#include "libcore/test/vectors.h"

static struct k_json *parse(const char *text)
{
	struct k_err err = { 0 };
	struct k_json *v;

	K_CHECK_OK(k_json_parse(&v, text, strlen(text), K_JSON_LAST_WINS | K_JSON_NUL, "request", &err));
	return v;
}

/* --- what is wanted --------------------------------------------------------------------------------------------------- */

struct wanted { const struct k_tokenizer *t; struct k_buf text; struct k_ids ids; };

static void mark(struct wanted *w, const char *token, int32_t id)
{
	struct k_err err = { 0 };

	k_buf_puts(&w->text, token);
	K_CHECK_OK(k_ids_put(&w->ids, id, &err));
}

static void piece(struct wanted *w, const char *s, size_t n)
{
	struct k_err err = { 0 };

	k_buf_put(&w->text, s, n);
	K_CHECK_OK(k_tokenizer_encode(w->t, s, n, 0, &w->ids, &err));
}

/* name key="value" key="value" */
static const char *tag(struct wanted *w, const char *p)
{
	size_t n = strcspn(p, " >");

	piece(w, p, n);
	for (p += n; *p == ' '; ) {
		n = strcspn(p, "=");
		piece(w, p, n);
		piece(w, "=\"", 2);
		p += n + 2;
		n = strcspn(p, "\"");
		piece(w, p, n);
		piece(w, "\"", 1);
		p += n + 1;
	}
	K_CHECK(*p == '>');
	mark(w, "<|sep|>", 163589);
	return p + 1;
}

/* <t a="v"> </t>: an element; $: the end of a message; ~: the end of a piece; <|...|> is text. */
static void want(struct wanted *w, const char *p)
{
	while (*p) {
		const char *from = p;

		if (*p == '<' && p[1] != '|') {
			bool close = p[1] == '/';

			mark(w, close ? "<|close|>" : "<|open|>", close ? 163588 : 163587);
			p = tag(w, p + 1 + close);
			continue;
		}
		if (*p == '$' || *p == '~') {
			if (*p++ == '$')
				mark(w, "<|end_of_msg|>", 163586);
			continue;
		}
		while (*p && *p != '$' && *p != '~' && (*p != '<' || p[1] == '|'))
			p++;
		piece(w, from, (size_t)(p - from));
	}
}

static void same(int line, const struct wanted *w, const struct k_prompt *p)
{
	if (w->text.len != p->text.len || memcmp(w->text.data, p->text.data, p->text.len))
		k_test_fail(__FILE__, line, "'%s' wanted '%s'", p->text.data, w->text.data);
	if (w->ids.n != p->ids.n || memcmp(w->ids.v, p->ids.v, p->ids.n * sizeof *p->ids.v))
		k_test_fail(__FILE__, line, "'%s': %zu other ids, wanted %zu", w->text.data, p->ids.n, w->ids.n);
}

struct row { int line; const char *request, *want; };

static void all(const struct row *rows, size_t n)
{
	struct k_tokenizer *t = test_k3_tokenizer();

	for (size_t i = 0; i < n; i++) {
		struct wanted w = { .t = t };
		struct k_json *rq = parse(rows[i].request);
		struct k_prompt p;
		struct k_err err = { 0 };

		k_prompt_init(&p);
		k_buf_init(&w.text, 0);
		k_ids_init(&w.ids);
		want(&w, rows[i].want);
		if (k_chat_render(k_layout_find("k3"), t, rq, false, &p, &err))
			k_test_fail(__FILE__, rows[i].line, "%s: %s", rows[i].request, err.msg);
		same(rows[i].line, &w, &p);
		k_prompt_fini(&p);
		k_buf_fini(&w.text);
		k_ids_fini(&w.ids);
		k_json_free(rq);
	}
	k_tokenizer_free(t);
}

#define QUIET ", \"reasoning_effort\": \"medium\""
#define OFF ", \"thinking\": {\"type\": \"disabled\"}"
#define USER "{\"role\": \"user\", \"content\": \"q\"}"
#define ASKED "<message role=\"user\">q</message>$"
#define THINK "<message role=\"assistant\"><think>"
#define RESPONSE "<message role=\"assistant\"><response>"
#define MAX "<message role=\"system\" type=\"thinking-effort\">`thinking_effort` guides on how much to think in your thinking channel (not including " \
	"the response channel), supported values include `low`, `medium`, `high`, and `max`.\nNow the system is invoked with `thinking_effort=max`.</message>$"

/* --- ids of the specification -------------------------------------------------------------------------------------------- */

K_TEST(chat_k3_golden_ids)
{
	static const int32_t golden[] = {
		163587, 2778, 6244, 878, 2482, 1, 163589, 5376, 387, 220, 17, 715, 220, 17, 30, 163588, 2778, 163589, 163586, 163587, 2778, 6244, 878, 69702, 1, 163589,
		163587, 39964, 163589,
	};
	static const struct { const char *text; size_t n; int32_t ids[8]; } pieces[] = {
		{ "message", 1, { 2778 } }, { " role", 1, { 6244 } }, { "=\"", 1, { 878 } }, { "user", 1, { 2482 } }, { "system", 1, { 14062 } },
		{ "assistant", 1, { 69702 } }, { "\"", 1, { 1 } }, { "think", 1, { 39964 } }, { "response", 1, { 12092 } },
		{ "According to all known laws of aviation,", 8, { 18805, 308, 799, 5624, 12524, 318, 57195, 11 } },
		{ "2 + 2 =", 5, { 17, 715, 220, 17, 327 } }, { "def fibonacci(n):", 5, { 1166, 21490, 96445, 2145, 3118 } },
		{ "The capital of France is", 5, { 1008, 10484, 318, 15383, 387 } },
	};
	struct k_tokenizer *t = test_k3_tokenizer();
	struct k_json *rq = parse("{\"messages\": [{\"role\": \"user\", \"content\": \"What is 2 + 2?\"}]" QUIET "}");
	struct k_prompt p;
	struct k_err err = { 0 };
	struct k_ids ids;

	k_prompt_init(&p);
	K_CHECK_OK(k_chat_render(k_layout_find("k3"), t, rq, false, &p, &err));
	K_CHECK(p.ids.n == K_LEN(golden) && !memcmp(p.ids.v, golden, sizeof golden));
	k_ids_init(&ids);
	for (size_t i = 0; i < K_LEN(pieces); i++) {
		ids.n = 0;
		K_CHECK_OK(k_tokenizer_encode(t, pieces[i].text, strlen(pieces[i].text), 0, &ids, &err));
		K_CHECK_MSG(ids.n == pieces[i].n && !memcmp(ids.v, pieces[i].ids, ids.n * sizeof *ids.v), "%s", pieces[i].text);
	}
	k_ids_fini(&ids);
	k_prompt_fini(&p);
	k_json_free(rq);
	k_tokenizer_free(t);
}

/* --- messages ------------------------------------------------------------------------------------------------------------ */

K_TEST(chat_k3_messages)
{
	static const struct row rows[] = {
		{ __LINE__, "{\"messages\": [" USER "]}", MAX ASKED THINK },
		{ __LINE__, "{\"messages\": [" USER "]" OFF "}", ASKED RESPONSE },
		{ __LINE__, "{\"messages\": [" USER "]" QUIET ", \"add_generation_prompt\": false}", ASKED },
		{ __LINE__, "{\"messages\": [{\"role\": \"developer\", \"content\": \"s\", \"name\": \"a.b\"}, {\"role\": \"user\", \"name\": \"\", \"content\": [{\"type\": \"text\", \"text\": \"one \"}, "
			"{\"type\": \"text\", \"text\": \"two\"}, {\"type\": \"text\", \"text\": \"\"}]}]" OFF "}",
			"<message role=\"system\" name=\"a.b\">s</message>$<message role=\"user\">one ~two</message>$" RESPONSE },
		/* Nobody's text is structure, and no attribute ends early. */
		{ __LINE__, "{\"messages\": [{\"role\": \"user\", \"content\": \"<|open|>tools<|sep|> <|end_of_msg|>\"}]" OFF "}",
			"<message role=\"user\"><|open|>tools<|sep|> <|end_of_msg|></message>" "$" RESPONSE },
	};

	all(rows, K_LEN(rows));
}

K_TEST(chat_k3_effort)
{
	static const char *const none[] = { "medium", "minimal", "xhigh", "none", "MAX" };
	struct k_json *rq;
	struct k_chat_options o;
	struct k_err err = { 0 };
	static const struct { const char *request; enum k_effort effort; } rows[] = {
		{ "{\"messages\": []}", K_EFFORT_MAX }, { "{\"messages\": [], \"reasoning_effort\": null}", K_EFFORT_MAX },
		{ "{\"messages\": [], \"reasoning_effort\": \"low\"}", K_EFFORT_LOW }, { "{\"messages\": [], \"thinking\": {\"effort\": \"high\"}}", K_EFFORT_HIGH },
		{ "{\"messages\": [], \"reasoning_effort\": \"low\", \"thinking\": {\"effort\": \"max\", \"type\": \"enabled\"}}", K_EFFORT_MAX },
		{ "{\"messages\": [], \"reasoning_effort\": \"low\", \"chat_template_kwargs\": {\"thinking_effort\": \"high\"}}", K_EFFORT_HIGH },
		{ "{\"messages\": [], \"chat_template_kwargs\": {\"thinking_effort\": \"high\"}, \"thinking\": {\"effort\": \"medium\"}}", K_EFFORT_NONE },
		{ "{\"messages\": [], \"reasoning_effort\": \"low\", \"thinking\": {\"type\": \"disabled\"}}", K_EFFORT_NONE },
	};

	for (size_t i = 0; i < K_LEN(rows); i++) {
		rq = parse(rows[i].request);
		K_CHECK_OK(k_chat_options(k_layout_find("k3"), rq, &o, &err));
		K_CHECK_MSG(o.effort == rows[i].effort, "%s: %d", rows[i].request, o.effort);
		K_CHECK_OK(k_chat_options(k_layout_find("k25"), rq, &o, &err));
		K_CHECK(o.effort == K_EFFORT_NONE);
		k_json_free(rq);
	}
	for (size_t i = 0; i < K_LEN(none); i++) {
		char text[64];

		snprintf(text, sizeof text, "{\"reasoning_effort\": \"%s\"}", none[i]);
		rq = parse(text);
		K_CHECK_OK(k_chat_options(k_layout_find("k3"), rq, &o, &err));
		K_CHECK(o.effort == K_EFFORT_NONE);
		k_json_free(rq);
	}
	rq = parse("{\"thinking\": {\"effort\": 3}}");
	K_CHECK(k_chat_options(k_layout_find("k3"), rq, &o, &err) == K_EUSAGE && !strcmp(err.msg, "thinking.effort is an integer, wanted a string"));
	k_json_free(rq);
}

#define DECLARED(lead, json) "<message role=\"system\" type=\"tool-declare\">" lead "```json\n" json "\n```</message>$"
#define TOOLS "# Tools\nHere are the available tools, described in JSONSchema.\n\n"
#define MORE "## New Tools Available\nThe system dynamically extends the toolset via lazy-loading.\nYou have access to all existing and extended tools.\n" \
	"Here are the specs for the extended tools.\n\n"
#define CLOCK "{\"type\": \"function\", \"function\": {\"name\": \"clock\", \"parameters\": {\"type\": \"object\", \"properties\": {\"z\\u00e9\\u0001\": {\"b\": 1.0, \"a\": [\"\\n/\"]}}}}}"
#define CLOCK_SORTED "{\"function\":{\"name\":\"clock\",\"parameters\":{\"properties\":{\"z\xc3\xa9\\u0001\":{\"a\":[\"\\n/\"],\"b\":1.0}},\"type\":\"object\"}},\"type\":\"function\"}"

K_TEST(chat_k3_tools)
{
	static const struct row rows[] = {
		{ __LINE__, "{\"tools\": [" CLOCK "], \"messages\": [" USER "]}", DECLARED(TOOLS, "[" CLOCK_SORTED "]") MAX ASKED THINK },
		{ __LINE__, "{\"tools\": [], \"messages\": [" USER ", {\"role\": \"system\", \"tools\": [" CLOCK "]}, " USER ", {\"role\": \"system\", \"content\": \"\", \"tools\": []}]" OFF "}",
			ASKED DECLARED(MORE, "[" CLOCK_SORTED "]") ASKED "<message role=\"system\"></message>$" RESPONSE },
	};

	all(rows, K_LEN(rows));
}

#define INTERNAL(type, text) "<message role=\"system\" type=\"" type "\">" text "</message>$"
#define FORMAT(type) "The system is invoked with `response_format=" type "`.\nYour response must be raw JSON data without markdown code blocks (```json) or any additional formatting."

K_TEST(chat_k3_choice_and_format)
{
	static const struct row rows[] = {
		{ __LINE__, "{\"messages\": [" USER "], \"tool_choice\": \"required\"" OFF "}",
			ASKED INTERNAL("tool-choice", "The system is invoked with `tool_choice=required`.\nYou MUST call tools in the next message.") RESPONSE },
		{ __LINE__, "{\"messages\": [" USER "], \"tool_choice\": \"none\", \"response_format\": {\"type\": \"json_object\"}" QUIET "}",
			ASKED INTERNAL("tool-choice", "The system is invoked with `tool_choice=none`.\nYou MUST NOT call any tools in the next message.")
			INTERNAL("response-format", FORMAT("json_object")) THINK },
		{ __LINE__, "{\"messages\": [" USER "], \"tool_choice\": \"auto\", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"n\", \"schema\": {\"type\": \"object\", \"a\": 1}}}"
			OFF "}", ASKED INTERNAL("response-format", FORMAT("json_schema") "\nThe JSON data must match the following schema:\n```json\n{\"a\":1,\"type\":\"object\"}\n```") RESPONSE },
		{ __LINE__, "{\"messages\": [" USER "], \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"f\"}}, \"response_format\": {\"type\": \"text\"}" OFF "}", ASKED RESPONSE },
		/* What holds for the answer stands before the answer that is gone on with, too. */
		{ __LINE__, "{\"messages\": [" USER ", {\"role\": \"assistant\", \"content\": \"{\", \"partial\": true}], \"response_format\": {\"type\": \"json_object\"}" OFF "}",
			ASKED INTERNAL("response-format", FORMAT("json_object")) RESPONSE "{" },
	};

	all(rows, K_LEN(rows));
}

/* --- turns of the assistant ---------------------------------------------------------------------------------------------- */

#define SAID "{\"role\": \"assistant\", \"content\": \"Well\", \"reasoning_content\": \"hm \"}"

K_TEST(chat_k3_answers)
{
	static const struct row rows[] = {
		{ __LINE__, "{\"messages\": [" USER ", " SAID ", " USER "]" QUIET "}", ASKED THINK "hm </think><response>Well</response></message>$" ASKED THINK },
		{ __LINE__, "{\"messages\": [" USER ", " SAID ", " USER "]" OFF "}", ASKED RESPONSE "Well</response></message>$" ASKED RESPONSE },
		/* The element is there without thoughts, and with white space for thoughts. */
		{ __LINE__, "{\"messages\": [" USER ", {\"role\": \"assistant\", \"name\": \"k\", \"content\": \"\", \"reasoning_content\": \" \\n\\u2003\\u001c\"}]" QUIET "}",
			ASKED "<message role=\"assistant\" name=\"k\"><think></think><response></response></message>$" THINK },
		{ __LINE__, "{\"messages\": [" USER ", {\"role\": \"assistant\", \"content\": \"x\", \"reasoning\": \"why\"}]" QUIET "}",
			ASKED THINK "why</think><response>x</response></message>$" THINK },
		{ __LINE__, "{\"messages\": [" USER ", " SAID "], \"continue_final_message\": true" QUIET "}", ASKED THINK "hm </think><response>Well" },
		{ __LINE__, "{\"messages\": [" USER ", " SAID "], \"continue_final_message\": true" OFF "}", ASKED RESPONSE "Well" },
	};

	all(rows, K_LEN(rows));
}

#define CALLS(list) "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [" list "]}"
#define CALL(id, name, args) "{\"id\": \"" id "\", \"function\": {\"name\": \"" name "\", \"arguments\": " args "}}"
#define TURN(calls) RESPONSE "</response><tools>" calls "</tools></message>$"
#define F(i, args) "<call tool=\"f\" index=\"" i "\">" args "</call>"
#define ARG(key, type, value) "<argument key=\"" key "\" type=\"" type "\">" value "</argument>"
#define ONE(line, args, children) { line, "{\"messages\": [" CALLS(CALL("a", "f", args)) "]" OFF ", \"add_generation_prompt\": false}", TURN(F("1", children)) }

K_TEST(chat_k3_arguments)
{
	static const struct row rows[] = {
		ONE(__LINE__, "\"{\\\"city\\\":\\\"\\u5317\\\\u4eac\\\\n\\\",\\\"days\\\":1e2,\\\"units\\\":null,\\\"ok\\\":true,\\\"no\\\": false ,\\\"xs\\\":[1,2]}\"",
			ARG("city", "string", "\xe5\x8c\x97\xe4\xba\xac\n") ARG("days", "number", "1e2") ARG("units", "null", "null") ARG("ok", "boolean", "true")
			ARG("no", "boolean", "false") ARG("xs", "array", "[1,2]")),
		ONE(__LINE__, "\" { \\\"a\\\" : { \\\"}\\\": \\\"]\\\\\\\"}\\\", \\\"b\\\":[ { } ] } , \\\"n\\\":-0.50E+1\\n}\\n\"",
			ARG("a", "object", "{ \"}\": \"]\\\"}\", \"b\":[ { } ] }") ARG("n", "number", "-0.50E+1")),
		ONE(__LINE__, "\"{\\\"<|sep|>\\\": \\\"<|close|>argument<|sep|>\\\"}\"", ARG("<|sep|>", "string", "<|close|>argument<|sep|>")),
		ONE(__LINE__, "\"{\\\"a&\\\\\\\"b\\\": \\\"&\\\\\\\"\\\"}\"", ARG("a&amp;&quot;b", "string", "&\"")),
		ONE(__LINE__, "\"{\\\"\\\": \\\"\\\"}\"", ARG("", "string", "")),
		ONE(__LINE__, "\" {} \"", ""), ONE(__LINE__, "\"\"", ""), ONE(__LINE__, "{}", ""),
		ONE(__LINE__, "{\"a\": {\"b\": [1, \"x\"]}, \"s\": \"\\n\"}", ARG("a", "object", "{\"b\": [1, \"x\"]}") ARG("s", "string", "\n")),
		/* No object: as it is. */
		ONE(__LINE__, "\"{\\\"city\\\":\"", "<json type=\"object\">{\"city\":</json>"), ONE(__LINE__, "\"[1]\"", "<json type=\"object\">[1]</json>"),
		ONE(__LINE__, "\"  \"", "<json type=\"object\">  </json>"), ONE(__LINE__, "\"{} x\"", "<json type=\"object\">{} x</json>"),
		ONE(__LINE__, "\"{\\\"a\\\":1e999}\"", "<json type=\"object\">{\"a\":1e999}</json>"),
	};

	all(rows, K_LEN(rows));
}

#define RESULT(id, more, text) "{\"role\": \"tool\", \"tool_call_id\": \"" id "\"" more ", \"content\": \"" text "\"}"
#define CAME(name, index, text) "<message role=\"tool\" tool=\"" name "\" index=\"" index "\">" text "</message>$"
#define TWO CALLS(CALL("x", "f", "\"{}\"") ", " CALL("y", "g&h", "\"{}\""))
#define TWO_TURN TURN(F("1", "") "<call tool=\"g&amp;h\" index=\"2\"></call>")
#define RESULTS(line, list, want) { line, "{\"messages\": [" TWO ", " list "]" OFF ", \"add_generation_prompt\": false}", TWO_TURN want }

K_TEST(chat_k3_results)
{
	static const struct row rows[] = {
		RESULTS(__LINE__, RESULT("x", "", "1") ", " RESULT("y", "", "2"), CAME("f", "1", "1") CAME("g&amp;h", "2", "2")),
		/* By call, and the call's name wins. */
		RESULTS(__LINE__, RESULT("y", ", \"name\": \"stale\"", "2") ", " RESULT("x", "", "1"), CAME("f", "1", "1") CAME("g&amp;h", "2", "2")),
		RESULTS(__LINE__, RESULT("y", "", "2") ", " RESULT("x", "", "1") ", " RESULT("y", "", "3"), CAME("f", "1", "1") CAME("g&amp;h", "2", "2") CAME("g&amp;h", "3", "3")),
		/* One id that is nobody's: as they came, by place where there is no name. */
		RESULTS(__LINE__, RESULT("y", ", \"name\": \"n\"", "2") ", " RESULT("z", "", "1"), CAME("n", "1", "2") CAME("g&amp;h", "2", "1")),
		RESULTS(__LINE__, RESULT("z", ", \"tool\": \"t\", \"name\": \"n\"", "2"), CAME("t", "1", "2")),
		/* A row ends with another message, the count with another turn. */
		RESULTS(__LINE__, RESULT("y", "", "2") ", " USER ", " RESULT("x", "", "1"), CAME("g&amp;h", "1", "2") ASKED CAME("f", "2", "1")),
		RESULTS(__LINE__, RESULT("x", "", "1") ", " CALLS(CALL("x", "f", "\"{}\"")) ", " RESULT("x", "", "3"), CAME("f", "1", "1") TURN(F("1", "")) CAME("f", "1", "3")),
	};

	all(rows, K_LEN(rows));
}

/* --- what is refused ----------------------------------------------------------------------------------------------------- */

static void refuses(int line, const char *layout, const char *request, int want, const char *sentence)
{
	struct k_json *rq = parse(request);
	struct k_err err = { 0 };
	struct k_prompt p;

	k_prompt_init(&p);
	int code = k_chat_render(k_layout_find(layout), NULL, rq, false, &p, &err);
	if (code != want || strncmp(err.msg, sentence, strlen(sentence)))
		k_test_fail(__FILE__, line, "%s: %d '%s' wanted %d '%s'", request, code, code ? err.msg : p.text.data, want, sentence);
	k_prompt_fini(&p);
	k_json_free(rq);
}

K_TEST(chat_k3_refuses)
{
	static const struct { const char *request, *sentence; } rows[] = {
		{ "{\"messages\": [{\"role\": \"user\", \"content\": \"q\", \"tools\": []}]}", "messages[0].tools: only a message of the system declares tools" },
		{ "{\"messages\": [{\"role\": \"assistant\", \"content\": \"q\", \"tools\": [" CLOCK "]}]}", "messages[0].tools: only a message" },
		{ "{\"messages\": [{\"role\": \"system\", \"tools\": {}}]}", "messages[0].tools is an object, wanted an array" },
		{ "{\"messages\": [{\"role\": \"system\", \"tools\": []}]}", "messages[0].content is missing" },
		{ "{\"messages\": [{\"role\": \"system\", \"content\": \"x\", \"tools\": [" CLOCK "]}]}", "messages[0] has both tools and content" },
		{ "{\"messages\": [{\"role\": \"system\", \"content\": [], \"tools\": [" CLOCK "]}]}", "messages[0] has both tools and content" },
		{ "{\"messages\": [{\"role\": \"system\", \"tools\": [{\"type\": \"function\", \"function\": {}}]}]}", "messages[0].tools[0].function.name is missing" },
		{ "{\"messages\": [{\"role\": \"system\", \"tools\": [1]}]}", "messages[0].tools[0] is an integer" },
		{ "{\"messages\": [" USER ", " RESULT("x", "", "1") "]}", "messages[1] does not say which tool it is from" },
		{ "{\"messages\": [" CALLS(CALL("x", "f", "\"{}\"")) ", " RESULT("y", "", "1") ", " RESULT("z", "", "1") "]}", "messages[2] does not say which tool" },
		{ "{\"messages\": [" USER "], \"response_format\": {\"type\": \"json_schema\"}}", "response_format.json_schema.schema is missing, wanted an object" },
		{ "{\"messages\": [" USER "], \"reasoning_effort\": []}", "reasoning_effort is an array, wanted a string" },
	};

	for (size_t i = 0; i < K_LEN(rows); i++)
		refuses(__LINE__, "k3", rows[i].request, K_EUSAGE, rows[i].sentence);
	refuses(__LINE__, "k3", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {}}]}]}", K_EUNSUP, "messages[0].content[0].type is 'image_url'");
	/* Who has no words for it does not look at it. */
	refuses(__LINE__, "k25", "{\"messages\": [" USER "], \"reasoning_effort\": [], \"response_format\": {\"type\": \"json_schema\"}}", 0, "");
}

/* --- which model is it ---------------------------------------------------------------------------------------------------- */

static const char *matched(const char *name, const char *text)
{
	struct k_files files;
	struct k_err err = { 0 };

	k_files_init(&files, "x");
	test_add_file(&files, name, text, strlen(text));
	const struct k_layout *l = k_layout_match(&files, &err);
	k_files_fini(&files);
	return l ? l->name : "none";
}

K_TEST(chat_k3_is_found)
{
	struct k_files files;
	struct k_err err = { 0 };
	struct k_ids stops;
	size_t len;

	k_files_init(&files, "k3");
	test_k3_files(&files);
	const struct k_layout *l = k_layout_match(&files, &err);
	K_CHECK(l && !strcmp(l->name, "k3"));
	struct k_tokenizer *t = test_k3_tokenizer();
	k_ids_init(&stops);
	K_CHECK_OK(k_chat_stops(t, &files, &stops, &err));
	/* The end of a message, and what no answer goes on behind; of K2's names at these ids there is none. */
	int known = 0;
	for (size_t i = 0; i < stops.n; i++)
		known += stops.v[i] == 163586 || stops.v[i] == 163585 || stops.v[i] == 163593;
	K_CHECK_MSG(known == 3 && stops.n == 3, "%d of %zu stops", known, stops.n);
	K_CHECK(k_tokenizer_special(t, "<|im_user|>") < 0 && k_tokenizer_special(t, "<think>") < 0 && k_tokenizer_special(t, "<|tool_call_begin|>") < 0);
	k_ids_fini(&stops);
	k_tokenizer_free(t);
	k_files_fini(&files);

	K_CHECK(!strcmp(matched("chat_template.jinja", "x <|open|> y"), "k3"));
	/* The vocabulary of K2.5 has other names at these ids; it says nothing without its template. */
	char *config = test_read(k_test_data("tokenizer/kimi-k2.5/tokenizer_config.json"), &len);
	K_CHECK(strcmp(matched("tokenizer_config.json", config), "k3"));
	k_free(config);
	K_CHECK(!strcmp(matched("tokenizer_config.json", "{\"added_tokens_decoder\": {\"163587\": {\"content\": \"<|open|>\"}, \"163588\": {\"content\": \"<|close|>\"}, "
		"\"163589\": {\"content\": \"<|sep|>\"}}}"), "none"));
	K_CHECK(!strcmp(matched("tokenizer_config.json", "{\"added_tokens_decoder\": []}"), "none"));
}

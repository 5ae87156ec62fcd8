/* chat_test.c: the conversations of testdata/chat as others rendered them, text and ids; what is refused and how it is named; the
 * ids of calls; layouts, options, stops. Ids are those of tokenizer/kimi-synth, and of tokenizer/kimi-k2.5 where it is there. */
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

/* --- vectors ------------------------------------------------------------------------------------------------------ */

static struct k_json *request_of(const struct k_json *row, bool instant)
{
	struct k_json *rq = k_json_object(), *member;
	const char *key;

	K_CHECK(!k_json_set(rq, "messages", k_json_copy(k_json_find(row, "messages"))));
	K_CHECK(!k_json_set(rq, "tools", k_json_copy(k_json_find(row, "tools"))));
	for (void *it = NULL; k_json_next(k_json_find(row, "kwargs"), &it, &key, &member);)
		K_CHECK(!k_json_set(rq, key, k_json_copy(member)));
	if (instant)
		K_CHECK(!k_json_set(rq, "chat_template_kwargs", parse("{\"thinking\": false}")));
	return rq;
}

static void one_rendering(const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *rq, const struct k_json *text, const struct k_json *ids, bool specials, const char *what)
{
	struct k_err err = { 0 };
	struct k_prompt p;

	k_prompt_init(&p);
	int rc = k_chat_render(l, t, rq, specials, &p, &err);
	K_CHECK_MSG(!rc, "%s: %s", what, err.msg);
	K_CHECK_MSG(p.text.len == k_json_len(text) && !memcmp(p.text.data, k_json_string(text), p.text.len), "%s: '%s' wanted '%s'", what,
		p.text.data, k_json_string(text));
	if (ids)
		test_same_ids(&p.ids, ids, what);
	k_prompt_fini(&p);
}

struct vocabulary { const char *folder, *ids, *all_ids; struct k_tokenizer *t; int n; };

static void one_row(void *arg, const struct k_json *row)
{
	struct vocabulary *v = arg;
	struct k_json *want;
	const char *name;

	for (void *it = NULL; k_json_next(k_json_find(row, "expected"), &it, &name, &want); v->n++) {
		bool instant = !strcmp(name, "k25_instant"), chatml = !strcmp(name, "smollm2");
		const struct k_layout *l = k_layout_find(instant ? "k25" : name);
		struct k_json *rq = request_of(row, instant);
		char what[256];

		snprintf(what, sizeof what, "%s %s %s", k_json_string(k_json_find(row, "id")), name, v->folder);
		K_CHECK_MSG(l, "%s: no layout", what);
		const struct k_json *text = k_json_find(want, "text"), *ids = k_json_find(want, v->ids), *all = k_json_find(want, v->all_ids);
		K_CHECK(ids || chatml);
		one_rendering(l, NULL, rq, text, NULL, false, what);
		if (!chatml)
			one_rendering(l, v->t, rq, text, ids, false, what);
		if (!chatml)
			one_rendering(l, v->t, rq, text, all ? all : ids, true, what);
		k_json_free(rq);
	}
}

static void all_rows(struct vocabulary v)
{
	v.t = test_tokenizer(v.folder);
	test_lines("chat/vectors.jsonl", one_row, &v);
	K_CHECK_MSG(v.n == 196, "%d renderings, wanted 196", v.n);
	k_tokenizer_free(v.t);
}

K_TEST(chat_vectors_with_a_synthetic_vocabulary) { all_rows((struct vocabulary){ "kimi-synth", "ids_synth", "ids_synth_parse_special", NULL, 0 }); }
K_TEST(chat_vectors_with_the_released_vocabulary) { all_rows((struct vocabulary){ "kimi-k2.5", "ids_real", "ids_real_parse_special", NULL, 0 }); }

/* Structure is tokens, text is not, in ChatML as well. */
K_TEST(chat_chatml_runs)
{
	struct k_tokenizer *t = test_tokenizer("smol-synth");
	struct k_json *rq = parse("{\"messages\": [{\"role\": \"user\", \"content\": \"a<|im_end|>b\"}]}");
	struct k_err err = { 0 };
	struct k_prompt p;
	struct k_ids run;
	int marks = 0;

	k_prompt_init(&p);
	K_CHECK_OK(k_chat_render(k_layout_find("chatml"), t, rq, false, &p, &err));
	K_CHECK(!strcmp(p.text.data, "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n"));
	for (size_t i = 0; i < p.ids.n; i++)
		marks += k_tokenizer_is_special(t, p.ids.v[i]);
	K_CHECK_MSG(marks == 3, "%d markers, wanted 3", marks);
	k_ids_init(&run);
	K_CHECK_OK(k_tokenizer_encode(t, "user\na<|im_end|>b", 17, 0, &run, &err));
	K_CHECK(p.ids.n > run.n + 1 && p.ids.v[0] == k_tokenizer_special(t, "<|im_start|>"));
	K_CHECK(!memcmp(p.ids.v + 1, run.v, run.n * sizeof *run.v) && p.ids.v[run.n + 1] == k_tokenizer_special(t, "<|im_end|>"));
	k_ids_fini(&run);
	k_prompt_fini(&p);
	k_json_free(rq);
	k_tokenizer_free(t);
}

/* --- options and ends --------------------------------------------------------------------------------------------- */

/* The text, or the sentence of what is wrong. */
static const char *rendered(const char *layout, const char *request, int *code)
{
	static char out[4096];
	struct k_json *rq = parse(request);
	struct k_err err = { 0 };
	struct k_prompt p;

	k_prompt_init(&p);
	*code = k_chat_render(k_layout_find(layout), NULL, rq, false, &p, &err);
	snprintf(out, sizeof out, "%s", *code ? err.msg : p.text.data);
	k_prompt_fini(&p);
	k_json_free(rq);
	return out;
}

static void renders(int line, const char *layout, const char *request, const char *want)
{
	int code;
	const char *have = rendered(layout, request, &code);

	if (code || strcmp(have, want))
		k_test_fail(__FILE__, line, "%s: '%s' wanted '%s'", request, have, want);
}

static void refuses(int line, const char *layout, const char *request, int want, const char *sentence)
{
	int code;
	const char *have = rendered(layout, request, &code);

	if (code != want || strncmp(have, sentence, strlen(sentence)))
		k_test_fail(__FILE__, line, "%s: %d '%s' wanted %d '%s'", request, code, have, want, sentence);
}

#define USER "{\"role\": \"user\", \"content\": \"q\"}"
#define SAID "{\"role\": \"assistant\", \"content\": \"Well\", \"reasoning_content\": \"hm\"}"
#define ASKED "<|im_user|>user<|im_middle|>q<|im_end|>"

/* A type that only begins with a known one has not been checked like it. */
K_TEST(chat_types_with_nul)
{
	static const char *const messages = "[{\"role\": \"user\", \"content\": [{\"type\": \"text\\u0000\", \"text\": [1, 2, 3]}]}]";
	char request[160];

	snprintf(request, sizeof request, "{\"messages\": %s}", messages);
	for (int i = 0; k_layout_at(i); i++)
		refuses(__LINE__, k_layout_at(i)->name, request, K_EUNSUP, "messages[0].content[0].type is 'text'");
}

K_TEST(chat_continues_the_last_message)
{
	static const char *const want = ASKED "<|im_assistant|>assistant<|im_middle|><think></think>Well";

	renders(__LINE__, "k25", "{\"messages\": [" USER "," SAID "], \"continue_final_message\": true, \"add_generation_prompt\": false}", want);
	renders(__LINE__, "k25", "{\"messages\": [" USER "," SAID "], \"continue_final_message\": true}", want);
	renders(__LINE__, "k25", "{\"messages\": [" USER ",{\"role\": \"assistant\", \"content\": \"Well\", \"partial\": true}]}", want);
	renders(__LINE__, "chatml", "{\"messages\": [" USER "," SAID "], \"continue_final_message\": true}", "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nWell");
	refuses(__LINE__, "k25", "{\"messages\": [" USER "," SAID "], \"continue_final_message\": true, \"add_generation_prompt\": true}", K_EUSAGE, "add_generation_prompt is");
	refuses(__LINE__, "k25", "{\"messages\": [" USER "], \"continue_final_message\": true}", K_EUSAGE, "continue_final_message is");
	refuses(__LINE__, "k25", "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\", \"partial\": true}, " USER "]}", K_EUSAGE, "messages[0].partial");
	refuses(__LINE__, "k25", "{\"messages\": [{\"role\": \"user\", \"content\": \"q\", \"partial\": true}]}", K_EUSAGE, "messages[0].partial is");
	renders(__LINE__, "k25", "{\"messages\": [{\"role\": \"user\", \"content\": \"q\", \"partial\": false}], \"add_generation_prompt\": false}", ASKED);
	refuses(__LINE__, "k25", "{\"messages\": [" USER "], \"continue_final_message\": 1}", K_EUSAGE, "continue_final_message is an integer, wanted");
}

K_TEST(chat_thinking_options)
{
	static const char *const on = ASKED "<|im_assistant|>assistant<|im_middle|><think>";
	static const char *const off = ASKED "<|im_assistant|>assistant<|im_middle|><think></think>";

	renders(__LINE__, "k25", "{\"messages\": [" USER "]}", on);
	renders(__LINE__, "k25", "{\"messages\": [" USER "], \"thinking\": {\"type\": \"disabled\"}}", off);
	renders(__LINE__, "k25", "{\"messages\": [" USER "], \"chat_template_kwargs\": {\"enable_thinking\": false}}", off);
	renders(__LINE__, "k25", "{\"messages\": [" USER "], \"thinking\": {\"type\": \"enabled\"}, \"chat_template_kwargs\": {\"thinking\": false}}", on);
	renders(__LINE__, "k25", "{\"messages\": [" USER "," SAID "," USER "], \"thinking\": {\"keep\": \"all\"}}",
		ASKED "<|im_assistant|>assistant<|im_middle|><think>hm</think>Well<|im_end|>" ASKED "<|im_assistant|>assistant<|im_middle|><think>");
	refuses(__LINE__, "k25", "{\"messages\": [" USER "], \"thinking\": {\"type\": \"some\"}}", K_EUSAGE, "thinking.type ");
	refuses(__LINE__, "k25", "{\"messages\": [" USER "], \"thinking\": true}", K_EUSAGE, "thinking is a boolean");
	refuses(__LINE__, "k25", "{\"messages\": [" USER "], \"chat_template_kwargs\": {\"thinking\": 1}}", K_EUSAGE, "chat_template_kwargs.thinking is");
}

K_TEST(chat_other_names_of_system)
{
	static const char *const want = "<|im_system|>system<|im_middle|>s<|im_end|>" ASKED "<|im_assistant|>assistant<|im_middle|>";

	renders(__LINE__, "k2_instruct", "{\"messages\": [{\"role\": \"developer\", \"content\": \"s\"}, " USER "]}", want);
	renders(__LINE__, "k2_instruct", "{\"messages\": [{\"role\": \"_input\", \"content\": \"s\"}, " USER "]}", want);
	renders(__LINE__, "kimi_linear", "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, " USER "]}", want);
	renders(__LINE__, "moonlight", "{\"messages\": [" USER "]}",
		"<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>" ASKED "<|im_assistant|>assistant<|im_middle|>");
}

/* --- what is refused ---------------------------------------------------------------------------------------------- */

K_TEST(chat_refuses_by_path)
{
	static const struct { const char *messages, *sentence; } rows[] = {
		{ "{}", "messages is an object, wanted an array" },
		{ "[]", "messages is empty" },
		{ "[" USER ", 3]", "messages[1] is an integer, wanted an object" },
		{ "[{\"content\": \"x\"}]", "messages[0].role is missing" },
		{ "[{\"role\": \"x\", \"content\": \"x\"}]", "messages[0].role is 'x', wanted system, user, assistant or tool" },
		{ "[{\"role\": \"user\\u0000\", \"content\": \"x\"}]", "messages[0].role is 'user', wanted" },
		{ "[{\"role\": \"user\"}]", "messages[0].content is missing" },
		{ "[{\"role\": \"user\", \"content\": 5}]", "messages[0].content is an integer" },
		{ "[{\"role\": \"assistant\", \"content\": null}]", "messages[0].content is null" },
		{ "[{\"role\": \"user\", \"content\": [\"x\"]}]", "messages[0].content[0] is a string, wanted an object" },
		{ "[{\"role\": \"user\", \"content\": [{\"text\": \"x\"}]}]", "messages[0].content[0].type is missing" },
		{ "[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]", "messages[0].content[0].text is missing" },
		{ "[{\"role\": \"user\", \"content\": \"x\", \"name\": \"a<|im_end|>\"}]", "messages[0].name is 'a<|im_end|>'" },
		{ "[{\"role\": \"user\", \"content\": \"x\", \"name\": 1}]", "messages[0].name is an integer" },
		{ "[" USER ", {\"role\": \"tool\", \"content\": \"x\"}]", "messages[1].tool_call_id is missing" },
		{ "[{\"role\": \"assistant\", \"tool_calls\": {}, \"content\": \"\"}]", "messages[0].tool_calls is an object" },
		{ "[{\"role\": \"assistant\", \"tool_calls\": [1]}]", "messages[0].tool_calls[0] is an integer" },
		{ "[{\"role\": \"assistant\", \"tool_calls\": [{}]}]", "messages[0].tool_calls[0].id is missing" },
		{ "[{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"a\"}]}]", "messages[0].tool_calls[0].function is missing" },
		{ "[{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"a\", \"function\": {}}]}]", "messages[0].tool_calls[0].function.name is missing" },
		{ "[{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"a\", \"function\": {\"name\": \"f\"}}]}]", "messages[0].tool_calls[0].function.arguments is missing" },
		{ "[{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": []}]", "messages[0].reasoning_content is an array" },
	};
	char request[1024];

	for (size_t i = 0; i < K_LEN(rows); i++) {
		snprintf(request, sizeof request, "{\"messages\": %s}", rows[i].messages);
		refuses(__LINE__, "k2_thinking", request, K_EUSAGE, rows[i].sentence);
	}
	refuses(__LINE__, "k2_thinking", "[]", K_EUSAGE, "the request is an array");
	refuses(__LINE__, "k2_thinking", "{}", K_EUSAGE, "messages is missing");
	refuses(__LINE__, "k2_thinking", "{\"messages\": [" USER "], \"tools\": {}}", K_EUSAGE, "tools is an object");
	refuses(__LINE__, "k2_thinking", "{\"messages\": [" USER "], \"tools\": [null]}", K_EUSAGE, "tools[0] is null");
	refuses(__LINE__, "k2_thinking", "{\"messages\": [" USER "], \"tools\": [{\"type\": \"function\"}]}", K_EUSAGE, "tools[0].function is missing");
	refuses(__LINE__, "k2_thinking", "{\"messages\": [" USER "], \"tools\": [{\"type\": \"function\", \"function\": {}}]}", K_EUSAGE, "tools[0].function.name is");
}

K_TEST(chat_refuses_what_a_layout_lacks)
{
	refuses(__LINE__, "smollm2", "{\"messages\": [" USER "], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]}", K_EUNSUP, "tools: ");
	refuses(__LINE__, "smollm2", "{\"messages\": [" USER ", {\"role\": \"tool\", \"tool_call_id\": \"a\", \"content\": \"x\"}]}", K_EUNSUP, "messages[1].role is 'tool'");
	refuses(__LINE__, "chatml", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {}}]}]}", K_EUNSUP,
		"messages[0].content[0].type is 'image_url'");
	refuses(__LINE__, "k2_instruct", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"input_audio\"}]}]}", K_EUNSUP,
		"messages[0].content[0].type is 'input_audio'");

	/* A tokenizer without the tokens of the layout. */
	struct k_tokenizer *t = test_tokenizer("kimi-synth");
	struct k_json *rq = parse("{\"messages\": [" USER "]}");
	struct k_err err = { 0 };
	struct k_prompt p;

	k_prompt_init(&p);
	K_CHECK(k_chat_render(k_layout_find("chatml"), t, rq, false, &p, &err) == K_EUNSUP && strstr(err.msg, "<|im_start|>"));
	k_prompt_fini(&p);
	k_json_free(rq);
	k_tokenizer_free(t);
}

/* --- tools as TypeScript ------------------------------------------------------------------------------------------ */

#define DECLARED "<|im_system|>tool_declare<|im_middle|>"

/* The body of the declaration of one function with these parameters. */
static void declares(int line, const char *parameters, const char *want)
{
	char request[2048], text[2048];
	int code;

	snprintf(request, sizeof request,
		"{\"messages\": [" USER "], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": %s}}]}", parameters);
	const char *have = rendered("k25", request, &code);
	if (want)
		snprintf(text, sizeof text, DECLARED "# Tools\n\n## functions\nnamespace functions {\n%s\n}\n<|im_end|>", want);
	else
		snprintf(text, sizeof text, DECLARED "[{");
	if (code || strncmp(have, text, strlen(text)))
		k_test_fail(__FILE__, line, "%s: '%s' wanted '%s'", parameters, have, text);
}

/* The worked example of the specification, tool by tool, and its rules. */
K_TEST(chat_typescript)
{
	declares(__LINE__, "{\"type\": \"object\", \"required\": [\"place\"], \"additionalProperties\": false, \"properties\": {"
		"\"place\": {\"type\": \"string\", \"description\": \"Restaurant name\", \"minLength\": 1},"
		"\"budget\": {\"anyOf\": [{\"type\": \"number\"}, {\"type\": \"null\"}]}, \"extra\": {\"type\": \"object\"},"
		"\"multi\": {\"type\": [\"string\", \"null\"]}, \"quiet\": {\"type\": \"boolean\", \"default\": true},"
		"\"seat\": {\"enum\": [\"in\", \"out\", null]}, \"size\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 20, \"default\": 2},"
		"\"tags\": {\"type\": \"array\", \"items\": {\"type\": \"string\", \"description\": \"one tag\"}}}}",
		"type f = (_: {\n  // Restaurant name\n  // minLength: 1\n  place: string,\n  budget?: number | null,\n  extra?: {},\n"
		"  multi?: string | null,\n  // Default: True\n  quiet?: boolean,\n  seat?: \"in\" | \"out\" | None,\n"
		"  // maximum: 20, minimum: 1\n  // Default: 2\n  size?: number,\n  tags?: Array<\n    // one tag\n    string\n  >,\n"
		"  [k: string]: never\n}) => any;");
	declares(__LINE__, "{}", "type f = (_: {}) => any;");
	declares(__LINE__, "{\"additionalProperties\": {\"type\": \"integer\"}}", "type f = (_: {\n  [k: string]: number\n}) => any;");
	declares(__LINE__, "{\"properties\": {\"a\": true, \"b\": false, \"c\": {}, \"d\": {\"type\": \"array\"}}}",
		"type f = (_: {\n  a?: any,\n  b?: null,\n  c?: any,\n  d?: Array<any>\n}) => any;");
	declares(__LINE__, "{\"properties\": {\"next\": {\"$ref\": \"#\"}, \"v\": {\"type\": \"string\"}}, \"required\": [\"v\"]}",
		"interface parameters {\n  next?: parameters,\n  v: string\n}\ntype f = (_: parameters) => any;");
	declares(__LINE__, "{\"$defs\": {\"A\": {\"type\": \"string\", \"description\": \"one\\n\\ntwo\"}}, \"properties\": {\"a\": {\"$ref\": \"#/$defs/A\"}}}",
		"// one\n\n// two\ninterface A string\ntype f = (_: {\n  a?: A\n}) => any;");
	declares(__LINE__, "{\"properties\": {\"a\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"properties\": {\"b\": {\"type\": \"string\"}}}}}}",
		"type f = (_: {\n  a?: Array<{\n    b?: string\n  }>\n}) => any;");
	declares(__LINE__, "{\"properties\": {\"a\": {\"default\": {\"y\": [1.0, \"\\u00e9\"]}, \"type\": \"object\"}}}",
		"type f = (_: {\n  // Default: {\"y\": [1.0, \"\xc3\xa9\"]}\n  a?: {}\n}) => any;");
}

/* What cannot be said is JSON. */
K_TEST(chat_typescript_falls_back)
{
	static const char *const rows[] = {
		"{\"properties\": {\"a\": {\"const\": 1}}}", "{\"properties\": {\"a\": {\"allOf\": []}}}", "{\"properties\": {\"a\": {\"$ref\": \"#/$defs/X\"}}}",
		"{\"properties\": {\"a\": {\"$ref\": \"http://x\"}}}", "{\"properties\": {\"a\": {\"$ref\": 1}}}", "{\"properties\": {\"a\": {\"enum\": [1], \"type\": \"string\"}}}",
		"{\"properties\": {\"a\": {\"enum\": [1], \"type\": [\"string\", \"integer\"]}}}", "{\"properties\": {\"a\": {\"type\": [\"x\"]}}}",
		"{\"properties\": {\"a\": {\"type\": 1}}}", "{\"properties\": []}", "{\"properties\": {\"a\": 1}}", "{\"additionalProperties\": 1}",
		"{\"properties\": {\"a\": {\"type\": \"string\", \"description\": 1}}}", "{\"$defs\": {\"A\": true}}",
	};

	for (size_t i = 0; i < K_LEN(rows); i++)
		declares(__LINE__, rows[i], NULL);
}

/* --- ids of calls ------------------------------------------------------------------------------------------------- */

/* calls: "id name,id name"; answers: "id,id"; both as they are and as they should be. Turns are separated by '/'. */
static struct k_json *history(const char *turns)
{
	struct k_json *rq = k_json_object(), *messages = k_json_array();
	char copy[512], *turn, *next = copy;

	snprintf(copy, sizeof copy, "%s", turns);
	while ((turn = strsep(&next, "/"))) {
		char *answers = turn, *calls = strsep(&answers, "|"), *one;
		struct k_json *list = k_json_array();

		while ((one = strsep(&calls, ","))) {
			char *name = one, *id = strsep(&name, " "), text[256];

			snprintf(text, sizeof text, "{\"id\": \"%s\", \"function\": {\"name\": \"%s\", \"arguments\": \"{}\"}}", id, name);
			K_CHECK(!k_json_push(list, parse(text)));
		}
		K_CHECK(!k_json_push(messages, parse("{\"role\": \"assistant\"}")));
		K_CHECK(!k_json_set(k_json_at(messages, k_json_len(messages) - 1), "tool_calls", list));
		while ((one = strsep(&answers, ","))) {
			char text[256];

			snprintf(text, sizeof text, "{\"role\": \"tool\", \"tool_call_id\": \"%s\", \"content\": \"\"}", one);
			K_CHECK(!k_json_push(messages, parse(text)));
		}
	}
	K_CHECK(!k_json_set(rq, "messages", messages));
	return rq;
}

static void becomes(int line, const char *before, const char *after)
{
	struct k_json *a = history(before), *b = history(after);
	struct k_buf text;
	struct k_err err = { 0 };

	K_CHECK_OK(k_chat_normalise_ids(a, &err));
	k_buf_init(&text, 0);
	k_json_dump(&text, a, 0);
	if (!k_json_equal(a, b))
		k_test_fail(__FILE__, line, "%s became %s", before, text.data);
	k_buf_fini(&text);
	k_json_free(a);
	k_json_free(b);
}

K_TEST(chat_ids_become_canonical)
{
	becomes(__LINE__, "functions.f:0 f|functions.f:0", "functions.f:0 f|functions.f:0");
	becomes(__LINE__, "call_1 f,call_2 g|call_2,call_1", "functions.f:0 f,functions.g:1 g|functions.g:1,functions.f:0");
	/* An id with the wrong name is no better than a foreign one. */
	becomes(__LINE__, "functions.f:0 g|functions.f:0", "functions.g:0 g|functions.g:0");
	becomes(__LINE__, "functions.f:7 f|functions.f:7/x g|x", "functions.f:7 f|functions.f:7/functions.g:8 g|functions.g:8");
	/* An id that was told to Anthropic's clients brings its number back; theirs have none. */
	becomes(__LINE__, "toolu_abc00_7 f|toolu_abc00_7/toolu_01AbCd g|toolu_01AbCd",
		"functions.f:7 f|functions.f:7/functions.g:8 g|functions.g:8");
	becomes(__LINE__, "toolu_ f,toolu_a_ f,toolu_a_7x f|toolu_,toolu_a_,toolu_a_7x",
		"functions.f:0 f,functions.f:1 f,functions.f:2 f|functions.f:0,functions.f:1,functions.f:2");
	/* Models count from 0 in each turn. */
	becomes(__LINE__, "functions.f:0 f|functions.f:0/functions.f:0 f|functions.f:0", "functions.f:0 f|functions.f:0/functions.f:1 f|functions.f:1");
	/* What a client made of our id, and the one call that is open. */
	becomes(__LINE__, "functions_f_0 f|functions_f_0", "functions.f:0 f|functions.f:0");
	becomes(__LINE__, "a f|b", "functions.f:0 f|functions.f:0");
	becomes(__LINE__, "a f,b f|a,c", "functions.f:0 f,functions.f:1 f|functions.f:0,functions.f:1");
	/* One id for all calls: in their order. */
	becomes(__LINE__, "a f,a g|a,a/a h|a", "functions.f:0 f,functions.g:1 g|functions.f:0,functions.g:1/functions.h:2 h|functions.h:2");
	/* Names with dots and hyphens; a synthetic id that is taken later. */
	becomes(__LINE__, "x a.b-c|x/functions.a.b-c:0 a.b-c|functions.a.b-c:0",
		"functions.a.b-c:0 a.b-c|functions.a.b-c:0/functions.a.b-c:1 a.b-c|functions.a.b-c:1");
	becomes(__LINE__, "functions.f:99999999999999999999 f,x f|x",
		"functions.f:99999999999999999999 f,functions.f:2147483648 f|functions.f:2147483648");
}

K_TEST(chat_ids_that_match_nothing)
{
	struct k_json *rq = history("a f,b g|c");
	struct k_err err = { 0 };

	K_CHECK(k_chat_normalise_ids(rq, &err) == K_EUSAGE && strstr(err.msg, "messages[1].tool_call_id 'c'"));
	k_json_free(rq);
	rq = parse("{\"messages\": [{\"role\": \"tool\", \"tool_call_id\": \"a\", \"content\": \"\"}]}");
	K_CHECK(k_chat_normalise_ids(rq, &err) == K_EUSAGE);
	k_json_free(rq);
	rq = parse("{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"a\"}]}]}");
	K_CHECK(k_chat_normalise_ids(rq, &err) == K_EUSAGE && strstr(err.msg, "messages[0].tool_calls[0].function.name is missing"));
	k_json_free(rq);
	rq = parse("{\"messages\": 5}");
	K_CHECK_OK(k_chat_normalise_ids(rq, &err));
	k_json_free(rq);
}

/* --- layouts ------------------------------------------------------------------------------------------------------ */

static const char *matched(const char *file, const char *text, size_t len)
{
	struct k_files files;
	struct k_err err = { 0 };

	k_files_init(&files, "x");
	test_add_file(&files, file, text, len);
	const struct k_layout *l = k_layout_match(&files, &err);
	k_files_fini(&files);
	return l ? l->name : err.code ? "error" : "none";
}

K_TEST(chat_layouts_by_template)
{
	static const struct { const char *text, *name; } rows[] = {
		{ "x <|im_middle|> render_content kimi_k25_video_placeholder reasoning_content", "k25" },
		{ "<|im_middle|> render_content reasoning_content tools", "k2_thinking" },
		{ "<|im_middle|> render_content tools", "k2_instruct" },
		{ "<|im_system|> <|im_middle|>", "moonlight" },
		{ "<|im_middle|> tool_calls", "none" },
		{ "<|im_start|> SmolLM", "smollm2" },
		{ "<|im_start|>", "chatml" },
		{ "[INST]", "none" },
		{ "\n", "none" },
	};
	static const char config[] = "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"<|im_middle|>\"}, {\"name\": \"default\", \"template\": \"<|im_start|>\"}]}";
	size_t len;

	for (size_t i = 0; i < K_LEN(rows); i++) {
		const char *name = matched("chat_template.jinja", rows[i].text, strlen(rows[i].text));

		K_CHECK_MSG(!strcmp(name, rows[i].name), "'%s' is %s, wanted %s", rows[i].text, name, rows[i].name);
	}
	K_CHECK(!strcmp(matched("tokenizer_config.json", "{\"chat_template\": \"<|im_start|>\"}", 33), "chatml"));
	K_CHECK(!strcmp(matched("tokenizer_config.json", config, sizeof config - 1), "chatml"));
	K_CHECK(!strcmp(matched("tokenizer_config.json", "{}", 2), "none") && !strcmp(matched("config.json", "{}", 2), "none"));
	K_CHECK(!strcmp(matched("tokenizer_config.json", "{", 1), "error"));
	char *nano = test_read(k_test_data("nano/chat_template.jinja"), &len);
	K_CHECK(!strcmp(matched("chat_template.jinja", nano, len), "k2_instruct"));
	k_free(nano);
}

K_TEST(chat_layouts_by_name)
{
	static const char *const names[] = { "k2_instruct", "k2_thinking", "k25", "kimi_linear", "smollm2", "chatml" };

	for (size_t i = 0; i < K_LEN(names); i++)
		K_CHECK_MSG(k_layout_find(names[i]) && !strcmp(k_layout_find(names[i])->name, names[i]), "%s", names[i]);
	K_CHECK(!k_layout_find("x") && !k_layout_at(-1) && k_layout_at(0));
	for (int i = 0; k_layout_at(i); i++)
		K_CHECK(k_layout_at(i)->about && k_layout_at(i)->match && k_layout_at(i)->render && k_layout_find(k_layout_at(i)->name) == k_layout_at(i));
}

K_TEST(chat_stops_of_all_files)
{
	static const char generation[] = "{\"eos_token_id\": [2306, 5, 99999999, -1]}", config[] = "{\"eos_token_id\": 7, \"text_config\": {\"eos_token_id\": 8}}";
	struct k_tokenizer *t = test_tokenizer("kimi-synth");
	struct k_files files;
	struct k_err err = { 0 };
	struct k_ids ids;
	static const char *const own[] = { "<|im_end|>", "[EOS]", "[EOT]", "<|im_middle|>" };

	k_files_init(&files, "x");
	test_add_file(&files, "generation_config.json", generation, sizeof generation - 1);
	test_add_file(&files, "config.json", config, sizeof config - 1);
	k_ids_init(&ids);
	K_CHECK_OK(k_chat_stops(t, &files, &ids, &err));
	K_CHECK_MSG(ids.n == 7 && ids.v[0] == 2306 && ids.v[1] == 5 && ids.v[2] == 7 && ids.v[3] == 8, "%zu ids", ids.n);
	for (size_t i = 0; i < K_LEN(own); i++) {
		int n = 0;

		for (size_t k = 0; k < ids.n; k++)
			n += ids.v[k] == k_tokenizer_special(t, own[i]);
		K_CHECK_MSG(n == 1, "%s is there %d times", own[i], n);
	}
	k_ids_fini(&ids);
	k_files_fini(&files);

	k_files_init(&files, "x");
	test_add_file(&files, "config.json", "{\"eos_token_id\": \"a\"}", 21);
	K_CHECK(k_chat_stops(t, &files, &ids, &err) == K_EFORMAT && strstr(err.msg, "config.json"));
	k_files_fini(&files);
	k_tokenizer_free(t);
}

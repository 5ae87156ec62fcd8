/* chat_parse_test.c: every transition of the output parser, each output in the tokens of the tokenizer and once more in single
 * bytes. What came out is written down as R[reasoning] C[content] T[index id name] A[index arguments], deltas of one kind joined.
 * The conversations of testdata/chat, which others rendered, are parsed back. */
#include "libcore/base.h"
#include "libcore/chat.h"
#include "libcore/test/parsed.h"
#include "libcore/test/vectors.h"

#define SB "<|tool_calls_section_begin|>"
#define SE "<|tool_calls_section_end|>"
#define CB "<|tool_call_begin|>"
#define AB "<|tool_call_argument_begin|>"
#define CE "<|tool_call_end|>"

static const struct k_layout plain = { .name = "plain", .start = K_PARSE_CONTENT };
static const struct k_layout instruct = { .name = "instruct", .start = K_PARSE_CONTENT, .tools = true };
static const struct k_layout thinking = { .name = "thinking", .start = K_PARSE_START, .thinking = true, .tools = true };
static const struct k_layout inside = { .name = "inside", .start = K_PARSE_REASON, .thinking = true, .tools = true };

/* single: each byte between two specials is a token of its own. */
static void encode(const struct k_tokenizer *t, const char *text, bool single, struct k_ids *out)
{
	struct k_err err = { 0 };
	struct k_ids whole;

	k_ids_init(&whole);
	K_CHECK_OK(k_tokenizer_encode(t, text, strlen(text), K_ENC_SPECIALS, &whole, &err));
	for (size_t i = 0; i < whole.n; i++) {
		size_t len;
		const char *bytes = k_tokenizer_bytes(t, whole.v[i], &len);

		if (!single || k_tokenizer_is_special(t, whole.v[i])) {
			K_CHECK_OK(k_ids_put(out, whole.v[i], &err));
			continue;
		}
		for (size_t j = 0; j < len; j++) {
			int32_t id = 0;
			size_t one;

			/* Ids of bytes are in the order of the vocabulary, not of the bytes. */
			for (const char *b; (b = k_tokenizer_bytes(t, id, &one)) && !(one == 1 && b[0] == bytes[j]); )
				id++;
			K_CHECK_OK(k_ids_put(out, id, &err));
		}
	}
	k_ids_fini(&whole);
}

static void expect_at(int line, const struct setting *s, const char *output, const char *want)
{
	for (int single = 0; single < 2; single++) {
		struct k_ids ids;

		k_ids_init(&ids);
		encode(s->t, output, single, &ids);
		char *got = parse_ids(s, ids.v, ids.n);
		if (strcmp(got, want) != 0)
			k_test_fail(__FILE__, line, "'%s'%s gave '%s', wanted '%s'", output, single ? " in bytes" : "", got, want);
		k_free(got);
		k_ids_fini(&ids);
	}
}
#define expect(s, output, want) expect_at(__LINE__, s, output, want)

static struct setting setting(const struct k_layout *l, const char *tools)
{
	struct setting s = { .layout = l, .t = test_tokenizer("kimi-synth"), .o = { .generation_prompt = true, .thinking = l->thinking } };
	struct k_err err = { 0 };

	if (tools)
		K_CHECK_OK(k_json_parse(&s.tools, tools, strlen(tools), 0, "tools", &err));
	return s;
}

static void done(struct setting *s)
{
	k_json_free(s->tools);
	k_json_free(s->history);
	k_tokenizer_free((struct k_tokenizer *)s->t);
}

#define TOOL(name, required, properties) \
	"{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"parameters\":{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties "}}}}"
static const char three[] = "[" TOOL("bash", "\"cmd\"", "\"cmd\":{}") "," TOOL("web_search", "\"q\"", "\"q\":{},\"n\":{}") ","
	TOOL("read.file", "\"path\"", "\"path\":{},\"n\":{}") "]";
static const char one[] = "[" TOOL("now", "", "\"zone\":{}") "]";

/* --- tests -------------------------------------------------------------------------------------------------------- */

K_TEST(chat_parse_plain_text_is_content)
{
	struct setting s = setting(&plain, NULL);

	expect(&s, "Hello world", "C[Hello world]");
	expect(&s, "\n\n Hello \n", "C[\n\n Hello \n]");
	expect(&s, " \n", "C[ \n]");
	expect(&s, "", "");
	expect(&s, "<b>&amp;</b> | < |>", "C[<b>&amp;</b> | < |>]");
	/* A layout without tools and without reasoning has no markers; control tokens are never shown. */
	expect(&s, "a<think>b</think>" SB "c", "C[a<think>b</think>" SB "c]");
	expect(&s, "a<|im_user|>b", "C[ab]");
	done(&s);
}

K_TEST(chat_parse_gives_whole_characters)
{
	struct setting s = setting(&inside, one);
	static const int32_t none[] = { -1, 1 << 30, INT32_MIN };
	char *got;

	expect(&s, "\xf0\x9f\x99\x82\xe4\xbd\xa0</think>\xc3\x85\xf0\x9f\x99\x82" SB CB "functions.now:0" AB "{\"zone\":\"\xc3\x85\xf0\x9f\x99\x82\"}" CE SE,
		"R[\xf0\x9f\x99\x82\xe4\xbd\xa0]C[\xc3\x85\xf0\x9f\x99\x82]T[0 functions.now:0 now]A[0 {\"zone\":\"\xc3\x85\xf0\x9f\x99\x82\"}]");
	/* A character that a marker or the end cuts off is one U+FFFD, in the part where it began. */
	struct k_ids ids;
	struct k_err err = { 0 };
	k_ids_init(&ids);
	encode(s.t, "a\xe4\xbd\xa0", true, &ids);
	ids.n--;
	K_CHECK_OK(k_ids_put(&ids, k_tokenizer_special(s.t, "</think>"), &err));
	encode(s.t, "b\xf0\x9f\x99\x82", true, &ids);
	ids.n -= 2;
	got = parse_ids(&s, ids.v, ids.n);
	K_CHECK_MSG(!strcmp(got, "R[a\xef\xbf\xbd]C[b\xef\xbf\xbd]"), "%s", got);
	k_free(got);
	k_ids_fini(&ids);
	got = parse_ids(&s, none, K_LEN(none));
	K_CHECK(!strcmp(got, ""));
	k_free(got);
	done(&s);
}

K_TEST(chat_parse_reasoning)
{
	struct setting s = setting(&inside, one);

	expect(&s, "Let me see.</think>It rains.", "R[Let me see.]C[It rains.]");
	expect(&s, " a\n</think>\n\nb", "R[ a\n]C[\n\nb]");
	expect(&s, "a<think>b", "R[ab]");
	expect(&s, "a</think>b</think>c", "R[a]C[bc]");
	expect(&s, "a</think>b<think>c</think>d", "R[a]C[b]R[c]C[d]");
	expect(&s, "a" SE AB CE "b", "R[ab]");
	/* Calls end reasoning that was not ended. */
	expect(&s, "a" SB CB "functions.now:0" AB "{}" CE SE, "R[a]T[0 functions.now:0 now]A[0 {}]");
	expect(&s, "a" CB "functions.now:0" AB "{}" CE, "R[a]T[0 functions.now:0 now]A[0 {}]");
	s.o.thinking = false;
	expect(&s, "a", "C[a]");
	s.o = (struct k_chat_options){ .continue_final = true, .thinking = true };
	expect(&s, "a", "C[a]");
	done(&s);
}

/* The model counts from 0 in every turn; what the history has is not given again. */
K_TEST(chat_parse_ids_of_the_history)
{
	static const char messages[] = "[{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"functions.now:0\"}, {\"id\": \"functions.now:2\"}, {}, 1]}, 2,"
		"{\"tool_calls\": 3}]";
	struct setting s = setting(&instruct, one);
	struct k_err err = { 0 };

	K_CHECK_OK(k_json_parse(&s.history, messages, strlen(messages), 0, "messages", &err));
	s.n_used = 2;
	expect(&s, SB CB "functions.now:0" AB "{}" CE CB "functions.now:1" AB "{}" CE SE,
		"T[0 functions.now:3 now]A[0 {}]T[1 functions.now:1 now]A[1 {}]");
	done(&s);
}

K_TEST(chat_parse_reasoning_that_the_model_opens)
{
	struct setting s = setting(&thinking, one);

	expect(&s, "<think>a</think>b", "R[a]C[b]");
	expect(&s, " \n<think>a</think>b", "R[a]C[b]");
	expect(&s, "\na", "C[\na]");
	expect(&s, "a<think>b</think>", "C[a]R[b]");
	expect(&s, "</think>a", "C[a]");
	expect(&s, "\n" SB CB "functions.now:0" AB "{}" CE SE, "T[0 functions.now:0 now]A[0 {}]");
	expect(&s, SE "<think>a", "R[a]");
	done(&s);
}

K_TEST(chat_parse_calls)
{
	struct setting s = setting(&instruct, three);
	static const char b0[] = CB "functions.bash:0" AB "{\"cmd\": \"ls\"}" CE, w1[] = CB "functions.web_search:1" AB "{\"q\":\"x\"}" CE;
	char text[512];

	snprintf(text, sizeof text, "%s%s%s", SB, b0, SE);
	expect(&s, text, "T[0 functions.bash:0 bash]A[0 {\"cmd\": \"ls\"}]");
	snprintf(text, sizeof text, "Two.%s%s%s%s\n", SB, b0, w1, SE);
	expect(&s, text, "C[Two.]T[0 functions.bash:0 bash]A[0 {\"cmd\": \"ls\"}]T[1 functions.web_search:1 web_search]A[1 {\"q\":\"x\"}]");
	snprintf(text, sizeof text, "\n\n%s\n%s\n%s\n%s", SB, b0, w1, SE);
	expect(&s, text, "T[0 functions.bash:0 bash]A[0 {\"cmd\": \"ls\"}]T[1 functions.web_search:1 web_search]A[1 {\"q\":\"x\"}]");
	snprintf(text, sizeof text, "%s%s%s Done.%s%s%s", SB, b0, SE, SB, w1, SE);
	expect(&s, text, "T[0 functions.bash:0 bash]A[0 {\"cmd\": \"ls\"}]C[ Done.]T[1 functions.web_search:1 web_search]A[1 {\"q\":\"x\"}]");
	expect(&s, SB SE "a", "C[a]");
	done(&s);
}

K_TEST(chat_parse_arguments_are_the_models_own)
{
	struct setting s = setting(&inside, one);
	struct k_buf out, want;

	s.o.thinking = false;
	expect(&s, CB "functions.now:0" AB CE, "T[0 functions.now:0 now]A[0 {}]");
	expect(&s, CB "functions.now:0" AB " \n" CE, "T[0 functions.now:0 now]A[0 {}]");
	expect(&s, CB "functions.now:0\n" AB "\n { \"a\" :\n 1 }\n" CE, "T[0 functions.now:0 now]A[0 { \"a\" :\n 1 }]");
	expect(&s, CB "functions.now:0" AB "{broken" CE "\n", "T[0 functions.now:0 now]A[0 {broken]");
	expect(&s, CB "functions.now:0" AB "[1]" CE, "T[0 functions.now:0 now]A[0 [1]]");
	expect(&s, CB "functions.now:0" AB "{\"a\":\"<|tool_ca\",\"b\":\"<think>x</think>\"}" CE,
		"T[0 functions.now:0 now]A[0 {\"a\":\"<|tool_ca\",\"b\":\"<think>x</think>\"}]");
	/* No size is too large. */
	k_buf_init(&out, 0);
	k_buf_init(&want, 0);
	k_buf_puts(&out, CB "functions.now:0" AB "{\"zone\":\"");
	k_buf_puts(&want, "T[0 functions.now:0 now]A[0 {\"zone\":\"");
	for (int i = 0; i < 4000; i++) {
		k_buf_puts(&out, "0123 {}\n");
		k_buf_puts(&want, "0123 {}\n");
	}
	k_buf_puts(&out, "\"}" CE SE);
	k_buf_puts(&want, "\"}]");
	expect(&s, out.data, want.data);
	k_buf_fini(&out);
	k_buf_fini(&want);
	done(&s);
}

K_TEST(chat_parse_markers_that_were_left_out)
{
	struct setting s = setting(&instruct, one);
	static const char call[] = "T[0 functions.now:0 now]A[0 {}]";

	expect(&s, CB "functions.now:0" AB "{}" CE SE, call);
	expect(&s, SB CB "functions.now:0" AB "{}" CE, call);
	expect(&s, SB CB "functions.now:0" AB "{}" SE, call);
	expect(&s, SB CB "functions.now:0" AB "{}", call);
	expect(&s, SB "functions.now:0" AB "{}" CE SE, call);
	expect(&s, SB CB "functions.now:0 {}" CE SE, call);
	expect(&s, SB CB "functions.now:0 {\"a\": {}}" AB CE SE, "T[0 functions.now:0 now]A[0 {\"a\": {}}]");
	expect(&s, SB CB "functions.now:0" AB "{}" CB "functions.now:1" AB "{}" CE SE, "T[0 functions.now:0 now]A[0 {}]T[1 functions.now:1 now]A[1 {}]");
	expect(&s, SB CB CB "functions.now:0" AB "{}" AB CE CE SE SE, call);
	expect(&s, SB SB CB "functions.now:0" AB "{}" SB CB "functions.now:1" AB "{}" CE SE,
		"T[0 functions.now:0 now]A[0 {}]T[1 functions.now:1 now]A[1 {}]");
	expect(&s, SE CE AB "a" CE, "C[a]");
	done(&s);
}

K_TEST(chat_parse_what_is_no_call_is_content)
{
	struct setting s = setting(&instruct, three);
	char text[1200], want[1200];

	expect(&s, SB "I will not.", "C[I will not.]");
	expect(&s, "a" SB CB "functions.ba", "C[a]");
	expect(&s, SB CB "func", "");
	expect(&s, SB CB "funny", "C[funny]");
	expect(&s, SB CB "functions.bash:0" CE SE, "C[functions.bash:0]");
	expect(&s, SB CB "not a call" SE "x", "C[not a callx]");
	expect(&s, SB CB "first" CB "functions.bash:0" AB "{}" CE SE, "C[first]T[0 functions.bash:0 bash]A[0 {}]");
	expect(&s, SB CB "?!" AB "{\"zzz\":1}" CE SE "b", "C[?!{\"zzz\":1}b]");
	expect(&s, SB CB AB CE SE, "");
	memset(text, 0, sizeof text);
	memset(want, 0, sizeof want);
	strcpy(text, CB);
	memset(text + strlen(CB), 'x', 600);
	strcat(text, " y" AB "{}" CE);
	strcpy(want, "C[");
	memset(want + 2, 'x', 600);
	strcat(want, " y{}]");
	expect(&s, text, want);
	done(&s);
}

K_TEST(chat_parse_headers)
{
	static const struct { const char *tools, *header, *want; } cases[] = {
		{ three, "functions.bash:0", "0 functions.bash:0 bash" },
		{ three, " functions.bash\n:12\n", "0 functions.bash:12 bash" },
		{ three, "functions.read.file:3", "0 functions.read.file:3 read.file" },
		{ three, "bash:3", "0 functions.bash:5 bash" },
		{ three, "bash", "0 functions.bash:5 bash" },
		{ three, "functions.bash30", "0 functions.bash:5 bash" },
		{ three, "functions.bash", "0 functions.bash:5 bash" },
		{ three, "functions_web_search_0", "0 functions.web_search:5 web_search" },
		{ three, "functions_web_search_0:3", "0 functions.web_search:5 web_search" },
		{ three, "functions(read.file):2.0", "0 functions.read.file:5 read.file" },
		{ three, "functions.web-search:0", "0 functions.web_search:5 web_search" },
		{ three, "functions.web-search_0", "0 functions.web_search:5 web_search" },
		/* Not declared: the agent is told. */
		{ three, "functions.bash2:0", "0 functions.bash2:5 bash2" },
		{ three, "functions.unknown-tool.x:7", "0 functions.unknown-tool.x:5 unknown-tool.x" },
		{ three, "unknown", "0 functions.unknown:5 unknown" },
		{ one, "0", "0 functions.now:5 now" },
		{ one, "call7", "0 functions.now:5 now" },
		{ one, "call_4f1c22aa-b0", "0 functions.now:5 now" },
		{ one, "call_me_maybe", "0 functions.call_me_maybe:5 call_me_maybe" },
		/* Without declarations names are taken as they come. */
		{ NULL, "functions.a-b.c_d:9", "0 functions.a-b.c_d:9 a-b.c_d" },
		{ NULL, "functions.f", "0 functions.f:5 f" },
		{ "[]", "f:2", "0 functions.f:5 f" },
	};

	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct setting s = setting(&instruct, cases[i].tools);
		char text[256], want[256];

		s.n_used = 5;
		snprintf(text, sizeof text, "%s%s%s%s{\"a\":1}%s%s", SB, CB, cases[i].header, AB, CE, SE);
		snprintf(want, sizeof want, "T[%s]A[0 {\"a\":1}]", cases[i].want);
		expect(&s, text, want);
		done(&s);
	}
}

K_TEST(chat_parse_headers_that_only_count)
{
	struct setting s = setting(&instruct, three);

	expect(&s, SB CB "0" AB "{\"cmd\": \"ls\"}\n" CE SE, "T[0 functions.bash:0 bash]A[0 {\"cmd\": \"ls\"}]");
	expect(&s, SB CB "0" AB "\n{\"q\" :\n 1}" CE CB "1" AB "{\"path\":\"a\",\"n\":2}" CE SE,
		"T[0 functions.web_search:0 web_search]A[0 {\"q\" :\n 1}]T[1 functions.read.file:1 read.file]A[1 {\"path\":\"a\",\"n\":2}]");
	/* No tool, more than one, not JSON: a name where there is one, else content. */
	expect(&s, SB CB "call_4f1c22aa" AB "{\"n\":1}" CE SE, "T[0 functions.call_4f1c22aa:0 call_4f1c22aa]A[0 {\"n\":1}]");
	expect(&s, SB CB "3" AB "{\"n\":1}" CE SE, "C[3{\"n\":1}]");
	expect(&s, SB CB "3" AB "{\"cmd\"", "C[3{\"cmd\"]");
	done(&s);
	s = setting(&instruct, "[" TOOL("f", "\"a\"", "\"a\":{}") "," TOOL("g", "", "") "]");
	expect(&s, SB CB "0" AB CE SE, "T[0 functions.g:0 g]A[0 {}]");
	done(&s);
}

K_TEST(chat_parse_ids_are_unique)
{
	struct setting s = setting(&instruct, one);

	expect(&s, SB CB "functions.now:0" AB "{}" CE CB "functions.now:0" AB "{}" CE CB "functions.now:1" AB "{}" CE SE,
		"T[0 functions.now:0 now]A[0 {}]T[1 functions.now:1 now]A[1 {}]T[2 functions.now:2 now]A[2 {}]");
	s.n_used = 3;
	expect(&s, SB CB "now" AB "{}" CE CB "functions.now:3" AB "{}" CE CB "functions.now:9" AB "{}" CE SE,
		"T[0 functions.now:3 now]A[0 {}]T[1 functions.now:4 now]A[1 {}]T[2 functions.now:9 now]A[2 {}]");
	done(&s);
}

/* Cut off after every token: what came so far is a beginning, and no marker is ever seen. */
K_TEST(chat_parse_cut_anywhere)
{
	static const char output[] = "Why.</think>So:" SB CB "functions.now:0" AB "{\"zone\": \"a b\"}" CE CB "functions.now:1 " AB "{}" CE SE "ok";
	struct setting s = setting(&inside, one);
	struct k_ids ids;

	k_ids_init(&ids);
	encode(s.t, output, true, &ids);
	for (size_t n = 0; n <= ids.n; n++) {
		char *got = parse_ids(&s, ids.v, n);

		K_CHECK_MSG(!strstr(got, "<|") && !strstr(got, "think>"), "%zu tokens: %s", n, got);
		K_CHECK_MSG(n < ids.n || !strcmp(got, "R[Why.]C[So:]T[0 functions.now:0 now]A[0 {\"zone\": \"a b\"}]T[1 functions.now:1 now]A[1 {}]C[ok]"), "%s", got);
		k_free(got);
	}
	k_ids_fini(&ids);
	done(&s);
}

/* Any sequence of tokens is taken, and nothing of it is shown that is a marker. */
K_TEST(chat_parse_noise)
{
	static const char *const bits[] = { SB, SE, CB, AB, CE, "<think>", "</think>", "functions.now:0", " ", "\n", "{", "}", "a", "7", "\xc3\x85", "\"", "<|im_end|>" };
	struct setting s = setting(&thinking, one);
	struct k_ids pieces[K_LEN(bits)];
	uint32_t random = 1;

	for (size_t i = 0; i < K_LEN(bits); i++) {
		k_ids_init(&pieces[i]);
		encode(s.t, bits[i], true, &pieces[i]);
	}
	for (int round = 0; round < 3000; round++) {
		struct k_ids ids;
		struct k_err err = { 0 };

		k_ids_init(&ids);
		for (int i = 0; i < 24; i++) {
			random = random * 1664525 + 1013904223;
			const struct k_ids *x = &pieces[(random >> 16) % K_LEN(bits)];
			for (size_t j = 0; j < x->n; j++)
				K_CHECK_OK(k_ids_put(&ids, x->v[j], &err));
		}
		char *got = parse_ids(&s, ids.v, ids.n);
		K_CHECK_MSG(!strstr(got, "<|"), "%s", got);
		k_free(got);
		k_ids_fini(&ids);
	}
	for (size_t i = 0; i < K_LEN(bits); i++)
		k_ids_fini(&pieces[i]);
	done(&s);
}

static int refuse(void *arg, const struct k_event *ev) { (void)ev; return ++*(int *)arg == 2; }

K_TEST(chat_parse_stops_when_told)
{
	struct setting s = setting(&instruct, one);
	struct k_parser *p;
	struct k_err err = { 0 };
	struct k_ids ids;
	int n = 0;

	k_ids_init(&ids);
	encode(s.t, "abcd", true, &ids);
	K_CHECK_OK(k_parser_new(&p, s.layout, s.t, s.tools, 0, &s.o, refuse, &n, &err));
	K_CHECK_OK(k_parser_put(p, ids.v[0], &err));
	K_CHECK(k_parser_state(p) == K_PARSE_CONTENT && k_parser_calls(p) == 0);
	K_CHECK(k_parser_put(p, ids.v[1], &err) == K_ECANCEL);
	K_CHECK(k_parser_put(p, ids.v[2], &err) == K_ECANCEL);
	K_CHECK(k_parser_end(p, &err) == K_ECANCEL && n == 2);
	k_parser_free(p);
	k_ids_fini(&ids);
	done(&s);
}

static int ignore(void *arg, const struct k_event *ev) { (void)arg; (void)ev; return 0; }

K_TEST(chat_parse_counts_what_it_repairs)
{
	static const struct { const char *text; uint64_t want[K_REPAIRS]; } cases[] = {
		{ "a" SB CB "functions.bash:0" AB "{\"cmd\": \"ls\"}" CE SE, { 0 } },
		{ SB CB "bash" AB "{\"cmd\": \"ls\"}" CE SE, { [K_REPAIR_ID] = 1 } },
		{ SB CB "functions.bash:0" AB CE CB "functions.bash:0" AB "{\"cmd\": 1}" CE SE, { [K_REPAIR_ID] = 1, [K_REPAIR_ARGS] = 1 } },
		{ SB CB "7" AB "{\"cmd\": \"ls\"}" CE SE, { [K_REPAIR_ID] = 1, [K_REPAIR_NAME] = 1 } },
		{ SB "what?" SE, { [K_REPAIR_TEXT] = 1 } },
	};
	struct setting s = setting(&instruct, three);
	for (size_t c = 0; c < K_LEN(cases); c++) {
		struct k_parser *p;
		struct k_err err = { 0 };
		struct k_ids ids;

		k_ids_init(&ids);
		encode(s.t, cases[c].text, false, &ids);
		K_CHECK_OK(k_parser_new(&p, s.layout, s.t, s.tools, 0, &s.o, ignore, NULL, &err));
		for (size_t i = 0; i < ids.n; i++)
			K_CHECK_OK(k_parser_put(p, ids.v[i], &err));
		K_CHECK_OK(k_parser_end(p, &err));
		for (int k = 0; k < K_REPAIRS; k++)
			K_CHECK_MSG(k_parser_repairs(p)[k] == cases[c].want[k], "%s: %d is %lu", cases[c].text, k, (unsigned long)k_parser_repairs(p)[k]);
		k_parser_free(p);
		k_ids_fini(&ids);
	}
	done(&s);
}

/* --- rendered by others, parsed back ------------------------------------------------------------------------------ */

static bool is_canonical(const char *id, const char *name)
{
	char want[256];
	int n = snprintf(want, sizeof want, "functions.%s:", name);

	return !strncmp(id, want, (size_t)n) && id[n] && strspn(id + n, "0123456789") == strlen(id + n);
}

/* What the parser must make of this message; false where the test cannot say. */
static bool transcript(const struct k_json *message, bool reasoning, struct k_buf *out)
{
	const struct k_json *calls = k_json_find(message, "tool_calls"), *content = k_json_find(message, "content");
	const char *text = k_json_string(content), *thought = k_json_string(k_json_find(message, "reasoning_content"));

	k_buf_puts(out, "");
	if (k_json_kind(content) == K_JSON_ARRAY)
		return false;
	if (reasoning && thought && *thought)
		k_buf_printf(out, "R[%s]", thought);
	if (text && *text)
		k_buf_printf(out, "C[%s]", text);
	for (size_t i = 0; i < k_json_len(calls); i++) {
		const struct k_json *f = k_json_find(k_json_at(calls, i), "function");
		const char *id = k_json_string(k_json_find(k_json_at(calls, i), "id")), *name = k_json_string(k_json_find(f, "name"));
		const char *args = k_json_string(k_json_find(f, "arguments"));

		if (!args || !is_canonical(id, name))
			return false;
		k_buf_printf(out, "T[%zu %s %s]A[%zu %s]", i, id, name, i, args);
	}
	return true;
}

/* The ids of assistant turns lie between <|im_assistant|>assistant<|im_middle|> and <|im_end|>. */
static int check_conversation(struct setting *s, const struct k_json *row, const char *layout, bool reasoning)
{
	const struct k_json *messages = k_json_find(row, "messages"), *ids = k_json_find(k_json_find(k_json_find(row, "expected"), layout), "ids_synth");
	const int32_t open = k_tokenizer_special(s->t, "<|im_assistant|>"), middle = k_tokenizer_special(s->t, "<|im_middle|>"),
		end = k_tokenizer_special(s->t, "<|im_end|>");
	size_t at = 0, n = k_json_len(ids);
	int checked = 0;

	s->tools = (struct k_json *)k_json_find(row, "tools");
	for (size_t i = 0; i < k_json_len(messages) && n; i++) {
		const struct k_json *m = k_json_at(messages, i);
		struct k_buf want;
		struct k_ids turn;
		struct k_err err = { 0 };

		if (strcmp(k_json_string(k_json_find(m, "role")), "assistant") != 0)
			continue;
		while (at < n && k_json_int(k_json_at(ids, at)) != open)
			at++;
		while (at < n && k_json_int(k_json_at(ids, at)) != middle)
			at++;
		k_ids_init(&turn);
		for (at++; at < n && k_json_int(k_json_at(ids, at)) != end; at++)
			K_CHECK_OK(k_ids_put(&turn, (int32_t)k_json_int(k_json_at(ids, at)), &err));
		k_buf_init(&want, 0);
		if (transcript(m, reasoning, &want)) {
			char *got = parse_ids(s, turn.v, turn.n);
			const char *rest = want.data;

			/* Reasoning of turns before the last answer is left out of prompts. */
			if (want.data[0] == 'R' && got[0] != 'R')
				rest = strchr(want.data, ']') + 1;
			K_CHECK_MSG(!strcmp(got, rest), "%s, %s: '%s', wanted '%s'", k_json_string(k_json_find(row, "id")), layout, got, rest);
			k_free(got);
			checked++;
		}
		k_ids_fini(&turn);
		k_buf_fini(&want);
	}
	s->tools = NULL;
	return checked;
}

K_TEST(chat_parse_reads_what_others_rendered)
{
	struct setting with = setting(&thinking, NULL), without = setting(&instruct, NULL);
	size_t len;
	char *text = test_read(k_test_data("chat/vectors.jsonl"), &len);
	int checked = 0;

	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		struct k_json *row;
		struct k_err err = { 0 };

		if (strstr(line, "\\u0000") && strstr(line, "\\u0000") < end)
			continue;       /* our JSON has no NUL */
		K_CHECK_OK(k_json_parse(&row, line, (size_t)(end - line), K_JSON_LAST_WINS, "vectors.jsonl", &err));
		checked += check_conversation(&without, row, "k2_instruct", false);
		checked += check_conversation(&with, row, "k2_thinking", true);
		checked += check_conversation(&with, row, "k25", true);
		k_json_free(row);
	}
	K_CHECK_MSG(checked > 60, "%d turns", checked);
	k_free(text);
	done(&with);
	done(&without);
}

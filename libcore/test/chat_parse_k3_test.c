/* chat_parse_k3_test.c: answers of Kimi-K3 with everything that models leave out or make up, each in the tokens of the tokenizer and once more
 * in single bytes. An answer is written with angle brackets for its markers: <t a="v"> </t>, $ for the end of the message; <| |> is text. */
#include "libcore/base.h"
#include "libcore/chat.h"
#include "libcore/test/parsed.h"
#include "libcore/test/vectors.h"

static int32_t id_of_byte(const struct k_tokenizer *t, char byte)
{
	size_t n;

	for (int32_t id = 0; ; id++) {
		const char *b = k_tokenizer_bytes(t, id, &n);

		if (n == 1 && *b == byte)
			return id;
	}
}

static void text_ids(const struct k_tokenizer *t, const char *s, size_t n, bool single, struct k_ids *out)
{
	struct k_err err = { 0 };

	if (!single)
		K_CHECK_OK(k_tokenizer_encode(t, s, n, 0, out, &err));
	for (size_t i = 0; single && i < n; i++)
		K_CHECK_OK(k_ids_put(out, id_of_byte(t, s[i]), &err));
}

static void answer_ids(const struct k_tokenizer *t, const char *p, bool single, struct k_ids *out)
{
	struct k_err err = { 0 };

	while (*p) {
		const bool tag = *p == '<' && p[1] != '|', close = tag && p[1] == '/', end = *p == '>' && p[-1] != '|';
		size_t n = 0;

		if (tag || end || *p == '$') {
			K_CHECK_OK(k_ids_put(out, close ? 163588 : tag ? 163587 : end ? 163589 : 163586, &err));
			p += 1 + close;
			continue;
		}
		while (p[n] && p[n] != '$' && !(p[n] == '<' && p[n + 1] != '|') && !(p[n] == '>' && (n ? p[n - 1] : ' ') != '|'))
			n++;
		text_ids(t, p, n, single, out);
		p += n;
	}
}

static char *parsed(const struct setting *s, const char *answer, bool single)
{
	struct k_ids ids;

	k_ids_init(&ids);
	answer_ids(s->t, answer, single, &ids);
	char *got = parse_ids(s, ids.v, ids.n);
	k_ids_fini(&ids);
	return got;
}

static void expect_at(int line, const struct setting *s, const char *answer, const char *want)
{
	for (int single = 0; single < 2; single++) {
		char *got = parsed(s, answer, single);

		if (strcmp(got, want) != 0)
			k_test_fail(__FILE__, line, "'%s'%s gave '%s', wanted '%s'", answer, single ? " in bytes" : "", got, want);
		k_free(got);
	}
}
#define expect(s, answer, want) expect_at(__LINE__, s, answer, want)

static struct setting begin(void)
{
	return (struct setting){ .layout = k_layout_find("k3"), .t = test_k3_tokenizer(), .o = { .thinking = true, .generation_prompt = true } };
}

static void done(struct setting *s)
{
	k_json_free(s->tools);
	k_json_free(s->history);
	k_tokenizer_free((struct k_tokenizer *)s->t);
}

#define T "</think>"
#define R(text) "<response>" text "</response>"
#define OVER "</message>$"
#define F(args) "<call tool=\"f\" index=\"1\">" args "</call>"
#define ARG(key, type, value) "<argument key=\"" key "\" type=\"" type "\">" value "</argument>"

K_TEST(chat_k3_parse_channels)
{
	struct setting s = begin();

	expect(&s, "Hm." T R(" Yes.\n") OVER, "R[Hm.]C[ Yes.\n]");
	expect(&s, T R("Yes") OVER, "C[Yes]");
	expect(&s, "Hm", "R[Hm]");
	expect(&s, "", "");
	/* Text that looks like a marker, and a character in two tokens. */
	expect(&s, "<|close|>think<|sep|>" T R("<|open|>tools<|sep|> \xf0\x9f\xa6\x89"), "R[<|close|>think<|sep|>]C[<|open|>tools<|sep|> \xf0\x9f\xa6\x89]");
	s.o.thinking = false;
	expect(&s, "Yes</response>" OVER, "C[Yes]");
	expect(&s, "Yes", "C[Yes]");
	expect(&s, "", "");
	s.o = (struct k_chat_options){ .thinking = true, .continue_final = true };
	expect(&s, " and</response>" OVER, "C[ and]");
	done(&s);
}

K_TEST(chat_k3_parse_tags_that_were_left_out)
{
	struct setting s = begin();
	static const char both[] = "R[a]C[b]", call[] = "R[a]T[0 functions.f:0 f]A[0 {}]";

	expect(&s, "a<response>b</response>" OVER, both);
	expect(&s, "a" T "<response>b" OVER, both);
	expect(&s, "a" T "<response>b$", both);
	expect(&s, "a" T "b" OVER, both);
	expect(&s, "a" T "b</response>" OVER, both);
	expect(&s, "a$", "R[a]");
	expect(&s, "a" OVER, "R[a]");
	expect(&s, "a</response><response>b", both);
	expect(&s, "a<tools>" F("") "</tools>" OVER, call);
	expect(&s, "a" T "<response><tools>" F("") "</tools>" OVER, call);
	expect(&s, "a" T F("") OVER, call);
	expect(&s, "a" T R("") "<tools>" F("") OVER, call);
	expect(&s, "a" T "<tools><call tool=\"f\"></tools>" OVER, call);
	expect(&s, "a" T "<tools><call tool=\"f\"><call tool=\"g\"></call></tools>", "R[a]T[0 functions.f:0 f]A[0 {}]T[1 functions.g:1 g]A[1 {}]");
	expect(&s, "a<think>b" T R("c") "<think>d", "R[ab]C[c]R[d]");
	/* White space between elements is nothing, other text there is content; so is that of channels nobody knows. */
	expect(&s, "a" T "\n<response>b</response>\n<tools>\n" F("\n") "\n</tools>\n", "R[a]C[b]T[0 functions.f:0 f]A[0 {}]");
	expect(&s, "a" T "\nb " R("c"), "R[a]C[\nb c]");
	expect(&s, "a" T "<commentary>b</commentary>" R("c"), "R[a]C[bc]");
	expect(&s, "a" T "\n", "R[a]C[\n]");
	/* The end of a tag that the next one stands for, and tags in odd places. */
	expect(&s, "a</think<response>b", both);
	expect(&s, "a" T "<response>b</tools></call></argument><argument key=\"k\">c", "R[a]C[bc]");
	expect(&s, "a>b", "R[ab]");
	expect(&s, "a<b c>d</b>", "R[a<|open|>b c<|sep|>d<|close|>b<|sep|>]");
	/* A tag that was cut off. */
	expect(&s, "a" T "<respon", "R[a]");
	expect(&s, "a</thi", "R[a]");
	expect(&s, "a</think$", "R[a]");
	done(&s);
}

K_TEST(chat_k3_parse_arguments)
{
	struct setting s = begin();

	s.o.thinking = false;
#define A(args) "T[0 functions.f:0 f]A[0 " args "]"
	expect(&s, "Checking.</response><tools>" F(ARG("city", "string", "\xe5\x8c\x97\xe4\xba\xac \"x\"\\\n") ARG("days", "number", "1e2") ARG("u", "null", "null")
		ARG("ok", "boolean", "true") ARG("xs", "array", "[1, 2]") ARG("o", "object", "{\"a\" :{}}")) "<call tool=\"g\" index=\"1\"></call></tools>" OVER,
		"C[Checking.]" A("{\"city\":\"\xe5\x8c\x97\xe4\xba\xac \\\"x\\\"\\\\\\n\",\"days\":1e2,\"u\":null,\"ok\":true,\"xs\":[1, 2],\"o\":{\"a\" :{}}}")
		"T[1 functions.g:1 g]A[1 {}]");
	/* No JSON: the text. No type: whichever it is. */
	expect(&s, F(ARG("a", "number", "ten") ARG("b", "object", "") ARG("c", "array", "[1,") "<argument key=\"d\">1</argument><argument key=\"e\">x</argument>"),
		A("{\"a\":\"ten\",\"b\":\"\",\"c\":\"[1,\",\"d\":1,\"e\":\"x\"}"));
	expect(&s, F(ARG("a", "string", "") ARG("", "string", "[1]")), A("{\"a\":\"\",\"\":\"[1]\"}"));
	/* Attributes. */
	expect(&s, F(ARG("a&amp;&quot;b&amp;quot;&lt;", "string", "&amp;")), A("{\"a&\\\"b&quot;&lt;\":\"&amp;\"}"));
	expect(&s, "<call index=\"7\" tool=\"a.b-c\" x>" "<argument  type=\"string\"  key=\"k e=y\" >v</argument></call>",
		"T[0 functions.a.b-c:0 a.b-c]A[0 {\"k e=y\":\"v\"}]");
	expect(&s, "<call tool=f>" "<argument key=k type=number>1</argument></call>", A("{\"k\":1}"));
	expect(&s, F("<argument key=\"open>1</argument>"), A("{\"open\":1}"));
	/* What the model writes about tags is in its arguments; what they can mean there, they mean. */
	expect(&s, F(ARG("a", "string", "<|close|>argument<|sep|>")), A("{\"a\":\"<|close|>argument<|sep|>\"}"));
	expect(&s, F(ARG("a", "string", "<b>x</b></think>")), A("{\"a\":\"<|open|>b<|sep|>x<|close|>b<|sep|><|close|>think<|sep|>\"}"));
	expect(&s, F("<argument key=\"a\" type=\"string\">x<argument key=\"b\" type=\"number\">1"), A("{\"a\":\"x\",\"b\":1}"));
	expect(&s, "<call tool=\"f\"><argument key=\"a\" type=\"string\">x</tools>", A("{\"a\":\"x\"}"));
	expect(&s, "<call tool=\"f\"><argument key=\"a\" type=\"number\">1<response>y", A("{\"a\":1}") "C[y]");
	/* All of them as one text. */
	expect(&s, F("<json type=\"object\">{\"a\": 1}</json>"), A("{\"a\": 1}"));
	expect(&s, F("\n{\"a\": 1}\n"), A("{\"a\": 1}\n"));
	expect(&s, F("<json type=\"object\">{\"a\":</json><argument key=\"b\">1</argument>"), "T[0 functions.f:0 f]C[1]A[0 {\"a\":]");
	expect(&s, F(ARG("a", "number", "1") "<json>{}</json>"), A("{\"a\":1") "C[{}]A[0 }]");
#undef A
	done(&s);
}

K_TEST(chat_k3_parse_names_and_ids)
{
	static const char tools[] = "[{\"type\": \"function\", \"function\": {\"name\": \"my tool\"}}]", history[] = "[{\"tool_calls\": [{\"id\": \"functions.f:1\"}]}]";
	struct setting s = begin();
	struct k_err err = { 0 };

	s.o.thinking = false;
	/* No name: no call. */
	expect(&s, "<call index=\"1\">" ARG("a", "string", "x") "</call>", "C[call index=\"1\"x]");
	expect(&s, "<call tool=\"a b\"></call>", "C[call tool=\"a b\"]");
	expect(&s, "<call tool=\"my tool\"></call>", "C[call tool=\"my tool\"]");
	K_CHECK_OK(k_json_parse(&s.tools, tools, strlen(tools), 0, "tools", &err));
	expect(&s, "<call tool=\"my tool\"></call><call tool=\"other\"></call>", "T[0 functions.my tool:0 my tool]A[0 {}]T[1 functions.other:1 other]A[1 {}]");
	K_CHECK_OK(k_json_parse(&s.history, history, strlen(history), 0, "messages", &err));
	s.n_used = 1;
	expect(&s, F("") F(""), "T[0 functions.f:2 f]A[0 {}]T[1 functions.f:3 f]A[1 {}]");
	done(&s);
}

/* --- cut off ----------------------------------------------------------------------------------------------------------- */

static bool is_json(const char *s, size_t n)
{
	struct k_json *v = NULL;
	struct k_err ignored;
	bool yes = !k_json_parse(&v, s, n, K_JSON_LAST_WINS, "arguments", &ignored);

	k_json_free(v);
	return yes;
}

/* After n ids: what is there is a beginning of what is there in the end, but for a value that is written as a whole, and no call is whole
 * before its end was read. */
static void cut_at(const struct setting *s, const struct k_ids *ids, size_t n, const char *whole)
{
	char *got = parse_ids(s, ids->v, n);
	size_t closed = 0, told = 0, same = 0;

	for (size_t i = 0; i + 2 < n; i++)
		closed += ids->v[i] == 163588 && ids->v[i + 1] == 10257 && ids->v[i + 2] == 163589;
	for (const char *p = got; (p = strstr(p, "A[")); p++) {
		const char *args = strchr(p, ' ') + 1, *end = strstr(args, "]T[");

		told += is_json(args, end ? (size_t)(end - args) : strlen(args) - 1);
	}
	K_CHECK_MSG(told == closed, "after %zu ids %zu calls are whole, wanted %zu: %s", n, told, closed, got);
	while (got[same] && got[same] == whole[same])
		same++;
	/* A character that was cut off is the one of what is invalid. */
	K_CHECK_MSG(strlen(got + same) <= 1 || !strcmp(got + same, "\xef\xbf\xbd]"), "after %zu ids: '%s', in the end '%s'", n, got, whole);
	k_free(got);
}

K_TEST(chat_k3_parse_cut_at_every_token)
{
	static const char answer[] = "Hm" T R("Now.") "<tools>" F(ARG("s", "string", "a} \"\xf0\x9f\xa6\x89") ARG("n", "number", "12") ARG("o", "object", "{\"x\": 1}"))
		"<call tool=\"g\" index=\"2\"></call>" "<call tool=\"h\" index=\"3\">" ARG("raw", "array", "[{}]}") "</call></tools>" OVER;
	struct setting s = begin();
	struct k_ids ids;

	k_ids_init(&ids);
	answer_ids(s.t, answer, false, &ids);
	char *whole = parse_ids(&s, ids.v, ids.n);
	for (size_t n = 0; n <= ids.n; n++)
		cut_at(&s, &ids, n, whole);
	k_free(whole);
	ids.n = 0;
	answer_ids(s.t, answer, true, &ids);
	for (size_t n = 0; n <= ids.n; n++)
		k_free(parse_ids(&s, ids.v, n));
	k_ids_fini(&ids);
	/* The end of the message makes no call whole either. */
	expect(&s, T F("") "<call tool=\"g\">$", "T[0 functions.f:0 f]A[0 {}]T[1 functions.g:1 g]");
	expect(&s, T "<call tool=\"g\">" ARG("a", "number", "1") OVER, "T[0 functions.g:0 g]A[0 {\"a\":1]");
	expect(&s, T "<call tool=\"g\"><argument key=\"a\" type=\"object\">1}$", "T[0 functions.g:0 g]A[0 {\"a\":]");
	expect(&s, T "<call tool=\"g\"><json>{}$", "T[0 functions.g:0 g]");
	expect(&s, T "<call tool=\"g\"><json>{}</json>" OVER, "T[0 functions.g:0 g]");
	expect(&s, T "<call tool=\"g\">{}</message>", "T[0 functions.g:0 g]");
	expect(&s, T "<call tool=\"g\">" ARG("a", "number", "1") "</call", "T[0 functions.g:0 g]A[0 {\"a\":1]");
	done(&s);
}

K_TEST(chat_k3_parse_long_tags)
{
	struct setting s = begin();
	struct k_buf answer, want;

	k_buf_init(&answer, 0);
	k_buf_init(&want, 0);
	k_buf_puts(&answer, T "<response ");
	k_buf_puts(&want, "C[response ");
	for (int i = 0; i < 1000; i++) {
		k_buf_puts(&answer, "0123 {}\n");
		k_buf_puts(&want, "0123 {}\n");
	}
	k_buf_puts(&want, "]");
	expect(&s, answer.data, want.data);
	k_buf_fini(&answer);
	k_buf_fini(&want);
	done(&s);
}

K_TEST(chat_k3_parse_states)
{
	static const struct { const char *answer; int state; } rows[] = {
		{ "", K_PARSE_REASON }, { "a", K_PARSE_REASON }, { "a</thi", K_PARSE_HEADER }, { "a" T, K_PARSE_CONTENT }, { T "<response", K_PARSE_HEADER }, { T "<response>", K_PARSE_CONTENT },
		{ T "<tools>", K_PARSE_SECTION }, { T "<tools><call tool=\"f\"", K_PARSE_HEADER }, { T "<tools><call tool=\"f\">", K_PARSE_ARGS },
		{ T "<call tool=\"f\"><argument", K_PARSE_ARGS }, { T "<call tool=\"f\"><argument key=\"k\">", K_PARSE_ARGS }, { T F(""), K_PARSE_SECTION }, { T F("") "</tools>", K_PARSE_CONTENT },
		{ T F("") "<call tool=\"f\">$", K_PARSE_CONTENT },
	};
	struct setting s = begin();

	for (size_t i = 0; i < K_LEN(rows); i++) {
		struct record r = { .kind = -1 };
		struct k_parser *p;
		struct k_err err = { 0 };
		struct k_ids ids;

		k_ids_init(&ids);
		k_buf_init(&r.b, 0);
		answer_ids(s.t, rows[i].answer, false, &ids);
		K_CHECK_OK(k_parser_new(&p, s.layout, s.t, NULL, 0, &s.o, test_write_down, &r, &err));
		for (size_t n = 0; n < ids.n; n++)
			K_CHECK_OK(k_parser_put(p, ids.v[n], &err));
		K_CHECK_MSG(k_parser_state(p) == rows[i].state, "'%s': state %d, wanted %d", rows[i].answer, k_parser_state(p), rows[i].state);
		k_parser_free(p);
		k_buf_fini(&r.b);
		k_ids_fini(&ids);
	}
	done(&s);
}

#include "libcore/base.h"
#include <math.h>
#include "evals/asker.h"
#include "evals/report.h"
#include "evals/stats.h"
#include "libcore/test.h"

static struct k_json *parse(const char *text)
{
	struct k_err err;
	struct k_json *v;
	return k_json_parse(&v, text, strlen(text), K_JSON_LAST_WINS, "a test", &err) == 0 ? v : NULL;
}

/* Chunks of two calls, of reasoning and of text make the answer that a request without a stream would have had. */
K_TEST(chunks_make_an_answer)
{
	static const char *const chunks[] = {
		"{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"functions.f:0\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"functions.g:1\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\":\"}}]}}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}}]}",
		"{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\",\"usage\":{\"total_tokens\":7}}]}",
	};
	struct k_json *all = NULL, *want = parse("{\"choices\":[{\"index\":0,\"finish_reason\":\"tool_calls\",\"message\":{\"role\":\"assistant\",\"content\":\"ab\","
		"\"reasoning_content\":\"hm\",\"tool_calls\":[{\"index\":0,\"id\":\"functions.f:0\",\"type\":\"function\",\"function\":{\"name\":\"f\","
		"\"arguments\":\"{\\\"x\\\":1}\"}},{\"index\":1,\"id\":\"functions.g:1\",\"type\":\"function\",\"function\":{\"name\":\"g\","
		"\"arguments\":\"{}\"}}]}}],\"usage\":{\"total_tokens\":7}}");
	struct k_err err;
	for (size_t i = 0; i < K_LEN(chunks); i++) {
		struct k_json *v = parse(chunks[i]);
		K_CHECK(v && k_chunk_add(&all, v, &err) == 0);
		k_json_free(v);
	}
	K_CHECK(k_json_equal(all, want));
	struct k_json *bad = parse("{\"error\":{\"message\":\"gone\"}}");
	K_CHECK(k_chunk_add(&all, bad, &err) == K_EIO && strstr(err.msg, "gone"));
	k_json_free(bad);
	k_json_free(all);
	k_json_free(want);
}

/* Offsets count characters; the token that was generated does not count. */
K_TEST(score_by_offset)
{
	struct k_ask q = { .context = (char *)"\xc3\xa9t\xc3\xa9 ", .continuation = (char *)"ab" };
	struct k_err err;
	struct k_json *v = parse("{\"choices\":[{\"logprobs\":{\"token_logprobs\":[null,-1.0,-2.0,-0.5,-9.0],\"text_offset\":[0,2,3,5,6],"
		"\"top_logprobs\":[null,{},{\"x\":-2.0},{\"y\":-0.25},{}]}}]}");
	K_CHECK(k_ask_score_answer(&q, v, -1, -1, &err) == 0);
	K_CHECK(q.tokens == 2 && q.logprob == -2.5 && !q.greedy);
	K_CHECK(k_ask_score_answer(&q, v, 3, 4, &err) == 0 && q.logprob == -0.5 && q.tokens == 1);
	K_CHECK(k_ask_score_answer(&q, v, 1, 9, &err) == K_EFORMAT);
	K_CHECK(k_ask_score_answer(&q, v, 0, 2, &err) == K_EFORMAT);
	k_json_free(v);
	/* Finite numbers whose sum is not. */
	v = parse("{\"choices\":[{\"logprobs\":{\"token_logprobs\":[null,-1.0,-1e308,-1e308,-9.0]}}]}");
	K_CHECK(k_ask_score_answer(&q, v, 1, 3, &err) == 0 && q.logprob == -1e308);
	K_CHECK(k_ask_score_answer(&q, v, 1, 4, &err) == K_EFORMAT && strstr(err.msg, "token_logprobs[3] is -1e+308"));
	k_json_free(v);
}

K_TEST(counts_that_are_none)
{
	struct k_json *v = parse("{\"a\":7,\"b\":9223372036854775807,\"c\":-1,\"d\":\"x\",\"e\":4294967296}");
	K_CHECK(k_get_count(v, "a") == 7 && k_get_count(v, "b") == 0 && k_get_count(v, "c") == 0 && k_get_count(v, "d") == 0 && k_get_count(v, "none") == 0);
	K_CHECK(k_get_count(v, "e") == (int64_t)1 << 32);
	k_json_free(v);
}

K_TEST(stats_stderr)
{
	K_CHECK(isnan(k_stats_stderr(1, 1, 1)));
	/* 1 of 4: variance 3/16 * 4/3 = 1/4, over 4 */
	K_CHECK(k_stats_stderr(1, 1, 4) == 0.25);
}

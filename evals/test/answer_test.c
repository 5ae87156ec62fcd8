/* answer_test.c: recorded prompts and completions of Kimi-K3 are read by its vocabulary alone. */
#include "libcore/base.h"
#include "evals/answer.h"
#include "libcore/test.h"
#include "libcore/test/vectors.h"

static struct k_json *parse(const char *text)
{
	struct k_err err = { 0 };
	struct k_json *v;

	K_CHECK_OK(k_json_parse(&v, text, strlen(text), K_JSON_LAST_WINS, "a test", &err));
	return v;
}

static void choice_is(struct k_reader *d, const struct k_json *request, const char *completion, const char *want)
{
	struct k_json *made, *wanted = parse(want);
	struct k_err err = { 0 };
	struct k_buf b;

	K_CHECK_OK(k_reader_choice(d, request, completion, strlen(completion), "stop", &made, &err));
	k_buf_init(&b, 0);
	k_json_dump(&b, made, 0);
	K_CHECK_MSG(k_json_equal(made, wanted), "%s", b.data);
	k_buf_fini(&b);
	k_json_free(made);
	k_json_free(wanted);
}

K_TEST(answer_of_k3)
{
	static const char prompt[] = "<|open|>message role=\"user\"<|sep|>q<|close|>message<|sep|><|end_of_msg|><|open|>message role=\"assistant\"<|sep|><|open|>think<|sep|>";
	struct k_json *request = parse("{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}], \"reasoning_effort\": \"medium\"}");
	struct k_files files;
	struct k_reader *d;
	struct k_err err = { 0 };

	k_files_init(&files, "k3");
	test_k3_files(&files);
	K_CHECK_OK(k_reader_open(&d, &files, &err));
	K_CHECK(!strcmp(k_reader_layout(d), "k3"));
	K_CHECK_OK(k_reader_prompt(d, request, prompt, sizeof prompt - 1, &err));
	/* What stands behind the end of the message is not read. */
	choice_is(d, request, "Hm.<|close|>think<|sep|><|open|>response<|sep|>Yes.<|close|>response<|sep|><|close|>message<|sep|><|end_of_msg|>No.",
		"{\"finish_reason\": \"stop\", \"message\": {\"role\": \"assistant\", \"content\": \"Yes.\", \"reasoning_content\": \"Hm.\"}}");
	choice_is(d, request, "<|close|>think<|sep|><|open|>response<|sep|><|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool=\"f\" index=\"1\"<|sep|>"
		"<|open|>argument key=\"a\" type=\"number\"<|sep|>1e2<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|><|end_of_msg|>",
		"{\"finish_reason\": \"tool_calls\", \"message\": {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"functions.f:0\", \"type\": \"function\", "
		"\"function\": {\"name\": \"f\", \"arguments\": \"{\\\"a\\\":1e2}\"}}]}}");
	k_reader_close(d);
	k_files_fini(&files);
	k_json_free(request);
}

/* routes.c: the table of routes. */
#include "libcore/base.h"

#include "cmd/kserve/anthropic.h"
#include "cmd/kserve/routes.h"

static k_answer answer_live;
static int answer_live(const struct k_server *s K_UNUSED, struct k_json *body K_UNUSED, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f K_UNUSED)
{
	k_buf_puts(out, "{\"status\":\"ok\"}");
	return 0;
}

static const struct k_route routes[] = {
	{ "/chat/completions", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_GENERATE, .dialect = &k_dialect_chat },
	{ "/completions", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_GENERATE, .dialect = &k_dialect_text },
	{ "/messages", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_GENERATE, .dialect = &k_dialect_anthropic },
	{ "/messages/count_tokens", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_ANSWER, .answer = k_answer_count_tokens,
		.dialect = &k_dialect_anthropic },
	{ "/responses", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_GENERATE, .dialect = &k_dialect_responses },
	{ "/models", K_GET, K_AUTH_KEY, K_NEED_NONE, K_ROUTE_ANSWER, .answer = k_answer_models },
	{ "/models/", K_GET, K_AUTH_KEY, K_NEED_NONE, K_ROUTE_ANSWER, .answer = k_answer_model },
	{ "/tokenize", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_ANSWER, .answer = k_answer_tokenize },
	{ "/detokenize", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_ANSWER, .answer = k_answer_detokenize },
	{ "/tokenizer_info", K_GET, K_AUTH_KEY, K_NEED_NONE, K_ROUTE_ANSWER, .answer = k_answer_tokenizer_info },
	{ "/apply-template", K_POST, K_AUTH_KEY, K_NEED_JSON, K_ROUTE_ANSWER, .answer = k_answer_template },
	{ "/health", K_GET, K_AUTH_NONE, K_NEED_NONE, K_ROUTE_HEALTH, .answer = answer_live },
	{ "/livez", K_GET, K_AUTH_NONE, K_NEED_NONE, K_ROUTE_ANSWER, .answer = answer_live },
	{ "/metrics", K_GET, K_AUTH_NONE, K_NEED_NONE, K_ROUTE_METRICS, .answer = NULL },
	{ "/props", K_GET, K_AUTH_KEY, K_NEED_NONE, K_ROUTE_ANSWER, .answer = k_answer_props },
	{ "/slots", K_GET, K_AUTH_KEY, K_NEED_NONE, K_ROUTE_SLOTS, .answer = NULL },
	{ "/slots/", K_POST, K_AUTH_KEY, K_NEED_MAYBE, K_ROUTE_SLOT, .answer = NULL },
	{ "/version", K_GET, K_AUTH_NONE, K_NEED_NONE, K_ROUTE_ANSWER, .answer = k_answer_version },
};

const struct k_route *k_route_find(const char *path, const char **rest)
{
	for (const struct k_route *r = routes; r < routes + K_LEN(routes); r++) {
		size_t n = strlen(r->path);
		bool prefix = n > 1 && r->path[n - 1] == '/';
		*rest = path + n;
		if (prefix ? !strncmp(path, r->path, n) && path[n] : !strcmp(path, r->path))
			return r;
	}
	return NULL;
}

const struct k_dialect *k_route_dialect(const char *path)
{
	const char *rest;
	const struct k_route *r = path ? k_route_find(path, &rest) : NULL;
	return r && r->dialect ? r->dialect : &k_dialect_chat;
}

/* kserve.c: serves a model over HTTP, as JSON lines, or in the terminal. Loads the model, starts the engine, hands both to kserve/http.c,
 * kserve/stdio.c or kserve/terminal.c. */
#include "libcore/base.h"

#include <inttypes.h>
#include <stdlib.h>

#include "formats/format.h"
#include "libcore/cpu.h"
#include "cmd/cli.h"
#include "cmd/kserve/cors.h"
#include "cmd/kserve/http.h"
#include "cmd/kserve/stdio.h"
#include "cmd/kserve/terminal.h"

struct args {
	struct k_common common;
	const char *listen, *port_file, *layout, *name, *key_file, *cert, *tls_key, *cors, *access, *state_dir, *slot_dir;
	int64_t ctx, slots, batch, max_queue, queue_timeout, drain, timeout, max_conns;
	uint64_t max_body;
	bool enforce, no_enforce, stdio, talk, check, deterministic, web, no_web, insecure, slots_route, compat_llama;
	struct k_policy policy;
	int reasoning;                  /* enum k_reasoning_field */
};

static const struct k_opt opts[] = {
	K_OPT_STR(0, "listen", struct args, listen, "ADDR:PORT", "127.0.0.1:8080",
		"where to listen: ADDR:PORT (port 0 picks one), unix:PATH or fd:N"),
	K_OPT_STR(0, "port-file", struct args, port_file, "FILE", NULL, "write the port into FILE once connections are accepted"),
	K_OPT_FLAG(0, "stdio", struct args, stdio, "requests as JSON lines on standard input, answers on standard output, in order"),
	K_OPT_FLAG(0, "chat", struct args, talk, "a conversation in the terminal, or a message a line from a pipe; /help lists its commands"),
	K_OPT_STR(0, "chat-layout", struct args, layout, "NAME", NULL,
		"how turns are written, instead of what the model's template says: k2_instruct, k2_thinking, k25, k3, kimi_linear, smollm2, chatml"),
	K_OPT_STR(0, "name", struct args, name, "NAME", NULL, "served model name; default: the model's own"),
	K_OPT_WORD(0, "reasoning-field", struct args, reasoning, "reasoning_content|reasoning|both", "reasoning_content",
		"what the thoughts of a model are called in answers of the OpenAI shape"),
	K_OPT_INT(0, "ctx", struct args, ctx, "N", NULL, "context of a sequence in tokens; default: the model's, as far as memory goes"),
	K_OPT_INT(0, "slots", struct args, slots, "N", NULL, "sequences at once; default: 8"),
	K_OPT_INT(0, "batch", struct args, batch, "N", NULL, "tokens computed in one step; default: 512"),
	K_OPT_STR(0, "api-key-file", struct args, key_file, "FILE", NULL, "API keys, one a line, each with an optional label for the log; read again on SIGHUP; KSERVE_API_KEY may hold more, with commas"),
	K_OPT_FLAG(0, "insecure", struct args, insecure, "let other machines in without keys"),
	K_OPT_STR(0, "tls-cert", struct args, cert, "FILE", NULL, "certificate and its chain, PEM: HTTPS with TLS 1.2 or later; read again on SIGHUP"),
	K_OPT_STR(0, "tls-key", struct args, tls_key, "FILE", NULL, "the certificate's key, PEM without a passphrase"),
	K_OPT_STR(0, "cors-origins", struct args, cors, "LIST", NULL,
		"origins whose pages may ask, with commas: https://chat.example.org, localhost for this machine's, * for all"),
	K_OPT_STR(0, "access-log", struct args, access, "FILE", NULL,
		"one line of JSON a request, without its text; - for standard output; opened again on SIGHUP"),
	K_OPT_FLAG(0, "slots-route", struct args, slots_route, "open /slots: what each slot computes, without text"),
	K_OPT_FLAG(0, "compat-llama", struct args, compat_llama,
		"what clients of llama-server look for: its names of metrics beside the others, its type of error for a prompt that is too long"),
	K_OPT_FLAG(0, "accept-any-model", struct args, policy.any_model, "answer with this model, whatever name a request has for it"),
	K_OPT_FLAG(0, "strict-params", struct args, policy.params, "refuse requests with fields that are not known, which are ignored otherwise"),
	K_OPT_FLAG(0, "strict-max-tokens", struct args, policy.max_tokens, "refuse what may get longer than the context, which is cut otherwise"),
	K_OPT_FLAG(0, "vendor-strict", struct args, policy.vendor, "refuse sampling values other than those that the model's vendor recommends, and n above 1"),
	K_OPT_INT(0, "timeout", struct args, timeout, "SECONDS", "60",
		"time that a client may keep a connection idle, a body coming or an answer unread; the head of a request gets a sixth"),
	K_OPT_INT(0, "max-connections", struct args, max_conns, "N", "1024", "connections at once; one address may have a quarter"),
	K_OPT_SIZE(0, "max-body", struct args, max_body, "SIZE", "64M", "largest request"),
	K_OPT_FLAG(0, "enforce", struct args, enforce, "arguments of tool calls fit the schemas that are declared (the default)"),
	K_OPT_FLAG(0, "no-enforce", struct args, no_enforce, "calls as the model writes them; a call or a format that a request insists on is enforced all the same"),
	K_OPT_INT(0, "max-queue", struct args, max_queue, "N", "512", "requests that may wait; more are refused with 503"),
	K_OPT_INT(0, "queue-timeout", struct args, queue_timeout, "SECONDS", "600", "time that a request may wait for a slot; then it gets 503"),
	K_OPT_STR(0, "state-dir", struct args, state_dir, "DIR", NULL,
		"keep what prompts begin with in DIR across restarts; a file that is damaged is set aside, and said; those of other models stay for them"),
	K_OPT_STR(0, "slot-save-path", struct args, slot_dir, "DIR", NULL,
		"open POST /slots/N?action=save|restore|erase: what a slot holds goes to files in DIR that the client names, and comes back checked like those of --state-dir"),
	K_OPT_FLAG(0, "deterministic", struct args, deterministic,
		"same request, same bytes, whatever else is computed; always so on the CPU, with this on a GPU too, and prompts are cut and reused on one fixed grid"),
	K_OPT_FLAG(0, "check", struct args, check, "verify every digest of the model before serving"),
	K_OPT_FLAG(0, "web", struct args, web, "the chat page at / (the default)"),
	K_OPT_FLAG(0, "no-web", struct args, no_web, "no chat page"),
	K_OPT_INT(0, "drain", struct args, drain, "SECONDS", "30", "time that running requests get after SIGTERM"),
	K_OPT_OUTPUT(struct args, common),
	K_OPT_COMMON(struct args, common),
	K_OPT_COMPUTE(struct args, common),
	K_OPT_END
};

static int check_args(const struct args *a, struct k_err *err)
{
	static const int64_t most = 1 << 30;
	const struct { const char *name; int64_t value, hi; } numbers[] = {
		{ "ctx", a->ctx, most }, { "slots", a->slots, 4096 }, { "batch", a->batch, 1 << 20 }, { "drain", a->drain, 1 << 20 },
		{ "max-queue", a->max_queue, 1 << 20 }, { "timeout", a->timeout, 1 << 20 }, { "max-connections", a->max_conns, 1 << 20 },
		{ "queue-timeout", a->queue_timeout, 1 << 20 },
	};
	for (size_t i = 0; i < K_LEN(numbers); i++) {
		if (numbers[i].value < 0 || numbers[i].value > numbers[i].hi)
			return k_err_set(err, K_EUSAGE, "--%s is %" PRId64 ", wanted 0 to %" PRId64, numbers[i].name, numbers[i].value,
				numbers[i].hi);
	}
	if (!a->cert != !a->tls_key)
		return k_err_set(err, K_EUSAGE, "--tls-cert and --tls-key want each other");
	if (a->queue_timeout < 1 || a->max_queue < 1)
		return k_err_set(err, K_EUSAGE, "--queue-timeout and --max-queue must be at least 1: a request waits a moment, also for a slot that is free");
	if (a->timeout < 1 || a->max_conns < 1 || a->max_body < 1024 || a->max_body > 1u << 30)
		return k_err_set(err, K_EUSAGE, "--timeout and --max-connections must be at least 1, --max-body 1K to 1G");
	if (a->cors) {
		int rc = k_cors_check(a->cors, err);
		if (rc)
			return rc;
	}
	if (a->port_file && *a->port_file && !a->port_file[strspn(a->port_file, "0123456789")])         /* --port of other servers */
		return k_err_set(err, K_EUSAGE, "--port-file %s is a number: the port is --listen 127.0.0.1:%s (and the file ./%s)", a->port_file, a->port_file, a->port_file);
	if (a->name && (!*a->name || strlen(a->name) > 255 || !k_utf8_ok(a->name, strlen(a->name))))
		return k_err_set(err, K_EUSAGE, "--name must have 1 to 255 bytes of UTF-8");
	if (a->layout && !k_layout_find(a->layout)) {
		struct k_buf b;
		k_buf_init(&b, 0);
		for (int i = 0; k_layout_at(i); i++)
			k_buf_printf(&b, "%s%s", i ? ", " : "", k_layout_at(i)->name);
		int rc = k_err_set(err, K_EUSAGE, "--chat-layout is '%s', wanted one of %s", a->layout, b.len ? b.data : "none");
		k_buf_fini(&b);
		return rc;
	}
	return 0;
}

/* The model from its operand. What was opened before a failure is closed by who took it. */
static int load(struct k_model **out, struct k_device *dev, const struct args *a, const char *path, const struct k_ctx *ctx,
	struct k_err *err)
{
	struct k_ckpt *ck;
	const struct k_model_opts o = { .verify = a->check };
	int rc = k_format_open(&ck, path, true, ctx, err);
	return rc ? rc : k_model_open(out, ck, dev, &o, ctx, err);
}

static void say_what(const struct k_server *s, struct k_device *dev, const struct k_ctx *ctx)
{
	static const char *const acts[] = { "f32", "bf16", "int8" };
	k_logf(ctx->log, K_LOG_INFO, "model %s, context %" PRId64 " tokens, %d slots, %d tokens a step, act %s, keys and values %s, level %s, chat layout %s, "
		"temperature %g, top_p %g where a request says nothing", s->name, s->n_ctx, s->n_slots, s->n_batch, acts[ctx->act], k_model_kv(s->model), dev->level(dev),
		s->layout ? s->layout->name : "none", s->temperature, s->top_p);
	if (!s->tok)
		k_logf(ctx->log, K_LOG_WARN, "no tokenizer%s%s: text completions on token ids only", s->no_tok ? ": " : "",
			s->no_tok ? s->no_tok : "");
}

/* What the engine computes with. Where a disk does not answer to the end it stays, with the model, for the thread that is left there. */
struct kept { struct k_ctx ctx; struct k_server s; };

/* *left: there is such a thread. */
static int serve(struct kept *k, struct k_model *m, struct k_device *dev, const struct args *a, const char *path, const struct k_ctx *ctx,
	bool *left, struct k_err *err)
{
	struct k_server *s = &k->s;
	struct k_sched *sched = NULL;
	const struct k_server_opts so = { a->name, a->layout, a->ctx, a->slots, a->batch, a->common.max_memory,
		(enum k_reasoning_field)a->reasoning, a->enforce || !a->no_enforce,
		a->state_dir, a->slot_dir, a->max_queue, a->queue_timeout, a->deterministic, a->compat_llama, a->policy };
	const struct k_http_opts ho = {
		.listen = a->listen, .port_file = a->port_file, .key_file = a->key_file, .keys = getenv("KSERVE_API_KEY"), .insecure = a->insecure,
		.cert = a->cert, .tls_key = a->tls_key, .cors = a->cors, .access = a->access,
		.model = a->check || !strcmp(path, "-") ? NULL : path, .slots_route = a->slots_route, .web = a->web || !a->no_web,
		.drain = a->drain, .timeout = a->timeout, .max_conns = a->max_conns, .max_body = a->max_body,
	};
	int rc = k_server_init(s, m, path, &so, ctx->log, err);
	if (rc)
		return rc;
	say_what(s, dev, ctx);
	rc = k_sched_open(&sched, s, err);
	if (!rc)
		rc = a->talk ? k_terminal_run(s, sched, ctx, err) : a->stdio ? k_stdio_run(s, sched, ctx, err) : k_http_run(s, sched, &ho, ctx, err);
	*left = !k_sched_close(sched, a->drain);
	if (!*left)
		k_server_fini(s);
	return rc;
}

/* Nobody asks over HTTP then. The address and limits have defaults, or may be in the environment for servers: those say nothing. */
static void tell_unused(const struct args *a, const struct k_ctx *ctx)
{
	const struct { const char *name; bool given; } others[] = {
		{ "port-file", a->port_file }, { "api-key-file", a->key_file }, { "tls-cert", a->cert }, { "cors-origins", a->cors }, { "access-log", a->access },
		{ "slots-route", a->slots_route },
	};
	for (size_t i = 0; (a->stdio || a->talk) && i < K_LEN(others); i++)
		if (others[i].given)
			k_logf(ctx->log, K_LOG_WARN, "--%s says nothing with --%s: there is no socket", others[i].name, a->stdio ? "stdio" : "chat");
}

static int check_files(const struct args *a, int n_operands, char **operands, struct k_err *err)
{
	const struct k_cli_file outs[] = { { "-o", a->common.output }, { "--port-file", a->port_file }, { "--access-log", a->access } };
	const struct k_cli_file ins[] = { { "--api-key-file", a->key_file }, { "--tls-cert", a->cert }, { "--tls-key", a->tls_key } };
	return k_cli_apart(outs, K_LEN(outs), ins, K_LEN(ins), n_operands, operands, err);
}

static int run(struct k_ctx *given, void *p, int n_operands, char **operands, struct k_err *err)
{
	const struct args *a = p;
	const char *path = NULL;
	struct k_device *dev = NULL;
	struct k_model *m = NULL;
	struct kept *k;
	bool left = false;
	int rc = check_args(a, err);
	if (!rc)
		rc = check_files(a, n_operands, operands, err);
	if (!rc && (a->stdio || a->talk) && !n_operands)
		rc = k_err_set(err, K_EUSAGE, "--%s reads standard input, so the model must be named", a->stdio ? "stdio" : "chat");
	if (!rc && a->stdio && a->talk)
		rc = k_err_set(err, K_EUSAGE, "--stdio and --chat both read standard input: choose one");
	if (!rc)
		rc = k_cli_model(n_operands, operands, &path, err);
	if (rc)
		return rc;
	tell_unused(a, given);
	k_alloc_for_long();
	k = k_calloc(1, sizeof(*k));
	if (!k)
		return k_err_nomem(err, sizeof(*k), "the server");
	k->ctx = *given;
	if (!a->common.act)
		k->ctx.act = k_cpu_has("avx512bf16") && !a->common.cpu ? K_ACT_BF16 : K_ACT_F32;
	k->ctx.any_order = !a->deterministic;
	rc = k_device_open(&dev, &k->ctx, a->common.device, err);
	if (!rc)
		rc = load(&m, dev, a, path, &k->ctx, err);
	/* The engine goes on while the server drains, so after loading it does not see the request to stop. */
	k->ctx.stop = NULL;
	if (!rc) {
		struct k_ctx front = k->ctx;
		front.stop = given->stop;
		rc = serve(k, m, dev, a, path, &front, &left, err);
	}
	if (left)
		return rc;
	if (m)
		k_model_close(m);
	if (dev)
		k_device_close(dev);
	k_free(k);
	return rc;
}

static const char *const rivals[] = { "stdio chat", "enforce no-enforce", "web no-web", NULL };

static const char *const examples[] = {
	"kserve model.kmf",
	"kserve --listen 127.0.0.1:0 --port-file port model.kmf",
	"kserve --listen unix:/run/kserve.sock --name kimi model.kmf",
	"kserve --listen 0.0.0.0:8443 --api-key-file keys --tls-cert chain.pem --tls-key key.pem --access-log access.jsonl model.kmf",
	"kserve --chat model.kmf",
	"kserve --stdio model.kmf < requests.jsonl > out.jsonl",
	NULL
};

const struct k_tool k_tool = {
	.name = "kserve",
	.about = "serve a model",
	.usage = "[options] MODEL",
	.text = "Loads MODEL and answers requests over HTTP in the shapes of the OpenAI API: /v1/chat/completions and /v1/completions, "
		"whole or as streams of server-sent events, with tool calls, log-probabilities and several choices; /v1/responses; Anthropic's "
		"/v1/messages; /v1/models, /tokenize, "
		"/detokenize, /apply-template, /health.\n\n"
		"Calls of tools fit the schemas that the request declares, and a response_format is kept to, token by token: what does not fit cannot be "
		"sampled. tool_choice and parallel_tool_calls are meant literally. A schema that nothing fits is refused, and with strict one that holds "
		"a keyword that is not known here.\n\n"
		"Requests that come together are computed together, each a token a step; an answer does not depend on what else is "
		"computed (on a GPU it may in the last digits of its logits, unless --deterministic). What a prompt begins with is not computed again if it was computed before.\n\n"
		"Without keys only addresses of this machine are served. A key comes as Authorization: Bearer KEY or X-Api-Key: KEY; "
		"/health, /livez, /version and /metrics (Prometheus) want none. A unix socket is for its owner alone; fd:3 is a socket that a "
		"service manager hands over. With --tls-cert and --tls-key the port speaks TLS 1.2 and 1.3 only.\n\n"
		"Requests are read strictly: what another reader of HTTP could understand otherwise is refused with 400. Over a limit come 413, "
		"414, 431, and 503 with Retry-After; who takes too long gets 408. Every error is JSON. A client that leaves is noticed, and its "
		"request is not computed any further.\n\n"
		"The digests of the model are read in the background, at low priority, after the start: of a damaged one the log names the "
		"tensor, and /health says 503. With --check they are read before.\n\n"
		"On SIGHUP keys and certificates are read again, and the access log is opened again; connections go on. On SIGTERM and SIGINT "
		"new requests get 503, what runs is finished within the time of --drain, and the exit status is 0, also where the disk of the states does not "
		"answer any more; a second signal ends at once.",
	.opts = opts,
	.rivals = rivals,
	.examples = examples,
	.args_size = sizeof(struct args),
	.max_operands = 1,
	.library = k_http_library,
	.run = run,
};

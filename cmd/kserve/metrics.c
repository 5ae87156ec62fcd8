/* metrics.c: the names are those of vLLM where it has one, so that dashboards work, and kserve's own; with --compat-llama llama-server's too. */
#include "libcore/base.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "version.h"
#include "cmd/kserve/grammars.h"
#include "cmd/kserve/metrics.h"
#include "libcore/resident.h"

/* --- counting ----------------------------------------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

void k_metrics_count(struct k_metrics *m, const char *route, int status)
{
	int i = 0;
	while (i < m->n_requests && (m->request[i].status != status || !same(m->request[i].route, route)))
		i++;
	if (i == K_METRIC_ROWS)
		return;
	m->request[i].route = route;
	m->request[i].status = status;
	m->request[i].n++;
	m->n_requests = K_MAX(m->n_requests, i + 1);
}

void k_metrics_reject(struct k_metrics *m, const char *reason)
{
	int i = 0;
	while (i < m->n_rejected && !same(m->rejected[i].reason, reason))
		i++;
	if (!reason || i == (int)K_LEN(m->rejected))
		return;
	m->rejected[i].reason = reason;
	m->rejected[i].n++;
	m->n_rejected = K_MAX(m->n_rejected, i + 1);
}

void k_metrics_cancel(struct k_metrics *m, enum k_cancel why) { m->cancelled[why]++; }

/* --- text --------------------------------------------------------------------------------------------------------------------- */

struct text {
	struct k_buf *b;
	struct k_buf model;             /* the name as a label's value */
};

static void put_head(struct text *t, const char *name, const char *kind, const char *help)
{
	k_buf_printf(t->b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void put_value(struct text *t, const char *name, const char *labels, double v)
{
	k_buf_printf(t->b, "%s{model_name=\"%s\"%s%s} ", name, t->model.data ? t->model.data : "", *labels ? "," : "", labels);
	k_json_put_double(t->b, v);
	k_buf_putc(t->b, '\n');
}

static void put_histogram(struct text *t, const char *name, const char *help, const struct k_histogram *h)
{
	char series[96], label[48];
	put_head(t, name, "histogram", help);
	snprintf(series, sizeof(series), "%s_bucket", name);
	for (int i = 0; i < h->n; i++) {
		snprintf(label, sizeof(label), "le=\"%.9g\"", h->edges[i]);
		put_value(t, series, label, (double)k_histogram_upto(h, i));
	}
	put_value(t, series, "le=\"+Inf\"", (double)h->total);
	snprintf(series, sizeof(series), "%s_sum", name);
	put_value(t, series, "", h->sum);
	snprintf(series, sizeof(series), "%s_count", name);
	put_value(t, series, "", (double)h->total);
}

struct row { const char *name, *kind, *help; double value; };

static void put_rows(struct text *t, const struct row *rows, size_t n)
{
	for (const struct row *r = rows; r < rows + n; r++) {
		put_head(t, r->name, r->kind, r->help);
		put_value(t, r->name, "", r->value);
	}
}

static void put_sched(struct text *t, const struct k_sched_stats *st)
{
	double cache = st->cache_limit_now ? (double)st->cache_bytes_now / (double)st->cache_limit_now : 0;
	const struct row rows[] = {
		{ "vllm:num_requests_running", "gauge", "Requests that are computed.", st->running_now },
		{ "vllm:num_requests_waiting", "gauge", "Requests that wait.", st->waiting_now },
		{ "vllm:kv_cache_usage_perc", "gauge", "Part of the cache's memory that is used, 0 to 1.", cache },
		{ "vllm:prompt_tokens_total", "counter", "Tokens of prompts.", (double)st->prompt_tokens },
		{ "vllm:generation_tokens_total", "counter", "Tokens that were generated.", (double)st->generated_tokens },
		{ "vllm:prefix_cache_queries_total", "counter", "Tokens that were looked up in the prefix cache.", (double)st->cache_queries },
		{ "vllm:prefix_cache_hits_total", "counter", "Tokens that were found there.", (double)st->cache_hits },
		{ "vllm:num_preemptions_total", "counter", "Requests that gave way to others.", 0 },
		{ "vllm:spec_decode_num_draft_tokens_total", "counter", "Tokens that were guessed.", 0 },
		{ "vllm:spec_decode_num_accepted_tokens_total", "counter", "Guesses that were right.", 0 },
		{ "kserve_queued_tokens", "gauge", "Tokens of prompts that wait.", (double)st->queued_tokens_now },
		{ "kserve_state_snapshots", "gauge", "States of recurrent layers that are kept.", (double)st->snapshots_now },
		{ "kserve_state_snapshot_bytes", "gauge", "Their memory.", (double)st->snapshot_bytes_now },
		{ "kserve_states_written_total", "counter", "States written to disk.", (double)st->states_written },
		{ "kserve_states_read_total", "counter", "States read from disk.", (double)st->states_read },
		{ "kserve_states_refused_total", "counter", "States on disk that failed a check.", (double)st->states_refused },
		{ "kserve_steps_total", "counter", "Steps of the model.", (double)st->steps },
		{ "kserve_decode_steps_total", "counter", "Steps without prompts.", (double)st->decode_steps },
		{ "kserve_decode_seconds_total", "counter", "Their time, with the choice of tokens.", (double)st->decode_ns / 1e9 },
		{ "kserve_mask_seconds_total", "counter", "Time for the masks of schemas, calls and formats.", (double)st->mask_ns / 1e9 },
	};
	put_rows(t, rows, K_LEN(rows));
}

static double per(double n, double of) { return of > 0 ? n / of : 0; }

/* The same, as llama-server counts it: prompts without what the cache had, times of requests that are over. */
static void put_llama(struct text *t, const struct k_sched_stats *st)
{
	double prompt = (double)(st->prompt_tokens - st->cache_hits), made = (double)st->generated_tokens;
	const struct row rows[] = {
		{ "llamacpp:prompt_tokens_total", "counter", "Tokens of prompts that were computed.", prompt },
		{ "llamacpp:prompt_seconds_total", "counter", "Time of prompts.", st->prefill.sum },
		{ "llamacpp:tokens_predicted_total", "counter", "Tokens that were generated.", made },
		{ "llamacpp:tokens_predicted_seconds_total", "counter", "Time of answers.", st->decode.sum },
		{ "llamacpp:prompt_tokens_seconds", "gauge", "Tokens of prompts a second.", per(prompt, st->prefill.sum) },
		{ "llamacpp:predicted_tokens_seconds", "gauge", "Tokens of answers a second.", per(made, st->decode.sum) },
		{ "llamacpp:requests_processing", "gauge", "Requests that are computed.", st->running_now },
		{ "llamacpp:requests_deferred", "gauge", "Requests that wait.", st->waiting_now },
		{ "llamacpp:n_decode_total", "counter", "Steps of the model.", (double)st->steps },
		{ "llamacpp:n_busy_slots_per_decode", "gauge", "Sequences in a step, on average.", per((double)st->step_runs, (double)st->steps) },
		{ "llamacpp:n_tokens_max", "counter", "Tokens of the longest sequence so far.", (double)st->longest },
	};
	put_rows(t, rows, K_LEN(rows));
}

static void put_ends(struct text *t, const struct k_sched_stats *st)
{
	static const struct { enum k_end end; const char *label; } ends[] = {
		{ K_END_STOP, "finished_reason=\"stop\"" }, { K_END_LENGTH, "finished_reason=\"length\"" },
		{ K_END_TOOL_CALLS, "finished_reason=\"tool_calls\"" }, { K_END_ABORT, "finished_reason=\"abort\"" },
	};
	put_head(t, "vllm:request_success_total", "counter", "Requests that were answered, by the reason of their end.");
	for (size_t i = 0; i < K_LEN(ends); i++)
		put_value(t, "vllm:request_success_total", ends[i].label, (double)st->ended[ends[i].end]);
}

static void put_repairs(struct text *t, const struct k_sched_stats *st)
{
	static const char *const labels[K_REPAIRS] = {
		[K_REPAIR_ID] = "kind=\"id\"", [K_REPAIR_NAME] = "kind=\"name\"", [K_REPAIR_ARGS] = "kind=\"arguments\"", [K_REPAIR_TEXT] = "kind=\"text\"",
	};
	put_head(t, "kserve_tool_parse_repairs_total", "counter", "What was put right in calls of tools, by kind.");
	for (int i = 0; i < K_REPAIRS; i++)
		put_value(t, "kserve_tool_parse_repairs_total", labels[i], (double)st->repairs[i]);
}

static void put_grammars(struct text *t, const struct k_server *s)
{
	uint64_t n = 0, ns = 0;
	if (s->grammars)
		k_grammars_compiled(s->grammars, &n, &ns);
	put_head(t, "kserve_grammar_compile_seconds", "summary", "Schemas that were compiled, and the time that it took.");
	put_value(t, "kserve_grammar_compile_seconds_sum", "", (double)ns / 1e9);
	put_value(t, "kserve_grammar_compile_seconds_count", "", (double)n);
}

static void put_histograms(struct text *t, const struct k_sched_stats *st)
{
	const struct { const char *name, *help; const struct k_histogram *h; } all[] = {
		{ "vllm:time_to_first_token_seconds", "From arrival to the first token.", &st->ttft },
		{ "vllm:inter_token_latency_seconds", "Between two tokens of a sequence.", &st->itl },
		{ "vllm:e2e_request_latency_seconds", "From arrival to the end.", &st->e2e },
		{ "vllm:request_inference_time_seconds", "From a slot to the end.", &st->inference },
		{ "vllm:request_queue_time_seconds", "From arrival to a slot.", &st->queue },
		{ "vllm:request_prefill_time_seconds", "From a slot to the first token.", &st->prefill },
		{ "vllm:request_decode_time_seconds", "From the first token to the end.", &st->decode },
		{ "vllm:request_prompt_tokens", "Tokens of a prompt.", &st->prompt },
		{ "vllm:request_generation_tokens", "Tokens of an answer.", &st->generated },
		{ "vllm:request_params_max_tokens", "The limit that was asked for.", &st->max_tokens },
		{ "vllm:request_params_n", "The choices that were asked for.", &st->choices },
		{ "vllm:iteration_tokens_total", "Tokens in a step.", &st->step },
	};
	for (size_t i = 0; i < K_LEN(all); i++)
		put_histogram(t, all[i].name, all[i].help, all[i].h);
}

static void put_http(struct text *t, const struct k_metrics *m)
{
	static const char *const whys[] = { [K_CANCEL_DISCONNECT] = "reason=\"disconnect\"", [K_CANCEL_STALL] = "reason=\"stall\"" };
	char label[96];
	put_head(t, "kserve_http_requests_total", "counter", "Answers, by route and status; 499: the client left.");
	for (int i = 0; i < m->n_requests; i++) {
		snprintf(label, sizeof(label), "route=\"%s\",status=\"%d\"", m->request[i].route ? m->request[i].route : "none", m->request[i].status);
		put_value(t, "kserve_http_requests_total", label, (double)m->request[i].n);
	}
	put_head(t, "kserve_rejected_total", "counter", "Requests that were refused, by the code of the error.");
	for (int i = 0; i < m->n_rejected; i++) {
		snprintf(label, sizeof(label), "reason=\"%s\"", m->rejected[i].reason);
		put_value(t, "kserve_rejected_total", label, (double)m->rejected[i].n);
	}
	put_head(t, "kserve_cancelled_total", "counter", "Requests whose client left or read nothing.");
	for (int i = 0; i < K_CANCELS; i++)
		put_value(t, "kserve_cancelled_total", whys[i], (double)m->cancelled[i]);
}

/* What Prometheus' own clients tell of a process. */
static void put_process(struct text *t, const struct k_metrics *m)
{
	struct rusage u;
	int n_fds = -1;                 /* the folder's own */
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; d && (e = readdir(d)); )
		n_fds += *e->d_name != '.';
	if (d)
		closedir(d);
	getrusage(RUSAGE_SELF, &u);
	const struct row rows[] = {
		{ "process_cpu_seconds_total", "counter", "CPU time.", (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6 },
		{ "process_resident_memory_bytes", "gauge", "Memory in use.", (double)k_resident().now },
		{ "process_start_time_seconds", "gauge", "When it was started.", (double)m->started },
		{ "process_open_fds", "gauge", "Descriptors in use.", n_fds },
		{ "kserve_connections", "gauge", "Connections that are open.", (double)m->connections },
		{ "kserve_connections_total", "counter", "Connections that were accepted.", (double)m->accepted },
	};
	put_rows(t, rows, K_LEN(rows));
}

static void put_info(struct text *t, const struct k_server *s, enum k_selftest_state test)
{
	char label[160];
	put_head(t, "vllm:cache_config_info", "gauge", "Sizes that the server was started with.");
	snprintf(label, sizeof(label), "max_model_len=\"%" PRId64 "\",max_num_seqs=\"%d\",max_num_batched_tokens=\"%d\"", s->n_ctx, s->n_slots, s->n_batch);
	put_value(t, "vllm:cache_config_info", label, 1);
	put_head(t, "kserve_build_info", "gauge", "What is running.");
	snprintf(label, sizeof(label), "version=\"" K_VERSION "\",build=\"%.100s\"", K_DESCRIBE);
	put_value(t, "kserve_build_info", label, 1);
	put_head(t, "kserve_model_verified", "gauge", "The digests of the model: 1 right, 0 not all read (or there are none), -1 damaged.");
	put_value(t, "kserve_model_verified", "", test == K_SELFTEST_OK ? 1 : test == K_SELFTEST_BAD ? -1 : 0);
}

void k_metrics_put(struct k_buf *b, const struct k_metrics *m, const struct k_server *s, const struct k_sched_stats *st,
	enum k_selftest_state test)
{
	struct text t = { .b = b };
	k_buf_init(&t.model, 0);
	for (const char *p = s->name; *p; p++) {
		if (strchr("\\\"", *p))
			k_buf_putc(&t.model, '\\');
		k_buf_putc(&t.model, *p == '\n' ? ' ' : *p);
	}
	put_sched(&t, st);
	if (s->compat_llama)
		put_llama(&t, st);
	put_ends(&t, st);
	put_repairs(&t, st);
	put_grammars(&t, s);
	put_histograms(&t, st);
	put_http(&t, m);
	put_process(&t, m);
	put_info(&t, s, test);
	b->failed |= t.model.failed;
	k_buf_fini(&t.model);
}

/* --- slots -------------------------------------------------------------------------------------------------------------------- */

int k_metrics_slots(struct k_buf *b, const struct k_server *s, struct k_sched *sched)
{
	struct k_slot_stats *v = k_calloc((size_t)s->n_slots, sizeof(*v));
	int n_free = 0;
	if (!v)
		return -1;
	int n = K_MIN(k_sched_slots(sched, v, s->n_slots), s->n_slots);
	k_buf_putc(b, '[');
	for (const struct k_slot_stats *p = v; p < v + n; p++) {
		n_free += !p->busy;
		k_buf_printf(b, "%s{\"id\":%d,\"n_ctx\":%" PRId64 ",\"is_processing\":%s,\"id_task\":%" PRId64 ",\"n_prompt_tokens\":%" PRId64
			",\"n_prompt_tokens_cached\":%" PRId64 ",\"n_prompt_tokens_processed\":%" PRId64 ",\"n_decoded\":%" PRId64
			",\"params\":{},\"speculative\":false}", p > v ? "," : "", p->id, p->n_ctx, p->busy ? "true" : "false",
			p->ticket ? (int64_t)p->ticket : -1, p->n_prompt, p->n_cached, p->n_done, p->n_decoded);
	}
	k_buf_putc(b, ']');
	k_free(v);
	return n_free;
}

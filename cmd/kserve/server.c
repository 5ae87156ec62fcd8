/* server.c: the facts of a loaded model, and the sizes that were not given.
 *
 *   room = 3/4 of the ceiling (or of what is free);  sequences: 3/4 of room;  ctx = that / slots / bytes a token
 *   prefix cache: what sequences have not been promised, at least 1/4 of room
 *   requests of late, and their prompts: 1/32 of room each, 64 MB at most; of what the ceiling has besides
 *
 * Pages of a sequence are allocated as it grows; what it may come to need is promised when it is admitted. */
#include "libcore/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "libcore/bodies.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/log.h"
#include "libcore/resident.h"
#include "libcore/seq.h"
#include "version.h"
#include "cmd/kserve/grammars.h"
#include "cmd/kserve/past.h"
#include "cmd/kserve/replay.h"

#define DEFAULT_SLOTS 8
#define DEFAULT_BATCH 512
#define UNKNOWN_CTX 8192
#define LEAST_CTX 512
#define REPLAY_BYTES (32u << 20)
#define KEPT_BYTES (UINT64_C(64) << 20) /* of earlier requests, of their prompts */

uint64_t k_server_need(const struct k_server *s, int64_t tokens)
{
	uint64_t pages = (uint64_t)k_div_up(tokens, K_PAGE) + 1;       /* a shared one is copied before it is written to */
	return pages * k_seq_page_bytes(s->model) + 3 * k_seq_state_bytes(s->model);
}

/* A model that is mapped is to stay in memory: what it takes counts as free there. Of one that is larger than memory, some. */
static uint64_t memory_left(void)
{
	uint64_t n = k_memory_free();
	return n - K_MIN(k_io_mapped(), n / 2);
}

static int sizes(struct k_server *s, const struct k_server_opts *o, struct k_err *err)
{
	s->n_slots = (int)(o->slots ? o->slots : DEFAULT_SLOTS);
	s->n_batch = (int)K_MAX(o->batch ? o->batch : DEFAULT_BATCH, s->n_slots);
	s->max_queue = (int)o->max_queue;
	s->queue_timeout = (double)o->queue_timeout;
	s->deterministic = o->deterministic;
	s->compat_llama = o->compat_llama;
	s->policy = o->policy;
	s->state_dir = o->state_dir;
	s->slot_dir = o->slot_dir;
	int64_t known = s->hp->n_ctx > 0 ? s->hp->n_ctx : UNKNOWN_CTX;
	/* A quarter is left to the batch's scratch and to everybody else. */
	struct k_device *dev = k_model_device(s->model);
	s->room = dev->room ? k_model_room(s->model) : memory_left();
	if (o->max_memory) {
		uint64_t left = o->max_memory - K_MIN(o->max_memory, k_model_held(s->model));
		s->room = dev->room ? K_MIN(s->room, left) : left;
	}
	s->room = s->room / 4 * 3;
	s->seq_room = s->room / 4 * 3;
	s->n_ctx = o->ctx;
	if (!o->ctx) {
		uint64_t room = s->seq_room / (uint64_t)s->n_slots, fixed = k_server_need(s, 0);
		uint64_t fits = room > fixed ? (room - fixed) / K_MAX(k_seq_page_bytes(s->model) / K_PAGE, 1) : 0;
		s->n_ctx = fits < (uint64_t)known ? K_MAX((int64_t)fits, K_MIN(known, LEAST_CTX)) : known;
	}
	uint64_t one = k_server_need(s, s->n_ctx);
	if (one > s->seq_room && o->max_memory)
		return k_err_set(err, K_ENOMEM, "a context of %" PRId64 " tokens takes %" PRIu64 " MiB, --max-memory leaves %" PRIu64
			" MiB to sequences", s->n_ctx, one >> 20, s->seq_room >> 20);
	/* What was asked for, and one sequence in any case, even where memory looks short. */
	s->seq_room = K_MAX(s->seq_room, one);
	s->room = K_MAX(s->room, s->seq_room);
	return 0;
}

/* The file's or folder's name without what says that it is a model. */
static void own_name(char *out, size_t n, const char *path, const char *arch)
{
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	size_t start = len;
	while (start > 0 && path[start - 1] != '/')
		start--;
	snprintf(out, n, "%.*s", (int)K_MIN(len - start, n - 1), path + start);
	static const char *const ends[] = { ".kmf", ".gguf", ".safetensors", ".tar", ".tar.gz", ".tar.zst", ".tgz" };
	for (size_t i = 0; i < K_LEN(ends); i++) {
		size_t have = strlen(out), want = strlen(ends[i]);
		if (have > want && !strcmp(out + have - want, ends[i]))
			out[have - want] = 0;
	}
	if (!*out || !strcmp(out, "-") || !strcmp(out, ".") || !strcmp(out, "..") || !k_utf8_ok(out, strlen(out)))
		snprintf(out, n, "%s", arch);
}

/* What the vendors of the models recommend; instant: with thinking turned off. */
static void recommended(struct k_server *s)
{
	static const struct { const char *layout; double temperature, instant, top_p; } table[] = {
		{ "k2_instruct", 0.6, 0.6, 1 }, { "k2_thinking", 1, 1, 1 }, { "k25", 1, 0.6, 0.95 }, { "kimi_linear", 0.6, 0.6, 1 },
		{ "moonlight", 0.6, 0.6, 1 }, { "smollm2", 0.2, 0.2, 0.9 }, { "k3", 1, 1, 0.95 },
	};
	s->temperature = s->instant = s->top_p = 1;
	for (size_t i = 0; s->layout && i < K_LEN(table); i++) {
		if (strcmp(table[i].layout, s->layout->name))
			continue;
		s->temperature = table[i].temperature;
		s->instant = table[i].instant;
		s->top_p = table[i].top_p;
	}
}

/* generation_config.json, where it names sampling values that make sense. */
static int sampling(struct k_server *s, struct k_err *err)
{
	recommended(s);
	const struct k_file *f = k_files_find(k_model_files(s->model), "generation_config.json");
	if (!f)
		return 0;
	struct k_json *j;
	int rc = k_json_parse(&j, f->data, f->len, K_JSON_LAST_WINS, f->name, err);
	if (rc)
		return rc;
	rc = k_json_num_or(j, "temperature", 0, 100, s->temperature, &s->temperature, f->name, err);
	if (!rc)
		rc = k_json_num_or(j, "top_p", 0, 1, s->top_p, &s->top_p, f->name, err);
	if (!rc)
		rc = k_json_int_or(j, "top_k", 0, INT32_MAX, 0, &s->top_k, f->name, err);
	const struct k_json *said = k_json_find(j, "temperature");
	s->temperature = K_MIN(s->temperature, 2);
	if (k_json_kind(said) != K_JSON_NULL)
		s->instant = s->temperature;
	k_json_free(j);
	if (s->top_p == 0)
		s->top_p = 1;
	return rc;
}

static int chat(struct k_server *s, const char *layout, struct k_err *err)
{
	const struct k_files *files = k_model_files(s->model);
	if (layout) {
		s->layout = k_layout_find(layout);
		if (!s->layout)
			return k_err_set(err, K_EUSAGE, "--chat-layout: there is no layout '%s'", layout);
	} else if (s->tok) {
		struct k_err why = { 0 };
		s->layout = k_layout_match(files, &why);
		if (!s->layout && why.code)
			k_logf(s->log, K_LOG_WARN, "no chat: %s", why.msg);
	}
	if (s->layout) {
		const char *n = s->layout->name;
		s->kimi = !strncmp(n, "kimi", 4) || !strncmp(n, "k2", 2) || s->layout->xtml;
	}
	if (s->tok)
		return k_chat_stops(s->tok, files, &s->stops, err);
	return k_ids_add(&s->stops, s->hp->stop, (size_t)s->hp->n_stop, err);
}

int k_server_init(struct k_server *s, struct k_model *m, const char *path, const struct k_server_opts *o, struct k_log *log,
	struct k_err *err)
{
	memset(s, 0, sizeof(*s));
	s->model = m;
	s->hp = k_model_hp(m);
	s->log = log;
	s->reasoning = o->reasoning;
	s->tok = k_model_tokenizer(m, &s->no_tok);
	s->created = (int64_t)time(NULL);
	k_ids_init(&s->stops);
	for (int64_t i = 0; i < s->hp->n_layer; i++)
		s->hybrid |= k_hp_is_kda(s->hp, i);
	if (o->name)
		snprintf(s->name, sizeof(s->name), "%s", o->name);
	else
		own_name(s->name, sizeof(s->name), path, k_model_arch(m)->name);
	uint8_t digest[32];
	char hex[65];
	k_model_digest(m, digest);
	k_hex(hex, digest);
	snprintf(s->fingerprint, sizeof(s->fingerprint), "kserve-%.64s-%.8s", K_DESCRIBE, hex);
	int rc = sizes(s, o, err);
	if (!rc)
		rc = chat(s, o->layout, err);
	if (!rc && s->kimi && s->tok)
		rc = k_replay_new(&s->replay, s->tok, !s->layout->xtml, REPLAY_BYTES, err);
	if (!rc && s->layout && s->tok)
		rc = k_pasts_new(&s->pasts, (size_t)K_MIN(KEPT_BYTES, s->room / 32), err);
	if (!rc)
		rc = k_bodies_new(&s->bodies, (size_t)K_MIN(KEPT_BYTES, s->room / 32), err);
	if (!rc && s->tok)
		rc = k_grammars_new(&s->grammars, s->tok, log, err);
	s->enforce = o->enforce;
	if (!rc)
		rc = sampling(s, err);
	if (rc)
		k_server_fini(s);
	return rc;
}

void k_server_fini(struct k_server *s)
{
	k_ids_fini(&s->stops);
	k_replay_free(s->replay);
	k_recent_free(s->pasts);
	k_recent_free(s->bodies);
	k_grammars_free(s->grammars);
}

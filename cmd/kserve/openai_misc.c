/* openai_misc.c: the routes that generate nothing. Their shapes are those that the usual clients probe: model lists with the
 * context under both of its names, tokenizer routes in the forms of vLLM and of llama-server. */
#include "libcore/base.h"

#include <inttypes.h>

#include "version.h"
#include "cmd/kserve/openai_misc.h"

/* --- models ----------------------------------------------------------------------------------------------------------------- */

static void put_model(const struct k_server *s, struct k_buf *out)
{
	uint64_t weights, bytes;
	k_model_size(s->model, &weights, &bytes);
	k_buf_puts(out, "{\"id\":");
	k_json_quote(out, s->name, strlen(s->name));
	k_buf_printf(out, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"kserve\",\"root\":", s->created);
	k_json_quote(out, s->name, strlen(s->name));
	k_buf_printf(out, ",\"parent\":null,\"max_model_len\":%" PRId64 ",\"context_length\":%" PRId64 ",\"display_name\":", s->n_ctx,
		s->n_ctx);
	k_json_quote(out, s->name, strlen(s->name));
	k_buf_printf(out, ",\"supports_reasoning\":%s,\"supports_image_in\":false,\"supports_video_in\":false,"
		"\"meta\":{\"n_vocab\":%" PRId64 ",\"n_ctx_train\":%" PRId64 ",\"n_embd\":%" PRId64
		",\"n_params\":%" PRIu64 ",\"size\":%" PRIu64 "}}", s->layout && s->layout->thinking ? "true" : "false", s->hp->n_vocab, s->hp->n_ctx,
		s->hp->n_embd, weights, bytes);
}

int k_answer_models(const struct k_server *s, struct k_json *body K_UNUSED, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f K_UNUSED)
{
	k_buf_puts(out, "{\"object\":\"list\",\"data\":[");
	put_model(s, out);
	k_buf_puts(out, "]}");
	return 0;
}

int k_answer_model(const struct k_server *s, struct k_json *body K_UNUSED, const char *rest, struct k_buf *out, struct k_fault *f)
{
	if (strcmp(rest, s->name))
		return k_fault_set(f, 404, "model_not_found", "model", "the model '%.128s' is not served here", rest);
	put_model(s, out);
	return 0;
}

int k_answer_version(const struct k_server *s K_UNUSED, struct k_json *body K_UNUSED, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f K_UNUSED)
{
	k_buf_puts(out, "{\"version\":\"" K_VERSION "\"}");
	return 0;
}

/* --- tokenizer ---------------------------------------------------------------------------------------------------------------- */

static void put_piece(const struct k_server *s, int32_t id, struct k_buf *out)
{
	size_t n = 0;
	const char *p = k_tokenizer_bytes(s->tok, id, &n);
	if (!p || k_utf8_ok(p, n)) {
		k_json_quote(out, p ? p : "", n);
		return;
	}
	k_buf_putc(out, '[');
	for (size_t i = 0; i < n; i++)
		k_buf_printf(out, "%s%d", i ? "," : "", (unsigned char)p[i]);
	k_buf_putc(out, ']');
}

static void put_lossy(const struct k_server *s, int32_t id, struct k_buf *out)
{
	size_t n = 0;
	const char *p = k_tokenizer_bytes(s->tok, id, &n);
	struct k_buf b;
	k_buf_init(&b, 0);
	k_utf8_mend(&b, p ? p : "", n);
	k_json_quote(out, b.len ? b.data : "", b.len);
	out->failed |= b.failed;
	k_buf_fini(&b);
}

static void put_tokens(const struct k_server *s, const struct k_ids *ids, bool strings, bool pieces, struct k_buf *out)
{
	k_buf_puts(out, "{\"tokens\":[");
	for (size_t i = 0; i < ids->n; i++) {
		k_buf_puts(out, i ? "," : "");
		if (pieces) {
			k_buf_printf(out, "{\"id\":%" PRId32 ",\"piece\":", ids->v[i]);
			put_piece(s, ids->v[i], out);
			k_buf_putc(out, '}');
		} else {
			k_buf_printf(out, "%" PRId32, ids->v[i]);
		}
	}
	k_buf_printf(out, "],\"count\":%zu,\"max_model_len\":%" PRId64 ",\"token_strs\":", ids->n, s->n_ctx);
	if (!strings) {
		k_buf_puts(out, "null}");
		return;
	}
	k_buf_putc(out, '[');
	for (size_t i = 0; i < ids->n; i++) {
		k_buf_puts(out, i ? "," : "");
		put_lossy(s, ids->v[i], out);
	}
	k_buf_puts(out, "]}");
}

static int tokenize_messages(const struct k_server *s, struct k_json *body, bool strings, struct k_buf *out, struct k_fault *f)
{
	struct k_request *rq;
	if (k_openai_prompt(&rq, s, k_json_keep(body), f))
		return -1;
	put_tokens(s, &rq->prompts[0], strings, false, out);
	k_request_free(rq);
	return 0;
}

int k_answer_tokenize(const struct k_server *s, struct k_json *body, const char *rest K_UNUSED, struct k_buf *out, struct k_fault *f)
{
	bool strings = false, pieces = false, llama = k_json_given(body, "content") != NULL, add = !llama, specials = true;
	if (k_openai_need_text(s, NULL, f) || k_openai_model(s, body, f) || k_field_bool(body, "", "return_token_strs", &strings, f) ||
		k_field_bool(body, "", "with_pieces", &pieces, f) || k_field_bool(body, "", "parse_special", &specials, f) ||
		k_field_bool(body, "", llama ? "add_special" : "add_special_tokens", &add, f))
		return -1;
	if (k_json_given(body, "messages"))
		return tokenize_messages(s, body, strings, out, f);
	const char *key = llama ? "content" : "prompt";
	const struct k_json *v = k_json_given(body, key);
	if (!k_json_string(v))
		return k_fault_set(f, 400, NULL, key, "%s is %s, wanted a string", key, v ? k_json_kind_name(v) : "missing");
	struct k_ids ids;
	struct k_err err = { 0 };
	k_ids_init(&ids);
	int rc = k_tokenizer_encode(s->tok, k_json_string(v), k_json_len(v), (specials ? K_ENC_SPECIALS : 0) | (add ? K_ENC_ADD : 0),
		&ids, &err);
	if (rc)
		k_fault_err(f, &err);
	else
		put_tokens(s, &ids, strings, pieces, out);
	k_ids_fini(&ids);
	return rc ? -1 : 0;
}

int k_answer_detokenize(const struct k_server *s, struct k_json *body, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f)
{
	struct k_ids ids;
	struct k_buf text;
	struct k_decoder dec;
	const struct k_json *v = k_json_given(body, "tokens");
	if (k_openai_need_text(s, NULL, f) || k_openai_model(s, body, f))
		return -1;
	if (!v)
		return k_fault_set(f, 400, NULL, "tokens", "tokens is missing");
	k_ids_init(&ids);
	k_buf_init(&text, 0);
	int rc = k_openai_ids(s, v, "tokens", &ids, f);
	k_decoder_init(&dec, s->tok, true);
	for (size_t i = 0; i < ids.n && !rc; i++)
		k_decoder_put(&dec, ids.v[i], &text);
	k_decoder_end(&dec, &text);
	if (!rc) {
		k_buf_puts(out, "{\"prompt\":");
		k_json_quote(out, text.len ? text.data : "", text.len);
		k_buf_puts(out, ",\"content\":");
		k_json_quote(out, text.len ? text.data : "", text.len);
		k_buf_putc(out, '}');
		if (text.failed)
			rc = k_no_memory(f);
	}
	k_ids_fini(&ids);
	k_buf_fini(&text);
	return rc;
}

static void put_special(const struct k_server *s, const char *key, int32_t id, struct k_buf *out)
{
	k_buf_printf(out, ",\"%s\":", key);
	if (id < 0)
		k_buf_puts(out, "null");
	else
		put_lossy(s, id, out);
}

static void put_chat_template(const struct k_server *s, struct k_buf *out)
{
	const struct k_file *t = k_files_find(k_model_files(s->model), "chat_template.jinja");
	k_buf_puts(out, ",\"chat_template\":");
	if (t && k_utf8_ok(t->data, t->len))
		k_json_quote(out, t->data, t->len);
	else
		k_buf_puts(out, "null");
}

int k_answer_tokenizer_info(const struct k_server *s, struct k_json *body K_UNUSED, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f)
{
	if (k_openai_need_text(s, NULL, f))
		return -1;
	k_buf_puts(out, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\"");
	put_special(s, "bos_token", k_tokenizer_bos(s->tok), out);
	put_special(s, "eos_token", k_tokenizer_eos(s->tok), out);
	put_special(s, "pad_token", k_tokenizer_special(s->tok, "[PAD]"), out);
	put_chat_template(s, out);
	k_buf_putc(out, '}');
	return 0;
}

int k_answer_props(const struct k_server *s, struct k_json *body K_UNUSED, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f K_UNUSED)
{
	k_buf_printf(out, "{\"default_generation_settings\":{\"n_ctx\":%" PRId64 ",\"temperature\":", s->n_ctx);
	k_json_put_double(out, s->temperature);
	k_buf_puts(out, ",\"top_p\":");
	k_json_put_double(out, s->top_p);
	k_buf_printf(out, ",\"top_k\":%" PRId64 "},\"total_slots\":%d,\"model_path\":", s->top_k, s->n_slots);
	k_json_quote(out, s->name, strlen(s->name));
	put_chat_template(s, out);
	put_special(s, "bos_token", s->tok ? k_tokenizer_bos(s->tok) : -1, out);
	put_special(s, "eos_token", s->tok ? k_tokenizer_eos(s->tok) : -1, out);
	k_buf_puts(out, ",\"modalities\":{\"vision\":false,\"audio\":false},\"build_info\":\"" K_DESCRIBE "\",\"is_sleeping\":false}");
	return 0;
}

int k_answer_template(const struct k_server *s, struct k_json *body, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f)
{
	struct k_request *rq;
	if (k_openai_prompt(&rq, s, k_json_keep(body), f))
		return -1;
	k_buf_puts(out, "{\"prompt\":");
	k_json_quote(out, rq->text.len ? rq->text.data : "", rq->text.len);
	k_buf_putc(out, '}');
	k_request_free(rq);
	return 0;
}

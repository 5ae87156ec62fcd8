/* oms.c: the envelope: which bytes are signed, the bundle around them, the checks before anything in it is believed. */
#include "libcore/base.h"
#include "libcore/base64.h"
#include "libcore/oms_int.h"
#include <stdio.h>

#define MEDIA_TYPE "application/vnd.dev.sigstore.bundle.v0.3+json"
#define MEDIA_TYPE_OLD "application/vnd.dev.sigstore.bundle+json;version="
#define PAYLOAD_TYPE "application/vnd.in-toto+json"

void k_oms_free(struct k_oms *o)
{
	if (o)
		k_arena_fini(&o->arena);
	k_free(o);
}

void k_oms_pae(struct k_buf *b, const void *payload, size_t n)
{
	k_buf_printf(b, "DSSEv1 %zu %s %zu ", strlen(PAYLOAD_TYPE), PAYLOAD_TYPE, n);
	k_buf_put(b, payload, n);
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

/* No space and no line end that could change unseen: a flipped bit anywhere in the bundle is noticed. */
static void put_bundle(struct k_buf *b, const char *hint, const struct k_buf *payload, const uint8_t *sig, size_t n_sig)
{
	k_buf_puts(b, "{\"mediaType\":\"" MEDIA_TYPE "\",\"verificationMaterial\":{\"publicKey\":{\"hint\":\"");
	k_buf_puts(b, hint);
	k_buf_puts(b, "\"},\"tlogEntries\":[]},\"dsseEnvelope\":{\"payload\":\"");
	k_base64_put(b, payload->data, payload->len);
	k_buf_puts(b, "\",\"payloadType\":\"" PAYLOAD_TYPE "\",\"signatures\":[{\"sig\":\"");
	k_base64_put(b, sig, n_sig);
	k_buf_puts(b, "\",\"keyid\":\"\"}]}}");
}

int k_oms_write(const struct k_oms *o, const struct k_key *key, struct k_buf *b, struct k_err *err)
{
	uint8_t sig[K_SIGNATURE_MAX];
	struct k_buf payload, pae;
	size_t n_sig = 0;
	char hint[65];
	int r;

	k_buf_init(&payload, 0);
	k_buf_init(&pae, 0);
	r = oms_statement_put(o, &payload, err);
	if (r == 0)
		k_oms_pae(&pae, payload.data, payload.len);
	if (r == 0)
		r = k_buf_ok(&pae, "what is signed", err);
	if (r == 0)
		r = k_key_sign(key, pae.data, pae.len, sig, &n_sig, err);
	if (r == 0)
		r = k_key_hint(key, hint, err);
	if (r == 0) {
		put_bundle(b, hint, &payload, sig, n_sig);
		r = k_buf_ok(b, "the bundle", err);
	}
	if (r == 0 && b->len > K_OMS_BUNDLE_MAX)
		r = k_err_set(err, K_EUNSUP, "'%s': the bundle would have %zu bytes, verifiers take %d at most", o->subject, b->len, K_OMS_BUNDLE_MAX);
	k_buf_fini(&payload);
	k_buf_fini(&pae);
	return r;
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

struct bundle {                         /* borrowed from the JSON */
	const char *hint, *payload, *payload_type, *sig;
	size_t n_payload, n_sig;
	bool old;                       /* the key lies in it: how bundles before 1.0 were made */
};

/* The package refuses members that it does not know, so do we: a changed name is no absent member. */
static int only(const struct k_json *obj, const char *const *names, const char *where, struct k_err *err)
{
	const char *key;
	struct k_json *v;
	int i;

	for (void *it = NULL; k_json_next(obj, &it, &key, &v); ) {
		for (i = 0; names[i] && strcmp(names[i], key) != 0; i++)
			;
		if (!names[i])
			return k_err_set(err, K_EFORMAT, "%s has a member '%s' that is not of the format; the bundle is damaged", where, key);
	}
	return 0;
}

static int read_material(struct bundle *u, const struct k_json *root, const char *what, struct k_err *err)
{
	static const char *const certificates[] = { "x509CertificateChain", "certificate", NULL };
	static const char *const names[] = { "publicKey", "tlogEntries", "timestampVerificationData", NULL };
	static const char *const key_names[] = { "hint", "rawBytes", "keyDetails", NULL };
	struct k_json *material = NULL, *key = NULL;
	char where[256];
	int r = k_json_get_object(root, "verificationMaterial", &material, what, err);

	for (int i = 0; r == 0 && certificates[i]; i++)
		if (k_json_find(material, certificates[i]))
			return k_err_set(err, K_EUNSUP, "'%s': signed with a certificate; that needs another verifier (model_signing verify)", what);
	if (r == 0)
		r = only(material, names, "verificationMaterial", err);
	if (r == 0 && k_json_len(k_json_find(material, "tlogEntries")) > 0)
		return k_err_set(err, K_EUNSUP, "'%s': signed by way of a transparency log; that needs another verifier (model_signing verify)", what);
	if (r == 0)
		r = k_json_get_object(material, "publicKey", &key, what, err);
	snprintf(where, sizeof(where), "%s: publicKey", what);
	if (r == 0)
		r = only(key, key_names, "publicKey", err);
	if (r == 0)
		r = k_json_str_or(key, "hint", NULL, &u->hint, where, err);
	u->old = k_json_find(key, "rawBytes") != NULL;
	return r;
}

static int read_envelope(struct bundle *u, const struct k_json *root, const char *what, struct k_err *err)
{
	static const char *const names[] = { "payload", "payloadType", "signatures", NULL };
	static const char *const sig_names[] = { "sig", "keyid", NULL };
	struct k_json *envelope = NULL, *list = NULL, *sig;
	int r = k_json_get_object(root, "dsseEnvelope", &envelope, what, err);

	if (r == 0)
		r = only(envelope, names, "dsseEnvelope", err);
	if (r == 0)
		r = k_json_get_str(envelope, "payloadType", &u->payload_type, what, err);
	if (r == 0)
		r = k_json_get_str(envelope, "payload", &u->payload, what, err);
	if (r == 0)
		r = k_json_get_array(envelope, "signatures", &list, what, err);
	if (r < 0)
		return r;
	if (k_json_len(list) != 1)
		return k_err_set(err, K_EFORMAT, "'%s': %zu signatures, wanted one", what, k_json_len(list));
	sig = k_json_at(list, 0);
	r = only(sig, sig_names, "the signature", err);
	if (r == 0)
		r = k_json_get_str(sig, "sig", &u->sig, what, err);
	if (r == 0 && strcmp(u->payload_type, PAYLOAD_TYPE) != 0)
		r = k_err_set(err, K_EFORMAT, "'%s': a payload of type %s, wanted %s", what, u->payload_type, PAYLOAD_TYPE);
	return r;
}

static int read_bundle(struct bundle *u, const struct k_json *root, const char *what, struct k_err *err)
{
	static const char *const names[] = { "mediaType", "verificationMaterial", "dsseEnvelope", NULL };
	const char *type = NULL;
	int r;

	if (k_json_kind(root) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': %s, wanted a bundle", what, k_json_kind_name(root));
	r = k_json_get_str(root, "mediaType", &type, what, err);
	if (r == 0 && strncmp(type, MEDIA_TYPE_OLD, strlen(MEDIA_TYPE_OLD)) == 0)
		return k_err_set(err, K_EUNSUP, "'%s': a bundle of type %s, wanted %s", what, type, MEDIA_TYPE);
	if (r == 0 && strcmp(type, MEDIA_TYPE) != 0)
		return k_err_set(err, K_EFORMAT, "'%s': a file of type %s, wanted %s", what, type, MEDIA_TYPE);
	if (r == 0 && k_json_find(root, "messageSignature"))
		return k_err_set(err, K_EUNSUP, "'%s': signs one digest (messageSignature), not the manifest of a model", what);
	if (r == 0)
		r = only(root, names, "the bundle", err);
	if (r == 0)
		r = read_material(u, root, what, err);
	return r < 0 ? r : read_envelope(u, root, what, err);
}

static int check_hint(const struct bundle *u, const struct k_key *key, const char *what, struct k_err *err)
{
	char hint[65];
	int r = k_key_hint(key, hint, err);

	if (r == 0 && u->hint && *u->hint && strcmp(hint, u->hint) != 0)
		r = k_err_set(err, K_ENO, "'%s': signed with another key: its name is %.64s, the given one's %s", what, u->hint, hint);
	return r;
}

/* The payload's own bytes are behind the preamble in pae. */
static int check_signature(const struct bundle *u, const struct k_key *key, struct k_buf *payload, const char *what, struct k_err *err)
{
	struct k_buf pae, sig;
	int r;

	k_buf_init(&pae, 0);
	k_buf_init(&sig, 4096);
	r = k_base64_get(payload, u->payload, strlen(u->payload), "the payload", err);
	if (r == 0)
		r = k_base64_get(&sig, u->sig, strlen(u->sig), "the signature", err);
	if (r == K_EFORMAT)
		r = k_err_set(err, K_EFORMAT, "'%s': the payload or the signature is not in base64; the bundle is damaged", what);
	if (r == 0)
		k_oms_pae(&pae, payload->data ? payload->data : "", payload->len);
	if (r == 0)
		r = k_buf_ok(&pae, "what is signed", err);
	if (r == 0)
		r = k_key_verify(key, pae.data, pae.len, (const uint8_t *)(sig.data ? sig.data : ""), sig.len, err);
	if (r == K_ENO && (u->old || (payload->data && strstr(payload->data, OMS_PREDICATE_OLD))))
		r = k_err_set(err, K_EUNSUP, "'%s': made before version 1.0 of the format, which signed other bytes; sign the model again", what);
	else if (r == K_ENO)
		r = k_err_set(err, K_ENO, "'%s': the signature does not match: the bundle was changed, or the key is not the signer's", what);
	k_buf_fini(&pae);
	k_buf_fini(&sig);
	return r;
}

/* --- the whole ---------------------------------------------------------------------------------------------------------- */

static int read_signed(struct k_oms *o, const struct k_buf *payload, const char *what, struct k_err *err)
{
	struct k_json *statement = NULL;
	int r = k_json_parse(&statement, payload->data ? payload->data : "", payload->len, K_JSON_STRICT, what, err);

	if (r == 0)
		r = oms_statement_get(o, statement, what, err);
	k_json_free(statement);
	return r;
}

int k_oms_read(struct k_oms **out, const char *text, size_t n, const struct k_key *key, const char *what, struct k_err *err)
{
	struct k_oms *o = k_calloc(1, sizeof(*o));
	struct k_json *root = NULL;
	struct bundle u = { 0 };
	struct k_buf payload;
	int r;

	*out = NULL;
	if (!o)
		return k_err_nomem(err, sizeof(*o), "a signature");
	k_arena_init(&o->arena);
	k_buf_init(&payload, 0);
	if (n == 0 || *text != '{')
		r = k_err_set(err, K_EFORMAT, "'%s' is no bundle: it is no JSON object", what);
	else
		r = k_json_parse(&root, text, n, K_JSON_STRICT, what, err);
	if (r == 0)
		r = read_bundle(&u, root, what, err);
	if (r == 0)
		r = check_hint(&u, key, what, err);
	if (r == 0)
		r = check_signature(&u, key, &payload, what, err);
	k_json_free(root);
	if (r == 0)
		r = read_signed(o, &payload, what, err);
	k_buf_fini(&payload);
	if (r < 0) {
		k_oms_free(o);
		return r;
	}
	*out = o;
	return 0;
}

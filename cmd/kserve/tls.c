/* tls.c: TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers only. A reload makes a whole new context: connections hold on
 * to theirs. */
#include "libcore/base.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "cmd/kserve/tls.h"

struct k_tls {
	SSL_CTX *ctx;
	char *cert, *key;
};

/* OpenSSL's last reason, which is for the operator: what goes to clients says nothing of it. */
static int refuse(struct k_err *err, const char *what, const char *path)
{
	const char *why = ERR_reason_error_string(ERR_peek_error());
	ERR_clear_error();
	return k_err_set(err, K_EUSAGE, "'%s': %s: %s", path, what, why ? why : "the file is not what it should be");
}

/* A key with a passphrase is refused instead of asking at the terminal. */
static int no_passphrase(char *buf K_UNUSED, int size K_UNUSED, int writing K_UNUSED, void *arg K_UNUSED) { return 0; }

static int set_up(SSL_CTX *c, const char *cert, const char *key, struct k_err *err)
{
	SSL_CTX_set_default_passwd_cb(c, no_passphrase);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	/* Sessions are resumed by tickets alone, so nothing is kept for clients that left. */
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	if (!SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) || !SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20"))
		return k_err_set(err, K_EIO, "OpenSSL offers no TLS 1.2 with the ciphers that are wanted");
	if (SSL_CTX_use_certificate_chain_file(c, cert) != 1)
		return refuse(err, "no certificate", cert);
	if (SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) != 1)
		return refuse(err, "no key", key);
	return SSL_CTX_check_private_key(c) == 1 ? 0 : refuse(err, "this is not the key of the certificate", key);
}

static int load(SSL_CTX **out, const char *cert, const char *key, struct k_err *err)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());
	if (!c)
		return k_err_nomem(err, 1024, "TLS");
	int rc = set_up(c, cert, key, err);
	if (rc)
		SSL_CTX_free(c);
	else
		*out = c;
	return rc;
}

int k_tls_open(struct k_tls **out, const char *cert, const char *key, struct k_err *err)
{
	struct k_tls *t = k_calloc(1, sizeof(*t));
	if (t) {
		t->cert = k_strdup(cert);
		t->key = k_strdup(key);
	}
	int rc = !t || !t->cert || !t->key ? k_err_nomem(err, sizeof(*t), "TLS") : load(&t->ctx, cert, key, err);
	if (rc)
		k_tls_close(t);
	else
		*out = t;
	return rc;
}

int k_tls_reload(struct k_tls *t, struct k_err *err)
{
	SSL_CTX *fresh = NULL;
	int rc = load(&fresh, t->cert, t->key, err);
	if (rc)
		return rc;
	SSL_CTX_free(t->ctx);
	t->ctx = fresh;
	return 0;
}

void k_tls_close(struct k_tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	k_free(t->cert);
	k_free(t->key);
	k_free(t);
}

struct ssl_st *k_tls_begin(struct k_tls *t)
{
	SSL *s = SSL_new(t->ctx);
	ERR_clear_error();
	return s;
}

void k_tls_bye(struct ssl_st *s)
{
	SSL_shutdown(s);
	ERR_clear_error();
}

void k_tls_end(struct ssl_st *s) { SSL_free(s); }

/* tls.h: the certificate and key of a server, and one connection's TLS. The only part that knows OpenSSL's libssl. */
#ifndef K_TLS_H
#define K_TLS_H

#include "libcore/err.h"

struct k_tls;
struct ssl_st;

/* Reads both files, PEM: the certificate first in its chain, and its key without a passphrase. TLS 1.2 and later. */
int k_tls_open(struct k_tls **out, const char *cert, const char *key, struct k_err *err) K_MUST_USE;
/* Reads them again, for connections that come; those that are there go on. Whatever is wrong with them, what was read before stays. */
int k_tls_reload(struct k_tls *t, struct k_err *err) K_MUST_USE;
void k_tls_close(struct k_tls *t);                      /* takes NULL */

/* A connection's state, NULL without memory. */
struct ssl_st *k_tls_begin(struct k_tls *t);
void k_tls_bye(struct ssl_st *s);                       /* says that nothing more will be written */
void k_tls_end(struct ssl_st *s);                       /* takes NULL */

#endif

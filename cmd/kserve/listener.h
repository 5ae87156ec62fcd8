/* listener.h: the socket that a server listens on: ADDR:PORT, unix:PATH or fd:N. */
#ifndef K_LISTENER_H
#define K_LISTENER_H

#include "libcore/err.h"

struct k_listener {
	int fd;                         /* -1: none; non-blocking, listening */
	int port;                       /* 0: not TCP */
	bool open_to_others;            /* reachable from other machines */
	char url[300];                  /* "http://127.0.0.1:8080", "https://..", "unix:/run/kserve" */
	char path[256];                 /* of a unix socket, removed at the end where it is still this one; "" for none */
	uint64_t dev, ino;
};

/* tls: for the URL. */
int k_listener_open(struct k_listener *l, const char *spec, bool tls, struct k_err *err) K_MUST_USE;
/* fd stays open: whoever accepts on it closes it. */
void k_listener_fini(struct k_listener *l);

#endif

/* listener.c: sockets. Only the loopback is "here"; a unix socket is for its owner alone (mode 0600). */
#include "libcore/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/kserve/listener.h"

#define BACKLOG 1024
#define DESCRIPTORS 16384               /* what a server asks for; shells give it 1,024 */

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
	return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

/* The address as it is, with the port that the system chose. */
static int say_where(struct k_listener *l, bool tls, struct k_err *err)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[128], port[16];
	if (getsockname(l->fd, (struct sockaddr *)&ss, &len))
		return k_err_io(err, "getsockname");
	if (ss.ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const struct sockaddr_un *)&ss;
		snprintf(l->url, sizeof(l->url), "unix:%s", un->sun_path);
		return 0;
	}
	l->open_to_others = !is_loopback((struct sockaddr *)&ss);
	if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return k_err_set(err, K_EIO, "the address of the socket has no name");
	l->port = atoi(port);
	bool six = ss.ss_family == AF_INET6;
	snprintf(l->url, sizeof(l->url), "http%s://%s%s%s:%s", tls ? "s" : "", six ? "[" : "", host, six ? "]" : "", port);
	return 0;
}

static int open_tcp(struct k_listener *l, const char *spec, struct k_err *err)
{
	char host[128];
	const char *colon = strrchr(spec, ':');
	char *end;
	long port = colon && colon[1] ? strtol(colon + 1, &end, 10) : -1;
	if (port < 0 || port > 65535 || *end || (size_t)(colon - spec) >= sizeof(host))
		return k_err_set(err, K_EUSAGE, "--listen '%s': wanted ADDR:PORT, unix:PATH or fd:N", spec);
	size_t n = (size_t)(colon - spec);
	if (n >= 2 && spec[0] == '[' && spec[n - 1] == ']')
		snprintf(host, sizeof(host), "%.*s", (int)n - 2, spec + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)n, spec);
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list = NULL;
	int rc = getaddrinfo(*host ? host : NULL, colon + 1, &hint, &list);
	if (rc)
		return k_err_set(err, K_EUSAGE, "--listen '%s': %s", spec, gai_strerror(rc));
	int on = 1;
	l->fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	rc = 0;
	if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
		bind(l->fd, list->ai_addr, list->ai_addrlen) || listen(l->fd, BACKLOG))
		rc = k_err_io(err, "cannot listen on '%s'", spec);
	freeaddrinfo(list);
	return rc;
}

static int open_unix(struct k_listener *l, const char *spec, const char *path, struct k_err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	if (!*path || strlen(path) >= sizeof(a.sun_path))
		return k_err_set(err, K_EUSAGE, "--listen '%s': the path must have 1 to %zu bytes", spec, sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path) + 1);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return k_err_io(err, "cannot listen on '%s'", spec);
	/* A socket that nobody listens on is left from an earlier run. */
	if (!lstat(path, &st) && S_ISSOCK(st.st_mode)) {
		if (!connect(l->fd, (struct sockaddr *)&a, sizeof(a)))
			return k_err_set(err, K_EIO, "cannot listen on '%s': another server listens there", spec);
		if (errno == ECONNREFUSED)
			unlink(path);
	}
	mode_t old = umask(0177);
	int rc = bind(l->fd, (struct sockaddr *)&a, sizeof(a)) || listen(l->fd, BACKLOG) ? k_err_io(err, "cannot listen on '%s'", spec) : 0;
	umask(old);
	if (!rc && !lstat(path, &st)) {
		snprintf(l->path, sizeof(l->path), "%s", path);
		l->dev = (uint64_t)st.st_dev;
		l->ino = (uint64_t)st.st_ino;
	}
	return rc;
}

/* A service manager says to whom it has given descriptors, and how many: 3 and on. Others that have put a socket there need say nothing. */
static int check_activation(const char *spec, long fd, struct k_err *err)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	if (!n)
		return 0;
	if (pid && strtol(pid, NULL, 10) != (long)getpid())
		return k_err_set(err, K_EUSAGE, "--listen '%s': the sockets of LISTEN_FDS are for another process", spec);
	if (fd >= 3 + strtol(n, NULL, 10))
		return k_err_set(err, K_EUSAGE, "--listen '%s': LISTEN_FDS says that %s were handed over, from 3 on", spec, n);
	return 0;
}

static int open_fd(struct k_listener *l, const char *spec, const char *number, struct k_err *err)
{
	char *end;
	int on = 0;
	socklen_t len = sizeof(on);
	long fd = strtol(number, &end, 10);
	if (!*number || *end || fd < 0 || fd > 1 << 20 || getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) || !on)
		return k_err_set(err, K_EUSAGE, "--listen '%s' is not a descriptor of a listening socket", spec);
	int rc = check_activation(spec, fd, err);
	if (rc)
		return rc;
	l->fd = (int)fd;
	if (fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) | O_NONBLOCK))
		return k_err_io(err, "--listen '%s'", spec);
	return 0;
}

static void more_descriptors(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= DESCRIPTORS)
		return;
	r.rlim_cur = r.rlim_max < DESCRIPTORS ? r.rlim_max : DESCRIPTORS;
	if (setrlimit(RLIMIT_NOFILE, &r))
		return;                 /* it works with those there are */
}

int k_listener_open(struct k_listener *l, const char *spec, bool tls, struct k_err *err)
{
	memset(l, 0, sizeof(*l));
	l->fd = -1;
	more_descriptors();
	int rc;
	if (!strncmp(spec, "unix:", 5))
		rc = open_unix(l, spec, spec + 5, err);
	else if (!strncmp(spec, "fd:", 3))
		rc = open_fd(l, spec, spec + 3, err);
	else
		rc = open_tcp(l, spec, err);
	if (!rc)
		rc = say_where(l, tls, err);
	if (rc && l->fd >= 0) {
		close(l->fd);
		l->fd = -1;
		k_listener_fini(l);
	}
	return rc;
}

void k_listener_fini(struct k_listener *l)
{
	struct stat st;
	/* What lies there may be the next server's. */
	if (*l->path && !lstat(l->path, &st) && (uint64_t)st.st_dev == l->dev && (uint64_t)st.st_ino == l->ino)
		unlink(l->path);
	*l->path = 0;
}

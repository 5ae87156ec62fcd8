/* cors.c: an origin is compared whole; "localhost" means scheme, one of three hosts and a port, and nothing behind it. Credentials are
 * offered to origins that stand in the list by name. */
#include "libcore/base.h"

#include <strings.h>

#include "cmd/kserve/cors.h"

static bool is_localhost(const char *origin)
{
	static const char *const hosts[] = { "localhost", "127.0.0.1", "[::1]" };
	const char *p = !strncasecmp(origin, "http://", 7) ? origin + 7 : !strncasecmp(origin, "https://", 8) ? origin + 8 : NULL;
	for (size_t i = 0; p && i < K_LEN(hosts); i++) {
		size_t n = strlen(hosts[i]);
		if (strncasecmp(p, hosts[i], n))
			continue;
		const char *port = p + n;
		if (!*port || (*port == ':' && port[1] && strlen(port) <= 6 && !port[1 + strspn(port + 1, "0123456789")]))
			return true;
	}
	return false;
}

/* Scheme, host, and a port that is not the scheme's own: browsers send no more. "null" is how pages without an origin are called. */
static bool is_origin(const char *s, size_t n)
{
	static const struct { const char *scheme, *port; } own[] = { { "http://", ":80" }, { "https://", ":443" } };
	if (n == 4 && !strncasecmp(s, "null", 4))
		return true;
	const char *sep = memmem(s, n, "://", 3), *host = sep ? sep + 3 : NULL;
	if (!sep || sep == s || host == s + n || memchr(host, '/', (size_t)(s + n - host)) || memchr(s, '*', n))
		return false;
	for (size_t i = 0; i < K_LEN(own); i++) {
		size_t scheme = strlen(own[i].scheme), port = strlen(own[i].port);
		if (n > scheme + port && !strncasecmp(s, own[i].scheme, scheme) && !strncmp(s + n - port, own[i].port, port))
			return false;
	}
	return true;
}

int k_cors_check(const char *origins, struct k_err *err)
{
	while (*(origins += strspn(origins, ", "))) {
		size_t n = strcspn(origins, ", ");
		if (!(n == 1 && *origins == '*') && !(n == 9 && !strncasecmp(origins, "localhost", 9)) && !is_origin(origins, n))
			return k_err_set(err, K_EUSAGE, "--cors-origins has '%.*s', which is no origin that a browser sends: wanted https://HOST or https://HOST:PORT, "
				"without a path and without the port of the scheme, localhost or *", (int)K_MIN(n, (size_t)200), origins);
		origins += n;
	}
	return 0;
}

enum match { NONE, ANY, NAMED };

static enum match find(const char *origins, const char *origin)
{
	enum match best = NONE;
	while (*origins) {
		origins += strspn(origins, ", ");
		size_t n = strcspn(origins, ", ");
		if (n == 1 && *origins == '*')
			best = K_MAX(best, ANY);
		else if (n == 9 && !strncasecmp(origins, "localhost", 9))
			best = K_MAX(best, is_localhost(origin) ? NAMED : NONE);
		else if (n && n == strlen(origin) && !strncasecmp(origins, origin, n))
			best = NAMED;
		origins += n;
	}
	return best;
}

void k_cors_put(struct k_buf *out, const char *origins, const char *origin)
{
	enum match m = origins && origin ? find(origins, origin) : NONE;
	if (m == ANY)
		k_buf_puts(out, "Access-Control-Allow-Origin: *\r\n");
	else if (m == NAMED)
		k_buf_printf(out, "Access-Control-Allow-Origin: %s\r\nAccess-Control-Allow-Credentials: true\r\n", origin);
	if (m != NONE)
		k_buf_puts(out, "Access-Control-Expose-Headers: X-Request-Id, Retry-After\r\n");
	if (origins)
		k_buf_puts(out, "Vary: Origin\r\n");
}

void k_cors_put_preflight(struct k_buf *out, const char *wanted)
{
	k_buf_puts(out, "Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\nAccess-Control-Max-Age: 600\r\nAccess-Control-Allow-Headers: ");
	k_buf_puts(out, wanted && *wanted ? wanted : "Authorization, Content-Type, X-Api-Key, X-Request-Id");
	k_buf_puts(out, "\r\n");
}

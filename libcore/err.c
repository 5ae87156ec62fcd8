/* err.c: codes, exit statuses and sentences; and the question whether a context was asked to stop. */
#include "libcore/base.h"
#include "libcore/err.h"
#include "libcore/ctx.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct { const char *name, *about; int exit; } rows[] = {
	{ "K_OK", "done", 0 },
#define K_ERR(name, exit, text) { "K_" #name, text, exit },
#include "libcore/errs.def"
#undef K_ERR
};

static size_t row_of(int code)
{
	size_t i = code > 0 ? 0 : (size_t)-(long)code;

	return i < K_LEN(rows) ? i : (size_t)-K_EBUG;
}

int k_err_exit(int code) { return rows[row_of(code)].exit; }
const char *k_err_name(int code) { return rows[row_of(code)].name; }
const char *k_err_about(int code) { return rows[row_of(code)].about; }

/* Text from files ends up in sentences: no control characters, and no half of a UTF-8 character where it was
 * cut. */
static void clean(struct k_err *err, bool cut)
{
	size_t n = strlen(err->msg);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)err->msg[i] < 32 || err->msg[i] == 127)
			err->msg[i] = '?';
	if (!cut)
		return;
	n = sizeof err->msg - 4;
	while (n > 0 && ((unsigned char)err->msg[n] & 0xc0) == 0x80)
		n--;
	memcpy(err->msg + n, "...", 4);
}

static void append(struct k_err *err, const char *fmt, va_list ap)
{
	size_t at = strlen(err->msg);
	int n = vsnprintf(err->msg + at, sizeof err->msg - at, fmt, ap);

	clean(err, n < 0 || (size_t)n >= sizeof err->msg - at);
}

int k_err_set(struct k_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	err->code = code;
	err->msg[0] = 0;
	va_start(ap, fmt);
	append(err, fmt, ap);
	va_end(ap);
	return code;
}

int k_err_add(struct k_err *err, const char *fmt, ...)
{
	size_t n = strlen(err->msg);
	va_list ap;

	if (n && n + 3 < sizeof err->msg)
		memcpy(err->msg + n, ", ", 3);
	va_start(ap, fmt);
	append(err, fmt, ap);
	va_end(ap);
	return err->code;
}

/* glibc's answers with the text, POSIX's with a status. */
static const char *text_of(int number, char *buf, size_t n)
{
#ifdef __GLIBC__
	return strerror_r(number, buf, n);
#else
	return strerror_r(number, buf, n) == 0 ? buf : "unknown error";
#endif
}

int k_err_io(struct k_err *err, const char *fmt, ...)
{
	int number = errno;
	char why[128];
	va_list ap;
	size_t n;

	err->code = K_EIO;
	err->msg[0] = 0;
	va_start(ap, fmt);
	append(err, fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof err->msg - n, ": %s", text_of(number, why, sizeof why));
	clean(err, false);
	return K_EIO;
}

int k_err_nomem(struct k_err *err, size_t n, const char *what)
{
	return k_err_set(err, K_ENOMEM, "out of memory (%zu bytes for %s)", n, what);
}

uint64_t k_ctx_ceiling(const struct k_ctx *ctx)
{
	return ctx->max_memory ? ctx->max_memory : (uint64_t)512 << 20;
}

int k_ctx_check(const struct k_ctx *ctx, struct k_err *err)
{
	/* A thread may have set it, not only a signal. */
	if (ctx && ctx->stop && __atomic_load_n(ctx->stop, __ATOMIC_RELAXED))
		return k_err_set(err, K_ECANCEL, "stopped by a signal");
	return 0;
}

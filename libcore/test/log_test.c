/* log_test.c: the lines on standard error. */
#include "libcore/base.h"
#include "libcore/json.h"
#include "libcore/log.h"
#include "libcore/test.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* What was written to the log's file since the last call. */
static const char *lines(int fd)
{
	static char text[8192];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	K_CHECK(n >= 0 && !ftruncate(fd, 0) && lseek(fd, 0, SEEK_SET) == 0);
	text[n] = 0;
	return text;
}

K_TEST(log_lines_are_one_line_and_filtered)
{
	FILE *f = tmpfile();
	struct k_log log;
	const char *s;

	k_logf(NULL, K_LOG_ERROR, "nobody hears this");
	k_log_init(&log, "ktry");
	log.fd = fileno(f);
	k_logf(&log, K_LOG_DEBUG, "hidden");
	k_logf(&log, K_LOG_WARN, "a\nb \033[1m");
	s = lines(log.fd);
	K_CHECK_MSG(!strcmp(s, "ktry: warning: a?b ?[1m\n"), "%s", s);
	log.json = true;
	k_logf(&log, K_LOG_INFO, "say \"x\\y\"");
	s = lines(log.fd);
	K_CHECK_MSG(strstr(s, "\"level\": \"info\", \"tool\": \"ktry\", \"msg\": \"say \\\"x\\\\y\\\"\"}\n"),
		"%s", s);
	k_log_fini(&log);
	fclose(f);
}

K_TEST(progress_lines_end_complete)
{
	FILE *f = tmpfile();
	struct k_progress p;
	struct k_log log;
	const char *s;

	k_log_init(&log, "ktry");
	log.fd = fileno(f);
	log.progress = K_PROGRESS_JSON;
	k_progress_begin(&p, &log, "converting", 1000, "bytes");
	for (int i = 0; i < 1000; i++)
		k_progress_step(&p, 1);
	k_progress_end(&p);
	s = lines(log.fd);
	K_CHECK_MSG(!strcmp(s, "{\"event\":\"progress\",\"done\":1000,\"total\":1000,\"unit\":\"bytes\"}\n"),
		"%s", s);
	k_log_fini(&log);
	fclose(f);
}

K_TEST(meter_is_wiped_before_a_line)
{
	FILE *f = tmpfile();
	struct k_progress p;
	struct k_log log;
	const char *s;

	k_log_init(&log, "ktry");
	log.fd = fileno(f);
	log.progress = K_PROGRESS_METER;
	k_progress_begin(&p, &log, "converting", 2000000, "bytes");
	p.next_ns = 0;
	k_progress_step(&p, 1000000);
	k_logf(&log, K_LOG_INFO, "found");
	s = lines(log.fd);
	K_CHECK_MSG(strstr(s, "converting 1.0 MB of 2.0 MB") && strstr(s, "\r\033[Kktry: found\n"), "%s", s);
	k_progress_end(&p);
	K_CHECK(!strcmp(lines(log.fd), ""));
	k_log_fini(&log);
	fclose(f);
}

/* A wider line would go on in the next one, and each redraw leave one behind. */
K_TEST(meter_is_no_wider_than_the_terminal)
{
	static const struct { unsigned short columns; const char *want; } rows[] = {
		{ 60, "\rktry: converting 1.0 MB of 2.0 MB, " }, { 30, "\r1.0 MB of 2.0 MB, " }, { 10, "\r1.0 MB of" }, { 0, "\rktry: converting 1.0 MB of 2.0 MB, " },
	};
	int ours = posix_openpt(O_RDWR | O_NOCTTY), theirs = -1;

	if (ours >= 0 && grantpt(ours) == 0 && unlockpt(ours) == 0)
		theirs = open(ptsname(ours), O_RDWR | O_NOCTTY);
	K_CHECK(theirs >= 0);
	for (size_t i = 0; i < K_LEN(rows); i++) {
		struct winsize w = { .ws_row = 24, .ws_col = rows[i].columns };
		struct k_progress p;
		struct k_log log;
		char text[512];
		ssize_t n;

		K_CHECK(ioctl(theirs, TIOCSWINSZ, &w) == 0);
		k_log_init(&log, "ktry");
		log.fd = theirs;
		log.progress = K_PROGRESS_METER;
		k_progress_begin(&p, &log, "converting", 2000000, "bytes");
		p.start_ns -= 2000000000;
		p.next_ns = 0;
		k_progress_step(&p, 1000000);
		n = read(ours, text, sizeof text - 1);
		K_CHECK(n > 4);
		text[n] = 0;
		K_CHECK_MSG(strncmp(text, rows[i].want, strlen(rows[i].want)) == 0 && strcmp(text + n - 3, "\033[K") == 0, "%s", text);
		K_CHECK_MSG(n - 4 < (rows[i].columns ? rows[i].columns : 80), "%zd in %d columns", n, rows[i].columns);
		log.meter_drawn = false;
		k_log_fini(&log);
	}
	close(theirs);
	close(ours);
}

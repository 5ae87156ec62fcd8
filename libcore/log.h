/* log.h: messages for people and the progress meter. Standard error only; the library does not know flags, nor whether there
 * is a terminal: it gets a filled struct k_log from cmd/cli.c. Thread-safe. One line an event, lower case, no full stop. */
#ifndef K_LOG_H
#define K_LOG_H

#include <pthread.h>
#include "libcore/base.h"

enum k_log_level { K_LOG_ERROR, K_LOG_WARN, K_LOG_INFO, K_LOG_DEBUG };
enum k_progress_mode { K_PROGRESS_NONE, K_PROGRESS_METER, K_PROGRESS_JSON };

struct k_log {
	const char *tool;               /* prefix of text lines: "kquant: ..." */
	enum k_log_level level;         /* what is more talkative than this is dropped */
	bool json;                      /* one object a line: {"time","level","tool","msg"} */
	enum k_progress_mode progress;
	int fd;                         /* 2 */
	pthread_mutex_t lock;
	bool meter_drawn;               /* a meter stands on the last line and must be wiped first */
};

void k_log_init(struct k_log *log, const char *tool);
void k_log_fini(struct k_log *log);
/* Writes one line; log may be NULL (dropped). */
void k_logf(struct k_log *log, enum k_log_level level, const char *fmt, ...) K_PRINTF(3, 4);

/* Progress of one long job. step() is cheap enough for a loop; at most two lines or redraws a second; rate and time left.
 * JSON: {"event":"progress","done":N,"total":N,"unit":"bytes"}; a last one with done == total at end(). */
struct k_progress {
	struct k_log *log;
	const char *what, *unit;        /* "converting", "bytes" */
	uint64_t done, total;
	uint64_t start_ns, next_ns;
};
void k_progress_begin(struct k_progress *p, struct k_log *log, const char *what, uint64_t total, const char *unit);
void k_progress_step(struct k_progress *p, uint64_t n);
void k_progress_end(struct k_progress *p);

/* Monotonic nanoseconds. */
uint64_t k_now_ns(void);

#endif

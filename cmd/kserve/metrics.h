/* metrics.h: what is counted, as Prometheus reads it (text format 0.0.4), and the slots as JSON. No text of users in labels. */
#ifndef K_METRICS_H
#define K_METRICS_H

#include "cmd/kserve/sched.h"
#include "cmd/kserve/selftest.h"

#define K_METRIC_ROWS 256

enum k_cancel { K_CANCEL_DISCONNECT, K_CANCEL_STALL, K_CANCELS };
/* Touched by the HTTP thread alone. */
struct k_metrics {
	struct { const char *route; int status; uint64_t n; } request[K_METRIC_ROWS];
	int n_requests;
	struct { const char *reason; uint64_t n; } rejected[32];
	int n_rejected;
	uint64_t cancelled[K_CANCELS];
	uint64_t connections;           /* now */
	uint64_t accepted;
	int64_t started;                /* seconds since 1970 */
};

/* route: static; NULL: none. */
void k_metrics_count(struct k_metrics *m, const char *route, int status);
/* reason: static; NULL: nothing is counted. */
void k_metrics_reject(struct k_metrics *m, const char *reason);
void k_metrics_cancel(struct k_metrics *m, enum k_cancel why);
void k_metrics_put(struct k_buf *b, const struct k_metrics *m, const struct k_server *s, const struct k_sched_stats *st,
	enum k_selftest_state test);
/* An array of all slots; how many are free, -1 without memory. */
int k_metrics_slots(struct k_buf *b, const struct k_server *s, struct k_sched *sched);

#endif

/* selftest.c: a second look at the file, in a thread that gets the CPU and the disk when nobody else wants them. A file that cannot be
 * read is reported like one that is damaged: what is mapped of it is as doubtful. */
#include "libcore/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "formats/format.h"
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "cmd/kserve/selftest.h"

#define IDLE_IO (3 << 13)               /* IOPRIO_CLASS_IDLE */

struct k_selftest {
	pthread_t thread;
	char *path;
	struct k_ctx ctx;
	volatile sig_atomic_t stop;
	atomic_int state;
};

static bool stopped(const struct k_selftest *t) { return __atomic_load_n(&t->stop, __ATOMIC_RELAXED) != 0; }

static int check(struct k_selftest *t, struct k_err *err)
{
	struct k_ckpt *ck;
	int rc = k_format_open(&ck, t->path, false, &t->ctx, err);
	if (rc)
		return rc;
	rc = k_ckpt_check_values(ck, &t->ctx, err);
	k_ckpt_close(ck);
	return rc;
}

static void *run(void *arg)
{
	struct k_selftest *t = arg;
	struct k_err err = { 0 };
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
	syscall(SYS_ioprio_set, 1, 0, IDLE_IO);         /* where the kernel has no such thing nothing is lost */
	int rc = k_pool_new(&t->ctx.pool, 1, &err);
	if (!rc) {
		rc = check(t, &err);
		k_pool_free(t->ctx.pool);
	}
	if (rc && !stopped(t) && rc != K_ENOMEM)
		k_logf(t->ctx.log, K_LOG_ERROR, "the model is damaged: %s", err.msg);
	else if (rc && !stopped(t))
		k_logf(t->ctx.log, K_LOG_WARN, "the model was not verified: %s", err.msg);
	else if (!rc)
		k_logf(t->ctx.log, K_LOG_INFO, "the model is verified: every digest is right");
	atomic_store(&t->state, !rc ? K_SELFTEST_OK : stopped(t) || rc == K_ENOMEM ? K_SELFTEST_NONE : K_SELFTEST_BAD);
	return NULL;
}

int k_selftest_begin(struct k_selftest **out, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_selftest *t = k_calloc(1, sizeof(*t));
	if (!t || !(t->path = k_strdup(path))) {
		k_free(t);
		return k_err_nomem(err, sizeof(*t), "the self-test");
	}
	t->ctx = *ctx;
	t->ctx.stop = &t->stop;
	atomic_init(&t->state, K_SELFTEST_RUNS);
	if (pthread_create(&t->thread, NULL, run, t)) {
		k_free(t->path);
		k_free(t);
		return k_err_set(err, K_ENOMEM, "no thread for the self-test");
	}
	*out = t;
	return 0;
}

enum k_selftest_state k_selftest_state(const struct k_selftest *t)
{
	return t ? (enum k_selftest_state)atomic_load(&t->state) : K_SELFTEST_NONE;
}

void k_selftest_end(struct k_selftest *t)
{
	if (!t)
		return;
	__atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED);
	pthread_join(t->thread, NULL);
	k_free(t->path);
	k_free(t);
}

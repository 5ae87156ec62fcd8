/* net.h: the loop of one thread: connections, a tick, SIGHUP, and a way for other threads to wake it. The only part that knows
 * libevent. Everything but k_loop_wake belongs to the loop's thread. */
#ifndef K_NET_H
#define K_NET_H

#include <sys/socket.h>

#include "libcore/err.h"

struct k_loop;
struct k_link;                          /* a connection */
struct ssl_st;

struct k_loop_ops {
	void (*accepted)(void *arg, int fd, const struct sockaddr *from);       /* fd is the callee's */
	void (*turned_away)(void *arg, const char *why);        /* a connection, for want of a descriptor or memory */
	void (*woken)(void *arg);       /* after k_loop_wake */
	void (*tick)(void *arg);        /* ten times a second */
	void (*hup)(void *arg);
};

/* Accepts on fd, which it takes, also on failure. */
int k_loop_new(struct k_loop **out, int fd, const struct k_loop_ops *ops, void *arg, struct k_err *err) K_MUST_USE;
void k_loop_free(struct k_loop *l);                     /* takes NULL; after its links */
int k_loop_run(struct k_loop *l, struct k_err *err) K_MUST_USE;
void k_loop_end(struct k_loop *l);
void k_loop_wake(struct k_loop *l);
/* After the loop's end: waits up to ms for a wake, and calls woken. */
void k_loop_wait(struct k_loop *l, int ms);

struct k_link_ops {
	void (*input)(void *arg);       /* bytes have come */
	void (*moved)(void *arg);       /* some bytes have left; nothing may be freed or written here */
	void (*sent)(void *arg);        /* all have */
	/* The other side writes nothing more (broken: it reads nothing either): to be freed. */
	void (*gone)(void *arg, bool broken);
};
enum { K_LINK_INPUT = 64 << 10 };       /* bytes that may wait to be read */

/* Takes fd and tls (NULL: none), also on failure (NULL). */
struct k_link *k_link_new(struct k_loop *l, int fd, struct ssl_st *tls, const struct k_link_ops *ops, void *arg) K_MUST_USE;
/* Closes at once; what has not left is lost. */
void k_link_free(struct k_link *k);
/* All bytes that wait, valid until the next call. NULL and 0: none, or no memory. */
const char *k_link_input(struct k_link *k, size_t *n);
void k_link_took(struct k_link *k, size_t n);
/* 0, or -1 without memory. */
int k_link_write(struct k_link *k, const void *p, size_t n) K_MUST_USE;
size_t k_link_unsent(const struct k_link *k);
uint64_t k_link_moved(const struct k_link *k);          /* when bytes left, or began to wait with nothing before them */
/* Nothing more will be written, and what was has left: tells the other side. */
void k_link_finish(struct k_link *k);
/* The other side is gone, though bytes of it may still wait. A system call. */
bool k_link_left(const struct k_link *k);

/* "libevent 2.1.12-stable" */
const char *k_net_library(void);

#endif

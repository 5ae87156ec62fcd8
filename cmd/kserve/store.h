/* store.h: what the prefix cache holds, on disk (--state-dir): files that a thread of their own writes, and that are read when a
 * prompt begins like one. All functions but k_store_close are the engine's thread's. */
#ifndef K_STORE_H
#define K_STORE_H

#include "libcore/seq.h"
#include "cmd/kserve/server.h"

struct k_store;
struct k_store_stats { uint64_t written, read, refused; };

/* Makes the folder where it is missing and reads the heads of its files. s is borrowed. */
int k_store_open(struct k_store **out, const struct k_server *s, struct k_err *err) K_MUST_USE;
/* Waits for what is to be written. Takes NULL. */
void k_store_close(struct k_store *st);

/* The file that holds the longest beginning of ids[0..n), more than have tokens of it, as a checked sequence; *seq is NULL where there
 * is none. What is wrong with files that are refused goes to the log. */
void k_store_find(struct k_store *st, uint64_t salt, const int32_t *ids, int64_t n, int64_t have, struct k_seq **seq, uint64_t *id);
/* Something waits to be written, or is. */
bool k_store_busy(struct k_store *st);
/* Takes seq; written soon under the name id, in place of what had it. */
void k_store_save(struct k_store *st, struct k_seq *seq, uint64_t salt, uint64_t id);
void k_store_stats(struct k_store *st, struct k_store_stats *out);

#endif

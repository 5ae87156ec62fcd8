/* store.h: what the prefix cache holds, on disk (--state-dir): files that one thread writes, and that another reads when a prompt begins
 * like one, so that what computes waits for no disk. The reader also does what clients order (slotfile.h). All functions are the
 * engine's thread's, or come before and after it. */
#ifndef K_STORE_H
#define K_STORE_H

#include "libcore/seq.h"
#include "cmd/kserve/slotfile.h"

struct k_store;
struct k_store_stats { uint64_t written, read, refused; };

/* Makes the folders that are wanted (s->state_dir, s->slot_dir) where they are missing and reads the heads of the states. s is borrowed.
 * told is called, by a thread of the store, when k_store_take or k_store_done has something. */
int k_store_open(struct k_store **out, const struct k_server *s, void (*told)(void *arg), void *arg, struct k_err *err) K_MUST_USE;
/* Waits for what is read and what is to be written, until (k_now_ns). false: a disk does not answer. The thread that waits for it is left
 * behind, and with it st, s and the model, which must stay. Takes NULL. */
bool k_store_close(struct k_store *st, uint64_t until) K_MUST_USE;

/* Does a file hold a longer beginning of ids[0..n) than have tokens? Then the one that holds the longest is read and checked; one at a
 * time. What is wrong with files that are refused goes to the log. */
enum k_store_ask {
	K_STORE_NOTHING,
	K_STORE_READS,                  /* take has it soon */
	K_STORE_LATER,                  /* another is being read: ask again when it was taken */
};
enum k_store_ask k_store_ask(struct k_store *st, uint64_t salt, const int32_t *ids, int64_t n, int64_t have);
/* What was asked for is there, as a checked sequence of the caller's; *seq is NULL where all that offered it was refused. false: not yet,
 * or nothing was asked for. */
bool k_store_take(struct k_store *st, struct k_seq **seq, uint64_t *salt, uint64_t *id);
/* Something waits to be written, or is. */
bool k_store_busy(struct k_store *st);
/* Takes seq; written soon under the name id, in place of what had it. */
void k_store_save(struct k_store *st, struct k_seq *seq, uint64_t salt, uint64_t id);
/* What could not be written since the last call, the last of it; 0: nothing. */
uint64_t k_store_failed(struct k_store *st);
/* Takes o, which k_store_done gives back when it is done. */
void k_store_order(struct k_store *st, struct k_order *o);
struct k_order *k_store_done(struct k_store *st);       /* NULL: none now */
void k_store_stats(struct k_store *st, struct k_store_stats *out);

#endif

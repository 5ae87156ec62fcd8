/* slotfile.h: what a slot holds, saved to and restored from a file that the client names (--slot-save-path): the bytes of
 * libcore/seq_save.c, checked the same way as a file of --state-dir. */
#ifndef K_SLOTFILE_H
#define K_SLOTFILE_H

#include "libcore/seq.h"
#include "cmd/kserve/reply.h"

enum k_slot_action { K_SLOT_SAVE, K_SLOT_RESTORE, K_SLOT_ERASE, K_SLOT_ACTIONS };
/* One order of a client. The engine makes ready what is saved, the store's reader does it, the engine answers. */
struct k_order {
	enum k_slot_action action;
	int slot;
	char name[256];                 /* of the file; ERASE: "" */
	struct k_out *out;              /* NULL: it was answered already */
	struct k_seq *seq;              /* SAVE: what is written; RESTORE: what was read */
	uint64_t salt;
	uint64_t t_began;
	int64_t n_tokens;
	uint64_t n_bytes;
	struct k_err err;               /* code 0: all went well */
	struct k_order *next;
};

/* An order by its words. query_action: as it stands in the query, n bytes; body: NULL when there was none. */
int k_order_parse(struct k_order *o, const struct k_server *s, const char *slot, const char *action, size_t n, const struct k_json *body,
	struct k_fault *f) K_MUST_USE;
/* Writes or reads the file. What is wrong stands in o->err, and names no folder. */
void k_order_do(struct k_order *o, const struct k_server *s);
/* What came of it, to its client. */
void k_order_answer(struct k_order *o, const struct k_fault *f);
void k_order_free(struct k_order *o);                   /* takes NULL */

#endif

/* journal.h: which blocks of an interrupted output are there, and their digests.
 *
 *   0   "\x89KJ1\r\n\x1a\n" (8), key (32), part u32, parts u32, first 16 bytes of the sha256 of these 48      = 64 bytes
 *   64  records of 72 bytes, in the order of the blocks:
 *       file u32, check u32, at u64 x 2, n u64 x 2, digest (32): of the bytes of the two planes, one after the other
 *
 * check is made of the record's number and its other bytes, so a record that was torn, moved or left out is seen. Records that are
 * wrong at the end of the file were being written when the process died, and are cut off; a wrong one before a right one is
 * damage, and the journal is refused. The data is written before its record; whether it is still what the record says is for the
 * reader to check. */
#ifndef K_JOURNAL_H
#define K_JOURNAL_H

#include "libcore/err.h"

struct k_journal;

struct k_record { int file; uint64_t at[2], n[2]; uint8_t digest[32]; };

/* What decides an output's bytes, and which part of it this is the journal of (1 of 1: the whole). */
struct k_journal_id { uint8_t key[32]; uint32_t part, n_parts; };

/* Opens for writing, locked against other processes. keep: takes what is there when it is of the same id (K_ECHECK when of another
 * one or damaged); else, and where nothing is there, it begins empty. */
int k_journal_open(struct k_journal **out, const char *path, const struct k_journal_id *id, bool keep, struct k_err *err) K_MUST_USE;
/* For reading only, whatever its id is; locked too, so that nobody goes on with what is read. */
int k_journal_read(struct k_journal **out, const char *path, struct k_journal_id *id, struct k_err *err) K_MUST_USE;
int64_t k_journal_n(const struct k_journal *j);
int k_journal_get(struct k_journal *j, int64_t i, struct k_record *out, struct k_err *err) K_MUST_USE;
int k_journal_add(struct k_journal *j, const struct k_record *r, struct k_err *err) K_MUST_USE;
/* Forgets records from n on. */
int k_journal_cut(struct k_journal *j, int64_t n, struct k_err *err) K_MUST_USE;
/* Says that nothing will follow: a part is complete. Writes a record of no bytes. */
int k_journal_end(struct k_journal *j, struct k_err *err) K_MUST_USE;
bool k_journal_ended(const struct k_journal *j);
void k_journal_close(struct k_journal *j);              /* takes NULL; the file stays */

#endif

/* out.h: the files that a conversion writes: bytes at places. Nothing is under the final name before commit.
 *
 *   fresh    PATH.tmp.PID (a folder: PATH.tmp.PID/), renamed by commit, removed otherwise
 *   resume   PATH.partial and PATH.journal, kept when the run is cut off
 *   part     PATH.parts, which several processes fill, and PATH.part-K-of-N, the journal of each; k_out_seal completes it
 *   stream   standard output: forward only. Bytes that come early are held until what lies before them is there
 *
 * Every file has its whole length and its constant bytes (heads, small tensors known before) from the start; places that nobody
 * fills are zeros. */
#ifndef K_OUT_H
#define K_OUT_H

#include "libcore/journal.h"

struct k_log;
struct k_out;

struct k_out_const { uint64_t at; const void *p; size_t n; };   /* sorted by at, no overlap */
struct k_out_file {
	const char *name;               /* of a folder's file; of one of several files, its path; NULL: opts.path itself */
	uint64_t bytes;
	bool grows;                     /* bytes are only those of the constants: what follows them comes in order, and ends it */
	const struct k_out_const *consts; int64_t n_consts;     /* borrowed until the end */
};

struct k_out_opts {
	const char *path;               /* NULL or "-": standard output (one file only) */
	bool folder;                    /* path is a folder, which must not be there or be empty */
	bool resume;                    /* keep a journal, and begin where the last run ended */
	int part, n_parts;              /* n_parts 0: the whole; else part 1..n_parts of one file */
	uint8_t key[32];                /* resume, parts: digest of everything that decides the output's bytes (input, options, heads) */
};

/* Nothing is written yet. files are borrowed until close. A journal of something else: K_ECHECK. */
int k_out_open(struct k_out **out, const struct k_out_opts *o, const struct k_out_file *files, int n_files, struct k_err *err) K_MUST_USE;
bool k_out_is_terminal(const struct k_out *o);
/* Is there a journal: does record want blocks? How many does it have, and what are they? */
bool k_out_journals(const struct k_out *o);
int64_t k_out_done(const struct k_out *o);
int k_out_get(struct k_out *o, int64_t i, struct k_record *out, struct k_err *err) K_MUST_USE;
int k_out_cut(struct k_out *o, int64_t n, struct k_err *err) K_MUST_USE;
/* What was written by an interrupted run. */
int k_out_read(struct k_out *o, int file, uint64_t at, void *p, size_t n, struct k_err *err) K_MUST_USE;
/* ahead: these bytes may come before what lies in front of them; else everything in front is there, or is never written. */
int k_out_put(struct k_out *o, int file, uint64_t at, const void *p, size_t n, bool ahead, struct k_err *err) K_MUST_USE;
int k_out_record(struct k_out *o, const struct k_record *r, struct k_err *err) K_MUST_USE;
/* Everything is there: to the disk, and under its name; a part says that it is complete. Once, on success. */
int k_out_commit(struct k_out *o, struct k_err *err) K_MUST_USE;
/* Without a commit everything is removed but what a journal belongs to. Takes NULL. */
void k_out_close(struct k_out *o);
/* The name of the unfinished file of parts, and of a part's journal; k_free them. NULL: no memory. */
char *k_out_parts_path(const char *path);
char *k_out_part_path(const char *path, int part, int n_parts);

#endif

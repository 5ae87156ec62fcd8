/* io.h: sources and sinks over files, descriptors and memory. The only code that opens, reads and writes.
 * Test builds (-DK_FAULTS) can fail the n-th read or write. */
#ifndef K_IO_H
#define K_IO_H

#include <signal.h>
#include "libcore/err.h"
#include "libcore/buf.h"

struct k_source;
struct k_sink;

/* --- sources: sequential, with peek; random where seekable ------------------------------------------------------- */

/* Opens a regular file, fifo or device for reading; "-" is standard input (not closed). A missing path: K_EIO.
 * A folder: K_EIO. Symbolic links are followed. */
int k_source_open(struct k_source **out, const char *path, struct k_err *err) K_MUST_USE;
/* Same, name relative to a folder descriptor. */
int k_source_openat(struct k_source **out, int dirfd, const char *name, const char *show, struct k_err *err) K_MUST_USE;
/* Reads from memory that the caller keeps (name is copied). take: the source frees p with k_free. */
int k_source_mem(struct k_source **out, const void *p, size_t n, bool take, const char *name, struct k_err *err) K_MUST_USE;
/* A window [off, off + n) of another seekable source, which stays open until its last window is closed. */
int k_source_range(struct k_source **out, struct k_source *of, uint64_t off, uint64_t n, const char *name, struct k_err *err) K_MUST_USE;
void k_source_close(struct k_source *s);                /* takes NULL */

const char *k_source_name(const struct k_source *s);
int64_t k_source_size(const struct k_source *s);        /* -1: unknown (pipe) */
bool k_source_seekable(const struct k_source *s);
uint64_t k_source_pos(const struct k_source *s);        /* bytes consumed by read() so far */
/* Up to want (<= 64 KiB) bytes ahead without consuming; *have < want only at the end. */
int k_source_peek(struct k_source *s, const void **p, size_t want, size_t *have, struct k_err *err) K_MUST_USE;
/* Exactly n bytes, else K_ETRUNC. */
int k_source_read(struct k_source *s, void *p, size_t n, struct k_err *err) K_MUST_USE;
/* 1..n bytes, *got == 0 at the end. */
int k_source_some(struct k_source *s, void *p, size_t n, size_t *got, struct k_err *err) K_MUST_USE;
/* Exactly n bytes at off, position unchanged, thread-safe. Seekable only. */
int k_source_pread(struct k_source *s, void *p, size_t n, uint64_t off, struct k_err *err) K_MUST_USE;
/* The whole source in memory, read-only, until close. Regular files are mapped: should one shrink, SIGBUS ends the tool with
 * exit 5 and a sentence (cmd/cli.c asks k_io_fault_name). Memory sources return their memory. Others: K_EUNSUP. */
int k_source_map(struct k_source *s, const void **p, size_t *n, struct k_err *err) K_MUST_USE;
/* All that is left, at most max bytes (more: K_EFORMAT), appended to b. */
int k_source_slurp(struct k_source *s, struct k_buf *b, size_t max, struct k_err *err) K_MUST_USE;
struct k_sha256;
/* Adds what tells the source from another that it could be mistaken for: of a file its size and, when it must be the same file on the
 * same machine (here), its number and time; of memory its bytes. */
int k_source_stamp(const struct k_source *s, bool here, struct k_sha256 *h, struct k_err *err) K_MUST_USE;
/* Tells the kernel that pages of [off, off+n) are not needed again (posix_fadvise). */
void k_source_drop(struct k_source *s, uint64_t off, uint64_t n);

/* --- sinks: sequential; nothing under the final name before commit ------------------------------------------------ */

/* path "-" or NULL: standard output. Else a temporary file path.tmp.PID beside it, renamed by commit. */
int k_sink_open(struct k_sink **out, const char *path, struct k_err *err) K_MUST_USE;
int k_sink_mem(struct k_sink **out, struct k_buf *b, struct k_err *err) K_MUST_USE;     /* b is borrowed */
int k_sink_write(struct k_sink *s, const void *p, size_t n, struct k_err *err) K_MUST_USE;
/* n bytes at off, in any order; for sinks that k_sink_positioned says yes to (files under a temporary name), after what was
 * written in sequence. */
int k_sink_pwrite(struct k_sink *s, const void *p, size_t n, uint64_t off, struct k_err *err) K_MUST_USE;
bool k_sink_positioned(const struct k_sink *s);
/* Reserves n bytes of disk (ignored where unsupported; K_EIO when the disk is too small). */
int k_sink_reserve(struct k_sink *s, uint64_t n, struct k_err *err) K_MUST_USE;
uint64_t k_sink_pos(const struct k_sink *s);
const char *k_sink_name(const struct k_sink *s);
bool k_sink_is_terminal(const struct k_sink *s);
/* Puts descriptor fd on the sink's file: what is written to fd then takes the place of k_sink_write, up to commit. Files only. */
int k_sink_redirect(struct k_sink *s, int fd, struct k_err *err) K_MUST_USE;
/* Flush, fsync, rename, fsync of the folder; standard output: flush and check. Exactly once, on success. */
int k_sink_commit(struct k_sink *s, struct k_err *err) K_MUST_USE;
/* Frees; without a commit the temporary file is removed. Takes NULL. */
void k_sink_close(struct k_sink *s);

/* An unlinked temporary file in dir, as a pair: write to it, then read it from the start. */
int k_spool_open(struct k_sink **w, struct k_source **r, const char *dir, struct k_err *err) K_MUST_USE;

/* --- files ---------------------------------------------------------------------------------------------------------- */
bool k_path_is_dir(const char *path);
bool k_path_is_other(const char *path);            /* a folder, a device, a pipe: it is there and is no file */
bool k_path_exists(const char *path);
/* Whole small file into b; K_EIO when it cannot be opened, K_EFORMAT when larger than max. */
int k_read_file(const char *path, struct k_buf *b, size_t max, struct k_err *err) K_MUST_USE;
/* mkdir -p of one new folder that must not exist with content; used by `--to hf`. */
int k_make_dir(const char *path, struct k_err *err) K_MUST_USE;
/* Bytes that may still be written where path is, or will be; UINT64_MAX: nobody knows, or path is no file. */
uint64_t k_disk_free(const char *path);
/* Bytes of disk that the file takes; 0 where there is none. */
uint64_t k_disk_taken(const char *path);
/* Bytes a second at which the file, or the largest file of the folder, is read past the page cache: a look of a fifth of a second.
 * 0: it cannot be read. */
double k_disk_rate(const char *path);
/* Called from signal handlers: unlinks temporary files that are open. Async-signal-safe. */
void k_io_cleanup(void);
/* Reading from a pipe gives up with K_ECANCEL when *stop is set; cmd/cli.c says which flag. NULL: none. */
void k_io_watch(const volatile sig_atomic_t *stop);
/* Name of the mapped file that holds addr, or NULL. Async-signal-safe. */
const char *k_io_fault_name(const void *addr);
/* Bytes of all files that are mapped now. */
uint64_t k_io_mapped(void);

#endif

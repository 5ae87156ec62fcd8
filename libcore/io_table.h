/* io_table.h: private to io*.c: what signal handlers may ask about open files, the one flag that ends
 * waiting, and what sources and reading ahead know of each other. */
#ifndef K_IO_TABLE_H
#define K_IO_TABLE_H

#include "libcore/io.h"

/* A slot, or -1 when the table is full. The string must live until the end call. */
int k_io_temp_begin(const char *path);
void k_io_temp_end(int slot);
bool k_io_temp_is_ours(const char *path);
/* Makes the file temp, which a process that was killed may have left; one that writes it still is K_EIO. A descriptor, and its slot. temp must live
 * until the slot ends; show: the name in messages. */
int k_io_temp_open(const char *temp, const char *show, int *slot, struct k_err *err) K_MUST_USE;
int k_io_map_begin(const void *p, size_t n, const char *name);
void k_io_map_end(int slot);
bool k_io_stopped(void);

/* A source over a spool's descriptor (taken over, also on failure). */
int k_source_spool(struct k_source **out, int fd, const char *name, struct k_err *err) K_MUST_USE;

struct k_ahead;
/* The file that positioned reads of s come down to is read ahead by a from now on: its descriptor, and off becomes a place in it.
 * -1: s is no file. */
int k_source_follow(struct k_source *s, struct k_ahead *a, uint64_t *off);
/* The first bytes of [off, off + n) of the file, as many as were fetched; 0: they are to be read in the ordinary way. */
size_t k_ahead_take(struct k_ahead *a, int fd, void *p, size_t n, uint64_t off);
/* The file is about to be closed. */
void k_ahead_leave(struct k_ahead *a, int fd);

#endif

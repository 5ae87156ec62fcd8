/* io_table.h: private to io*.c: what signal handlers may ask about open files, and the one flag that ends
 * waiting. */
#ifndef K_IO_TABLE_H
#define K_IO_TABLE_H

#include "libcore/io.h"

/* A slot, or -1 when the table is full. The string must live until the end call. */
int k_io_temp_begin(const char *path);
void k_io_temp_end(int slot);
bool k_io_temp_is_ours(const char *path);
int k_io_map_begin(const void *p, size_t n, const char *name);
void k_io_map_end(int slot);
bool k_io_stopped(void);

/* A source over a spool's descriptor (taken over, also on failure). */
int k_source_spool(struct k_source **out, int fd, const char *name, struct k_err *err) K_MUST_USE;

#endif

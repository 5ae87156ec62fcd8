/* archive_lib.h: libarchive, opened when an archive is. It brings libxml2, ICU and the runtime of C++; linked in, they would be a third
 * of the start of every tool, and few runs read an archive. */
#ifndef K_ARCHIVE_LIB_H
#define K_ARCHIVE_LIB_H

#include "libcore/err.h"
#include <archive.h>
#include <archive_entry.h>

/* What is called. */
#define K_ARCHIVE_CALLS(X) \
	X(archive_read_new) X(archive_read_free) X(archive_read_support_format_tar) X(archive_read_support_filter_by_code) \
	X(archive_read_set_callback_data) X(archive_read_set_read_callback) X(archive_read_set_skip_callback) X(archive_read_open1) \
	X(archive_read_next_header) X(archive_read_data_block) X(archive_filter_bytes) X(archive_filter_count) X(archive_errno) \
	X(archive_error_string) X(archive_set_error) X(archive_entry_filetype) X(archive_entry_hardlink) X(archive_entry_pathname) \
	X(archive_entry_pathname_utf8) X(archive_entry_size) X(archive_entry_size_is_set) X(archive_entry_sparse_count) \
	X(archive_entry_symlink)

struct k_archive_lib {
	void *handle;
#define K_CALL(name) __typeof__(name) *(name);
	K_ARCHIVE_CALLS(K_CALL)
#undef K_CALL
};

/* K_EUNSUP where the library is missing or lacks a call. */
int k_archive_lib_open(struct k_archive_lib *lib, struct k_err *err) K_MUST_USE;
void k_archive_lib_close(struct k_archive_lib *lib);    /* takes one that was never opened, all zeros */

#endif

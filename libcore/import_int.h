/* import_int.h: what import.c and import_data.c share. Nobody else includes it.
 *
 *   struct k_import -- set (raw tensors, files)
 *                   -- from[n_entries]: the file of an entry, or its raw tensors (an expert stack has one an expert) */
#ifndef K_IMPORT_INT_H
#define K_IMPORT_INT_H

#include "libcore/import.h"
#include "libcore/io_ahead.h"
#include "libcore/map.h"

struct k_from {
	const struct k_file *file;      /* NULL: a tensor */
	struct k_raw **raw;
	int64_t n_raw;                  /* 1, or the number of slices */
};

struct k_import {
	struct k_rawset *set;
	struct k_map names;             /* raw name -> struct k_raw * */
	struct k_from *from;
	struct k_ahead *ahead;          /* NULL before the first read, and without memory */
	struct k_place { int entry; int64_t slice; } at, told;  /* read last; next to be asked for */
};

extern const struct k_ckpt_ops k_import_ops;

#endif

/* err.h: errors are values with a sentence.
 *
 * A function that can fail returns 0 or a negative K_E... code, and its last parameter is `struct k_err *err` (never NULL).
 * Where it fails it makes one whole sentence that names file, tensor, value and what was wanted:
 *
 *     return k_err_set(err, K_ESHAPE, "'%s': %s has shape %s, %s wants %s", file, tensor, ...);
 *
 * Whoever passes it up may add where it was: k_err_add(err, "while reading '%s'", path). Only cmd/cli.c prints it. */
#ifndef K_ERR_H
#define K_ERR_H

#include "libcore/base.h"

enum k_code {
	K_OK = 0,
#define K_ERR(name, exit, text) K_ERR_ROW_##name,
#include "libcore/errs.def"
#undef K_ERR
	K_ERR_END
};
enum {
#define K_ERR(name, exit, text) K_##name = -(int)K_ERR_ROW_##name,
#include "libcore/errs.def"
#undef K_ERR
};

struct k_err {
	int code;
	char msg[480];
};

/* Sets code and sentence (cut at the size of msg; control characters become '?'); returns code. */
int k_err_set(struct k_err *err, int code, const char *fmt, ...) K_PRINTF(3, 4);
/* Adds ", " and the text to the sentence; returns the code that is there. */
int k_err_add(struct k_err *err, const char *fmt, ...) K_PRINTF(2, 3);
/* K_EIO with the text, then ": " and strerror(errno). */
int k_err_io(struct k_err *err, const char *fmt, ...) K_PRINTF(2, 3);
/* K_ENOMEM: "out of memory (N bytes for WHAT)". */
int k_err_nomem(struct k_err *err, size_t n, const char *what);
/* The exit status of a code (0 for 0); its name "K_EIO"; its meaning from errs.def. */
int k_err_exit(int code);
const char *k_err_name(int code);
const char *k_err_about(int code);

#endif

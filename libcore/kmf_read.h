/* kmf_read.h: private to kmf_head.c and kmf_read.c. */
#ifndef K_KMF_READ_H
#define K_KMF_READ_H

#include "libcore/ckpt.h"

/* Fills arch, config, entries and history of c from the JSON of the head; data_len is what the fixed head says. */
int kmf_read_head(struct k_ckpt *c, const char *text, size_t len, uint64_t data_len, struct k_err *err) K_MUST_USE;

#endif

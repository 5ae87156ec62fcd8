/* kmf_read.h: private to kmf_head.c, kmf_read.c and kmf_packed.c. */
#ifndef K_KMF_READ_H
#define K_KMF_READ_H

#include "libcore/kmf.h"
#include <pthread.h>

struct kmf_packed;
struct kmf {
	struct k_source *src;
	const char *base;               /* the map; NULL: none */
	uint32_t flags;
	uint64_t start, data_len;       /* of the data section; a packed container's blocks begin at start */
	uint64_t trailer_at;            /* a packed container: known when its end is */
	struct kmf_packed *packed;      /* kmf_packed.c; NULL: plain */
	uint64_t head_len;
	uint8_t head_digest[32], identity[32];
	uint8_t (*digests)[32];         /* of entries; NULL before the trailer was read */
	uint64_t *first, n_leaves;      /* first[i]: the first of entry i among the leaf digests */
	uint8_t (*leaves)[32];          /* a file: of the entries that `known` says; a pipe: those that came, cap_leaves of them have room */
	uint64_t cap_leaves;
	uint8_t (*single)[32];          /* a pipe: digests of entries that are one leaf */
	uint8_t *known;                 /* a file: 1 where an entry's leaf digests were read and are right */
	pthread_mutex_t lock;           /* of leaves and known */
	int next; uint64_t next_off;    /* a pipe: what it is at */
	struct k_ahead *ahead;          /* a file: NULL before the first read, and without memory */
	uint64_t at, told;              /* of the data section: read last; asked for up to here */
	int asked;                      /* entries that were asked for */
};

/* Fills arch, config, entries and history of c from the JSON of the head; data_len is what the fixed head says. */
int kmf_read_head(struct k_ckpt *c, const char *text, size_t len, uint64_t data_len, struct k_err *err) K_MUST_USE;

/* NULL where c is no container. */
const struct kmf *kmf_of(const struct k_ckpt *c);

/* K_EUNSUP where leaves are too long to be packed. */
int kmf_packed_check(const char *path, const struct k_entry *entries, int n, struct k_err *err) K_MUST_USE;
/* Packed containers: from the end of the head; at the end of the blocks of a pipe. */
int kmf_packed_open(struct k_ckpt *c, struct kmf *k, struct k_err *err) K_MUST_USE;
int kmf_packed_end(struct k_ckpt *c, struct kmf *k, struct k_err *err) K_MUST_USE;
void kmf_packed_free(struct kmf_packed *q);
uint64_t kmf_packed_at(const struct kmf_packed *q, int i, uint64_t leaf);       /* the block's place in the file */
int kmf_packed_read(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err);
int kmf_packed_fetch(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err);
int kmf_packed_unpack(struct k_ckpt *c, int i, uint64_t off, void *p, size_t n, struct k_err *err);

#endif

/* places.h: where the tensors of one file lie, by its own head. */
#ifndef K_PLACES_H
#define K_PLACES_H

#include "libcore/arena.h"
#include "libcore/io.h"

struct k_place { const char *name; uint64_t off, bytes; };      /* off: in the file */
struct k_places {
	struct k_arena arena;           /* owns v and the names */
	struct k_place *v; int64_t n;
	uint64_t data;                  /* where the first tensor begins; UINT64_MAX: there is none */
};
/* Of safetensors and GGUF; other files: K_EUNSUP. A damaged head: its error. Takes src; free with k_places_fini, also on failure. */
int k_places_read(struct k_places *p, struct k_source *src, struct k_err *err) K_MUST_USE;
void k_places_fini(struct k_places *p);

#endif

/* map.h: string -> pointer, open addressing, keyed hash (no quadratic traps on hostile names). Keys are borrowed. */
#ifndef K_MAP_H
#define K_MAP_H

#include "libcore/base.h"

struct k_map_slot;
struct k_map { struct k_map_slot *slots; size_t cap, n; uint64_t secret[2]; };

void k_map_init(struct k_map *m);
void k_map_fini(struct k_map *m);
/* 1: put; 0: the key was there already (value unchanged); -1: no memory. key must live as long as the map. */
int k_map_put(struct k_map *m, const char *key, size_t len, void *value) K_MUST_USE;
/* NULL when absent. */
void *k_map_find(const struct k_map *m, const char *key, size_t len);

/* For tables of another shape: this process's key, and the hash of n bytes under it. */
void k_map_secret(uint64_t secret[2]);
uint32_t k_map_hash(const uint64_t secret[2], const char *p, size_t n);

#endif

/* map.h: string -> pointer, open addressing, keyed hash (no quadratic traps on hostile names). Keys are borrowed. */
#ifndef K_MAP_H
#define K_MAP_H

#include "libcore/base.h"

struct k_map_slot;
struct k_map { struct k_map_slot *slots; size_t cap, n; uint64_t secret[2]; };

void k_map_init(struct k_map *m);
void k_map_fini(struct k_map *m);
/* Room for n keys, so that putting them does not grow the map. -1: no memory. */
int k_map_reserve(struct k_map *m, size_t n) K_MUST_USE;
/* 1: put; 0: the key was there already (value unchanged); -1: no memory. key must live as long as the map. */
int k_map_put(struct k_map *m, const char *key, size_t len, void *value) K_MUST_USE;
/* k_map_put in two steps, for many keys in a row: near asks for the memory where a key belongs and gives what put_near wants to know,
 * some keys ahead. */
uint32_t k_map_near(const struct k_map *m, const char *key, size_t len);
int k_map_put_near(struct k_map *m, uint32_t near, const char *key, size_t len, void *value) K_MUST_USE;
/* NULL when absent. */
void *k_map_find(const struct k_map *m, const char *key, size_t len);

#endif

/* map.c: open addressing with linear probing, at most three quarters full, capacity a power of two.
 *
 * The hash is SipHash-1-3 (Aumasson and Bernstein) keyed with the address of the random bytes that the kernel
 * gives each process, so that names in a file cannot be chosen to collide. Iteration is not offered: order
 * would depend on the key. */
#include "libcore/base.h"
#include "libcore/map.h"
#include <sys/auxv.h>

struct k_map_slot { const char *key; size_t len; uint64_t hash; void *value; };

static inline uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1]; v[1] = rotl(v[1], 13); v[1] ^= v[0]; v[0] = rotl(v[0], 32);
	v[2] += v[3]; v[3] = rotl(v[3], 16); v[3] ^= v[2];
	v[0] += v[3]; v[3] = rotl(v[3], 21); v[3] ^= v[0];
	v[2] += v[1]; v[1] = rotl(v[1], 17); v[1] ^= v[2]; v[2] = rotl(v[2], 32);
}

static uint64_t hash_of(const char *p, size_t n)
{
	uint64_t key[2] = { 0x6b746f6f6c732121, 0x6d61702e632e2e2e }, word;
	const void *random = (const void *)getauxval(AT_RANDOM);
	uint64_t v[4];

	if (random)
		memcpy(key, random, sizeof key);
	v[0] = key[0] ^ 0x736f6d6570736575;
	v[1] = key[1] ^ 0x646f72616e646f6d;
	v[2] = key[0] ^ 0x6c7967656e657261;
	v[3] = key[1] ^ 0x7465646279746573;
	for (size_t left = n; ; left -= 8, p += 8) {
		bool last = left < 8;

		word = last ? (uint64_t)n << 56 : 0;
		if (left)
			memcpy(&word, p, last ? left : 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
		if (last)
			break;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void k_map_init(struct k_map *m) { *m = (struct k_map){ NULL, 0, 0 }; }

void k_map_fini(struct k_map *m)
{
	k_free(m->slots);
	k_map_init(m);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct k_map_slot *slot_of(const struct k_map *m, const char *key, size_t len, uint64_t hash)
{
	for (size_t i = hash & (m->cap - 1); ; i = (i + 1) & (m->cap - 1)) {
		struct k_map_slot *s = &m->slots[i];

		if (!s->key || (s->hash == hash && s->len == len && !memcmp(s->key, key, len)))
			return s;
	}
}

static int grow(struct k_map *m)
{
	struct k_map bigger = { NULL, m->cap ? m->cap * 2 : 16, m->n };

	bigger.slots = k_calloc(bigger.cap, sizeof *bigger.slots);
	if (!bigger.slots)
		return -1;
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].key)
			*slot_of(&bigger, m->slots[i].key, m->slots[i].len, m->slots[i].hash) = m->slots[i];
	k_free(m->slots);
	*m = bigger;
	return 0;
}

int k_map_put(struct k_map *m, const char *key, size_t len, void *value)
{
	uint64_t hash = hash_of(key, len);
	struct k_map_slot *s;

	if (m->n + 1 > m->cap / 4 * 3 && grow(m))
		return -1;
	s = slot_of(m, key, len, hash);
	if (s->key)
		return 0;
	*s = (struct k_map_slot){ key, len, hash, value };
	m->n++;
	return 1;
}

void *k_map_find(const struct k_map *m, const char *key, size_t len)
{
	return m->cap ? slot_of(m, key, len, hash_of(key, len))->value : NULL;
}

/* map.c: open addressing with linear probing, at most three quarters full, capacity a power of two.
 *
 * The hash is SipHash-1-3 (Aumasson and Bernstein) keyed with the address of the random bytes that the kernel
 * gives each process, so that names in a file cannot be chosen to collide. Iteration is not offered: order
 * would depend on the key. */
#include "libcore/base.h"
#include "libcore/map.h"
#include <sys/auxv.h>

struct k_map_slot { const char *key; void *value; uint32_t len, hash; };

static inline uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1]; v[1] = rotl(v[1], 13); v[1] ^= v[0]; v[0] = rotl(v[0], 32);
	v[2] += v[3]; v[3] = rotl(v[3], 16); v[3] ^= v[2];
	v[0] += v[3]; v[3] = rotl(v[3], 21); v[3] ^= v[0];
	v[2] += v[1]; v[1] = rotl(v[1], 17); v[1] ^= v[2]; v[2] = rotl(v[2], 32);
}

/* n < 8 bytes as a number, the first one lowest: most keys are short, and a copy of so few is a call. */
static inline uint64_t few_bytes(const char *p, size_t n)
{
	const unsigned char *u = (const unsigned char *)p;
	uint32_t a, b;

	if (n < 4)
		return n ? u[0] | (uint64_t)u[n / 2] << 8 * (n / 2) | (uint64_t)u[n - 1] << 8 * (n - 1) : 0;
	memcpy(&a, p, 4);
	memcpy(&b, p + n - 4, 4);
	return a | (uint64_t)b << 8 * (n - 4);
}

uint32_t k_map_hash(const uint64_t secret[2], const char *p, size_t n)
{
	uint64_t word, v[4] = { secret[0] ^ 0x736f6d6570736575, secret[1] ^ 0x646f72616e646f6d, secret[0] ^ 0x6c7967656e657261,
		secret[1] ^ 0x7465646279746573 };

	for (size_t left = n; ; left -= 8, p += 8) {
		bool last = left < 8;

		if (last)
			word = (uint64_t)n << 56 | few_bytes(p, left);
		else
			memcpy(&word, p, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
		if (last)
			break;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

void k_map_secret(uint64_t secret[2])
{
	static const uint64_t none[2] = { 0x6b746f6f6c732121, 0x6d61702e632e2e2e };
	const void *random = (const void *)getauxval(AT_RANDOM);

	memcpy(secret, random ? random : none, sizeof none);
}

void k_map_init(struct k_map *m)
{
	*m = (struct k_map){ 0 };
	k_map_secret(m->secret);
}

void k_map_fini(struct k_map *m)
{
	k_free(m->slots);
	k_map_init(m);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct k_map_slot *slot_of(const struct k_map *m, const char *key, size_t len, uint32_t hash)
{
	for (size_t i = hash & (m->cap - 1); ; i = (i + 1) & (m->cap - 1)) {
		struct k_map_slot *s = &m->slots[i];

		if (!s->key || (s->hash == hash && s->len == len && !memcmp(s->key, key, len)))
			return s;
	}
}

/* Slots are written to first, not read: a page of a large map that was read as zeros would come in twice. */
static int resize(struct k_map *m, size_t cap)
{
	struct k_map bigger = *m;
	size_t bytes;

	bigger.cap = cap;
	bigger.slots = k_mul_size(cap, sizeof *bigger.slots, &bytes) ? k_alloc(bytes) : NULL;
	if (!bigger.slots)
		return -1;
	memset(bigger.slots, 0, bytes);
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].key)
			*slot_of(&bigger, m->slots[i].key, m->slots[i].len, m->slots[i].hash) = m->slots[i];
	k_free(m->slots);
	*m = bigger;
	return 0;
}

static int reserve(struct k_map *m, size_t n)
{
	size_t cap = m->cap ? m->cap : 16;

	while (cap / 4 * 3 < n)
		if (!k_mul_size(cap, 2, &cap))
			return -1;
	return cap == m->cap ? 0 : resize(m, cap);
}

int k_map_put(struct k_map *m, const char *key, size_t len, void *value)
{
	uint32_t hash = k_map_hash(m->secret, key, len);
	struct k_map_slot *s;

	if (len > UINT32_MAX || reserve(m, m->n + 1))
		return -1;
	s = slot_of(m, key, len, hash);
	if (s->key)
		return 0;
	*s = (struct k_map_slot){ key, value, (uint32_t)len, hash };
	m->n++;
	return 1;
}

void *k_map_find(const struct k_map *m, const char *key, size_t len)
{
	return m->cap ? slot_of(m, key, len, k_map_hash(m->secret, key, len))->value : NULL;
}

/* past.c: a table of prompts, the least recently used of which goes when it is full. */
#include "libcore/base.h"

#include <pthread.h>

#include "cmd/kserve/past.h"

#define MAX_PASTS 64
#define TOKEN_BYTES 64                  /* what a token of a history takes as JSON, about */

struct entry { struct k_chat_past past; uint64_t salt, number, used; };
struct k_pasts {
	pthread_mutex_t lock;
	struct entry entries[MAX_PASTS];
	int n;
	size_t bytes, max_bytes;
	uint64_t clock;
};

static size_t bytes_of(const struct k_chat_past *p) { return p->n * sizeof(*p->end) + p->ids.n * (sizeof(*p->ids.v) + TOKEN_BYTES); }

int k_pasts_new(struct k_pasts **out, size_t max_bytes, struct k_err *err)
{
	struct k_pasts *t = *out = k_calloc(1, sizeof(*t));
	if (!t)
		return k_err_nomem(err, sizeof(*t), "the table of earlier prompts");
	pthread_mutex_init(&t->lock, NULL);
	t->max_bytes = max_bytes;
	return 0;
}

static void drop(struct k_pasts *t, struct entry *e)
{
	t->bytes -= bytes_of(&e->past);
	k_chat_past_fini(&e->past);
	*e = t->entries[--t->n];
}

void k_pasts_free(struct k_pasts *t)
{
	if (!t)
		return;
	while (t->n)
		drop(t, t->entries);
	pthread_mutex_destroy(&t->lock);
	k_free(t);
}

void k_pasts_find(struct k_pasts *t, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, uint64_t salt,
	struct k_chat_past *p, uint64_t *whole)
{
	struct k_err err = { 0 };
	struct entry *best = NULL;
	size_t most = 0;
	*whole = 0;
	pthread_mutex_lock(&t->lock);
	for (struct entry *e = t->entries; e < t->entries + t->n; e++) {
		size_t n = e->salt == salt ? k_chat_past_same(&e->past, messages, tools, o, most) : 0;
		if (n) {
			most = n;
			best = e;
		}
	}
	if (best && !k_chat_past_copy(p, &best->past, most, &err)) {
		best->used = ++t->clock;
		*whole = most == best->past.n ? best->number : 0;
	}
	pthread_mutex_unlock(&t->lock);
}

static struct entry *oldest(struct k_pasts *t)
{
	struct entry *e = t->entries;
	for (int i = 1; i < t->n; i++)
		if (t->entries[i].used < e->used)
			e = &t->entries[i];
	return e;
}

void k_pasts_put(struct k_pasts *t, struct k_chat_past *p, uint64_t salt, uint64_t whole)
{
	size_t bytes = bytes_of(p);
	if (p->n && bytes <= t->max_bytes / 4) {
		pthread_mutex_lock(&t->lock);
		for (int i = t->n; whole && i-- > 0; )
			if (t->entries[i].number == whole)
				drop(t, &t->entries[i]);
		while (t->n == MAX_PASTS || t->bytes + bytes > t->max_bytes)
			drop(t, oldest(t));
		t->bytes += bytes;
		t->clock++;
		t->entries[t->n++] = (struct entry){ *p, salt, t->clock, t->clock };
		pthread_mutex_unlock(&t->lock);
		k_chat_past_init(p);
	}
	k_chat_past_fini(p);
}

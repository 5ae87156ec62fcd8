/* past.c: earlier prompts, by what they were made of. */
#include "libcore/base.h"

#include "cmd/kserve/past.h"

#define TOKEN_BYTES 64                  /* what a token of a history takes as JSON, about */

struct entry { struct k_chat_past past; uint64_t salt; };

static void free_entry(void *e)
{
	k_chat_past_fini(&((struct entry *)e)->past);
	k_free(e);
}

int k_pasts_new(struct k_recent **out, size_t max_bytes, struct k_err *err)
{
	return k_recent_new(out, max_bytes, free_entry, "earlier prompts", err);
}

void k_pasts_find(struct k_recent *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, uint64_t salt,
	struct k_chat_past *p, uint64_t *whole)
{
	struct k_err err = { 0 };
	size_t most = 0;
	int best = 0;
	*whole = 0;
	pthread_mutex_lock(&r->lock);
	for (int i = 0; i < r->n; i++) {
		const struct entry *e = r->at[i].thing;
		size_t n = e->salt == salt ? k_chat_past_same(&e->past, messages, tools, o, most) : 0;
		if (n) {
			most = n;
			best = i;
		}
	}
	const struct entry *e = most ? r->at[best].thing : NULL;
	if (e && !k_chat_past_copy(p, &e->past, most, &err)) {
		k_recent_use(r, best);
		*whole = most == e->past.n ? r->at[best].number : 0;
	}
	pthread_mutex_unlock(&r->lock);
}

void k_pasts_put(struct k_recent *r, struct k_chat_past *p, uint64_t salt, uint64_t whole)
{
	struct entry *e = p->n ? k_alloc(sizeof(*e)) : NULL;
	if (!e) {
		k_chat_past_fini(p);
		return;
	}
	*e = (struct entry){ *p, salt };
	k_chat_past_init(p);
	pthread_mutex_lock(&r->lock);
	for (int i = r->n; whole && i-- > 0; )
		if (r->at[i].number == whole)
			free_entry(k_recent_take(r, i));
	k_recent_put(r, e, e->past.n * sizeof(*e->past.end) + e->past.ids.n * (sizeof(*e->past.ids.v) + TOKEN_BYTES));
	pthread_mutex_unlock(&r->lock);
}

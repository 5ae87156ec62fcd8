/* sched_order.c: slots that clients save, restore and erase (POST /slots/N?action=...).
 *
 *   save      tokens that the slot held last -> what the prefix cache has of them -> the store's reader writes the file
 *   restore   the store's reader reads and checks the file -> prefix cache; the slot holds its tokens
 *   erase     what no other conversation shares leaves the prefix cache
 *
 * A slot is an entry point and no memory of its own: what it computed lies in the prefix cache once a request is over, for every slot.
 * So a restored file serves whichever slot asks, under the cache_salt that it was computed with. */
#include "libcore/base.h"

#include "libcore/log.h"
#include "cmd/kserve/sched_int.h"

void k_orders_hold(struct k_sched *c, struct slot *sl, const struct k_seq *s, uint64_t salt)
{
	struct k_err err = { 0 };
	sl->held.ids.n = 0;
	sl->held.salt = salt;
	if (s && k_ids_add(&sl->held.ids, k_seq_ids(s), (size_t)k_seq_len(s), &err))
		k_logf(c->s->log, K_LOG_WARN, "a slot is not held: %s", err.msg);
}

static void refuse(struct k_order *o, int status, const char *code, const char *why)
{
	struct k_fault f;
	k_fault_set(&f, status, code, NULL, "%s", why);
	k_order_answer(o, &f);
	k_order_free(o);
}

static void erase(struct k_sched *c, struct slot *sl, struct k_order *o)
{
	o->n_tokens = (int64_t)sl->held.ids.n;
	if (o->n_tokens)
		k_prefix_forget(c->prefix, sl->held.salt, sl->held.ids.v, o->n_tokens);
	sl->held.ids.n = 0;
	k_order_answer(o, NULL);
	k_order_free(o);
}

static void begin(struct k_sched *c, struct k_order *o)
{
	struct slot *sl = &c->slots[o->slot];
	if (sl->task || sl->order) {
		refuse(o, 409, "slot_busy", "the slot is busy");
		return;
	}
	if (o->action == K_SLOT_ERASE) {
		erase(c, sl, o);
		return;
	}
	if (o->action == K_SLOT_SAVE) {
		o->salt = sl->held.salt;
		if (sl->held.ids.n && k_prefix_copy(c->prefix, o->salt, sl->held.ids.v, (int64_t)sl->held.ids.n, &o->seq, &o->err)) {
			k_logf(c->s->log, K_LOG_WARN, "a slot is not saved: %s", o->err.msg);
			refuse(o, 503, "overloaded", "out of memory");
			return;
		}
		if (!o->seq) {
			refuse(o, 400, NULL, "the slot holds nothing that could be saved");
			return;
		}
	}
	sl->order = o;
	k_store_order(c->store, o);
}

static void end(struct k_sched *c, struct k_order *o)
{
	struct slot *sl = &c->slots[o->slot];
	sl->order = NULL;
	if (!o->err.code && o->action == K_SLOT_RESTORE) {
		if (!k_prefix_put(c->prefix, o->salt, o->seq, 0, false, &o->err)) {
			k_orders_hold(c, sl, o->seq, o->salt);
			k_slots_limit(c);
		}
	}
	if (!o->err.code) {
		k_order_answer(o, NULL);
		k_order_free(o);
		return;
	}
	k_logf(c->s->log, K_LOG_WARN, "slot %d: %s", o->slot, o->err.msg);
	if (o->err.code == K_ENOMEM)
		refuse(o, 503, "overloaded", "out of memory");
	else if (o->action == K_SLOT_SAVE && o->err.code != K_EFORMAT)
		refuse(o, 500, "internal_error", "the state could not be saved; the server's log says why");
	else
		refuse(o, 400, "invalid_state", o->err.msg);
}

/* Those that the disk has not done yet stay with it, unanswered no longer. */
static void refuse_all(struct k_sched *c)
{
	struct k_fault f;
	k_fault_set(&f, 503, "shutting_down", NULL, "the server is shutting down");
	for (int i = 0; i < c->s->n_slots; i++)
		if (c->slots[i].order)
			k_order_answer(c->slots[i].order, &f);
}

void k_orders_work(struct k_sched *c, bool over)
{
	struct k_order *o;
	if (!c->s->slot_dir)
		return;
	pthread_mutex_lock(&c->lock);
	struct k_order *fresh = c->orders;
	c->orders = NULL;
	c->orders_end = &c->orders;
	pthread_mutex_unlock(&c->lock);
	while ((o = k_store_done(c->store)))
		end(c, o);
	while ((o = fresh)) {
		fresh = o->next;
		begin(c, o);
	}
	if (over)
		refuse_all(c);
}

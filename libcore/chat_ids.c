/* chat_ids.c: the ids of calls in a history, rewritten to functions.NAME:N.
 *
 * The id is the only place where a prompt says which function was called, so a history with ids of another shape, as clients and
 * gateways make them, misleads the model. Ids that have the shape stay, others get the next number that is free in the
 * conversation; the answers of tools follow their calls. */
#include "libcore/base.h"
#include "libcore/arena.h"
#include "libcore/chat_int.h"
#include "libcore/map.h"

struct call {
	const char *id;                 /* what it is now called */
	struct call *next;              /* in the same message, with the same old id */
	struct call *all;               /* in the same message */
	size_t turn;
	bool answered;
};
struct latest { struct call *first, *last; };   /* the calls that an old id means */

struct ids {
	struct k_arena arena;
	struct k_map old, used;         /* old id -> struct latest; ids that are taken */
	struct call *turn;              /* calls of the last message of the assistant */
	size_t n_open;                  /* of these, without an answer */
	int64_t next;
};

static int no_memory(struct k_err *err) { return k_err_nomem(err, sizeof(struct call), "the ids of calls"); }

/* Where the number of functions.NAME:N begins; of toolu_KEY_N as well, which is how an API that takes no such ids is told them.
 * 0: another shape. */
static size_t number_at(const char *s, size_t n, const struct k_json *name)
{
	static const char prefix[] = "functions.", other[] = "toolu_";
	size_t skip = sizeof prefix - 1, len = k_json_len(name), also = sizeof other - 1;

	if (n >= skip + len + 2 && !memcmp(s, prefix, skip) && !memcmp(s + skip, k_json_string(name), len) && s[skip + len] == ':')
		return skip + len + 1;
	const char *last = n > also && !memcmp(s, other, also) ? memrchr(s + also, '_', n - also) : NULL;
	return last && last + 1 < s + n ? (size_t)(last - s) + 1 : 0;
}

/* -1: another shape. */
static int64_t number_of(const struct k_json *id, const struct k_json *name)
{
	const char *s = k_json_string(id);
	size_t n = k_json_len(id), at = s ? number_at(s, n, name) : 0;
	int64_t number = 0;

	if (!at)
		return -1;
	for (size_t i = at; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		number = K_MIN(number * 10 + (s[i] - '0'), INT32_MAX);
	}
	return number;
}

/* 1: taken from now on; 0: it was. */
static int take(struct ids *ids, const char *id, struct k_err *err)
{
	int r = k_map_put(&ids->used, id, strlen(id), ids);

	return r < 0 ? no_memory(err) : r;
}

/* Is s functions.NAME:N already? */
static bool is_ours(const char *s, const struct k_json *name)
{
	return !strncmp(s, "functions.", 10) && strlen(k_json_string(name)) == k_json_len(name);
}

/* What a call is called that came with the id, of which `old` is a copy. */
static int choose(struct ids *ids, const struct k_json *id, const char *old, const struct k_json *name, const char **out, struct k_err *err)
{
	int64_t number = number_of(id, name);
	int r = 0;

	if (number >= 0) {
		size_t at = number_at(k_json_string(id), k_json_len(id), name);

		*out = is_ours(old, name) ? old : k_arena_printf(&ids->arena, "functions.%s:%s", k_json_string(name), old + at);
		r = *out ? take(ids, *out, err) : no_memory(err);
		if (r == 1)
			ids->next = K_MAX(ids->next, number + 1);
	}
	while (!r) {
		*out = k_arena_printf(&ids->arena, "functions.%s:%lld", k_json_string(name), (long long)ids->next++);
		r = *out ? take(ids, *out, err) : no_memory(err);
	}
	return K_MIN(r, 0);
}

/* obj[key] = id. Takes NULL, which is a message that could not be copied. */
static int put_id(struct k_json *obj, const char *key, const char *id, struct k_err *err)
{
	return k_json_set(obj, key, k_json_new_string(id, strlen(id))) ? no_memory(err) : 0;
}

/* From now on the old id means this call; several of one message are answered in their order. */
static int remember(struct ids *ids, const char *old, size_t len, struct call *c)
{
	struct latest *l = k_map_find(&ids->old, old, len);

	if (!l) {
		l = k_arena_alloc(&ids->arena, sizeof *l);
		if (!l || k_map_put(&ids->old, old, len, l) < 0)
			return -1;
	}
	if (l->first && l->last->turn == c->turn)
		l->last->next = c;
	else
		l->first = c;
	l->last = c;
	return 0;
}

/* Of a message that others share only a copy is edited, and where nothing changes there is none. */
static int one_call(struct ids *ids, struct k_json *messages, size_t turn, size_t i, struct k_err *err)
{
	const struct k_json *v = k_json_at(k_json_find(k_json_at(messages, turn), "tool_calls"), i);
	const struct k_json *name = k_json_find(k_json_find(v, "function"), "name"), *id = k_json_find(v, "id");
	struct call *c = k_arena_alloc(&ids->arena, sizeof *c);
	char *old = k_json_string(id) ? k_arena_strndup(&ids->arena, k_json_string(id), k_json_len(id)) : NULL;
	size_t len = k_json_len(id);
	int rc;

	if (!k_json_string(name))
		return k_err_set(err, K_EUSAGE, "messages[%zu].tool_calls[%zu].function.name is %s, wanted a string", turn, i,
			name ? k_json_kind_name(name) : "missing");
	if (!c || (k_json_string(id) && !old))
		return no_memory(err);
	rc = choose(ids, id, old, name, &c->id, err);
	if (!rc && !k_chat_is(id, c->id))
		rc = put_id(k_json_at(k_json_find(k_json_own(messages, turn), "tool_calls"), i), "id", c->id, err);
	if (rc < 0)
		return rc;
	c->turn = turn;
	c->all = ids->turn;
	ids->turn = c;
	ids->n_open++;
	return old && remember(ids, old, len, c) ? no_memory(err) : 0;
}

static int one_answer(struct ids *ids, struct k_json *messages, size_t i, struct k_err *err)
{
	const struct k_json *id = k_json_find(k_json_at(messages, i), "tool_call_id");
	struct latest *l = k_json_string(id) ? k_map_find(&ids->old, k_json_string(id), k_json_len(id)) : NULL;
	struct call *c = l ? l->first : NULL;

	if (!k_json_string(id))
		return k_err_set(err, K_EUSAGE, "messages[%zu].tool_call_id is %s, wanted a string", i, id ? k_json_kind_name(id) : "missing");
	if (c && c->next)
		l->first = c->next;
	for (struct call *k = ids->turn; k && !c && ids->n_open == 1; k = k->all)
		c = k->answered ? NULL : k;
	if (!c)
		return k_err_set(err, K_EUSAGE, "messages[%zu].tool_call_id '%.80s' does not match a call before it", i, k_json_string(id));
	if (!c->answered && ids->turn && c->turn == ids->turn->turn)
		ids->n_open--;
	c->answered = true;
	return k_chat_is(id, c->id) ? 0 : put_id(k_json_own(messages, i), "tool_call_id", c->id, err);
}

static int one_message(struct ids *ids, struct k_json *messages, size_t i, struct k_err *err)
{
	const struct k_json *msg = k_json_at(messages, i);
	const char *role = k_chat_role(msg);
	const struct k_json *calls = k_json_find(msg, "tool_calls");
	int rc = 0;

	if (role && !strcmp(role, "tool"))
		return one_answer(ids, messages, i, err);
	if (!role || strcmp(role, "assistant"))
		return 0;
	ids->turn = NULL;
	ids->n_open = 0;
	size_t n = k_json_kind(calls) == K_JSON_ARRAY ? k_json_len(calls) : 0;
	for (size_t k = 0; k < n && !rc; k++)
		rc = one_call(ids, messages, i, k, err);
	return rc;
}

int k_chat_normalise_ids(struct k_json *request, struct k_err *err)
{
	struct k_json *messages = k_json_find(request, "messages");
	struct ids ids = { 0 };
	int rc = 0;

	k_arena_init(&ids.arena);
	k_map_init(&ids.old);
	k_map_init(&ids.used);
	for (size_t i = 0; k_json_kind(messages) == K_JSON_ARRAY && i < k_json_len(messages) && !rc; i++)
		rc = one_message(&ids, messages, i, err);
	k_map_fini(&ids.old);
	k_map_fini(&ids.used);
	k_arena_fini(&ids.arena);
	return rc;
}

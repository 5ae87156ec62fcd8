/* prefix.c: the radix tree of prefix.h.
 *
 *   root of a salt
 *     |-- [0, 70)  pages 0 1   marks 64f 70         system prompt: two conversations part here
 *     |     |-- [70, 400)   pages 1' 2 .. 6   marks 250 398
 *     |     `-- [70, 96)    page  1''         mark  95
 *     `-- [0, 31)  page 0'     mark  30
 *
 * A node is a run of tokens and holds every page that the run touches, each complete from its first row up to the node's end: on the
 * way down later pages take the place of earlier ones. Children differ in their first token. A mark belongs to the node with
 * from < len <= to. A leaf of a model with KDA layers ends in a mark: behind the last one nothing could be reused.
 *
 * All nodes are in one list by use, parents before their children, so its end is a leaf: eviction cuts from there, mark by mark.
 * Bytes count a page or state once, however many nodes hold it. */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/log.h"
#include "libcore/model_int.h"
#include "libcore/prefix.h"

#define MOST_MARKS 16                   /* of a node; more are thinned */
#define LAST_MARKS 4                    /* which are not thinned at its end */
#define CUT_PAGES 16                    /* cut off a leaf at once where there are no marks */

struct mark { int64_t len; struct k_state *state; bool firm; };
struct node {
	struct node *parent, *child, *next;     /* first child; sibling */
	struct node *newer, *older;             /* by use */
	int64_t from, to;
	int32_t *ids;                           /* to - from */
	struct k_page **page;                   /* from / K_PAGE .. (to - 1) / K_PAGE; NULL for models without attention */
	struct mark *mark;
	int n_mark, cap_mark;
	uint64_t id;                            /* what it is called on disk, with all above it; 0: nothing yet */
	uint64_t dirty;                         /* since when it has what is not there, 0: it has not */
};
struct root { uint64_t salt; struct node node; struct root *next; };

struct k_prefix {
	struct k_model *m;
	struct root *roots;
	struct node *newest, *oldest;
	struct k_prefix_stats stats;
};

static int64_t first_page(const struct node *n) { return n->from / K_PAGE; }
static int64_t n_pages(const struct node *n) { return n->to > n->from ? (n->to - 1) / K_PAGE + 1 - first_page(n) : 0; }
static bool hybrid(const struct k_prefix *p) { return p->m->n_kda > 0; }

/* --- what nodes hold ------------------------------------------------------------------------------------------------------ */

static struct k_page *keep_page(struct k_prefix *p, struct k_page *page)
{
	if (page->kept++ == 0)
		p->stats.bytes += k_seq_page_bytes(p->m);
	return k_page_hold(page);
}

static void lose_page(struct k_prefix *p, struct k_page *page)
{
	if (--page->kept == 0)
		p->stats.bytes -= k_seq_page_bytes(p->m);
	k_page_drop(page);
}

static struct k_state *keep_state(struct k_prefix *p, struct k_state *state)
{
	if (state->kept++ == 0) {
		p->stats.bytes += k_seq_state_bytes(p->m);
		p->stats.state_bytes += k_seq_state_bytes(p->m);
		p->stats.states++;
	}
	return k_state_hold(state);
}

static void lose_state(struct k_prefix *p, struct k_state *state)
{
	if (--state->kept == 0) {
		p->stats.bytes -= k_seq_state_bytes(p->m);
		p->stats.state_bytes -= k_seq_state_bytes(p->m);
		p->stats.states--;
	}
	k_state_drop(state);
}

static void count_tokens(struct k_prefix *p, int64_t n)
{
	p->stats.tokens += n;
	p->stats.bytes += (uint64_t)n * sizeof(int32_t);
}

static void drop_mark(struct k_prefix *p, struct node *n, int i)
{
	lose_state(p, n->mark[i].state);
	memmove(n->mark + i, n->mark + i + 1, (size_t)(n->n_mark - i - 1) * sizeof(*n->mark));
	n->n_mark--;
}

/* --- the list by use ------------------------------------------------------------------------------------------------------ */

static void unlink_use(struct k_prefix *p, struct node *n)
{
	*(n->newer ? &n->newer->older : &p->newest) = n->older;
	*(n->older ? &n->older->newer : &p->oldest) = n->newer;
}

/* In front of at; NULL: in front of all. */
static void link_use(struct k_prefix *p, struct node *n, struct node *at)
{
	if (!at)
		at = p->newest;
	n->older = at;
	n->newer = at ? at->newer : NULL;
	*(n->newer ? &n->newer->older : &p->newest) = n;
	*(at ? &at->newer : &p->oldest) = n;
}

/* The node and all above it are used now; parents come to stand before their children. */
static void touch(struct k_prefix *p, struct node *n)
{
	for (; n->parent; n = n->parent) {
		unlink_use(p, n);
		link_use(p, n, NULL);
	}
}

/* --- nodes ---------------------------------------------------------------------------------------------------------------- */

static struct node *find_root(const struct k_prefix *p, uint64_t salt)
{
	for (struct root *r = p->roots; r; r = r->next)
		if (r->salt == salt)
			return &r->node;
	return NULL;
}

static struct node *make_root(struct k_prefix *p, uint64_t salt)
{
	struct root *r = k_calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->salt = salt;
	r->next = p->roots;
	p->roots = r;
	return &r->node;
}

static struct node *find_child(const struct node *n, int32_t id)
{
	struct node *c = n->child;
	while (c && c->ids[0] != id)
		c = c->next;
	return c;
}

static uint64_t salt_of(const struct k_prefix *p, const struct node *n)
{
	struct root *r = p->roots;
	while (n->parent)
		n = n->parent;
	while (&r->node != n)
		r = r->next;
	return r->salt;
}

/* An unlinked node over [from, to) with room for its lists. */
static struct node *new_node(const struct k_prefix *p, int64_t from, int64_t to)
{
	struct node *n = k_calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->from = from;
	n->to = to;
	n->ids = k_alloc((size_t)(to - from) * sizeof(*n->ids));
	if (p->m->page_bytes)
		n->page = k_calloc((size_t)n_pages(n), sizeof(*n->page));
	if (n->ids && (n->page || !p->m->page_bytes))
		return n;
	k_free(n->ids);
	k_free(n->page);
	k_free(n);
	return NULL;
}

static void free_root(struct k_prefix *p, struct node *n)
{
	struct root **r = &p->roots;
	while (&(*r)->node != n)
		r = &(*r)->next;
	struct root *dead = *r;
	*r = dead->next;
	k_free(dead);
}

static void remove_leaf(struct k_prefix *p, struct node *n)
{
	struct node **c = &n->parent->child;
	while (*c != n)
		c = &(*c)->next;
	*c = n->next;
	unlink_use(p, n);
	for (int64_t i = 0; n->page && i < n_pages(n); i++)
		lose_page(p, n->page[i]);
	while (n->n_mark)
		drop_mark(p, n, n->n_mark - 1);
	count_tokens(p, n->from - n->to);
	p->stats.nodes--;
	if (!n->parent->parent && !n->parent->child)
		free_root(p, n->parent);
	k_free(n->ids);
	k_free(n->page);
	k_free(n->mark);
	k_free(n);
}

/* A leaf ends at len instead. */
static void cut_leaf(struct k_prefix *p, struct node *n, int64_t len)
{
	int64_t had = n_pages(n);
	while (n->n_mark && n->mark[n->n_mark - 1].len > len)
		drop_mark(p, n, n->n_mark - 1);
	count_tokens(p, len - n->to);
	n->to = len;
	for (int64_t i = n_pages(n); n->page && i < had; i++)
		lose_page(p, n->page[i]);
}

/* A leaf without a mark at its end is cut back to the last it has, and its parents with it. */
static void trim(struct k_prefix *p, struct node *n)
{
	while (hybrid(p) && n->parent && !n->child && (!n->n_mark || n->mark[n->n_mark - 1].len < n->to)) {
		struct node *parent = n->parent;
		if (n->n_mark) {
			cut_leaf(p, n, n->mark[n->n_mark - 1].len);
			return;
		}
		bool last = !parent->parent && !n->next && parent->child == n;
		remove_leaf(p, n);
		if (last)
			return;         /* the root is gone too */
		n = parent;
	}
}

/* The node's first at tokens become a node of their own above it, which is returned. */
static struct node *split(struct k_prefix *p, struct node *n, int64_t at)
{
	struct node *up = new_node(p, n->from, at);
	struct node low = { .from = at, .to = n->to };
	int marks = 0;
	while (marks < n->n_mark && n->mark[marks].len <= at)
		marks++;
	struct mark *own = marks ? k_alloc((size_t)marks * sizeof(*own)) : NULL;
	if (!up || (marks && !own)) {
		if (up) {
			k_free(up->ids);
			k_free(up->page);
			k_free(up);
		}
		k_free(own);
		return NULL;
	}
	memcpy(up->ids, n->ids, (size_t)(at - n->from) * sizeof(*n->ids));
	memmove(n->ids, n->ids + (at - n->from), (size_t)(n->to - at) * sizeof(*n->ids));
	if (n->page) {
		int64_t mine = n_pages(up), skip = first_page(&low) - first_page(n);
		for (int64_t i = 0; i < mine; i++)
			up->page[i] = i < skip ? n->page[i] : keep_page(p, n->page[i]);
		memmove(n->page, n->page + skip, (size_t)n_pages(&low) * sizeof(*n->page));
	}
	if (marks)
		memcpy(own, n->mark, (size_t)marks * sizeof(*own));
	/* The upper part of one that was split before may have no marks, and no room for any. */
	if (n->n_mark > marks)
		memmove(n->mark, n->mark + marks, (size_t)(n->n_mark - marks) * sizeof(*n->mark));
	n->n_mark -= marks;
	up->mark = own;
	up->n_mark = up->cap_mark = marks;
	n->from = at;
	struct node **c = &n->parent->child;
	while (*c != n)
		c = &(*c)->next;
	*c = up;
	up->next = n->next;
	up->parent = n->parent;
	up->child = n;
	n->parent = up;
	n->next = NULL;
	link_use(p, up, n);
	p->stats.nodes++;
	return up;
}

/* --- take ------------------------------------------------------------------------------------------------------------------- */

/* The node where the common beginning with ids[0..n) ends, and its length. */
static struct node *walk(struct node *root, const int32_t *ids, int64_t n, int64_t *len)
{
	struct node *at = root;
	int64_t pos = 0;
	while (pos < n) {
		struct node *c = find_child(at, ids[pos]);
		if (!c)
			break;
		int64_t i = 1, most = K_MIN(c->to - c->from, n - pos);
		while (i < most && c->ids[i] == ids[pos + i])
			i++;
		at = c;
		pos += i;
		if (pos < c->to)
			break;
	}
	*len = pos;
	return at;
}

/* The longest length up to len on the way to n that can be gone on from; *state is the state there. */
static int64_t usable(const struct k_prefix *p, const struct node *n, int64_t len, int64_t grid, struct k_state **state)
{
	*state = NULL;
	if (!hybrid(p))
		return len - len % K_MAX(grid, 1);
	for (; n->parent; n = n->parent)
		for (int i = n->n_mark - 1; i >= 0; i--)
			if (n->mark[i].len <= len && n->mark[i].len % K_MAX(grid, 1) == 0) {
				*state = n->mark[i].state;
				return n->mark[i].len;
			}
	return 0;
}

/* s becomes the first len tokens on the way to n; the lists have room. */
static void fill(const struct k_prefix *p, const struct node *n, int64_t len, struct k_seq *s)
{
	if (!n->parent)
		return;
	fill(p, n->parent, len, s);
	int64_t to = K_MIN(n->to, len);
	if (n->from >= to)
		return;
	memcpy(s->ids + n->from, n->ids, (size_t)(to - n->from) * sizeof(*n->ids));
	for (int64_t i = first_page(n); n->page && i * K_PAGE < to; i++)
		k_seq_set_page(s, i, n->page[i - first_page(n)]);
}

static int make_seq(const struct k_prefix *p, const struct node *n, int64_t len, const struct k_state *state, struct k_seq *s,
	struct k_err *err)
{
	int r = k_seq_lists(s, len, err);
	if (r == 0 && state)
		r = k_seq_set_state(s, state, err);
	if (r < 0)
		return r;
	fill(p, n, len, s);
	s->len = len;
	return 0;
}

int k_prefix_take(struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n, int64_t grid, struct k_seq *s, int64_t *found,
	struct k_err *err)
{
	struct node *root = find_root(p, salt), *at;
	struct k_state *state;
	int64_t len;
	*found = 0;
	if (!root || n < 2 || s->len)
		return 0;
	at = walk(root, ids, n - 1, &len);
	len = usable(p, at, len, grid, &state);
	if (!len)
		return 0;
	int r = make_seq(p, at, len, state, s, err);
	if (r < 0)
		return r;
	while (at->from >= len)
		at = at->parent;
	touch(p, at);
	*found = len;
	return 0;
}

int64_t k_prefix_look(const struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n, int64_t grid)
{
	struct node *root = find_root(p, salt);
	struct k_state *state;
	int64_t len;
	if (!root || n < 2)
		return 0;
	struct node *at = walk(root, ids, n - 1, &len);
	return usable(p, at, len, grid, &state);
}

/* --- put -------------------------------------------------------------------------------------------------------------------- */

/* Of the marks that are neither firm nor the last ones: the one whose neighbours are nearest, by their distance from the end. */
static void thin(struct k_prefix *p, struct node *n)
{
	int best = -1;
	double least = 0;
	for (int i = 0; i < n->n_mark - LAST_MARKS; i++) {
		int64_t before = i ? n->mark[i - 1].len : n->from;
		double gap = (double)(n->mark[i + 1].len - before) / (double)(n->to - n->mark[i].len + 1);
		if (!n->mark[i].firm && (best < 0 || gap < least)) {
			best = i;
			least = gap;
		}
	}
	if (best >= 0)
		drop_mark(p, n, best);
}

/* A mark of the node, unless it is there. */
static int add_mark(struct k_prefix *p, struct node *n, int64_t len, struct k_state *state, bool firm, struct k_err *err)
{
	int i = n->n_mark;
	while (i > 0 && n->mark[i - 1].len >= len)
		i--;
	if (i < n->n_mark && n->mark[i].len == len) {
		n->mark[i].firm |= firm;
		return 0;
	}
	if (n->n_mark == n->cap_mark) {
		int cap = n->cap_mark ? 2 * n->cap_mark : 4;
		struct mark *v = k_realloc(n->mark, (size_t)cap * sizeof(*v));
		if (!v)
			return k_err_nomem(err, (size_t)cap * sizeof(*v), "marks");
		n->mark = v;
		n->cap_mark = cap;
	}
	memmove(n->mark + i + 1, n->mark + i, (size_t)(n->n_mark - i) * sizeof(*n->mark));
	n->mark[i] = (struct mark){ len, keep_state(p, state), firm };
	n->n_mark++;
	if (n->n_mark > MOST_MARKS)
		thin(p, n);
	return 0;
}

/* All marks of s up to len, into the nodes on the way to n. */
static int add_marks(struct k_prefix *p, struct node *n, const struct k_seq *s, int64_t len, bool firm, struct k_err *err)
{
	for (int i = s->n_mark - 1; i >= 0; i--) {
		const struct k_mark *k = &s->mark[i];
		if (k->len > len)
			continue;
		while (k->len <= n->from)
			n = n->parent;
		int r = add_mark(p, n, k->len, k->state, firm && i == s->n_mark - 1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Pages of the node from i on become those of s. */
static void set_pages(struct k_prefix *p, struct node *n, int64_t from, const struct k_seq *s)
{
	for (int64_t i = from; n->page && i < n_pages(n); i++)
		n->page[i] = keep_page(p, s->page[first_page(n) + i]);
}

/* A child with tokens [pos, len) of s. */
static struct node *add_leaf(struct k_prefix *p, struct node *parent, int64_t pos, int64_t len, const struct k_seq *s)
{
	struct node *n = new_node(p, pos, len);
	if (!n)
		return NULL;
	memcpy(n->ids, s->ids + pos, (size_t)(len - pos) * sizeof(*n->ids));
	set_pages(p, n, 0, s);
	n->parent = parent;
	n->next = parent->child;
	parent->child = n;
	link_use(p, n, NULL);
	count_tokens(p, len - pos);
	p->stats.nodes++;
	return n;
}

/* A leaf goes on with the tokens of s up to len. */
static bool extend(struct k_prefix *p, struct node *n, int64_t len, const struct k_seq *s)
{
	struct node as = { .from = n->from, .to = len };
	int64_t had = n_pages(n);
	int32_t *ids = k_realloc(n->ids, (size_t)(len - n->from) * sizeof(*ids));
	if (!ids)
		return false;
	n->ids = ids;
	if (n->page) {
		struct k_page **page = k_realloc(n->page, (size_t)n_pages(&as) * sizeof(*page));
		if (!page)
			return false;
		n->page = page;
	}
	memcpy(ids + (n->to - n->from), s->ids + n->to, (size_t)(len - n->to) * sizeof(*ids));
	if (n->page && n->to % K_PAGE)
		lose_page(p, n->page[--had]);           /* the one of s goes further */
	count_tokens(p, len - n->to);
	n->to = len;
	set_pages(p, n, had, s);
	return true;
}

int k_prefix_put(struct k_prefix *p, uint64_t salt, const struct k_seq *s, uint64_t id, bool firm, struct k_err *err)
{
	int64_t len = !hybrid(p) ? s->len : s->n_mark ? s->mark[s->n_mark - 1].len : 0, pos;
	if (!len)
		return 0;
	struct node *root = find_root(p, salt);
	if (!root)
		root = make_root(p, salt);
	if (!root)
		return k_err_nomem(err, sizeof(struct root), "the prefix cache");
	struct node *n = walk(root, s->ids, len, &pos);
	bool grown = pos < len;
	if (pos < len && n->parent && pos < n->to)
		n = split(p, n, pos);
	if (n && pos < len) {
		if (n->parent && !n->child)
			n = extend(p, n, len, s) ? n : NULL;
		else
			n = add_leaf(p, n, pos, len, s);
	}
	if (!n) {
		if (!root->child)
			free_root(p, root);
		return k_err_nomem(err, (size_t)len * sizeof(int32_t), "the prefix cache");
	}
	touch(p, n);
	int r = add_marks(p, n, s, len, firm, err);
	if (id && !n->child) {
		n->id = id;
		n->dirty = 0;
	} else if (grown && !n->dirty) {
		n->dirty = k_now_ns();
	}
	if (r < 0)
		trim(p, n);
	return r;
}

/* --- eviction, saving ------------------------------------------------------------------------------------------------------- */

/* The first most tokens on the way to n as a sequence with their most useful marks: the firm ones and the last. */
static int export(struct k_prefix *p, struct node *n, int64_t most, struct k_seq **out, struct k_err *err)
{
	const struct mark *pick[K_MARKS];
	int n_pick = 0;
	struct k_seq *s;
	struct k_state *state;
	int64_t len = usable(p, n, most, 1, &state);
	for (const struct node *a = n; a->parent; a = a->parent)
		for (int i = a->n_mark - 1; i >= 0 && n_pick < K_MARKS; i--)
			if (a->mark[i].len <= len && (n_pick < LAST_MARKS || a->mark[i].firm))
				pick[n_pick++] = &a->mark[i];
	*out = NULL;
	int r = k_seq_new(&s, p->m, err);
	if (r == 0)
		r = make_seq(p, n, len, state, s, err);
	if (r < 0) {
		k_seq_free(s);
		return r;
	}
	while (n_pick)
		k_seq_add_mark(s, pick[n_pick - 1]->len, pick[n_pick - 1]->state), n_pick--;
	*out = s;
	return 0;
}

/* n counts as saved, under a name that it gets here if it has none. */
static int export_saved(struct k_prefix *p, struct node *n, struct k_seq **s, uint64_t *salt, uint64_t *id, struct k_err *err)
{
	int r = n->id ? 0 : k_random_bytes(&n->id, sizeof(n->id), err);
	if (r == 0)
		r = export(p, n, n->to, s, err);
	if (r < 0)
		return r;
	n->dirty = 0;
	*salt = salt_of(p, n);
	*id = n->id;
	return 0;
}

int k_prefix_unsaved(struct k_prefix *p, uint64_t before, struct k_seq **s, uint64_t *salt, uint64_t *id, struct k_err *err)
{
	*s = NULL;
	for (struct node *n = p->newest; n; n = n->older)
		if (!n->child && n->dirty && n->dirty <= before)
			return export_saved(p, n, s, salt, id, err);
	return 0;
}

void k_prefix_not_saved(struct k_prefix *p, uint64_t id, uint64_t since)
{
	for (struct node *n = p->newest; n; n = n->older)
		if (n->id == id)
			n->dirty = since;
}

int k_prefix_copy(struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n, struct k_seq **s, struct k_err *err)
{
	struct node *root = find_root(p, salt), *at;
	struct k_state *state;
	int64_t len;
	*s = NULL;
	if (!root)
		return 0;
	at = walk(root, ids, n, &len);
	return usable(p, at, len, 1, &state) ? export(p, at, len, s, err) : 0;
}

void k_prefix_forget(struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n)
{
	struct node *root = find_root(p, salt), *at, *parent;
	int64_t len;
	if (!root)
		return;
	at = walk(root, ids, n, &len);
	bool more = at->parent && at->to == len && !at->child;
	for (; more; at = parent) {
		parent = at->parent;
		/* With the last node below it a root goes too. */
		more = parent->parent && parent->child == at && !at->next;
		remove_leaf(p, at);
	}
}

bool k_prefix_dirty(const struct k_prefix *p)
{
	for (const struct node *n = p->newest; n; n = n->older)
		if (!n->child && n->dirty)
			return true;
	return false;
}

static void evict(struct k_prefix *p, k_prefix_lose *lose, void *arg)
{
	struct node *n = p->oldest, *parent = n->parent;
	struct k_err err;
	struct k_seq *s;
	uint64_t salt, id;
	/* Without memory for the list of pages it is lost unsaved. */
	if (lose && n->dirty && export_saved(p, n, &s, &salt, &id, &err) == 0)
		lose(arg, s, salt, id);
	n->dirty = 0;
	if (n->n_mark > 1) {
		cut_leaf(p, n, n->mark[n->n_mark - 2].len);
		return;
	}
	int64_t rest = (n->to - 1) / K_PAGE * K_PAGE - (CUT_PAGES - 1) * K_PAGE;
	if (!hybrid(p) && rest > n->from) {
		cut_leaf(p, n, rest);
		return;
	}
	bool last = !parent->parent && !n->next && parent->child == n;
	remove_leaf(p, n);
	if (!last)
		trim(p, parent);
}

void k_prefix_limit(struct k_prefix *p, uint64_t bytes, k_prefix_lose *lose, void *arg)
{
	while (p->oldest && p->stats.bytes > bytes)
		evict(p, lose, arg);
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

int k_prefix_new(struct k_prefix **out, struct k_model *m, struct k_err *err)
{
	*out = k_calloc(1, sizeof(**out));
	if (!*out)
		return k_err_nomem(err, sizeof(**out), "the prefix cache");
	(*out)->m = m;
	return 0;
}

void k_prefix_free(struct k_prefix *p)
{
	if (!p)
		return;
	while (p->oldest)
		remove_leaf(p, p->oldest);
	k_free(p);
}

void k_prefix_stats(const struct k_prefix *p, struct k_prefix_stats *out) { *out = p->stats; }

static bool sound_node(const struct k_prefix *p, const struct node *n, struct k_err *err)
{
	int64_t last = n->from;
	if (n->to <= n->from || n->parent->to != n->from)
		return k_err_set(err, K_EBUG, "a node [%ld, %ld) below one that ends at %ld", (long)n->from, (long)n->to, (long)n->parent->to), false;
	for (int i = 0; i < n->n_mark; last = n->mark[i++].len)
		if (n->mark[i].len <= last || n->mark[i].len > n->to)
			return k_err_set(err, K_EBUG, "a mark at %ld in [%ld, %ld)", (long)n->mark[i].len, (long)n->from, (long)n->to), false;
	if (hybrid(p) && !n->child && last != n->to)
		return k_err_set(err, K_EBUG, "a leaf that ends at %ld, behind its last mark %ld", (long)n->to, (long)last), false;
	for (const struct node *c = n->child; c; c = c->next)
		if (find_child(n, c->ids[0]) != c || c->parent != n)
			return k_err_set(err, K_EBUG, "two children begin alike"), false;
	for (int64_t i = 0; n->page && i < n_pages(n); i++)
		if (n->page[i]->kept < 1 || n->page[i]->refs < n->page[i]->kept)
			return k_err_set(err, K_EBUG, "a page that is kept %d times and held %d", n->page[i]->kept, n->page[i]->refs), false;
	return true;
}

bool k_prefix_sound(const struct k_prefix *p, struct k_err *err)
{
	int64_t nodes = 0, tokens = 0;
	for (const struct node *n = p->newest; n; n = n->older, nodes++) {
		tokens += n->to - n->from;
		if (!sound_node(p, n, err))
			return false;
		for (const struct node *o = n->older; o; o = o->older)
			if (o == n->parent)
				return k_err_set(err, K_EBUG, "a parent was used before its child"), false;
	}
	if (nodes != p->stats.nodes || tokens != p->stats.tokens)
		return k_err_set(err, K_EBUG, "%ld nodes with %ld tokens, counted %ld and %ld", (long)nodes, (long)tokens,
			(long)p->stats.nodes, (long)p->stats.tokens), false;
	return true;
}

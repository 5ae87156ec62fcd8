/* place.c: which weights lie in the memory of a device that has not room for all: what every token reads first, then routed experts layer by layer.
 *
 *   room  [ kept: activations, sequences ][ attention | shared, router | embedding, head | dense | experts of layer 0, 1, ... ]
 *
 * A layer's experts go together or not at all. What does not fit stays in the host's memory, and operations on it are computed there, or where the
 * device decides.
 *
 * Several devices have a run of layers each, as long as their room is a part of all room; the embedding is before the first, norm and head are behind the
 * last. Then each is filled as one is. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/model_int.h"
#include "libcore/opt.h"

/* What sequences are kept room for, whatever else there is. */
enum { KEPT_TOKENS = 8192, KEPT_STATES = 8 };

static const struct { const char *role; bool must; } parts[] = {
	{ "norm", true }, { "attn", true }, { "kda", true }, { "router", true }, { "shared", false }, { "embed", false }, { "head", false },
	{ "dense", false }, { "other", false },
};

static int64_t floats(int64_t n) { return n * (int64_t)sizeof(float); }

static int64_t kept_tokens(const struct k_model *m) { return m->hp.n_ctx > 0 ? K_MIN(m->hp.n_ctx, (int64_t)KEPT_TOKENS) : KEPT_TOKENS; }

/* Activations of a step, in bytes; the device's own scratch (64 MiB and a row), and the table of positions. */
static uint64_t step_bytes(const struct k_model *m)
{
	const struct k_hp *hp = &m->hp;
	int64_t widest = 0;
	for (int64_t i = 0; i < hp->n_layer; i++) {
		struct k_plan plan;
		m->arch->plan(hp, i, &plan);
		const struct k_block *mixer = k_block_find(plan.mixer), *ffn = k_block_find(plan.ffn);
		if (mixer && ffn)
			widest = K_MAX(widest, K_MAX(mixer->scratch(hp), ffn->scratch(hp)));
	}
	int64_t own = 96 * 1024 * 1024 + floats(kept_tokens(m) * hp->rope.dim);
	return (uint64_t)(floats((widest + (4 + k_hp_res_blocks(hp)) * hp->n_embd) * K_ROWS + hp->n_vocab * K_HEAD_ROWS) + own);
}

/* What sequences want at least of layers [layer, layer + n), in bytes. */
static uint64_t sequence_bytes(const struct k_model *m, int64_t layer, int64_t n)
{
	struct k_kept kept = k_blocks_keep(m->arch, &m->hp, m->dev->kda_deferred, layer, n);
	return (uint64_t)kept_tokens(m) * k_kv_bytes(m->kv, kept.page, kept.groups) + (uint64_t)floats((kept.state + kept.conv) * KEPT_STATES);
}

static uint64_t kept_bytes(const struct k_model *m, const struct k_part *p) { return step_bytes(m) + sequence_bytes(m, p->layer, p->n_layer); }

/* Attention that takes BF16 takes kv_b as it lies there. */
static bool expands(const struct k_model *m, const struct k_entry *e)
{
	if (strstr(e->name, "kv_b"))
		return !m->dev->bf16_attention || strcmp(e->type->name, "bf16") != 0;
	return e->ndim < 2 || strstr(e->name, "conv");
}

/* With what is made of it at load: vectors, and matrices that attention takes by rows, become f32. */
static uint64_t entry_bytes(const struct k_model *m, const struct k_entry *e)
{
	int64_t count = 0;
	if (expands(m, e) && !k_shape_count(e->ndim, e->shape, &count))
		return UINT64_MAX / 4;
	return e->bytes + (uint64_t)floats(count) + 512;
}

/* --- several devices --------------------------------------------------------------------------------------------------- */

/* Weights of a layer; -1: what stands before the first; n_layer: what stands behind the last. */
static int64_t stands_at(const struct k_model *m, int i)
{
	if (m->layer_of[i] >= 0)
		return m->layer_of[i];
	return !strcmp(m->ck->entries[i].role, "embed") && !m->hp.tied ? -1 : m->hp.n_layer;
}

static uint64_t weights_at(const struct k_model *m, int64_t layer)
{
	uint64_t n = 0;
	for (int i = 0; i < m->ck->n_entries; i++)
		n += m->used[i] && stands_at(m, i) == layer ? entry_bytes(m, &m->ck->entries[i]) : 0;
	return n;
}

static uint64_t weights_room(const struct k_model *m, const struct k_part *p)
{
	uint64_t room = p->dev->room(p->dev), step = step_bytes(m);
	return room > step ? room - step : 0;
}

/* A layer goes to the device in whose stretch of all bytes its middle lies; each device has one at least. */
static int split_layers(struct k_model *m, struct k_err *err)
{
	int64_t L = m->hp.n_layer;
	double all = (double)weights_at(m, -1), room = 0, done = all, reach = 0;
	int at = 0;
	if (L < m->n_part)
		return k_err_set(err, K_EUSAGE, "'%s' has %lld layers, --device names %d devices", m->ck->path, (long long)L, m->n_part);
	for (int64_t i = 0; i < L; i++)
		all += (double)(weights_at(m, i) + sequence_bytes(m, i, 1));
	all += (double)weights_at(m, L);
	for (int i = 0; i < m->n_part; i++)
		room += (double)weights_room(m, &m->part[i]);
	room = K_MAX(room, 1.0);
	reach = (double)weights_room(m, &m->part[0]) / room * all;
	for (int64_t i = 0; i < L; i++) {
		double mine = (double)(weights_at(m, i) + sequence_bytes(m, i, 1));
		bool full = done + mine / 2 > reach && m->part[at].n_layer;
		if (at + 1 < m->n_part && (full || L - i < m->n_part - at)) {
			m->part[++at].layer = i;
			reach += (double)weights_room(m, &m->part[at]) / room * all;
		}
		m->part[at].n_layer++;
		done += mine;
	}
	return 0;
}

static void place_entries(struct k_model *m)
{
	for (int i = 0; i < m->ck->n_entries; i++) {
		int64_t layer = m->used[i] ? stands_at(m, i) : -1;
		m->part_of[i] = layer < 0 ? 0 : layer == m->hp.n_layer ? m->n_part - 1 : k_part_of_layer(m, layer);
	}
}

/* --- one device --------------------------------------------------------------------------------------------------------- */

static bool is_experts(const struct k_model *m, int i, int64_t layer)
{
	return m->used[i] && m->layer_of[i] == layer && !strcmp(m->ck->entries[i].role, "experts");
}

/* Entries of a role, or (role NULL) the experts of a layer. All that fit: false when one did not. */
struct fill { struct k_model *m; const struct k_part *part; uint64_t left, near, far; };

static void take(struct fill *f, int i, bool fits)
{
	uint64_t n = entry_bytes(f->m, &f->m->ck->entries[i]);
	f->m->host[i] = !fits;
	*(fits ? &f->near : &f->far) += n;
	if (fits)
		f->left -= n;
}

static void place_role(struct fill *f, const char *role)
{
	for (int i = 0; i < f->m->ck->n_entries; i++)
		if (f->m->used[i] && &f->m->part[f->m->part_of[i]] == f->part && !strcmp(f->m->ck->entries[i].role, role))
			take(f, i, entry_bytes(f->m, &f->m->ck->entries[i]) <= f->left);
}

/* Returns how many of its layers have their experts on the device, and *n how many there are. */
static int64_t place_experts(struct fill *f, int64_t *n)
{
	int64_t near = 0;
	*n = 0;
	for (int64_t layer = f->part->layer; layer < f->part->layer + f->part->n_layer; layer++) {
		uint64_t sum = 0;
		for (int i = 0; i < f->m->ck->n_entries; i++)
			sum += is_experts(f->m, i, layer) ? entry_bytes(f->m, &f->m->ck->entries[i]) : 0;
		bool fits = sum <= f->left;
		for (int i = 0; i < f->m->ck->n_entries; i++)
			if (is_experts(f->m, i, layer))
				take(f, i, fits);
		*n += sum > 0;
		near += sum > 0 && fits;
	}
	return near;
}

static void say(struct k_log *log, const char *what, uint64_t near, uint64_t far)
{
	k_logf(log, K_LOG_DEBUG, "plan: %-8s %14llu bytes on the device %14llu on the host", what, (unsigned long long)near, (unsigned long long)far);
}

static void say_part(struct k_log *log, const struct k_model *m, const struct k_part *p)
{
	if (m->n_part > 1)
		k_logf(log, K_LOG_INFO, "%s: layers %lld to %lld of %lld%s%s", p->dev->level(p->dev), (long long)p->layer,
			(long long)(p->layer + p->n_layer - 1), (long long)m->hp.n_layer, p == &m->part[m->hp.tied ? m->n_part - 1 : 0] ? ", embedding" : "",
			p == &m->part[m->n_part - 1] ? ", head" : "");
}

static int fill_part(struct k_model *m, const struct k_part *p, struct k_err *err)
{
	struct fill f = { .m = m, .part = p };
	char a[32], b[32], c[32], d[32];
	struct k_log *log = m->ctx ? m->ctx->log : NULL;
	int64_t layers, near;
	uint64_t room = p->dev->room(p->dev), kept = kept_bytes(m, p);
	f.left = room > kept ? room - kept : 0;
	say_part(log, m, p);
	for (size_t i = 0; i < K_LEN(parts); i++) {
		uint64_t was_near = f.near, was_far = f.far;
		place_role(&f, parts[i].role);
		if (f.far > was_far && parts[i].must)
			return k_err_set(err, K_ENOMEM, "'%s': attention does not fit on %s: %s is free there, %s is kept for activations and sequences",
				m->ck->path, m->n_part > 1 ? p->dev->level(p->dev) : "the device", k_size_format(a, room), k_size_format(b, kept));
		if (f.near + f.far > was_near + was_far)
			say(log, parts[i].role, f.near - was_near, f.far - was_far);
	}
	uint64_t was_near = f.near, was_far = f.far;
	near = place_experts(&f, &layers);
	say(log, "experts", f.near - was_near, f.far - was_far);
	say(log, "kept", kept, 0);
	say(log, "free", f.left, 0);
	k_logf(log, f.far ? K_LOG_INFO : K_LOG_DEBUG, "%s: %s of %s for weights, %s kept for activations and sequences; %s of weights stay on the host; "
		"experts of %lld of %lld layers on the device", p->dev->level(p->dev), k_size_format(a, f.near), k_size_format(b, room), k_size_format(c, kept),
		k_size_format(d, f.far), (long long)near, (long long)layers);
	return 0;
}

int k_place(struct k_model *m, struct k_err *err)
{
	int r = 0;
	if (m->n_part > 1)
		r = split_layers(m, err);
	else
		m->part[0].n_layer = m->hp.n_layer;
	if (r < 0)
		return r;
	place_entries(m);
	for (int i = 0; i < m->n_part && r == 0; i++) {
		const struct k_device *d = m->part[i].dev;
		if (d->far && d->room && m->part[i].dev->room(m->part[i].dev) != UINT64_MAX)
			r = fill_part(m, &m->part[i], err);
	}
	return r;
}

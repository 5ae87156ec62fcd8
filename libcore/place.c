/* place.c: which weights lie in the memory of a device that has not room for all: what every token reads first, then routed experts layer by layer.
 *
 *   room  [ kept: activations, sequences ][ attention | shared, router | embedding, head | dense | experts of layer 0, 1, ... ]
 *
 * A layer's experts go together or not at all. What does not fit stays in the host's memory, and operations on it are computed there, or where the
 * device decides. */
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

/* Activations of a step and what sequences want at least, in bytes. */
static uint64_t kept_bytes(const struct k_model *m)
{
	const struct k_hp *hp = &m->hp;
	struct k_kept kept = k_blocks_keep(m->arch, hp);
	int64_t widest = 0, tokens = hp->n_ctx > 0 ? K_MIN(hp->n_ctx, (int64_t)KEPT_TOKENS) : KEPT_TOKENS;
	for (int64_t i = 0; i < hp->n_layer; i++) {
		struct k_plan plan;
		m->arch->plan(hp, i, &plan);
		const struct k_block *mixer = k_block_find(plan.mixer), *ffn = k_block_find(plan.ffn);
		if (mixer && ffn)
			widest = K_MAX(widest, K_MAX(mixer->scratch(hp), ffn->scratch(hp)));
	}
	/* The device's own scratch (64 MiB and a row), and the table of positions. */
	int64_t own = 96 * 1024 * 1024 + floats(tokens * hp->rope.dim);
	return (uint64_t)(floats((widest + 4 * hp->n_embd) * K_ROWS + hp->n_vocab * K_HEAD_ROWS + kept.page * tokens + kept.state * KEPT_STATES) + own);
}

/* With what is made of it at load: vectors, and matrices that attention takes by rows, become f32. */
static uint64_t entry_bytes(const struct k_entry *e)
{
	int64_t count = 0;
	bool expands = e->ndim < 2 || strstr(e->name, "kv_b") || strstr(e->name, "conv");
	if (expands && !k_shape_count(e->ndim, e->shape, &count))
		return UINT64_MAX / 4;
	return e->bytes + (uint64_t)floats(count) + 512;
}

static bool is_experts(const struct k_model *m, int i, int64_t layer)
{
	return m->used[i] && m->layer_of[i] == layer && !strcmp(m->ck->entries[i].role, "experts");
}

/* Entries of a role, or (role NULL) the experts of a layer. All that fit: false when one did not. */
struct fill { struct k_model *m; uint64_t left, near, far; };

static void take(struct fill *f, int i, bool fits)
{
	uint64_t n = entry_bytes(&f->m->ck->entries[i]);
	f->m->host[i] = !fits;
	*(fits ? &f->near : &f->far) += n;
	if (fits)
		f->left -= n;
}

static void place_role(struct fill *f, const char *role)
{
	for (int i = 0; i < f->m->ck->n_entries; i++)
		if (f->m->used[i] && !strcmp(f->m->ck->entries[i].role, role))
			take(f, i, entry_bytes(&f->m->ck->entries[i]) <= f->left);
}

/* Returns how many layers have their experts on the device, and *n how many there are. */
static int64_t place_experts(struct fill *f, int64_t *n)
{
	int64_t near = 0;
	*n = 0;
	for (int64_t layer = 0; layer < f->m->hp.n_layer; layer++) {
		uint64_t sum = 0;
		for (int i = 0; i < f->m->ck->n_entries; i++)
			sum += is_experts(f->m, i, layer) ? entry_bytes(&f->m->ck->entries[i]) : 0;
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

int k_place(struct k_model *m, struct k_err *err)
{
	struct fill f = { .m = m };
	char a[32], b[32], c[32], d[32];
	struct k_log *log = m->ctx ? m->ctx->log : NULL;
	int64_t layers, near;
	uint64_t room = m->dev->room ? m->dev->room(m->dev) : UINT64_MAX, kept = kept_bytes(m);
	if (!m->dev->far || room == UINT64_MAX)
		return 0;
	f.left = room > kept ? room - kept : 0;
	for (size_t i = 0; i < K_LEN(parts); i++) {
		uint64_t was_near = f.near, was_far = f.far;
		place_role(&f, parts[i].role);
		if (f.far > was_far && parts[i].must)
			return k_err_set(err, K_ENOMEM, "'%s': attention does not fit on the device: %s is free there, %s is kept for activations and sequences",
				m->ck->path, k_size_format(a, room), k_size_format(b, kept));
		if (f.near + f.far > was_near + was_far)
			say(log, parts[i].role, f.near - was_near, f.far - was_far);
	}
	uint64_t was_near = f.near, was_far = f.far;
	near = place_experts(&f, &layers);
	say(log, "experts", f.near - was_near, f.far - was_far);
	say(log, "kept", kept, 0);
	say(log, "free", f.left, 0);
	k_logf(log, f.far ? K_LOG_INFO : K_LOG_DEBUG, "%s: %s of %s for weights, %s kept for activations and sequences; %s of weights stay on the host; "
		"experts of %lld of %lld layers on the device", m->dev->level(m->dev), k_size_format(a, f.near), k_size_format(b, room), k_size_format(c, kept),
		k_size_format(d, f.far), (long long)near, (long long)layers);
	return 0;
}

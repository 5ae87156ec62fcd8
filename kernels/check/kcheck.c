/* kcheck.c: compares every level of kernels with the reference.
 *
 *     kcheck [--seed N] [--level NAME] [--kernel NAME] [-v]     each row of kk.def at each level; operations of the devices
 *     kcheck --device SPEC [--kernel NAME]                      operations of that device only; not here: skipped
 *     kcheck --bench [--level NAME] [--kernel NAME]             each against the reference, calls in turn: medians, ratios
 *     kcheck --bench --device SPEC                              operations of that device beside its copying and its BF16 product
 *     kcheck --once [--level NAME] [--kernel NAME]              one call of each, what --bench times: for a counter of instructions
 *
 * A check is one kernel at one level. Entries that a level leaves to those below it are theirs. Levels that this CPU cannot run are
 * skipped. The last line is "N passed, N failed, N skipped"; status 1 when something failed. */
#include "libcore/base.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "kernels/check/kcheck.h"
#include "libcore/backend.h"
#include "libcore/cpu.h"

#define EXACT { TOL_EXACT, 0, 0 }
#define ULP(n) { TOL_ULP, n, 0 }
#define NMSE(x) { TOL_NMSE, x, 0 }
#define PART(x) { TOL_NMSE, x, 0.125 }
static const struct def { const char *name; struct tol tol; size_t at; } defs[] = {
#define KK(name, ret, args, tolerance) { #name, tolerance, offsetof(struct kk, name) },
#include "kernels/kk.def"
#undef KK
};
static const char *const op_names[] = {
#define K_OP(name, what) #name,
#include "libcore/ops.def"
#undef K_OP
};

struct options { uint64_t seed; const char *level, *kernel, *device; bool bench, once, verbose; };
struct sums { int passed, failed, skipped; };

static void usage(FILE *to)
{
	fprintf(to, "usage: kcheck [--seed N] [--level NAME | --device SPEC] [--kernel NAME] [--bench | --once] [-v]\nlevels:");
	for (int i = 0; kk_level_at(i); i++)
		fprintf(to, " %s", kk_level_at(i)->name);
	fprintf(to, "\nkernels:");
	for (size_t i = 0; i < K_LEN(defs); i++)
		fprintf(to, " %s", defs[i].name);
	for (size_t i = 0; i < K_LEN(op_names); i++)
		fprintf(to, " cpu.%s", op_names[i]);
	fprintf(to, " device.sample");
	fprintf(to, "\ndevices:");
	for (int i = 0; k_backend_at(i); i++)
		fprintf(to, " %s", k_backend_at(i)->name);
	fputc('\n', to);
}

static bool has_level(const char *name)
{
	for (int i = 0; kk_level_at(i); i++)
		if (strcmp(kk_level_at(i)->name, name) == 0)
			return true;
	return false;
}

static bool has_kernel(const char *name)
{
	for (size_t i = 0; i < K_LEN(defs); i++)
		if (strcmp(defs[i].name, name) == 0)
			return true;
	const char *op = strchr(name, '.');
	for (size_t i = 0; op && i < K_LEN(op_names); i++)
		if (strcmp(op_names[i], op + 1) == 0)
			return true;
	return op && strcmp(op + 1, "sample") == 0;
}

static bool read_seed(const char *s, uint64_t *out)
{
	char *end;
	errno = 0;
	*out = strtoull(s, &end, 10);
	return *s >= '0' && *s <= '9' && !*end && !errno;
}

/* false: the command line makes no sense. */
static bool read_options(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (strcmp(argv[i], "--bench") == 0)
			o->bench = true;
		else if (strcmp(argv[i], "--once") == 0)
			o->bench = o->once = true;
		else if (strcmp(argv[i], "-v") == 0)
			o->verbose = true;
		else if (strcmp(argv[i], "--seed") == 0 && value && read_seed(value, &o->seed))
			i++;
		else if (strcmp(argv[i], "--level") == 0 && value && has_level(value))
			o->level = argv[++i];
		else if (strcmp(argv[i], "--kernel") == 0 && value && (has_kernel(value) || kcheck_device_row(value)))
			o->kernel = argv[++i];
		else if (strcmp(argv[i], "--device") == 0 && value && k_device_known(value) && strcmp(value, "auto") != 0)
			o->device = argv[++i];
		else
			return false;
	}
	return true;
}

static const struct row *find_row(const char *name)
{
	static const struct row *const tables[] = { kcheck_elem, kcheck_mat, kcheck_delta, kcheck_attn, kcheck_page, kcheck_quant };
	for (size_t t = 0; t < K_LEN(tables); t++)
		for (const struct row *r = tables[t]; r->name; r++)
			if (strcmp(r->name, name) == 0)
				return r;
	return NULL;
}

static const struct op_row *find_op(const char *name)
{
	for (const struct op_row *r = kcheck_ops; r->name; r++)
		if (strcmp(r->name, name) == 0)
			return r;
	return NULL;
}

static const struct kk_level *reference(void)
{
	for (int i = 0; kk_level_at(i); i++)
		if (strcmp(kk_level_at(i)->name, "ref") == 0)
			return kk_level_at(i);
	k_bug("there is no level 'ref'");
}

/* Does the level have an entry of its own? */
static bool has_entry(const struct kk_level *l, const struct def *d)
{
	void (*fn)(void);
	memcpy(&fn, (const char *)&l->fn + d->at, sizeof(fn));
	return fn != NULL;
}

/* The same data for a kernel whatever else is checked. */
static void start(struct run *r, uint64_t seed, const char *name)
{
	uint64_t h = seed;
	for (const char *p = name; *p; p++)
		h = (h ^ (uint8_t)*p) * 0x100000001b3u;
	r->rng = h;
	r->seed = seed;
	r->name = name;
	snprintf(r->where, sizeof(r->where), "at the start");
	box_watch(r);
}

static void finish(const struct run *r, const struct options *o, struct sums *s)
{
	*(r->failures ? &s->failed : &s->passed) += 1;
	if (o->verbose)
		printf("%s %s %s: worst %.2f of the tolerance\n", r->failures ? "FAIL" : "ok  ", r->level, r->name, r->worst);
}

static void check_rows(const struct kk_level *l, const struct kk *ref, const struct kk *got, const struct options *o, struct sums *s)
{
	for (size_t i = 0; i < K_LEN(defs); i++) {
		const struct row *row = find_row(defs[i].name);
		struct run r = { .ref = ref, .got = got, .level = l->name, .tol = defs[i].tol };
		if ((o->kernel && strcmp(o->kernel, defs[i].name) != 0) || !has_entry(l, &defs[i]))
			continue;
		start(&r, o->seed, defs[i].name);
		if (row)
			row->check(&r, row->how);
		else
			fail(&r, "nobody checks it");
		finish(&r, o, s);
	}
}

static void check_ops(const struct kk_level *l, const struct options *o, struct sums *s)
{
	for (size_t i = 0; i < K_LEN(op_names); i++) {
		const struct op_row *row = find_op(op_names[i]);
		struct run r = { .level = l->name };
		char name[64];
		snprintf(name, sizeof(name), "cpu.%s", op_names[i]);
		if (o->kernel && strcmp(o->kernel, name) != 0)
			continue;
		start(&r, o->seed, name);
		if (row)
			row->check(&r);
		else
			fail(&r, "nobody checks it");
		finish(&r, o, s);
	}
}

/* Operations of a device other than the CPU, and what it samples. */
static void check_device_op(const char *spec, const char *op, const struct options *o, struct sums *s)
{
	struct run r = { .level = spec };
	char name[64];
	snprintf(name, sizeof(name), "%s.%s", spec, op);
	/* --kernel names it as the CPU's: cpu.OP. */
	if (o->kernel && strcmp(strchr(o->kernel, '.') ? strchr(o->kernel, '.') + 1 : o->kernel, op) != 0)
		return;
	start(&r, o->seed, name);
	if (strcmp(op, "sample") == 0)
		kcheck_device_sample(&r, spec);
	else if (!kcheck_device_op(&r, spec, op))
		fail(&r, "nobody checks it");
	finish(&r, o, s);
}

static void check_device(const char *spec, const struct options *o, struct sums *s)
{
	for (size_t i = 0; i < K_LEN(op_names); i++)
		check_device_op(spec, op_names[i], o, s);
	check_device_op(spec, "sample", o, s);
}

/* The one that was asked for, or all that are here. */
static void check_devices(const struct options *o, struct sums *s)
{
	for (int i = 0; k_backend_at(i); i++) {
		const struct k_backend *b = k_backend_at(i);
		char what[320];
		bool mine = o->device ? b->score(o->device) > 0 : !o->level;
		if (!mine || !b->probe)
			continue;
		if (b->probe(what, sizeof(what))) {
			check_device(o->device ? o->device : b->name, o, s);
		} else if (o->device) {
			printf("skip %s: no device: %s\n", o->device, what);
			s->skipped += (int)K_LEN(op_names) + 1;
		}
	}
}

/* --- bench -------------------------------------------------------------------------------------------------------------- */

enum { ROUNDS = 21 };
struct bencher { const char *level, *name; const struct kk *ref, *got; };

static double time_of(const struct bench *b, const struct kk *k, long calls)
{
	double t = seconds_now();
	for (long i = 0; i < calls; i++)
		b->go(k, b->arg);
	return (seconds_now() - t) / (double)calls;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_size);
	return v[ROUNDS / 2];
}

/* In turn, so that both see the same machine; the ratio is the median of the rounds' ratios. */
static void time_pair(void *ctx, const struct bench *b)
{
	const struct bencher *x = ctx;
	double ref[ROUNDS], got[ROUNDS], ratio[ROUNDS];
	long calls_ref = 1, calls_got = 1;
	while (time_of(b, x->ref, calls_ref) * (double)calls_ref < 1e-3)
		calls_ref *= 2;
	while (time_of(b, x->got, calls_got) * (double)calls_got < 1e-3)
		calls_got *= 2;
	for (int i = 0; i < ROUNDS; i++) {
		ref[i] = time_of(b, x->ref, calls_ref);
		got[i] = time_of(b, x->got, calls_got);
		ratio[i] = ref[i] / got[i];
	}
	printf("%-10s %-8s %12.0f %12.0f %8.2f  %s\n", x->name, x->level, 1e9 * median(ref), 1e9 * median(got), median(ratio), b->what);
}

/* cmd/test/counts.sh tells callgrind the name, which a static function may lose. */
void kcheck_one_call(const struct bench *b, const struct kk *k);
__attribute__((noinline)) void kcheck_one_call(const struct bench *b, const struct kk *k)
{
	b->go(k, b->arg);
	__asm__ volatile("");                   /* no jump out of here: the end of the call is seen */
}

static void call_once(void *ctx, const struct bench *b)
{
	const struct bencher *x = ctx;
	printf("%s\t%s\n", x->name, b->what);
	kcheck_one_call(b, x->got);
}

static void bench_level(const struct kk_level *l, const struct kk *ref, const struct kk *got, const struct options *o)
{
	for (size_t i = 0; i < K_LEN(defs); i++) {
		const struct row *row = find_row(defs[i].name);
		struct bencher b = { l->name, defs[i].name, ref, got };
		if ((o->kernel && strcmp(o->kernel, defs[i].name) != 0) || !has_entry(l, &defs[i]) || !row || !row->bench)
			continue;
		row->bench(row->how, o->once ? call_once : time_pair, &b);
	}
}

/* ------------------------------------------------------------------------------------------------------------------------- */

static void at_level(int i, const struct options *o, struct sums *s)
{
	const struct kk_level *l = kk_level_at(i), *bottom = reference();
	struct kk ref, got;
	char why[160];
	if (o->level && strcmp(o->level, l->name) != 0)
		return;
	if (k_cpu_lacks(kk_level_needs(i), why, sizeof(why))) {
		printf("skip %s: %s\n", l->name, why);
		s->skipped++;
		return;
	}
	memset(&ref, 0, sizeof(ref));
	kk_overlay(&ref, bottom);
	got = ref;
	kk_overlay(&got, l);
	if (o->bench && l != bottom)
		bench_level(l, &ref, &got, o);
	if (o->bench)
		return;
	check_rows(l, &ref, &got, o, s);
	if (l->rank >= 0)
		check_ops(l, o, s);
}

int main(int argc, char **argv)
{
	struct options o = { .seed = (uint64_t)time(NULL) };
	struct sums s = { 0, 0, 0 };
	if (!read_options(argc, argv, &o)) {
		usage(stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (o.bench && o.device) {
		kcheck_device_bench(o.device, o.kernel, &s.passed, &s.failed);
		printf("%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped);
		return s.failed != 0;
	}
	if (o.bench && !o.once)
		printf("%-10s %-8s %12s %12s %8s  %s\n", "kernel", "level", "ref ns", "level ns", "faster", "size");
	else if (!o.bench)
		printf("kcheck: --seed %llu\n", (unsigned long long)o.seed);
	for (int i = 0; kk_level_at(i) && !o.device; i++)
		at_level(i, &o, &s);
	if (o.bench)
		return 0;
	check_devices(&o, &s);
	printf("%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped);
	return s.failed != 0;
}

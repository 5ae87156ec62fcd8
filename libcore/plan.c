/* plan.c: see plan.h. */
#include "libcore/base.h"
#include "libcore/io.h"
#include "libcore/plan.h"

static bool is_stream(const struct k_plan *p) { return !p->out || strcmp(p->out, "-") == 0; }

/* Bytes that the output's disk must have, and has. UINT64_MAX: there is no disk, or nobody knows. */
static uint64_t wanted(const struct k_plan *p) { return p->bytes - K_MIN(p->bytes, p->there); }
static uint64_t room(const struct k_plan *p) { return is_stream(p) ? UINT64_MAX : k_disk_free(p->out); }

int k_plan_check(const struct k_plan *p, struct k_err *err)
{
	uint64_t free = room(p);

	if (p->memory > p->max_memory)
		return k_err_set(err, K_ENOMEM, "'%s': %llu bytes of memory are needed, %s is %llu", p->in, (unsigned long long)p->memory,
			p->ceiling_given ? "--max-memory" : "the ceiling (--max-memory)", (unsigned long long)p->max_memory);
	if (free < wanted(p))
		return k_err_set(err, K_ENOMEM, "'%s': %llu bytes of disk are needed, %llu are free", p->out, (unsigned long long)wanted(p),
			(unsigned long long)free);
	return 0;
}

struct row { const char *key, *what; double value; bool known, bytes; };

static void put_table(const struct row *rows, size_t n, bool fits, struct k_buf *b)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &rows[i];

		k_buf_printf(b, "%-28s ", r->what);
		if (!r->known)
			k_buf_puts(b, "-\n");
		else if (r->bytes)
			k_buf_printf(b, "%15.0f  %9.3f GB\n", r->value, r->value / 1e9);
		else
			k_buf_printf(b, "%15.0f\n", r->value);
	}
	k_buf_printf(b, "%-28s %15s\n", "fits", fits ? "yes" : "no");
}

static void put_json(const struct row *rows, size_t n, bool fits, struct k_buf *b)
{
	k_buf_putc(b, '{');
	for (size_t i = 0; i < n; i++)
		if (rows[i].known)
			k_buf_printf(b, "\"%s\": %.0f, ", rows[i].key, rows[i].value);
		else
			k_buf_printf(b, "\"%s\": null, ", rows[i].key);
	k_buf_printf(b, "\"fits\": %s}\n", fits ? "true" : "false");
}

void k_plan_put(const struct k_plan *p, bool table, struct k_buf *b)
{
	uint64_t free = room(p);
	double rate = k_disk_rate(p->in), moved = (double)p->bytes_in + (free == UINT64_MAX ? 0 : (double)p->bytes);
	const struct row rows[] = {
		{ "entries", "entries", p->entries, true, false },
		{ "bytes_in", "read", (double)p->bytes_in, true, true },
		{ "bytes", "written", (double)p->bytes, true, true },
		{ "peak_memory", "memory, at most", (double)p->memory, true, true },
		{ "max_memory", "memory, ceiling", (double)p->max_memory, true, true },
		{ "disk_free", "disk, free at the output", (double)free, free != UINT64_MAX, true },
		{ "disk_rate", "disk, read a second", rate, rate > 0, true },
		{ "seconds", "seconds at that rate", rate > 0 ? moved / rate : 0, rate > 0, false },
	};
	struct k_err why;
	bool fits = k_plan_check(p, &why) == 0;

	(table ? put_table : put_json)(rows, K_LEN(rows), fits, b);
}

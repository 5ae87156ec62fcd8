/* pack.c: pieces of weights into planes and back.
 *
 *     u8 number of fields | each: u32 bytes, u8 form | planes in order: u8 how, u32 length, bytes
 *
 * The two halves are mirror images: deal() moves each byte from its place in the piece to its place in a plane, gather() back. */
#include "libcore/base.h"
#include "libcore/gz.h"
#include "libcore/pack.h"
#include "libcore/qtype_int.h"

enum { FORM_TURNED = 0x80, MAX_PLANES = 8 * K_PACK_FIELDS, PLANE_HEAD = 5, STORED = 0, DEFLATED = 1 };

struct plane { uint8_t *p; size_t n; };

/* --- fields -------------------------------------------------------------------------------------------------------------- */

/* Fields of the types that are no plain scalars: fixed + times * ceil(cols / per) bytes. Types that are not here are one field of
 * bytes. */
struct row { uint32_t fixed, times, per; uint8_t width; };
static const struct { const char *name, *layout; struct row f[K_PACK_FIELDS]; } types[] = {
	{ "i4g32", "rows", { { 0, 2, 32, 2 }, { 0, 1, 2, 1 } } },
	{ "i4g32", "x16", { { 64, 0, 1, 2 }, { 512, 0, 1, 1 } } },
	{ "fp8b128", "rows", { { 0, 4, 128, 4 }, { 0, 128, 1, 1 } } },
	{ "mxfp4", "rows", { { 0, 1, 32, 1 }, { 0, 1, 2, 1 } } },
	{ "mxfp4", "x16", { { 64, 0, 1, 1 }, { 1024, 0, 1, 1 } } },
	{ "mxfp4", "gguf", { { 1, 0, 1, 1 }, { 16, 0, 1, 1 } } },
	{ "i8row", "rows", { { 4, 0, 1, 4 }, { 0, 1, 1, 1 } } },
	{ "q4_0", "rows", { { 2, 0, 1, 2 }, { 16, 0, 1, 1 } } },
	{ "q4_1", "rows", { { 4, 0, 1, 2 }, { 16, 0, 1, 1 } } },
	{ "q5_0", "rows", { { 2, 0, 1, 2 }, { 4, 0, 1, 1 }, { 16, 0, 1, 1 } } },
	{ "q5_1", "rows", { { 4, 0, 1, 2 }, { 4, 0, 1, 1 }, { 16, 0, 1, 1 } } },
	{ "q8_0", "rows", { { 2, 0, 1, 2 }, { 32, 0, 1, 1 } } },
	{ "q2_k", "rows", { { 16, 0, 1, 1 }, { 64, 0, 1, 1 }, { 4, 0, 1, 2 } } },
	{ "q3_k", "rows", { { 32, 0, 1, 1 }, { 64, 0, 1, 1 }, { 12, 0, 1, 1 }, { 2, 0, 1, 2 } } },
	{ "q4_k", "rows", { { 4, 0, 1, 2 }, { 12, 0, 1, 1 }, { 128, 0, 1, 1 } } },
	{ "q5_k", "rows", { { 4, 0, 1, 2 }, { 12, 0, 1, 1 }, { 32, 0, 1, 1 }, { 128, 0, 1, 1 } } },
	{ "q6_k", "rows", { { 128, 0, 1, 1 }, { 64, 0, 1, 1 }, { 16, 0, 1, 1 }, { 2, 0, 1, 2 } } },
	{ "iq4_nl", "rows", { { 2, 0, 1, 2 }, { 16, 0, 1, 1 } } },
	{ "iq4_xs", "rows", { { 2, 0, 1, 2 }, { 6, 0, 1, 1 }, { 128, 0, 1, 1 } } },
};

static void set_fields(struct k_pack_fields *out, const struct row *f, uint64_t cols)
{
	uint64_t sum = 0;

	for (out->n = 0; out->n < K_PACK_FIELDS && f[out->n].width; out->n++) {
		const struct row *r = &f[out->n];
		uint64_t bytes = r->fixed + r->times * (cols / r->per + (cols % r->per != 0));

		sum += bytes;
		if (bytes == 0 || sum > INT32_MAX)
			break;
		out->f[out->n] = (struct k_pack_field){ (uint32_t)bytes, r->width, false };
	}
	if (out->n < K_PACK_FIELDS && f[out->n].width)
		*out = (struct k_pack_fields){ true, 1, { { 1, 1, false } } };
}

void k_pack_fields_of(const struct k_entry *e, struct k_pack_fields *out)
{
	const struct k_qtype *t = e->type;
	bool turned = t->plain && (!strcmp(t->name, "bf16") || !strcmp(t->name, "f32"));
	uint8_t width = t->plain ? (uint8_t)t->elem_bytes : 1;

	*out = (struct k_pack_fields){ t->dequant != NULL, 1, { { width, width, turned } } };
	for (size_t i = 0; i < K_LEN(types); i++)
		if (!strcmp(types[i].name, t->name) && !strcmp(types[i].layout, t->layout))
			set_fields(out, types[i].f, (uint64_t)k_entry_cols(e));
}

static int n_planes(const struct k_pack_fields *f)
{
	int n = 0;

	for (int i = 0; i < f->n; i++)
		n += f->f[i].width;
	return n;
}

/* Lengths of the planes of n bytes, one behind another in p; false where an element is cut. */
static bool lay_planes(const struct k_pack_fields *f, size_t n, uint8_t *p, struct plane *planes)
{
	size_t period = 0, rest;

	for (int i = 0; i < f->n; i++)
		period += f->f[i].bytes;
	rest = n % period;
	for (int i = 0; i < f->n; i++) {
		size_t width = f->f[i].width, last = K_MIN(rest, (size_t)f->f[i].bytes), each = (n / period * f->f[i].bytes + last) / width;

		if (last % width)
			return false;
		rest -= last;
		for (size_t j = 0; j < width; j++, planes++, p += each)
			*planes = (struct plane){ p, each };
	}
	return true;
}

/* --- piece <-> planes ---------------------------------------------------------------------------------------------------- */

static void deal16(uint8_t *restrict lo, uint8_t *restrict hi, const uint8_t *restrict src, size_t n, int by)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t v = k_get16(src + 2 * i), r = (uint16_t)(v << by | v >> (16 - by) % 16);

		lo[i] = (uint8_t)r;
		hi[i] = (uint8_t)(r >> 8);
	}
}

static void gather16(uint8_t *restrict dst, const uint8_t *restrict lo, const uint8_t *restrict hi, size_t n, int by)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t r = (uint16_t)(lo[i] | hi[i] << 8);

		k_put16(dst + 2 * i, (uint16_t)(r >> by | r << (16 - by) % 16));
	}
}

/* Moves n elements of a field between piece and planes. */
typedef void move(const struct k_pack_field *f, const struct plane *planes, uint8_t *piece, size_t n);

static void deal1(const struct k_pack_field *f K_UNUSED, const struct plane *planes, uint8_t *piece, size_t n) { memcpy(planes->p, piece, n); }
static void gather1(const struct k_pack_field *f K_UNUSED, const struct plane *planes, uint8_t *piece, size_t n) { memcpy(piece, planes->p, n); }
static void deal2(const struct k_pack_field *f, const struct plane *planes, uint8_t *piece, size_t n)
{
	deal16(planes[0].p, planes[1].p, piece, n, f->turned);
}
static void gather2(const struct k_pack_field *f, const struct plane *planes, uint8_t *piece, size_t n)
{
	gather16(piece, planes[0].p, planes[1].p, n, f->turned);
}

/* Wider elements are numbers of `width` bytes, which is a constant where this is called. */
static inline void deal_wide(const struct k_pack_field *f, const struct plane *planes, const uint8_t *piece, size_t n, unsigned width)
{
	uint8_t *to[8];
	unsigned by = f->turned, back = (8 * width - by) % (8 * width);

	for (unsigned j = 0; j < width; j++)
		to[j] = planes[j].p;
	for (size_t i = 0; i < n; i++) {
		uint64_t v = 0;

		memcpy(&v, piece + i * width, width);
		v = v << by | v >> back;
		for (unsigned j = 0; j < width; j++)
			to[j][i] = (uint8_t)(v >> 8 * j);
	}
}

static inline void gather_wide(const struct k_pack_field *f, const struct plane *planes, uint8_t *restrict piece, size_t n, unsigned width)
{
	const uint8_t *from[8];
	unsigned by = f->turned, back = (8 * width - by) % (8 * width);

	for (unsigned j = 0; j < width; j++)
		from[j] = planes[j].p;
	for (size_t i = 0; i < n; i++) {
		uint64_t v = 0;

		for (unsigned j = 0; j < width; j++)
			v |= (uint64_t)from[j][i] << 8 * j;
		v = v >> by | v << back;
		memcpy(piece + i * width, &v, width);
	}
}

static void deal4(const struct k_pack_field *f, const struct plane *planes, uint8_t *piece, size_t n) { deal_wide(f, planes, piece, n, 4); }
static void deal8(const struct k_pack_field *f, const struct plane *planes, uint8_t *piece, size_t n) { deal_wide(f, planes, piece, n, 8); }
static void gather4(const struct k_pack_field *f, const struct plane *planes, uint8_t *piece, size_t n) { gather_wide(f, planes, piece, n, 4); }
static void gather8(const struct k_pack_field *f, const struct plane *planes, uint8_t *piece, size_t n) { gather_wide(f, planes, piece, n, 8); }

static move *const deals[] = { [1] = deal1, [2] = deal2, [4] = deal4, [8] = deal8 };
static move *const gathers[] = { [1] = gather1, [2] = gather2, [4] = gather4, [8] = gather8 };

static void each_run(const struct k_pack_fields *f, const struct plane *from, uint8_t *piece, size_t n, move *const *moves)
{
	struct plane planes[MAX_PLANES];
	uint8_t *end = piece + n;
	bool alone = f->n == 1;

	memcpy(planes, from, (size_t)n_planes(f) * sizeof(*planes));
	while (piece < end)
		for (int i = 0, first = 0; i < f->n && piece < end; first += f->f[i++].width) {
			size_t room = (size_t)(end - piece), bytes = alone ? room : K_MIN(room, (size_t)f->f[i].bytes), count = bytes / f->f[i].width;

			moves[f->f[i].width](&f->f[i], planes + first, piece, count);
			for (int j = 0; j < f->f[i].width; j++)
				planes[first + j].p += count;
			piece += bytes;
		}
}

/* --- packing ------------------------------------------------------------------------------------------------------------- */

static uint8_t *put_fields(uint8_t *p, const struct k_pack_fields *f)
{
	*p++ = (uint8_t)f->n;
	for (int i = 0; i < f->n; i++) {
		k_put32(p, f->f[i].bytes);
		p[4] = (uint8_t)(f->f[i].width | (f->f[i].turned ? FORM_TURNED : 0));
		p += 5;
	}
	return p;
}

/* log2 of x > 0 in 256ths, to within 2 of them. */
static uint64_t log2_of(uint64_t x)
{
	unsigned k = 63 - (unsigned)__builtin_clzll(x);
	uint64_t f = (k > 8 ? x >> (k - 8) : x << (8 - k)) & 255;

	return 256 * k + f + (87 * f * (256 - f) >> 16);
}

/* Bits that n bytes have at least where each is coded by itself, in 256ths: what their histogram says. */
static uint64_t entropy(const uint8_t *p, size_t n)
{
	uint32_t count[4][256] = { 0 };
	uint64_t sum = 0;
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (int j = 0; j < 4; j++)
			count[j][p[i + (size_t)j]]++;
	for (; i < n; i++)
		count[0][p[i]]++;
	for (int v = 0; v < 256; v++) {
		uint64_t c = (uint64_t)count[0][v] + count[1][v] + count[2][v] + count[3][v];

		if (c)
			sum += c * (log2_of(n) - log2_of(c));
	}
	return sum;
}

/* How a plane is deflated, made up before time is spent; false: nothing is gained. Huffman codes
 * have a bit a byte at least; where there is less to say, runs are shorter. */
static bool choose(const struct plane *pl, bool numbers, enum k_deflate_how *how)
{
	uint64_t bits = entropy(pl->p, pl->n), all = pl->n * 8 * 256;

	*how = numbers && bits > all / 10 ? K_DEFLATE_HUFFMAN : K_DEFLATE_MATCH;
	return !numbers || bits < all - all / 64;
}

/* One plane into [p, end); *used 0: it does not fit. */
static int pack_plane(uint8_t *p, const uint8_t *end, size_t *used, const struct plane *pl, bool numbers, struct k_err *err)
{
	size_t cap = (size_t)(end - p), len = 0;
	enum k_deflate_how how;
	int rc = 0;

	*used = 0;
	if (cap <= PLANE_HEAD)
		return 0;
	cap -= PLANE_HEAD;
	if (choose(pl, numbers, &how))
		rc = k_deflate(p + PLANE_HEAD, K_MIN(cap, pl->n), &len, pl->p, pl->n, how, err);
	if (rc < 0 || (!len && pl->n > cap))
		return rc;
	p[0] = len ? DEFLATED : STORED;
	if (!len) {
		memcpy(p + PLANE_HEAD, pl->p, pl->n);
		len = pl->n;
	}
	k_put32(p + 1, (uint32_t)len);
	*used = PLANE_HEAD + len;
	return 0;
}

int k_pack_encode(uint8_t *dst, size_t *len, const uint8_t *src, size_t n, const struct k_pack_fields *fields, uint8_t *scratch,
	struct k_err *err)
{
	struct plane planes[MAX_PLANES];
	uint8_t *p, *end = dst + n;
	size_t used = 1;
	int rc = 0;

	*len = 0;
	if (n <= 1 + 5 * K_PACK_FIELDS || !lay_planes(fields, n, scratch, planes))
		return 0;
	each_run(fields, planes, (uint8_t *)(uintptr_t)src, n, deals);
	p = put_fields(dst, fields);
	for (int i = 0; rc == 0 && used && i < n_planes(fields); i++, p += used)
		rc = pack_plane(p, end, &used, &planes[i], fields->numbers, err);
	if (rc == 0 && used)
		*len = (size_t)(p - dst);
	return rc;
}

/* --- unpacking ----------------------------------------------------------------------------------------------------------- */

struct cursor { const uint8_t *p, *end; };

static bool left(const struct cursor *c, size_t n) { return (size_t)(c->end - c->p) >= n; }

static int get_fields(struct cursor *c, struct k_pack_fields *f, struct k_err *err)
{
	uint64_t sum = 0;

	if (!left(c, 1) || c->p[0] < 1 || c->p[0] > K_PACK_FIELDS || !left(c, 1 + 5 * (size_t)c->p[0]))
		return k_err_set(err, K_EFORMAT, "its list of fields is none");
	f->n = *c->p++;
	for (int i = 0; i < f->n; i++, c->p += 5) {
		uint8_t form = c->p[4], width = form & (uint8_t)~FORM_TURNED;

		f->f[i] = (struct k_pack_field){ k_get32(c->p), width, form & FORM_TURNED };
		sum += f->f[i].bytes;
		if ((width != 1 && width != 2 && width != 4 && width != 8) || (f->f[i].turned && width == 1) || f->f[i].bytes == 0 ||
		    f->f[i].bytes % width || sum > INT32_MAX)
			return k_err_set(err, K_EFORMAT, "field %d has %u bytes in form %u", i, f->f[i].bytes, form);
	}
	return 0;
}

static int get_plane(struct cursor *c, const struct plane *pl, struct k_err *err)
{
	size_t len;
	uint8_t how;

	if (!left(c, PLANE_HEAD))
		return k_err_set(err, K_EFORMAT, "it ends before its last plane");
	how = c->p[0];
	len = k_get32(c->p + 1);
	c->p += PLANE_HEAD;
	if (how > DEFLATED || !left(c, len) || (how == STORED && len != pl->n))
		return k_err_set(err, K_EFORMAT, "a plane of %zu bytes is kept in way %u in %zu bytes", pl->n, how, len);
	c->p += len;
	if (how == DEFLATED)
		return k_inflate(pl->p, pl->n, c->p - len, len, err);
	memcpy(pl->p, c->p - len, len);
	return 0;
}

int k_pack_decode(uint8_t *dst, size_t n, const uint8_t *p, size_t len, uint8_t *scratch, struct k_err *err)
{
	struct cursor c = { p, p + len };
	struct plane planes[MAX_PLANES];
	struct k_pack_fields fields;
	int rc = get_fields(&c, &fields, err);

	if (rc == 0 && !lay_planes(&fields, n, scratch, planes))
		rc = k_err_set(err, K_EFORMAT, "%zu bytes end within an element", n);
	for (int i = 0; rc == 0 && i < n_planes(&fields); i++)
		rc = get_plane(&c, &planes[i], err);
	if (rc == 0 && c.p != c.end)
		rc = k_err_set(err, K_EFORMAT, "%zu bytes stand behind its last plane", (size_t)(c.end - c.p));
	if (rc == 0)
		each_run(&fields, planes, dst, n, gathers);
	return rc;
}

/* kmf.h: the container. Its bytes are in kmf.5 (formats/kmf.5), written first; here is how to read and write it.
 *
 *   0     magic \x89KMF\r\n\x1a\n (8), version u32 = 2, flags u32 = 0, head bytes u64, data bytes u64, sha256 of the head (32) = 64 bytes
 *   64    head: JSON in UTF-8, then zeros up to a multiple of 4096
 *   D     data: entries in order, each at a multiple of 64 (of 4096 from 64 KiB on), zeros between
 *   T     trailer at the next multiple of 64: "KMFDIGS\n", u64 n, u64 m, m sha256 (leaves of entries that have several), n sha256 (one an
 *         entry), sha256 over (sha256 of the head, digests of entries)
 *   end   "KMFEND\r\n", u64 length of the whole file
 *
 * head: {"kmf":2,"arch":..,"config":"<config.json verbatim>","entries":[{"name","role","type","layout","shape","offset","bytes",
 * "source"?,"form"?}],"history":[..]}. Offsets count from D, follow from types and shapes, and are checked. */
#ifndef K_KMF_H
#define K_KMF_H

#include "libcore/ckpt.h"
#include "libcore/io.h"

#define K_KMF_MAGIC "\x89KMF\r\n\x1a\n"
#define K_KMF_VERSION 2
#define K_KMF_HEAD_MAX (1u << 30)

/* src: takes it (closed with the checkpoint, also on failure). Seekable sources are read with pread, or mapped when map is true
 * (then ops->map works); their trailer's end mark and length are checked at open. Pipes are sequential.
 * The head is checked whole: every offset, size, type, role, unique names, trailing bytes. */
int k_kmf_open(struct k_ckpt **out, struct k_source *src, bool map, struct k_log *log, struct k_err *err) K_MUST_USE;
/* A file whose head and data are there, and whose trailer is still to be written: nothing is compared with digests. */
int k_kmf_open_unfinished(struct k_ckpt **out, struct k_source *src, struct k_err *err) K_MUST_USE;
/* Digests of entries as the trailer has them (after open of a seekable file, after finish of a pipe); NULL before. n x 32 bytes. */
const uint8_t *k_kmf_digests(struct k_ckpt *c);
/* Where the data section begins: entries' offsets count from it. */
uint64_t k_kmf_data(const struct k_ckpt *c);
/* The file's identity: the sha256 over head and digests. */
int k_kmf_identity(struct k_ckpt *c, uint8_t out[32], struct k_err *err) K_MUST_USE;

/* Digest of a leaf, from the trailer of a file. Any thread. */
int k_kmf_leaf_digest(struct k_ckpt *c, int i, uint64_t leaf, uint8_t out[32], struct k_err *err) K_MUST_USE;
/* Packed for transport, a delta too: entries do not lie where their offsets say. */
bool k_kmf_is_packed(const struct k_ckpt *c);
/* A delta (kmf.5) is read like any container once it has its base: K_ECHECK when that is another one. base: borrowed until the
 * delta is closed; read from the same thread. */
bool k_kmf_is_delta(const struct k_ckpt *c);
int k_kmf_set_base(struct k_ckpt *delta, struct k_ckpt *base, struct k_err *err) K_MUST_USE;

struct k_kmf_head { const char *arch, *config; size_t config_len; int n_entries; struct k_entry *entries; const struct k_json *history; };
/* A container that is to be: what stands before and behind the data, and where everything is. */
struct k_kmf_plan {
	struct k_entry *entries; int n_entries;         /* the caller's, until free; offset is filled in */
	struct k_buf head;              /* the first `start` bytes */
	uint8_t head_digest[32];
	uint64_t start, trailer_at, total;      /* of the file: where the data begins, where the trailer does, its length */
	uint64_t *first, n_leaves;      /* first[i]: of entry i's leaves among all; n_leaves: those that the trailer lists */
	uint8_t (*leaves)[32];
};
int k_kmf_plan_new(struct k_kmf_plan **out, const struct k_kmf_head *head, struct k_err *err) K_MUST_USE;
void k_kmf_plan_free(struct k_kmf_plan *p);             /* takes NULL */
/* Digests of bytes [off, off + n) of an entry, which are whole leaves. Any thread, any order. */
int k_kmf_plan_note(struct k_kmf_plan *p, int entry, uint64_t off, const void *bytes, size_t n, struct k_err *err) K_MUST_USE;
/* The same where the digest of the leaf that begins at off is known. */
void k_kmf_plan_note_leaf(struct k_kmf_plan *p, int entry, uint64_t off, const uint8_t digest[32]);
/* The digest of an entry all of whose leaves were noted. */
int k_kmf_plan_digest(const struct k_kmf_plan *p, int entry, uint8_t out[32], struct k_err *err) K_MUST_USE;
/* Appends the trailer and the end mark, for trailer_at; everything was noted. */
int k_kmf_plan_trailer(const struct k_kmf_plan *p, struct k_buf *b, struct k_err *err) K_MUST_USE;

#endif

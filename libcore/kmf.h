/* kmf.h: the container. Its bytes are in kmf.5 (formats/kmf.5), written first; here is how to read and write it.
 *
 *   0     magic \x89KMF\r\n\x1a\n (8), version u32 = 1, flags u32 = 0, head bytes u64, data bytes u64, sha256 of the head (32) = 64 bytes
 *   64    head: JSON in UTF-8, then zeros up to a multiple of 4096
 *   D     data: entries in order, each at a multiple of 64 (of 4096 from 64 KiB on), zeros between
 *   T     trailer at the next multiple of 64: "KMFDIGS\n", u64 n, n sha256 (one an entry), sha256 over (sha256 of head, digests)
 *   end   "KMFEND\r\n", u64 length of the whole file
 *
 * head: {"kmf":1,"arch":..,"config":"<config.json verbatim>","entries":[{"name","role","type","layout","shape","offset","bytes",
 * "source"?,"form"?}],"history":[..]}. Offsets count from D, follow from types and shapes, and are checked. */
#ifndef K_KMF_H
#define K_KMF_H

#include "libcore/ckpt.h"
#include "libcore/io.h"

#define K_KMF_MAGIC "\x89KMF\r\n\x1a\n"
#define K_KMF_VERSION 1
#define K_KMF_HEAD_MAX (1u << 30)

/* src: takes it (closed with the checkpoint, also on failure). Seekable sources are read with pread, or mapped when map is true
 * (then ops->map works); their trailer's end mark and length are checked at open. Pipes are sequential.
 * The head is checked whole: every offset, size, type, role, unique names, trailing bytes. */
int k_kmf_open(struct k_ckpt **out, struct k_source *src, bool map, struct k_log *log, struct k_err *err) K_MUST_USE;
/* Digests as the trailer has them (after open of a seekable file, after finish of a pipe); NULL before. n x 32 bytes. */
const uint8_t *k_kmf_digests(struct k_ckpt *c);
/* Where the data section begins: entries' offsets count from it. */
uint64_t k_kmf_data(const struct k_ckpt *c);
/* The file's identity: the sha256 over head and digests. */
int k_kmf_identity(struct k_ckpt *c, uint8_t out[32], struct k_err *err) K_MUST_USE;

struct k_kmf_writer;
struct k_kmf_head { const char *arch, *config; size_t config_len; int n_entries; struct k_entry *entries; const struct k_json *history; };
/* Lays out (fills offset of every entry), writes the head. The entries must stay until end. k_kmf_total: bytes of the whole file. */
int k_kmf_begin(struct k_kmf_writer **out, struct k_sink *sink, const struct k_kmf_head *head, struct k_err *err) K_MUST_USE;
uint64_t k_kmf_total(const struct k_kmf_writer *w);
/* The next n bytes of the current entry, in order, any cut; moves to the next entry by itself. */
int k_kmf_put(struct k_kmf_writer *w, const void *p, size_t n, struct k_err *err) K_MUST_USE;
/* Trailer and end mark; K_EBUG when bytes are missing. The sink is committed by the caller. */
int k_kmf_end(struct k_kmf_writer *w, struct k_err *err) K_MUST_USE;
const uint8_t *k_kmf_writer_digest(const struct k_kmf_writer *w, int entry);    /* of a finished entry */
void k_kmf_writer_free(struct k_kmf_writer *w);

#endif

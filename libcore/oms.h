/* oms.h: what a signature says of a model: an OpenSSF Model Signing bundle (formats.md 10.2), made and read. No file is opened here.
 *
 *   bundle:    {"mediaType", "verificationMaterial": {"publicKey": {"hint"}}, "dsseEnvelope": {"payload", "payloadType", "signatures"}}
 *   signed:    "DSSEv1 28 application/vnd.in-toto+json LEN " and the payload's bytes
 *   payload:   an in-toto statement; its predicate has "serialization" (the method), "resources" (names and digests), and our "ktools":
 *              {"format": 1, "files": [{"name", "bytes", "shard_size", "shards": [hex]}], "empty": [name], "container": {"identity",
 *              "entries": [{"name", "offset", "bytes", "sha256"}]}}; "files" with method "files", "empty" with method "shards", whose
 *              resources have no shard of an empty file
 *
 * What model-signing 1.1.1 takes, by trial: a model that is one file has the name "."; method "files": one digest a file; method
 * "shards": names "PATH:START:END", algorithm "sha256-sharded-SIZE", and only through its Python interface: its command line
 * always hashes whole files. Members of the predicate that it does not know are ignored, elsewhere in the bundle they are refused. So a
 * signature has method "files", and the digests of shards, which say where something differs, in "ktools"; "shards" is for who wants to
 * hash on all cores or to sign again without reading everything. */
#ifndef K_OMS_H
#define K_OMS_H

#include "libcore/arena.h"
#include "libcore/hash.h"
#include "libcore/buf.h"

enum { K_OMS_BUNDLE_MAX = 64 << 20 };

struct k_oms_file {
	const char *name;               /* relative, '/' between folders; "." where the model is one file */
	uint64_t bytes;                 /* UINT64_MAX: not said */
	bool whole;                     /* digest is the file's */
	uint8_t digest[32];
	uint64_t shard_size;            /* 0: no shards */
	int64_t n_shards;
	uint8_t (*shards)[32];          /* every shard_size bytes, the last shorter */
};
struct k_oms_entry { const char *name; uint64_t offset, bytes; uint8_t digest[32]; };  /* offset: in the file */

struct k_oms {
	struct k_arena arena;           /* owns what the pointers point to, but for the writer's own */
	const char *subject;            /* base name of the model; for people */
	bool by_shards;                 /* method "shards", else "files" */
	bool empties;                   /* files holds all empty ones; false: read from a signature by shards that does not say which there are */
	bool links;                     /* symbolic links were followed */
	const char **ignore; int n_ignore;      /* paths of a folder that are not part of the model, with all below them */
	struct k_oms_file *files; int n_files;  /* sorted by name */
	bool container;                 /* of a model that is one container: its identity and entries */
	uint8_t identity[32];
	struct k_oms_entry *entries; int n_entries;
};

/* A power of two, from 64 KiB on, that cuts a model of so many bytes into at most 2^17 shards, so that the bundle stays under 64 MiB. */
uint64_t k_oms_shard_size(uint64_t bytes);
/* Room for the shards of f, whose bytes and shard_size are set. */
int k_oms_room(struct k_oms *o, struct k_oms_file *f, struct k_err *err) K_MUST_USE;
/* Appends the bytes that are signed. */
void k_oms_pae(struct k_buf *b, const void *payload, size_t n);
/* Signs: appends the bundle. What names the model in errors: a name that no manifest can hold is K_EUNSUP. */
int k_oms_write(const struct k_oms *o, const struct k_key *key, struct k_buf *b, struct k_err *err) K_MUST_USE;
/* Verifies and reads a bundle, in this order: its form (K_EFORMAT), kinds that need another verifier (K_EUNSUP), the key's hint and the
 * signature (K_ENO), and only then what was signed. what names the bundle. Free with k_oms_free. */
int k_oms_read(struct k_oms **out, const char *text, size_t n, const struct k_key *key, const char *what, struct k_err *err) K_MUST_USE;
void k_oms_free(struct k_oms *o);                       /* takes NULL */
/* The file of this name, or NULL. */
struct k_oms_file *k_oms_find(const struct k_oms *o, const char *name);
/* May a manifest hold this name: relative, UTF-8, no empty part, no "." and ".." among them? Else why not. */
const char *k_oms_refuses(const char *name, bool by_shards);

#endif

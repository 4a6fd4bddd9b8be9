/* GGUF: the reader of one file's header, and models that are split into several
 * files as llama.cpp's gguf-split makes them. */
#ifndef OCTAVO_GGUF_H
#define OCTAVO_GGUF_H

#include "formats/model.h"

enum {
    GGUF_NAME_MAX = 63,       /* bytes of a tensor's name (GGML_MAX_NAME, with its NUL, is 64) */
    GGUF_RANK_MAX = 4,        /* GGML_MAX_DIMS */
    GGUF_ALIGNMENT = 32,      /* of tensors, where general.alignment does not say otherwise */
};
/* ggml's number of a storage type; false when it has none. */
bool gguf_stores(enum dtype t, uint32_t *type);

/* What a header says beside its tensors; -1 where the key is absent. */
struct gguf_info {
    uint64_t kv_at, kv_size;  /* where the key/value section lies in the file, in bytes */
    uint64_t kv_count;        /* its keys */
    int64_t alignment;        /* general.alignment, or 32 */
    int64_t part, parts;      /* split.no (from 0), split.count */
    int64_t tensors;          /* split.tensors.count: of all parts together */
};
/* Appends the tensors of one file to t, with .file = file, and its keys as text.
 * What h holds is not changed: bytes [kv_at, kv_at + kv_size) of it are valid after. */
int gguf_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct gguf_info *info,
              struct err *e) MUST_USE;

/* "NAME-00002-of-00003.gguf" is part 1 of 3: true, with the length of NAME. The
 * numbers have five digits and 1 <= number <= count, as gguf-split writes them. */
bool gguf_part_name(const char *name, size_t *stem, unsigned *part, unsigned *parts);

/* m->f[0] was read to t and *first.  When it says that it is the first of several
 * parts, reads the headers of the others: m->f and m->nf become all of them.  The
 * keys kept are those of the first.  Each part must be there, under its name and
 * uncompressed, agree with the first on their number, and come in its place; the
 * tensors must be as many as the first says. */
int gguf_parts(struct model *m, const struct gguf_info *first, struct table *t, struct err *e) MUST_USE;

#endif

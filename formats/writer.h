/* The files of an output, planned to the last byte: heads, and where each
 * tensor goes.  What sink.h then fills. */
#ifndef OCTAVO_WRITER_H
#define OCTAVO_WRITER_H

#include "formats/gguf_keys.h"
#include "formats/model.h"
#include "formats/packed.h"
#include "formats/sink.h"

struct writer {
    struct sink_file *file;
    size_t nfiles;
    struct sink_slot *slot;     /* ascending in each file */
    size_t nslots;
    size_t *slot_of;            /* tensor i of the caller -> slot */
    struct buf *head;           /* of each file */
    uint64_t bytes;             /* all files */
    struct arena mem;
};

/* Safetensors files. shard[i] is the file of tensor i, path[s] its path ("-",
 * "null:" or a file). In files tensors lie in the canonical order (dtype
 * descending, then name); arrival true keeps the order given, for pipes. The
 * same metadata goes into every file. */
int writer_safetensors(struct writer *w, const struct tensor *t, size_t n, const uint32_t *shard,
                       const char *const *path, size_t nfiles, const struct meta *kv, size_t nkv, bool arrival,
                       struct err *e) MUST_USE;
/* One packed file; t[i].off is filled. */
int writer_packed(struct writer *w, struct tensor *t, size_t n, const char *path, const struct packed_info *info,
                  struct err *e) MUST_USE;
/* One GGUF file, version 3, general.alignment 32: tensors in the order given, each (the last
 * one too) padded to the alignment.  ERR_INPUT for what its readers do not take:
 * names of more than 63 bytes, more than 4 dimensions, no elements, types that
 * ggml does not have.  keys are copied. */
int writer_gguf(struct writer *w, const struct tensor *t, size_t n, const char *path, const struct gguf_keys *keys,
                struct err *e) MUST_USE;
/* The text of model.safetensors.index.json. */
int writer_index(const struct writer *w, const struct tensor *t, size_t n, struct buf *text, struct err *e) MUST_USE;
void writer_free(struct writer *w);

/* For writer*.c: the arrays of a plan. On failure the writer needs writer_free. */
int writer_allocate(struct writer *w, size_t n, size_t nfiles, struct err *e) MUST_USE;

#endif

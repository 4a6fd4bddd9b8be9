/* Models that are directories: which file to open, and the index that says
 * which tensor is in which shard.
 *
 * An index is believed no more than a header.  Every tensor it names must be
 * in the file it names, every tensor in those files must be in the index, and
 * no file may lie outside the directory.  The total_size it carries is not
 * looked at: published ones are often wrong. */
#ifndef OCTAVO_SHARDS_H
#define OCTAVO_SHARDS_H

#include "formats/model.h"

enum { SHARDS_INDEX_MAX = 1 << 28 }; /* bytes of an index; 92,000 tensors take 9 million */

/* The index or model file of a directory: model.safetensors.index.json, or the
 * only *.safetensors.index.json, or the only *.safetensors; else the same of
 * pytorch_model.bin.index.json, *.bin.index.json and pytorch_model.bin; else the
 * only *.gguf or the first of the parts of one (gguf.h).  NULL when there is none
 * or more than one, with the names found in e. */
const char *shards_find(const char *dir, struct arena *mem, struct err *e) MUST_USE;

struct shards {
    const char *index;        /* path of the index */
    char *text;               /* of the index: the names below point into it */
    struct shard_entry *entry;
    size_t n, cap;
};
/* Reads an index and the headers of all its files (m->f, sorted by name; the
 * file numbers in t). s must be given to shards_free whatever happened. */
int shards_read(struct shards *s, struct model *m, const char *index, struct table *t,
                struct err *e) MUST_USE;
/* Compares the index with m->t, once m->by_name is complete. */
int shards_check(const struct shards *s, const struct model *m, struct err *e) MUST_USE;
void shards_free(struct shards *s);

#endif

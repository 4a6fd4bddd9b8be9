/* Images of GGUF files, piece by piece; all append to b. */
#ifndef OCTAVO_TESTS_MK_GGUF_H
#define OCTAVO_TESTS_MK_GGUF_H

#include "tests/mk.h"

struct buf gg_head(uint32_t version, uint64_t tensors, uint64_t keys);
void gg_str(struct buf *b, const char *s);
/* A key and the type of its value, which the caller appends. */
void gg_key(struct buf *b, const char *name, uint32_t type);
/* ne: fastest first; type: ggml's number; off: from the start of the data. */
void gg_tensor(struct buf *b, const char *name, uint32_t rank, const uint64_t *ne, uint32_t type,
               uint64_t off);
/* Zeros up to a multiple. */
void gg_pad(struct buf *b, size_t multiple);
/* n bytes 1, 2, 3 ... */
void gg_data(struct buf *b, size_t n);

#endif

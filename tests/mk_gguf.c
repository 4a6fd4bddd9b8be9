#include "tests/mk_gguf.h"

#include <string.h>

void gg_str(struct buf *b, const char *s)
{
    mk_le(b, strlen(s), 8);
    mk_puts(b, s);
}

struct buf gg_head(uint32_t version, uint64_t tensors, uint64_t keys)
{
    struct buf b = {0};
    mk_puts(&b, "GGUF");
    mk_le(&b, version, 4);
    mk_le(&b, tensors, 8);
    mk_le(&b, keys, 8);
    return b;
}

void gg_key(struct buf *b, const char *name, uint32_t type)
{
    gg_str(b, name);
    mk_le(b, type, 4);
}

void gg_tensor(struct buf *b, const char *name, uint32_t rank, const uint64_t *ne, uint32_t type,
               uint64_t off)
{
    gg_str(b, name);
    mk_le(b, rank, 4);
    for (uint32_t i = 0; i < rank; i++)
        mk_le(b, ne[i], 8);
    mk_le(b, type, 4);
    mk_le(b, off, 8);
}

void gg_pad(struct buf *b, size_t multiple)
{
    while (b->n % multiple)
        mk_le(b, 0, 1);
}

void gg_data(struct buf *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mk_le(b, i + 1, 1);
}

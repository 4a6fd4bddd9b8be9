#include "formats/dtype.h"

#include <string.h>

const struct dtype_info dtype_table[DT_COUNT] = {
#define DT(id, name, elems, bytes, fl) [DT_##id] = {name, elems, bytes, fl},
#include "formats/dtype.def"
#undef DT
};

enum dtype dtype_find(const char *name, size_t n)
{
    for (int t = 0; t < DT_COUNT; t++)
        if (strlen(dtype_table[t].name) == n && !memcmp(dtype_table[t].name, name, n))
            return (enum dtype)t;
    return DT_COUNT;
}

bool dtype_size(enum dtype t, uint64_t elems, uint64_t *bytes)
{
    const struct dtype_info *d = &dtype_table[t];
    return elems % d->block_elems == 0
        && !__builtin_mul_overflow(elems / d->block_elems, (uint64_t)d->block_bytes, bytes);
}

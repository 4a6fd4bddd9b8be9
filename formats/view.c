#include "formats/view.h"

#include "formats/mem.h"

#include <string.h>

struct view view_of(const struct tensor *t)
{
    struct view v = {.elem = t->dtype, .rank = t->rank};
    memcpy(v.dim, t->dim, sizeof v.dim);
    return v;
}

struct view view_turned(const struct tensor *t)
{
    struct view v = view_of(t);
    v.inputs_first = true;
    v.dim[v.rank - 1] = t->dim[t->rank - 2];
    v.dim[v.rank - 2] = t->dim[t->rank - 1];
    return v;
}

struct matrix view_matrix(const struct view *v)
{
    struct tensor t = {.rank = v->rank};
    memcpy(t.dim, v->dim, sizeof t.dim);
    return tensor_matrix(&t);
}

uint64_t view_row_bytes(const struct view *v, uint64_t cols)
{
    const struct dtype_info *d = &dtype_table[v->elem];
    if (v->packing == PACK_WORDS)
        return ceil_div(cols * v->bits, 32) * 4;
    if (v->packing == PACK_SLOTS)
        return ceil_div(cols, 32 / v->bits) * 4;
    if (v->packing == PACK_ROWS)
        return cols;
    return ceil_div(cols, d->block_elems) * d->block_bytes;
}

uint32_t view_step(const struct view *v)
{
    if (v->packing == PACK_SLOTS)
        return 32 / v->bits;
    return v->packing == PACK_WORDS ? 32 : dtype_table[v->elem].block_elems;
}

char *view_shape(const struct view *v, char *s)
{
    struct tensor t = {.rank = v->rank};
    memcpy(t.dim, v->dim, sizeof t.dim);
    return tensor_shape(&t, s);
}

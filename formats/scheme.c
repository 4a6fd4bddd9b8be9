#include "formats/scheme.h"

#include "formats/mem.h"

#include <string.h>

/* In the order of --help: the default first, then by how fine the scale is. */
const struct scheme scheme_table[] = {
    {"fp8-ue8m0-128x128", "E4M3, one power-of-two scale per 128 x 128 block",
     DT_F8_E4M3, DT_F8_E8M0, 128, 128},
    {"fp8-f32-128x128", "E4M3, one F32 scale per 128 x 128 block",
     DT_F8_E4M3, DT_F32, 128, 128},
    {"mxfp8", "E4M3, one power-of-two scale per 32 columns of a row (OCP MX)",
     DT_F8_E4M3, DT_F8_E8M0, 1, 32},
    {"fp8-channel", "E4M3, one F32 scale per row (output channel)",
     DT_F8_E4M3, DT_F32, 1, 0},
    {"fp8-tensor", "E4M3, one F32 scale per matrix",
     DT_F8_E4M3, DT_F32, 0, 0},
    {"int8-channel", "INT8, symmetric, one F32 scale per row (output channel)",
     DT_I8, DT_F32, 1, 0},
};
const size_t scheme_count = sizeof scheme_table / sizeof *scheme_table;

const struct scheme *scheme_find(const char *name)
{
    for (size_t i = 0; i < scheme_count; i++)
        if (!strcmp(scheme_table[i].name, name))
            return &scheme_table[i];
    return NULL;
}

const struct scheme *scheme_match(enum dtype elem, enum dtype scale, uint32_t block_rows,
                                  uint32_t block_cols)
{
    for (size_t i = 0; i < scheme_count; i++) {
        const struct scheme *s = &scheme_table[i];
        if (s->elem == elem && s->scale == scale && s->block_rows == block_rows
            && s->block_cols == block_cols)
            return s;
    }
    return NULL;
}

/* An empty extent has no blocks; a block that spans everything is one even then,
 * so that a [0, K] weight keeps a scale of the right rank. */
void scheme_scale_shape(const struct scheme *s, uint64_t rows, uint64_t cols, uint64_t *srows,
                        uint64_t *scols)
{
    *srows = s->block_rows ? ceil_div(rows, s->block_rows) : 1;
    *scols = s->block_cols ? ceil_div(cols, s->block_cols) : 1;
}

/* What the elements of GGUF's blocks are worth, written from the description of
 * each type bit by bit and in double, sharing no line with quantizers/blocks*.c
 * but the numbers of the IQ grids, which are compared with ggml's by checksum. */
#ifndef OCTAVO_TESTS_BLOCKS_ORACLE_H
#define OCTAVO_TESTS_BLOCKS_ORACLE_H

#include "formats/dtype.h"

/* Which codes, minima, grid points and signs were met on the way. */
struct blocks_seen {
    bool scale[256], min[256], point[2048], sign[256];
};

/* Element i of the block at p.  The double holds it exactly but for Q8_K, whose
 * 32 bits it holds too: so rounding it once to FP32 is what a decoder must give. */
double blocks_element(enum dtype t, const uint8_t *p, unsigned i, struct blocks_seen *seen);

/* The grids as ggml has them: the values in bytes, point after point. */
enum { BLOCKS_GRIDS = 6, BLOCKS_GRID_MAX = 2048 * 8 };
struct blocks_grid {
    const char *name;
    const uint16_t *points;
    unsigned n, elems, bits; /* points, elements of a point, bits of an element */
    signed char level[8];
    uint32_t crc;            /* of ggml's table */
};
extern const struct blocks_grid blocks_grid[BLOCKS_GRIDS];
double blocks_grid_value(const struct blocks_grid *g, unsigned point, unsigned i);

/* Where a block has F16 numbers, or -1; IQ1_M has its one in pieces. */
struct blocks_halves {
    int d, m;
};
struct blocks_halves blocks_halves(enum dtype t);
/* Writes h there, m too; false when the type has none. */
bool blocks_put_half(enum dtype t, uint8_t *p, uint16_t d, uint16_t m);

#endif

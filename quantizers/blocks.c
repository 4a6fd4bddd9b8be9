#include "quantizers/blocks.h"

#include "quantizers/num.h"

enum { BLOCK = 32 };

static float half(const uint8_t *p)
{
    return f16_decode((uint16_t)(p[0] | p[1] << 8));
}

void q8_0_decode(const uint8_t *p, float *y, size_t n_elems)
{
    for (; n_elems >= BLOCK; n_elems -= BLOCK, p += 2 + BLOCK, y += BLOCK) {
        const float d = half(p);
        for (int i = 0; i < BLOCK; i++)
            y[i] = (float)(int8_t)p[2 + i] * d;
    }
}

void q4_0_decode(const uint8_t *p, float *y, size_t n_elems)
{
    for (; n_elems >= BLOCK; n_elems -= BLOCK, p += 2 + BLOCK / 2, y += BLOCK) {
        const float d = half(p);
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i] = (float)((p[2 + i] & 15) - 8) * d;
            y[i + BLOCK / 2] = (float)((p[2 + i] >> 4) - 8) * d;
        }
    }
}

static const struct block_decoder block_table[] = {
    {DT_Q8_0, q8_0_decode},
    {DT_Q4_0, q4_0_decode},
};

const struct block_decoder *block_find(enum dtype t)
{
    for (size_t i = 0; i < sizeof block_table / sizeof *block_table; i++)
        if (block_table[i].dtype == t)
            return &block_table[i];
    return NULL;
}

/* E2M1 in vectors of the least that the machine has; and the limits of its formats. */
#include "quantizers/encode.h"
#include "quantizers/fp4_body.h"

/* Midpoints, or the FP32 below them where a tie goes up; -0 is a code, or not. */
static const struct { const struct num *num; struct kern_e2m1 limits; } formats[] = {
    { &num_e2m1, { { 0x3e800000, 0x3f3fffff, 0x3fa00000, 0x3fdfffff, 0x40200000, 0x405fffff, 0x40a00000 },
                   0x40dfffff, -1 } },
    { &num_e2m1_down, { { 0x3e800000, 0x3f400000, 0x3fa00000, 0x3fe00000, 0x40200000, 0x40600000, 0x40a00000 },
                        0x40e00000, 0 } },
    { &num_e2m1_away, { { 0x3e7fffff, 0x3f3fffff, 0x3f9fffff, 0x3fdfffff, 0x401fffff, 0x405fffff, 0x409fffff },
                        0x40dfffff, -1 } },
};

const struct kern_e2m1 *kern_e2m1_of(const struct num *num)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].num == num)
            return &formats[i].limits;
    return NULL;
}

void kern_e2m1_c(const float *x, size_t cols, size_t block, const uint8_t *code, const float *scale,
                 const struct kern_e2m1 *f, uint8_t *q, struct kern_count *n)
{
    fp4_row(x, cols, block, code, scale, f, q, n);
}

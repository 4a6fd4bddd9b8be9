/* E2M1: the lanes of fp4_body.h, eight at a time. */
#include "quantizers/kern_avx2.h"
#include "quantizers/fp4_body.h"

static void enc_e2m1(const float *x, size_t cols, size_t block, const uint8_t *code, const float *scale,
                     const struct kern_e2m1 *f, uint8_t *q, struct kern_count *n)
{
    fp4_row(x, cols, block, code, scale, f, q, n);
}

void kern_avx2_fill_fp4(struct kern *k)
{
    k->enc_e2m1 = enc_e2m1;
}

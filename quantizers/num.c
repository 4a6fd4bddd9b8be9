/* The table of number formats, and F32, which needs no file of its own. */
#include "quantizers/num.h"

static uint32_t encode(float x, enum overflow o)
{
    const uint32_t u = f32_bits(x);

    return o == OVERFLOW_SATURATE && (u & 0x7fffffff) == 0x7f800000 ? u - 1 : u;
}

static float decode(uint32_t code)
{
    return f32_from(code);
}

const struct num num_f32 = {
    .name = "f32", .dtype = DT_F32,
    .max = 0x1.fffffep127f, .min_normal = 0x1p-126f, .min = 0x1p-149f, .emax = 127, .mbits = 23,
    .encode = encode, .decode = decode,
};

const struct num *const num_table[] = {
    &num_e4m3, &num_e5m2, &num_ue8m0, &num_bf16, &num_f16, &num_f32, &num_int8, NULL,
};

const struct num *num_find(enum dtype t)
{
    for (size_t i = 0; num_table[i]; i++)
        if (num_table[i]->dtype == t)
            return num_table[i];
    return NULL;
}

/* Rules for NVFP4: an E4M3 scale of each block, times or by one F32 of the matrix
 * with which the largest of them becomes 448. */
#include "quantizers/scale.h"

#include <math.h>

enum { ONE = 0x38, EIGHTH = 0x20 };   /* E4M3 codes of 1 and 0.125 */

/* 448 * 6 / amax, or its inverse; a matrix of zeros has 1. */
static float global(float amax, bool divides)
{
    const float top = 6 * 448, g = divides ? top / amax : amax / top;

    if (amax == 0)
        return 1;
    return g >= 0x1p-126f && !isinf(g) ? g : divides ? 0x1p126f : 0x1p-126f;
}

/* The smallest normal number stands in for zeros there. */
static float global_ct(float amax, bool divides)
{
    return global(amax < 0x1p-126f ? 0x1p-126f : amax, divides);
}

static float global_none(float amax, bool divides)
{
    (void)amax, (void)divides;
    return 1;
}

static uint8_t own(float amax, float g, bool divides)
{
    const float s = amax / 6;
    const uint8_t code = e4m3_encode(divides ? s * g : s / g, OVERFLOW_SATURATE);

    return amax == 0 ? ONE : code ? code : 1;   /* no block is scaled by 0 */
}

static uint8_t modelopt(float amax, float g, bool divides)
{
    const float s = divides ? amax / 6 * g : amax / (6 * g);

    return s == 0 ? ONE : e4m3_encode(s < 0x1p-9f ? 0x1p-9f : s, OVERFLOW_SATURATE);
}

static uint8_t ct(float amax, float g, bool divides)
{
    const float s = amax / 6;
    const uint8_t code = e4m3_encode(divides ? g * s : s / g, OVERFLOW_SATURATE);

    return code ? code : EIGHTH;
}

/* llama.cpp's ggml_fp32_to_ue4m3 rounds half up, but not beyond the last subnormal code, and from 256 on all
 * is 448. */
static uint8_t ggml(float amax, float g, bool divides)
{
    const float s = divides ? amax / 6 * g : amax / 6 / g;
    const uint32_t u = f32_bits(s);
    const int e = (int)(u >> 23) - 120;

    if (e <= 0) {
        const int code = (int)(s * 512 + 0.5f);
        return (uint8_t)(code < 7 ? code : 7);
    }
    const uint32_t code = (u + 0x80000) >> 20;   /* exponent and 3 bits, rounded half up */
    return e >= 15 || code >= (127 + 8) << 3 ? 0x7e : (uint8_t)(code - (120 << 3));
}

const struct scale_rule_e4m3 scale_rules_e4m3[] = {
    { "nvfp4", "Octavo: amax / 6 / global, at least 2^-9; 1 for zeros", "quantizers/scale.h", true, global, own, NULL,
      false },
    { "modelopt", "NVIDIA Model Optimizer: amax / (6 * global), at least 2^-9; 1 for zeros",
      "NVIDIA/Model-Optimizer torch/quantization/qtensor/nvfp4_tensor.py", false, global, modelopt, NULL, true },
    { "ct", "compressed-tensors: amax / 6 * global; 0.125 for zeros and what rounds to 0",
      "vllm-project/compressed-tensors src/compressed_tensors/quantization/utils/helpers.py", false, global_ct, ct,
      NULL, true },
    { "ggml", "llama.cpp: amax / 6 rounded half up, global 1; ties of elements go down, no -0",
      "ggml-org/llama.cpp ggml/src/ggml-quants.c", false, global_none, ggml, "e2m1-down", false },
};
const size_t scale_rule_e4m3_count = sizeof scale_rules_e4m3 / sizeof *scale_rules_e4m3;

const struct scale_rule_e4m3 *scale_rule_e4m3_find(const char *name)
{
    for (size_t i = 0; i < scale_rule_e4m3_count; i++)
        if (name ? strcmp(scale_rules_e4m3[i].name, name) == 0 : scale_rules_e4m3[i].default_)
            return &scale_rules_e4m3[i];
    return NULL;
}

/* Rules that give an FP32 scale: one division, and what happens at zero. */
#include "quantizers/scale.h"

#include <float.h>

/* A quotient that is subnormal (or zero) would lose bits of the scale and is
 * flushed to zero by some consumers: the smallest normal stands in for it. */
static float at_least_normal(float scale)
{
    return scale < FLT_MIN ? FLT_MIN : scale;
}

static float absmax_e4m3(float amax)
{
    return amax == 0 ? 1 : at_least_normal(amax / 448);
}

static float absmax_int8(float amax)
{
    return amax == 0 ? 1 : at_least_normal(amax / 127);
}

static float ds_float(float amax)
{
    return (amax < 1e-4f ? 1e-4f : amax) / 448;
}

static float ct_int8(float amax)
{
    return amax == 0 ? FLT_EPSILON : at_least_normal(amax / 127.5f);
}

/* The power of two that the rule "smallest" gives: exact for weights that had such scales before. */
static float pow2_e4m3(float amax)
{
    return ue8m0_decode(scale_smallest(amax, &num_e4m3));
}

const struct scale_rule_f32 scale_rules_f32[] = {
    { "absmax", "amax / 448; 1 for zeros", "quantizers/scale.h", DT_F8_E4M3, true, absmax_e4m3 },
    { "absmax", "amax / 127; 1 for zeros", "quantizers/scale.h", DT_I8, true, absmax_int8 },
    { "pow2", "the smallest power of two that is not below amax / 448; 1 for zeros", "quantizers/scale.h",
      DT_F8_E4M3, false, pow2_e4m3 },
    { "ds-float", "DeepSeek V3: max(amax, 1e-4) / 448",
      "deepseek-ai/DeepSeek-V3 inference/kernel.py", DT_F8_E4M3, false, ds_float },
    { "ct-int8", "compressed-tensors: amax / 127.5; 2^-23 for zeros",
      "vllm-project/compressed-tensors src/compressed_tensors/quantization/utils/helpers.py",
      DT_I8, false, ct_int8 },
};
const size_t scale_rule_f32_count = sizeof scale_rules_f32 / sizeof *scale_rules_f32;

const struct scale_rule_f32 *scale_rule_f32_find(const char *name, enum dtype elem)
{
    for (size_t i = 0; i < scale_rule_f32_count; i++) {
        const struct scale_rule_f32 *const r = &scale_rules_f32[i];

        if (r->elem == elem && (name ? strcmp(r->name, name) == 0 : r->default_))
            return r;
    }
    return NULL;
}

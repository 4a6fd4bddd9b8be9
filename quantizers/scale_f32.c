/* Rules that give an FP32 scale: one division, and what happens at zero. */
#include "quantizers/scale.h"

#include <float.h>

/* A quotient that is subnormal (or zero) would lose bits of the scale and is
 * flushed to zero by some consumers: the smallest normal stands in for it. */
static float at_least_normal(float scale)
{
    return scale < FLT_MIN ? FLT_MIN : scale;
}

#define ABSMAX(name, max) \
    static float absmax_##name(float amax) { return amax == 0 ? 1 : at_least_normal(amax / (max)); }
ABSMAX(e4m3, 448)
ABSMAX(e5m2, 57344)
ABSMAX(fnuz, 240)
ABSMAX(fnuz_224, 224)
ABSMAX(fp4, 6)
ABSMAX(int8, 127)
ABSMAX(int4, 7)

static float ds_float(float amax)
{
    return (amax < 1e-4f ? 1e-4f : amax) / 448;
}

static float ct_int8(float amax)
{
    return amax == 0 ? FLT_EPSILON : at_least_normal(amax / 127.5f);
}

static float ct_int4(float amax)
{
    return amax == 0 ? FLT_EPSILON : at_least_normal(amax / 7.5f);
}

/* The same in BF16, where the epsilon is 2^-7 and nothing stands in for subnormal numbers. */
#define CT_BF16(name, max) \
    static float ct_bf16_##name(float amax) \
    { \
        const float scale = bf16_decode(bf16_encode(amax / (max))); \
        return scale == 0 ? 0x1p-7f : scale; \
    }
CT_BF16(e4m3, 448)
CT_BF16(int8, 127.5f)
CT_BF16(int4, 7.5f)

/* The power of two that the rule "smallest" gives: exact for weights that had such scales before. */
#define POW2(name, num) \
    static float pow2_##name(float amax) { return ue8m0_decode(scale_smallest(amax, &(num))); }
POW2(e4m3, num_e4m3)
POW2(e5m2, num_e5m2)
POW2(fnuz, num_e4m3fnuz)
POW2(e5m2fnuz, num_e5m2fnuz)
POW2(fp4, num_e2m1)

static const char own[] = "quantizers/scale.h";
static const char ct[] = "vllm-project/compressed-tensors src/compressed_tensors/quantization/utils/helpers.py";

const struct scale_rule_f32 scale_rules_f32[] = {
    { "absmax", "amax / 448; 1 for zeros", own, DT_F8_E4M3, true, absmax_e4m3, NULL, false },
    { "absmax", "amax / 57344; 1 for zeros", own, DT_F8_E5M2, true, absmax_e5m2, NULL, false },
    { "absmax", "amax / 240; 1 for zeros", own, DT_F8_E4M3FNUZ, true, absmax_fnuz, NULL, false },
    { "absmax", "amax / 57344; 1 for zeros", own, DT_F8_E5M2FNUZ, true, absmax_e5m2, NULL, false },
    { "absmax", "amax / 6; 1 for zeros", own, DT_F4, true, absmax_fp4, NULL, false },
    { "absmax", "amax / 127; 1 for zeros", own, DT_I8, true, absmax_int8, NULL, false },
    { "absmax", "amax / 7; 1 for zeros", own, DT_I4, true, absmax_int4, NULL, false },
    { "pow2", "the power of two of rule smallest", own, DT_F8_E4M3, false, pow2_e4m3, NULL, false },
    { "pow2", "the power of two of rule smallest", own, DT_F8_E5M2, false, pow2_e5m2, NULL, false },
    { "pow2", "the power of two of rule smallest", own, DT_F8_E4M3FNUZ, false, pow2_fnuz, NULL, false },
    { "pow2", "the power of two of rule smallest", own, DT_F8_E5M2FNUZ, false, pow2_e5m2fnuz, NULL, false },
    { "pow2", "the power of two of rule smallest", own, DT_F4, false, pow2_fp4, NULL, false },
    { "ds-float", "DeepSeek V3: max(amax, 1e-4) / 448",
      "deepseek-ai/DeepSeek-V3 inference/kernel.py", DT_F8_E4M3, false, ds_float, NULL, false },
    { "fnuz-224", "vLLM and SGLang on MI300: amax / 224; 1 for zeros",
      "vllm-project/vllm vllm/model_executor/layers/quantization/utils/fp8_utils.py", DT_F8_E4M3FNUZ, false,
      absmax_fnuz_224, NULL, false },
    { "ct-int8", "compressed-tensors: amax / 127.5, codes -128 to 127; 2^-23 for zeros", ct, DT_I8, false,
      ct_int8, "int8-full", false },
    { "ct-int4", "compressed-tensors: amax / 7.5, codes -8 to 7; 2^-23 for zeros", ct, DT_I4, false, ct_int4,
      "int4-full", false },
    { "ct-bf16", "compressed-tensors in BF16: amax / 448 and x / scale rounded to it; 2^-7 for zeros", ct,
      DT_F8_E4M3, false, ct_bf16_e4m3, NULL, true },
    { "ct-bf16", "compressed-tensors in BF16: amax / 127.5 and x / scale rounded to it; 2^-7 for zeros", ct,
      DT_I8, false, ct_bf16_int8, "int8-full", true },
    { "ct-bf16", "compressed-tensors in BF16: amax / 7.5 and x / scale rounded to it; 2^-7 for zeros", ct,
      DT_I4, false, ct_bf16_int4, "int4-full", true },
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

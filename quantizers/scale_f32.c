/* Rules that give an FP32 scale: a division or two, and what happens at zero. */
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

/* Programs that keep max / amax and store its inverse: x is multiplied with what was kept. */
static float kept(float max, float amax)
{
    const float times = max / amax;

    return amax == 0 ? 1 : times < 0x1p126f ? times : 0x1p126f;   /* so that the inverse is normal */
}

static float power_below(float x) { return f32_from(f32_bits(x) & 0x7f800000); }

#define INVERSE(name, times) \
    static float times_##name(float amax) { return times; } \
    static float inverse_##name(float amax) { return 1 / times_##name(amax); }
INVERSE(e4m3, kept(448, amax))
INVERSE(e5m2, kept(57344, amax))
INVERSE(pow2_e4m3, power_below(kept(448, amax)))
INVERSE(pow2_e5m2, power_below(kept(57344, amax)))

/* And one that divides for the scale, and multiplies with the inverse of that. */
static float dg_times(float amax) { return 1 / ds_float(amax); }

static float ct_fp8(float amax)
{
    return amax == 0 ? FLT_EPSILON : at_least_normal(amax / 448);
}

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
static const char te[] = "NVIDIA/TransformerEngine common/recipe/recipe_common.cuh";
static const char pow2_title[] = "the power of two of rule smallest";
#define ABSMAX_ROW(max, elem, scale) { "absmax", "amax / " max "; 1 for zeros", own, elem, true, scale, .bf16 = false }
#define POW2_ROW(elem, scale) { "pow2", pow2_title, own, elem, false, scale, .bf16 = false }

const struct scale_rule_f32 scale_rules_f32[] = {
    ABSMAX_ROW("448", DT_F8_E4M3, absmax_e4m3),
    ABSMAX_ROW("57344", DT_F8_E5M2, absmax_e5m2),
    ABSMAX_ROW("240", DT_F8_E4M3FNUZ, absmax_fnuz),
    ABSMAX_ROW("57344", DT_F8_E5M2FNUZ, absmax_e5m2),
    ABSMAX_ROW("6", DT_F4, absmax_fp4),
    ABSMAX_ROW("127", DT_I8, absmax_int8),
    ABSMAX_ROW("7", DT_I4, absmax_int4),
    POW2_ROW(DT_F8_E4M3, pow2_e4m3),
    POW2_ROW(DT_F8_E5M2, pow2_e5m2),
    POW2_ROW(DT_F8_E4M3FNUZ, pow2_fnuz),
    POW2_ROW(DT_F8_E5M2FNUZ, pow2_e5m2fnuz),
    POW2_ROW(DT_F4, pow2_fp4),
    { "ds-float", "DeepSeek V3: max(amax, 1e-4) / 448",
      "deepseek-ai/DeepSeek-V3 inference/kernel.py", DT_F8_E4M3, false, ds_float, .bf16 = false },
    { "dg-float", "DeepGEMM: max(amax, 1e-4) / 448; elements x * (1 / scale)",
      "deepseek-ai/DeepGEMM deep_gemm/utils/math.py", DT_F8_E4M3, false, ds_float, .times = dg_times },
    { "hf", "transformers: 1 / (448 / amax), elements x * (448 / amax); 1 for zeros",
      "huggingface/transformers integrations/finegrained_fp8.py", DT_F8_E4M3, false, inverse_e4m3,
      .times = times_e4m3 },
    { "te", "TransformerEngine: 1 / (448 / amax), elements x * (448 / amax); 1 for zeros", te, DT_F8_E4M3, false,
      inverse_e4m3, .times = times_e4m3 },
    { "te", "TransformerEngine: 1 / (57344 / amax), elements x * (57344 / amax); 1 for zeros", te, DT_F8_E5M2,
      false, inverse_e5m2, .times = times_e5m2 },
    { "te-pow2", "TransformerEngine, force_pow_2_scales: 448 / amax cut off to a power of two; 1 for zeros", te,
      DT_F8_E4M3, false, inverse_pow2_e4m3, .times = times_pow2_e4m3 },
    { "te-pow2", "TransformerEngine, force_pow_2_scales: 57344 / amax cut off to a power of two; 1 for zeros", te,
      DT_F8_E5M2, false, inverse_pow2_e5m2, .times = times_pow2_e5m2 },
    { "fnuz-224", "vLLM and SGLang on MI300: amax / 224; 1 for zeros",
      "vllm-project/vllm vllm/model_executor/layers/quantization/utils/fp8_utils.py", DT_F8_E4M3FNUZ, false,
      absmax_fnuz_224, .bf16 = false },
    { "ct-fp8", "compressed-tensors: amax / 448; 2^-23 for zeros", ct, DT_F8_E4M3, false, ct_fp8,
      .zero_point = true },
    { "ct-int8", "compressed-tensors: amax / 127.5, codes -128 to 127; 2^-23 for zeros", ct, DT_I8, false,
      ct_int8, "int8-full", .bf16 = false },
    { "ct-int4", "compressed-tensors: amax / 7.5, codes -8 to 7; 2^-23 for zeros", ct, DT_I4, false, ct_int4,
      "int4-full", .bf16 = false },
    { "ct-bf16", "compressed-tensors in BF16: amax / 448 and x / scale rounded to it; 2^-7 for zeros", ct,
      DT_F8_E4M3, false, ct_bf16_e4m3, .bf16 = true },
    { "ct-bf16", "compressed-tensors in BF16: amax / 127.5 and x / scale rounded to it; 2^-7 for zeros", ct,
      DT_I8, false, ct_bf16_int8, "int8-full", .bf16 = true },
    { "ct-bf16", "compressed-tensors in BF16: amax / 7.5 and x / scale rounded to it; 2^-7 for zeros", ct,
      DT_I4, false, ct_bf16_int4, "int4-full", .bf16 = true },
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

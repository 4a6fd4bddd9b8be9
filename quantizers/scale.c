/* Every published way to get a UE8M0 code out of a block's largest magnitude.
 *
 * Three integer helpers carry most of the rules; a rule that its project
 * defines through log2 in FP32 goes through log2_f32, since the rounding of
 * that logarithm changes codes just above a power of two.  AMD Quark's "even"
 * mode is the `even` rule and has no row of its own. */
#include "quantizers/scale.h"

#include <math.h>

#define F32_INF 0x7f800000u

static uint32_t expf_field(uint32_t u) { return u >> 23 & 255; }
static uint32_t man_field(uint32_t u) { return u & 0x7fffff; }

static uint8_t clamp_code(int code, int lo, int hi)
{
    return (uint8_t)(code < lo ? lo : code > hi ? hi : code);
}

/* The exponent field of v rounded up to a power of two; 255 or 256 when v is
 * Inf or NaN.  A subnormal v counts as lying between 2^-127 and 2^-126. */
static int round_up(float v)
{
    const uint32_t u = f32_bits(v);

    return (int)expf_field(u) + (man_field(u) != 0);
}

/* round_up as hardware does it for a subnormal: code 0 is 2^-127 itself. */
static int round_up_e8m0(float v)
{
    const uint32_t u = f32_bits(v);

    if (expf_field(u) == 0)
        return u > 0x00400000;
    return round_up(v);
}

/* What an FP32 log2 that rounds correctly returns.  The double in between is
 * so much finer that C libraries cannot disagree about the result. */
static float log2_f32(float v)
{
    return (float)log2((double)v);
}

uint8_t scale_smallest(float amax, const struct num *elem)
{
    const uint32_t u = f32_bits(amax), top = f32_bits(elem->max);

    if (u == 0)
        return 127;
    /* amax = 1.f * 2^a and max = 1.g * 2^emax: amax <= max * 2^e needs
     * e >= a - emax, and one more when f > g.  A subnormal amax has exponent
     * field 0 and ends at the lower clamp either way. */
    return clamp_code((int)expf_field(u) - elem->emax + (man_field(u) > man_field(top)), 1, 254);
}

static uint8_t ds(float amax, const struct num *elem)
{
    (void)elem;
    /* Written so that NaN stays NaN, and ends at 254. */
    return clamp_code(round_up((amax < 1e-4f ? 1e-4f : amax) / 448), 1, 254);
}

static uint8_t ds_fp4(float amax, const struct num *elem)
{
    (void)elem;
    return clamp_code(round_up((amax < 0x1.8p-124f ? 0x1.8p-124f : amax) * (1.0f / 6)), 1, 254);
}

static uint8_t ptgq(float amax, const struct num *elem)
{
    (void)elem;
    /* fmaxf drops a NaN, so a block of NaN gets the code of an empty one. */
    const float m = amax > 1e-10f ? amax : 1e-10f, s = m / 448;

    return clamp_code(round_up(s > 1e-10f ? s : 1e-10f), 0, 255);
}

static uint8_t ptgq_triton(float amax, const struct num *elem)
{
    (void)elem;
    return clamp_code(round_up((amax > 1e-10f ? amax : 1e-10f) / 448), 0, 255);
}

static uint8_t mx_floor(float amax, const struct num *elem)
{
    const uint32_t u = f32_bits(amax);

    return u >= F32_INF ? 255 : clamp_code((int)expf_field(u) - elem->emax, 0, 255);
}

static uint8_t mx_ceil(float amax, const struct num *elem)
{
    const uint32_t u = f32_bits(amax);

    return u >= F32_INF ? 255 : clamp_code(round_up(amax) - elem->emax, 0, 255);
}

static uint8_t mx_even(float amax, const struct num *elem)
{
    /* Half a unit of the element's mantissa, so that an amax that rounds to
     * the next power of two counts as one. */
    const uint32_t u = f32_bits(amax) + ((uint32_t)1 << (22 - elem->mbits));

    return u >= F32_INF ? 255 : clamp_code((int)expf_field(u) - elem->emax, 0, 255);
}

static uint8_t rceil(float amax, const struct num *elem)
{
    return clamp_code(round_up_e8m0(amax * (1.0f / elem->max)), 0, 255);
}

static uint8_t te(float amax, const struct num *elem)
{
    return f32_bits(amax) > F32_INF ? 255 : clamp_code(rceil(amax, elem), 0, 254);
}

static uint8_t asc1(float amax, const struct num *elem)
{
    const float s = amax * (1.0f / elem->max);

    /* In a subnormal "mantissa above one half" is the same test as above 2^-127. */
    return f32_bits(s) >= F32_INF ? 255 : clamp_code(round_up_e8m0(s), 0, 254);
}

static uint8_t asc2(float amax, const struct num *elem)
{
    const uint32_t u = f32_bits(amax);

    (void)elem;
    if (u >= F32_INF)
        return 255;
    return clamp_code((int)expf_field(u) - 2 + (man_field(u) >= 0x400000), 0, 254);
}

static uint8_t modelopt(float amax, const struct num *elem)
{
    const float e = ceilf(log2_f32(amax / elem->max));

    if (e != e)
        return 0;   /* NaN */
    return (uint8_t)(127 + (int)(e < -127 ? -127 : e > 127 ? 127 : e));
}

static uint8_t ct(float amax, const struct num *elem)
{
    /* The FP4 bump of a quarter is used for FP8 as well.  The exponent is rounded to an unsigned byte before
     * it becomes a scale, so that zeros (log2 is -Inf there) and what is tiny end at code 0; what rounds to
     * Inf ends at 255, and NaN is undefined there. */
    const uint32_t u = f32_bits(amax) + 0x200000;

    return u >= F32_INF ? 255 : clamp_code((int)expf_field(u) - elem->emax, 0, 255);
}

static uint8_t msx(float amax, const struct num *elem)
{
    if (f32_bits(amax) >= F32_INF)
        return 255;
    const int e = (int)floorf(log2_f32(amax == 0 ? 0x1p-126f : amax)) - elem->emax;

    return e > 127 ? 255 : clamp_code(e + 127, 0, 254);
}

static uint8_t ggml(float amax, const struct num *elem)
{
    (void)elem;
    if (f32_bits(amax) >= F32_INF)
        return 255;
    /* Below 2^-125 its conversion to a byte is undefined in C: the smallest scale. */
    return amax == 0 ? 0 : clamp_code((int)floorf(log2_f32(amax)) - 2 + 127, 0, 254);
}

static uint8_t slim_ceilx(float amax, const struct num *elem)
{
    (void)elem;
    if (f32_bits(amax) >= F32_INF)
        return 255;
    /* The program takes no emax away: amax / 7.25 is the scale already. */
    return clamp_code((int)ceilf(log2_f32(amax / 7.25f + 9.6e-7f)) + 127, 0, 252);
}

static uint8_t slim_fp4(float amax, const struct num *elem)
{
    (void)elem;
    const float v = amax / 0.875f + 9.6e-7f;

    if (f32_bits(amax) >= F32_INF)
        return 255;
    if (f32_bits(v) >= F32_INF)
        return 252;
    return clamp_code((int)floorf(log2_f32(v)) - 2 + 127, 0, 252);
}

static uint8_t vllm_mx_naive(float amax, const struct num *elem)
{
    (void)elem;
    if (f32_bits(amax) > F32_INF)
        return 255;
    if (f32_bits(amax) == F32_INF)
        return 254;
    return clamp_code((int)floorf(log2_f32(amax < 0x1p-126f ? 0x1p-126f : amax)) + 127, 0, 254);
}

const struct scale_rule scale_rules[] = {
    { "smallest", "Octavo: smallest power of two that does not saturate; 1 for zeros",
      "quantizers/scale.h", DT_COUNT, true, scale_smallest, NULL },
    { "ds", "DeepSeek: max(amax, 1e-4) / 448, rounded up to a power of two",
      "deepseek-ai/DeepGEMM deep_gemm/utils/math.py", DT_F8_E4M3, false, ds, NULL },
    { "ptgq", "vLLM per_token_group_quant, CUDA: both amax and scale at least 1e-10",
      "vllm-project/vllm csrc/quantization/w8a8/fp8/per_token_group_quant.cu",
      DT_F8_E4M3, false, ptgq, NULL },
    { "ptgq-triton", "vLLM and SGLang per_token_group_quant, Triton: amax at least 1e-10",
      "sgl-project/sglang python/sglang/srt/layers/quantization/fp8_kernel.py",
      DT_F8_E4M3, false, ptgq_triton, NULL },
    { "floor", "OCP MX: exponent of amax less that of the format; the top saturates",
      "OCP Microscaling Formats v1.0, 6.3", DT_COUNT, false, mx_floor, NULL },
    { "ceil", "torchao CEIL: amax rounded up to a power of two, then as floor",
      "pytorch/ao torchao/prototype/mx_formats/mx_tensor.py", DT_COUNT, false, mx_ceil, NULL },
    { "even", "torchao EVEN, AMD Quark even: amax rounded to the element's grid, then as floor",
      "pytorch/ao torchao/prototype/mx_formats/mx_tensor.py", DT_COUNT, false, mx_even, NULL },
    { "rceil", "torchao RCEIL, NVIDIA cvt.rp.ue8m0: amax * (1 / max), rounded up",
      "pytorch/ao torchao/prototype/mx_formats/mx_tensor.py", DT_COUNT, false, rceil, NULL },
    { "te", "TransformerEngine MXFP8: as rceil, Inf gives 254",
      "NVIDIA/TransformerEngine common/util/ptx_arch_spec.cuh", DT_COUNT, false, te, NULL },
    { "asc1", "Ascend dynamic MX quantization, scaleAlg 1: as rceil, finite ends at 254",
      "hicann/ops-nn quant/dynamic_mx_quant", DT_COUNT, false, asc1, NULL },
    { "asc2", "Ascend dynamic MX quantization, scaleAlg 2: up when the top mantissa bit is 1",
      "hicann/ops-nn quant/dynamic_mx_quant", DT_F4, false, asc2, NULL },
    { "modelopt", "NVIDIA Model Optimizer MXFP8: ceil(log2(amax / max)) in FP32",
      "NVIDIA/Model-Optimizer torch/quantization/qtensor/mxfp8_tensor.py",
      DT_COUNT, false, modelopt, NULL },
    { "ct", "compressed-tensors MX, from 0.14 on: up from 1.75 * 2^k; code 0 for zeros",
      "vllm-project/compressed-tensors src/compressed_tensors/quantization/utils/mxfp_utils.py",
      DT_COUNT, false, ct, NULL },
    { "msx", "microxcaling: floor(log2(amax)) in FP32 less emax",
      "microsoft/microxcaling mx/mx_ops.py", DT_COUNT, false, msx, NULL },
    { "ggml", "ggml MXFP4: floor(log2(amax)) in FP32 less 2; code 0 for zeros; ties of elements towards zero",
      "ggml-org/ggml src/ggml-quants.c quantize_row_mxfp4_ref", DT_F4, false, ggml, "e2m1-down" },
    { "ds-fp4", "DeepSeek FP4: max(amax, 6 * 2^-126) / 6, rounded up",
      "deepseek-ai/TileKernels tile_kernels/quant/common.py", DT_F4, false, ds_fp4, NULL },
    { "slim-ceilx", "msModelSlim ceil_x: ceil(log2(amax / 7.25 + 9.6e-7))",
      "Ascend/msmodelslim msmodelslim/core/quantizer/impl/ceil_x.py", DT_F4, false, slim_ceilx, NULL },
    { "slim-fp4", "msModelSlim MXFP4: floor(log2(amax * 8 / 7 + 9.6e-7)) - 2",
      "Ascend/msmodelslim msmodelslim/ir/api/impl/mx_quantization.py", DT_F4, false, slim_fp4, NULL },
    { "vllm-mx-naive", "vLLM MXFP8 fallback in torch: floor(log2(amax)), elements in [1, 2)",
      "vllm-project/vllm vllm/model_executor/layers/quantization/utils/mxfp8_utils.py",
      DT_F8_E4M3, false, vllm_mx_naive, NULL },
};
const size_t scale_rule_count = sizeof scale_rules / sizeof *scale_rules;

const struct scale_rule *scale_rule_find(const char *name)
{
    for (size_t i = 0; i < scale_rule_count; i++)
        if (strcmp(scale_rules[i].name, name) == 0)
            return &scale_rules[i];
    return NULL;
}

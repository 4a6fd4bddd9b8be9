/* Every published way to get a UE8M0 code out of a block's largest magnitude.
 *
 * Three integer helpers carry most of the rules; a rule that its project
 * defines through log2 in FP32 goes through log2_f32, since the rounding of
 * that logarithm changes codes just above a power of two.  A project that
 * computes in the type of BF16 weights is followed where it goes through bits;
 * its logarithms are those of FP32 weights. */
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

/* 2^ceil(log2 s), as DeepSeek-V3.1 has it and DeepGEMM had it. */
static uint8_t ds_log2(float amax, const struct num *elem)
{
    (void)elem;
    const float e = ceilf(log2_f32((amax < 1e-4f ? 1e-4f : amax) / 448));

    return e != e || e > 127 ? 255 : clamp_code(127 + (int)e, 0, 254);
}

static uint8_t dg_fp4(float amax, const struct num *elem)
{
    (void)elem;
    return clamp_code(round_up((amax < 1e-4f ? 1e-4f : amax) / 6), 1, 254);
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

static uint8_t quark(float amax, const struct num *elem)
{
    const uint32_t u = f32_bits(amax) + ((uint32_t)1 << (22 - elem->mbits));

    if (u >= F32_INF)   /* the logarithm of Inf is cut off */
        return f32_bits(amax) > F32_INF ? 255 : 254;
    return clamp_code((int)expf_field(u) - elem->emax, 0, 254);
}

/* The other modes of Quark raise 2 to a rounded logarithm; 2^-23 stands in for 0. */
static uint8_t quark_log2(float e, float amax, const struct num *elem)
{
    if (amax == 0)
        return 127 - 23;
    return f32_bits(amax) >= F32_INF ? 255 : clamp_code(127 + (int)e - elem->emax, 0, 254);
}

static uint8_t quark_floor(float amax, const struct num *elem)
{
    return quark_log2(floorf(log2_f32(amax)), amax, elem);
}

static uint8_t quark_ceil(float amax, const struct num *elem)
{
    return quark_log2(ceilf(log2_f32(amax)), amax, elem);
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

/* On BF16: FP32 is cut off.  The mantissa has 7 bits, and what is added carries into the exponent when it is
 * above one half, or above three quarters. */
static uint8_t asc2_bits(float amax, uint32_t add)
{
    const uint32_t h = f32_bits(amax) >> 16;

    if (f32_bits(amax) >= F32_INF)
        return 255;
    return clamp_code((int)((h + add) >> 7) - 2, 0, 254);
}

static uint8_t asc2(float amax, const struct num *elem)
{
    (void)elem;
    return asc2_bits(amax, 0x3f);
}

static uint8_t asc2_7(float amax, const struct num *elem)
{
    (void)elem;
    return asc2_bits(amax, 0x1f);
}

/* dstTypeMax of any other size: rounded up, but for a subnormal quotient, which is code 0. */
static uint8_t asc2_max(float amax, float inverse)
{
    const float s = amax * inverse;

    return f32_bits(amax) >= F32_INF ? 255 : clamp_code(expf_field(f32_bits(s)) ? round_up(s) : 0, 0, 254);
}

#define ASC2(max) \
    static uint8_t asc2_##max(float amax, const struct num *elem) \
    { \
        (void)elem; \
        return asc2_max(amax, 1.0f / max); \
    }
ASC2(8)
ASC2(9)
ASC2(10)
ASC2(11)
ASC2(12)

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

/* ModelOpt's MXFP4 has the lower bound alone; what it makes of Inf and NaN is undefined. */
static uint8_t modelopt_fp4(float amax, const struct num *elem)
{
    const float e = ceilf(log2_f32(amax / elem->max));

    return f32_bits(amax) >= F32_INF ? 255 : (uint8_t)(127 + (int)(e < -127 ? -127 : e));
}

static const char ds_math[] = "deepseek-ai/DeepGEMM deep_gemm/utils/math.py";
static const char ao[] = "pytorch/ao torchao/prototype/mx_formats/mx_tensor.py";
static const char ops_nn[] = "hicann/ops-nn quant/dynamic_mx_quant";
static const char quark_py[] = "amd/Quark quark/torch/quantization/observer/observer.py";
static const char mx_ops[] = "microsoft/microxcaling mx/mx_ops.py";
static const char ceil_x[] = "Ascend/msmodelslim msmodelslim/core/quantizer/impl/ceil_x.py";
static const char mx_slim[] = "Ascend/msmodelslim msmodelslim/ir/api/impl/mx_quantization.py";
static const char msx_title[] = "microxcaling: floor(log2(amax)) in FP32 less emax; ties of elements go away from 0";

const struct scale_rule scale_rules[] = {
    { "smallest", "Octavo: smallest power of two that does not saturate; 1 for zeros",
      "quantizers/scale.h", DT_COUNT, true, scale_smallest, NULL, false },
    { "ds", "DeepSeek: max(amax, 1e-4) / 448, rounded up to a power of two",
      ds_math, DT_F8_E4M3, false, ds, NULL, false },
    { "ds-log2", "DeepSeek-V3.1, DeepGEMM until 2026-04: as ds, through ceil(log2) in FP32",
      "deepseek-ai/DeepSeek-V3 inference/kernel.py", DT_F8_E4M3, false, ds_log2, NULL, false },
    { "ptgq", "vLLM per_token_group_quant, CUDA: both amax and scale at least 1e-10",
      "vllm-project/vllm csrc/quantization/w8a8/fp8/per_token_group_quant.cu",
      DT_F8_E4M3, false, ptgq, NULL, false },
    { "ptgq-triton", "vLLM and SGLang per_token_group_quant, Triton: amax at least 1e-10",
      "sgl-project/sglang python/sglang/srt/layers/quantization/fp8_kernel.py",
      DT_F8_E4M3, false, ptgq_triton, NULL, false },
    { "floor", "OCP MX: exponent of amax less that of the format; the top saturates",
      "OCP Microscaling Formats v1.0, 6.3", DT_COUNT, false, mx_floor, NULL, false },
    { "ceil", "torchao CEIL: amax rounded up to a power of two, then as floor",
      ao, DT_COUNT, false, mx_ceil, NULL, false },
    { "even", "torchao EVEN: amax rounded to the element's grid, then as floor",
      ao, DT_COUNT, false, mx_even, NULL, false },
    { "rceil", "torchao RCEIL, NVIDIA cvt.rp.ue8m0: amax * (1 / max), rounded up",
      ao, DT_COUNT, false, rceil, NULL, false },
    { "te", "TransformerEngine MXFP8: as rceil, Inf gives 254",
      "NVIDIA/TransformerEngine common/util/ptx_arch_spec.cuh", DT_COUNT, false, te, NULL, false },
    { "asc1", "Ascend dynamic MX quantization, scaleAlg 1: as rceil, finite ends at 254",
      ops_nn, DT_COUNT, false, asc1, NULL, false },
    { "asc2", "Ascend, scaleAlg 2, dstTypeMax 0 or 6: up from above 1.5 * 2^k, on BF16",
      ops_nn, DT_F4, false, asc2, NULL, false },
    { "asc2-7", "Ascend, scaleAlg 2, dstTypeMax 7: up from above 1.75 * 2^k, on BF16",
      ops_nn, DT_F4, false, asc2_7, NULL, false },
    { "asc2-8", "Ascend, scaleAlg 2, dstTypeMax 8: amax * (1 / 8), rounded up", ops_nn, DT_F4, false, asc2_8, NULL, false },
    { "asc2-9", "Ascend, scaleAlg 2, dstTypeMax 9: amax * (1 / 9), rounded up", ops_nn, DT_F4, false, asc2_9, NULL, false },
    { "asc2-10", "Ascend, scaleAlg 2, dstTypeMax 10: amax * (1 / 10), rounded up",
      ops_nn, DT_F4, false, asc2_10, NULL, false },
    { "asc2-11", "Ascend, scaleAlg 2, dstTypeMax 11: amax * (1 / 11), rounded up",
      ops_nn, DT_F4, false, asc2_11, NULL, false },
    { "asc2-12", "Ascend, scaleAlg 2, dstTypeMax 12: amax * (1 / 12), rounded up",
      ops_nn, DT_F4, false, asc2_12, NULL, false },
    { "modelopt", "NVIDIA Model Optimizer MXFP8: ceil(log2(amax / max)) in FP32",
      "NVIDIA/Model-Optimizer torch/quantization/qtensor/mxfp8_tensor.py",
      DT_F8_E4M3, false, modelopt, NULL, false },
    { "modelopt", "NVIDIA Model Optimizer MXFP4: the same; ties of elements go down, zeros are code 8",
      "NVIDIA/Model-Optimizer torch/quantization/qtensor/mxfp4_tensor.py",
      DT_F4, false, modelopt_fp4, "e2m1-modelopt", false },
    { "ct", "compressed-tensors MX, from 0.14 on: up from 1.75 * 2^k; code 0 for zeros",
      "vllm-project/compressed-tensors src/compressed_tensors/quantization/utils/mxfp_utils.py",
      DT_COUNT, false, ct, NULL, true },
    { "quark", "AMD Quark even, its default: as even, but the top ends at code 254",
      "amd/Quark quark/torch/quantization/utils.py", DT_COUNT, false, quark, NULL, false },
    { "quark-floor", "AMD Quark floor: floor(log2(amax)) in FP32 less emax; 2^-23 for zeros",
      quark_py, DT_COUNT, false, quark_floor, NULL, false },
    { "quark-ceil", "AMD Quark ceil: ceil(log2(amax)) in FP32 less emax; 2^-23 for zeros",
      quark_py, DT_COUNT, false, quark_ceil, NULL, false },
    { "msx", msx_title, mx_ops, DT_F8_E4M3, false, msx, "e4m3-away", false },
    { "msx", msx_title, mx_ops, DT_F8_E5M2, false, msx, "e5m2-away", false },
    { "msx", msx_title, mx_ops, DT_F4, false, msx, "e2m1-away", false },
    { "ds-fp4", "DeepSeek-V4, TileKernels FP4: max(amax, 6 * 2^-126) / 6, rounded up",
      "deepseek-ai/TileKernels tile_kernels/quant/common.py", DT_F4, false, ds_fp4, NULL, false },
    { "dg-fp4", "DeepGEMM FP4: max(amax, 1e-4) / 6, rounded up; ties of elements go down, no -0",
      ds_math, DT_F4, false, dg_fp4, "e2m1-down", false },
    { "slim-ceilx", "msModelSlim ceil_x: ceil(log2(amax / 7.25 + 9.6e-7)); ties of elements go away from 0",
      ceil_x, DT_F4, false, slim_ceilx, "e2m1-away", false },
    { "slim-fp4", "msModelSlim MXFP4: floor(log2(amax * 8 / 7 + 9.6e-7)) - 2; ties as slim-ceilx",
      mx_slim, DT_F4, false, slim_fp4, "e2m1-away", false },
    { "ggml", "ggml MXFP4: floor(log2(amax)) in FP32 less 2; code 0 for zeros; ties of elements towards zero",
      "ggml-org/ggml src/ggml-quants.c quantize_row_mxfp4_ref", DT_F4, false, ggml, "e2m1-down", false },
    { "vllm-mx-naive", "vLLM MXFP8 fallback in torch: floor(log2(amax)), elements in [1, 2)",
      "vllm-project/vllm vllm/model_executor/layers/quantization/utils/mxfp8_utils.py",
      DT_F8_E4M3, false, vllm_mx_naive, NULL, false },
};
const size_t scale_rule_count = sizeof scale_rules / sizeof *scale_rules;

const struct scale_rule *scale_rule_find(const char *name)
{
    for (size_t i = 0; i < scale_rule_count; i++)
        if (strcmp(scale_rules[i].name, name) == 0)
            return &scale_rules[i];
    return NULL;
}

const struct scale_rule *scale_rule_for(const char *name, enum dtype elem)
{
    for (size_t i = 0; i < scale_rule_count; i++)
        if (strcmp(scale_rules[i].name, name) == 0 && (scale_rules[i].elem == elem || scale_rules[i].elem == DT_COUNT))
            return &scale_rules[i];
    return NULL;
}

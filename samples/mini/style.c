/* The styles: how each quantizes, what it calls its tensors, what its config says.
 * A scale rule is that of the project named, as far as it is public; where a project
 * computes in BF16, this computes in F32 all the same.
 *
 * Sources: deepseek-ai/DeepSeek-V3 (README_WEIGHTS.md, inference/kernel.py),
 * deepseek-ai/DeepGEMM, vllm-project/compressed-tensors (compressors, quant_scheme.py),
 * NVIDIA/Model-Optimizer (torch/export, torch/quantization/qtensor), amd/Quark,
 * Ascend/msmodelslim (modelslim_v1/save), huggingface/transformers (mxfp4), openai/gpt-oss. */
#include "mini.h"

#define DIV(elem_, rows_, cols_, scale_, max_, zero_)                                                        \
    {                                                                                                        \
        .elem = elem_, .rows = rows_, .cols = cols_, .scale = scale_, .rule = DIVIDE, .max = max_,           \
        .zero = zero_                                                                                        \
    }
#define MX(elem_, scale_, rule_, emax_, zero_, away_)                                                        \
    {                                                                                                        \
        .elem = elem_, .rows = 1, .cols = 32, .scale = scale_, .rule = rule_, .emax = emax_, .zero = zero_,  \
        .away = away_                                                                                        \
    }
#define NVFP4(global_, zero_)                                                                                \
    {                                                                                                        \
        .elem = E2M1, .rows = 1, .cols = 16, .scale = F8_E4M3, .rule = DIVIDE, .max = 6, .zero = zero_,      \
        .global = global_                                                                                    \
    }

/* ---- DeepSeek and Hugging Face "fp8" ---------------------------------------- */

static const struct clothes v3 = {
    {.elem = E4M3, .rows = 128, .cols = 128, .scale = F32, .rule = DIVIDE, .max = 448, .least = 1e-4f},
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale_inv", F32, SCALES, GRID}},
};
static const struct clothes v31 = {
    {.elem = E4M3, .rows = 128, .cols = 128, .scale = F32, .rule = UP, .max = 448, .least = 1e-4f},
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale_inv", F32, SCALES, GRID}},
};
static const struct clothes v4 = {
    {.elem = E4M3, .rows = 128, .cols = 128, .scale = F8_E8M0, .rule = UP, .max = 448, .least = 1e-4f},
    {{".weight", F8_E4M3, CODES, WHOLE}, {".scale", F8_E8M0, SCALES, GRID}},
};
static const struct clothes v4_routed = {
    {.elem = E2M1, .rows = 1, .cols = 32, .scale = F8_E8M0, .rule = UP, .max = 6, .least = 6 * 0x1p-126},
    {{".weight", I8, CODES, HALF}, {".scale", F8_E8M0, SCALES, GRID}},
};
static const struct clothes qwen = {
    DIV(E4M3, 128, 128, BF16, 448, 1),
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale_inv", BF16, SCALES, GRID}},
};
static const struct clothes qwen_f16 = {
    DIV(E4M3, 128, 128, F16, 448, 1),
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale_inv", F16, SCALES, GRID}},
};

#define FP8(more)                                                                                            \
    "{'activation_scheme': 'dynamic', 'fmt': 'e4m3', " more                                                  \
    "'quant_method': 'fp8', 'weight_block_size': [128, 128]}"
#define FP8_UE8M0                                                                                            \
    "{'activation_scheme': 'dynamic', 'fmt': 'e4m3', 'quant_method': 'fp8', "                                \
    "'scale_fmt': 'ue8m0', 'weight_block_size': [128, 128]}"

/* ---- compressed-tensors ------------------------------------------------------ */

/* Zeros get the epsilon of the type that scales have, 2^-7 in BF16 and 2^-3 in E4M3;
 * as a power of two, 2^-127, which is 0 no longer. */
static const struct clothes ct_block = {
    DIV(E4M3, 128, 128, BF16, 448, 0x1p-7),
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale", BF16, SCALES, GRID}},
};
static const struct clothes ct_channel = {
    DIV(E4M3, 1, 0, BF16, 448, 0x1p-7),
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale", BF16, SCALES, GRID}},
};
static const struct clothes ct_tensor = {
    DIV(E4M3, 0, 0, BF16, 448, 0x1p-7),
    {{".input_scale", BF16, INPUT_SCALE, ONE},
     {".weight", F8_E4M3, CODES, WHOLE},
     {".weight_scale", BF16, SCALES, ONE}},
};
static const struct clothes ct_int8 = {
    DIV(INT8, 1, 0, BF16, 127.5, 0x1p-7),
    {{".weight", I8, CODES, WHOLE}, {".weight_scale", BF16, SCALES, GRID}},
};
static const struct clothes ct_mxfp8 = {
    MX(E4M3, U8, BUMP, 8, 0x1p-127, false),
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale", U8, SCALES, GRID}},
};
static const struct clothes ct_mxfp4 = {
    MX(E2M1, U8, BUMP, 2, 0x1p-127, false),
    {{".weight_packed", U8, CODES, HALF}, {".weight_scale", U8, SCALES, GRID}},
};
static const struct clothes ct_nvfp4 = {
    NVFP4(DIVIDES, 0x1p-3),
    {{".input_global_scale", F32, INPUT_SCALE, ONE},
     {".weight_global_scale", F32, GLOBAL, ONE},
     {".weight_packed", U8, CODES, HALF},
     {".weight_scale", F8_E4M3, SCALES, GRID}},
};
static const struct clothes ct_int4 = {
    DIV(INT4, 1, 32, BF16, 7.5, 0x1p-7),
    {{".weight_packed", I32, CODES, WORDS},
     {".weight_scale", BF16, SCALES, GRID},
     {".weight_shape", I64, SHAPE, TWO}},
};
static const struct clothes ct_int4_zp = {
    {.elem = INT4,
     .rows = 1,
     .cols = 32,
     .scale = BF16,
     .rule = DIVIDE,
     .max = 15,
     .zero = 0x1p-7,
     .asymmetric = true},
    {{".weight_packed", I32, CODES, WORDS},
     {".weight_scale", BF16, SCALES, GRID},
     {".weight_shape", I64, SHAPE, TWO},
     {".weight_zero_point", I32, ZERO_POINTS, ROWS_8}},
};

#define ARGS(bits, type, strategy, group, block, dynamic, symmetric, scale)                                  \
    "{'actorder': null, 'block_structure': " block ", 'dynamic': " dynamic ", 'group_size': " group          \
    ", 'num_bits': " bits ", 'observer': null, 'observer_kwargs': {}, 'scale_dtype': " scale                 \
    ", 'strategy': '" strategy "', 'symmetric': " symmetric ", 'type': '" type "', 'zp_dtype': null}"
#define CT(format, weights, inputs)                                                                          \
    "{'config_groups': {'group_0': {'format': '" format "', 'input_activations': " inputs                    \
    ", 'output_activations': null, 'targets': ['Linear'], 'weights': " weights "}}, 'format': '" format      \
    "', 'global_compression_ratio': null, 'ignore': @, 'kv_cache_scheme': null, "                            \
    "'quant_method': 'compressed-tensors', 'quantization_status': 'compressed', 'sparsity_config': {}, "     \
    "'transform_config': {}, 'version': '0.12.2'}"
#define TOKEN(type) ARGS("8", type, "token", "null", "null", "true", "true", "null")

/* ---- ModelOpt ---------------------------------------------------------------- */

static const struct clothes modelopt_fp8 = {
    DIV(E4M3, 0, 0, F32, 448, 1),
    {{".input_scale", F32, INPUT_SCALE, NONE},
     {".weight", F8_E4M3, CODES, WHOLE},
     {".weight_scale", F32, SCALES, NONE}},
};
static const struct clothes modelopt_mxfp8 = {
    {.elem = E4M3, .rows = 1, .cols = 32, .scale = U8, .rule = UP, .max = 448, .zero = 0x1p-127},
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale", U8, SCALES, GRID}},
};
static const struct clothes modelopt_nvfp4 = {
    NVFP4(MULTIPLIES, 1),
    {{".input_scale", F32, INPUT_SCALE, NONE},
     {".weight", U8, CODES, HALF},
     {".weight_scale", F8_E4M3, SCALES, GRID},
     {".weight_scale_2", F32, GLOBAL, NONE}},
};

#define PRODUCER "{'name': 'modelopt', 'version': '0.33.0'}"
#define MO_ARGS(bits, group) "{'dynamic': false, " group "'num_bits': " bits ", 'type': 'float'}"
#define MO_GROUPS(bits, group)                                                                               \
    "'config_groups': {'group_0': {'input_activations': " MO_ARGS(                                           \
        bits, group) ", 'targets': ['Linear'], 'weights': " MO_ARGS(bits, group) "}}, "
#define MO(algo, groups)                                                                                     \
    "{" groups "'ignore': @, 'producer': " PRODUCER ", 'quant_algo': '" algo "', 'quant_method': "           \
    "'modelopt'}"
#define MO_HF(algo, group)                                                                                   \
    "{\n    'producer': " PRODUCER ",\n    'quantization': {'quant_algo': '" algo                            \
    "', 'kv_cache_quant_algo': null, " group "'exclude_modules': @}\n}\n"

/* ---- Ascend ------------------------------------------------------------------ */

static const struct clothes ascend_mxfp8 = {
    MX(E4M3, U8, FLOOR, 8, 0x1p-127, true),
    {{".weight", F8_E4M3, CODES, WHOLE}, {".weight_scale", U8, SCALES, GRID}},
};
static const struct clothes ascend_w8a8_dynamic = {
    DIV(INT8, 1, 0, F32, 127, 1),
    {{".weight", I8, CODES, WHOLE},
     {".weight_offset", F32, ZEROS, GRID},
     {".weight_scale", F32, SCALES, GRID}},
};
/* The scale of a weight is deq_scale / input_scale, and input_scale a power of two
 * here, so that the quotient is exact. */
static const struct clothes ascend_w8a8 = {
    DIV(INT8, 1, 0, F32, 127, 1),
    {{".weight", I8, CODES, WHOLE},
     {".quant_bias", I32, QUANT_BIAS, ROWS},
     {".input_scale", F32, INPUT_SCALE, ONE},
     {".input_offset", F32, INPUT_OFFSET, ONE},
     {".deq_scale", F32, DEQ_SCALE, ROWS}},
};

/* ---- Quark, gpt-oss ---------------------------------------------------------- */

static const struct clothes quark_mxfp4 = {
    MX(E2M1, U8, BUMP, 2, 0x1p-127, false),
    {{".weight", U8, CODES, HALF}, {".weight_scale", U8, SCALES, GRID}},
};
static const struct clothes gpt_oss = {
    MX(E2M1, U8, FLOOR, 2, 0x1p-127, false),
    {{"_blocks", U8, CODES, SIXTEENS}, {"_scales", U8, SCALES, GRID}},
};

#define QUARK_SPEC(dtype, scheme, axis, group, dynamic, symmetric, format, mode, observer)                   \
    "{'ch_axis': " axis ", 'dtype': '" dtype "', 'group_size': " group ", 'is_dynamic': " dynamic            \
    ", 'is_scale_quant': false, 'mx_element_dtype': null, 'observer_cls': '" observer                        \
    "', 'qscheme': '" scheme "', 'round_method': 'half_even', 'scale_calculation_mode': " mode               \
    ", 'scale_format': " format ", 'scale_type': 'float', 'symmetric': " symmetric "}"
#define QUARK_FP4(dynamic)                                                                                   \
    QUARK_SPEC("fp4", "per_group", "-1", "32", dynamic, "null", "'e8m0'", "'even'", "PerBlockMXObserver")
#define QUARK_FP8                                                                                            \
    QUARK_SPEC("fp8_e4m3", "per_tensor", "null", "null", "false", "true", "null", "null",                    \
               "PerTensorMinMaxObserver")
#define QUARK(weight, input)                                                                                 \
    "{'algo_config': null, 'exclude': @, 'export': {'kv_cache_group': [], 'min_kv_scale': 0.0, "             \
    "'pack_method': "                                                                                        \
    "'reorder', 'weight_format': 'real_quantized', 'weight_merge_groups': null}, 'global_quant_config': "    \
    "{'bias': null, 'input_tensors': " input                                                                 \
    ", 'output_tensors': null, 'target_device': null, 'weight': " weight                                     \
    "}, 'kv_cache_quant_config': {}, 'layer_quant_config': {}, 'layer_type_quant_config': {}, "              \
    "'quant_method': 'quark', 'quant_mode': 'eager_mode', 'softmax_quant_spec': null, 'version': '0.10'}"

/* ---- the table ---------------------------------------------------------------- */

#define STYLE(name_, title_, ...)                                                                            \
    {                                                                                                        \
        .name = name_, .title = title_, .model = &deepseek_mini, __VA_ARGS__                                 \
    }
const struct style styles[] = {
    STYLE("bf16", "the original: nothing is quantized", .naming = DEEPSEEK),
    STYLE("v3", "DeepSeek-V3: E4M3, 128 x 128, F32 scales", .linear = &v3, .section = FP8(""),
          .naming = DEEPSEEK),
    STYLE("v3.1", "DeepSeek-V3.1: powers of two, and o_proj with powers of two times 1.3228756",
          .linear = &v31, .odd_o_proj = true, .section = FP8_UE8M0, .naming = DEEPSEEK),
    STYLE("v3.1-pure", "the same with powers of two in o_proj too", .linear = &v31, .section = FP8_UE8M0,
          .naming = DEEPSEEK),
    STYLE("v4", "DeepSeek-V4: E8M0 scales, routed experts in MXFP4; names as in V3 with .scale",
          .linear = &v4, .routed = &v4_routed, .section = FP8_UE8M0, .more = "'expert_dtype': 'fp4'",
          .naming = DEEPSEEK),
    STYLE("qwen", "Qwen3: E4M3, 128 x 128, BF16 scales", .linear = &qwen,
          .section = FP8("'modules_to_not_convert': @, ")),
    STYLE("qwen-f16", "Qwen3-4B-Instruct-2507: the same with F16 scales", .linear = &qwen_f16,
          .section = FP8("'modules_to_not_convert': @, ")),

    STYLE("ct-block", "compressed-tensors FP8_BLOCK: E4M3, 128 x 128", .linear = &ct_block,
          .section = CT("float-quantized",
                        ARGS("8", "float", "block", "null", "[128, 128]", "false", "true", "null"),
                        ARGS("8", "float", "group", "128", "null", "true", "true", "null"))),
    STYLE("ct-channel", "compressed-tensors FP8_DYNAMIC: E4M3, a scale per row", .linear = &ct_channel,
          .section =
              CT("float-quantized", ARGS("8", "float", "channel", "null", "null", "false", "true", "null"),
                 TOKEN("float"))),
    STYLE("ct-tensor", "compressed-tensors FP8: E4M3, one scale, and one for activations",
          .linear = &ct_tensor,
          .section =
              CT("float-quantized", ARGS("8", "float", "tensor", "null", "null", "false", "true", "null"),
                 ARGS("8", "float", "tensor", "null", "null", "false", "true", "null"))),
    STYLE("ct-int8", "compressed-tensors W8A8: INT8, a scale per row", .linear = &ct_int8,
          .section = CT("int-quantized", ARGS("8", "int", "channel", "null", "null", "false", "true", "null"),
                        TOKEN("int"))),
    STYLE("ct-mxfp8", "compressed-tensors MXFP8", .linear = &ct_mxfp8,
          .section = CT("mxfp8-quantized",
                        ARGS("8", "float", "group", "32", "null", "false", "true", "'torch.uint8'"),
                        ARGS("8", "float", "group", "32", "null", "true", "true", "'torch.uint8'"))),
    STYLE("ct-mxfp4", "compressed-tensors MXFP4", .linear = &ct_mxfp4,
          .section = CT("mxfp4-pack-quantized",
                        ARGS("4", "float", "group", "32", "null", "false", "true", "'torch.uint8'"),
                        ARGS("4", "float", "group", "32", "null", "true", "true", "'torch.uint8'"))),
    STYLE("ct-nvfp4", "compressed-tensors NVFP4: E4M3 scales per 16, a global one that divides",
          .linear = &ct_nvfp4,
          .section = CT(
              "nvfp4-pack-quantized",
              ARGS("4", "float", "tensor_group", "16", "null", "false", "true", "'torch.float8_e4m3fn'"),
              ARGS("4", "float", "tensor_group", "16", "null", "'local'", "true", "'torch.float8_e4m3fn'"))),
    STYLE("ct-int4", "compressed-tensors W4A16: INT4 in groups of 32", .linear = &ct_int4,
          .section =
              CT("pack-quantized", ARGS("4", "int", "group", "32", "null", "false", "true", "null"), "null")),
    STYLE("ct-int4-zp", "compressed-tensors W4A16_ASYM: the same with zero points", .linear = &ct_int4_zp,
          .section = CT("pack-quantized", ARGS("4", "int", "group", "32", "null", "false", "false", "null"),
                        "null")),

    STYLE("modelopt-fp8", "ModelOpt FP8: E4M3, one scale, and one for activations", .linear = &modelopt_fp8,
          .section = MO("FP8", MO_GROUPS("8", "")), .hf_quant = MO_HF("FP8", "")),
    STYLE("modelopt-mxfp8", "ModelOpt MXFP8", .linear = &modelopt_mxfp8, .section = MO("MXFP8", ""),
          .hf_quant = MO_HF("MXFP8", "'group_size': 32, ")),
    STYLE("modelopt-nvfp4", "ModelOpt NVFP4: E4M3 scales per 16, a second one that multiplies",
          .linear = &modelopt_nvfp4, .section = MO("NVFP4", MO_GROUPS("4", "'group_size': 16, ")),
          .hf_quant = MO_HF("NVFP4", "'group_size': 16, ")),

    STYLE("ascend-mxfp8", "msModelSlim W8A8_MXFP8", .linear = &ascend_mxfp8, .ascend = "W8A8_MXFP8",
          .group_size = 32),
    STYLE("ascend-w8a8-dynamic", "msModelSlim W8A8_DYNAMIC: INT8, a scale per row",
          .linear = &ascend_w8a8_dynamic, .ascend = "W8A8_DYNAMIC"),
    STYLE("ascend-w8a8", "msModelSlim W8A8: INT8, deq_scale is weight scale times input_scale",
          .linear = &ascend_w8a8, .ascend = "W8A8"),

    STYLE("quark-mxfp4", "AMD Quark MXFP4", .linear = &quark_mxfp4,
          .section = QUARK(QUARK_FP4("false"), QUARK_FP4("true"))),
    STYLE("quark-fp8", "AMD Quark FP8: E4M3, one scale, and one for activations", .linear = &modelopt_fp8,
          .section = QUARK(QUARK_FP8, QUARK_FP8)),

    {.name = "gpt-oss",
     .title = "gpt-oss: stacked experts in MXFP4",
     .model = &gpt_oss_mini,
     .routed = &gpt_oss,
     .naming = FROM_ZERO,
     .section = "{'modules_to_not_convert': ['model.layers.*.self_attn', 'model.layers.*.mlp.router', "
                "'model.embed_tokens', 'lm_head'], 'quant_method': 'mxfp4'}"},
};
const size_t style_count = COUNT(styles);

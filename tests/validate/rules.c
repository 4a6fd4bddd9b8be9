#include "validate.h"

#include <stdio.h>
#include <string.h>

/* What belongs to a quantized weight.  The kinds are words that config.c asks for. */
const struct rule rules[] = {
    {"deepseek", "block", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale_inv", " F32 BF16 F16 ", BLOCKS, false}}},
    {"compressed-tensors", "fp8-channel", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale", " F32 BF16 F16 ", ROWS_1, false}}},
    {"compressed-tensors", "int8-channel", ".weight", " I8 ", 1, false, false, {{"_scale", " F32 BF16 F16 ", ROWS_1, false}}},
    {"compressed-tensors:mxfp8", "mxfp8", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale", " U8 ", GROUPS_32, false}}},
    {"compressed-tensors:int4", "int4", ".weight_packed", " I32 ", 8, false, false,
     {{".weight_scale", " F32 BF16 F16 ", GROUPS_ANY, false}, {".weight_shape", " I64 ", TWO, false}}},
    {"compressed-tensors:block", "fp8-block", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale", " F32 BF16 F16 ", BLOCKS, false}}},
    {"compressed-tensors:mxfp4", "mxfp4", ".weight_packed", " U8 ", 2, false, false, {{".weight_scale", " U8 ", GROUPS_32, false}}},
    {"compressed-tensors:nvfp4", "nvfp4", ".weight_packed", " U8 ", 2, false, false,
     {{".weight_scale", " F8_E4M3 ", GROUPS_16, false}, {".weight_global_scale", " F32 ", ONE, false}}},
    {"deepseek-v4", "fp4", ".weight", " I8 ", 2, true, false, {{".scale", " F8_E8M0 ", GROUPS_32, false}}},
    {"deepseek-v4", "fp8", ".weight", " F8_E4M3 ", 1, false, true, {{".scale", " F8_E8M0 ", BLOCKS, false}}},
    {"gpt-oss", "mxfp4", "_blocks", " U8 ", 2, false, false, /* vllm models/gpt_oss.py, transformers integrations/mxfp4.py */
     {{"_scales", " U8 ", OSS_SCALES, false}, {"_bias", " BF16 F32 F16 ", OSS_BIAS, false}}},
    {"modelopt:fp8", "fp8", ".weight", " F8_E4M3 ", 1, false, false,
     {{"_scale", " F32 ", ONE, false}, {".input_scale", " F32 ", ONE, false}}},
    {"modelopt:nvfp4", "nvfp4", ".weight", " U8 ", 2, false, false, {{"_scale", " F8_E4M3 ", GROUPS_16, false}, {"_scale_2", " F32 ", ONE, false}}},
    {"quark:fp8", "fp8", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale", " F32 ", ROWS, false}}},
    {"quark:mxfp4", "mxfp4", ".weight", " U8 ", 2, false, false, {{"_scale", " U8 ", GROUPS_32, false}}},
    {"modelopt", "mxfp8", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale", " U8 ", GROUPS_32, false}}},
    {"ascend-v1", "W8A8_DYNAMIC", ".weight", " I8 ", 1, false, false,
     {{"_scale", " F32 BF16 ", ROWS_1, false}, {"_offset", " F32 BF16 ", ROWS_1, false}}},
    {"ascend-v1:static", "W8A8", ".weight", " I8 ", 1, false, false, /* vllm_ascend quantization/methods/w8a8_static.py */
     {{".deq_scale", " F32 I64 ", ROWS, false}, {".input_scale", " F32 ", ONE, false}, {".input_offset", " F32 ", ONE, false},
      {".quant_bias", " I32 ", ROWS, false}}},
    {"ascend-v1:w4a8", "W4A8_DYNAMIC", ".weight", " I8 ", 1, true, false, /* vllm_ascend quantization/methods/w4a8.py */
     {{"_scale", " F32 BF16 ", PAIRS_1, false}, {"_offset", " F32 BF16 ", PAIRS_1, false}, {".scale_bias", " F32 ", BIAS, false}}},
    {"ascend-v1:w4a8", "W8A8_DYNAMIC", ".weight", " I8 ", 1, false, true,
     {{"_scale", " F32 BF16 ", ROWS_1, false}, {"_offset", " F32 BF16 ", ROWS_1, false}}},
    {"ascend-v1", "W8A8_MXFP8", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale", " U8 ", GROUPS_32, false}}},
    {"ascend-v1", "W4A8_MXFP", ".weight", " U8 ", 2, false, false, {{"_scale", " U8 ", GROUPS_32, false}}},
    {"mlu-fp8", "per_channel", ".weight", " F8_E4M3 ", 1, false, false, {{"_scale", " F32 ", ROWS, false}}},
    {"mlu-smoothquant", "int8", ".qweight", " I8 ", 1, false, false,
     {{".per_channel_scale", " F32 ", ROWS, false}, {".smooth", " F32 ", COLS, false}}},
    {"gcu-w8a8", "w8a8", ".weight", " I8 ", 1, false, false,
     {{".out_scales", " F32 ", ROWS, false}, {".in_scales", " F32 BF16 F16 ", ONE, false}}},
    {"slimquant-w4a8", "int4", ".weight", " I8 ", 2, true, false, {{"_scale", " F32 ", ROWS_1, false}}},
    {"slimquant-w4a8", "int8", ".weight", " I8 ", 1, false, true, {{"_scale", " F32 ", ROWS_1, false}}},
    {"tim-vx", "int8", ".weight", " I8 ", 1, false, false, {{"_scale", " F32 ", ROWS_1, false}}},
};
const size_t rule_count = sizeof rules / sizeof *rules;

bool is_expert(const char *name) { return strstr(name, ".experts.") != NULL; }

void module_of(const char *name, const char *suffix, char out[NAME])
{
    snprintf(out, NAME, "%.*s", (int)(strlen(name) - strlen(suffix)), name);
}

static bool ends(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n > k && !strcmp(s + n - k, end);
}

const struct rule *rule_of(const char *convention, const struct tensor *t)
{
    char dtype[24];
    snprintf(dtype, sizeof dtype, " %s ", t->dtype);
    for (size_t i = 0; i < rule_count; i++)
        if (!strcmp(rules[i].convention, convention) && ends(t->name, rules[i].suffix) && strstr(rules[i].dtypes, dtype)
            && (!rules[i].expert_only || is_expert(t->name)) && (!rules[i].not_expert || !is_expert(t->name)))
            return &rules[i];
    return NULL;
}

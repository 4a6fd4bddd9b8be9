/* config.json is rewritten as text: what is not about quantization keeps its bytes. */
#include "formats/convention.h"

#include "formats/io.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct err err;

static struct out_tensor kept[] = {
    {"lm_head.weight", DT_BF16, 2, {512, 256}, .part = PART_PLAIN},
    {"a.experts.gate_up_proj", DT_BF16, 3, {2, 8, 8}, .part = PART_PLAIN},
    {"a.experts.down_proj", DT_BF16, 3, {2, 8, 8}, .part = PART_PLAIN},
    {"b.weight", DT_F8_E4M3, 2, {128, 128}, .part = PART_WEIGHT, .weight = "b.weight"},
    {"norm.weight", DT_BF16, 1, {128}, .part = PART_PLAIN},
    {"ids", DT_I64, 2, {2, 2}, .part = PART_PLAIN},
};
enum { NKEPT = sizeof kept / sizeof *kept, QUANTIZED = 3 };

/* What is written of the one quantized weight. */
static void quantized(const struct convention *c, const struct scheme *s)
{
    kept[QUANTIZED].scheme = s;
    kept[QUANTIZED].activation = ACTIVATION_NONE;
    cr_assert(!c || convention_takes(c, s, &kept[QUANTIZED].activation));
}

static void expect_text(const char *from, const char *convention, const char *scheme,
                        const char *dtype, const char *want)
{
    char *text = NULL;
    const struct convention *c = convention ? convention_find(convention) : NULL;
    quantized(c, scheme ? scheme_find(scheme) : NULL);
    cr_assert_eq(config_text(from, c, kept, c ? NKEPT : 0, dtype, &text, &err), 0, "%s", err.msg);
    if (want)
        cr_assert_str_eq(text, want);
    else
        cr_assert_null(text);
    free(text);
}

Test(config_text, edits)
{
    /* nothing in, nothing to say; nothing in, something to say */
    expect_text(NULL, NULL, NULL, NULL, NULL);
    expect_text(NULL, "ascend-v1", "mxfp8", NULL, NULL);
    const char *whole =
        "{\n"
        "  \"quantization_config\": {\n"
        "    \"activation_scheme\": \"dynamic\",\n"
        "    \"fmt\": \"e4m3\",\n"
        "    \"quant_method\": \"fp8\",\n"
        "    \"weight_block_size\": [\n"
        "      128,\n"
        "      128\n"
        "    ],\n"
        "    \"scale_fmt\": \"ue8m0\",\n"
        "    \"modules_to_not_convert\": [\n"
        "      \"a.experts\",\n"
        "      \"lm_head\"\n"
        "    ]\n"
        "  }\n"
        "}\n";
    expect_text(NULL, "deepseek", "fp8-ue8m0-128x128", NULL, whole);
    expect_text("{}\n", "deepseek", "fp8-ue8m0-128x128", NULL, whole);
    expect_text("{\n}\n", "deepseek", "fp8-ue8m0-128x128", NULL, whole);
    expect_text(whole, NULL, NULL, NULL, "{}\n");
    /* one line stays one line */
    expect_text("{\"a\": 1, \"z\": 1e-05}", "deepseek", "fp8-f32-128x128", NULL,
                "{\"a\": 1, \"quantization_config\": {\"activation_scheme\": \"dynamic\", \"fmt\": "
                "\"e4m3\", \"quant_method\": \"fp8\", \"weight_block_size\": [128, 128], "
                "\"modules_to_not_convert\": [\"a.experts\", \"lm_head\"]}, \"z\": 1e-05}");
    /* removed wherever it was: first, last, nested, under both names */
    expect_text("{\"quantization_config\": {\"x\": \"}\"}, \"b\": [1]}", NULL, NULL, NULL,
                "{\"b\": [1]}");
    expect_text("{\"b\": [1], \"compression_config\": {\"x\": \"\\\"}\"}}", NULL, NULL, NULL,
                "{\"b\": [1]}");
    expect_text("{\n \"text_config\": {\n  \"quantization_config\": {},\n  \"dtype\": \"float16\"\n"
                " },\n \"quantization_config\": null\n}", "ascend-v1", "mxfp8", NULL,
                "{\n \"text_config\": {\n  \"dtype\": \"float16\"\n }\n}");
    /* replaced in its place, tabs kept */
    expect_text("{\n\t\"quantization_config\": 7,\n\t\"z\": 2\n}", "compressed-tensors",
                "fp8-tensor", NULL,
                "{\n\t\"quantization_config\": {\n\t\t\"config_groups\": {\n\t\t\t\"group_0\": {\n"
                "\t\t\t\t\"format\": \"float-quantized\",\n\t\t\t\t\"input_activations\": {\n"
                "\t\t\t\t\t\"dynamic\": true,\n\t\t\t\t\t\"group_size\": null,\n"
                "\t\t\t\t\t\"num_bits\": 8,\n\t\t\t\t\t\"strategy\": \"token\",\n"
                "\t\t\t\t\t\"symmetric\": true,\n\t\t\t\t\t\"type\": \"float\"\n\t\t\t\t},\n"
                "\t\t\t\t\"weights\": {\n\t\t\t\t\t\"dynamic\": false,\n"
                "\t\t\t\t\t\"group_size\": null,\n\t\t\t\t\t\"num_bits\": 8,\n"
                "\t\t\t\t\t\"strategy\": \"tensor\",\n\t\t\t\t\t\"symmetric\": true,\n"
                "\t\t\t\t\t\"type\": \"float\"\n\t\t\t\t},\n\t\t\t\t\"output_activations\": null,\n"
                "\t\t\t\t\"targets\": [\n\t\t\t\t\t\"Linear\"\n\t\t\t\t]\n\t\t\t}\n\t\t},\n"
                "\t\t\"format\": \"float-quantized\",\n\t\t\"global_compression_ratio\": null,\n"
                "\t\t\"ignore\": [\n\t\t\t\"a.experts\",\n\t\t\t\"lm_head\"\n\t\t],\n"
                "\t\t\"kv_cache_scheme\": null,\n\t\t\"quant_method\": \"compressed-tensors\",\n"
                "\t\t\"quantization_status\": \"compressed\",\n\t\t\"sparsity_config\": {},\n"
                "\t\t\"transform_config\": {},\n\t\t\"version\": \"0.20.0\"\n\t},\n"
                "\t\"z\": 2\n}");
    /* the dtype, only where one stands and only when asked */
    expect_text("{\"torch_dtype\": \"float8_e4m3fn\", \"text_config\": {\"dtype\": \"x\"}}", NULL,
                NULL, "bfloat16",
                "{\"torch_dtype\": \"bfloat16\", \"text_config\": {\"dtype\": \"bfloat16\"}}");
    expect_text("{\"dtype\": null}", NULL, NULL, "bfloat16", "{\"dtype\": null}");
    expect_text("{\"torch_dtype\": \"x\"}", NULL, NULL, NULL, "{\"torch_dtype\": \"x\"}");
}

Test(config_text, errors)
{
    static const char *const bad[] = {"", "[]", "{", "{\"a\": 1, \"a\": 2}", "{\"a\": }", "{} x",
                                      "{\"a\": \"\xff\"}", "{\"a\": 1,}"};
    char *text;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (struct err){0};
        cr_assert_eq(config_text(bad[i], NULL, NULL, 0, NULL, &text, &err), -1, "%s", bad[i]);
        cr_assert_eq(err.kind, ERR_INPUT);
        cr_assert(strstr(err.msg, "config.json"), "%s", err.msg);
        cr_assert_null(text);
    }
}

/* Real files: taking the section out again gives every byte back. */
Test(config_text, of_real_models)
{
    static const char *const name[] = {"qwen3.5-25b-reap-a3b", "devstral-small-2507"};
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        size_t size;
        snprintf(path, sizeof path, "../shared/data/index/%s/config.json", name[i]);
        if (access(path, R_OK)) {
            fprintf(stderr, "skipped: %s is not here\n", path);
            continue;
        }
        char *text = io_read_file(path, 1 << 20, &size, &err);
        cr_assert_not_null(text, "%s", err.msg);
        for (size_t c = 0; c < convention_count; c++)
            for (size_t s = 0; s < scheme_count; s++) {
                char *out, *back;
                enum activation a;
                const struct convention *x = convention_table[c];
                if (!convention_takes(x, &scheme_table[s], &a))
                    continue;
                quantized(x, &scheme_table[s]);
                cr_assert_eq(config_text(text, x, kept, NKEPT, NULL, &out, &err), 0, "%s", err.msg);
                cr_assert_eq(!strcmp(out, text), strstr(" ascend-v1 octavo gguf mlu-smoothquant tim-vx ", x->name) != NULL,
                             "%s", x->name);
                cr_assert_eq(config_text(out, NULL, NULL, 0, NULL, &back, &err), 0);
                cr_assert_str_eq(back, text);
                free(out);
                free(back);
            }
        free(text);
    }
}

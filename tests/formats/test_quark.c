/* Quark: the tensors and specs that its exporter writes (amd-quark 0.13, run on small models), and what
 * contradicts them. */
#include "tests/hand.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#define SPEC(dtype, scheme, axis, more)                                                                      \
    "{\"dtype\": \"" dtype "\", \"qscheme\": \"" scheme "\", \"ch_axis\": " axis                             \
    ", \"is_dynamic\": false" more "}"
#define MX ", \"group_size\": 32, \"scale_format\": \"e8m0\", \"symmetric\": null"
#define SYM ", \"symmetric\": true"
#define GLOBAL(weight, layers)                                                                               \
    "{\"quantization_config\": {\"quant_method\": \"quark\", \"export\": {\"weight_format\": "               \
    "\"real_quantized\"}, "                                                                                  \
    "\"global_quant_config\": {\"weight\": " weight "}, \"layer_quant_config\": " layers "}}"
#define FP8 SPEC("fp8_e4m3", "per_tensor", "null", SYM)
#define FP4 SPEC("fp4", "per_group", "-1", MX)
#define NVFP4                                                                                                \
    "[" SPEC("fp4", "per_group", "-1", ", \"group_size\": 16, \"scale_format\": \"float32\"") ", " SPEC(     \
        "fp8_e4m3", "per_tensor", "null", ", \"is_scale_quant\": true") "]"

static const struct {
    const char *config, *tensors, *scheme;
} rows[] = {
    {GLOBAL(FP8, "{}"), "a.weight F8_E4M3 256,384; a.weight_scale F32; a.input_scale F32", "fp8-tensor"},
    {GLOBAL("[" FP8 "]", "null"), "a.weight F8_E4M3 256,384; a.weight_scale BF16; a.input_scale BF16",
     "fp8-bf16-tensor"},
    {GLOBAL(SPEC("fp8_e4m3", "per_channel", "0", SYM), "{}"),
     "a.weight F8_E4M3 256,384; a.weight_scale BF16 256", "fp8-bf16-channel"},
    {GLOBAL(SPEC("fp8_e4m3", "per_channel", "0", SYM), "{}"),
     "a.weight F8_E4M3 256,384; a.weight_scale F32 256", "fp8-channel"},
    {GLOBAL(SPEC("fp8_e4m3", "per_group", "-1", MX), "{}"),
     "a.weight F8_E4M3 256,384; a.weight_scale U8 256,12", "mxfp8"},
    {GLOBAL(SPEC("fp8_e4m3", "per_block", "null", ", \"block_size\": [128, 128]" SYM), "{}"),
     "a.weight F8_E4M3 256,384; a.weight_scale F32 2,3", "fp8-f32-128x128"},
    {GLOBAL(SPEC("fp8_e4m3", "per_block", "null",
                 ", \"block_size\": [32, 32], \"scale_type\": \"float8_e8m0fnu\""),
            "{}"),
     "a.weight F8_E4M3 256,384; a.weight_scale F8_E8M0 8,12", "fp8-ue8m0-32x32"},
    {GLOBAL(FP4, "{}"), "a.weight U8 256,192; a.weight_scale U8 256,12", "mxfp4"},
    {GLOBAL(NVFP4, "{}"),
     "a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32; a.input_scale_2 F32",
     "nvfp4"},
    {GLOBAL(SPEC("int8", "per_tensor", "null", SYM), "{}"),
     "a.weight I8 256,384; a.weight_scale F32; a.weight_zero_point I8; a.input_scale F32; a.input_zero_point "
     "I8",
     "int8-tensor"},
    {GLOBAL(SPEC("int8", "per_channel", "0", SYM), "{}"),
     "a.weight I8 256,384; a.weight_scale F32 256; a.weight_zero_point I8 256", "int8-channel"},
    {GLOBAL(SPEC("int8", "per_channel", "0", SYM), "{}"), "a.weight I8 256,384; a.weight_scale F32 256",
     "int8-channel"},
    {GLOBAL(SPEC("int8", "per_channel", "0", ", \"symmetric\": false"), "{}"),
     "a.weight I8 256,384; a.weight_scale F32 256; a.weight_zero_point I8 256", "int8-channel-asym"},
    /* amd-quark before 1.0 called the axis so */
    {GLOBAL("{\"dtype\": \"fp8_e4m3\", \"qscheme\": \"per_channel\", \"axis\": 0, \"dynamic\": false}",
            "null"),
     "a.weight F8_E4M3 256,384; a.weight_scale F32 256", "fp8-channel"},
};

Test(quark, every_spec)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct hand h;
        hand_make(&h, rows[i].tensors, rows[i].config, NULL, NULL);
        hand_read(&h);
        cr_assert_eq(h.g.n, 1, "row %zu", i);
        cr_assert_str_eq(h.g.convention->name, "quark");
        cr_assert_str_eq(h.g.g->scheme->name, rows[i].scheme, "row %zu: %s", i, h.g.g->scheme->name);
        for (size_t k = 0; k < h.m.n; k++)
            cr_assert_neq(h.g.part[k], PART_PLAIN, "row %zu: '%s' is left", i, h.m.t[k].name);
        if (h.m.n > 2 && strstr(h.m.t[2].name, "weight_zero_point"))
            cr_assert_eq(h.g.part[2], h.g.g->scheme->zero_point ? PART_POINT : PART_ZERO);
        hand_drop(&h);
    }
}

Test(quark, the_first_pattern_that_matches_counts)
{
    static const char tensors[] =
        "l.0.q.weight F8_E4M3 64,64; l.0.q.weight_scale F32; l.0.up.weight U8 64,32; l.0.up.weight_scale U8 "
        "64,2;"
        "l.1.q.weight F8_E4M3 64,64; l.1.q.weight_scale F32 64; lm_head.weight BF16 8,64";
    struct hand h;
    hand_make(&h, tensors,
              GLOBAL(FP4, "{\"l.1.*\": {\"weight\": " SPEC("fp8_e4m3", "per_channel", "0",
                                                           "") "}, \"*.q\": {\"weight\": " FP8 "}}"),
              NULL, NULL);
    hand_read(&h);
    cr_assert_eq(h.g.n, 3);
    cr_assert_str_eq(hand_group(&h, "l.0.q.weight")->scheme->name, "fp8-tensor");
    cr_assert_str_eq(hand_group(&h, "l.0.up.weight")->scheme->name, "mxfp4");
    cr_assert_str_eq(hand_group(&h, "l.1.q.weight")->scheme->name, "fp8-channel");
    cr_assert_eq(hand_part(&h, "lm_head.weight"), PART_PLAIN);
    hand_drop(&h);
}

Test(quark, scales_of_a_cache_belong_to_no_weight)
{
    struct hand h;
    hand_make(&h, "k_proj.weight F8_E4M3 8,8; k_proj.weight_scale F32; k_proj.output_scale F32",
              GLOBAL(FP8, "{}"), NULL, NULL);
    hand_read(&h);
    cr_assert_eq(h.g.n, 1);
    cr_assert(grouping_cache(&h.g, 2));
    hand_drop(&h);
}

static void refused(const char *tensors, const char *config, const char *text1, const char *text2)
{
    struct hand h;
    hand_make(&h, tensors, config, NULL, NULL);
    hand_refused(&h, text1, text2);
    hand_drop(&h);
}

Test(quark, contradictions_are_refused)
{
    static const char fp8[] = "a.weight F8_E4M3 256,384; a.weight_scale F32";
    static const char fp4[] = "a.weight U8 256,192; a.weight_scale U8 256,12";
    refused(fp8, "{\"quantization_config\": {\"quant_method\": \"quark\"}}", "quark",
            "without global_quant_config");
    refused(fp8,
            "{\"quantization_config\": {\"quant_method\": \"quark\", \"global_quant_config\": {}, "
            "\"export\": {\"weight_format\": "
            "\"fake_quantized\"}}}",
            "weight_format 'fake_quantized'", "not read");
    refused(fp8, GLOBAL("null", "{}"), "'a.weight' is F8_E4M3 with a scale", "declares nothing");
    refused(fp8, GLOBAL(FP8, "{\"*\": {\"weight\": null}}"), "'a.weight'", "declares nothing");
    refused(fp8, GLOBAL(FP4, "{}"), "'a.weight' is F8_E4M3", "calls it 'fp4'");
    refused(fp4, GLOBAL(FP8, "{}"), "'a.weight' is U8", "calls it 'fp8_e4m3'");
    refused("a.weight I32 384,32; a.weight_scale BF16 12,256; a.weight_zero_point I32 12,32",
            GLOBAL(SPEC("int4", "per_group", "-1", MX), "{}"), "dtype 'int4' with qscheme 'per_group'",
            "not read");
    refused("a.weight I8 384,256; a.weight_scale BF16 12,256",
            GLOBAL(SPEC("int8", "per_group", "-1", MX), "{}"), "dtype 'int8' with qscheme 'per_group'",
            "not read");
    refused(fp8, GLOBAL(SPEC("fp8_e4m3", "per_channel", "1", SYM), "{}"),
            "'fp8_e4m3' with qscheme 'per_channel'", "not read");
    refused(fp4, GLOBAL(SPEC("fp6_e3m2", "per_group", "-1", MX), "{}"), "dtype 'fp6_e3m2'", "not read");
    refused("a.weight U8 256,192; a.weight_scale F8_E4M3 256,24", GLOBAL(NVFP4, "{}"), "'a.weight'",
            "looked for its name with _scale_2");
    refused(fp4, GLOBAL("[" FP4 ", " FP8 "]", "{}"), "dtype 'fp4'", "not read");
    refused("a.weight U8 256,192; a.weight_scale U8 256,24", GLOBAL(FP4, "{}"),
            "'a.weight_scale' is [256,24]", "needs [256,12]");
    refused("a.weight F8_E4M3 256,384; a.weight_scale F32 256", GLOBAL(FP8, "{}"), "is [256]", "needs [1]");
    refused("a.weight F8_E4M3 256,384; b.weight BF16 1,1", GLOBAL(FP8, "{}"), "'a.weight' F8_E4M3",
            "has no scale tensor");
    refused("a.weight F8_E4M3 8,8; a.weight_scale F32; a.input_rotation I8 8,8", GLOBAL(FP8, "{}"),
            "'a.input_rotation' rotates", "'a.weight'");
    refused("a.weight I8 256,384; a.weight_scale F32 256",
            GLOBAL(SPEC("int8", "per_channel", "0", ", \"symmetric\": false"), "{}"),
            "'a.weight' is declared asymmetric", "'a.weight_zero_point'");
    refused("a.weight I8 256,384; a.weight_scale F32 256; a.weight_zero_point I8 2",
            GLOBAL(SPEC("int8", "per_channel", "0", ", \"symmetric\": false"), "{}"),
            "'a.weight_zero_point' is [2]", "'a.weight' needs 256 zero points");
    refused("a.weight I8 256,384; a.weight_scale F32 256; a.weight_zero_point I32 256",
            GLOBAL(SPEC("int8", "per_channel", "0", ", \"symmetric\": false"), "{}"),
            "'a.weight_zero_point' is I32", "no dtype for the zero points");
}

/* ---- what is written ---------------------------------------------------------------- */
static size_t put(struct arena *mem, struct out_tensor *out, size_t n, const char *name, const char *scheme,
                  enum activation a)
{
    const struct convention *c = convention_find("quark");
    struct weight w = {name, 2, (uint64_t[]){64, 64}, scheme_find(scheme), a};
    struct err e = {0};
    size_t k = 0;
    cr_assert(c->accepts(w.scheme, a), "%s", scheme);
    cr_assert_eq(c->outputs(&w, mem, out + n, &k, &e), 0, "%s", e.msg);
    return n + k;
}

static void is(const struct out_tensor *t, const char *name, enum part part, enum dtype dtype, uint8_t rank,
               uint64_t n)
{
    cr_assert_str_eq(t->name, name);
    cr_assert(t->part == part && t->dtype == dtype && t->rank == rank && (!rank || t->dim[0] == n), "%s",
              name);
}

Test(quark, tensors_and_specs_are_those_of_the_exporter)
{
    const struct convention *c = convention_find("quark");
    struct arena mem = {0};
    struct out_tensor out[40];
    struct err e = {0};
    char *said;
    size_t n = put(&mem, out, 0, "l.q.weight", "int8-channel", ACTIVATION_STATIC);
    cr_assert_eq(n, 5);
    is(&out[1], "l.q.weight_scale", PART_SCALE, DT_F32, 1, 64);
    is(&out[2], "l.q.weight_zero_point", PART_ZERO, DT_I8, 1, 64);
    is(&out[3], "l.q.input_zero_point", PART_ZERO, DT_I8, 0, 0);
    is(&out[4], "l.q.input_scale", PART_AUX, DT_F32, 0, 0);
    n = put(&mem, out, 0, "l.q.weight", "fp8-tensor", ACTIVATION_DYNAMIC);
    cr_assert_eq(n, 2);
    is(&out[1], "l.q.weight_scale", PART_SCALE, DT_F32, 0, 0);
    n = put(&mem, out, n, "l.up.weight", "mxfp4", ACTIVATION_NONE);
    is(&out[2], "l.up.weight", PART_WEIGHT, DT_U8, 2, 64);
    is(&out[3], "l.up.weight_scale", PART_SCALE, DT_U8, 2, 64);
    n = put(&mem, out, n, "l.k.weight", "fp8-tensor", ACTIVATION_DYNAMIC);
    out[n++] = (struct out_tensor){"lm_head.weight", DT_BF16, 2, {64, 64}, .part = PART_PLAIN};
    cr_assert_eq(config_text("{\"a\": 1}", c, out, n, NULL, &said, &e), 0, "%s", e.msg);
#define W(dtype, observer, scheme, axis, group, dynamic, mode, format, symmetric)                            \
    "{\"block_size\": null, \"ch_axis\": " axis ", \"dtype\": \"" dtype "\", \"group_size\": " group         \
    ", \"is_dynamic\": " dynamic                                                                             \
    ", \"is_scale_quant\": false, \"mx_element_dtype\": null, \"observer_cls\": \"" observer                 \
    "\", \"qscheme\": \"" scheme "\", \"round_method\": \"half_even\", \"scale_calculation_mode\": " mode    \
    ", \"scale_format\": " format ", \"scale_type\": \"float\", \"symmetric\": " symmetric "}"
    cr_assert_str_eq(said,
                     "{\"a\": 1, \"quantization_config\": {\"algo_config\": null, \"exclude\": "
                     "[\"lm_head\"], \"export\": {\"kv_cache_group\": [], "
                     "\"min_kv_scale\": 0.0, \"pack_method\": \"reorder\", \"weight_format\": "
                     "\"real_quantized\", \"weight_merge_groups\": null}, "
                     "\"global_quant_config\": {\"bias\": null, \"input_tensors\": " W(
                         "fp8_e4m3", "PerChannelMinMaxObserver", "per_channel", "1", "null", "true", "null",
                         "null", "true") ", \"output_tensors\": null, \"target_device\": null, "
                                         "\"weight\": " W("fp8_e4m3", "PerTensorMinMaxObserver", "per_tensor",
                                                          "null", "null", "false", "null", "null",
                                                          "true") "}, \"kv_cache_quant_config\": {}, "
                                                                  "\"layer_quant_config\": {\"l.up\": "
                                                                  "{\"bias\": null, \"input_tensors\": null, "
                                                                  "\"output_tensors\": null, "
                                                                  "\"target_device\": null, \"weight\": " W(
                                                                      "fp4", "PerBlockMXObserver",
                                                                      "per_group", "-1", "32", "false",
                                                                      "\"even\"", "\"e8m0\"",
                                                                      "null") "}}, "
                                                                              "\"layer_type_quant_config\": "
                                                                              "{}, \"quant_method\": "
                                                                              "\"quark\", \"quant_mode\": "
                                                                              "\"eager_mode\", "
                                                                              "\"softmax_quant_spec\": null, "
                                                                              "\"version\": \"0.13\"}}");
    free(said);
    arena_free(&mem);
}

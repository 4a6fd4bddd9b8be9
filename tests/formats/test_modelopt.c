/* ModelOpt: every quant_algo with the tensors that its exporter writes (nvidia-modelopt 0.47, run on small
 * models). */
#include "tests/hand.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#define HF(algo)                                                                                             \
    "{\"producer\": {\"name\": \"modelopt\", \"version\": \"0.47.0\"}, \"quantization\": "                   \
    "{\"quant_algo\": " algo "}}"
#define CONFIG(algo) "{\"quantization_config\": {\"quant_algo\": " algo ", \"quant_method\": \"modelopt\"}}"

/* An algorithm, the tensors of a weight, its scheme. */
static const struct {
    const char *algo, *more, *tensors, *scheme;
} rows[] = {
    {"FP8", "", "a.weight F8_E4M3 256,384; a.weight_scale F32; a.input_scale F32", "fp8-tensor"},
    {"FP8", "", "a.weight F8_E4M3 256,384; a.weight_scale F32 1; a.input_scale F32 1", "fp8-tensor"},
    {"FP8", "",
     "a.experts.gate_up_proj F8_E4M3 4,256,384; a.experts.gate_up_proj_weight_scale F32 4;"
     "a.experts.gate_up_proj_input_scale F32",
     "fp8-tensor"},
    {"FP8_PER_CHANNEL_PER_TOKEN", "", "a.weight F8_E4M3 256,384; a.weight_scale F32 256", "fp8-channel"},
    {"fp8_pb_wo", "", "a.weight F8_E4M3 256,384; a.weight_scale F32 2,1,3,1", "fp8-f32-128x128"},
    {"FP8_PB_WO", "", "a.weight F8_E4M3 200,300; a.weight_scale F32 2,1,3,1", "fp8-f32-128x128"},
    {"fp8_pb_real", "", "a.weight F8_E4M3 256,384; a.weight_scale F32 2,3", "fp8-f32-128x128"},
    {"FP8_PB_WO", "", "a.b F8_E4M3 5,256,384; a.b_weight_scale F32 5,2,1,3,1", "fp8-f32-128x128"},
    {"MXFP8", ", \"group_size\": 32", "a.weight F8_E4M3 256,384; a.weight_scale U8 256,12", "mxfp8"},
    {"MXFP8", "", "a.weight F8_E4M3 256,384; a.weight_scale U8 256,12", "mxfp8"},
    {"NVFP4", ", \"group_size\": 16",
     "a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32; a.input_scale F32", "nvfp4"},
    {"NVFP4", "",
     "a.b U8 4,256,192; a.b_weight_scale F8_E4M3 4,256,24; a.b_weight_scale_2 F32 4; a.b_input_scale F32 1",
     "nvfp4"},
    {"W4A16_NVFP4", ", \"group_size\": 16",
     "a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32", "nvfp4"},
    {"NVFP4_AWQ", "", "a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32", "nvfp4"},
    {"W4A8_NVFP4_FP8", ", \"group_size\": 32",
     "a.weight U8 256,192; a.weight_scale F8_E4M3 256,12; a.weight_scale_2 F32", "fp4-e4m3-1x32"},
    {"W4A8_NVFP4_FP8", ", \"group_size\": 16",
     "a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32", "nvfp4"},
    {"W4A8_MXFP4_FP8", ", \"group_size\": 32", "a.weight U8 256,192; a.weight_scale U8 256,12", "mxfp4"},
    {"mxfp4", "", "a.weight U8 256,192; a.weight_scale U8 256,12", "mxfp4"},
    {"W8A8_SQ_PER_CHANNEL", "", "a.weight I8 256,384; a.weight_scale F32 256; a.input_scale F32",
     "int8-channel"},
    {"W8A16", "", "a.weight I8 256,384; a.weight_scale F32 256", "int8-channel"},
};

static void check_row(struct hand *h, size_t i)
{
    hand_read(h);
    cr_assert_eq(h->g.n, 1);
    cr_assert_str_eq(h->g.convention->name, "modelopt");
    cr_assert_str_eq(h->g.g->scheme->name, rows[i].scheme, "row %zu: %s", i, h->g.g->scheme->name);
    cr_assert_not(h->g.g->global_divides);
    for (size_t k = 0; k < h->m.n; k++)
        cr_assert_neq(h->g.part[k], PART_PLAIN, "row %zu: '%s' is left", i, h->m.t[k].name);
    hand_drop(h);
}

Test(modelopt, every_algorithm_in_both_files)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        struct hand h;
        snprintf(text, sizeof text, HF("\"%s\"%s"), rows[i].algo, rows[i].more);
        hand_make(&h, rows[i].tensors, NULL, "modelopt", text);
        check_row(&h, i);
        hand_make(&h, rows[i].tensors, "{}", NULL, text); /* by what it says alone */
        check_row(&h, i);
        snprintf(text, sizeof text, CONFIG("\"%s\"%s"), rows[i].algo, rows[i].more);
        hand_make(&h, rows[i].tensors, text, NULL, NULL);
        check_row(&h, i);
    }
}

Test(modelopt, group_size_of_config_groups)
{
    struct hand h;
    hand_make(&h, "a.weight U8 256,192; a.weight_scale F8_E4M3 256,12; a.weight_scale_2 F32",
              CONFIG("\"NVFP4\", \"config_groups\": {\"group_0\": {\"weights\": {\"group_size\": 32}}}"),
              NULL, NULL);
    hand_read(&h);
    cr_assert_str_eq(h.g.g->scheme->name, "fp4-e4m3-1x32");
    hand_drop(&h);
}

#define MIXED(layers) "\"MIXED_PRECISION\", \"quantized_layers\": {" layers "}"
static const char mixed_tensors[] = "l.q_proj.weight F8_E4M3 64,64; l.q_proj.weight_scale F32;"
                                    "l.mlp.experts.0.up.weight U8 64,32; l.mlp.experts.0.up.weight_scale "
                                    "F8_E4M3 64,4; l.mlp.experts.0.up.weight_scale_2 F32;"
                                    "l.mlp.gate.weight BF16 4,64";

Test(modelopt, mixed_precision_goes_by_module_and_what_is_above_it)
{
    struct hand h;
    hand_make(&h, mixed_tensors, NULL, "modelopt",
              HF(MIXED("\"l.q_proj\": {\"quant_algo\": \"FP8\"}, \"l.mlp.experts\": {\"quant_algo\": "
                       "\"NVFP4\", \"group_size\": 16}")));
    hand_read(&h);
    cr_assert_eq(h.g.n, 2);
    cr_assert_str_eq(hand_group(&h, "l.q_proj.weight")->scheme->name, "fp8-tensor");
    cr_assert_str_eq(hand_group(&h, "l.mlp.experts.0.up.weight_scale_2")->scheme->name, "nvfp4");
    cr_assert_eq(hand_part(&h, "l.mlp.gate.weight"), PART_PLAIN);
    hand_drop(&h);

    hand_make(&h, mixed_tensors, CONFIG(MIXED("\"l.q_proj\": {\"quant_algo\": \"FP8\"}")), NULL, NULL);
    hand_refused(&h, "'l.mlp.experts.0.up.weight' is U8 with a scale", "declares no quant_algo for it");
    hand_drop(&h);
    hand_make(&h, mixed_tensors, CONFIG(MIXED("\"l\": {\"quant_algo\": \"INT3\"}")), NULL, NULL);
    hand_refused(&h, "quant_algo 'INT3' of l", "not read by this version");
    hand_drop(&h);
    hand_make(&h, mixed_tensors, CONFIG("\"MIXED_PRECISION\""), NULL, NULL);
    hand_refused(&h, "config.json: quant_algo MIXED_PRECISION", "without quantized_layers");
    hand_drop(&h);
}

/* ---- KV caches ------------------------------------------------------------------ */
#define KV "k_proj.weight BF16 8,8; k_proj.k_scale F32; v_proj.v_scale F32; v_proj.v_bias F32 8"

static void check_cache(const char *config, const char *scheme)
{
    struct hand h;
    hand_make(&h, KV, config, NULL, NULL);
    hand_read(&h);
    cr_assert_eq(h.g.n, 0);
    cr_assert_eq(h.g.convention != NULL, scheme != NULL);
    for (size_t i = 1; i < h.m.n; i++) {
        cr_assert_eq(h.g.part[i], scheme ? PART_AUX : PART_PLAIN);
        cr_assert_eq(grouping_cache(&h.g, i), scheme != NULL);
        if (scheme)
            cr_assert_str_eq(h.g.g[h.g.group[i]].scheme->name, scheme);
    }
    cr_assert_not(grouping_cache(&h.g, 0));
    hand_drop(&h);
}

Test(modelopt, scales_of_a_cache_belong_to_no_weight)
{
    check_cache(CONFIG("null, \"kv_cache_scheme\": {\"num_bits\": 8, \"type\": \"float\"}"), "fp8-tensor");
    check_cache(CONFIG("null, \"kv_cache_scheme\": \"NVFP4\""), "nvfp4");
    check_cache(CONFIG("null, \"kv_cache_quant_algo\": \"INT8\""), "int8-tensor");
    check_cache(CONFIG("null"), NULL); /* undeclared, they are tensors like others */
}

/* ---- what must be refused ---------------------------------------------------------- */
static void refused(const char *tensors, const char *config, const char *text1, const char *text2)
{
    struct hand h;
    hand_make(&h, tensors, config, NULL, NULL);
    hand_refused(&h, text1, text2);
    hand_drop(&h);
}

Test(modelopt, contradictions_are_refused)
{
    static const char fp8[] = "a.weight F8_E4M3 256,384; a.weight_scale F32";
    static const char fp4[] = "a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32";
    refused(fp8, CONFIG("\"W4A16_AWQ\""), "quant_algo 'W4A16_AWQ'", "not read by this version");
    refused(fp8, CONFIG("\"NVFP4_SVD\""), "quant_algo 'NVFP4_SVD'", "not read by this version");
    refused(fp8, CONFIG("null"), "'a.weight' is F8_E4M3 with a scale", "declares no quant_algo");
    refused(fp8, CONFIG("\"NVFP4\""), "'a.weight' is F8_E4M3", "calls it 'NVFP4'");
    refused(fp4, CONFIG("\"FP8\""), "'a.weight' is U8", "calls it 'FP8'");
    refused(fp4, CONFIG("\"NVFP4\", \"group_size\": 32"), "'a.weight_scale' is [256,24]",
            "per 1 x 32 block needs [256,12]");
    refused(fp4, CONFIG("\"NVFP4\", \"group_size\": -1"), "'a.weight'", "no size of a group");
    refused(fp4, CONFIG("\"NVFP4\", \"group_size\": \"16\""), "'a.weight'", "no size of a group");
    refused("a.weight U8 256,192; a.weight_scale F8_E4M3 256,24", CONFIG("\"NVFP4\""), "'a.weight'",
            "no scale tensor (looked for its name with _scale_2");
    refused("a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32 2", CONFIG("\"NVFP4\""),
            "'a.weight_scale_2' is [2]", "needs 1");
    refused("a.weight F8_E4M3 256,384; a.b F32", CONFIG("\"FP8\""), "'a.weight' F8_E4M3 [256,384]",
            "has no scale tensor");
    refused("a.weight F8_E4M3 256,384; a.weight_scale F32 256", CONFIG("\"FP8\""),
            "'a.weight_scale' is [256]", "needs [1]");
    refused("a.weight F8_E4M3 256,384; a.weight_scale F32 384", CONFIG("\"FP8_PER_CHANNEL_PER_TOKEN\""),
            "is [384]", "needs [256,1]");
    refused("a.weight F8_E4M3 256,384; a.weight_scale F32 3,1,2,1", CONFIG("\"FP8_PB_WO\""), "is [3,1,2,1]",
            "needs [2,3]");
    refused("a.weight F8_E4M3 256,384; a.weight_scale F32 2,3,1,1", CONFIG("\"FP8_PB_WO\""), "is [2,3,1,1]",
            "needs [2,3]");
    refused("a.weight F8_E4M3 256,384; a.weight_scale F32 1,2,1,3", CONFIG("\"FP8_PB_WO\""), "is [1,2,1,3]",
            "needs [2,3]");
    refused("a.weight F8_E4M3 256,384; a.weight_scale I32 256", CONFIG("\"FP8_PER_CHANNEL_PER_TOKEN\""),
            "is I32", "no dtype");
    refused("a.weight F8_E4M3 8,8; a.weight_scale F32; a.pre_quant_scale BF16 8", CONFIG("\"FP8\""),
            "'a.pre_quant_scale'", "'a.weight'");
    refused("a.weight U8 256,192; a.weight_scale F8_E4M3 256,24; a.weight_scale_2 F32; a.svdquant_lora_b "
            "BF16 256,16",
            CONFIG("\"NVFP4\""), "'a.svdquant_lora_b'", "not read by this version");
    refused("a.weight BF16 8,8; a.weight_scale F32", CONFIG("\"FP8\""), "'a.weight_scale'",
            "without a quantized weight");

    struct hand h; /* two files, two stories */
    hand_make(&h, fp8, NULL, NULL, HF("\"FP8\""));
    h.m.config = CONFIG("\"NVFP4\"");
    hand_refused(&h, "'FP8' in hf_quant_config.json", "'NVFP4' in config.json");
    h.m.config = CONFIG("\"fp8\"");
    hand_read(&h);
    hand_drop(&h);
    hand_make(&h, fp8, NULL, "modelopt", NULL);
    hand_refused(&h, "hf_quant_config.json is missing", "quant_method");
    hand_drop(&h);
}

/* ---- what is written ---------------------------------------------------------------- */
static size_t put(struct arena *mem, struct out_tensor *out, size_t n, const char *name, const char *scheme,
                  enum activation a)
{
    const struct convention *c = convention_find("modelopt");
    struct weight w = {name, 2, (uint64_t[]){64, 64}, scheme_find(scheme), a};
    struct err e = {0};
    size_t k = 0;
    cr_assert(c->accepts(w.scheme, a), "%s", scheme);
    cr_assert_eq(c->outputs(&w, mem, out + n, &k, &e), 0, "%s", e.msg);
    return n + k;
}

/* Both files, as one text each. */
static void expect(struct out_tensor *out, size_t n, const char *hf, const char *config)
{
    const struct convention *c = convention_find("modelopt");
    struct err e = {0};
    struct buf text = {0};
    char *said;
    out[n++] = (struct out_tensor){"lm_head.weight", DT_BF16, 2, {64, 64}, .part = PART_PLAIN};
    cr_assert_eq(c->description(out, n, &text, &e), 0, "%s", e.msg);
    cr_assert_str_eq(text.s, hf);
    cr_assert_eq(config_text("{\"a\": 1}", c, out, n, NULL, &said, &e), 0, "%s", e.msg);
    cr_assert_str_eq(said, config);
    free(said);
    buf_free(&text);
}

#define PRODUCER                                                                                             \
    "    \"producer\": {\n        \"name\": \"modelopt\",\n        \"version\": \"0.47.0\"\n    },\n"
#define SAID(text)                                                                                           \
    "{\"a\": 1, \"quantization_config\": {" text "\"producer\": {\"name\": \"modelopt\", \"version\": "      \
    "\"0.47.0\"}, \"quant_method\": \"modelopt\"}}"

Test(modelopt, the_files_are_those_of_the_exporter)
{
    struct arena mem = {0};
    struct out_tensor out[40];
    size_t n = put(&mem, out, 0, "l.q.weight", "fp8-tensor", ACTIVATION_STATIC);
    cr_assert_eq(n, 3);
    cr_assert_str_eq(out[1].name, "l.q.weight_scale");
    cr_assert_str_eq(out[2].name, "l.q.input_scale");
    cr_assert(out[1].rank == 0 && out[2].rank == 0 && out[1].dtype == DT_F32 && out[2].dtype == DT_F32);
    out[n++] =
        (struct out_tensor){"l.k.k_scale", DT_F32, .part = PART_AUX, .scheme = scheme_find("fp8-tensor")};
    expect(out, n,
           "{\n" PRODUCER "    \"quantization\": {\n        \"quant_algo\": \"FP8\",\n        "
                          "\"kv_cache_quant_algo\": \"FP8\",\n"
           "        \"exclude_modules\": [\n            \"lm_head\"\n        ]\n    }\n}\n",
           SAID("\"config_groups\": {\"group_0\": {\"input_activations\": {\"dynamic\": false, \"num_bits\": "
                "8, \"type\": "
                "\"float\"}, \"weights\": {\"dynamic\": false, \"num_bits\": 8, \"type\": \"float\"}, "
                "\"targets\": [\"Linear\"]}}, "
                "\"ignore\": [\"lm_head\"], \"quant_algo\": \"FP8\", \"kv_cache_scheme\": {\"dynamic\": "
                "false, \"num_bits\": 8, "
                "\"type\": \"float\"}, "));

    n = put(&mem, out, 0, "l.q.weight", "nvfp4", ACTIVATION_NONE);
    cr_assert_eq(n, 3);
    cr_assert(out[2].part == PART_GLOBAL && !out[2].divides && out[2].rank == 0);
    expect(out, n,
           "{\n" PRODUCER "    \"quantization\": {\n        \"quant_algo\": \"W4A16_NVFP4\",\n        "
                          "\"kv_cache_quant_algo\": null,\n"
           "        \"group_size\": 16,\n        \"exclude_modules\": [\n            \"lm_head\"\n        "
           "]\n    }\n}\n",
           SAID("\"config_groups\": {\"group_0\": {\"weights\": {\"dynamic\": false, \"num_bits\": 4, "
                "\"type\": \"float\", "
                "\"group_size\": 16}, \"targets\": [\"Linear\"]}}, \"ignore\": [\"lm_head\"], "
                "\"quant_algo\": \"W4A16_NVFP4\", "));

    n = put(&mem, out, 0, "l.q.weight", "fp8-channel", ACTIVATION_DYNAMIC);
    cr_assert(n == 2 && out[1].rank == 1 && out[1].dim[0] == 64);
    expect(out, n,
           "{\n" PRODUCER "    \"quantization\": {\n        \"quant_algo\": \"FP8_PER_CHANNEL_PER_TOKEN\",\n"
           "        \"kv_cache_quant_algo\": null,\n        \"exclude_modules\": [\n            "
           "\"lm_head\"\n        ]\n    }\n}\n",
           SAID("\"ignore\": [\"lm_head\"], \"quant_algo\": \"FP8_PER_CHANNEL_PER_TOKEN\", "));

    n = put(&mem, out, 0, "l.up.weight", "nvfp4", ACTIVATION_STATIC);
    n = put(&mem, out, n, "l.q.weight", "fp8-tensor", ACTIVATION_STATIC);
    expect(out, n,
           "{\n" PRODUCER "    \"quantization\": {\n        \"quant_algo\": \"MIXED_PRECISION\",\n        "
                          "\"kv_cache_quant_algo\": null,\n"
           "        \"quantized_layers\": {\n            \"l.q\": {\n                \"quant_algo\": "
           "\"FP8\"\n            },\n"
           "            \"l.up\": {\n                \"quant_algo\": \"NVFP4\",\n                "
           "\"group_size\": 16\n            }\n"
           "        }\n    }\n}\n",
           SAID("\"config_groups\": {\"group_0\": {\"input_activations\": {\"dynamic\": false, \"num_bits\": "
                "8, \"type\": "
                "\"float\"}, \"weights\": {\"dynamic\": false, \"num_bits\": 8, \"type\": \"float\"}, "
                "\"targets\": [\"l.q\"]}, "
                "\"group_1\": {\"input_activations\": {\"dynamic\": false, \"num_bits\": 4, \"type\": "
                "\"float\", \"group_size\": "
                "16}, \"weights\": {\"dynamic\": false, \"num_bits\": 4, \"type\": \"float\", "
                "\"group_size\": 16}, \"targets\": "
                "[\"l.up\"]}}, \"quantized_layers\": {\"l.q\": {\"quant_algo\": \"FP8\"}, \"l.up\": "
                "{\"quant_algo\": \"NVFP4\", "
                "\"group_size\": 16}}, \"ignore\": [], \"quant_algo\": \"MIXED_PRECISION\", "));
    arena_free(&mem);
}

Test(modelopt, types_of_a_cache_come_back)
{
    static const struct {
        const char *scheme, *name, *algo;
    } caches[] = {{"fp8-tensor", "l.k.k_scale", "\"FP8\""},
                  {"int8-tensor", "l.k.k_scale", "\"INT8\""},
                  {"nvfp4", "l.k.k_scale", "\"NVFP4\""},
                  {"nvfp4", "l.k.k_bias", "\"NVFP4_AFFINE\""}};
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        struct arena mem = {0};
        struct out_tensor out[8];
        struct buf text = {0};
        struct err e = {0};
        size_t n = put(&mem, out, 0, "l.q.weight", "mxfp8", ACTIVATION_DYNAMIC);
        out[n++] = (struct out_tensor){caches[i].name, DT_F32, .part = PART_AUX,
                                       .scheme = scheme_find(caches[i].scheme)};
        out[n++] = (struct out_tensor){"l.v.v_scale", DT_F32, .part = PART_AUX,
                                       .scheme = scheme_find(caches[i].scheme)};
        cr_assert_eq(convention_find("modelopt")->description(out, n, &text, &e), 0, "%s", e.msg);
        const char *algo = strstr(text.s, "\"kv_cache_quant_algo\": ");
        cr_assert(algo && !strncmp(algo + strlen("\"kv_cache_quant_algo\": "), caches[i].algo,
                                   strlen(caches[i].algo)),
                  "%s", text.s);
        buf_free(&text);
        arena_free(&mem);
    }
}

Test(modelopt, what_no_server_knows_is_not_written)
{
    const struct convention *c = convention_find("modelopt");
    static const char *const no[] = {"fp8-f32-128x128", "fp8-ue8m0-128x128", "fp8-bf16-tensor",
                                     "int8-channel",    "fp4-e4m3-1x32",     "hif8"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        for (enum activation a = ACTIVATION_DYNAMIC; a <= ACTIVATION_NONE; a++)
            cr_assert_not(c->accepts(scheme_find(no[i]), a), "%s", no[i]);
    cr_assert_not(
        c->accepts(scheme_find("nvfp4"), ACTIVATION_DYNAMIC)); /* its input_scale is what makes it NVFP4 */
}

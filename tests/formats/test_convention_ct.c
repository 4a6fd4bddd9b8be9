/* What compressed-tensors says of a scheme: config.json in the words of the
 * presets of llm-compressor (compressed-tensors 0.20, quant_scheme.py), and what
 * of a source's words stays or is refused. */
#include "formats/conventions/parts.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define INT_TOKEN "{'dynamic':true,'group_size':null,'num_bits':8,'strategy':'token','symmetric':true,'type':'int'}"
#define MX(bits, dynamic)                                                                                    \
    "{'dynamic':" dynamic ",'group_size':32,'num_bits':" bits                                                \
    ",'scale_dtype':'torch.uint8','strategy':'group',"                                                       \
    "'symmetric':true,'type':'float'}"
#define NV "{'dynamic':false,'group_size':16,'num_bits':4,'scale_dtype':'torch.float8_e4m3fn','strategy':'tensor_group'," \
    "'symmetric':true,'type':'float'}"
#define INT4(symmetric)                                                                                      \
    "{'dynamic':false,'group_size':128,'num_bits':4,'strategy':'group','symmetric':" symmetric               \
    ",'type':'int'}"
#define FP8(strategy)                                                                                        \
    "{'dynamic':false,'group_size':null,'num_bits':8,'strategy':'" strategy                                  \
    "','symmetric':true,'type':'float'}"
#define TOKEN "{'dynamic':true,'group_size':null,'num_bits':8,'strategy':'token','symmetric':true,'type':'float'}"

static const struct {
    const char *scheme;
    enum activation activation;
    const char *format, *weights, *activations;
} preset[] = {
    {"int8-channel", ACTIVATION_DYNAMIC, "int-quantized", /* W8A8 */
     "{'dynamic':false,'group_size':null,'num_bits':8,'strategy':'channel','symmetric':true,'type':'int'}",
     INT_TOKEN},
    {"int4-g128", ACTIVATION_NONE, "pack-quantized", INT4("true"), "null"}, /* W4A16 */
    {"int4-g128-asym", ACTIVATION_NONE, "pack-quantized", INT4("false"), "null"}, /* W4A16_ASYM */
    {"int8-g128", ACTIVATION_NONE, "pack-quantized", /* W8A16 */
     "{'dynamic':false,'group_size':128,'num_bits':8,'strategy':'group','symmetric':true,'type':'int'}",
     "null"},
    {"fp8-tensor", ACTIVATION_STATIC, "float-quantized", FP8("tensor"), /* FP8 */
     "{'dynamic':false,'group_size':null,'num_bits':8,'observer':'static_minmax','strategy':'tensor','"
     "symmetric':true,"
     "'type':'float'}"},
    {"fp8-channel", ACTIVATION_DYNAMIC, "float-quantized", FP8("channel"), TOKEN}, /* FP8_DYNAMIC */
    {"fp8-f32-128x128", ACTIVATION_DYNAMIC, "float-quantized", /* FP8_BLOCK */
     "{'block_structure':[128,128],'dynamic':false,'group_size':null,'num_bits':8,'strategy':'block','"
     "symmetric':true,"
     "'type':'float'}",
     "{'dynamic':true,'group_size':128,'num_bits':8,'strategy':'group','symmetric':true,'type':'float'}"},
    {"nvfp4", ACTIVATION_STATIC, "nvfp4-pack-quantized", NV, /* NVFP4 */
     "{'dynamic':'local','group_size':16,'num_bits':4,'observer':'static_minmax','scale_dtype':'torch.float8_"
     "e4m3fn',"
     "'strategy':'tensor_group','symmetric':true,'type':'float'}"},
    {"nvfp4", ACTIVATION_NONE, "nvfp4-pack-quantized", NV, "null"}, /* NVFP4A16 */
    {"mxfp4", ACTIVATION_DYNAMIC, "mxfp4-pack-quantized", MX("4", "false"), MX("4", "true")}, /* MXFP4 */
    {"mxfp4", ACTIVATION_NONE, "mxfp4-pack-quantized", MX("4", "false"), "null"}, /* MXFP4A16 */
    {"mxfp8", ACTIVATION_DYNAMIC, "mxfp8-quantized", MX("8", "false"), MX("8", "true")}, /* MXFP8 */
    {"mxfp8", ACTIVATION_NONE, "mxfp8-quantized", MX("8", "false"), "null"}, /* MXFP8A16 */
    {"fp8-channel", ACTIVATION_NONE, "naive-quantized", FP8("channel"), "null"},
    /* no preset, but a place that vLLM has for it */
    {"int8-channel", ACTIVATION_STATIC, "int-quantized",
     "{'dynamic':false,'group_size':null,'num_bits':8,'strategy':'channel','symmetric':true,'type':'int'}",
     "{'dynamic':false,'group_size':null,'num_bits':8,'observer':'static_minmax','strategy':'tensor','"
     "symmetric':true,"
     "'type':'int'}"},
};

static json_t *words(const char *text)
{
    char *s = strdup(text);
    for (char *p = s; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *x = json_loads(s, JSON_DECODE_ANY, NULL);
    cr_assert_not_null(x, "%s", s);
    free(s);
    return x;
}

/* quantization_config of a model with one such weight, made from this source. */
static json_t *config_of(const char *scheme, enum activation a, const char *source, const char *other,
                         struct arena *mem)
{
    static const uint64_t dim[] = {256, 256};
    const struct convention *c = convention_find("compressed-tensors");
    const struct weight w = {"model.a.weight", 2, dim, scheme_find(scheme), a};
    struct out_tensor out[OUT_PARTS + 1];
    struct err e = {0};
    char *text;
    size_t n = 0;
    cr_assert(c->accepts(w.scheme, a), "%s", scheme);
    cr_assert_eq(c->outputs(&w, mem, out, &n, &e), 0, "%s", e.msg);
    if (other)
        out[n++] = (struct out_tensor){.name = other, .dtype = DT_F32, .rank = 1, .dim = {1}};
    cr_assert_eq(config_text(source, c, out, n, NULL, &text, &e), 0, "%s", e.msg);
    json_t *root = json_loads(text, 0, NULL), *q = json_incref(json_object_get(root, "quantization_config"));
    json_decref(root);
    free(text);
    return q;
}

Test(convention_ct, presets)
{
    for (size_t i = 0; i < sizeof preset / sizeof *preset; i++) {
        struct arena mem = {0};
        json_t *q = config_of(preset[i].scheme, preset[i].activation, NULL, NULL, &mem);
        json_t *want = json_pack("{s{s[s] so so sn ss}}", "group_0", "targets", "Linear", "weights",
                                 words(preset[i].weights), "input_activations", words(preset[i].activations),
                                 "output_activations", "format", preset[i].format);
        char *got = json_dumps(json_object_get(q, "config_groups"), JSON_SORT_KEYS);
        cr_assert(json_equal(json_object_get(q, "config_groups"), want), "%s: %s", preset[i].scheme, got);
        free(got);
        json_decref(want);
        json_object_del(q, "config_groups");
        want = words(
            "{'format':'','global_compression_ratio':null,'ignore':[],'kv_cache_scheme':null,'quant_method':"
            "'compressed-tensors','quantization_status':'compressed','sparsity_config':{},'transform_config':"
            "{},"
            "'version':'0.20.0'}");
        json_object_set_new(want, "format", json_string(preset[i].format));
        cr_assert(json_equal(q, want));
        json_decref(want);
        json_decref(q);
        arena_free(&mem);
    }
}

/* What is done to activations when nobody says: they cost more than weights of 4 bits do. */
Test(convention_ct, activations_by_default)
{
    static const struct { const char *scheme; enum activation a; } want[] = {
        {"mxfp8", ACTIVATION_DYNAMIC}, {"fp8-channel", ACTIVATION_DYNAMIC}, {"int8-channel", ACTIVATION_DYNAMIC},
        {"mxfp4", ACTIVATION_NONE},    {"nvfp4", ACTIVATION_NONE},          {"int4-g128", ACTIVATION_NONE},
        {"int8-g128", ACTIVATION_NONE}};
    enum activation a;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        cr_assert(convention_takes(convention_find("compressed-tensors"), scheme_find(want[i].scheme), &a));
        cr_assert_eq(a, want[i].a, "%s", want[i].scheme);
    }
    cr_assert(convention_takes(convention_find("ascend-v1"), scheme_find("mxfp4"), &a));
    cr_assert_eq(a, ACTIVATION_DYNAMIC); /* there is no other there */
    static const char *const none[] = {"int8-channel-asym", "int4-tensor", "fp8-f32-1x32"};
    cr_assert(!convention_find("compressed-tensors")->accepts(scheme_find(none[0]), ACTIVATION_DYNAMIC));
    for (size_t i = 1; i < 3; i++)
        cr_assert(!convention_takes(convention_find("compressed-tensors"), scheme_find(none[i]), &a), "%s",
                  none[i]);
}

/* The scales of the KV cache are tensors of their own, so what is said of them stays; without them it goes.
 */
Test(convention_ct, the_kv_cache)
{
    static const char source[] =
        "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"kv_cache_scheme\": "
        "{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"tensor\"}}}";
    static const char *const name[] = {"model.self_attn.k_scale", "model.self_attn.k_proj.output_scale",
                                       "model.norm.weight", NULL};
    for (int i = 0; i < 4; i++) {
        struct arena mem = {0};
        json_t *q = config_of("int8-channel", ACTIVATION_DYNAMIC, source, name[i], &mem);
        const json_t *kv = json_object_get(q, "kv_cache_scheme");
        cr_assert(i < 2 ? json_integer_value(json_object_get(kv, "num_bits")) == 8 : json_is_null(kv),
                  "row %d", i);
        json_decref(q);
        arena_free(&mem);
    }
}

/* ---- reading ------------------------------------------------------------------------- */
static struct model m;
static struct err err;

static void add(const char *name, enum dtype dtype, uint64_t rows, uint64_t cols)
{
    if (!m.t)
        m.t = arena_array(&m.mem, 16, sizeof *m.t, &err);
    m.path = "test";
    m.t[m.n] = (struct tensor){.name = name, .dtype = dtype, .rank = cols ? 2 : 1, .dim = {rows, cols}};
    cr_assert_eq(map_add(&m.by_name, name, m.n++, &err), 0);
}

static void drop(void)
{
    map_free(&m.by_name);
    arena_free(&m.mem);
    m = (struct model){0};
}

#define SECTION(more) "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\"," more "}}"
#define GROUPS(weights) "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":" weights "}}"
#define ROW_FP8 "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\",\"symmetric\":true}"

Test(convention_ct, left_over_from_calibration)
{
    static const char *const status[] = {"initialized", "calibration", "frozen", "decompressed",
                                         "compressed"};
    char config[512];
    struct grouping g;
    for (int i = 0; i < 5; i++) {
        snprintf(config, sizeof config,
                 SECTION("\"quantization_status\":\"%s\",\"format\":\"float-quantized\"," GROUPS(ROW_FP8)),
                 status[i]);
        m.config = config;
        add("a.weight", DT_BF16, 64, 64); /* never replaced: what is beside it says nothing */
        add("a.weight_scale", DT_BF16, 64, 1);
        add("a.weight_zero_point", DT_BF16, 64, 1);
        add("a.input_scale", DT_F32, 1, 0);
        add("b.weight", DT_F8_E4M3, 64, 64); /* compressed all the same, as old files are that say "frozen" */
        add("b.weight_scale", DT_BF16, 64, 1);
        add("b.input_scale", DT_F32, 1, 0);
        const int r = grouping_read(&m, true, &g, &err);
        if (i == 4) { /* a contradiction */
            cr_assert_eq(r, -1);
            cr_assert(strstr(err.msg, "'a.weight_scale'") && strstr(err.msg, "without a quantized weight"),
                      "%s", err.msg);
        } else {
            static const enum part want[] = {PART_PLAIN,  PART_LEFT,  PART_LEFT, PART_LEFT,
                                             PART_WEIGHT, PART_SCALE, PART_AUX};
            cr_assert_eq(r, 0, "%s", err.msg);
            cr_assert_eq(g.n, 1);
            for (size_t k = 0; k < m.n; k++) {
                cr_assert_eq(g.part[k], want[k], "%s: %s", status[i], m.t[k].name);
                cr_assert_eq(grouping_has(&g, k), k > 3);
            }
        }
        drop();
    }
}

Test(convention_ct, what_is_refused)
{
    static const struct { const char *config, *word;
    } bad[] = {
        {SECTION("\"transform_config\":{\"config_groups\":{\"u\":{\"type\":\"hadamard\"}}},\"format\":"
                 "\"float-quantized\"," GROUPS(ROW_FP8)),
         "rotated"},
        {SECTION("\"format\":\"sparse-34-bitmask\"," GROUPS(ROW_FP8)), "'sparse-34-bitmask'"},
        {SECTION("\"sparsity_config\":{\"format\":\"2:4\"},\"format\":\"float-quantized\"," GROUPS(ROW_FP8)),
         "'2:4'"},
        {SECTION("\"format\":\"float-quantized\""), "without config_groups"},
    };
    struct grouping g;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        m.config = bad[i].config;
        add("b.weight", DT_F8_E4M3, 64, 64);
        add("b.weight_scale", DT_BF16, 64, 1);
        cr_assert_eq(grouping_read(&m, true, &g, &err), -1, "row %zu", i);
        cr_assert(err.kind == ERR_INPUT && strstr(err.msg, bad[i].word), "row %zu: %s", i, err.msg);
        cr_assert_eq(grouping_read(&m, false, &g, &err), 0, "ls must list it: %s", err.msg);
        drop();
    }
    m.config = SECTION(
        "\"transform_config\":{},\"sparsity_config\":{},\"format\":\"float-quantized\"," GROUPS(ROW_FP8));
    add("b.weight", DT_F8_E4M3, 64, 64);
    add("b.weight_scale", DT_BF16, 64, 1);
    cr_assert_eq(grouping_read(&m, true, &g, &err), 0, "%s", err.msg);
    drop();
}

/* Weights of 4 bits that lie in bytes (W4A8), zero points of every shape that is wrong. */
Test(convention_ct, integers_in_bytes)
{
    static const char config[] = SECTION("\"format\":\"int-quantized\"," GROUPS(
        "{\"num_bits\":4,\"type\":\"int\",\"strategy\":\"group\",\"group_size\":32,\"symmetric\":false}"));
    static const struct { enum dtype t; uint64_t rows, cols; const char *word;
    } point[] = {{DT_I8, 64, 2, NULL},     {DT_U8, 64, 2, NULL},
                 {DT_F32, 64, 2, NULL},    {DT_I32, 16, 2, "no dtype"},
                 {DT_I8, 64, 1, "64,1"},   {DT_I8, 1, 2, "[1,2]"},
                 {DT_BF16, 64, 2, "BF16"}, {DT_I32, 64, 2, "no dtype"}};
    struct grouping g;
    for (size_t i = 0; i < sizeof point / sizeof *point; i++) {
        m.config = config;
        add("a.weight", DT_I8, 64, 64);
        add("a.weight_scale", DT_BF16, 64, 2);
        add("a.weight_zero_point", point[i].t, point[i].rows, point[i].cols);
        const int r = grouping_read(&m, true, &g, &err);
        cr_assert_eq(r, point[i].word ? -1 : 0, "row %zu: %s", i, err.msg);
        if (point[i].word)
            cr_assert(strstr(err.msg, point[i].word), "row %zu: %s", i, err.msg);
        else
            cr_assert_str_eq(g.g->scheme->name, "int8-bf16-g32-asym");
        drop();
    }
}

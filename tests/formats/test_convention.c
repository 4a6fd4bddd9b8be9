/* What a convention writes, grouping_read must read back; what contradicts
 * itself must be refused with a sentence that names tensor and shapes. */
#include "formats/convention.h"
#include "tests/hand.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- models made by hand ------------------------------------------------------ */
static struct err err;

static void add(struct model *m, const char *name, enum dtype dtype, uint64_t rows, uint64_t cols)
{
    hand_add(m, name, dtype, 2, (uint64_t[]){rows, cols});
}

/* ---- round trip ----------------------------------------------------------------- */
static const char source[] =
    "{\n"
    "  \"architectures\": [\"XForCausalLM\"],\n"
    "  \"rms_norm_eps\": 1e-05,\n"
    "  \"rope_theta\": 10000.0,\n"
    "  \"limits\": [0.0, Infinity, -Infinity, NaN, \"NaN, Infinity\"],\n"
    "  \"torch_dtype\": \"bfloat16\"\n"
    "}\n";

enum { NWEIGHTS = 3, NOUT = OUT_PARTS * NWEIGHTS + 2 };
static const struct {
    const char *name;
    uint8_t rank;
    uint64_t dim[3];
} weights[NWEIGHTS] = {
    {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", 2, {576, 7168}},
    {"model.layers.0.mlp.experts.gate_up_proj", 3, {4, 192, 160}},
    {"model.layers.0.mlp.experts.0.down_proj.weight", 2, {130, 33}},
};

/* Does the convention have a place for this weight?  GPT-OSS has one for stacks of experts; those of Cambricon and Hygon
 * have 4 bits for experts only, Hygon's nothing else for them. */
static bool has_place(const struct convention *c, const struct scheme *s, size_t i)
{
    const bool expert = strstr(weights[i].name, ".experts.") != NULL;
    if (!strcmp(c->name, "slimquant-w4a8"))
        return (s->bits == 4) == expert;
    if (!strcmp(c->name, "mlu-smoothquant"))
        return weights[i].rank == 2 && (s->bits == 8 || expert);
    return !c->inputs_first || weights[i].rank == 3;
}

/* Two codes of 4 bits share a byte, so their rows are even. */
static void shape_of(size_t i, const struct scheme *s, uint64_t dim[3])
{
    memcpy(dim, weights[i].dim, sizeof weights[i].dim);
    uint64_t *last = &dim[weights[i].rank - 1];
    *last += s->bits < 8 && *last % 2;
}

static size_t all_outputs(const struct convention *c, const struct scheme *s, struct arena *mem,
                          struct out_tensor *out)
{
    size_t n = 0;
    for (size_t i = 0; i < NWEIGHTS; i++) {
        if (!has_place(c, s, i))
            continue;
        size_t k = 0;
        uint64_t dim[3];
        struct weight w = {weights[i].name, weights[i].rank, dim, s, ACTIVATION_NONE};
        shape_of(i, s, dim);
        cr_assert(convention_takes(c, s, &w.activation));
        cr_assert_eq(c->outputs(&w, mem, out + n, &k, &err), 0, "%s", err.msg);
        cr_assert(k >= 1 && k <= OUT_PARTS);
        cr_assert_str_eq(out[n].weight, weights[i].name);
        cr_assert_eq(out[n].part, PART_WEIGHT);
        cr_assert(s->scale == DT_COUNT || out[n + 1].part == PART_SCALE);
        n += k;
    }
    out[n++] = (struct out_tensor){"lm_head.weight", DT_BF16, 2, {512, 256}, .part = PART_PLAIN};
    out[n++] = (struct out_tensor){"model.norm.weight", DT_BF16, 1, {256}, .part = PART_PLAIN};
    return n;
}

static void check_round_trip(struct model *m, const struct convention *c, const struct scheme *s,
                             const struct out_tensor *out, size_t n)
{
    struct grouping g;
    cr_assert_eq(grouping_read(m, true, &g, &err), 0, "%s %s: %s", c->name, s->name, err.msg);
    cr_assert_eq(g.convention, c, "%s read as another", c->name);
    size_t count = 0;
    for (size_t i = 0; i < NWEIGHTS; i++)
        count += has_place(c, s, i);
    cr_assert_eq(g.n, count, "%s %s: %zu weights", c->name, s->name, g.n);
    for (size_t k = 0; k < n; k++) {
        const size_t i = hand_index(m, out[k].name);
        cr_assert_eq(g.part[i], out[k].part, "%s %s: '%s' is part %d", c->name, s->name, out[k].name, g.part[i]);
        if (out[k].part == PART_PLAIN)
            continue;
        const struct group *x = &g.g[g.group[i]];
        cr_assert_eq(x->scheme, s, "%s: %s read as %s", c->name, s->name, x->scheme->name);
        cr_assert_str_eq(x->name, out[k].weight);
        if (out[k].part != PART_AUX)
            cr_assert_eq(x->of[out[k].part], i);
        if (out[k].part == PART_WEIGHT) {
            cr_assert_eq(x->view.elem, s->elem);
            cr_assert_eq(x->view.rank, out[k].view.rank);
            cr_assert_arr_eq(x->view.dim, out[k].view.dim, x->view.rank * sizeof *x->view.dim);
            cr_assert_eq(x->view.packing, out[k].view.packing);
        }
        if (out[k].part == PART_GLOBAL)
            cr_assert_eq(x->global_divides, out[k].divides);
    }
}

/* Side files in metadata, as a pipe carries them, with and without the name. */
static void round_trip(const struct convention *c, const struct scheme *s, bool named)
{
    struct model m = {0};
    struct out_tensor out[NOUT];
    hand_grow(&m, NOUT);
    size_t n = all_outputs(c, s, &m.mem, out);
    hand_add_out(&m, out, n);

    char *text = NULL;
    cr_assert_eq(config_text(source, c, out, n, NULL, &text, &err), 0, "%s", err.msg);
    struct buf description = {0};
    if (c->description)
        cr_assert_eq(c->description(out, n, &description, &err), 0, "%s", err.msg);
    struct meta kv[3] = {{"octavo.config", text}};
    m.kv = kv;
    m.nkv = 1;
    if (named)
        kv[m.nkv++] = (struct meta){"octavo.convention", c->name};
    if (description.s)
        kv[m.nkv++] = (struct meta){"octavo.description", description.s};
    m.config = text;
    check_round_trip(&m, c, s, out, n);

    /* Undone, the text is the source again. */
    char *back = NULL;
    cr_assert_eq(config_text(text, NULL, NULL, 0, NULL, &back, &err), 0, "%s", err.msg);
    cr_assert_str_eq(back, source);
    free(back);
    free(text);
    buf_free(&description);
    hand_drop_model(&m);
}

/* A shape that a tensor holds cannot be read of a model that has no data: tests/cli does. Rows that share bytes are another
 * tensor when they are read: test_ascend.c. */
static bool has_shape_tensor(const struct convention *c, const struct scheme *s, enum activation a)
{
    struct arena mem = {0};
    struct out_tensor out[OUT_PARTS];
    size_t n = 0;
    struct weight w = {has_place(c, s, NWEIGHTS - 1) ? weights[NWEIGHTS - 1].name : "w", c->inputs_first ? 3 : 2, (uint64_t[]){64, 64, 64}, s, a};
    bool found = false;
    cr_assert_eq(c->outputs(&w, &mem, out, &n, &err), 0, "%s", err.msg);
    for (size_t i = 0; i < n; i++)
        found |= out[i].part == PART_SHAPE || out[i].view.packing == PACK_ROWS;
    arena_free(&mem);
    return found;
}

Test(convention, every_scheme_makes_the_round_trip)
{
    size_t trips = 0;
    enum activation a;
    for (size_t i = 0; i < convention_count; i++)
        for (size_t k = 0; k < scheme_count; k++)
            if (strcmp(convention_table[i]->name, "gguf") /* whose weights are plain tensors to a reader */
                && convention_takes(convention_table[i], &scheme_table[k], &a)
                && !has_shape_tensor(convention_table[i], &scheme_table[k], a)) {
                round_trip(convention_table[i], &scheme_table[k], false);
                round_trip(convention_table[i], &scheme_table[k], true);
                trips++;
            }
    cr_assert_geq(trips, 30);
}

Test(convention, names_and_defaults)
{
    enum activation a;
    for (size_t i = 0; i < convention_count; i++) {
        const struct convention *c = convention_table[i];
        cr_assert_eq(convention_find(c->name), c);
        cr_assert(c->title && c->stem && c->detect && c->pair);
        cr_assert(!c->accepts == !c->outputs && !c->accepts == !c->config && !c->description_name == !c->description);
    }
    cr_assert_null(convention_find("ggml"));
    for (size_t i = 0; i < scheme_count; i++)
        cr_assert(convention_takes(convention_default(&scheme_table[i]), &scheme_table[i], &a), "%s",
                  scheme_table[i].name);
    cr_assert_str_eq(convention_default(scheme_find(SCHEME_DEFAULT))->name, "deepseek");
    cr_assert_str_eq(convention_default(scheme_find("hif8"))->name, "octavo");
}

Test(convention, only_matrices_are_quantized)
{
    struct arena mem = {0};
    struct out_tensor out[OUT_PARTS];
    for (size_t i = 0; i < convention_count; i++)
        for (size_t k = 0; k < scheme_count; k++) {
            size_t n = 0;
            struct weight w = {"model.norm.weight", 1, (uint64_t[]){64}, &scheme_table[k], ACTIVATION_NONE};
            if (convention_takes(convention_table[i], &scheme_table[k], &w.activation))
                cr_assert_eq(-1, convention_table[i]->outputs(&w, &mem, out, &n, &err));
        }
    cr_assert(strstr(err.msg, "model.norm.weight"));
    arena_free(&mem);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

Test(convention, ascend_description_is_found_beside_the_file)
{
    const struct convention *c = convention_find("ascend-v1");
    const struct scheme *s = scheme_find("mxfp8");
    char dir[] = "/tmp/octavo-test-XXXXXX", path[256];
    cr_assert_not_null(mkdtemp(dir));
    struct model m = {0};
    struct out_tensor out[NOUT];
    hand_grow(&m, NOUT);
    size_t n = all_outputs(c, s, &m.mem, out);
    hand_add_out(&m, out, n);
    struct buf d = {0};
    cr_assert_eq(c->description(out, n, &d, &err), 0);
    cr_assert(strstr(d.s, "\"lm_head.weight\": \"FLOAT\""));
    cr_assert(strstr(d.s, "\"model_quant_type\": \"W8A8_MXFP8\""));
    cr_assert(strstr(d.s, "\"group_size\": 32"));
    cr_assert(strstr(d.s, "kv_a_proj_with_mqa.weight_scale\": \"W8A8_MXFP8\""));
    write_text(dir, c->description_name, d.s);
    m.dir = dir;
    m.config = "{}";
    check_round_trip(&m, c, s, out, n);

    write_text(dir, c->description_name, "{\"version\": ");
    struct grouping g;
    cr_assert_eq(grouping_read(&m, true, &g, &err), -1);
    cr_assert_eq(err.kind, ERR_INPUT);
    cr_assert(strstr(err.msg, "quant_model_description.json: line 1"), "%s", err.msg);
    cr_assert_eq(grouping_read(&m, false, &g, &err), 0);

    snprintf(path, sizeof path, "%s/%s", dir, c->description_name);
    unlink(path);
    rmdir(dir);
    buf_free(&d);
    hand_drop_model(&m);
}

/* ---- checkpoints of other makers ---------------------------------------------- */
#define FP8 "{\"quantization_config\": {\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", " \
            "\"activation_scheme\": \"dynamic\", \"weight_block_size\": [128, 128]%s}}"

static struct grouping read_pair(struct model *m, const char *config, const char *scale_name,
                                 enum dtype scale, uint8_t rank, uint64_t r, uint64_t c,
                                 bool strict)
{
    struct grouping g;
    hand_drop_model(m);
    hand_grow(m, 2);
    m->config = config;
    add(m, "a.weight", DT_F8_E4M3, 576, 7168);
    hand_add(m, scale_name, scale, rank, (uint64_t[]){r, c});
    err = (struct err){0};
    if (grouping_read(m, strict, &g, &err))
        g.n = SIZE_MAX;
    return g;
}

Test(convention, scales_of_all_dtypes)
{
    static const struct {
        const char *config, *scale_name;
        enum dtype scale;
        uint8_t rank;
        uint64_t r, c;
        const char *convention, *scheme;
    } want[] = {
        {FP8, "a.weight_scale_inv", DT_F32, 2, 5, 56, "deepseek", "fp8-f32-128x128"},
        {FP8, "a.weight_scale_inv", DT_BF16, 2, 5, 56, "deepseek", "fp8-bf16-128x128"},
        {FP8, "a.weight_scale_inv", DT_F16, 2, 5, 56, "deepseek", "fp8-f16-128x128"},
        {FP8, "a.weight_scale_inv", DT_U8, 2, 5, 56, "deepseek", "fp8-ue8m0-128x128"},
        {FP8, "a.weight_scale_inv", DT_F8_E8M0, 2, 5, 56, "deepseek", "fp8-ue8m0-128x128"},
        {FP8, "a.weight_scale", DT_BF16, 2, 5, 56, "deepseek", "fp8-bf16-128x128"},
        {FP8, "a.scale", DT_F8_E8M0, 2, 5, 56, "deepseek-v4", "fp8-ue8m0-128x128"},
        {FP8, "a.scale", DT_F32, 2, 5, 56, "deepseek", "fp8-f32-128x128"},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"scale_fmt\": \"ue8m0\", "
         "\"weight_block_size\": [128, 128]}}",
         "a.weight_scale_inv", DT_F32, 2, 5, 56, "deepseek", "fp8-ue8m0-128x128"},
        {"{\"text_config\": {\"quantization_config\": {\"quant_method\": \"fp8\", "
         "\"weight_block_size\": [128, 128]}}}",
         "a.weight_scale_inv", DT_F32, 2, 5, 56, "deepseek", "fp8-f32-128x128"},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\"}}",
         "a.weight_scale", DT_F32, 1, 1, 0, "deepseek", "fp8-tensor"},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\"}}",
         "a.weight_scale", DT_F32, 0, 0, 0, "deepseek", "fp8-tensor"},
        {"{\"quantization_config\": {\"quant_method\": \"mxfp8\"}}",
         "a.weight_scale_inv", DT_U8, 2, 576, 224, "deepseek", "mxfp8"},
        {"{\"compression_config\": {\"quant_method\": \"compressed-tensors\", \"format\": "
         "\"float-quantized\", \"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 8, "
         "\"type\": \"float\", \"strategy\": \"block\", \"block_structure\": \"128x128\"}}}}}",
         "a.weight_scale", DT_BF16, 2, 5, 56, "compressed-tensors", "fp8-bf16-128x128"},
        {"{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": "
         "\"naive-quantized\", \"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 8, "
         "\"type\": \"float\", \"strategy\": \"channel\", \"symmetric\": true}}}}}",
         "a.weight_scale", DT_BF16, 1, 576, 0, "compressed-tensors", "fp8-bf16-channel"},
        {"{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": "
         "\"mixed-precision\", \"config_groups\": {\"g0\": {\"format\": \"float-quantized\", "
         "\"weights\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"tensor\"}}, "
         "\"g1\": {\"format\": \"mxfp8-quantized\", \"weights\": {\"num_bits\": 8, \"type\": "
         "\"float\", \"strategy\": \"group\", \"group_size\": 32}}}}}",
         "a.weight_scale", DT_U8, 2, 576, 224, "compressed-tensors", "mxfp8"},
    };
    struct model m = {0};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char config[1024];
        snprintf(config, sizeof config, want[i].config, "");
        struct grouping g = read_pair(&m, config, want[i].scale_name, want[i].scale, want[i].rank,
                                      want[i].r, want[i].c, true);
        cr_assert_eq(g.n, 1, "row %zu: %s", i, err.msg);
        cr_assert_str_eq(g.convention->name, want[i].convention, "row %zu: %s", i,
                         g.convention->name);
        cr_assert_str_eq(g.g->scheme->name, want[i].scheme, "row %zu: %s", i, g.g->scheme->name);
    }
    hand_drop_model(&m);
}

/* ---- what must be refused -------------------------------------------------------- */
static void refused(struct model *m, const char *part1, const char *part2)
{
    struct grouping g;
    err = (struct err){0};
    cr_assert_eq(grouping_read(m, true, &g, &err), -1, "accepted; wanted '%s'", part1);
    cr_assert_eq(err.kind, ERR_INPUT);
    cr_assert(strstr(err.msg, part1) && strstr(err.msg, part2), "%s", err.msg);
    cr_assert_eq(grouping_read(m, false, &g, &err), 0, "ls must list it: %s", err.msg);
}

static void refused_pair(const char *config, const char *scale_name, enum dtype scale, uint64_t r,
                         uint64_t c, const char *part1, const char *part2)
{
    struct model m = {0};
    struct grouping g = read_pair(&m, config, scale_name, scale, 2, r, c, false);
    cr_assert_eq(g.n, 0, "'%s' was paired", part1);
    cr_assert_eq(g.part[0], PART_PLAIN);
    cr_assert_eq(g.part[1], PART_PLAIN);
    cr_assert_null(g.convention);
    refused(&m, part1, part2);
    hand_drop_model(&m);
}

#define CT(format, weights) \
    "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"" format \
    "\", \"config_groups\": {\"group_0\": {\"weights\": {" weights "}}}}}"

Test(convention, contradictions_are_refused)
{
    char fp8[256];
    snprintf(fp8, sizeof fp8, FP8, "");
    refused_pair(NULL, "a.weight_scale_inv", DT_F32, 5, 56, "'a.weight' [576,7168]",
                 "\"weight_block_size\": [128, 128]");
    refused_pair(NULL, "a.weight_scale", DT_F32, 5, 56, "'a.weight' is F8_E4M3 [576,7168]",
                 "'a.weight_scale' [5,56]");
    refused_pair(NULL, "a.scale", DT_F8_E8M0, 5, 56, "'a.scale' [5,56]", "nothing states");
    refused_pair("{", "a.weight_scale_inv", DT_F32, 5, 56, "config.json: line 1", "test");
    refused_pair("[]", "a.weight_scale_inv", DT_F32, 5, 56, "not a JSON object", "test");
    refused_pair(fp8, "a.weight_scale_inv", DT_F32, 4, 56, "'a.weight_scale_inv' is [4,56]",
                 "[576,7168] with a scale per 128 x 128 block needs [5,56]");
    refused_pair(fp8, "a.weight_scale_inv", DT_F32, 56, 5, "is [56,5]", "needs [5,56]");
    refused_pair(fp8, "a.weight_scale_inv", DT_I32, 5, 56, "is I32", "no dtype for the scale");
    refused_pair(fp8, "b.weight_scale_inv", DT_F32, 5, 56, "'a.weight' F8_E4M3 [576,7168]",
                 "has no scale");
    refused_pair("{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": "
                 "[64, 64]}}", "a.weight_scale_inv", DT_F32, 5, 56, "64 x 64", "needs [9,112]");
    refused_pair("{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": "
                 "[128]}}", "a.weight_scale_inv", DT_F32, 5, 56, "weight_block_size", "two");
    refused_pair("{\"quantization_config\": {\"quant_method\": \"fp8\"}}", "a.weight_scale_inv",
                 DT_F32, 5, 56, "nothing states the block size", "[5,56]");
    refused_pair("{\"quantization_config\": {\"quant_method\": \"gptq\"}}", "a.weight_scale",
                 DT_F32, 5, 56, "quant_method 'gptq'", "not read by this version");
    refused_pair(CT("sparse-34-bitmask", "\"num_bits\": 8"), "a.weight_scale", DT_F32, 5, 56,
                 "'sparse-34-bitmask'", "not read by this version");
    refused_pair(CT("pack-quantized", "\"num_bits\": 4"), "a.weight_scale", DT_F32, 5, 56,
                 "'a.weight' F8_E4M3", "declares no scheme");
    refused_pair(CT("float-quantized", "\"num_bits\": 8, \"type\": \"float\", \"strategy\": "
                    "\"channel\""), "a.weight_scale", DT_F32, 5, 56, "is [5,56]",
                 "per 1 x all block needs [576,1]");
    refused_pair(CT("float-quantized", "\"num_bits\": 8, \"type\": \"float\", \"strategy\": "
                    "\"tensor\""), "a.weight_scale", DT_F32, 5, 56, "is [5,56]",
                 "per all x all block needs [1]");
    refused_pair(CT("float-quantized", "\"num_bits\": 8, \"type\": \"int\", \"strategy\": "
                    "\"channel\""), "a.weight_scale", DT_F32, 576, 1, "'a.weight' F8_E4M3",
                 "declares no scheme");
}

Test(convention, orphans_are_refused)
{
    struct model m = {0};
    char fp8[256];
    snprintf(fp8, sizeof fp8, FP8, "");
    struct grouping g = read_pair(&m, fp8, "a.weight_scale_inv", DT_F32, 2, 5, 56, true);
    cr_assert_eq(g.n, 1);
    hand_drop_model(&m);

    hand_grow(&m, 4); /* a scale whose weight is missing, beside a good pair */
    m.config = fp8;
    add(&m, "a.weight", DT_F8_E4M3, 128, 128);
    add(&m, "a.weight_scale_inv", DT_F32, 1, 1);
    add(&m, "b.weight_scale_inv", DT_F32, 3, 7);
    refused(&m, "'b.weight_scale_inv' F32 [3,7]", "without a quantized weight");
    add(&m, "b.weight", DT_BF16, 384, 896); /* or is not quantized */
    refused(&m, "'b.weight_scale_inv' F32 [3,7]", "without a quantized weight");
    cr_assert_eq(grouping_read(&m, false, &g, &err), 0);
    cr_assert_eq(g.n, 1);
    cr_assert_eq(g.part[2], PART_PLAIN);
    hand_drop_model(&m);

    hand_grow(&m, 1); /* FP8 bytes without anything */
    add(&m, "a.weight", DT_F8_E5M2, 4, 4);
    refused(&m, "'a.weight' is F8_E5M2 [4,4]", "nothing states its scheme");
    hand_drop_model(&m);

    hand_grow(&m, 1); /* integers without anything are just integers */
    add(&m, "table", DT_I8, 4, 4);
    cr_assert_eq(grouping_read(&m, true, &g, &err), 0, "%s", err.msg);
    cr_assert_null(g.convention);
    cr_assert_eq(g.n, 0);
    hand_drop_model(&m);
}

Test(convention, other_contradictions)
{
    struct model m = {0};
    struct meta kv[2] = {{"octavo.convention", "from-the-future"}};
    hand_grow(&m, 4);
    m.kv = kv;
    m.nkv = 1;
    add(&m, "layers.0.ffn.experts.0.w1.weight", DT_I8, 128, 64);
    add(&m, "layers.0.ffn.experts.0.w1.scale", DT_F8_E8M0, 128, 4);
    refused(&m, "'from-the-future'", "does not know");
    m.nkv = 0;
    m.t[1].dim[1] = 5;
    refused(&m, "layers.0.ffn.experts.0.w1.scale' is [128,5]", "[128,128] with a scale per 1 x 32 block needs [128,4]");
    hand_drop_model(&m);

    hand_grow(&m, 4); /* AscendV1 without its description, and with one that we cannot read */
    kv[0].value = "ascend-v1";
    m.kv = kv;
    m.nkv = 1;
    add(&m, "a.weight", DT_I8, 8, 16);
    add(&m, "a.weight_scale", DT_F32, 8, 1);
    add(&m, "a.weight_offset", DT_F32, 7, 1);
    refused(&m, "quant_model_description.json is missing", "test");
    kv[1] = (struct meta){"octavo.description", "{\"a.weight\": \"W4A8_FLATQUANT_DYNAMIC\"}"};
    m.nkv = 2;
    refused(&m, "'a.weight'", "type 'W4A8_FLATQUANT_DYNAMIC'");
    kv[1].value = "{\"a.weight\": \"W8A8_MXFP8\"}";
    refused(&m, "'a.weight' is I8", "calls it 'W8A8_MXFP8'");
    kv[1].value = "{\"a.weight\": \"W8A8_DYNAMIC\"}";
    refused(&m, "'a.weight_offset' is [7,1]", "'a.weight_scale' is [8,1]");
    kv[1].value = "{\"a.weight\": \"FLOAT\"}";
    refused(&m, "'a.weight_scale'", "without a quantized weight");
    hand_drop_model(&m);

    hand_grow(&m, 4); /* one scale, two weights */
    char fp8[256];
    snprintf(fp8, sizeof fp8, FP8, "");
    m.config = fp8;
    add(&m, "a.weight", DT_F8_E4M3, 128, 128);
    add(&m, "a", DT_F8_E4M3, 128, 128);
    add(&m, "a.scale", DT_F32, 1, 1);
    refused(&m, "'a.scale' belongs to two weights", "'a.weight' and 'a'");
    hand_drop_model(&m);
}

/* They are looked up by the place of a scale: fewer would be read past their end. */
Test(convention, zero_points_are_as_many_as_scales)
{
    static const char asym[] = CT("int-quantized", "\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\", "
                                                   "\"symmetric\": false");
    struct hand h;
    hand_make(&h, "a.weight I8 40,64; a.weight_scale F32 40,1; a.weight_zero_point I8 40,1", asym, NULL, NULL);
    hand_read(&h);
    cr_assert_eq(hand_part(&h, "a.weight_zero_point"), PART_POINT);
    hand_drop(&h);
    hand_make(&h, "a.weight I8 40,64; a.weight_scale F32 40,1; a.weight_zero_point I8 39,1", asym, NULL, NULL);
    hand_refused(&h, "'a.weight_zero_point' is [39,1]", "'a.weight' needs 40 zero points");
    hand_drop(&h);
    hand_make(&h, "a.weight I8 40,64; a.weight_scale F32 40,1; a.weight_zero_point I32 5,1", asym, NULL, NULL);
    hand_refused(&h, "'a.weight_zero_point' is I32", "no dtype for the zero points");
    hand_drop(&h);
}

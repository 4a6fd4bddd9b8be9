/* ModelOpt, NVIDIA's Model Optimizer: what TensorRT-LLM, vLLM and SGLang call "modelopt".
 *
 *     quant_algo                      X.weight          X.weight_scale
 *     FP8                             F8_E4M3 [N, K]    F32 []
 *     FP8_PER_CHANNEL_PER_TOKEN       F8_E4M3 [N, K]    F32 [N]
 *     FP8_PB_WO, _REAL, _BLOCK_SCALES F8_E4M3 [N, K]    F32 [N/128, 1, K/128, 1] or [N/128, K/128]
 *     MXFP8                           F8_E4M3 [N, K]    U8 codes [N, K/32]
 *     NVFP4, W4A16_NVFP4, NVFP4_AWQ   U8 [N, K/2]       F8_E4M3 [N, K/16]; X.weight_scale_2 F32 [] multiplies
 *     W4A8_NVFP4_FP8                  U8 [N, K/2]       the same in groups of 32
 *     W4A8_MXFP4_FP8, MXFP4           U8 [N, K/2]       U8 codes [N, K/32]
 *     W8A8_SQ_PER_CHANNEL, W8A16      I8 [N, K]         F32 [N]
 *     MIXED_PRECISION                 quantized_layers says which of them a module has
 *
 * Activations of fixed scale have an X.input_scale F32 [], quantized KV caches
 * k_proj.k_scale and v_proj.v_scale.  A stack of experts "X.experts.P" has
 * "X.experts.P_weight_scale".  hf_quant_config.json declares all this, config.json
 * mirrors it; the maker writes some algorithms in small letters.
 *
 * Not read: int4 (W4A16_AWQ, W4A8_AWQ: two rows share a byte), and weights whose
 * activations are rescaled (X.pre_quant_scale) or that a second product corrects.
 *
 * Source: NVIDIA/Model-Optimizer 0.47, torch/export/{quant_utils,unified_export_hf,convert_hf_config}.py
 * and what its exporter writes.  This file reads; modelopt_write.c writes. */
#include "formats/conventions/modelopt.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DYNAMIC (1u << ACTIVATION_DYNAMIC)
#define STATIC (1u << ACTIVATION_STATIC)
#define NONE (1u << ACTIVATION_NONE)

#define E4M3 .elem = DT_F8_E4M3
#define MX .scale = DT_F8_E8M0, .rows = 1, .cols = 32
#define NVFP4(group) .elem = DT_F4, .scale = DT_F8_E4M3, .rows = 1, .cols = group, .two_level = true

const struct modelopt_algo modelopt_algos[] = {
    {.name = "FP8", E4M3, .scale = DT_F32, .writes = DYNAMIC | STATIC, .inputs = 8, .grouped = true},
    {.name = "FP8_PER_CHANNEL_PER_TOKEN", E4M3, .scale = DT_F32, .rows = 1, .writes = DYNAMIC, .inputs = 8},
    {.name = "FP8_PB_WO", E4M3, .scale = DT_F32, .rows = 128, .cols = 128},
    {.name = "FP8_PB_REAL", E4M3, .scale = DT_F32, .rows = 128, .cols = 128},
    {.name = "FP8_BLOCK_SCALES", E4M3, .scale = DT_F32, .rows = 128, .cols = 128}, /* TensorRT-LLM's word */
    {.name = "MXFP8", E4M3, MX, .writes = DYNAMIC, .inputs = 8},
    {.name = "NVFP4", NVFP4(16), .writes = STATIC, .inputs = 4, .grouped = true},
    {.name = "W4A16_NVFP4", NVFP4(16), .writes = NONE, .grouped = true},
    {.name = "NVFP4_AWQ", NVFP4(16)},
    {.name = "W4A8_NVFP4_FP8", NVFP4(32)},
    {.name = "W4A8_MXFP4_FP8", .elem = DT_F4, MX, .writes = DYNAMIC, .inputs = 8},
    {.name = "MXFP4", .elem = DT_F4, MX},
    {.name = "W8A8_SQ_PER_CHANNEL", .elem = DT_I8, .scale = DT_F32, .rows = 1},
    {.name = "W8A16", .elem = DT_I8, .scale = DT_F32, .rows = 1},
};
const size_t modelopt_algo_count = sizeof modelopt_algos / sizeof *modelopt_algos;

static const char *const scales[] = {"_scale", "_weight_scale", NULL};
static const char *const globals[] = {"_scale_2", "_weight_scale_2", NULL};
static const char *const beside[] = {".input_scale", "_input_scale", ".output_scale", "_output_scale", NULL};
static const char *const changes[] = {".pre_quant_scale", ".svdquant_lora_a", ".svdquant_lora_b", NULL};

const struct scheme *modelopt_scheme(const struct modelopt_algo *a, uint32_t group, enum dtype t)
{
    struct scheme s = {.elem = a->elem, .scale = a->scale, .block_rows = a->rows, .block_cols = a->cols};
    s.two_level = a->two_level;
    if (a->scale == DT_F32 && scale_is_value(t))
        s.scale = t;
    if (group && a->rows == 1 && a->cols)
        s.block_cols = group;
    return scheme_like(s);
}

/* ---- what is declared ---------------------------------------------------------- */
static const json_t *described(const json_t *config)
{
    return json_object_get(json_object_get(config, MODELOPT_DESCRIPTION), "quantization");
}

static const json_t *mirrored(const json_t *config)
{
    const json_t *q = config_section(config);
    return !strncasecmp(config_string(q, "quant_method"), "modelopt", strlen("modelopt")) ? q : NULL;
}

/* The object with quant_algo: of hf_quant_config.json, else its mirror; NULL: neither is there. */
static const json_t *declared(const json_t *config)
{
    const json_t *q = described(config);
    return json_is_object(q) ? q : mirrored(config);
}

static const char *file_of(const json_t *config)
{
    return json_is_object(described(config)) ? MODELOPT_DESCRIPTION : "config.json";
}

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return declared(config) != NULL;
}

static const struct modelopt_algo *find_algo(const char *name)
{
    for (size_t i = 0; i < modelopt_algo_count; i++)
        if (!strcasecmp(modelopt_algos[i].name, name))
            return &modelopt_algos[i];
    return NULL;
}

static bool is_mixed(const json_t *q) { return !strcasecmp(config_string(q, "quant_algo"), "MIXED_PRECISION"); }

static int check_algo(const json_t *config, const char *name, const char *layer, struct err *e)
{
    if (!*name || find_algo(name))
        return 0;
    return err_set(e, ERR_INPUT, "%s: quant_algo '%s'%s%s is not read by this version", file_of(config), name,
                   *layer ? " of " : "", layer);
}

static int check(const void *config, struct err *e)
{
    const json_t *q = declared(config), *layers = json_object_get(q, "quantized_layers");
    const char *algo = config_string(q, "quant_algo"), *other = config_string(mirrored(config), "quant_algo");
    const char *layer;
    json_t *value;
    if (!q)
        return err_set(e, ERR_INPUT, MODELOPT_DESCRIPTION " is missing, and config.json does not say "
                       "quant_method \"modelopt\"");
    if (*other && strcasecmp(algo, other))
        return err_set(e, ERR_INPUT, "quant_algo is '%s' in " MODELOPT_DESCRIPTION " and '%s' in config.json",
                       algo, other);
    if (!is_mixed(q))
        return check_algo(config, algo, "", e);
    if (!json_is_object(layers))
        return err_set(e, ERR_INPUT, "%s: quant_algo MIXED_PRECISION without quantized_layers", file_of(config));
    json_object_foreach((json_t *)layers, layer, value)
        if (check_algo(config, config_string(value, "quant_algo"), layer, e))
            return -1;
    return 0;
}

/* The entry of quantized_layers for weight `name`: that of its module, else of the next module above it that
 * has one (experts are listed as one). *out NULL: there is none. */
static int find_layer(const json_t *q, const char *name, const json_t **out, struct err *e)
{
    char *module = part_name(name, ".", NULL, e), *end;
    *out = NULL;
    if (!module)
        return -1;
    while (!*out && (end = strrchr(module, '.'))) {
        *end = 0;
        *out = json_object_get(json_object_get(q, "quantized_layers"), module);
    }
    free(module);
    return 0;
}

/* group_size where it is said: by the object, or by config_groups of config.json; 0: nowhere. */
static int read_group(const json_t *q, const char *name, uint32_t *group, struct err *e)
{
    const json_t *x = json_object_get(q, "group_size"), *one = NULL;
    if (!x && json_object_size(json_object_get(q, "config_groups")) == 1)
        one = json_object_iter_value(json_object_iter(json_object_get(q, "config_groups")));
    if (one)
        x = json_object_get(json_object_get(one, "weights"), "group_size");
    *group = 0;
    if (!x || json_is_null(x) || (json_is_integer(x) && !json_integer_value(x)))
        return 0;
    if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > UINT32_MAX)
        return err_set(e, ERR_INPUT, "tensor '%s': its group_size is no size of a group", name);
    *group = (uint32_t)json_integer_value(x);
    return 0;
}

/* ---- reading ---------------------------------------------------------------------- */

/* Tensors that change what a weight means: its activations are multiplied by one, or a product is added. */
static int refuse_changes(const struct model *m, const struct group *g, struct err *e)
{
    size_t i;
    int found = part_find_any(m, g->name, changes, &i, e);
    return found <= 0 ? found
         : err_set(e, ERR_INPUT, "tensor '%s' changes what '%s' is multiplied with (AWQ, SmoothQuant, "
                   "SVDQuant): such weights are not read by this version", m->t[i].name, g->name);
}

/* The algorithm that is declared for g, and its scheme. */
static int find_scheme(const struct model *m, const json_t *config, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[g->of[PART_WEIGHT]];
    const json_t *q = declared(config), *own = q;
    uint32_t group;
    if (is_mixed(q) && find_layer(q, g->name, &own, e))
        return -1;
    const struct modelopt_algo *a = find_algo(config_string(own, "quant_algo"));
    if (!a)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s with a scale, and %s declares no quant_algo for it",
                       w->name, dtype_name(w->dtype), file_of(config));
    if (w->dtype != (a->elem == DT_F4 ? DT_U8 : a->elem))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but %s calls it '%s'", w->name, dtype_name(w->dtype),
                       file_of(config), a->name);
    if (read_group(own, g->name, &group, e))
        return -1;
    g->scheme = modelopt_scheme(a, group, m->t[g->of[PART_SCALE]].dtype);
    return g->scheme ? 0 : err_set(e, ERR_INPUT, "tensor '%s': '%s' in groups of %u is no scheme of this "
                                   "version", w->name, a->name, group);
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    if ((w->dtype != DT_F8_E4M3 && w->dtype != DT_U8 && w->dtype != DT_I8) || ends_with(w->name, "_scale"))
        return 0;
    int found = group_find_any(m, g, PART_SCALE, scales, e);
    if (found <= 0)
        return found || w->dtype != DT_F8_E4M3 ? found : group_no_scale(m, i, scales, e);
    if (refuse_changes(m, g, e) || find_scheme(m, config, g, e))
        return -1;
    if (g->scheme->two_level && (found = group_find_any(m, g, PART_GLOBAL, globals, e)) <= 0)
        return found ? -1 : group_no_scale(m, i, globals, e);
    if (g->scheme->elem == DT_F4 && group_packed(m, g, DT_F4, PACK_BYTES, 4, 0, e))
        return -1;
    return group_aux(m, g, beside, e) || group_check(m, g, e) ? -1 : 0;
}

static const struct scheme *cache(const void *config, const struct tensor *t)
{
    static const struct { const char *algo, *scheme; } types[] = {
        {"FP8", "fp8-tensor"}, {"INT8", "int8-tensor"}, {"NVFP4", "nvfp4"}, {"NVFP4_AFFINE", "nvfp4"}};
    static const char *const ends[] = {".k_scale", ".v_scale", ".k_bias", ".v_bias"};
    const json_t *q = declared(config), *mirror = json_object_get(q, "kv_cache_scheme");
    const char *algo = json_is_object(mirror) ? "FP8" : config_string(q, "kv_cache_scheme"), *scheme = NULL;
    bool ours = false;
    if (*config_string(q, "kv_cache_quant_algo"))
        algo = config_string(q, "kv_cache_quant_algo");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(types[i].algo, algo))
            scheme = types[i].scheme;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        ours |= ends_with(t->name, ends[i]);
    return ours && scheme ? scheme_find(scheme) : NULL;
}

const struct convention convention_modelopt = {
    .name = "modelopt",
    .title = "NVIDIA Model Optimizer (TensorRT-LLM, vLLM, SGLang): X.weight_scale, " MODELOPT_DESCRIPTION,
    .stem = "model",
    .detect = detect,
    .check = check,
    .pair = pair,
    .cache = cache,
    .keeps_cache = true,
    .accepts = modelopt_accepts,
    .outputs = modelopt_outputs,
    .config = modelopt_config,
    .description_name = MODELOPT_DESCRIPTION,
    .description = modelopt_description,
};

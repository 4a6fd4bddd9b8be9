/* Quark, of AMD: what vLLM and transformers call "quark".
 *
 *     dtype, qscheme             X.weight            X.weight_scale
 *     fp8_e4m3 per_tensor        F8_E4M3 [N, K]      F32 or BF16 []
 *     fp8_e4m3 per_channel       F8_E4M3 [N, K]      F32 or BF16 [N]
 *     fp8_e4m3 per_group, block  F8_E4M3 [N, K]      [N/R, K/C], U8 codes with scale_format e8m0
 *     int8 per_tensor, _channel  I8      [N, K]      [] or [N]; X.weight_zero_point I8, zeros when symmetric
 *     fp4 per_group              U8      [N, K/2]    U8 codes [N, K/32]
 *     fp4 per_group and fp8_e4m3 U8      [N, K/2]    F8_E4M3 [N, K/16]; X.weight_scale_2 F32 [] multiplies
 *
 * Scales have the type of the model.  Activations of fixed scale have an X.input_scale,
 * quantized KV caches k_proj.output_scale and v_proj.output_scale.  config.json says it
 * all: global_quant_config, and by patterns of names layer_quant_config, of which the
 * first that matches counts; "exclude" names what stays.
 *
 * Not read: int4 and int8 in groups, which lie transposed ([K, N/8], in the order of
 * AWQ), fp6, and weights of a rotated basis (X.input_rotation).
 *
 * Source: amd-quark 0.13, quark/torch/export and quantization/config/config.py, and what its exporter
 * writes; vllm-project/vllm layers/quantization/quark for what a server needs. */
#include "formats/conventions/parts.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static const char *const scales[] = {"_scale", NULL};
static const char *const beside[] = {".input_scale", ".input_zero_point", ".input_scale_2", NULL};

/* ---- reading ------------------------------------------------------------------ */
static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return !strcmp(config_string(config_section(config), "quant_method"), "quark");
}

static int check(const void *config, struct err *e)
{
    const json_t *q = config_section(config);
    const char *format = config_string(json_object_get(q, "export"), "weight_format");
    if (!json_is_object(json_object_get(q, "global_quant_config")))
        return err_set(e, ERR_INPUT, "config.json: quant_method quark without global_quant_config");
    return !*format || !strcmp(format, "real_quantized") ? 0
         : err_set(e, ERR_INPUT, "config.json: weight_format '%s' is not read by this version", format);
}

/* What config.json says of the weights of g's module: an object, a list of two stages, or null. */
static int find_spec(const json_t *q, const struct group *g, const json_t **spec, struct err *e)
{
    const json_t *one = json_object_get(json_object_get(q, "layer_type_quant_config"), "Linear");
    json_t *layers = json_object_get(q, "layer_quant_config"), *value;
    char *module = part_name(g->name, ".", NULL, e);
    const char *pattern;
    if (!module)
        return -1;
    module[strlen(module) - 1] = 0;
    if (!one)
        one = json_object_get(q, "global_quant_config");
    json_object_foreach(layers, pattern, value)
        if (!fnmatch(pattern, module, FNM_NOESCAPE)) {
            one = value;
            break;
        }
    free(module);
    *spec = json_object_get(one, "weight");
    if (json_array_size(*spec) == 1)
        *spec = json_array_get(*spec, 0);
    return 0;
}

static json_int_t integer(const json_t *x, const char *key, const char *older)
{
    const json_t *v = json_object_get(x, key);
    return json_is_integer(v) ? json_integer_value(v) : older ? integer(x, older, NULL) : -2;
}

static bool size_of(const json_t *x, uint32_t *n)
{
    *n = (uint32_t)json_integer_value(x);
    return json_is_integer(x) && json_integer_value(x) >= 1 && json_integer_value(x) <= UINT32_MAX;
}

static bool read_blocks(const json_t *x, struct scheme *s)
{
    const char *how = config_string(x, "qscheme");
    const json_int_t axis = integer(x, "ch_axis", "axis");
    if (!strcmp(how, "per_tensor"))
        return true;
    s->block_rows = 1;
    if (!strcmp(how, "per_channel"))
        return axis == 0;
    if (!strcmp(how, "per_group"))
        return (axis == -1 || axis == 1) && !scheme_int(s)
            && size_of(json_object_get(x, "group_size"), &s->block_cols);
    const json_t *block = json_object_get(x, "block_size");
    return !strcmp(how, "per_block") && json_array_size(block) == 2
        && size_of(json_array_get(block, 0), &s->block_rows) && size_of(json_array_get(block, 1), &s->block_cols);
}

/* The scheme that a spec declares, its scales in a tensor of type t; NULL: none of ours. */
static const struct scheme *read_spec(const json_t *spec, enum dtype t)
{
    static const struct { const char *name; enum dtype t; } types[] = {
        {"fp8_e4m3", DT_F8_E4M3}, {"fp8_e5m2", DT_F8_E5M2}, {"fp4", DT_F4}, {"int8", DT_I8}};
    const json_t *second = json_array_get(spec, 1), *x = second ? json_array_get(spec, 0) : spec;
    struct scheme s = {.elem = DT_COUNT, .scale = scale_is_value(t) ? t : DT_F32};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, config_string(x, "dtype")))
            s.elem = types[i].t;
    if (!strcmp(config_string(x, "scale_format"), "e8m0")
        || !strcmp(config_string(x, "scale_type"), "float8_e8m0fnu"))
        s.scale = DT_F8_E8M0;
    if (second) { /* the scales are quantized themselves */
        s.two_level = true;
        s.scale = DT_F8_E4M3;
        if (json_array_size(spec) != 2 || strcmp(config_string(second, "dtype"), "fp8_e4m3")
            || strcmp(config_string(second, "qscheme"), "per_tensor")
            || !json_is_true(json_object_get(second, "is_scale_quant")))
            return NULL;
    }
    s.zero_point = s.elem == DT_I8 && json_is_false(json_object_get(x, "symmetric"));
    return s.elem != DT_COUNT && read_blocks(x, &s) ? scheme_like(s) : NULL;
}

/* Weights in another basis than their activations'. */
static int refuse_rotation(const struct model *m, const struct group *g, struct err *e)
{
    size_t i;
    int found = part_find(m, g->name, ".input_rotation", &i, e);
    return found <= 0 ? found
         : err_set(e, ERR_INPUT, "tensor '%s' rotates what '%s' is multiplied with: such weights are not read "
                   "by this version", m->t[i].name, g->name);
}

static int find_scheme(const struct model *m, const json_t *q, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[g->of[PART_WEIGHT]];
    const json_t *spec, *first;
    if (find_spec(q, g, &spec, e))
        return -1;
    first = json_is_array(spec) ? json_array_get(spec, 0) : spec;
    g->scheme = read_spec(spec, m->t[g->of[PART_SCALE]].dtype);
    if (!g->scheme && json_is_object(first))
        return err_set(e, ERR_INPUT, "tensor '%s': dtype '%s' with qscheme '%s' of config.json is not read by "
                       "this version", w->name, config_string(first, "dtype"), config_string(first, "qscheme"));
    if (!g->scheme)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s with a scale, and config.json declares nothing for it",
                       w->name, dtype_name(w->dtype));
    if (w->dtype != (g->scheme->elem == DT_F4 ? DT_U8 : g->scheme->elem))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but config.json calls it '%s'", w->name, dtype_name(w->dtype),
                       config_string(first, "dtype"));
    return 0;
}

/* Codes that stand for zero. Those that a symmetric weight has all the same must be zeros. */
static int find_points(const struct model *m, struct group *g, struct err *e)
{
    const enum part part = g->scheme->zero_point ? PART_POINT : PART_ZERO;
    int found = scheme_int(g->scheme) ? group_find(m, g, part, "_zero_point", e) : 0;
    if (found || !g->scheme->zero_point)
        return found < 0 ? -1 : 0;
    return err_set(e, ERR_INPUT, "tensor '%s' is declared asymmetric and has no '%s_zero_point'", g->name, g->name);
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    const json_t *q = config_section(config);
    if (ends_with(w->name, "_scale") || ends_with(w->name, "_zero_point"))
        return 0;
    int found = group_find_any(m, g, PART_SCALE, scales, e);
    if (found <= 0)
        return found || w->dtype != DT_F8_E4M3 ? found : group_no_scale(m, i, scales, e);
    if (refuse_rotation(m, g, e) || find_scheme(m, q, g, e))
        return -1;
    if (g->scheme->two_level && (found = group_find(m, g, PART_GLOBAL, "_scale_2", e)) <= 0)
        return found ? -1 : group_no_scale(m, i, (const char *const[]){"_scale_2", NULL}, e);
    if (g->scheme->elem == DT_F4 && group_packed(m, g, DT_F4, PACK_BYTES, 4, 0, e))
        return -1;
    return find_points(m, g, e) || group_aux(m, g, beside, e) || group_check(m, g, e) ? -1 : 0;
}

static const struct scheme *cache(const void *config, const struct tensor *t)
{
    (void)config;
    return ends_with(t->name, ".output_scale") ? scheme_find("fp8-tensor") : NULL;
}

/* ---- writing ------------------------------------------------------------------ */

/* One QTensorConfig. */
struct spec {
    const char *dtype, *qscheme, *observer;
    int axis;                  /* 9: null */
    bool mx, dynamic;          /* groups of 32 with E8M0 scales */
};
static const struct spec fp8_tensor = {"fp8_e4m3", "per_tensor", "PerTensorMinMaxObserver", 9, false, false};
static const struct spec fp8_channel = {"fp8_e4m3", "per_channel", "PerChannelMinMaxObserver", 0, false, false};
static const struct spec fp8_token = {"fp8_e4m3", "per_channel", "PerChannelMinMaxObserver", 1, false, true};
static const struct spec int8_tensor = {"int8", "per_tensor", "PerTensorMinMaxObserver", 9, false, false};
static const struct spec int8_channel = {"int8", "per_channel", "PerChannelMinMaxObserver", 0, false, false};
static const struct spec int8_token = {"int8", "per_channel", "PerChannelMinMaxObserver", 1, false, true};
static const struct spec fp4_weight = {"fp4", "per_group", "PerBlockMXObserver", -1, true, false};
static const struct spec fp4_input = {"fp4", "per_group", "PerBlockMXObserver", -1, true, true};

static const struct row {
    const char *scheme;
    enum activation activation;
    const struct spec *weight, *input; /* NULL: activations stay as they are */
} rows[] = {
    {"fp8-tensor", ACTIVATION_DYNAMIC, &fp8_tensor, &fp8_token},
    {"fp8-tensor", ACTIVATION_STATIC, &fp8_tensor, &fp8_tensor},
    {"fp8-channel", ACTIVATION_DYNAMIC, &fp8_channel, &fp8_token},
    {"mxfp4", ACTIVATION_DYNAMIC, &fp4_weight, &fp4_input},
    {"mxfp4", ACTIVATION_STATIC, &fp4_weight, &fp8_tensor},
    {"mxfp4", ACTIVATION_NONE, &fp4_weight, NULL},
    {"int8-tensor", ACTIVATION_DYNAMIC, &int8_tensor, &int8_token},
    {"int8-tensor", ACTIVATION_STATIC, &int8_tensor, &int8_tensor},
    {"int8-channel", ACTIVATION_DYNAMIC, &int8_channel, &int8_token},
    {"int8-channel", ACTIVATION_STATIC, &int8_channel, &int8_tensor},
};

static const struct row *find_row(const struct scheme *s, enum activation a)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].activation == a && scheme_find(rows[i].scheme) == s)
            return &rows[i];
    return NULL;
}

static bool accepts(const struct scheme *s, enum activation a)
{
    return find_row(s, a) != NULL;
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const struct scheme *s = w->scheme;
    const struct row *row = find_row(s, w->activation);
    const bool matrix = w->rank == 2 && !s->block_cols, fixed = w->activation == ACTIVATION_STATIC;
    if (!row)
        return err_set(e, ERR_USAGE, "quark has no spec for scheme %s", s->name);
    const bool four = s->elem == DT_F4;
    if (put_weight(&o, NULL, four ? PACK_BYTES : PACK_PLAIN, four ? DT_U8 : s->elem))
        return -1;
    if (matrix ? put_part(&o, PART_SCALE, "_scale", s->scale, (uint8_t)s->block_rows, w->dim)
               : put_scale(&o, "_scale", s->block_cols ? DT_U8 : s->scale))
        return -1;
    if (scheme_int(s) && put_part(&o, PART_ZERO, "_zero_point", DT_I8, out[1].rank, out[1].dim))
        return -1;
    if (fixed && scheme_int(s) && put_part(&o, PART_ZERO, ".input_zero_point", DT_I8, 0, NULL))
        return -1;
    return fixed ? put_part(&o, PART_AUX, ".input_scale", DT_F32, 0, NULL) : 0;
}

static json_t *or_null(bool is, json_t *x)
{
    if (is)
        return x;
    json_decref(x);
    return json_null();
}

static json_t *spec_json(const struct spec *s)
{
    return !s ? json_null() : json_pack("{sn so ss so sb sb sn ss ss ss ss? ss? ss so}", "block_size", "ch_axis",
        or_null(s->axis != 9, json_integer(s->axis)), "dtype", s->dtype,
        "group_size", or_null(s->mx, json_integer(32)), "is_dynamic", s->dynamic, "is_scale_quant", 0,
        "mx_element_dtype", "observer_cls", s->observer, "qscheme", s->qscheme, "round_method", "half_even",
        "scale_calculation_mode", s->mx ? "even" : NULL, "scale_format", s->mx ? "e8m0" : NULL,
        "scale_type", "float", "symmetric", or_null(!s->mx, json_true()));
}

static json_t *kind_json(const struct kind *k)
{
    const struct row *r = find_row(k->s, k->a);
    return json_pack("{sn so sn sn so}", "bias", "input_tensors", spec_json(r->input), "output_tensors",
                     "target_device", "weight", spec_json(r->weight));
}

/* The modules whose weights are not of the largest kind, by name. */
static json_t *layers(const struct out_tensor *t, size_t n, const struct kind *most, bool *ok)
{
    json_t *all = json_object();
    for (size_t i = 0; i < n; i++) {
        const struct kind k = {t[i].scheme, t[i].activation, 0};
        if (t[i].part != PART_WEIGHT || (k.s == most->s && k.a == most->a))
            continue;
        json_t *name = module_string(t[i].weight);
        if (json_object_set_new(all, json_string_value(name), kind_json(&k)))
            *ok = false;
        json_decref(name);
    }
    return all;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    struct kind kind[KINDS];
    size_t kinds, most;
    bool ok = true;
    if (kinds_of(t, n, kind, &kinds, &most, e))
        return -1;
    for (size_t k = 0; k < kinds; k++)
        if (!find_row(kind[k].s, kind[k].a))
            return err_set(e, ERR_USAGE, "quark is not written with %s; --convention names another one",
                           kind[k].s->name);
    json_t *kept = modules_kept(t, n, e);
    if (!kept)
        return -1;
    json_t *all = kinds ? kind_json(&kind[most]) : json_null();
    json_t *other = kinds > 1 ? layers(t, n, &kind[most], &ok) : json_object();
    json_t *q = json_pack("{sn so s{s[]sfsssssn} so s{} so s{} ss ss sn ss}", "algo_config", "exclude", kept,
        "export", "kv_cache_group", "min_kv_scale", 0.0, "pack_method", "reorder",
        "weight_format", "real_quantized", "weight_merge_groups", "global_quant_config", all,
        "kv_cache_quant_config", "layer_quant_config", other, "layer_type_quant_config",
        "quant_method", "quark", "quant_mode", "eager_mode", "softmax_quant_spec", "version", "0.13");
    if (ok)
        return config_set(root, "quantization_config", q, e);
    json_decref(q);
    return err_set(e, ERR_SYSTEM, "out of memory for config.json");
}

const struct convention convention_quark = {
    .name = "quark",
    .title = "AMD Quark (vLLM, transformers): X.weight_scale, specs in config.json",
    .stem = "model",
    .detect = detect,
    .check = check,
    .pair = pair,
    .cache = cache,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

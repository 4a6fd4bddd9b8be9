/* compressed-tensors, the container of llm-compressor and vLLM.
 *
 *     format            X.weight        X.weight_scale
 *     float-quantized   F8_E4M3 [N, K]  [ceil(N/128), ceil(K/128)], [N, 1] or [1]
 *     mxfp8-quantized   F8_E4M3 [N, K]  U8 codes [N, ceil(K/32)]
 *     int-quantized     I8      [N, K]  [N, 1]
 *
 * config.json declares groups of layers, each with the arguments of its
 * weights and activations; its readers refuse unknown arguments, so only the
 * ones they list are written.  Power-of-two 128 x 128 scales have no name
 * there: they are written as F32, and observer_kwargs, the one free
 * dictionary (read only when somebody calibrates), says that they are UE8M0. */
#include "formats/conventions/parts.h"

#include <stdlib.h>
#include <string.h>

static const char *const suffixes[] = {"_scale", "_scale_inv", NULL};

/* What input_activations says beside each scheme: what servers have kernels for. */
struct row {
    const char *scheme, *format;
    const char *type, *strategy;       /* of the weights */
    const char *act_strategy;
    int group, act_group;              /* 0: null */
    int block[2];                      /* 0: null */
    const char *scale_dtype;           /* of weights and activations, or NULL */
};
static const struct row rows[] = {
    {.scheme = "fp8-ue8m0-128x128", .format = "float-quantized", .type = "float",
     .strategy = "block", .block = {128, 128}, .act_strategy = "group", .act_group = 128},
    {.scheme = "fp8-f32-128x128", .format = "float-quantized", .type = "float",
     .strategy = "block", .block = {128, 128}, .act_strategy = "group", .act_group = 128},
    {.scheme = "mxfp8", .format = "mxfp8-quantized", .type = "float", .strategy = "group",
     .group = 32, .act_strategy = "group", .act_group = 32, .scale_dtype = "torch.uint8"},
    {.scheme = "fp8-channel", .format = "float-quantized", .type = "float",
     .strategy = "channel", .act_strategy = "token"},
    {.scheme = "fp8-tensor", .format = "float-quantized", .type = "float",
     .strategy = "tensor", .act_strategy = "token"},
    {.scheme = "int8-channel", .format = "int-quantized", .type = "int",
     .strategy = "channel", .act_strategy = "token"},
};

static const struct row *find_row(const struct scheme *s)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].scheme, s->name))
            return &rows[i];
    return NULL;
}

/* ---- reading ------------------------------------------------------------------ */
static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return !strcmp(config_string(config_section(config), "quant_method"), "compressed-tensors");
}

static bool is_known_format(const char *format)
{
    static const char *const known[] = {"float-quantized", "int-quantized", "naive-quantized",
                                        "mxfp8-quantized", "dense"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(format, known[i]))
            return true;
    return false;
}

/* The format of a group: its own, else that of the whole. */
static const char *group_format(const json_t *section, const json_t *group)
{
    const char *own = config_string(group, "format");
    return *own ? own : config_string(section, "format");
}

static int check(const void *config, struct err *e)
{
    const json_t *section = config_section(config);
    const json_t *groups = json_object_get(section, "config_groups");
    const char *name;
    json_t *group;
    if (!json_is_object(groups))
        return err_set(e, ERR_INPUT, "config.json: compressed-tensors without config_groups");
    json_object_foreach((json_t *)groups, name, group) {
        const char *format = group_format(section, group);
        if (!is_known_format(format))
            return err_set(e, ERR_INPUT, "config.json: %s: compressed-tensors format '%s' is not "
                           "read by this version", name, format);
    }
    const json_t *sparsity = json_object_get(section, "sparsity_config");
    const char *format = config_string(sparsity, "format");
    if (*format && strcmp(format, "dense"))
        return err_set(e, ERR_INPUT, "config.json: sparsity format '%s' is not read by this "
                       "version", format);
    return 0;
}

/* [128,128], or "128x128" in older files */
static bool read_structure(const json_t *x, uint32_t block[2])
{
    if (json_is_string(x)) {
        char *end;
        unsigned long r = strtoul(json_string_value(x), &end, 10);
        unsigned long c = *end == 'x' ? strtoul(end + 1, &end, 10) : 0;
        block[0] = (uint32_t)r;
        block[1] = (uint32_t)c;
        return r && c && r <= UINT32_MAX && c <= UINT32_MAX && !*end;
    }
    for (size_t i = 0; i < 2; i++) {
        json_int_t n = json_integer_value(json_array_get(x, i));
        if (n < 1 || n > UINT32_MAX)
            return false;
        block[i] = (uint32_t)n;
    }
    return json_array_size(x) == 2;
}

/* The scheme that a group declares, for scales stored as s; NULL: none of ours. */
static const struct scheme *group_scheme(const json_t *weights, enum dtype elem, enum dtype scale)
{
    const char *strategy = config_string(weights, "strategy");
    bool is_int = !strcmp(config_string(weights, "type"), "int");
    const json_t *symmetric = json_object_get(weights, "symmetric");
    uint32_t block[2];
    if (json_integer_value(json_object_get(weights, "num_bits")) != 8 || json_is_false(symmetric)
        || is_int != (elem == DT_I8))
        return NULL;
    if (!strcmp(strategy, "tensor")) {
        block[0] = block[1] = 0;
    } else if (!strcmp(strategy, "channel")) {
        block[0] = 1;
        block[1] = 0;
    } else if (!strcmp(strategy, "block")) {
        if (!read_structure(json_object_get(weights, "block_structure"), block))
            return NULL;
    } else if (!strcmp(strategy, "group")) {
        json_int_t n = json_integer_value(json_object_get(weights, "group_size"));
        if (n < 1 || n > UINT32_MAX)
            return NULL;
        block[0] = 1;
        block[1] = (uint32_t)n;
    } else {
        return NULL;
    }
    const json_t *more = json_object_get(weights, "observer_kwargs");
    bool code = scale_is_code(scale) || !strcmp(config_string(more, "scale_fmt"), "ue8m0");
    return scheme_match(elem, code ? DT_F8_E8M0 : DT_F32, block[0], block[1]);
}

/* Targets may be classes, names or Python regular expressions, so a group is
 * chosen by what its arguments say of dtype and shape; two groups that both
 * fit and disagree are an error, not a guess. */
static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    *g = (struct group){.weight = i, .zero = SIZE_MAX};
    if (w->dtype != DT_F8_E4M3 && w->dtype != DT_I8)
        return 0;
    int found = part_find_any(m, w->name, suffixes, &g->scale, e);
    if (found <= 0)
        return found || w->dtype == DT_I8 ? found : group_no_scale(m, i, suffixes, e);

    size_t zero;
    int asymmetric = part_find(m, w->name, "_zero_point", &zero, e);
    if (asymmetric > 0)
        return err_set(e, ERR_INPUT, "tensor '%s' has zero points ('%s'), which are not read by "
                       "this version", w->name, m->t[zero].name);
    if (asymmetric)
        return -1;
    const json_t *section = config_section(config);
    json_t *groups = json_object_get(section, "config_groups"), *group;
    const struct scheme *declared = NULL, *fits = NULL;
    const char *name;
    json_object_foreach(groups, name, group) {
        g->scheme = group_scheme(json_object_get(group, "weights"), w->dtype, m->t[g->scale].dtype);
        if (!g->scheme)
            continue;
        declared = g->scheme;
        if (!group_fits(m, g))
            continue;
        if (fits && fits != g->scheme)
            return err_set(e, ERR_INPUT, "tensor '%s' fits two groups of config_groups, %s and %s",
                           w->name, fits->name, g->scheme->name);
        fits = g->scheme;
    }
    g->scheme = fits ? fits : declared;
    if (!g->scheme) {
        char shape[176];
        return err_set(e, ERR_INPUT, "tensor '%s' %s with scale '%s' %s: config_groups declares no "
                       "scheme of this version for it", w->name, dtype_name(w->dtype),
                       m->t[g->scale].name, tensor_shape(&m->t[g->scale], shape));
    }
    return group_check(m, g, e);
}

/* ---- writing ------------------------------------------------------------------ */
static bool accepts(const struct scheme *s)
{
    return find_row(s) != NULL;
}

static int outputs(const struct scheme *s, const char *name, uint8_t rank, const uint64_t *dim,
                   struct arena *mem, struct out_tensor out[3], size_t *n, struct err *e)
{
    const struct row *row = find_row(s);
    enum dtype scale = row && row->scale_dtype ? DT_U8 : DT_F32;
    return part_outputs(s, name, rank, dim, "_scale", scale, mem, out, n, e);
}

/* QuantizationArgs.  Every key but the last is one that readers of all ages know. */
static json_t *arguments(const struct row *r, bool activation, const char *scale_fmt)
{
    int group = activation ? r->act_group : r->group;
    bool block = !activation && r->block[0];
    json_t *more = scale_fmt ? json_pack("{ss}", "scale_fmt", scale_fmt) : json_object();
    json_t *a = json_pack("{sn sn sb sn si so* so ss sb ss}", "actorder", "block_structure",
                          "dynamic", activation, "group_size", "num_bits", 8,
                          "observer", activation ? json_null() : json_string("minmax"),
                          "observer_kwargs", more,
                          "strategy", activation ? r->act_strategy : r->strategy,
                          "symmetric", 1, "type", r->type);
    if (!a)
        return NULL;
    if ((group && json_object_set_new(a, "group_size", json_integer(group)))
        || (block && json_object_set_new(a, "block_structure",
                                         json_pack("[ii]", r->block[0], r->block[1])))
        || (r->scale_dtype && json_object_set_new(a, "scale_dtype", json_string(r->scale_dtype)))) {
        json_decref(a);
        return NULL;
    }
    return a;
}

static int config(void *root, const struct scheme *s, const struct out_tensor *t, size_t n,
                  struct err *e)
{
    const struct row *r = find_row(s);
    if (!r)
        return err_set(e, ERR_USAGE, "compressed-tensors has no format for scheme %s", s->name);
    json_t *kept = modules_kept(t, n, e);
    if (!kept)
        return -1;
    const char *fmt = s->block_rows == 128 && s->scale == DT_F8_E8M0 ? "ue8m0" : NULL;
    json_t *group = json_pack("{ss so so sn s[s]}", "format", r->format,
                              "input_activations", arguments(r, true, NULL), "weights",
                              arguments(r, false, fmt), "output_activations", "targets", "Linear");
    json_t *q = json_pack("{s{so} ss sn so sn ss ss ss}", "config_groups", "group_0", group,
                          "format", r->format, "global_compression_ratio", "ignore", kept,
                          "kv_cache_scheme", "quant_method", "compressed-tensors",
                          "quantization_status", "compressed", "version", "0.12.0");
    return config_set(root, "quantization_config", q, e);
}

const struct convention convention_compressed_tensors = {
    .name = "compressed-tensors",
    .title = "compressed-tensors (vLLM, llm-compressor): X.weight_scale, groups in config.json",
    .stem = "model",
    .detect = detect,
    .check = check,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

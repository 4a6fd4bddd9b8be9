/* compressed-tensors, the container of llm-compressor and vLLM.
 *
 *     format                X.weight            X.weight_scale
 *     float-quantized       F8_E4M3 [N, K]      [ceil(N/128), ceil(K/128)], [N, 1] or [1]
 *     mxfp8-quantized       F8_E4M3 [N, K]      U8 codes [N, ceil(K/32)]
 *     int-quantized         I8      [N, K]      [N, 1] or [1]
 *     naive-quantized       either of the two
 *                           X.weight_packed
 *     pack-quantized        I32 [N, ceil(K*b/32)]  [N, K/g] or [N, 1]; X.weight_shape I64 [2];
 *                           X.weight_zero_point packed along N, X.weight_g_idx.  Before 0.18: 32/b codes in a word, which
 *                           for 3, 5, 6 and 7 bits is another order and another width
 *     mxfp4-pack-quantized  U8  [N, K/2]        U8 codes [N, K/32]
 *     nvfp4-pack-quantized  U8  [N, K/2]        F8_E4M3 [N, K/16]; X.weight_global_scale F32 [1], which divides
 *
 * config.json declares groups of layers, each with the arguments of its weights
 * and activations, and names the layers by class, name or Python regular
 * expression.  This file reads; compressed_write.c writes. */
#include "formats/conventions/compressed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const suffixes[] = {"_scale", "_scale_inv", NULL};
static const char *const beside[] = {".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale",
                                     ".output_zero_point", NULL};
/* The old names of the scales of the KV cache, which are no weight's. */
static const char *const beside_cache[] = {".input_scale", ".input_zero_point", ".input_global_scale", NULL};

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return !strcmp(config_string(config_section(config), "quant_method"), "compressed-tensors");
}

static bool is_known_format(const char *format)
{
    static const char *const known[] = {"float-quantized", "int-quantized", "naive-quantized", "mxfp8-quantized",
                                        "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized", "dense"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(format, known[i]))
            return true;
    return compressed_is_sparse(format);
}

bool compressed_version(const json_t *section, unsigned *major, unsigned *minor)
{
    return sscanf(config_string(section, "version"), "%u.%u", major, minor) == 2;
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
    const char *sparsity = config_string(json_object_get(section, "sparsity_config"), "format"), *name;
    json_t *group;
    if (*sparsity && !is_known_format(sparsity))
        return err_set(e, ERR_INPUT, "config.json: sparsity format '%s' is not read by this version",
                       sparsity);
    if (json_object_size(json_object_get(json_object_get(section, "transform_config"), "config_groups")))
        return err_set(e, ERR_INPUT,
                       "config.json: transform_config: the weights of this model are rotated, and the values "
                       "that they stand for need the inverse rotation, which this version does not make");
    if (!json_is_object(groups))
        return *sparsity ? 0 : err_set(e, ERR_INPUT, "config.json: compressed-tensors without config_groups");
    json_object_foreach((json_t *)groups, name, group) {
        const char *format = group_format(section, group);
        if (!is_known_format(format))
            return err_set(e, ERR_INPUT, "config.json: %s: compressed-tensors format '%s' is not "
                           "read by this version", name, format);
    }
    return 0;
}

/* A model that was calibrated and not compressed, or decompressed again, has its weights in floating point
 * and all that calibration found beside them. */
static int mark(struct model *m, const void *config, enum part *part, struct err *e)
{
    static const char *const left[] = {
        "_scale", "_zero_point", "_global_scale", "_g_idx", ".input_scale", ".input_zero_point",
        ".input_global_scale", ".output_scale", ".output_zero_point"};
    const char *status = config_string(config_section(config), "quantization_status");
    const bool compressed = !*status || !strcmp(status, "compressed");
    for (size_t i = 0; i < m->n && !compressed; i++) {
        const struct tensor *t = &m->t[i];
        if (!ends_with(t->name, ".weight")
            || (t->dtype != DT_BF16 && t->dtype != DT_F16 && t->dtype != DT_F32))
            continue;
        for (size_t k = 0; k < sizeof left / sizeof *left; k++) {
            size_t found;
            const int r = part_find(m, t->name, left[k], &found, e);
            if (r < 0)
                return -1;
            if (r)
                part[found] = PART_LEFT;
        }
    }
    return compressed_mark(m, config, part, e);
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

static bool read_blocks(const json_t *weights, uint32_t block[2])
{
    const char *strategy = config_string(weights, "strategy");
    json_int_t n = json_integer_value(json_object_get(weights, "group_size"));
    block[0] = block[1] = 0;
    if (!strcmp(strategy, "tensor"))
        return true;
    if (!strcmp(strategy, "block"))
        return read_structure(json_object_get(weights, "block_structure"), block);
    block[0] = 1;
    if (!strcmp(strategy, "channel"))
        return true;
    block[1] = (uint32_t)n;
    return (!strcmp(strategy, "group") || !strcmp(strategy, "tensor_group")) && n >= 1 && n <= UINT32_MAX;
}

/* What tensor i holds by its type: 4 bits in U8, `bits` in I32. Integers of fewer bits that lie in bytes
 * (W4A8) are INT8 that uses a part of its range. */
static enum dtype element(const struct tensor *w, bool is_int, json_int_t bits)
{
    if (w->dtype == DT_U8)
        return is_int || bits != 4 ? DT_COUNT : DT_F4;
    if (w->dtype == DT_I32)
        return !is_int || bits < 2 || bits > 8 ? DT_COUNT : bits == 4 ? DT_I4 : DT_I8;
    if (w->dtype == DT_I4 || w->dtype == DT_I8)
        return !is_int || bits < 2 || bits > 8 || (w->dtype == DT_I4 && bits != 4) ? DT_COUNT : w->dtype;
    return bits != 8 || is_int ? DT_COUNT : w->dtype;
}

/* The scheme that a group declares for tensor w, its scales in a tensor s; NULL: none of ours. */
static const struct scheme *group_scheme(const json_t *weights, const struct tensor *w, enum dtype s)
{
    struct scheme x = {.elem = DT_COUNT};
    bool is_int = !strcmp(config_string(weights, "type"), "int");
    json_int_t bits = json_integer_value(json_object_get(weights, "num_bits"));
    uint32_t block[2];
    if (!read_blocks(weights, block) || (x.elem = element(w, is_int, bits)) == DT_COUNT)
        return NULL;
    x.bits = w->dtype == DT_I8 ? 8 : (uint8_t)bits;
    x.block_rows = block[0];
    x.block_cols = block[1];
    x.zero_point = is_int && json_is_false(json_object_get(weights, "symmetric"));
    x.two_level = x.elem == DT_F4 && s == DT_F8_E4M3;
    const json_t *more = json_object_get(weights, "observer_kwargs");
    bool code = scale_is_code(s) || !strcmp(config_string(more, "scale_fmt"), "ue8m0");
    x.scale = code ? DT_F8_E8M0 : scale_is_value(s) || s == DT_F8_E4M3 ? s : DT_F32;
    return scheme_like(x);
}

/* Is target the name of g's module? A class ("Linear") is the name of none. */
static bool is_target(const char *target, const struct group *g)
{
    size_t n = strlen(target);
    return !strncmp(g->name, target, n) && (!strcmp(g->name + n, ".weight") || !g->name[n]);
}

static bool names_target(const json_t *group, const struct group *g)
{
    const json_t *list = json_object_get(group, "targets");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && (!strncmp(s, "re:", 3) ? python_match(s + 3, g->name) : is_target(s, g)))
            return true;
    }
    return false;
}

/* Up to 0.17 no code lay in two words.  The width says which way it is, but for a few narrow weights. */
static int find_packing(const json_t *section, const struct tensor *w, uint64_t cols, unsigned bits,
                        enum packing *p, struct err *e)
{
    unsigned major, minor;
    const uint64_t words = ceil_div(cols * bits, 32), slots = ceil_div(cols, 32 / bits);
    *p = w->dim[w->rank - 1] == slots && slots != words ? PACK_SLOTS : PACK_WORDS;
    if (32 % bits == 0 || words != slots || slots == 1)
        return 0;
    if (!compressed_version(section, &major, &minor))
        return err_set(e, ERR_INPUT,
                       "tensor '%s': %llu codes of %u bits are as wide in both ways to pack them, and "
                       "config.json has no \"version\" that tells them apart",
                       w->name, (unsigned long long)cols, bits);
    *p = !major && minor < 18 ? PACK_SLOTS : PACK_WORDS;
    return 0;
}

/* Codes that are packed: their name, their view, and what else they need. */
static int read_packed(struct model *m, const json_t *section, struct group *g, const struct tensor *w,
                       const struct scheme *s, struct err *e)
{
    if (w->dtype == DT_U8)
        return group_packed(m, g, DT_F4, PACK_BYTES, 4, 0, e)
            || (s->two_level && group_find(m, g, PART_GLOBAL, "_global_scale", e) < 0) ? -1 : 0;
    if (w->dtype != DT_I32)
        return 0;
    uint64_t shape[2];
    enum packing p;
    if (group_find(m, g, PART_SHAPE, "_shape", e) < 0 || group_find(m, g, PART_ORDER, "_g_idx", e) < 0)
        return -1;
    if (g->of[PART_SHAPE] == NO_TENSOR)
        return err_set(e, ERR_INPUT, "tensor '%s' is packed, and '%s_shape' is missing", w->name, g->name);
    if (compressed_shape(m, g->of[PART_SHAPE], shape, e))
        return -1;
    if (w->rank != 2 || w->dim[0] != shape[0])
        return err_set(e, ERR_INPUT, "tensor '%s' has %llu rows, but its shape says %llu", w->name,
                       (unsigned long long)w->dim[0], (unsigned long long)shape[0]);
    return find_packing(section, w, shape[1], s->bits, &p, e)
               ? -1
               : group_packed(m, g, s->elem, p, s->bits, shape[1], e);
}

/* Groups name layers by class, name or Python expression.  A group that names
 * this module counts; else one is chosen by what its arguments say of dtype and
 * shape, and two that both fit and disagree are an error, not a guess. */
static int find_group(struct model *m, const json_t *section, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[g->of[PART_WEIGHT]], *s = &m->t[g->of[PART_SCALE]];
    json_t *groups = json_object_get(section, "config_groups"), *group;
    const struct scheme *declared = NULL, *fits = NULL;
    const char *name;
    json_object_foreach(groups, name, group) {
        const struct scheme *x = group_scheme(json_object_get(group, "weights"), w, s->dtype);
        if (!x)
            continue;
        g->scheme = x;
        if (json_object_size(groups) > 1 && names_target(group, g)) {
            fits = x;
            break;
        }
        declared = x;
        if (read_packed(m, section, g, w, x, e) && e->kind != ERR_INPUT)
            return -1;
        if (!group_fits(m, g))
            continue;
        if (fits && fits != x)
            return err_set(e, ERR_INPUT, "tensor '%s' fits two groups of config_groups, %s and %s",
                           w->name, fits->name, x->name);
        fits = x;
    }
    g->scheme = fits ? fits : declared;
    if (g->scheme)
        return read_packed(m, section, g, w, g->scheme, e);
    char shape[176];
    return err_set(e, ERR_INPUT, "tensor '%s' %s with scale '%s' %s: config_groups declares no "
                   "scheme of this version for it", w->name, dtype_name(w->dtype), s->name, tensor_shape(s, shape));
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    bool packed = ends_with(w->name, "_packed");
    if (packed ? w->dtype != DT_U8 && w->dtype != DT_I32
               : w->dtype != DT_F8_E4M3 && w->dtype != DT_I8 && w->dtype != DT_I4)
        return 0;
    if (ends_with(w->name, "_scale")) /* NVFP4's are E4M3 themselves */
        return 0;
    if (packed && !(g->name = arena_strndup(&m->mem, w->name, strlen(w->name) - strlen("_packed"), e)))
        return -1;
    int found = group_find_any(m, g, PART_SCALE, suffixes, e);
    if (found <= 0)
        return found || w->dtype == DT_I8 ? found : group_no_scale(m, i, suffixes, e);
    const bool cache = json_is_object(json_object_get(config_section(config), "kv_cache_scheme"));
    if (find_group(m, config_section(config), g, e) || group_find(m, g, PART_POINT, "_zero_point", e) < 0
        || group_aux(m, g, cache ? beside_cache : beside, e))
        return -1;
    if (g->scheme->two_level && g->of[PART_GLOBAL] == NO_TENSOR)
        return err_set(e, ERR_INPUT, "tensor '%s' has no '%s_global_scale'", w->name, g->name);
    g->global_divides = g->scheme->two_level;
    if (g->scheme->zero_point && g->of[PART_POINT] == NO_TENSOR)
        return err_set(e, ERR_INPUT, "tensor '%s' is declared asymmetric and has no '%s_zero_point'", w->name, g->name);
    if (!g->scheme->zero_point && g->of[PART_POINT] != NO_TENSOR) { /* said to be symmetric: they must be zeros */
        g->of[PART_ZERO] = g->of[PART_POINT];
        g->of[PART_POINT] = NO_TENSOR;
    }
    return group_check(m, g, e);
}

const struct convention convention_compressed_tensors = {
    .name = "compressed-tensors",
    .title = "compressed-tensors (vLLM, llm-compressor): X.weight_scale, groups in config.json",
    .stem = "model",
    .detect = detect,
    .check = check,
    .mark = mark,
    .expand = compressed_expand,
    .pair = pair,
    .accepts = compressed_accepts,
    .outputs = compressed_outputs,
    .config = compressed_config,
};

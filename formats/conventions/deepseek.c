/* "fp8" of Hugging Face: DeepSeek-V3 and its many followers.
 *
 *     X.weight            F8_E4M3 [N, K]
 *     X.weight_scale_inv  F32     [ceil(N/128), ceil(K/128)]   w * scale, in spite of its name
 *
 * The key is the same whatever the scale is: F32 (DeepSeek), BF16 (Qwen3), F16
 * (some Qwen3), U8 codes (SGLang's "mxfp8", 1 x 32), so the dtype comes from the
 * header.  The block size comes from the config alone: shapes that are not
 * multiples of it fit several.  Without a block there is one X.weight_scale per
 * matrix (AutoFP8), and activations may have an X.input_scale. */
#include "formats/conventions/parts.h"

#include <string.h>

static const char *const suffixes[] = {"_scale_inv", "_scale", ".scale", NULL};
static const char *const beside[] = {".input_scale", ".activation_scale", ".input_scale_inv", NULL};

static bool detect(const struct model *m, const void *config)
{
    const json_t *q = config_section(config);
    if (q) {
        const char *method = config_string(q, "quant_method");
        return !strcmp(method, "fp8") || !strcmp(method, "mxfp8");
    }
    for (size_t i = 0; i < m->n; i++)
        if (ends_with(m->t[i].name, ".weight_scale_inv"))
            return true;
    return false;
}

/* Two positive integers that fit a scheme's block. */
static bool read_block(const json_t *list, uint32_t block[2])
{
    for (size_t i = 0; i < 2; i++) {
        const json_t *x = json_array_get(list, i);
        if (!json_is_integer(x) || json_integer_value(x) < 1 || json_integer_value(x) > UINT32_MAX)
            return false;
        block[i] = (uint32_t)json_integer_value(x);
    }
    return json_array_size(list) == 2;
}

static int find_block(const struct tensor *w, const struct tensor *s, const json_t *q,
                      uint32_t block[2], struct err *e)
{
    char ws[176], ss[176];
    const json_t *list = json_object_get(q, "weight_block_size");
    if (list && !json_is_null(list)) {
        if (read_block(list, block))
            return 0;
        return err_set(e, ERR_INPUT, "config.json: weight_block_size is not two positive integers");
    }
    if (q && !strcmp(config_string(q, "quant_method"), "mxfp8")) {
        block[0] = 1;
        block[1] = 32;
        return 0;
    }
    if (q && tensor_elems(s) == tensor_matrix(w).batch) { /* "fp8" without blocks: per tensor */
        block[0] = block[1] = 0;
        return 0;
    }
    return err_set(e, ERR_INPUT, "nothing states the block size of '%s' %s with scale '%s' %s: "
                   "config.json needs \"quantization_config\": {\"quant_method\": \"fp8\", "
                   "\"weight_block_size\": [128, 128]}, or whatever its maker used",
                   w->name, tensor_shape(w, ws), s->name, tensor_shape(s, ss));
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    if (w->dtype != DT_F8_E4M3)
        return 0;
    int found = group_find_any(m, g, PART_SCALE, suffixes, e);
    if (found <= 0)
        return found ? -1 : group_no_scale(m, i, suffixes, e);
    const json_t *q = config_section(config);
    const struct tensor *s = &m->t[g->of[PART_SCALE]];
    uint32_t block[2];
    if (find_block(w, s, q, block, e))
        return -1;
    bool code = scale_is_code(s->dtype) || !strcmp(config_string(q, "scale_fmt"), "ue8m0");
    g->scheme = scheme_match(DT_F8_E4M3, code ? DT_F8_E8M0 : scale_is_value(s->dtype) ? s->dtype : DT_F32,
                             block[0], block[1]);
    if (!g->scheme)
        return err_set(e, ERR_INPUT, "tensor '%s': blocks of %u x %u with %s scales are no scheme "
                       "of this version", w->name, block[0], block[1],
                       code ? "power-of-two" : dtype_name(s->dtype));
    return group_check(m, g, e) || group_aux(m, g, beside, e) ? -1 : 0;
}

/* ---- writing ------------------------------------------------------------------ */
static bool is_block(const struct scheme *s) { return s->block_rows == 128 && s->block_cols == 128; }

static bool is_mx(const struct scheme *s) { return s->scale == DT_F8_E8M0 && s->block_rows == 1 && s->block_cols == 32; }

static bool accepts(const struct scheme *s, enum activation a)
{
    if (s->elem != DT_F8_E4M3 || a == ACTIVATION_NONE)
        return false;
    if (!s->block_rows && !s->block_cols)
        return s->scale == DT_F32;
    return a == ACTIVATION_DYNAMIC && (is_block(s) || is_mx(s));
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const struct scheme *s = w->scheme;
    if (put_weight(&o, NULL, PACK_PLAIN, DT_F8_E4M3)
        || put_scale(&o, s->block_cols ? "_scale_inv" : "_scale",
                     is_mx(s) ? DT_U8 : s->scale == DT_F8_E8M0 ? DT_F32 : s->scale))
        return -1;
    return w->activation == ACTIVATION_STATIC ? put_part(&o, PART_AUX, ".input_scale", DT_F32, 1, (uint64_t[]){1}) : 0;
}

static bool any_static(const struct out_tensor *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (t[i].part == PART_WEIGHT && t[i].activation == ACTIVATION_STATIC)
            return true;
    return false;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    const struct scheme *s;
    json_t *kept;
    if (one_scheme(t, n, "deepseek", &s, e) || !(kept = modules_kept(t, n, e)))
        return -1;
    bool block = s && s->block_cols, mx = s && is_mx(s);
    json_t *q = json_pack("{ss ss ss}", "activation_scheme", any_static(t, n) ? "static" : "dynamic", "fmt", "e4m3",
                          "quant_method", mx ? "mxfp8" : "fp8");
    bool ok = q && (!block || !json_object_set_new(q, "weight_block_size",
                                                   json_pack("[ii]", (int)s->block_rows, (int)s->block_cols)));
    if (ok && block && !mx && s->scale == DT_F8_E8M0)
        ok = !json_object_set_new(q, "scale_fmt", json_string("ue8m0"));
    if (ok && json_array_size(kept))
        ok = !json_object_set(q, "modules_to_not_convert", kept);
    json_decref(kept);
    if (!ok) {
        json_decref(q);
        return err_set(e, ERR_SYSTEM, "out of memory for config.json");
    }
    return config_set(root, "quantization_config", q, e);
}

const struct convention convention_deepseek = {
    .name = "deepseek",
    .title = "DeepSeek-V3, Qwen, Hugging Face fp8: X.weight_scale_inv, one scale per 128 x 128 block",
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

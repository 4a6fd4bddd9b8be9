/* Enflame's vllm-gcu, W8A8 with fixed scales of activations.
 *
 *     X.weight      I8  [N, K]
 *     X.out_scales  F32 [N]     scale of the weight times that of the activations
 *     X.in_scales   F32 [1]     scale of the activations (a value in BF16, in which the server keeps it)
 *
 * The server divides inputs by in_scales, rounds them to INT8, and multiplies
 * what comes out by out_scales.  One in_scales per column, which folds smoothing
 * in, is not read.  quantize_config.json names the method and, under "ignore",
 * what is not quantized: releases before that key was read quantize all.
 *
 * Source: EnflameTechnology/vllm-gcu vllm_gcu/kernels/quantization/w8a8.py. */
#include "formats/conventions/parts.h"

#include <stdlib.h>
#include <string.h>

#define FILE_NAME "quantize_config.json"

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return !strcmp(config_string(json_object_get(config, FILE_NAME), "quant_method"), "w8a8")
        || !strcmp(config_string(config_section(config), "quant_method"), "w8a8");
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    static const char *const suffix[] = {".out_scales", NULL};
    char shape[176];
    (void)config;
    if (m->t[i].dtype != DT_I8)
        return 0;
    const int found = group_find_any(m, g, PART_SCALE, suffix, e);
    if (found <= 0)
        return found ? -1 : group_no_scale(m, i, suffix, e);
    const int in = group_find(m, g, PART_GLOBAL, ".in_scales", e);
    if (in <= 0)
        return in ? -1 : err_set(e, ERR_INPUT, "tensor '%s' needs '.in_scales' beside it (w8a8)", g->name);
    const struct tensor *t = &m->t[g->of[PART_GLOBAL]];
    if (tensor_elems(t) != 1 || !scale_is_value(t->dtype))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s %s: one value for all columns is read", t->name, dtype_name(t->dtype),
                       tensor_shape(t, shape));
    g->scheme = scheme_find("int8-channel");
    g->global_divides = true;
    return group_check(m, g, e);
}

static bool accepts(const struct scheme *s, enum activation a)
{
    return a == ACTIVATION_STATIC && !strcmp(s->name, "int8-channel");
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n, struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    return put_weight(&o, NULL, PACK_PLAIN, DT_I8) || put_row_scale(&o, ".out_scales")
        || put_part(&o, PART_GLOBAL, ".in_scales", DT_F32, 1, (uint64_t[]){1}) || (out[2].divides = true, 0) ? -1 : 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    json_t *kept = modules_kept(t, n, e);
    json_t *q = kept ? json_pack("{ss si so}", "quant_method", "w8a8", "group_size", -1, "ignore", kept) : NULL;
    return q ? config_set(root, "quantization_config", q, e) : err_set(e, ERR_SYSTEM, "out of memory for config.json");
}

static int description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    json_t *kept = modules_kept(t, n, e);
    json_t *q = kept ? json_pack("{ss si so}", "quant_method", "w8a8", "group_size", -1, "ignore", kept) : NULL;
    char *s = q ? json_dumps(q, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    int r = s ? buf_puts(text, s, e) || buf_puts(text, "\n", e) : err_set(e, ERR_SYSTEM, "out of memory for " FILE_NAME);
    free(s);
    json_decref(q);
    return r ? -1 : 0;
}

const struct convention convention_gcu_w8a8 = {
    .name = "gcu-w8a8",
    .title = "Enflame vllm-gcu, w8a8 with fixed activation scales: X.out_scales, X.in_scales; " FILE_NAME,
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
    .description_name = FILE_NAME,
    .description = description,
};

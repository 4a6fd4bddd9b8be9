/* DeepSeek-V4: the blocks of V3 with their power-of-two scales stored as what
 * they are, and routed experts in FP4.
 *
 *     X.weight  F8_E4M3 [N, K]      X.scale  F8_E8M0 [ceil(N/128), ceil(K/128)]
 *     X.weight  I8      [N, K/2]    X.scale  F8_E8M0 [N, K/32]     two E2M1 codes in a byte, the even column low
 *
 * config.json says expert_dtype "fp4" for the second kind. */
#include "formats/conventions/parts.h"

#include <stdlib.h>
#include <string.h>

static const char *const suffixes[] = {".scale", NULL};

static bool detect(const struct model *m, const void *config)
{
    const char *method = config_string(config_section(config), "quant_method");
    if (*method && strcmp(method, "fp8") && strcmp(method, "deepseek_v4_fp8"))
        return false;
    for (size_t i = 0; i < m->n; i++)
        if (m->t[i].dtype == DT_F8_E8M0 && ends_with(m->t[i].name, ".scale"))
            return true;
    return false;
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    if (w->dtype == DT_I8) {
        int found = group_find_any(m, g, PART_SCALE, suffixes, e);
        if (found <= 0)
            return found;
        g->scheme = scheme_find("mxfp4");
        return group_packed(m, g, DT_F4, PACK_BYTES, 4, 0, e) || group_check(m, g, e) ? -1 : 0;
    }
    /* Everything else is as in V3; only the name of the scale differs. */
    return w->dtype == DT_F8_E4M3 ? convention_deepseek.pair(m, config, i, g, e) : 0;
}

static bool is_fp4(const struct scheme *s) { return s->elem == DT_F4 && s->scale == DT_F8_E8M0 && s->block_cols == 32; }

static bool accepts(const struct scheme *s, enum activation a)
{
    bool block = s->elem == DT_F8_E4M3 && s->scale == DT_F8_E8M0 && s->block_rows == 128 && s->block_cols == 128;
    return a == ACTIVATION_DYNAMIC && (block || is_fp4(s));
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    bool fp4 = is_fp4(w->scheme);
    return put_weight(&o, NULL, fp4 ? PACK_BYTES : PACK_PLAIN, fp4 ? DT_I8 : DT_F8_E4M3)
        || put_scale(&o, ".scale", DT_F8_E8M0) ? -1 : 0;
}

/* As V3, but for the experts, of which the quantization_config does not speak. */
static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    struct out_tensor *block = mem_alloc(n, sizeof *block, e);
    size_t k = 0;
    bool fp4 = false;
    for (size_t i = 0; block && i < n; i++) {
        bool four = t[i].part == PART_WEIGHT && is_fp4(t[i].scheme);
        fp4 |= four;
        if (!four)
            block[k++] = t[i];
    }
    int r = block ? convention_deepseek.config(root, block, k, e) : -1;
    free(block);
    json_t *q = json_object_get(root, "quantization_config");
    if (r || config_set(root, "expert_dtype", json_string(fp4 ? "fp4" : "fp8"), e))
        return -1;
    if (json_object_get(q, "weight_block_size"))
        return 0;
    /* Experts alone: their server still wants to know what the rest would be. */
    return config_set(q, "weight_block_size", json_pack("[ii]", 128, 128), e)
        || config_set(q, "scale_fmt", json_string("ue8m0"), e) ? -1 : 0;
}

const struct convention convention_deepseek_v4 = {
    .name = "deepseek-v4",
    .title = "DeepSeek-V4: X.scale, one E8M0 code per 128 x 128 block; experts in FP4 with one per 1 x 32",
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

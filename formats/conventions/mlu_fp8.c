/* "fp8" of Hugging Face as Cambricon's vllm-mlu reads it with a scale per row,
 * which the config has to say.
 *
 *     X.weight         F8_E4M3 [N, K]
 *     X.weight_scale   F32     [N]
 *
 * `fmt` is there for other readers of "fp8"; this one does not look at it.  The
 * DeepSeek class of vllm-mlu refuses FP8 of any kind.
 *
 * Source: Cambricon/vllm-mlu vllm_mlu/model_executor/layers/quantization/fp8.py. */
#include "formats/conventions/parts.h"

#include <string.h>

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    const json_t *q = config_section(config);
    return !strcmp(config_string(q, "quant_method"), "fp8") && !strcmp(config_string(q, "weight_quant_method"), "per_channel");
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    static const char *const suffix[] = {"_scale", NULL};
    (void)config;
    if (m->t[i].dtype != DT_F8_E4M3)
        return 0;
    const int found = group_find_any(m, g, PART_SCALE, suffix, e);
    if (found <= 0)
        return found ? -1 : group_no_scale(m, i, suffix, e);
    g->scheme = scheme_find("fp8-channel");
    return group_check(m, g, e);
}

static bool accepts(const struct scheme *s, enum activation a)
{
    return a == ACTIVATION_DYNAMIC && !strcmp(s->name, "fp8-channel");
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n, struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    return put_weight(&o, NULL, PACK_PLAIN, DT_F8_E4M3) || put_row_scale(&o, "_scale") ? -1 : 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    const struct scheme *s;
    json_t *kept;
    if (one_scheme(t, n, "mlu-fp8", &s, e) || !(kept = modules_kept(t, n, e)))
        return -1;
    json_t *q = json_pack("{ss ss ss ss ss so}", "quant_method", "fp8", "fmt", "e4m3", "activation_scheme", "dynamic",
                          "weight_quant_method", "per_channel", "activation_quant_method", "per_token", "ignored_layers", kept);
    return q ? config_set(root, "quantization_config", q, e) : err_set(e, ERR_SYSTEM, "out of memory for config.json");
}

const struct convention convention_mlu_fp8 = {
    .name = "mlu-fp8",
    .title = "Cambricon vllm-mlu, fp8 with a scale per row: X.weight_scale",
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

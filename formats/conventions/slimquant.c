/* Hygon's slimquant_w4a8: routed experts of 4 bits, all other linear layers of 8.
 *
 *     X.weight        I8 [N, K]      X.weight_scale  F32 [N, 1]
 *     of an expert:   I8 [N, K/2], the even column in the HIGH half; its scale is a
 *     sixteenth, since the kernel takes a half as the upper four bits of an INT8
 *
 * The server reads the name of the method and nothing else, and takes every linear
 * layer of its own as quantized: modules_to_not_convert is for readers like this one.
 *
 * Sources: HYGON-AI/sglang-das python/sglang/srt/layers/quantization/
 * slimquant_w4a8.py and w4a8_utils.py, HYGON-AI/one-click-quant. */
#include "formats/conventions/parts.h"
#include "formats/target.h"

#include <string.h>

#define METHOD "slimquant_w4a8"

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return !strcmp(config_string(config_section(config), "quant_method"), METHOD);
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    static const char *const suffix[] = {"_scale", NULL};
    (void)config;
    if (m->t[i].dtype != DT_I8)
        return 0;
    const bool four = tensor_role(m->t[i].name) == ROLE_EXPERT;
    if (four && group_packed(m, g, DT_I4, PACK_HIGH, 4, 0, e))
        return -1;
    const int found = group_find_any(m, g, PART_SCALE, suffix, e);
    if (found <= 0)
        return found ? -1 : group_no_scale(m, i, suffix, e);
    g->scheme = scheme_find(four ? "int4-channel" : "int8-channel");
    g->constant = four ? 16 : 0;
    return group_check(m, g, e);
}

static bool accepts(const struct scheme *s, enum activation a)
{
    return a == ACTIVATION_DYNAMIC && (!strcmp(s->name, "int8-channel") || !strcmp(s->name, "int4-channel"));
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n, struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const bool four = w->scheme->bits == 4;
    if (four != (tensor_role(w->name) == ROLE_EXPERT))
        return err_set(e, ERR_USAGE, "tensor '%s': slimquant-w4a8 has 4 bits for routed experts and 8 for all others, not %s", w->name,
                       w->scheme->name);
    if (put_weight(&o, NULL, four ? PACK_HIGH : PACK_PLAIN, DT_I8) || put_scale(&o, "_scale", DT_F32))
        return -1;
    out[1].times = four ? 0x1p-4f : 0;
    return 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    json_t *kept = modules_kept(t, n, e);
    json_t *q = kept ? json_pack("{ss ss so}", "quant_method", METHOD, "activation_scheme", "dynamic", "modules_to_not_convert",
                                 kept) : NULL;
    return q ? config_set(root, "quantization_config", q, e) : err_set(e, ERR_SYSTEM, "out of memory for config.json");
}

const struct convention convention_slimquant = {
    .name = "slimquant-w4a8",
    .title = "Hygon slimquant_w4a8: INT4 experts, the even column in the high half, INT8 elsewhere",
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

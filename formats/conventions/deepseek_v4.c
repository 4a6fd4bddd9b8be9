/* DeepSeek-V4: the blocks of V3 with their power-of-two scales stored as what
 * they are.
 *
 *     X.weight  F8_E4M3 [N, K]
 *     X.scale   F8_E8M0 [ceil(N/128), ceil(K/128)]
 *
 * Its routed experts are packed FP4 (I8 [N, K/2] with [N, K/32] codes), which
 * this version does not read. */
#include "formats/conventions/parts.h"

#include <string.h>

static const char *const suffixes[] = {".scale", NULL};

static bool detect(const struct model *m, const void *config)
{
    const char *method = config_string(config_section(config), "quant_method");
    if (*method && strcmp(method, "fp8") && strcmp(method, "deepseek_v4_fp8"))
        return false;
    for (size_t i = 0; i < m->n; i++)
        if (m->t[i].dtype == DT_F8_E8M0 && name_ends(m->t[i].name, ".scale"))
            return true;
    return false;
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    *g = (struct group){.weight = i, .zero = SIZE_MAX};
    int found = part_find_any(m, w->name, suffixes, &g->scale, e);
    if (found < 0)
        return -1;
    if (w->dtype == DT_I8 && found)
        return err_set(e, ERR_INPUT, "tensor '%s' with '%s' is packed FP4, which is not read by "
                       "this version", w->name, m->t[g->scale].name);
    if (w->dtype != DT_F8_E4M3)
        return 0;
    if (!found)
        return group_no_scale(m, i, suffixes, e);
    /* Everything else is as in V3; only the name of the scale differs. */
    return convention_deepseek.pair(m, config, i, g, e);
}

static bool accepts(const struct scheme *s)
{
    return s->elem == DT_F8_E4M3 && s->scale == DT_F8_E8M0 && s->block_rows == 128
        && s->block_cols == 128;
}

static int outputs(const struct scheme *s, const char *name, uint8_t rank, const uint64_t *dim,
                   struct arena *mem, struct out_tensor out[3], size_t *n, struct err *e)
{
    return part_outputs(s, name, rank, dim, ".scale", DT_F8_E8M0, mem, out, n, e);
}

static int config(void *root, const struct scheme *s, const struct out_tensor *t, size_t n,
                  struct err *e)
{
    return convention_deepseek.config(root, s, t, n, e);
}

const struct convention convention_deepseek_v4 = {
    .name = "deepseek-v4",
    .title = "DeepSeek-V4: X.scale, one E8M0 code per 128 x 128 block",
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

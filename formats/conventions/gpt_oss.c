/* GPT-OSS: stacks of experts in MXFP4, everything else in BF16.
 *
 *     X_blocks  U8 [E, N, K/32, 16]    two E2M1 codes in a byte, the even column low
 *     X_scales  U8 [E, N, K/32]        codes of powers of two
 *
 * on Hugging Face, X being model.layers.L.mlp.experts.gate_up_proj or down_proj;
 * the original release has X.blocks and X.scales, X being block.L.mlp.mlp1_weight.
 * Unquantized, X on Hugging Face is [E, K, N]: a linear layer there has its
 * inputs first (transformers, integrations/mxfp4.py, convert_moe_packed_tensors). */
#include "formats/conventions/parts.h"

#include <string.h>

/* The suffixes of both, codes and scales. */
static const char *const pairs[][2] = {{"_blocks", "_scales"}, {".blocks", ".scales"}};
enum { PAIRS = sizeof pairs / sizeof *pairs, BLOCK = 32, BLOCK_BYTES = 16 };

static bool detect(const struct model *m, const void *config)
{
    const char *method = config_string(config_section(config), "quant_method");
    if (*method && strcmp(method, "mxfp4"))
        return false;
    for (size_t i = 0; i < m->n; i++)
        for (int k = 0; k < PAIRS; k++)
            if (m->t[i].dtype == DT_U8 && m->t[i].rank >= 3 && ends_with(m->t[i].name, pairs[k][0])
                && m->t[i].dim[m->t[i].rank - 1] == BLOCK_BYTES)
                return true;
    return false;
}

static bool inputs_first(const char *name)
{
    return ends_with(name, ".mlp.experts.gate_up_proj") || ends_with(name, ".mlp.experts.down_proj");
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    int k = 0;
    char shape[176];
    (void)config;
    while (k < PAIRS && !ends_with(w->name, pairs[k][0]))
        k++;
    if (k == PAIRS || w->dtype != DT_U8)
        return 0;
    if (w->rank < 3 || w->dim[w->rank - 1] != BLOCK_BYTES)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, not [.., K/32, 16]", w->name, tensor_shape(w, shape));
    if (!(g->name = arena_strndup(&m->mem, w->name, strlen(w->name) - strlen(pairs[k][0]), e)))
        return -1;
    const char *const scale[] = {pairs[k][1], NULL};
    int found = group_find(m, g, PART_SCALE, pairs[k][1], e);
    if (found <= 0)
        return found ? -1 : group_no_scale(m, i, scale, e);
    g->view = (struct view){.elem = DT_F4, .packing = PACK_BYTES, .bits = 4, .rank = w->rank - 1};
    memcpy(g->view.dim, w->dim, g->view.rank * sizeof *w->dim);
    if (!mul_u64(g->view.dim[g->view.rank - 1], BLOCK, &g->view.dim[g->view.rank - 1]))
        return err_set(e, ERR_INPUT, "tensor '%s' %s: its size overflows", w->name, tensor_shape(w, shape));
    g->scheme = scheme_find("mxfp4");
    g->inputs_first = inputs_first(g->name);
    return group_check(m, g, e);
}

static bool accepts(const struct scheme *s, enum activation a)
{
    return a == ACTIVATION_NONE && !strcmp(s->name, "mxfp4");
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    if (w->rank >= 2 && (w->rank < 3 || ends_with(w->name, ".weight")))
        return err_set(e, ERR_USAGE, "tensor '%s': the convention gpt-oss has no place for mxfp4 outside stacks of experts; "
                       "a rule can exclude it (PATTERN = keep)", w->name);
    if (w->rank >= 2 && w->dim[w->rank - 1] % BLOCK)
        return err_set(e, ERR_INPUT, "tensor '%s' has %llu columns, which blocks of 32 do not divide", w->name,
                       (unsigned long long)w->dim[w->rank - 1]);
    if (put_weight(&o, "_blocks", PACK_BYTES, DT_U8) || put_scale(&o, "_scales", DT_U8))
        return -1;
    if (out->rank == TENSOR_MAX_RANK)
        return err_set(e, ERR_INPUT, "tensor '%s' has too many dimensions", w->name);
    out->dim[out->rank - 1] /= BLOCK_BYTES;
    out->dim[out->rank++] = BLOCK_BYTES;
    return 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    json_t *kept = modules_kept(t, n, e);
    if (!kept)
        return -1;
    return config_set(root, "quantization_config",
                      json_pack("{so ss}", "modules_to_not_convert", kept, "quant_method", "mxfp4"), e);
}

const struct convention convention_gpt_oss = {
    .name = "gpt-oss",
    .title = "GPT-OSS: stacks of experts in MXFP4, X_blocks and X_scales",
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .inputs_first = inputs_first,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};

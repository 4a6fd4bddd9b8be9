/* SmoothQuant of Cambricon's vllm-mlu, and of xLLM on MLU.
 *
 *     X.qweight             I8 [N, K], of experts also [N, K/2] with 4 bits, the even column in the low half
 *     X.per_channel_scale   F32 [N]
 *     X.smooth              F32 [K]
 *
 * Inputs are multiplied by smooth before they are quantized, token by token: all
 * ones where nothing was smoothed, which is all that is written and all that is
 * read.  Precisions are in a file of its own, quantize_config.json.
 *
 * Sources: Cambricon/vllm-mlu vllm_mlu/model_executor/layers/quantization/
 * smoothquant.py; jd-opensource/xllm xllm/core/layers/common/linear.cpp. */
#include "formats/conventions/parts.h"
#include "formats/target.h"

#include <string.h>

#define FILE_NAME "quantize_config.json"

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return !strcmp(config_string(json_object_get(config, FILE_NAME), "quant_mode"), "SmoothQuant");
}

static int check(const void *config, struct err *e)
{
    const json_t *q = json_object_get(config, FILE_NAME);
    const char *method = config_string(q, "input_quant_method");
    if (strcmp(method, "per_token"))
        return err_set(e, ERR_INPUT, FILE_NAME ": input_quant_method '%s' is not read by this version", method);
    if (json_integer_value(json_object_get(q, "group_size")) > 1)
        return err_set(e, ERR_INPUT, FILE_NAME ": scales of groups are not read by this version");
    return 0;
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    static const char *const suffix[] = {".per_channel_scale", NULL};
    const struct tensor *t = &m->t[i];
    const json_t *q = json_object_get(config, FILE_NAME);
    if (t->dtype != DT_I8 || !ends_with(t->name, ".qweight"))
        return 0;
    g->name = arena_printf(&m->mem, e, "%.*sweight", (int)(strlen(t->name) - strlen("qweight")), t->name);
    if (!g->name)
        return -1;
    const char *bits = config_string(q, "weight_precision");
    if (tensor_role(g->name) == ROLE_EXPERT && *config_string(q, "expert_weight_precision"))
        bits = config_string(q, "expert_weight_precision");
    const bool four = !strcmp(bits, "int4");
    if (*bits && !four && strcmp(bits, "int8"))
        return err_set(e, ERR_INPUT, "tensor '%s': weight_precision '%s' of " FILE_NAME " is not read by this version", t->name, bits);
    if (four && group_packed(m, g, DT_I4, PACK_BYTES, 4, 0, e))
        return -1;
    const int found = group_find_any(m, g, PART_SCALE, suffix, e);
    if (found <= 0)
        return found ? -1 : group_no_scale(m, i, suffix, e);
    if (group_find(m, g, PART_ONE, ".smooth", e) < 0)
        return -1;
    if (g->of[PART_ONE] != NO_TENSOR && m->t[g->of[PART_ONE]].dtype != DT_F32)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, and factors of inputs are F32", m->t[g->of[PART_ONE]].name,
                       dtype_name(m->t[g->of[PART_ONE]].dtype));
    g->scheme = scheme_find(four ? "int4-channel" : "int8-channel");
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
    if (w->rank != 2)
        return err_set(e, ERR_USAGE, "tensor '%s' has rank %u: mlu-smoothquant has a place for matrices only", w->name, w->rank);
    if (four && tensor_role(w->name) != ROLE_EXPERT)
        return err_set(e, ERR_USAGE, "tensor '%s': mlu-smoothquant has a place for %s in experts only", w->name, w->scheme->name);
    return put_weight(&o, ".qweight", four ? PACK_BYTES : PACK_PLAIN, DT_I8) || put_row_scale(&o, ".per_channel_scale")
        || put_part(&o, PART_ONE, ".smooth", DT_F32, 1, &w->dim[w->rank - 1]) ? -1 : 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    (void)root, (void)t, (void)n, (void)e; /* all is in the file of its own */
    return 0;
}

/* Experts have one precision, which may be another than that of all others. */
static int description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    const char *experts = NULL, *others = NULL;
    for (size_t i = 0; i < n; i++) {
        if (t[i].part != PART_WEIGHT)
            continue;
        const char *bits = t[i].scheme->bits == 4 ? "int4" : "int8";
        const char **role = tensor_role(t[i].weight) == ROLE_EXPERT ? &experts : &others;
        if (*role && strcmp(*role, bits))
            return err_set(e, ERR_USAGE, "tensor '%s' is %s and another expert %s: mlu-smoothquant has one precision for all",
                           t[i].name, bits, *role);
        *role = bits;
    }
    return buf_printf(text, e, "{\n  \"quant_mode\": \"SmoothQuant\",\n  \"input_quant_method\": \"per_token\",\n"
                      "  \"group_size\": 1,\n  \"weight_precision\": \"int8\",\n  \"activation_precision\": \"int8\",\n"
                      "  \"only_expert_per_group\": false,\n  \"expert_weight_precision\": \"%s\",\n"
                      "  \"expert_activation_precision\": \"int8\",\n  \"force_use_weightonly_except_expert\": false\n}\n",
                      experts ? experts : "int8");
}

const struct convention convention_mlu_smoothquant = {
    .name = "mlu-smoothquant",
    .title = "Cambricon vllm-mlu and xLLM, SmoothQuant: X.qweight, X.per_channel_scale, X.smooth; " FILE_NAME,
    .stem = "model",
    .detect = detect,
    .check = check,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
    .description_name = FILE_NAME,
    .description = description,
};

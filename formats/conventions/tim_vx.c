/* A form of our own for host code of VeriSilicon's TIM-VX, which takes tensors
 * one by one and has no file for them: safetensors, and tim_vx_quant.json that
 * says for each weight what its TensorSpec and Quantization are.
 *
 *     X.weight        I8 or F8_E4M3 [N, K]    bytes as for a tensor [K, N] in WHCN order
 *     X.weight_scale  F32 [N, 1] or [1]       a power of two for DYNAMIC_FIXED_POINT: fl = -log2 of it
 *
 * Names of types are those of VeriSilicon/TIM-VX include/tim/vx/types.h, and for
 * FP8, which the public interface does not have, of
 * src/tim/vx/internal/include/vsi_nn_types.h. */
#include "formats/conventions/parts.h"

#include <stdlib.h>
#include <string.h>

#define FILE_NAME "tim_vx_quant.json"

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return !strcmp(config_string(json_object_get(config, FILE_NAME), "format"), "tim-vx");
}

static const json_t *entry_of(const void *config, const char *name)
{
    return json_object_get(json_object_get(json_object_get(config, FILE_NAME), "tensors"), name);
}

static const char *const kinds[] = {"DYNAMIC_FIXED_POINT", "SYMMETRIC_PER_CHANNEL", "SYMMETRIC_PER_CHANNEL"};
static const struct {
    const char *scheme, *type;
    int kind;
} rows[] = {{"int8-ue8m0-tensor", "INT8", 0}, {"int8-channel", "INT8", 1}, {"fp8-channel", "FLOAT8_E4M3", 2}};
enum { ROWS = sizeof rows / sizeof *rows };

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    static const char *const suffix[] = {"_scale", NULL};
    const json_t *x = entry_of(config, m->t[i].name);
    if (!x)
        return 0;
    for (int k = 0; k < ROWS && !g->scheme; k++)
        if (!strcmp(config_string(x, "data_type"), rows[k].type) && !strcmp(config_string(x, "quant_type"), kinds[rows[k].kind]))
            g->scheme = scheme_find(rows[k].scheme);
    if (!g->scheme || g->scheme->elem != m->t[i].dtype)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s: data_type '%s' and quant_type '%s' of " FILE_NAME " are not read by this "
                       "version", m->t[i].name, dtype_name(m->t[i].dtype), config_string(x, "data_type"),
                       config_string(x, "quant_type"));
    const int found = group_find_any(m, g, PART_SCALE, suffix, e);
    return found <= 0 ? found ? -1 : group_no_scale(m, i, suffix, e) : group_check(m, g, e);
}

static int row_of(const struct scheme *s)
{
    for (int k = 0; s && k < ROWS; k++)
        if (!strcmp(rows[k].scheme, s->name))
            return k;
    return -1;
}

static bool accepts(const struct scheme *s, enum activation a)
{
    return a == ACTIVATION_DYNAMIC && row_of(s) >= 0;
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n, struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    return put_weight(&o, NULL, PACK_PLAIN, w->scheme->elem) || put_scale(&o, "_scale", DT_F32) ? -1 : 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    (void)root, (void)t, (void)n, (void)e; /* all is in the file of its own */
    return 0;
}

static int describe(json_t *list, const struct out_tensor *t)
{
    const int k = row_of(t->scheme);
    json_t *shape = json_array();
    for (int d = t->rank; shape && d-- > 0;) /* the fastest dimension first */
        if (json_array_append_new(shape, json_integer((json_int_t)t->dim[d])))
            return -1;
    json_t *x = json_pack("{ss ss so ss+}", "data_type", rows[k].type, "quant_type", kinds[rows[k].kind], "shape", shape,
                          "scales", t->name, "_scale");
    if (!x || (rows[k].kind && json_object_set_new(x, "channel_dim", json_integer(t->rank - 1))))
        return -1;
    return json_object_set_new(list, t->name, x);
}

static int description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    json_t *list = json_object();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = t[i].part != PART_WEIGHT || !describe(list, &t[i]);
    json_t *root = ok ? json_pack("{ss so}", "format", "tim-vx", "tensors", list) : NULL;
    char *s = root ? json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    int r = s ? buf_puts(text, s, e) || buf_puts(text, "\n", e) : err_set(e, ERR_SYSTEM, "out of memory for " FILE_NAME);
    free(s);
    json_decref(root);
    return r ? -1 : 0;
}

const struct convention convention_tim_vx = {
    .name = "tim-vx",
    .title = "for host code of VeriSilicon TIM-VX: types and quantization per tensor in " FILE_NAME,
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
    .description_name = FILE_NAME,
    .description = description,
};

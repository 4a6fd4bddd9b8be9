/* AscendV1, the container of msmodelslim that vllm-ascend, SGLang and MindIE load.
 *
 *     type              X.weight        X.weight_scale       X.weight_offset
 *     W8A8_MXFP8        F8_E4M3 [N, K]  U8 codes [N, K/32]   -
 *     W4A8_MXFP         U8 [N, K/2]     U8 codes [N, K/32]   -    two E2M1 codes in a byte
 *     W4A4_MXFP4        the same
 *     WFP8AFP8_DYNAMIC  F8_E4M3 [N, K]  F32 [N, 1]           F32 [N, 1], zeros
 *     W8A8_DYNAMIC      I8      [N, K]  F32 [N, 1]           F32 [N, 1], zeros
 *     W8A16             I8      [N, K]  F32 [N, 1]           F32 [N, 1], zeros
 *     W8A8              I8      [N, K]  X.deq_scale [N] = X.input_scale * scale, F32 or the bits of it in I64
 *
 * quant_model_description.json gives a type to every tensor by name ("FLOAT"
 * for what stays); config.json has no quantization_config, because servers
 * would believe it instead. */
#include "formats/conventions/parts.h"
#include "formats/json.h"

#include <stdlib.h>
#include <string.h>

#define DESCRIPTION "quant_model_description.json"

static const char *const suffixes[] = {"_scale", NULL};
static const char *const beside[] = {".input_offset", ".quant_bias", NULL};

static const struct row {
    const char *type;
    const char *scheme;
    enum activation activation;
    enum dtype scale;
    int group_size;
    bool offset, packed, written;
} rows[] = {
    {"W8A8_MXFP8", "mxfp8", ACTIVATION_DYNAMIC, DT_U8, 32, false, false, true},
    {"W4A8_MXFP", "mxfp4", ACTIVATION_DYNAMIC, DT_U8, 32, false, true, true},
    {"W4A4_MXFP4", "mxfp4", ACTIVATION_DYNAMIC, DT_U8, 32, false, true, false},
    {"WFP8AFP8_DYNAMIC", "fp8-channel", ACTIVATION_DYNAMIC, DT_F32, 0, true, false, true},
    {"W8A8_DYNAMIC", "int8-channel", ACTIVATION_DYNAMIC, DT_F32, 0, true, false, true},
    {"W8A16", "int8-channel", ACTIVATION_NONE, DT_F32, 0, true, false, true},
    {"W8A8", "int8-channel", ACTIVATION_STATIC, DT_F32, 0, false, false, false},
};

static const struct row *find_row(const struct scheme *s, enum activation a)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].written && rows[i].activation == a && !strcmp(rows[i].scheme, s->name))
            return &rows[i];
    return NULL;
}

/* ---- reading ------------------------------------------------------------------ */
static bool detect(const struct model *m, const void *config)
{
    (void)m;
    return json_is_object(json_object_get(config, DESCRIPTION));
}

static int check(const void *config, struct err *e)
{
    if (json_is_object(json_object_get(config, DESCRIPTION)))
        return 0;
    return err_set(e, ERR_INPUT, DESCRIPTION " is missing: it says how each tensor is quantized");
}

/* W8A8: the scale of the weight is hidden in that of the product. */
static int pair_static(struct model *m, struct group *g, struct err *e)
{
    static const char *const product[] = {".deq_scale", NULL}, *const input[] = {".input_scale", NULL};
    int found = group_find_any(m, g, PART_SCALE, suffixes, e);
    if (found < 0)
        return -1;
    if (found)
        return group_aux(m, g, (const char *const[]){".input_scale", ".deq_scale", NULL}, e);
    if (group_find_any(m, g, PART_SCALE, product, e) < 0 || group_find_any(m, g, PART_GLOBAL, input, e) < 0)
        return -1;
    g->global_divides = true;
    return g->of[PART_SCALE] != NO_TENSOR && g->of[PART_GLOBAL] != NO_TENSOR ? 0
         : err_set(e, ERR_INPUT, "tensor '%s' needs '.deq_scale' and '.input_scale' beside it (W8A8)", g->name);
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    const char *type = config_string(json_object_get(config, DESCRIPTION), w->name);
    if (name_ends(w->name, "_scale") || name_ends(w->name, "_offset") || !*type || !strcmp(type, "FLOAT"))
        return 0; /* parts of a weight have its type, too */
    const struct row *row = NULL;
    for (size_t k = 0; !row && k < sizeof rows / sizeof *rows; k++)
        if (!strcmp(rows[k].type, type))
            row = &rows[k];
    if (!row)
        return err_set(e, ERR_INPUT, "tensor '%s': type '%s' of " DESCRIPTION " is not read by "
                       "this version", w->name, type);
    const struct scheme *s = scheme_find(row->scheme);
    if (row->packed ? w->dtype != DT_U8 && w->dtype != DT_I8 : w->dtype != s->elem)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but " DESCRIPTION " calls it '%s'",
                       w->name, dtype_name(w->dtype), type);
    if (row->packed && group_packed(m, g, s->elem, PACK_BYTES, 4, 0, e))
        return -1;
    if (row->activation == ACTIVATION_STATIC) {
        if (pair_static(m, g, e))
            return -1;
    } else {
        int found = group_find_any(m, g, PART_SCALE, suffixes, e);
        if (found <= 0)
            return found ? -1 : group_no_scale(m, i, suffixes, e);
    }
    if (group_find(m, g, PART_ZERO, "_offset", e) < 0 || group_aux(m, g, beside, e))
        return -1;
    const size_t zero = g->of[PART_ZERO], scale = g->of[PART_SCALE];
    if (zero != NO_TENSOR && tensor_elems(&m->t[zero]) != tensor_elems(&m->t[scale])) {
        char a[176], b[176];
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but its scale '%s' is %s",
                       m->t[zero].name, tensor_shape(&m->t[zero], a), m->t[scale].name,
                       tensor_shape(&m->t[scale], b));
    }
    g->scheme = s;
    return group_check(m, g, e);
}

/* ---- writing ------------------------------------------------------------------ */
static bool accepts(const struct scheme *s, enum activation a)
{
    return find_row(s, a) != NULL;
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const struct row *row = find_row(w->scheme, w->activation);
    if (!row)
        return err_set(e, ERR_USAGE, "ascend-v1 has no type for scheme %s", w->scheme->name);
    if ((row->packed ? put_weight(&o, NULL, PACK_BYTES, DT_U8) : put_weight(&o, NULL, PACK_PLAIN, w->scheme->elem))
        || put_scale(&o, suffixes[0], row->scale))
        return -1;
    /* Loaders want it, even though symmetric weights have none. */
    return row->offset ? put_part(&o, PART_ZERO, "_offset", row->scale, out[1].rank, out[1].dim) : 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    (void)root; /* nothing is added: removing quantization_config is all that is wanted */
    (void)t;
    (void)n;
    (void)e;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct out_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The type of a tensor by itself, and that of most weights for the whole model. */
static const char *type_of(const struct out_tensor *t)
{
    const struct row *row = t->part == PART_PLAIN ? NULL : find_row(t->scheme, t->activation);
    return row ? row->type : "FLOAT";
}

static const struct row *most(const struct out_tensor *t, size_t n)
{
    size_t count[sizeof rows / sizeof *rows] = {0}, best = 0;
    for (size_t i = 0; i < n; i++)
        if (t[i].part == PART_WEIGHT && find_row(t[i].scheme, t[i].activation))
            count[find_row(t[i].scheme, t[i].activation) - rows]++;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        best = count[k] > count[best] ? k : best;
    return &rows[best];
}

static int description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    const struct row *row = most(t, n);
    const struct out_tensor **sorted = mem_alloc(n, sizeof *sorted, e);
    if (!sorted)
        return -1;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &t[i];
    qsort(sorted, n, sizeof *sorted, compare_names);
    int r = buf_printf(text, e, "{\n  \"version\": \"1.0.0\",\n  \"model_quant_type\": \"%s\",\n"
                       "  \"group_size\": %d,\n  \"metadata\": {},\n  \"optional\": {}",
                       row->type, row->group_size);
    for (size_t i = 0; !r && i < n; i++)
        if (buf_puts(text, ",\n  ", e) || json_put_string(text, sorted[i]->name, e)
            || buf_printf(text, e, ": \"%s\"", type_of(sorted[i])))
            r = -1;
    free(sorted);
    return r || buf_puts(text, "\n}\n", e) ? -1 : 0;
}

const struct convention convention_ascend_v1 = {
    .name = "ascend-v1",
    .title = "AscendV1 (msmodelslim, vllm-ascend): types in " DESCRIPTION,
    .stem = "quant_model_weights",
    .detect = detect,
    .check = check,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
    .description_name = DESCRIPTION,
    .description = description,
};

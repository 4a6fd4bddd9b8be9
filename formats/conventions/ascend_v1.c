/* AscendV1, the container of msmodelslim that vllm-ascend, SGLang and MindIE load.
 *
 *     type           X.weight        X.weight_scale       X.weight_offset
 *     W8A8_MXFP8     F8_E4M3 [N, K]  U8 codes [N, K/32]   -
 *     W8A8_DYNAMIC   I8      [N, K]  F32 [N, 1]           F32 [N, 1], zeros
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

static const struct row {
    const char *type;
    const char *scheme;
    enum dtype scale;
    int group_size;
    bool offset;
} rows[] = {
    {"W8A8_MXFP8", "mxfp8", DT_U8, 32, false},
    {"W8A8_DYNAMIC", "int8-channel", DT_F32, 0, true},
};

static const struct row *find_row(const struct scheme *s)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].scheme, s->name))
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

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    *g = (struct group){.weight = i, .zero = SIZE_MAX};
    const char *type = config_string(json_object_get(config, DESCRIPTION), w->name);
    if (!*type || !strcmp(type, "FLOAT"))
        return 0;
    const struct row *row = NULL;
    for (size_t k = 0; !row && k < sizeof rows / sizeof *rows; k++)
        if (!strcmp(rows[k].type, type))
            row = &rows[k];
    if (!row)
        return err_set(e, ERR_INPUT, "tensor '%s': type '%s' of " DESCRIPTION " is not read by "
                       "this version", w->name, type);
    const struct scheme *s = scheme_find(row->scheme);
    if (w->dtype != s->elem)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but " DESCRIPTION " calls it '%s'",
                       w->name, dtype_name(w->dtype), type);
    int found = part_find_any(m, w->name, suffixes, &g->scale, e);
    if (found <= 0)
        return found ? -1 : group_no_scale(m, i, suffixes, e);
    if (part_find(m, w->name, "_offset", &g->zero, e) < 0)
        return -1;
    if (g->zero != SIZE_MAX && tensor_elems(&m->t[g->zero]) != tensor_elems(&m->t[g->scale])) {
        char a[176], b[176];
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but its scale '%s' is %s",
                       m->t[g->zero].name, tensor_shape(&m->t[g->zero], a), m->t[g->scale].name,
                       tensor_shape(&m->t[g->scale], b));
    }
    g->scheme = s;
    return group_check(m, g, e);
}

/* ---- writing ------------------------------------------------------------------ */
static bool accepts(const struct scheme *s)
{
    return find_row(s) != NULL;
}

static int outputs(const struct scheme *s, const char *name, uint8_t rank, const uint64_t *dim,
                   struct arena *mem, struct out_tensor out[3], size_t *n, struct err *e)
{
    const struct row *row = find_row(s);
    if (!row)
        return err_set(e, ERR_USAGE, "ascend-v1 has no type for scheme %s", s->name);
    if (part_outputs(s, name, rank, dim, suffixes[0], row->scale, mem, out, n, e))
        return -1;
    if (row->offset) { /* loaders want it, even though symmetric weights have none */
        out[2] = out[1];
        out[2].part = PART_ZERO;
        out[2].name = part_name(name, "_offset", mem, e);
        if (!out[2].name)
            return -1;
        *n = 3;
    }
    return 0;
}

static int config(void *root, const struct scheme *s, const struct out_tensor *t, size_t n,
                  struct err *e)
{
    (void)root; /* nothing is added: removing quantization_config is all that is wanted */
    (void)s;
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

static int description(const struct scheme *s, const struct out_tensor *t, size_t n,
                       struct buf *text, struct err *e)
{
    const struct row *row = find_row(s);
    if (!row)
        return err_set(e, ERR_USAGE, "ascend-v1 has no type for scheme %s", s->name);
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
            || buf_printf(text, e, ": \"%s\"", sorted[i]->part == PART_PLAIN ? "FLOAT" : row->type))
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

/* AscendV1, the container of msmodelslim that vllm-ascend, SGLang and MindIE load.
 *
 *     type              X.weight        X.weight_scale         X.weight_offset
 *     W8A8_MXFP8        F8_E4M3 [N, K]  U8 codes [N, K/32]     -
 *     W4A8_MXFP         U8 [N, K/2]     U8 codes [N, K/32]     -    two E2M1 codes in a byte
 *     W4A4_MXFP4, W4A16_MXFP4           the same
 *     WFP8AFP8_DYNAMIC  F8_E4M3 [N, K]  F32 [N, 1]             F32 [N, 1], zeros (W8A8FP8_DYNAMIC in vllm-ascend)
 *     W8A8_DYNAMIC      I8      [N, K]  F32 [N, 1] or [N, K/g] zeros
 *     W8A16             I8      [N, K]  F32 [N, 1] or [N, K/g] F32, what stands for zero
 *     W4A4_DYNAMIC      I8      [N, K]  the same: codes of 4 bits, one in a byte
 *     W4A8_DYNAMIC      I8 [N/2, K]     F32 [N, 1]             zeros; two rows in a byte, the even one in its low half;
 *                                       X.scale_bias F32 [N, 1], or [N, 16] for a down projection: 8 * sum of w, of each
 *                                       of 16 parts of a row, which tensor parallel ranks share out
 *     W8A8              I8      [N, K]  X.deq_scale [N] = X.input_scale * scale, F32 or the bits of it in I64;
 *                                       X.input_offset, X.quant_bias I32 [N]
 *     W8A8_MIX          both
 *
 * quant_model_description.json gives a type to every tensor by name ("FLOAT"
 * for what stays) and says some things of the whole; config.json has no
 * quantization_config, because servers would believe it instead.
 *
 * Sources: Ascend/msmodelslim modelslim_v1/save/ascendv1.py and utils/pack.py,
 * vllm-project/vllm-ascend vllm_ascend/quantization/methods. */
#include "formats/conventions/parts.h"
#include "formats/derived.h"
#include "formats/target.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTION "quant_model_description.json"

static const char *const suffixes[] = {"_scale", NULL};
static const char *const beside[] = {".input_scale", ".input_offset", ".quant_bias",
                                     ".deq_scale",   ".scale_bias",   NULL};

/* In the order in which msmodelslim lets one type stand for the whole model, the strongest last. */
static const struct row {
    const char *type;
    const char *scheme;
    enum activation activation;
    enum dtype scale;        /* as written */
    int group_size;
    bool offset, packed, written;
    bool rows;               /* two rows in a byte, of experts only */
    bool point;              /* offsets may be other than zero */
} rows[] = {
    {"W8A16", "int8-channel", ACTIVATION_NONE, DT_F32, 0, .offset = true, .written = true, .point = true},
    {"W8A8_DYNAMIC", "int8-channel", ACTIVATION_DYNAMIC, DT_F32, 0, .offset = true, .written = true},
    {"W8A8_MIX", "int8-channel", ACTIVATION_STATIC, DT_F32, 0, .written = false},
    {"W8A8", "int8-channel", ACTIVATION_STATIC, DT_F32, 0, .written = true},
    {"WFP8AFP8_DYNAMIC", "fp8-channel", ACTIVATION_DYNAMIC, DT_F32, 0, .offset = true, .written = true},
    {"W8A8FP8_DYNAMIC", "fp8-channel", ACTIVATION_DYNAMIC, DT_F32, 0, .written = false},
    {"W8A8_MXFP8", "mxfp8", ACTIVATION_DYNAMIC, DT_U8, 32, .written = true},
    {"W4A8_DYNAMIC", "int4-channel", ACTIVATION_DYNAMIC, DT_F32, 0, .offset = true, .written = true, .rows = true},
    {"W4A16_MXFP4", "mxfp4", ACTIVATION_NONE, DT_U8, 32, .packed = true},
    {"W4A8_MXFP", "mxfp4", ACTIVATION_DYNAMIC, DT_U8, 32, .packed = true, .written = true},
    {"W4A4_DYNAMIC", "int8-channel", ACTIVATION_DYNAMIC, DT_F32, 0, .point = true},
    {"W4A4_MXFP4", "mxfp4", ACTIVATION_DYNAMIC, DT_U8, 32, .packed = true},
};
#define W4A8 "W4A8_DYNAMIC"

static const struct row *find_row(const struct scheme *s, enum activation a)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].written && rows[i].activation == a && !strcmp(rows[i].scheme, s->name))
            return &rows[i];
    return NULL;
}

static const struct row *row_of(const char *type)
{
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (!strcmp(rows[k].type, type))
            return &rows[k];
    return NULL;
}

/* ---- reading ------------------------------------------------------------------ */
static bool detect(const struct model *m, const void *config)
{
    (void)m;
    const json_t *said = json_object_get(config, DESCRIPTION);
    /* Inside a file descriptions have no name: those of others have these members. */
    return json_is_object(said) && !json_object_get(said, "quant_mode") && !json_object_get(said, "quant_method")
        && !json_object_get(said, "tensors");
}

static int check(const void *config, struct err *e)
{
    const json_t *said = json_object_get(config, DESCRIPTION);
    if (!json_is_object(said))
        return err_set(e, ERR_INPUT, DESCRIPTION " is missing: it says how each tensor is quantized");
    if (!json_object_size(json_object_get(json_object_get(said, "metadata"), "quarot")))
        return 0;
    return err_set(e, ERR_INPUT, DESCRIPTION ": metadata.quarot: activations of this model are rotated while it "
                   "runs, and its weights are for those, which this version does not undo");
}

/* The description's type of a tensor, "" when there is none. */
static const char *type_said(const void *config, const char *name)
{
    return config_string(json_object_get(config, DESCRIPTION), name);
}

/* Two rows in a byte: they become a tensor of 4-bit elements with twice the rows. */
struct two_rows {
    struct derived d;
    struct tensor packed;
};

static int two_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out,
                    struct err *e)
{
    const struct two_rows *x = (const struct two_rows *)d;
    const uint64_t k = x->packed.dim[1];
    uint8_t *in = mem_alloc(k, 1, e);
    uint64_t have = UINT64_MAX;
    int bad = !in;
    memset(out, 0, n * d->row_bytes);
    for (size_t i = 0; !bad && i < n; i++, row++, out += d->row_bytes) {
        if (row / 2 != have)
            bad = model_read_piece(m, &x->packed, (have = row / 2) * k, in, k, e);
        for (uint64_t c = 0; c < k; c++)
            out[c / 2] |= (uint8_t)((in[c] >> 4 * (row % 2) & 15) << 4 * (c % 2));
    }
    free(in);
    return bad ? -1 : 0;
}

static bool is_apart(const struct tensor *t, const void *config)
{
    return t->dtype == DT_I8 && t->rank == 2 && ends_with(t->name, ".weight")
           && !strcmp(type_said(config, t->name), W4A8);
}

static int mark(struct model *m, const void *config, enum part *part, struct err *e)
{
    static const char *const more[] = {"_scale", "_offset", ".scale_bias"};
    for (size_t i = 0; i < m->n; i++) {
        if (!is_apart(&m->t[i], config))
            continue;
        part[i] = PART_PIECE;
        for (size_t k = 0; k < sizeof more / sizeof *more; k++) {
            size_t found;
            const int r = part_find(m, m->t[i].name, more[k], &found, e);
            if (r < 0)
                return -1;
            if (r)
                part[found] = PART_PIECE;
        }
    }
    return 0;
}

static int expand_one(struct model *m, size_t i, struct tensor *out, struct err *e)
{
    struct two_rows *x = arena_alloc(&m->mem, sizeof *x, e);
    if (!x)
        return -1;
    if (!m->random)
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has two rows in a byte, which are read apart, and a pipe does not allow "
                       "that (--spool)",
                       m->t[i].name);
    x->packed = m->t[i];
    x->d = (struct derived){ceil_div(x->packed.dim[1], 2), two_rows, false};
    *out = x->packed;
    out->dtype = DT_I4;
    out->derived = &x->d;
    if (!mul_u64(out->dim[0], 2, &out->dim[0]) || !mul_u64(out->dim[0], x->d.row_bytes, &out->size))
        return err_set(e, ERR_INPUT, "tensor '%s': its size overflows", m->t[i].name);
    return 0;
}

static int expand(struct model *m, const void *config, struct err *e)
{
    struct tensor *add = mem_alloc(m->n, sizeof *add, e);
    size_t *at = mem_alloc(m->n, sizeof *at, e), n = 0;
    bool *gone = mem_alloc(m->n, sizeof *gone, e);
    int bad = !add || !at || !gone;
    for (size_t i = 0; !bad && i < m->n; i++)
        if (is_apart(&m->t[i], config)) {
            bad = expand_one(m, i, &add[n], e);
            gone[i] = true;
            at[n++] = i;
        }
    bad = bad || (n && derived_replace(m, gone, add, at, n, e));
    free(add);
    free(at);
    free(gone);
    return bad ? -1 : 0;
}

/* W8A8: the scale of the weight is hidden in that of the product. */
static int pair_static(struct model *m, struct group *g, struct err *e)
{
    static const char *const more[] = {".input_offset", ".quant_bias", NULL};
    if (group_find(m, g, PART_SCALE, ".deq_scale", e) < 0
        || group_find(m, g, PART_GLOBAL, ".input_scale", e) < 0)
        return -1;
    g->global_divides = true;
    return g->of[PART_SCALE] != NO_TENSOR && g->of[PART_GLOBAL] != NO_TENSOR ? group_aux(m, g, more, e)
         : err_set(e, ERR_INPUT, "tensor '%s' needs '.deq_scale' and '.input_scale' beside it (W8A8)", g->name);
}

/* What the offsets are: zeros, or codes that stand for zero. They are looked at only where they can be
 * either, and a pipe cannot be looked at: there they must be zeros. */
static int read_offsets(struct model *m, size_t i, bool *zeros, struct err *e)
{
    const struct tensor *t = &m->t[i];
    const uint64_t n = tensor_elems(t);
    *zeros = true;
    if (!m->random || t->dtype != DT_F32 || t->stored)
        return 0;
    float *x = mem_alloc(n, 4, e);
    int bad = !x || model_read(m, i, 0, x, n * 4, e);
    for (uint64_t k = 0; !bad && k < n; k++) {
        *zeros &= x[k] == 0;
        if (!(fabsf(x[k]) <= 256) || x[k] != floorf(x[k]))
            bad = err_set(e, ERR_INPUT, "tensor '%s': %g stands for zero in row %llu, which is no code",
                          t->name, (double)x[k], (unsigned long long)k);
    }
    free(x);
    return bad ? -1 : 0;
}

/* The scheme of a row of the table, with groups and zero points where the tensors have them; NULL: none of
 * ours. */
static const struct scheme *scheme_of(const struct model *m, const void *config, const struct row *row,
                                      const struct group *g, bool zeros)
{
    struct scheme s = *scheme_find(row->scheme);
    const json_int_t size =
        json_integer_value(json_object_get(json_object_get(config, DESCRIPTION), "group_size"));
    const struct matrix x = view_matrix(&g->view);
    const uint64_t scales = tensor_elems(&m->t[g->of[PART_SCALE]]);
    if (scheme_int(&s) && size > 0 && size <= UINT32_MAX && scales != x.batch * x.rows)
        s.block_cols = (uint32_t)size;
    s.zero_point = !zeros;
    return scheme_like(s);
}

static int find_scale(struct model *m, size_t i, struct group *g, const struct row *row, struct err *e)
{
    size_t second;
    const int more = part_find(m, g->name, "_scale_second", &second, e);
    if (more)
        return more < 0 ? -1 : err_set(e, ERR_INPUT, "tensor '%s' is a second scale, which this version does not "
                                       "read", m->t[second].name);
    const int found = group_find_any(m, g, PART_SCALE, suffixes, e);
    if (found)
        return found < 0 ? -1 : group_aux(m, g, beside, e);
    return row->activation == ACTIVATION_STATIC ? pair_static(m, g, e) : group_no_scale(m, i, suffixes, e);
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    const char *type = type_said(config, w->name);
    if (ends_with(w->name, "_scale") || ends_with(w->name, "_offset") || !*type || !strcmp(type, "FLOAT"))
        return 0; /* parts of a weight have its type, too */
    const struct row *row = row_of(type);
    if (!row)
        return err_set(e, ERR_INPUT, "tensor '%s': type '%s' of " DESCRIPTION " is not read by "
                       "this version", w->name, type);
    const struct scheme *s = scheme_find(row->scheme);
    if (row->packed ? w->dtype != DT_U8 && w->dtype != DT_I8 : w->dtype != s->elem)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but " DESCRIPTION " calls it '%s'",
                       w->name, dtype_name(w->dtype), type);
    if (row->packed && group_packed(m, g, s->elem, PACK_BYTES, 4, 0, e))
        return -1;
    bool zeros = true;
    if (find_scale(m, i, g, row, e) || group_find(m, g, PART_ZERO, "_offset", e) < 0)
        return -1;
    const size_t zero = g->of[PART_ZERO], scale = g->of[PART_SCALE];
    if (zero != NO_TENSOR && tensor_elems(&m->t[zero]) != tensor_elems(&m->t[scale])) {
        char a[176], b[176];
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but its scale '%s' is %s",
                       m->t[zero].name, tensor_shape(&m->t[zero], a), m->t[scale].name,
                       tensor_shape(&m->t[scale], b));
    }
    if (zero != NO_TENSOR && row->point && read_offsets(m, zero, &zeros, e))
        return -1;
    if (!zeros) {
        g->of[PART_POINT] = zero;
        g->of[PART_ZERO] = NO_TENSOR;
    }
    g->scheme = scheme_of(m, config, row, g, zeros);
    return g->scheme ? group_check(m, g, e) : 0;
}

/* ---- writing ------------------------------------------------------------------ */
static bool accepts(const struct scheme *s, enum activation a)
{
    return find_row(s, a) != NULL;
}

/* vllm_ascend/quantization/methods/w4a8.py: w13_scale_bias [E, 2I, 1], w2_scale_bias [E, H, 16 / TP]. */
static uint64_t bias_parts(const char *name)
{
    return ends_with(name, ".down_proj.weight") || ends_with(name, ".w2.weight") ? 16 : 1;
}

static int rows_fit(const struct weight *w, struct err *e)
{
    const uint64_t cols = w->dim[w->rank - 1];
    if (w->rank != 2 || tensor_role(w->name) != ROLE_EXPERT)
        return err_set(e, ERR_USAGE, "tensor '%s' is no expert's matrix, and int4-channel in ascend-v1, its " W4A8 ", is for "
                       "those (a rule can make it int8-channel)", w->name);
    if (cols % bias_parts(w->name))
        return err_set(e, ERR_INPUT, "tensor '%s' has %llu columns, and .scale_bias of " W4A8 " has 16 equal parts of them",
                       w->name, (unsigned long long)cols);
    return 0;
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const struct row *row = find_row(w->scheme, w->activation);
    const uint64_t one = 1;
    if (!row)
        return err_set(e, ERR_USAGE, "ascend-v1 has no type for scheme %s", w->scheme->name);
    /* Symmetric activations: what stands for zero is 0, and nothing is added to sums of codes. */
    if (row->activation == ACTIVATION_STATIC)
        return put_weight(&o, NULL, PACK_PLAIN, w->scheme->elem) || put_row_scale(&o, ".deq_scale")
            || put_part(&o, PART_GLOBAL, ".input_scale", DT_F32, 1, &one) || (out[2].divides = true, 0)
            || put_part(&o, PART_ZERO, ".input_offset", DT_F32, 1, &one)
            || put_part(&o, PART_ZERO, ".quant_bias", DT_I32, 1, &w->dim[w->rank - 2]) ? -1 : 0;
    if (row->rows && rows_fit(w, e))
        return -1;
    if ((row->packed ? put_weight(&o, NULL, PACK_BYTES, DT_U8)
         : row->rows ? put_weight(&o, NULL, PACK_ROWS, DT_I8) : put_weight(&o, NULL, PACK_PLAIN, w->scheme->elem))
        || put_scale(&o, suffixes[0], row->scale))
        return -1;
    const uint64_t bias[2] = {w->dim[w->rank - 2], bias_parts(w->name)};
    if (row->rows && put_part(&o, PART_BIAS, ".scale_bias", DT_F32, 2, bias))
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

/* The type of a tensor: of a quantized weight, of the KV cache, of attention. */
static const char *type_of(const struct out_tensor *t)
{
    static const char *const cache[] = {".kv_cache_scale", ".kv_cache_offset"};
    static const char *const attention[] = {".fa_q.scale",  ".fa_k.scale",  ".fa_v.scale",
                                            ".fa_q.offset", ".fa_k.offset", ".fa_v.offset"};
    const struct row *row = t->scheme ? find_row(t->scheme, t->activation) : NULL;
    for (size_t i = 0; i < sizeof cache / sizeof *cache; i++)
        if (ends_with(t->name, cache[i]))
            return "C8";
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
        if (ends_with(t->name, attention[i]))
            return "FAQuant";
    return row ? row->type : "FLOAT";
}

/* What is said of the whole: its strongest type, and whether there is more than weights. */
static int describe_all(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    const struct row *top = NULL;
    int group_size = 0;
    bool cache = false, attention = false;
    for (size_t i = 0; i < n; i++) {
        const struct row *row = t[i].part == PART_WEIGHT ? find_row(t[i].scheme, t[i].activation) : NULL;
        top = row && (!top || row > top) ? row : top;
        group_size = row && row->group_size ? row->group_size : group_size;
        cache |= !strcmp(type_of(&t[i]), "C8");
        attention |= !strcmp(type_of(&t[i]), "FAQuant");
    }
    return buf_printf(text, e, "{\n  \"version\": \"1.0.0\",\n  \"model_quant_type\": \"%s\",\n"
                      "  \"group_size\": %d,\n%s%s  \"metadata\": {},\n  \"optional\": {}",
                      top ? top->type : "FLOAT", group_size,
                      cache ? "  \"kv_cache_type\": \"C8\",\n  \"kv_quant_type\": \"C8\",\n" : "",
                      attention ? "  \"fa_quant_type\": \"FAKQuant\",\n" : "");
}

static int description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    return describe_all(t, n, text, e) || describe_each(t, n, type_of, ",", text, e) || buf_puts(text, "\n}\n", e)
        ? -1 : 0;
}

const struct convention convention_ascend_v1 = {
    .name = "ascend-v1",
    .title = "AscendV1 (msmodelslim, vllm-ascend): types in " DESCRIPTION,
    .stem = "quant_model_weights",
    .detect = detect,
    .check = check,
    .mark = mark,
    .expand = expand,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
    .description_name = DESCRIPTION,
    .description = description,
};

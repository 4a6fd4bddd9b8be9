/* compressed-tensors, written: see compressed_tensors.c for the formats.
 *
 * The readers of config.json refuse arguments they do not know, so only those
 * that they list are written.  Power-of-two 128 x 128 scales have no name
 * there: they are written as F32, and observer_kwargs, the one free dictionary
 * (read only when somebody calibrates), says that they are UE8M0. */
#include "formats/conventions/compressed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int compressed_shape(struct model *m, size_t i, uint64_t shape[2], struct err *e)
{
    const struct tensor *t = &m->t[i];
    uint8_t p[16];
    if (tensor_elems(t) != 2 || (t->dtype != DT_I64 && t->dtype != DT_I32))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, not two integers", t->name, dtype_name(t->dtype));
    if (!tensor_is_flat(t))
        return err_set(e, ERR_INPUT, "tensor '%s' says what shape a packed weight has and does not lie row-major", t->name);
    if (!m->random)
        return err_set(e, ERR_INPUT, "tensor '%s' says what shape a packed weight has and must be read before it, which "
                       "a pipe does not allow (--spool)", t->name);
    if (model_read(m, i, 0, p, (size_t)t->size, e))
        return -1;
    for (int k = 0; k < 2; k++) {
        int32_t small;
        int64_t x;
        memcpy(&x, p + (t->dtype == DT_I64 ? 8 * k : 0), 8);
        memcpy(&small, p + 4 * k, 4);
        x = t->dtype == DT_I64 ? x : small;
        if (x < 0)
            return err_set(e, ERR_INPUT, "tensor '%s' holds the negative size %" PRId64, t->name, x);
        shape[k] = (uint64_t)x;
    }
    return 0;
}

/* ---- what each scheme is called ----------------------------------------------- */
struct row {
    const char *format, *weights;  /* strategy of the weights */
    const char *activations;       /* strategy of dynamic activations; NULL: they stay as they are */
    uint32_t group;                /* of the activations; 0: null */
    const char *scale_dtype;       /* of weights and activations, or NULL */
};

static bool is_mx(const struct scheme *s) { return s->scale == DT_F8_E8M0 && s->block_rows == 1 && s->block_cols == 32; }

static bool find_row(const struct scheme *s, enum activation a, struct row *r)
{
    bool tensor = !s->block_rows && !s->block_cols, channel = s->block_rows == 1 && !s->block_cols;
    bool floats = s->scale == DT_F32 || s->scale == DT_BF16 || s->scale == DT_F16;
    *r = (struct row){.weights = tensor ? "tensor" : channel ? "channel" : "group", .activations = "token"};
    if (s->elem == DT_F8_E4M3) {
        r->format = a == ACTIVATION_NONE ? "naive-quantized" : "float-quantized";
        if (is_mx(s))
            *r = (struct row){"mxfp8-quantized", "group", "group", 32, "torch.uint8"};
        else if (s->block_rows == 128 && s->block_cols == 128)
            *r = (struct row){r->format, "block", "group", 128, NULL};
        else if (!floats || !(tensor || channel))
            return false;
        return a != ACTIVATION_STATIC || tensor || channel;
    }
    if (s->elem == DT_F4) {
        if (s->two_level && s->block_rows == 1 && s->block_cols == 16)
            *r = (struct row){"nvfp4-pack-quantized", "tensor_group", "tensor_group", 16, "torch.float8_e4m3fn"};
        else if (is_mx(s))
            *r = (struct row){"mxfp4-pack-quantized", "group", "group", 32, "torch.uint8"};
        return r->format
               && (a == ACTIVATION_NONE || a == (s->two_level ? ACTIVATION_STATIC : ACTIVATION_DYNAMIC));
    }
    if (!scheme_int(s) || !floats || s->block_rows > 1)
        return false;
    bool whole = s->elem == DT_I8 && s->bits == 8 && (tensor || channel) && !s->zero_point;
    r->format = whole && a != ACTIVATION_NONE ? "int-quantized" : "pack-quantized";
    return a == ACTIVATION_NONE ? !tensor : whole;
}

bool compressed_accepts(const struct scheme *s, enum activation a)
{
    struct row r;
    return find_row(s, a, &r);
}

static bool packs(const struct row *r) { return strstr(r->format, "pack-quantized") != NULL; }

int compressed_outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                       struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const struct scheme *s = w->scheme;
    const uint64_t one = 1, two = 2;
    struct row r;
    if (!find_row(s, w->activation, &r))
        return err_set(e, ERR_USAGE, "compressed-tensors has no format for scheme %s", s->name);
    enum dtype scale = is_mx(s) ? DT_U8 : s->scale == DT_F8_E8M0 ? DT_F32 : s->scale;
    bool words = packs(&r) && scheme_int(s);
    if (words && w->rank != 2)
        return err_set(e, ERR_INPUT, "tensor '%s' has rank %u, and pack-quantized has a place for matrices only", w->name,
                       w->rank);
    if (words ? put_weight(&o, "_packed", PACK_WORDS, DT_I32)
        : packs(&r) ? put_weight(&o, "_packed", PACK_BYTES, DT_U8)
                    : put_weight(&o, NULL, PACK_PLAIN, s->elem))
        return -1;
    if (put_scale(&o, "_scale", scale)
        || (s->two_level && put_global(&o, "_global_scale", true))
        || (words && put_part(&o, PART_SHAPE, "_shape", DT_I64, 1, &two)))
        return -1;
    if (s->zero_point) {
        uint64_t points[2];
        scheme_scale_shape(s, w->dim[0], w->dim[1], &points[0], &points[1]);
        points[0] = ceil_div(points[0] * s->bits, 32);
        if (put_part(&o, PART_POINT, "_zero_point", DT_I32, 2, points))
            return -1;
    }
    if (w->activation != ACTIVATION_STATIC)
        return 0;
    return put_part(&o, PART_AUX, s->two_level ? ".input_global_scale" : ".input_scale", DT_F32, 1, &one);
}

/* ---- config.json ------------------------------------------------------------------ */

static void say(json_t *x, const char *key, json_t *value)
{
    if (x && value)
        json_object_set_new(x, key, value);
}

/* QuantizationArgs as compressed-tensors itself writes the presets of llm-compressor: what is not set is left
 * out.  The four that are always there readers of all ages know. */
static json_t *arguments(const struct scheme *s, const struct row *r, enum activation a, bool weights)
{
    bool local = !weights && s->two_level, fixed = !weights && a == ACTIVATION_STATIC;
    uint32_t group = weights ? (s->block_rows == 1 ? s->block_cols : 0) : fixed && !local ? 0 : r->group;
    const char *strategy = weights ? r->weights : fixed && !local ? "tensor" : r->activations;
    json_t *x = json_pack(
        "{so so si ss sb ss}", "dynamic", local ? json_string("local") : json_boolean(!weights && !fixed),
        "group_size", group ? json_integer(group) : json_null(), "num_bits", (int)s->bits, "strategy",
        strategy, "symmetric", !weights || !s->zero_point, "type", scheme_int(s) ? "int" : "float");
    if (weights && s->block_rows > 1)
        say(x, "block_structure", json_pack("[ii]", (int)s->block_rows, (int)s->block_cols));
    if (weights && s->scale == DT_F8_E8M0 && !is_mx(s))
        say(x, "observer_kwargs", json_pack("{ss}", "scale_fmt", "ue8m0"));
    if (fixed)
        say(x, "observer", json_string("static_minmax"));
    if (r->scale_dtype)
        say(x, "scale_dtype", json_string(r->scale_dtype));
    return x;
}

/* The layers of a group: the largest one takes "Linear", the others name theirs,
 * which compressed-tensors looks at first. */
static json_t *targets(const struct out_tensor *t, size_t n, const struct kind *k, bool largest)
{
    json_t *list = json_array();
    if (largest) {
        json_array_append_new(list, json_string("Linear"));
        return list;
    }
    for (size_t i = 0; i < n; i++) {
        if (t[i].part != PART_WEIGHT || t[i].scheme != k->s || t[i].activation != k->a)
            continue;
        json_array_append_new(list, module_string(t[i].weight));
    }
    return list;
}

int compressed_config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    struct kind kind[KINDS];
    size_t kinds, most;
    if (kinds_of(t, n, kind, &kinds, &most, e))
        return -1;
    json_t *kept = modules_kept(t, n, e), *groups = json_object();
    const char *format = "dense";
    for (size_t k = 0; kept && k < kinds; k++) {
        struct row r;
        char name[32];
        if (!find_row(kind[k].s, kind[k].a, &r)) {
            json_decref(kept);
            json_decref(groups);
            return err_set(e, ERR_USAGE, "compressed-tensors has no format for scheme %s", kind[k].s->name);
        }
        format = k && strcmp(format, r.format) ? "mixed-precision" : r.format;
        snprintf(name, sizeof name, "group_%zu", k);
        json_object_set_new(groups, name,
            json_pack("{ss so so sn so}", "format", r.format, "input_activations",
                      kind[k].a == ACTIVATION_NONE ? json_null() : arguments(kind[k].s, &r, kind[k].a, false),
                      "weights", arguments(kind[k].s, &r, kind[k].a, true), "output_activations", "targets",
                      targets(t, n, &kind[k], k == most)));
    }
    if (!kept) {
        json_decref(groups);
        return -1;
    }
    json_t *q = json_pack("{so ss sn so sn ss ss s{} s{} ss}", "config_groups", groups, "format", format,
                          "global_compression_ratio", "ignore", kept, "kv_cache_scheme", "quant_method",
                          "compressed-tensors", "quantization_status", "compressed", "sparsity_config",
                          "transform_config", "version", COMPRESSED_VERSION);
    return config_set(root, "quantization_config", q, e);
}

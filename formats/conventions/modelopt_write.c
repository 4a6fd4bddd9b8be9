/* modelopt, written: see modelopt.c for the algorithms.
 *
 * hf_quant_config.json and its mirror in config.json are what ModelOpt 0.47 writes for
 * the same model (torch/export/quant_utils.py process_layer_quant_config,
 * convert_hf_config.py), key by key, but for the modules that stay: they are listed
 * one by one, embeddings among them.  Readers recognise the producer by its name. */
#include "formats/conventions/modelopt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct modelopt_algo *find_row(const struct scheme *s, enum activation a)
{
    for (size_t i = 0; i < modelopt_algo_count; i++)
        if (modelopt_algos[i].writes >> a & 1 && modelopt_scheme(&modelopt_algos[i], 0, DT_F32) == s)
            return &modelopt_algos[i];
    return NULL;
}

bool modelopt_accepts(const struct scheme *s, enum activation a)
{
    return find_row(s, a) != NULL;
}

/* Scales of a matrix have the shapes of ModelOpt's tensors: [] and [N]; those of a stack follow ours. */
int modelopt_outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                     struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const struct modelopt_algo *a = find_row(w->scheme, w->activation);
    const bool named = ends_with(w->name, ".weight");
    const char *scale = named ? "_scale" : "_weight_scale", *global = named ? "_scale_2" : "_weight_scale_2";
    if (!a)
        return err_set(e, ERR_USAGE, "modelopt has no quant_algo for scheme %s", w->scheme->name);
    const bool four = a->elem == DT_F4;
    if (put_weight(&o, NULL, four ? PACK_BYTES : PACK_PLAIN, four ? DT_U8 : a->elem))
        return -1;
    const enum dtype type = a->scale == DT_F8_E8M0 ? DT_U8 : a->scale;
    if (a->cols || w->rank > 2 ? put_scale(&o, scale, type)
                               : put_part(&o, PART_SCALE, scale, type, (uint8_t)a->rows, w->dim))
        return -1;
    if (a->two_level && (w->rank > 2 ? put_global(&o, global, false)
                                     : put_part(&o, PART_GLOBAL, global, DT_F32, 0, NULL)))
        return -1;
    return w->activation == ACTIVATION_STATIC
               ? put_part(&o, PART_AUX, named ? ".input_scale" : "_input_scale", DT_F32, 0, NULL) : 0;
}

/* ---- hf_quant_config.json -------------------------------------------------------- */

struct entry {
    const char *weight;
    const struct modelopt_algo *algo;
};

/* What there is to declare. */
struct said {
    struct entry *w;                   /* the weights, by name */
    size_t n;
    const struct modelopt_algo *all;   /* of every weight; NULL: there are none, or (mixed) they differ */
    bool mixed;
    const char *cache;                 /* type of the KV cache, or NULL */
    json_t *kept;
};

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return strcmp(x->weight, y->weight);
}

/* One bias among the scales makes the cache affine. */
static const char *cache_type(const struct out_tensor *t, const char *before)
{
    if (t->scheme->elem != DT_F4)
        return t->scheme->elem == DT_I8 ? "INT8" : "FP8";
    const bool affine = ends_with(t->name, "_bias") || (before && !strcmp(before, "NVFP4_AFFINE"));
    return affine ? "NVFP4_AFFINE" : "NVFP4";
}

static void release(struct said *s)
{
    free(s->w);
    json_decref(s->kept);
}

static int gather(const struct out_tensor *t, size_t n, struct said *s, struct err *e)
{
    *s = (struct said){.w = mem_alloc(n, sizeof *s->w, e)};
    if (!s->w)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (t[i].part == PART_AUX && !t[i].weight)
            s->cache = cache_type(&t[i], s->cache);
        if (t[i].part != PART_WEIGHT)
            continue;
        const struct modelopt_algo *a = find_row(t[i].scheme, t[i].activation);
        if (!a) {
            release(s);
            return err_set(e, ERR_USAGE, "modelopt is not written with %s ('%s'); --convention names another one",
                           t[i].scheme->name, t[i].weight);
        }
        s->mixed |= s->n && s->all != a;
        s->all = a;
        s->w[s->n++] = (struct entry){t[i].weight, a};
    }
    qsort(s->w, s->n, sizeof *s->w, by_name);
    s->all = s->mixed ? NULL : s->all;
    s->kept = modules_kept(t, n, e);
    if (s->kept)
        return 0;
    release(s);
    return -1;
}

/* Moves value into x; out of memory is remembered. */
static void put(bool *ok, json_t *x, const char *key, json_t *value)
{
    if (json_object_set_new(x, key, value))
        *ok = false;
}

static void put_group_size(bool *ok, json_t *x, const struct modelopt_algo *a)
{
    if (a->cols)
        put(ok, x, "group_size", json_integer(a->cols));
}

static json_t *producer(void) { return json_pack("{ssss}", "name", "modelopt", "version", "0.47.0"); }

static const char *algo_name(const struct said *s) { return s->mixed ? "MIXED_PRECISION" : s->all->name; }

/* {module: {"quant_algo": .., "group_size": ..}, ...} */
static json_t *layers(bool *ok, const struct said *s)
{
    json_t *all = json_object();
    for (size_t i = 0; i < s->n; i++) {
        json_t *x = json_object(), *name = module_string(s->w[i].weight);
        put(ok, x, "quant_algo", json_string(s->w[i].algo->name));
        put_group_size(ok, x, s->w[i].algo);
        put(ok, all, json_string_value(name), x);
        json_decref(name);
    }
    return all;
}

int modelopt_description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    struct said s;
    bool ok = true;
    if (gather(t, n, &s, e))
        return -1;
    json_t *root = json_object(), *q = json_object();
    put(&ok, q, "quant_algo", s.n ? json_string(algo_name(&s)) : json_null());
    put(&ok, q, "kv_cache_quant_algo", s.cache ? json_string(s.cache) : json_null());
    if (s.all)
        put_group_size(&ok, q, s.all);
    if (s.mixed)
        put(&ok, q, "quantized_layers", layers(&ok, &s));
    else
        put(&ok, q, "exclude_modules", json_incref(s.kept));
    put(&ok, root, "producer", producer());
    put(&ok, root, "quantization", q);
    release(&s);
    char *dump = ok ? json_dumps(root, JSON_INDENT(4)) : NULL;
    json_decref(root);
    int r = !dump ? err_set(e, ERR_SYSTEM, "out of memory for " MODELOPT_DESCRIPTION)
                  : buf_puts(text, dump, e) || buf_puts(text, "\n", e) ? -1 : 0;
    free(dump);
    return r;
}

/* ---- config.json ------------------------------------------------------------------ */

/* The arguments of weights or activations, in the words of compressed-tensors. */
static json_t *arguments(bool *ok, const struct modelopt_algo *a, int bits, bool weights)
{
    json_t *x = json_pack("{sb si ss}", "dynamic", 0, "num_bits", bits, "type", "float");
    if (bits == 4 || a->elem == DT_F8_E4M3)
        put_group_size(ok, x, a);
    if (weights && a->rows == 1 && !a->cols)
        put(ok, x, "strategy", json_string("channel"));
    return x;
}

static json_t *config_group(bool *ok, const struct modelopt_algo *a, json_t *targets)
{
    json_t *x = json_object();
    if (a->inputs)
        put(ok, x, "input_activations", arguments(ok, a, a->inputs, false));
    put(ok, x, "weights", arguments(ok, a, a->elem == DT_F4 ? 4 : 8, true));
    put(ok, x, "targets", targets);
    return x;
}

/* A group for each algorithm, naming its modules. */
static json_t *config_groups(bool *ok, const struct said *s)
{
    json_t *all = json_object();
    for (size_t k = 0, groups = 0; k < modelopt_algo_count; k++) {
        json_t *names = json_array();
        char name[32];
        for (size_t i = 0; i < s->n; i++)
            if (s->w[i].algo == &modelopt_algos[k]
                && json_array_append_new(names, module_string(s->w[i].weight)))
                *ok = false;
        snprintf(name, sizeof name, "group_%zu", groups);
        if (json_array_size(names)) {
            put(ok, all, name, config_group(ok, &modelopt_algos[k], names));
            groups++;
        } else {
            json_decref(names);
        }
    }
    return all;
}

int modelopt_config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    struct said s;
    bool ok = true;
    if (gather(t, n, &s, e))
        return -1;
    json_t *q = json_object();
    if (s.all && s.all->grouped) {
        json_t *one = config_group(&ok, s.all, json_pack("[s]", "Linear"));
        put(&ok, q, "config_groups", json_pack("{so}", "group_0", one));
    }
    if (s.mixed) {
        put(&ok, q, "config_groups", config_groups(&ok, &s));
        put(&ok, q, "quantized_layers", layers(&ok, &s));
    }
    put(&ok, q, "ignore", s.mixed ? json_array() : json_incref(s.kept));
    if (s.n)
        put(&ok, q, "quant_algo", json_string(algo_name(&s)));
    if (s.cache)
        put(&ok, q, "kv_cache_scheme", strcmp(s.cache, "FP8") ? json_string(s.cache)
                : json_pack("{sb si ss}", "dynamic", 0, "num_bits", 8, "type", "float"));
    put(&ok, q, "producer", producer());
    put(&ok, q, "quant_method", json_string("modelopt"));
    release(&s);
    if (ok)
        return config_set(root, "quantization_config", q, e);
    json_decref(q);
    return err_set(e, ERR_SYSTEM, "out of memory for config.json");
}

/* Factors of the rotary embedding: a rule in config.json, a tensor in a GGUF.
 *
 * Llama 3 divides frequencies by a factor that depends on their wave length: 1 for short waves,
 * `factor` for long ones, and in between (convert_hf_to_gguf.py generate_extra_tensors; transformers
 * modeling_rope_utils.py _compute_llama3_parameters)
 *
 *     1 / ((1 - s) / factor + s),   s = (context / wave - low) / (high - low). */
#include "formats/names_parts.h"

#include "formats/conventions/parts.h"
#include "formats/derived.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FACTORS_MAX = 4096 };

struct rule {
    double base, factor, low, high, context;
};

static double factor_of(const struct rule *x, uint64_t i, uint64_t n)
{
    const double wave = 2 * 3.14159265358979323846 * pow(x->base, (double)i / (double)n);
    if (wave < x->context / x->high)
        return 1;
    if (wave > x->context / x->low)
        return x->factor;
    const double s = (x->context / wave - x->low) / (x->high - x->low);
    return 1 / ((1 - s) / x->factor + s);
}

/* ---- to GGUF ------------------------------------------------------------------------------------- */
struct factors {
    struct derived d;
    float value[];
};

static int factor_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out, struct err *e)
{
    (void)m, (void)row, (void)n, (void)e;
    memcpy(out, ((const struct factors *)d)->value, d->row_bytes);
    return 0;
}

static double real(const json_t *object, const char *member, double otherwise)
{
    const json_t *v = json_object_get(object, member);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static int read_rule(struct renaming *r, struct rule *x, uint64_t *n)
{
    json_t *config;
    if (names_config(r, &config))
        return -1;
    const json_t *scaling = json_object_get(config, "rope_scaling"), *newer = json_object_get(config, "rope_parameters");
    if (!json_is_object(scaling))
        scaling = newer;
    const double heads = real(config, "num_attention_heads", 0), dim = real(config, "head_dim", 0);
    const char *type = config_string(scaling, "rope_type");
    *x = (struct rule){real(config, "rope_theta", real(newer, "rope_theta", 10000)), 0, 0, 0, 0};
    if (!strcmp(*type ? type : config_string(scaling, "type"), "llama3")) {
        x->factor = real(scaling, "factor", 0);
        x->low = real(scaling, "low_freq_factor", 0);
        x->high = real(scaling, "high_freq_factor", 0);
        x->context = real(scaling, "original_max_position_embeddings", 0);
        *n = (uint64_t)(dim > 0 ? dim : heads > 0 ? real(config, "hidden_size", 0) / heads : 0) / 2;
        if (!(x->factor > 0 && x->low > 0 && x->high > x->low && x->context > 0 && x->base > 0) || !*n || *n > FACTORS_MAX) {
            json_decref(config);
            return err_set(r->e, ERR_INPUT, "%s: config.json: rope_scaling of type llama3 lacks a number, and "
                           "rope_freqs.weight follows from it", r->m->path);
        }
    }
    json_decref(config);
    return 0;
}

int names_add_factors(struct renaming *r)
{
    struct rule x;
    uint64_t n = 0;
    if (!r->arch || !r->arch->permutes || r->from != NAMES_HF || r->to != NAMES_GGUF)
        return 0;
    if (read_rule(r, &x, &n))
        return -1;
    if (x.factor <= 0)
        return 0;
    struct factors *f = arena_alloc(&r->m->mem, sizeof *f + n * sizeof *f->value, r->e);
    if (!f)
        return -1;
    f->d = (struct derived){n * sizeof *f->value, factor_rows, false};
    for (uint64_t i = 0; i < n; i++)
        f->value[i] = (float)factor_of(&x, i, n);
    const struct tensor t = {.name = "rope_freqs.weight", .dtype = DT_F32, .rank = 1, .dim = {n}, .size = n * 4,
                             .derived = &f->d};
    r->added++;
    return names_put(r, &t);
}

/* ---- from GGUF ----------------------------------------------------------------------------------- */
int names_read_factors(struct renaming *r, size_t i)
{
    const struct tensor *t = &r->m->t[i];
    const uint64_t n = tensor_elems(t);
    struct naming *done = r->done;
    char key[96], *end;
    done->factors = true;
    if (t->dtype != DT_F32 || !n || n > FACTORS_MAX || !r->m->random || !tensor_is_flat(t))
        return 0;
    snprintf(key, sizeof key, "%s.rope.freq_base", r->arch->gguf);
    const char *base = model_meta(r->m, key);
    float *f = mem_alloc(n, sizeof *f, r->e);
    if (!f || model_read(r->m, i, 0, f, n * sizeof *f, r->e)) {
        free(f);
        return -1;
    }
    /* The longest wave has the factor itself; whether the rest is Llama 3's rule is seen. */
    const struct rule x = {base ? strtod(base, &end) : 10000, (double)f[n - 1], 1, 4, 8192};
    bool same = x.factor > 1 && x.factor <= 1024 && x.base > 1;
    for (uint64_t k = 0; same && k < n; k++)
        same = fabs((double)f[k] - factor_of(&x, k, n)) <= 1e-4 * x.factor;
    done->rope_factor = same ? x.factor : 0;
    free(f);
    return 0;
}

#include "calibrate/forward/parts.h"

#include "formats/conventions/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

static double number(const json_t *o, const char *key, double otherwise)
{
    const json_t *x = json_object_get(o, key);
    return json_is_number(x) ? json_number_value(x) : otherwise;
}

/* Whether what is given is a number, and above 0 where all others make no sense. */
static int check_numbers(const json_t *o, struct err *e)
{
    static const char *const keys[] = {"rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "beta_fast",
                                       "beta_slow", "max_position_embeddings", /* those may be 0: */ "mscale", "mscale_all_dim", "attention_factor"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *x = json_object_get(o, keys[i]);
        if (!x || json_is_null(x))
            continue;
        if (!json_is_number(x))
            return err_set(e, ERR_INPUT, "config.json: '%s' is no number", keys[i]);
        if (json_number_value(x) < 0 || (i < 8 && json_number_value(x) == 0))
            return err_set(e, ERR_INPUT, "config.json: '%s' is %g", keys[i], json_number_value(x));
    }
    return 0;
}

static const json_t *rule_of(const json_t *config)
{
    const json_t *s = json_object_get(config, "rope_scaling"), *p = json_object_get(config, "rope_parameters");
    return json_is_object(s) ? s : json_is_object(p) ? p : NULL;
}

static const char *kind_of(const json_t *rule)
{
    const char *a = json_string_value(json_object_get(rule, "rope_type")), *b = json_string_value(json_object_get(rule, "type"));
    return a ? a : b ? b : "default";
}

/* modeling_rope_utils.py _compute_llama3_parameters */
static void llama3(double *f, uint64_t half, const json_t *rule)
{
    const double factor = number(rule, "factor", 1), low = number(rule, "low_freq_factor", 1), high = number(rule, "high_freq_factor", 4);
    const double old = number(rule, "original_max_position_embeddings", 8192);
    for (uint64_t i = 0; i < half; i++) {
        const double wave = 2 * M_PI / f[i];
        if (wave > old / low) {
            f[i] /= factor;
        } else if (wave >= old / high) {
            const double smooth = (old / wave - low) / (high - low);
            f[i] = (1 - smooth) * f[i] / factor + smooth * f[i];
        }
    }
}

static double mscale(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1; }

/* modeling_rope_utils.py _compute_yarn_parameters */
static double yarn(double *f, uint64_t half, double theta, const json_t *rule, double longest)
{
    const double factor = number(rule, "factor", 1), old = number(rule, "original_max_position_embeddings", longest);
    const double fast = number(rule, "beta_fast", 32), slow = number(rule, "beta_slow", 1), dims = 2 * (double)half;
    double from = dims * log(old / (fast * 2 * M_PI)) / (2 * log(theta)), to = dims * log(old / (slow * 2 * M_PI)) / (2 * log(theta));
    const json_t *whole = json_object_get(rule, "truncate");
    if (!json_is_false(whole)) {
        from = floor(from);
        to = ceil(to);
    }
    from = fmax(from, 0);
    to = fmin(to, dims - 1);
    to = to == from ? to + 0.001 : to;
    for (uint64_t i = 0; i < half; i++) {
        const double ramp = fmin(fmax(((double)i - from) / (to - from), 0), 1);
        f[i] = f[i] / factor * ramp + f[i] * (1 - ramp);
    }
    const double m = number(rule, "mscale", 0), all = number(rule, "mscale_all_dim", 0);
    const double given = number(rule, "attention_factor", 0);
    return given != 0 ? given : m != 0 && all != 0 ? mscale(factor, m) / mscale(factor, all) : mscale(factor, 1);
}

int rope_read(struct rope *r, const json_t *config, uint64_t dims, struct arena *mem, struct err *e)
{
    const json_t *rule = rule_of(config);
    const char *kind = kind_of(rule);
    const double theta = number(config, "rope_theta", number(rule, "rope_theta", 10000));
    if (check_numbers(config, e) || check_numbers(rule, e))
        return -1;
    const double low = number(rule, "low_freq_factor", 1), high = number(rule, "high_freq_factor", 4);
    if (!strcmp(kind, "llama3") && !(high > low))
        return err_set(e, ERR_INPUT, "config.json: 'high_freq_factor' is %g, and 'low_freq_factor' %g", high, low);
    if (theta == 1) /* all frequencies would be the same, and the logarithm is 0 */
        return err_set(e, ERR_INPUT, "config.json: 'rope_theta' is 1");
    static const char *const rules[] = {"rope_scaling", "rope_parameters"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *x = json_object_get(config, rules[i]);
        if (x && !json_is_null(x) && !json_is_object(x))
            return err_set(e, ERR_INPUT, "config.json: '%s' is no object", rules[i]);
    }
    const double part = number(config, "partial_rotary_factor", number(rule, "partial_rotary_factor", 1));
    if (part != 1)
        return err_set(e, ERR_INPUT, "config.json: partial_rotary_factor %g is not known here", part);
    *r = (struct rope){.half = dims / 2, .factor = 1, .inverse = arena_array(mem, dims / 2 + 1, sizeof *r->inverse, e)};
    double *f = mem_alloc(dims / 2 + 1, sizeof *f, e);
    if (!r->inverse || !f) {
        free(f);
        return -1;
    }
    for (uint64_t i = 0; i < r->half; i++)
        f[i] = pow(theta, -2 * (double)i / (double)dims);
    bool known = true;
    if (!strcmp(kind, "linear"))
        for (uint64_t i = 0; i < r->half; i++)
            f[i] /= number(rule, "factor", 1);
    else if (!strcmp(kind, "llama3"))
        llama3(f, r->half, rule);
    else if (!strcmp(kind, "yarn"))
        r->factor = yarn(f, r->half, theta, rule, number(config, "max_position_embeddings", 4096));
    else
        known = !strcmp(kind, "default");
    uint64_t good = 0;
    while (good < r->half && isfinite((r->inverse[good] = (float)f[good])) && f[good] >= 0)
        good++;
    const double bad = good < r->half ? f[good] : r->factor;
    free(f);
    if (!known)
        return err_set(e, ERR_INPUT, "config.json: rope_scaling of type '%s' is not known here", kind);
    return good == r->half && isfinite(r->factor) && r->factor > 0
             ? 0 : err_set(e, ERR_INPUT, "config.json: rope_theta and rope_scaling of type '%s' make a frequency or a factor of %g", kind, bad);
}

double rope_softmax(const json_t *config)
{
    const json_t *rule = rule_of(config);
    const double all = number(rule, "mscale_all_dim", 0);
    return strcmp(kind_of(rule), "yarn") || all == 0 ? 1 : pow(mscale(number(rule, "factor", 1), all), 2);
}

void rope_apply(const struct rope *r, float *x, size_t rows, size_t stride, uint64_t heads, uint64_t head)
{
    for (size_t t = 0; t < rows; t++, x += stride)
        for (uint64_t i = 0; i < r->half; i++) {
            const float angle = (float)t * r->inverse[i];
            const float c = (float)(cos((double)angle) * r->factor), s = (float)(sin((double)angle) * r->factor);
            const uint64_t ia = r->pairs ? 2 * i : i, ib = r->pairs ? 2 * i + 1 : i + r->half;
            for (uint64_t h = 0; h < heads; h++) {
                float *p = x + h * head;
                const float a = p[ia], b = p[ib];
                p[ia] = a * c - b * s;
                p[ib] = b * c + a * s;
            }
        }
}

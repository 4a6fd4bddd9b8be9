#include "calibrate/actscale.h"

#include "formats/writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The magnitudes that bin b counts: [from, to). */
static float bin_edge(size_t b)
{
    const uint32_t bits = (uint32_t)b << 19;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

enum { FINITE = 0x7f800000 >> 19 };

/* Squared error of all that was counted, rounded to num with this scale; what is in a bin is taken to be spread over it evenly. */
static double squared_error(const struct num *num, const int64_t *count, float amax, float scale)
{
    enum { POINTS = 16 };
    float x[FINITE], y[FINITE];
    uint8_t code[FINITE];
    double sum = 0;
    for (int k = 0; k < POINTS; k++) {
        for (size_t b = 0; b < FINITE; b++) {
            const float from = bin_edge(b), to = b + 1 < FINITE ? fminf(bin_edge(b + 1), fmaxf(amax, from)) : from;
            x[b] = from + (to - from) * ((float)k + 0.5f) / POINTS;
            y[b] = x[b] / scale;
        }
        num_encode_row(num, y, code, FINITE, OVERFLOW_SATURATE);
        num_decode_row(num, code, y, FINITE);
        for (size_t b = 0; b < FINITE; b++) {
            const double d = (double)y[b] * (double)scale - (double)x[b];
            sum += count[b] ? (double)count[b] / POINTS * d * d : 0;
        }
    }
    return sum;
}

static float least_error(const struct num *num, const int64_t *count, float amax)
{
    float best = amax;
    double least = INFINITY;
    for (int octave = 0; octave < 12; octave++)
        for (int part = 16; part > 8; part--) {
            const float top = ldexpf(amax * (float)part / 16, -octave);
            const double error = squared_error(num, count, amax, top / num->max);
            if (error < least) {
                least = error;
                best = top;
            }
        }
    return best;
}

static float percentile(const int64_t *count, float amax, double share)
{
    double all = 0, below = 0;
    for (size_t b = 0; b < FINITE; b++)
        all += (double)count[b];
    for (size_t b = 0; b < FINITE; b++) {
        below += (double)count[b];
        if (below >= share * all)
            return b + 1 < FINITE ? fminf(bin_edge(b + 1), amax) : amax;
    }
    return amax;
}

float actscale(enum actscale_rule rule, double share, const struct num *num, const int64_t *count, float amax)
{
    if (!(amax > 0))
        return 1;
    const float top = rule == ACTSCALE_MAX ? amax : rule == ACTSCALE_MSE ? least_error(num, count, amax) : percentile(count, amax, share);
    return fmaxf(top, 0x1p-100f) / num->max;
}

/* X.input_scale of a linear; of a cache, X.self_attn.k_scale and v_scale, as vLLM reads them (model_loader/weight_utils.py). */
static const char *scale_name(const char *of, struct arena *mem, struct err *e)
{
    const size_t n = strlen(of);
    if (ends_with(of, ".k_cache") || ends_with(of, ".v_cache"))
        return arena_printf(mem, e, "%.*s_scale", (int)(n - strlen("_cache")), of);
    return arena_printf(mem, e, "%s.input_scale", of);
}

int actscale_write(const struct stats *s, enum actscale_rule rule, double share, const struct num *num, const char *path, struct sink_options o,
                   struct err *e)
{
    const size_t n = s->by_linear.n;
    struct arena mem = {0};
    struct writer w = {0};
    struct sink out;
    struct tensor *t = arena_array(&mem, n + 1, sizeof *t, e);
    float *scale = arena_array(&mem, n + 1, sizeof *scale, e);
    uint32_t *shard = arena_array(&mem, n + 1, sizeof *shard, e);
    int64_t *count = arena_array(&mem, STATS_BINS, sizeof *count, e);
    int r = t && scale && shard && count ? 0 : -1;
    for (size_t i = 0; !r && i < n; i++) {
        const struct stats_point *p = stats_find(s, map_name(&s->by_linear, i));
        float *amax = mem_alloc(p->width, sizeof *amax, e), most = 0;
        r = !amax || stats_amax(s, p, amax, e) || stats_histogram(s, p, count, e) ? -1 : 0;
        for (uint64_t c = 0; !r && c < p->width; c++)
            most = fmaxf(most, amax[c]);
        free(amax);
        scale[i] = r ? 0 : actscale(rule, share, num, count, most);
        t[i] = (struct tensor){.dtype = DT_F32, .rank = 1, .dim = {1}, .size = 4};
        t[i].name = scale_name(map_name(&s->by_linear, i), &mem, e);
        r = r || !t[i].name ? -1 : 0;
    }
    const struct meta kv = {"octavo.activation_scales", num->name};
    if (!r && !(r = writer_safetensors(&w, t, n, shard, &path, 1, &kv, 1, false, e) || sink_open(&out, w.file, w.nfiles, w.slot, w.nslots, NULL, o, e) ? -1 : 0)) {
        for (size_t i = 0; !r && i < n; i++)
            r = sink_put(&out, w.slot_of[i], 0, &scale[i], 4, e);
        r = r ? -1 : sink_commit(&out, e);
        if (r)
            sink_abort(&out);
    }
    writer_free(&w);
    arena_free(&mem);
    return r;
}

#include "calibrate/signature.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------- */
void signature_rules(const struct inspection *look, char *text, size_t n)
{
    enum { SHOWN = 3 };
    size_t at = 0, count = 0;
    bool bf16;
    const char *name, *last = "";
    *text = 0;
    for (size_t k = 0; k < 64 && (name = inspect_rule_name(look->elem, k, &bf16)); k++) {
        if (!(look->rules >> k & 1) || !strcmp(name, last))
            continue;
        last = name;
        if (count++ < SHOWN && at < n)
            at += (size_t)snprintf(text + at, n - at, "%s%s%s", count > 1 ? ", " : "", name, bf16 && !strstr(name, "bf16") ? " in BF16" : "");
    }
    if (count > SHOWN && at < n)
        snprintf(text + at, n - at, " and %zu more", count - SHOWN);
}

static enum signature say(enum signature s, char *text, size_t n, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static enum signature say(enum signature s, char *text, size_t n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, n, fmt, ap);
    va_end(ap);
    return s;
}

/* ---- by scale and code ------------------------------------------------------------------------ */

/* k when x is 2^k, k not 0, as nearly as a mean over many values tells. */
static int power_of_two(double x)
{
    const double e = log2(x);
    const int k = (int)lround(e);
    return x > 0 && fabs(e - k) < 0.03 ? k : 0;
}

static enum signature by_grid(const struct inspection *l, char *text, size_t n)
{
    bool bf16;
    const char *rule = inspect_rule_name(l->elem, l->most, &bf16);
    if (l->grid == GRID_TRANSPOSED)
        return say(SIGN_BAD, text, n, "the grid of scales is transposed: each is that of the block across the diagonal (rule %s)", rule);
    return say(SIGN_BAD, text, n, "rows %" PRIu64 " and %" PRIu64 " of the scales are exchanged (rule %s)", l->swapped[0], l->swapped[1], rule);
}

/* Are they all rules of F32 scales that were rounded to BF16? */
static bool only_bf16(const struct inspection *l)
{
    bool bf16, all = l->rules != 0;
    for (size_t k = 0; k < 64 && inspect_rule_name(l->elem, k, &bf16); k++)
        all &= bf16 || !(l->rules >> k & 1);
    return all;
}

static enum signature by_rules(const struct inspection *l, const struct error_sums *s, char *text, size_t n)
{
    char rules[160];
    bool bf16;
    const uint64_t moved = l->steps[1] + l->steps[2] + l->steps[3] + l->steps[4];
    const double error_db = error_sqnr(s);
    const bool nearest = l->roundings >> ROUND_EVEN & 1;
    int r = 0;
    while (r < ROUNDINGS && !(l->roundings >> r & 1))
        r++;
    signature_rules(l, rules, sizeof rules);
    if (l->rules) {
        if (nearest && s->saturated)
            return say(SIGN_ODD, text, n, "rounded to nearest, and the largest values saturated, at the scales of %s", rules);
        if (nearest)
            return say(SIGN_GOOD, text, n, "rounded to nearest at the scales of %s", rules);
        const bool few = moved <= l->codes / 1000 + 1;
        if (few && moved == l->other_f32)
            return say(SIGN_GOOD, text, n, "rounded to nearest, in FP32 arithmetic of another order, at the scales of %s", rules);
        if (r < ROUNDINGS)
            return say(inspect_rule_ties(l, (enum round_mode)r) ? SIGN_GOOD : SIGN_ODD, text, n, "rounded %s at the scales of %s", rounding_name((enum round_mode)r), rules);
        if (moved == l->other_bf16)
            return say(SIGN_GOOD, text, n, "rounded to nearest, in BF16 arithmetic, at the scales of %s", rules);
        if (few)
            return say(SIGN_BAD, text, n, "%" PRIu64 " of %" PRIu64 " codes are not the nearest, the first at [%" PRIu64 ",%" PRIu64 "], and all others are", moved,
                       l->codes, l->first_moved.row, l->first_moved.col);
        if (only_bf16(l))
            return say(SIGN_BAD, text, n, "the scales, those of %s, were rounded to BF16 after the codes were made", rules);
        if (l->top_blocks > l->blocks / 10 * 9 && error_db < 15)
            return say(SIGN_BAD, text, n, "the scales were rounded to those of %s after the codes were made: the largest code is in every block", rules);
        if (error_db >= 20 || (l->steps[2] + l->steps[3] + l->steps[4]) <= moved / 8)
            return say(SIGN_ODD, text, n, "scales of %s, and codes beside the nearest: output-aware or stochastic rounding, or a second one", rules);
        return say(SIGN_BAD, text, n, "scales of %s, and codes that are not near: other weights than the original's", rules);
    }
    if (l->most != SIZE_MAX && l->off_by)
        return say(SIGN_BAD, text, n, "%" PRIu64 " of %" PRIu64 " scales are not those of %s, the first at [%" PRIu64 ",%" PRIu64 "], off by 2^%d",
                   l->off_blocks, l->blocks, inspect_rule_name(l->elem, l->most, &bf16), l->first_off.row, l->first_off.col, l->off_by);
    if (l->most != SIZE_MAX)
        return say(SIGN_ODD, text, n, "%" PRIu64 " of %" PRIu64 " scales are not those of %s, the first at [%" PRIu64 ",%" PRIu64 "], by less than an exponent",
                   l->off_blocks, l->blocks, inspect_rule_name(l->elem, l->most, &bf16), l->first_off.row, l->first_off.col);
    if (nearest)
        return say(SIGN_ODD, text, n, "rounded to nearest at scales of no rule that is known here");
    return SIGN_NONE;
}

/* ---- by the error alone ------------------------------------------------------------------------- */
static const char doubled[] = "all values are twice the original's: E4M3FNUZ codes declared as E4M3, or scales that are twice as large";

static enum signature by_gain(const struct tensor_error *t, char *text, size_t n)
{
    const int k = power_of_two(error_gain(&t->sums));
    if (!k || error_cosine(&t->sums) < 0.99)
        return SIGN_NONE;
    if (t->scheme->elem == DT_F8_E4M3 && k == -1)
        return say(SIGN_BAD, text, n, "%s", doubled);
    return say(SIGN_BAD, text, n, "all values are 2^%d times the original's", -k);
}

static enum signature by_error(const struct tensor_error *t, char *text, size_t n)
{
    static const struct { enum dtype elem; double from, to; enum signature s; const char *says; } rows[] = {
        {DT_F8_E4M3, 31.25, 31.75, SIGN_GOOD, "as E4M3 rounded to nearest (31.5 dB)"},
        {DT_F8_E4M3, 31.75, 200, SIGN_GOOD, "better than E4M3 rounded to nearest: scales that are no powers of two, or weights that lie on a grid"},
        {DT_F8_E4M3, 28.1, 28.9, SIGN_ODD, "as E4M3 rounded twice, or at random (28.5 dB)"},
        {DT_F8_E4M3, 27, 31.25, SIGN_ODD, "below E4M3 rounded to nearest: output-aware rounding, or scales that are too large"},
        {DT_F8_E4M3, 25.2, 25.8, SIGN_ODD, "as E5M2 (25.5 dB)"},
        {DT_F8_E5M2, 25.2, 200, SIGN_GOOD, "as E5M2 rounded to nearest (25.5 dB)"},
        {DT_F8_E5M2, 22, 25.2, SIGN_ODD, "below E5M2 rounded to nearest"},
    };
    const double db = error_sqnr(&t->sums);
    if (db < 15 && t->scheme->bits == 0 && t->scheme->elem != DT_F4)
        return say(SIGN_BAD, text, n, "codes and scales do not belong together, or these are other weights (%.1f dB)", db);
    if (t->sums.saturated && t->scheme->elem == DT_F8_E4M3 && db < 31.25)
        return say(SIGN_ODD, text, n, "%" PRIu64 " values are saturated, as by the floor rule", t->sums.saturated);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (t->scheme->elem == rows[i].elem && db >= rows[i].from && db < rows[i].to)
            return say(rows[i].s, text, n, "%s", rows[i].says);
    return SIGN_NONE;
}

enum signature signature_of(const struct tensor_error *t, char *text, size_t n)
{
    const struct inspection *l = t->look && t->look->codes ? t->look : NULL; /* a tensor of no rows tells nothing */
    enum signature s = SIGN_NONE;
    *text = 0;
    if (!t->scheme || t->bytes)
        return SIGN_NONE;
    if (l && l->elem == DT_F8_E4M3 && l->doubled > (l->codes - l->zero) / 10 * 9)
        return say(SIGN_BAD, text, n, "%s", doubled);
    if (l && l->nan)
        return say(SIGN_BAD, text, n, "%" PRIu64 " codes are NaN, the first at [%" PRIu64 ",%" PRIu64 "]", l->nan, l->first_nan.row, l->first_nan.col);
    if (l && l->bad_scales)
        return say(SIGN_BAD, text, n, "%" PRIu64 " scales are 0, negative or no numbers, the first at [%" PRIu64 ",%" PRIu64 "] is %g", l->bad_scales,
                   l->first_bad.row, l->first_bad.col, (double)l->bad);
    if (t->sums.m.equal == t->sums.n)
        return say(SIGN_GOOD, text, n, "all values are exact");
    if (l && l->grid)
        return by_grid(l, text, n);
    s = by_gain(t, text, n);
    if (s != SIGN_NONE)
        return s;
    if (l && l->ruled)
        s = by_rules(l, &t->sums, text, n);
    if (s == SIGN_NONE || s == SIGN_ODD) { /* what the error shows may be worse */
        char other[256];
        const enum signature o = by_error(t, other, sizeof other);
        if (o == SIGN_BAD || s == SIGN_NONE)
            return say(o, text, n, "%s", other);
    }
    const int k = t->worst.rel > 0.3 ? power_of_two(t->worst.gain) : 0;
    if (k && s == SIGN_NONE)
        return say(SIGN_BAD, text, n, "the block at [%" PRIu64 ",%" PRIu64 "] is 2^%d times the original's", t->worst.row, t->worst.col, -k);
    return s;
}

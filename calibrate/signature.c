#include "calibrate/signature.h"
#include "calibrate/signature_words.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------- */
/* Names of the rules that explain every scale, at most three and how many more: "smallest, ds, rceil and 4 more". */
static void signature_rules(const struct inspection *look, bool zh, char *text, size_t n)
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
            at += (size_t)snprintf(text + at, n - at, "%s%s%s", count > 1 ? ", " : "", name, bf16 && !strstr(name, "bf16") ? zh ? "（BF16）" : " in BF16" : "");
    }
    if (count > SHOWN && at < n)
        snprintf(text + at, n - at, zh ? " 等另 %zu 种" : " and %zu more", count - SHOWN);
}

/* Where a sentence goes, in which language, and what place it is about. */
struct speech {
    char *text;
    size_t n;
    bool zh;
    struct place *at;
};

static enum signature say(enum signature s, const struct speech *to, enum sentence what, ...)
{
    va_list ap;
    va_start(ap, what);
    vsnprintf(to->text, to->n, signature_sentence(what, to->zh), ap);
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

static enum signature by_grid(const struct inspection *l, const struct speech *to)
{
    bool bf16;
    const char *rule = inspect_rule_name(l->elem, l->most, &bf16);
    if (l->grid == GRID_TRANSPOSED)
        return say(SIGN_BAD, to, S_TRANSPOSED, rule);
    return say(SIGN_BAD, to, S_EXCHANGED, l->swapped[0], l->swapped[1], rule);
}

/* Are they all rules of F32 scales that were rounded to BF16? */
static bool only_bf16(const struct inspection *l)
{
    bool bf16, all = l->rules != 0;
    for (size_t k = 0; k < 64 && inspect_rule_name(l->elem, k, &bf16); k++)
        all &= bf16 || !(l->rules >> k & 1);
    return all;
}

static enum signature by_rules(const struct inspection *l, const struct error_sums *s, const struct speech *to)
{
    char rules[160];
    bool bf16;
    const uint64_t moved = l->steps[1] + l->steps[2] + l->steps[3] + l->steps[4];
    const double error_db = error_sqnr(s);
    const bool nearest = l->roundings >> ROUND_EVEN & 1;
    int r = 0;
    while (r < ROUNDINGS && !(l->roundings >> r & 1))
        r++;
    signature_rules(l, to->zh, rules, sizeof rules);
    if (l->rules) {
        if (nearest && s->m.saturated)
            return say(SIGN_ODD, to, S_NEAREST_SATURATED, rules);
        if (nearest)
            return say(SIGN_GOOD, to, S_NEAREST, rules);
        const bool few = moved <= l->codes / 1000 + 1;
        if (few && moved == l->other_f32)
            return say(SIGN_GOOD, to, S_NEAREST_F32, rules);
        if (r < ROUNDINGS)
            return say(inspect_rule_ties(l, (enum round_mode)r) ? SIGN_GOOD : SIGN_ODD, to, S_ROUNDED, signature_rounding((enum round_mode)r, to->zh), rules);
        if (moved == l->other_bf16)
            return say(SIGN_GOOD, to, S_NEAREST_BF16, rules);
        if (few) {
            *to->at = l->first_moved;
            return say(SIGN_BAD, to, S_FEW_MOVED, moved,
                       l->codes, l->first_moved.row, l->first_moved.col);
        }
        if (only_bf16(l))
            return say(SIGN_BAD, to, S_SCALES_BF16, rules);
        if (l->top_blocks > l->blocks / 10 * 9 && error_db < 15)
            return say(SIGN_BAD, to, S_SCALES_LATER, rules);
        if (error_db >= 20 || (l->steps[2] + l->steps[3] + l->steps[4]) <= moved / 8)
            return say(SIGN_ODD, to, S_BESIDE, rules);
        return say(SIGN_BAD, to, S_FAR, rules);
    }
    if (l->most != SIZE_MAX && l->off_by)
        return say(SIGN_BAD, to, S_OFF_BY,
                   l->off_blocks, l->blocks, inspect_rule_name(l->elem, l->most, &bf16), l->first_off.row, l->first_off.col, l->off_by);
    if (l->most != SIZE_MAX)
        return say(SIGN_ODD, to, S_OFF_LESS,
                   l->off_blocks, l->blocks, inspect_rule_name(l->elem, l->most, &bf16), l->first_off.row, l->first_off.col);
    if (nearest)
        return say(SIGN_ODD, to, S_NO_RULE);
    return SIGN_NONE;
}

/* ---- by the error alone ------------------------------------------------------------------------- */
static enum signature by_gain(const struct tensor_error *t, const struct speech *to)
{
    const int k = power_of_two(error_gain(&t->sums));
    if (!k || error_cosine(&t->sums) < 0.99)
        return SIGN_NONE;
    if (t->scheme->elem == DT_F8_E4M3 && k == -1)
        return say(SIGN_BAD, to, S_DOUBLED);
    return say(SIGN_BAD, to, S_TIMES, -k);
}

static enum signature by_error(const struct tensor_error *t, const struct speech *to)
{
    static const struct { enum dtype elem; double from, to; enum signature s; enum sentence says; } rows[] = {
        {DT_F8_E4M3, 31.25, 31.75, SIGN_GOOD, S_AS_E4M3},
        {DT_F8_E4M3, 31.75, 200, SIGN_GOOD, S_ABOVE_E4M3},
        {DT_F8_E4M3, 28.1, 28.9, SIGN_ODD, S_TWICE},
        {DT_F8_E4M3, 27, 31.25, SIGN_ODD, S_BELOW_E4M3},
        {DT_F8_E4M3, 25.2, 25.8, SIGN_ODD, S_LIKE_E5M2},
        {DT_F8_E5M2, 25.2, 200, SIGN_GOOD, S_AS_E5M2},
        {DT_F8_E5M2, 22, 25.2, SIGN_ODD, S_BELOW_E5M2},
    };
    const double db = error_sqnr(&t->sums);
    if (db < 15 && t->scheme->bits == 0 && t->scheme->elem != DT_F4)
        return say(SIGN_BAD, to, S_APART, db);
    if (t->sums.m.saturated && t->scheme->elem == DT_F8_E4M3 && db < 31.25)
        return say(SIGN_ODD, to, S_SATURATED, t->sums.m.saturated);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (t->scheme->elem == rows[i].elem && db >= rows[i].from && db < rows[i].to)
            return say(rows[i].s, to, rows[i].says);
    return SIGN_NONE;
}

enum signature signature_of(const struct tensor_error *t, bool zh, char *text, size_t n, struct place *at)
{
    const struct speech speech = {text, n, zh, at}, *const to = &speech;
    const struct inspection *l = t->look && t->look->codes ? t->look : NULL; /* a tensor of no rows tells nothing */
    enum signature s = SIGN_NONE;
    *text = 0;
    *at = (struct place){t->worst.batch, t->worst.row, t->worst.col};
    if (!t->scheme || t->bytes)
        return SIGN_NONE;
    if (l && l->elem == DT_F8_E4M3 && l->doubled > (l->codes - l->zero) / 10 * 9)
        return say(SIGN_BAD, to, S_DOUBLED);
    if (l && l->nan) {
        *at = l->first_nan;
        return say(SIGN_BAD, to, S_NAN_CODES, l->nan, l->first_nan.row, l->first_nan.col);
    }
    if (l && l->bad_scales)
        return say(SIGN_BAD, to, S_BAD_SCALES, l->bad_scales,
                   l->first_bad.row, l->first_bad.col, (double)l->bad);
    if (t->sums.m.equal == t->sums.n)
        return say(SIGN_GOOD, to, S_EXACT);
    if (l && l->grid) {
        *at = NO_PLACE;
        return by_grid(l, to);
    }
    s = by_gain(t, to);
    if (s != SIGN_NONE)
        return s;
    if (l && l->ruled)
        s = by_rules(l, &t->sums, to);
    if (s == SIGN_NONE || s == SIGN_ODD) { /* what the error shows may be worse */
        char other[256];
        const enum signature o = by_error(t, &(struct speech){other, sizeof other, zh, at});
        if (o == SIGN_BAD || s == SIGN_NONE)
            return snprintf(text, n, "%s", other), o;
    }
    const int k = t->worst.rel > 0.3 ? power_of_two(t->worst.gain) : 0;
    if (k && s == SIGN_NONE)
        return say(SIGN_BAD, to, S_BLOCK, t->worst.row, t->worst.col, -k);
    return s;
}

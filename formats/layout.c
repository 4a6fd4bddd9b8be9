/* Layout sentences: parsing, printing, sizes, and the definition of where an
 * element lies.  The fast copies are in layout_copy.c and must agree with
 * layout_offset() for every element; the tests prove it. */
#include "formats/layout.h"

#include "formats/layout_copy.h"
#include "formats/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- parsing ------------------------------------------------------------ */

struct word {
    const char *s;
    size_t n;
    char quoted[48]; /* for error sentences: cut, and without control characters */
};

/* The next word after *at: up to white space or '|', which is a word itself. */
static bool next_word(const char **at, struct word *w)
{
    const char *s = *at + strspn(*at, " \t\r\n\f\v");
    if (!*s)
        return false;
    w->s = s;
    w->n = *s == '|' ? 1 : strcspn(s, " \t\r\n\f\v|");
    *at = s + w->n;
    size_t keep = w->n < sizeof w->quoted ? w->n : sizeof w->quoted - 1;
    for (size_t i = 0; i < keep; i++)
        w->quoted[i] = s[i] >= ' ' && s[i] != 0x7f ? s[i] : '?';
    w->quoted[keep] = 0;
    if (w->n > keep)
        memcpy(w->quoted + keep - 3, "...", 3);
    return true;
}

/* A decimal number without sign or leading zeros. Returns its length, 0 when
 * there is none or it does not fit. */
static size_t read_number(const char *s, size_t n, uint64_t *out)
{
    size_t i = 0;
    uint64_t v = 0;
    for (; i < n && s[i] >= '0' && s[i] <= '9'; i++)
        if (!mul_u64(v, 10, &v) || !add_u64(v, (uint64_t)(s[i] - '0'), &v))
            return 0;
    if (i > 1 && s[0] == '0')
        return 0;
    *out = v;
    return i;
}

/* The name of a digit, such as "r0" or "c12".  Returns its length or 0. */
static size_t read_name(const char *s, size_t n, uint8_t *axis, uint8_t *index)
{
    if (n < 2 || (s[0] != 'r' && s[0] != 'c'))
        return 0;
    uint64_t v = 0;
    const size_t used = read_number(s + 1, n - 1, &v);
    if (!used || v >= LAYOUT_MAX_DIGITS)
        return 0;
    *axis = s[0] == 'c';
    *index = (uint8_t)v;
    return used + 1;
}

static struct layout_digit *find_digit(struct layout *l, unsigned axis, unsigned index)
{
    for (unsigned i = 0; i < l->n; i++)
        if (l->d[i].axis == axis && l->d[i].index == index)
            return &l->d[i];
    return NULL;
}

static int parse_digit(struct layout *l, const struct word *w, struct err *e)
{
    struct layout_digit d = { .reversed = w->s[0] == '-' };
    const size_t sign = d.reversed;
    const size_t used = read_name(w->s + sign, w->n - sign, &d.axis, &d.index);
    if (used && used + sign < w->n && w->s[used + sign] == '=')
        return err_set(e, ERR_USAGE, "layout sentence: the size '%s' must come after a '|'",
                       w->quoted);
    if (!used || used + sign != w->n)
        return err_set(e, ERR_USAGE,
                       "layout sentence: '%s' is not a digit (r0 to r%d, c0 to c%d, "
                       "with a '-' before it to reverse it)",
                       w->quoted, LAYOUT_MAX_DIGITS - 1, LAYOUT_MAX_DIGITS - 1);
    if (find_digit(l, d.axis, d.index))
        return err_set(e, ERR_USAGE, "layout sentence: '%s' is listed twice", w->quoted);
    if (l->n == LAYOUT_MAX_DIGITS)
        return err_set(e, ERR_USAGE, "layout sentence: '%s' is one digit too many (at most %d)",
                       w->quoted, LAYOUT_MAX_DIGITS);
    l->d[l->n++] = d;
    return 0;
}

static int parse_size(struct layout *l, const struct word *w, struct err *e)
{
    uint8_t axis = 0, index = 0;
    uint64_t size = 0;
    const size_t used = read_name(w->s, w->n, &axis, &index);
    if (!used || used == w->n || w->s[used] != '=')
        return err_set(e, ERR_USAGE, "layout sentence: '%s' is not a size such as r0=32",
                       w->quoted);
    struct layout_digit *d = find_digit(l, axis, index);
    if (!d)
        return err_set(e, ERR_USAGE, "layout sentence: '%s' gives a size to a digit that is "
                       "not listed", w->quoted);
    const size_t length = read_number(w->s + used + 1, w->n - used - 1, &size);
    if (!length || used + 1 + length != w->n || size == 0)
        return err_set(e, ERR_USAGE,
                       "layout sentence: the size in '%s' must be a decimal number from 1 up",
                       w->quoted);
    if (d->size)
        return err_set(e, ERR_USAGE, "layout sentence: '%s' gives %c%u a second size", w->quoted,
                       "rc"[axis], index);
    d->size = size;
    return 0;
}

/* Finds the top digit of an axis, checks for holes, fills in the weights. */
static int settle_axis(struct layout *l, unsigned axis, struct err *e)
{
    const char name = "rc"[axis];
    unsigned count = 0;
    for (unsigned i = 0; i < l->n; i++)
        count += l->d[i].axis == axis;
    if (!count)
        return err_set(e, ERR_USAGE, "layout sentence: no digit '%c0'; every sentence has at "
                       "least r0 and c0", name);
    uint64_t weight = 1;
    for (unsigned index = 0; index < count; index++) {
        struct layout_digit *d = find_digit(l, axis, index);
        if (!d)
            return err_set(e, ERR_USAGE, "layout sentence: %u %s digits are listed but '%c%u' "
                           "is not among them", count, axis ? "column" : "row", name, index);
        d->weight = weight;
        d->top = index == count - 1;
        if (d->top && d->size)
            return err_set(e, ERR_USAGE, "layout sentence: '%c%u=%llu': the top digit takes no "
                           "size, it counts what the matrix needs", name, index,
                           (unsigned long long)d->size);
        if (d->top && d->reversed)
            return err_set(e, ERR_USAGE, "layout sentence: '-%c%u': the top digit cannot be "
                           "reversed, its size depends on the matrix", name, index);
        if (d->top)
            break;
        if (!d->size)
            return err_set(e, ERR_USAGE, "layout sentence: '%c%u' needs a size: write %c%u=SIZE "
                           "after a '|'", name, index, name, index);
        if (!mul_u64(weight, d->size, &weight))
            return err_set(e, ERR_USAGE, "layout sentence: the sizes up to '%c%u=%llu' multiply "
                           "to more than 64 bits", name, index, (unsigned long long)d->size);
    }
    l->tile[axis] = weight;
    return 0;
}

int layout_parse(struct layout *l, const char *sentence, struct err *e)
{
    *l = (struct layout){ .n = 0 };
    const char *at = sentence;
    struct word w;
    bool sizes = false, any_size = false;
    while (next_word(&at, &w)) {
        if (w.s[0] == '|') {
            if (sizes)
                return err_set(e, ERR_USAGE, "layout sentence: a second '|'");
            sizes = true;
        } else if (sizes ? parse_size(l, &w, e) : parse_digit(l, &w, e)) {
            return -1;
        } else {
            any_size = sizes;
        }
    }
    if (!l->n)
        return err_set(e, ERR_USAGE, "layout sentence: '%.40s' lists no digits", sentence);
    if (sizes && !any_size)
        return err_set(e, ERR_USAGE, "layout sentence: no sizes after the '|'");
    if (settle_axis(l, 0, e) || settle_axis(l, 1, e))
        return -1;
    return 0;
}

char *layout_print(const struct layout *l, char *s)
{
    /* 16 digits "-r15 ", 14 sizes "r15=" and per axis at most 20 + 14 figures
     * (their product fits 64 bits): always below 256. */
    size_t at = 0;
    for (unsigned i = 0; i < l->n; i++)
        at += (size_t)sprintf(s + at, "%s%s%c%u", i ? " " : "", l->d[i].reversed ? "-" : "",
                              "rc"[l->d[i].axis], l->d[i].index);
    bool bar = false;
    for (unsigned axis = 0; axis < 2; axis++)
        for (unsigned index = 0; index < LAYOUT_MAX_DIGITS; index++)
            for (unsigned i = 0; i < l->n; i++) {
                const struct layout_digit *d = &l->d[i];
                if (d->axis != axis || d->index != index || d->top)
                    continue;
                at += (size_t)sprintf(s + at, "%s %c%u=%llu", bar ? "" : " |", "rc"[axis],
                                      index, (unsigned long long)d->size);
                bar = true;
            }
    return s;
}

/* ---- the definition ----------------------------------------------------- */

bool layout_is_plain(const struct layout *l)
{
    return l->n == 2 && l->d[0].axis == 0;
}

bool layout_size(const struct layout *l, uint64_t rows, uint64_t cols, uint64_t *elems)
{
    uint64_t padded_rows, padded_cols;
    return mul_u64(ceil_div(rows, l->tile[0]), l->tile[0], &padded_rows) &&
           mul_u64(ceil_div(cols, l->tile[1]), l->tile[1], &padded_cols) &&
           mul_u64(padded_rows, padded_cols, elems);
}

uint64_t layout_offset(const struct layout *l, uint64_t rows, uint64_t cols, uint64_t r,
                       uint64_t c)
{
    uint64_t offset = 0;
    for (unsigned i = 0; i < l->n; i++) {
        const struct layout_digit *d = &l->d[i];
        const uint64_t count = layout_digit_count(d, rows, cols);
        const uint64_t value = (d->axis ? c : r) / d->weight % count;
        offset = offset * count + (d->reversed ? count - 1 - value : value);
    }
    return offset;
}

/* ---- boxes -------------------------------------------------------------- */

/* A box in the packed form: both top digits take a range of their values, all
 * other digits take every value. */
struct box_loops {
    unsigned n;                           /* digits outside the run */
    uint64_t count[LAYOUT_MAX_DIGITS];    /* of each digit, in the box */
    uint64_t stride[LAYOUT_MAX_DIGITS];   /* of each digit, in the big form */
    uint64_t base, run, runs, total;
};

static void box_plan(const struct layout *l, uint64_t rows, uint64_t cols, uint64_t r0,
                     uint64_t nr, uint64_t c0, uint64_t nc, struct box_loops *b)
{
    const uint64_t first[2] = { r0, c0 }, extent[2] = { nr, nc }, end[2] = { rows, cols };
    *b = (struct box_loops){ .total = 1 };
    if (!nr || !nc)
        return;
    for (unsigned axis = 0; axis < 2; axis++) {
        assert(first[axis] % l->tile[axis] == 0);
        assert(extent[axis] <= end[axis] && first[axis] <= end[axis] - extent[axis]);
        assert(extent[axis] % l->tile[axis] == 0 || first[axis] + extent[axis] == end[axis]);
    }
    bool whole = true; /* so far every digit takes all its values: the run goes on */
    b->run = 1;
    for (unsigned i = l->n; i-- > 0;) {
        const struct layout_digit *d = &l->d[i];
        const uint64_t all = layout_digit_count(d, rows, cols);
        b->count[i] = d->top ? ceil_div(extent[d->axis], d->weight) : all;
        b->stride[i] = b->total;
        b->total *= all;
        if (d->top)
            b->base += first[d->axis] / d->weight * b->stride[i];
        if (whole) {
            b->run *= b->count[i];
            b->n = i;
        }
        whole = whole && b->count[i] == all;
    }
    b->runs = 1;
    for (unsigned i = 0; i < b->n; i++)
        b->runs *= b->count[i];
}

int layout_runs(const struct layout *l, uint64_t rows, uint64_t cols, uint64_t r0, uint64_t nr,
                uint64_t c0, uint64_t nc,
                int (*run)(void *ctx, uint64_t global, uint64_t local, uint64_t n), void *ctx)
{
    struct box_loops b;
    box_plan(l, rows, cols, r0, nr, c0, nc, &b);
    uint64_t at[LAYOUT_MAX_DIGITS] = { 0 };
    uint64_t global = b.base;
    /* The box's own form has the same digits in the same order, so its runs
     * follow each other without gaps. */
    for (uint64_t i = 0; i < b.runs; i++) {
        if (run(ctx, global, i * b.run, b.run))
            return -1;
        for (unsigned k = b.n; k-- > 0;) {
            global += b.stride[k];
            if (++at[k] < b.count[k])
                break;
            global -= at[k] * b.stride[k];
            at[k] = 0;
        }
    }
    return 0;
}

uint64_t layout_run_count(const struct layout *l, uint64_t rows, uint64_t cols, uint64_t r0,
                          uint64_t nr, uint64_t c0, uint64_t nc)
{
    struct box_loops b;
    box_plan(l, rows, cols, r0, nr, c0, nc, &b);
    return b.runs;
}

bool layout_box_whole_bytes(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                            uint64_t r0, uint64_t nr, uint64_t c0, uint64_t nc)
{
    struct box_loops b;
    box_plan(l, rows, cols, r0, nr, c0, nc, &b);
    if (bits >= 8 || !b.runs)
        return true;
    /* A half byte may only be left at the very end of the big form. */
    if (b.run % 2)
        return b.runs == 1 && b.base % 2 == 0 && b.base + b.run == b.total;
    for (unsigned i = 0; i < b.n; i++)
        if (b.count[i] > 1 && b.stride[i] % 2)
            return false;
    return b.base % 2 == 0;
}

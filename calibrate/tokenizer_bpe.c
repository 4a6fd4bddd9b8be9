#include "calibrate/tokenizer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A symbol of a piece, in a list; n 0: it went into the one before it. */
struct symbol {
    uint32_t id;
    uint32_t at, n;
    uint32_t before, after;
};
/* A merge that may be done: of symbol `left` and the one that came after it. */
struct chance {
    double order;                    /* the smallest first, then the leftmost */
    uint32_t left, right, n, id;
};
struct heap {
    struct chance *c;
    size_t n, cap;
};

static bool sooner(const struct chance *a, const struct chance *b)
{
    return a->order != b->order ? a->order < b->order : a->left < b->left;
}

static int push(struct heap *h, struct chance c, struct err *e)
{
    if (mem_grow((void **)&h->c, &h->cap, h->n + 1, sizeof *h->c, e))
        return -1;
    size_t i = h->n++;
    for (; i && sooner(&c, &h->c[(i - 1) / 2]); i = (i - 1) / 2)
        h->c[i] = h->c[(i - 1) / 2];
    h->c[i] = c;
    return 0;
}

static struct chance pop(struct heap *h)
{
    const struct chance first = h->c[0], last = h->c[--h->n];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < h->n; i = k) {
        k += k + 1 < h->n && sooner(&h->c[k + 1], &h->c[k]);
        if (!sooner(&h->c[k], &last))
            break;
        h->c[i] = h->c[k];
    }
    h->c[i] = last;
    return first;
}

#define END UINT32_MAX

static int offer(const struct tokenizer *t, const char *s, const struct symbol *x, uint32_t left, struct heap *h, struct err *e)
{
    const uint32_t right = left == END ? END : x[left].after;
    if (right == END)
        return 0;
    struct chance c = {0, left, right, x[left].n + x[right].n, NO_ID};
    if (t->kind == MODEL_SCORES) {
        c.id = word_find(t, s + x[left].at, c.n);
        c.order = c.id == NO_ID ? 0 : -t->word[c.id].score;
    } else if (x[left].id != NO_ID && x[right].id != NO_ID) {
        const struct merge *m = merge_find(t, x[left].id, x[right].id);
        c.id = m ? m->id : NO_ID;
        c.order = m ? m->rank : 0;
    }
    return c.id == NO_ID ? 0 : push(h, c, e);
}

/* Bytes of a symbol that is no word: each one's token, or the unknown one; ids of the piece begin at `first`. */
static int spell(const struct tokenizer *t, const char *s, size_t n, size_t first, struct ids *out, struct err *e)
{
    bool all = true;
    for (size_t i = 0; i < n; i++)
        all &= t->byte[(uint8_t)s[i]] != NO_ID;
    for (size_t i = 0; all && i < n; i++)
        if (ids_add(out, t->byte[(uint8_t)s[i]], e))
            return -1;
    if (all)
        return 0;
    if (t->unknown == NO_ID)
        return err_set(e, ERR_INPUT, "the tokenizer has no token for '%.*s'", (int)n, s);
    return t->fuse && out->n > first && out->id[out->n - 1] == t->unknown ? 0 : ids_add(out, t->unknown, e);
}

int piece_merge(const struct tokenizer *t, const char *s, size_t n, struct ids *out, struct err *e)
{
    const uint32_t whole = t->whole_first ? word_find(t, s, n) : NO_ID;
    struct heap h = {0};
    struct symbol *x;
    const size_t first = out->n;
    uint32_t count = 0;
    int r = 0;
    if (whole != NO_ID)
        return ids_add(out, whole, e);
    if (n > UINT32_MAX / 2)
        return err_set(e, ERR_INPUT, "a piece of %zu bytes is too long", n);
    if (!(x = mem_alloc(n + 1, sizeof *x, e)))
        return -1;
    for (size_t i = 0, step; i < n; i += step, count++) {
        step = 1;
        if (!t->byte_level)
            (void)utf8_at((const uint8_t *)s + i, (const uint8_t *)s + n, &step);
        x[count] = (struct symbol){t->byte_level ? t->byte[(uint8_t)s[i]] : word_find(t, s + i, step), (uint32_t)i, (uint32_t)step, count - 1, count + 1};
    }
    if (count)
        x[0].before = x[count - 1].after = END;
    for (uint32_t i = 0; !r && i < count; i++)
        r = offer(t, s, x, i, &h, e);
    while (!r && h.n) {
        const struct chance c = pop(&h);
        struct symbol *left = &x[c.left];
        if (!left->n || left->after != c.right || left->n + x[c.right].n != c.n)
            continue; /* one of them went into another */
        left->id = c.id;
        left->n = c.n;
        left->after = x[c.right].after;
        x[c.right].n = 0;
        if (left->after != END)
            x[left->after].before = c.left;
        r = offer(t, s, x, left->before, &h, e) || offer(t, s, x, c.left, &h, e) ? -1 : 0;
    }
    for (uint32_t i = 0; !r && count && i != END; i = x[i].after)
        r = x[i].id != NO_ID ? ids_add(out, x[i].id, e) : spell(t, s + x[i].at, x[i].n, first, out, e);
    free(h.c);
    free(x);
    return r;
}

/* ---- unigram --------------------------------------------------------------------------------- */
struct path {
    double score;
    uint32_t id, from;
};

/* Of the sorted words [*lo, *hi), which have k bytes in common and are longer, those whose next byte is c. */
static void narrow(const struct tokenizer *t, size_t *lo, size_t *hi, size_t k, uint8_t c)
{
    size_t from = *lo, to = *hi;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if ((uint8_t)t->sorted[middle]->s[k] < c)
            from = middle + 1;
        else
            to = middle;
    }
    *lo = from;
    to = *hi;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if ((uint8_t)t->sorted[middle]->s[k] <= c)
            from = middle + 1;
        else
            to = middle;
    }
    *hi = from;
}

/* The cheapest way from the beginning to each character (tokenizers' unigram/model.rs, encode_optimized). */
int piece_best(const struct tokenizer *t, const char *s, size_t n, struct ids *out, struct err *e)
{
    if (n > UINT32_MAX / 2)
        return err_set(e, ERR_INPUT, "a piece of %zu bytes is too long", n);
    struct path *best = mem_alloc(n + 1, sizeof *best, e);
    uint32_t *back = best ? mem_alloc(n + 1, sizeof *back, e) : NULL;
    const size_t first = out->n;
    int r = back ? 0 : -1;
    for (size_t i = 0; !r && i <= n; i++)
        best[i] = (struct path){i ? -INFINITY : 0, NO_ID, 0};
    for (size_t i = 0, step; !r && i < n; i += step) {
        (void)utf8_at((const uint8_t *)s + i, (const uint8_t *)s + n, &step);
        bool one = false;
        size_t lo = 0, hi = t->sorteds;
        for (size_t k = 1; i + k <= n && lo < hi; k++) {
            const struct word *w = NULL;
            narrow(t, &lo, &hi, k - 1, (uint8_t)s[i + k - 1]);
            if (hi - lo == 1) { /* it is this one or none */
                k = t->sorted[lo]->n;
                if (k > n - i || memcmp(t->sorted[lo]->s, s + i, k))
                    break;
            }
            while (lo < hi && t->sorted[lo]->n == k)
                w = t->sorted[lo++];
            if (!w)
                continue;
            one |= k == step;
            const double score = best[i].score + w->score;
            if (score > best[i + k].score)
                best[i + k] = (struct path){score, (uint32_t)(w - t->word), (uint32_t)i};
        }
        const double unknown = best[i].score + t->least - 10;
        if (!one && unknown > best[i + step].score)
            best[i + step] = (struct path){unknown, NO_ID, (uint32_t)i};
    }
    size_t steps = 0;
    for (size_t i = n; !r && i; i = best[i].from)
        back[steps++] = (uint32_t)i;
    while (!r && steps) {
        const struct path *p = &best[back[--steps]];
        r = p->id != NO_ID ? ids_add(out, p->id, e) : spell(t, s + p->from, back[steps] - p->from, first, out, e);
    }
    free(back);
    free(best);
    return r;
}

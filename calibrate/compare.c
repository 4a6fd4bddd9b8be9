#include "calibrate/compare.h"

#include "calibrate/each.h"
#include "calibrate/round.h"
#include "quantizers/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- outputs -------------------------------------------------------------------------- */
/* As if the channels had nothing to do with each other. */
static void weighted(const struct output_error *x, const float *w, const float *v, const double *d, double *lost, double *all)
{
    for (uint64_t r = 0; r < x->rows; r++)
        for (uint64_t c = 0; c < x->cols; c++) {
            const double y = (double)w[r * x->cols + c], z = y - (double)v[r * x->cols + c];
            *lost += d[c] * z * z;
            *all += d[c] * y * y;
        }
}

static int one_output(struct output_error *x, struct weights *a, struct weights *b, const struct stats *s, const struct stats_point *p, double *h,
                      struct err *e)
{
    float *w = weight_whole(a, x->name, x->rows, x->cols, e), *v = w ? weight_whole(b, x->name, x->rows, x->cols, e) : NULL;
    int r = v ? 0 : -1;
    for (unsigned set = 0; !r && set < STATS_SETS; set++) {
        double lost = 0, all = 0;
        x->error[set] = NAN;
        x->tokens[set] = p->tokens[set];
        if (!p->tokens[set] || (p->xtx[set] == SIZE_MAX && p->xx[set] == SIZE_MAX))
            continue;
        x->diagonal = p->xtx[set] == SIZE_MAX;
        if (x->diagonal)
            r = stats_diagonal(s, p, set, h, e) || (weighted(x, w, v, h, &lost, &all), 0) ? -1 : 0;
        else
            r = stats_gram(s, p, set, h, e) || round_energy(x->rows, x->cols, w, v, h, a->threads, &lost, e)
             || round_energy(x->rows, x->cols, w, NULL, h, a->threads, &all, e) ? -1 : 0;
        x->error[set] = all > 0 ? fmax(lost, 0) / all : 0;
    }
    free(w);
    free(v);
    return r;
}

int output_errors(struct output_errors *out, struct model *a, struct model *b, const struct stats *s, unsigned threads, struct err *e)
{
    struct weights wa = {0}, wb = {0};
    double *h = NULL;
    uint64_t most = 0;
    *out = (struct output_errors){0};
    int r = weights_open(&wa, a, threads, e) || weights_open(&wb, b, threads, e) ? -1 : 0;
    for (size_t i = 0; !r && i < a->n; i++) {
        const char *name = weights_name(&wa, i);
        const struct stats_point *p = name ? stats_find(s, name) : NULL;
        uint64_t rows, cols, other[2];
        if (!p || !weights_shape(&wa, name, &rows, &cols) || !weights_shape(&wb, name, &other[0], &other[1]) || cols != p->width)
            continue;
        const bool full = p->xtx[STATS_FIT] != SIZE_MAX || p->xtx[STATS_HOLDOUT] != SIZE_MAX;
        const uint64_t room = full ? p->width * p->width : p->width;
        if (room > most) {
            free(h);
            h = mem_alloc(room, sizeof *h, e);
            most = room;
        }
        if (!h || mem_grow((void **)&out->e, &out->cap, out->n + 1, sizeof *out->e, e)) {
            r = -1;
            break;
        }
        struct output_error *x = &out->e[out->n];
        *x = (struct output_error){.name = arena_strdup(&out->mem, name, e), .rows = rows, .cols = cols};
        r = x->name ? one_output(x, &wa, &wb, s, p, h, e) : -1;
        out->n += !r;
    }
    free(h);
    weights_close(&wa);
    weights_close(&wb);
    if (r)
        output_errors_free(out);
    return r;
}

void output_errors_free(struct output_errors *o)
{
    free(o->e);
    arena_free(&o->mem);
    *o = (struct output_errors){0};
}

/* ---- words ------------------------------------------------------------------------------ */
struct token {
    double nll[2], kl;
    bool same, last;
};
struct scoring {
    const float *a, *b;
    const uint32_t *id;
    uint64_t vocab;
    struct token *t;
};

static size_t top(const float *x, uint64_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* log of the sum of exp(x). */
static double log_sum(const float *x, uint64_t n)
{
    const double most = (double)x[top(x, n)];
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    return most + log(sum);
}

static void score(void *ctx, size_t i)
{
    const struct scoring *s = ctx;
    const float *a = s->a + i * s->vocab, *b = s->b + i * s->vocab;
    struct token *t = &s->t[i];
    const double za = log_sum(a, s->vocab), zb = log_sum(b, s->vocab);
    t->kl = 0;
    for (uint64_t k = 0; k < s->vocab; k++) {
        const double la = (double)a[k] - za;
        t->kl += exp(la) * (la - ((double)b[k] - zb));
    }
    t->kl = fmax(t->kl, 0);
    t->same = top(a, s->vocab) == top(b, s->vocab);
    if (t->last)
        return;
    t->nll[0] = za - (double)a[s->id[i + 1]];
    t->nll[1] = zb - (double)b[s->id[i + 1]];
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int add_up(struct words *w, const struct token *t, size_t n, struct err *e)
{
    double *kl = mem_alloc(n, sizeof *kl, e);
    size_t same = 0;
    if (!kl)
        return -1;
    for (size_t i = 0; i < n; i++) {
        kl[i] = t[i].kl;
        w->kl += t[i].kl / (double)n;
        same += t[i].same;
        w->predicted += !t[i].last;
        for (int k = 0; !t[i].last && k < 2; k++)
            w->nll[k] += t[i].nll[k];
    }
    for (int k = 0; k < 2; k++)
        w->nll[k] /= (double)max_u64(w->predicted, 1);
    w->same_top = (double)same / (double)n;
    qsort(kl, n, sizeof *kl, by_size);
    w->kl99 = kl[(size_t)(0.99 * (double)(n - 1))];
    w->kl_max = kl[n - 1];
    free(kl);
    return 0;
}

static int run_both(struct net *n[2], const struct sequences *s, const struct words_options *o, struct hidden h[2], uint64_t from, uint64_t all,
                    struct err *e)
{
    for (int k = 0; k < 2; k++) {
        struct net_options run = o->run;
        run.inputs = k ? o->inputs : NULL;
        if (net_embed(n[k], s, &run, &h[k], e))
            return -1;
        for (uint64_t i = 0; i < n[k]->layers; i++) {
            if (o->progress)
                o->progress(o->progress_ctx, from + (k ? n[0]->layers : 0) + i, all);
            if (net_layer(n[k], s, &run, &h[k], i, e))
                return -1;
        }
    }
    return 0;
}

static int score_all(struct net *n[2], const struct corpus *c, const struct hidden h[2], struct token *t, struct err *e)
{
    const uint64_t vocab = n[0]->vocab;
    const size_t batch = (size_t)max_u64(1, min_u64(256, ((uint64_t)1 << 25) / vocab));
    float *logits = mem_alloc(2 * batch, vocab * sizeof *logits, e);
    int r = logits ? 0 : -1;
    for (size_t i = 0; !r && i < c->tokens; i += batch) {
        const size_t rows = min_u64(batch, c->tokens - i);
        for (int k = 0; !r && k < 2; k++)
            r = net_logits(n[k], &h[k], i, rows, logits + (size_t)k * batch * vocab, e);
        struct scoring s = {logits, logits + batch * vocab, c->id + i, vocab, t + i};
        if (!r)
            each(n[0]->w.threads, rows, score, &s);
    }
    free(logits);
    return r;
}

/* Goes on from the first half of some sequences, word by word, with each model's own words. */
static int go_on(struct words *w, struct net *n[2], const struct corpus *c, const struct words_options *o, struct err *e)
{
    enum { SOME = 4, PROMPT = 32 };
    const size_t most = PROMPT + o->greedy;
    uint32_t *id = mem_alloc(2 * SOME * most, sizeof *id, e);
    float *logits = id ? mem_alloc(n[0]->vocab, sizeof *logits, e) : NULL;
    size_t have[SOME], some = 0;
    int r = logits ? 0 : -1;
    for (size_t i = 0; !r && i < c->n && some < SOME; i++) {
        have[some] = min_u64(PROMPT, (c->start[i + 1] - c->start[i] + 1) / 2);
        for (int k = 0; k < 2; k++)
            memcpy(id + ((size_t)k * SOME + some) * most, c->id + c->start[i], have[some] * sizeof *id);
        some++;
    }
    for (int k = 0; !r && k < 2; k++)
        for (size_t step = 0; !r && step < o->greedy; step++) {
            uint32_t flat[SOME * (PROMPT + 4096)];
            size_t start[SOME + 1] = {0};
            for (size_t i = 0; i < some; i++) {
                memcpy(flat + start[i], id + ((size_t)k * SOME + i) * most, (have[i] + step) * sizeof *id);
                start[i + 1] = start[i] + have[i] + step;
            }
            const struct sequences s = {flat, start, NULL, some};
            struct net_options run = o->run;
            struct hidden h;
            run.inputs = k ? o->inputs : NULL;
            if ((r = net_run(n[k], &s, &run, &h, e)))
                break;
            for (size_t i = 0; !r && i < some; i++) {
                r = net_logits(n[k], &h, start[i + 1] - 1, 1, logits, e);
                id[((size_t)k * SOME + i) * most + have[i] + step] = (uint32_t)top(logits, n[k]->vocab);
            }
            hidden_free(&h);
        }
    for (size_t i = 0; !r && i < some; i++) {
        size_t step = 0;
        while (step < o->greedy && id[i * most + have[i] + step] == id[(SOME + i) * most + have[i] + step])
            step++;
        w->diverged += step < o->greedy;
        w->until += (double)step;
    }
    w->until /= (double)max_u64(some, 1);
    w->greedy = some;
    free(logits);
    free(id);
    return r;
}

int words_compare(struct words *w, struct net *a, struct net *b, const struct corpus *c, const struct words_options *o, struct err *e)
{
    struct net *n[2] = {a, b};
    struct hidden h[2] = {{.fd = -1}, {.fd = -1}};
    const struct sequences s = corpus_sequences(c);
    *w = (struct words){0};
    if (a->vocab != b->vocab)
        return err_set(e, ERR_INPUT, "%s has a vocabulary of %llu and %s one of %llu", a->w.m->path, (unsigned long long)a->vocab, b->w.m->path,
                       (unsigned long long)b->vocab);
    if (o->greedy > 4096)
        return err_set(e, ERR_USAGE, "4096 words at most are gone on with");
    struct token *t = mem_alloc(c->tokens, sizeof *t, e);
    int r = t ? run_both(n, &s, o, h, 0, a->layers + b->layers, e) : -1;
    for (size_t i = 0; !r && i < c->n; i++)
        t[c->start[i + 1] - 1].last = true;
    r = r || score_all(n, c, h, t, e) || add_up(w, t, c->tokens, e) ? -1 : 0;
    hidden_free(&h[0]);
    hidden_free(&h[1]);
    free(t);
    return r || (o->greedy && go_on(w, n, c, o, e)) ? -1 : 0;
}

void inputs_e4m3(float *x, size_t rows, uint64_t width)
{
    const struct num *num = num_named("e4m3");
    enum { BLOCK = 128 };
    float y[BLOCK];
    uint8_t code[BLOCK];
    for (size_t r = 0; r < rows; r++, x += width)
        for (uint64_t c = 0; c < width; c += BLOCK) {
            const size_t n = (size_t)min_u64(BLOCK, width - c);
            float most = 0;
            int power;
            for (size_t i = 0; i < n; i++)
                most = fmaxf(most, fabsf(x[c + i]));
            if (most == 0)
                continue;
            const float part = frexpf(most / 448, &power); /* the smallest power of two that is no less */
            const float scale = ldexpf(1, part == 0.5f ? power - 1 : power);
            for (size_t i = 0; i < n; i++)
                y[i] = x[c + i] / scale;
            num_encode_row(num, y, code, n, OVERFLOW_SATURATE);
            num_decode_row(num, code, y, n);
            for (size_t i = 0; i < n; i++)
                x[c + i] = y[i] * scale;
        }
}

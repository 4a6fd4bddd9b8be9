/* Routed experts, one after the other over the tokens that chose them, and shared ones beside.
 *
 * Routers: softmax and the best (Mixtral, Qwen3-MoE, DeepSeek V2, which may take the best of some groups only), or sigmoid with
 * a bias that is for choosing alone, groups by the sum of their two best (DeepSeek V3). */
#include "calibrate/forward/parts.h"

#include "calibrate/linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who chose which expert. */
struct routing {
    uint32_t *expert;                /* [tokens, top] */
    float *weight;
    uint32_t *token;                 /* by expert: tokens[first[e] .. first[e + 1]), ascending, */
    float *share;                    /* and the weight of each */
    size_t *first;
};

/* The k largest of n values that are allowed, the first of equals; returns how many there are. */
static size_t best(const float *x, const bool *allowed, size_t n, size_t k, uint32_t *index)
{
    size_t have = 0;
    for (size_t i = 0; i < n; i++) {
        if (allowed && !allowed[i])
            continue;
        size_t at = have;
        while (at && x[index[at - 1]] < x[i])
            at--;
        if (at == k)
            continue;
        have += have < k;
        memmove(index + at + 1, index + at, (have - 1 - at) * sizeof *index);
        index[at] = (uint32_t)i;
    }
    return have;
}

/* scores [experts] (they are changed) to the chosen experts and their weights. */
static void choose(const struct moe *m, float *score, const float *bias, float *choice, bool *allowed, uint32_t *index, float *weight)
{
    const size_t n = m->experts;
    if (m->sigmoid) {
        for (size_t i = 0; i < n; i++)
            score[i] = 1 / (1 + expf(-score[i]));
    } else {
        float most = -INFINITY;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            most = score[i] > most ? score[i] : most;
        for (size_t i = 0; i < n; i++)
            sum += (double)(score[i] = expf(score[i] - most));
        for (size_t i = 0; i < n; i++)
            score[i] = (float)((double)score[i] / sum);
    }
    for (size_t i = 0; i < n; i++)
        choice[i] = score[i] + (bias ? bias[i] : 0);
    if (m->groups > 1) {
        const size_t size = n / m->groups;
        uint32_t group[256], two[3];
        float worth[256];
        for (size_t g = 0; g < m->groups; g++) {
            const size_t k = best(choice + g * size, NULL, size, m->best_pairs ? 2 : 1, two);
            worth[g] = 0;
            for (size_t i = 0; i < k; i++)
                worth[g] += choice[g * size + two[i]];
        }
        const size_t k = best(worth, NULL, m->groups, m->top_groups, group);
        memset(allowed, 0, n * sizeof *allowed);
        for (size_t i = 0; i < k; i++)
            memset(allowed + group[i] * size, 1, size * sizeof *allowed);
    }
    best(choice, m->groups > 1 ? allowed : NULL, n, m->top, index);
    double sum = 0;
    for (size_t i = 0; i < m->top; i++)
        sum += (double)(weight[i] = score[index[i]]);
    for (size_t i = 0; i < m->top; i++)
        weight[i] = (float)((double)weight[i] / (m->norm ? sum + (m->sigmoid ? 1e-20 : 0) : 1) * m->scale);
}

static void routing_free(struct routing *t)
{
    free(t->expert);
    free(t->weight);
    free(t->token);
    free(t->share);
    free(t->first);
}

static int routing_alloc(struct routing *t, const struct moe *m, uint64_t tokens, struct err *e)
{
    const uint64_t n = tokens * m->top;
    return (t->expert = mem_alloc(n, sizeof *t->expert, e)) && (t->weight = mem_alloc(n, sizeof *t->weight, e))
        && (t->token = mem_alloc(n, sizeof *t->token, e)) && (t->share = mem_alloc(n, sizeof *t->share, e))
        && (t->first = mem_alloc(m->experts + 2, sizeof *t->first, e)) ? 0 : -1;
}

/* Tokens of each expert. */
static void sort_tokens(struct routing *t, const struct moe *m, uint64_t tokens)
{
    size_t *next = t->first + 1;
    for (uint64_t i = 0; i < tokens * m->top; i++)
        next[t->expert[i] + 1]++;
    for (uint64_t x = 0; x < m->experts; x++)
        next[x + 1] += next[x];
    for (uint64_t i = 0; i < tokens * m->top; i++) {
        const size_t at = next[t->expert[i]]++; /* next[x] becomes first[x + 1] */
        t->token[at] = (uint32_t)(i / m->top);
        t->share[at] = t->weight[i];
    }
}

/* y = down(silu(gate(x)) * up(x)) of rows; g and u have room for rows of the inner width. */
static int gated(struct pass *p, struct points *at, size_t point, float *x, size_t rows, unsigned set, uint64_t ffn, float *const w[3],
                 float *g, float *u, float *y, struct err *e)
{
    const struct net *n = p->n;
    const unsigned threads = n->w.threads;
    la_linear(threads, rows, n->hidden, ffn, x, n->hidden, w[0], g, ffn);
    la_linear(threads, rows, n->hidden, ffn, x, n->hidden, w[1], u, ffn);
    silu_times(threads, g, u, rows * ffn);
    if (points_rows(at, p, point, g, rows, set, e))
        return -1;
    la_linear(threads, rows, ffn, n->hidden, g, ffn, w[2], y, n->hidden);
    return 0;
}

/* gate, up and down of `block`, inner width ffn. */
static int open_three(struct pass *p, const char *block, uint64_t ffn, float *w[3], struct err *e)
{
    const struct net *n = p->n;
    const char *const name[3] = {n->moe.gate, n->moe.up, n->moe.down};
    for (int i = 0; i < 3; i++) {
        char full[160];
        snprintf(full, sizeof full, "%s.%s", block, name[i]);
        if (!(w[i] = layer_weight(p, full, ".weight", i == 2 ? n->hidden : ffn, i == 2 ? ffn : n->hidden, e)))
            return -1;
    }
    return 0;
}

static void free_three(float *w[3])
{
    for (int i = 0; i < 3; i++)
        free(w[i]);
}

/* Memory for a batch of rows. */
struct room {
    float *x, *y, *d, *g, *u, *score, *choice;
    bool *allowed;
};

/* Routes all tokens and does the shared experts' part: sum gets what they add. */
static int route(struct pass *p, struct hidden *sum, struct routing *t, const float *norm, const struct room *m, struct err *e)
{
    const struct net *n = p->n;
    const struct moe *x = &n->moe;
    struct points at = {0};
    float *router = NULL, *bias = NULL, *w[3] = {NULL};
    char name[3][160];
    snprintf(name[0], sizeof name[0], "%s.gate", x->block);
    snprintf(name[1], sizeof name[1], "%s.shared_experts.gate_proj", x->block);
    snprintf(name[2], sizeof name[2], "%s.shared_experts.up_proj", x->block);
    int r = point_add(&at, p, n->hidden, name[0], x->shared ? name[1] : NULL, x->shared ? name[2] : NULL, e)
         || (x->shared && point_add(&at, p, x->shared, "mlp.shared_experts.down_proj", NULL, NULL, e)) || points_begin(&at, p, e) ? -1 : 0;
    if (!r)
        r = !(router = layer_weight(p, name[0], ".weight", x->experts, n->hidden, e))
         || (x->bias && !(bias = layer_weight(p, name[0], ".e_score_correction_bias", 1, x->experts, e)))
         || (x->shared && open_three(p, "mlp.shared_experts", x->shared, w, e)) ? -1 : 0;
    for (size_t i = 0; !r && i < p->batches; i++) {
        const struct batch *b = &p->batch[i];
        if ((r = pass_get(p, b, m->x, e)))
            break;
        rms_norm(m->x, n->hidden, b->rows, n->hidden, norm, n->eps, m->y, n->hidden);
        la_linear(n->w.threads, b->rows, n->hidden, x->experts, m->y, n->hidden, router, m->score, x->experts);
        for (size_t k = 0; k < b->rows; k++)
            choose(x, m->score + k * x->experts, bias, m->choice, m->allowed, t->expert + (b->first + k) * x->top,
                   t->weight + (b->first + k) * x->top);
        memset(m->d, 0, b->rows * n->hidden * sizeof *m->d);
        r = points_rows(&at, p, 0, m->y, b->rows, b->set, e)
         || (x->shared && gated(p, &at, 1, m->y, b->rows, b->set, x->shared, w, m->g, m->u, m->d, e))
         || hidden_put(sum, b->first, b->rows, m->d, e) ? -1 : 0;
    }
    r = points_end(&at, p, r, e);
    free(router);
    free(bias);
    free_three(w);
    return r;
}

/* The tokens [from, to) of expert's list, all of one set. */
static int some_tokens(struct pass *p, struct points *at, struct hidden *sum, const struct routing *t, size_t from, size_t to, unsigned set,
                       const float *norm, float *const w[3], const struct room *m, struct err *e)
{
    const struct net *n = p->n;
    const size_t rows = to - from;
    for (size_t k = 0; k < rows; k++)
        if (hidden_get(p->h, t->token[from + k], 1, m->x + k * n->hidden, e))
            return -1;
    rms_norm(m->x, n->hidden, rows, n->hidden, norm, n->eps, m->y, n->hidden);
    if (points_rows(at, p, 0, m->y, rows, set, e) || gated(p, at, 1, m->y, rows, set, n->moe.ffn, w, m->g, m->u, m->d, e))
        return -1;
    for (size_t k = 0; k < rows; k++) {
        if (hidden_get(sum, t->token[from + k], 1, m->x, e))
            return -1;
        for (uint64_t i = 0; i < n->hidden; i++)
            m->x[i] += t->share[from + k] * m->d[k * n->hidden + i];
        if (hidden_put(sum, t->token[from + k], 1, m->x, e))
            return -1;
    }
    return 0;
}

static int one_expert(struct pass *p, struct hidden *sum, const struct routing *t, uint64_t expert, const float *norm, const struct room *m,
                      struct err *e)
{
    const struct net *n = p->n;
    const struct moe *x = &n->moe;
    struct points at = {0};
    char base[128], name[3][160];
    snprintf(base, sizeof base, "%s.experts.%llu", x->block, (unsigned long long)expert);
    const char *const part[3] = {x->gate, x->up, x->down};
    for (int i = 0; i < 3; i++)
        snprintf(name[i], sizeof name[i], "%s.%s", base, part[i]);
    float *w[3] = {NULL};
    const size_t from = p->list ? 0 : t->first[expert], end = p->list ? 0 : t->first[expert + 1];
    int r = point_add(&at, p, n->hidden, name[0], name[1], NULL, e) || point_add(&at, p, x->ffn, name[2], NULL, NULL, e)
         || points_begin(&at, p, e) || ((p->list || from < end) && open_three(p, base, x->ffn, w, e)) ? -1 : 0;
    for (size_t i = from, b = 0; !r && i < end;) {
        while (t->token[i] >= p->batch[b].first + p->batch[b].rows)
            b++;
        size_t to = i;
        const unsigned set = p->batch[b].set;
        for (size_t c = b; to < end && to - i < p->most; to++) { /* as many as fit, of the same set */
            while (t->token[to] >= p->batch[c].first + p->batch[c].rows)
                c++;
            if (p->batch[c].set != set)
                break;
        }
        r = some_tokens(p, &at, sum, t, i, to, set, norm, w, m, e);
        i = to;
    }
    r = points_end(&at, p, r, e);
    free_three(w);
    return r;
}

static int list_points(struct pass *p, struct err *e)
{
    float *norm = layer_weight(p, "post_attention_layernorm", ".weight", 1, p->n->hidden, e);
    int r = norm ? route(p, NULL, NULL, NULL, NULL, e) : -1;
    free(norm);
    for (uint64_t i = 0; !r && i < p->n->moe.experts; i++)
        r = one_expert(p, NULL, NULL, i, NULL, NULL, e);
    return r;
}

int moe_run(struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    const struct moe *x = &n->moe;
    if (p->list)
        return list_points(p, e);
    const uint64_t ffn = max_u64(x->ffn, x->shared);
    struct routing t = {0};
    struct hidden sum = {.fd = -1};
    float *norm = layer_weight(p, "post_attention_layernorm", ".weight", 1, n->hidden, e);
    float *memory = norm ? mem_alloc(p->most, (3 * n->hidden + 2 * ffn + x->experts) * sizeof *memory, e) : NULL;
    struct room m = {.x = memory};
    m.choice = memory ? mem_alloc(x->experts, sizeof *m.choice, e) : NULL;
    m.allowed = m.choice ? mem_alloc(x->experts, sizeof *m.allowed, e) : NULL;
    int r = !m.allowed || routing_alloc(&t, x, p->h->tokens, e) || hidden_open(&sum, p->h->tokens, n->hidden, p->o->spill, e) ? -1 : 0;
    if (!r) {
        m.y = m.x + p->most * n->hidden;
        m.d = m.y + p->most * n->hidden;
        m.g = m.d + p->most * n->hidden;
        m.u = m.g + p->most * ffn;
        m.score = m.u + p->most * ffn;
        r = route(p, &sum, &t, norm, &m, e);
    }
    if (!r)
        sort_tokens(&t, x, p->h->tokens);
    for (uint64_t i = 0; !r && i < x->experts; i++)
        r = one_expert(p, &sum, &t, i, norm, &m, e);
    for (size_t i = 0; !r && i < p->batches; i++) {
        const struct batch *b = &p->batch[i];
        r = pass_get(p, b, m.x, e) || hidden_get(&sum, b->first, b->rows, m.d, e) || pass_add(p, b, m.x, m.d, "the experts", e) ? -1 : 0;
    }
    hidden_free(&sum);
    routing_free(&t);
    free(m.choice);
    free(m.allowed);
    free(memory);
    free(norm);
    return r;
}

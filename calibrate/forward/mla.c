/* DeepSeek's multi-head latent attention, keys and values written out (DeepSeek V2, V3, R1, V3.1).
 *
 *     q = q_b(norm(q_a(x))), or q_proj(x)               heads of nope + rope
 *     c, k_rope = kv_a(x);  k_nope, v = kv_b(norm(c))   k_rope is the same for all heads
 *
 * The norms of the two latents have an epsilon of their own, 1e-6 whatever config.json says (modeling_deepseek_v3.py). */
#include "calibrate/forward/parts.h"

#include "calibrate/linalg.h"

#include <stdlib.h>
#include <string.h>

#define LATENT_EPS 1e-6

struct weights_of {
    float *norm, *qa, *qn, *qb, *kva, *kvn, *kvb, *o, *qab, *kvab, *ob;
};

static int open_weights(struct weights_of *w, struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    const struct mla *m = &n->mla;
    const uint64_t nq = n->heads * n->head, in = m->q_rank ? m->q_rank : n->hidden;
    if (m->q_rank && (!(w->qa = layer_weight(p, "self_attn.q_a_proj", ".weight", m->q_rank, n->hidden, e))
                      || !(w->qn = layer_weight(p, "self_attn.q_a_layernorm", ".weight", 1, m->q_rank, e))
                      || layer_optional(p, "self_attn.q_a_proj", ".bias", 1, m->q_rank, &w->qab, e)))
        return -1;
    return !(w->norm = layer_weight(p, "input_layernorm", ".weight", 1, n->hidden, e))
        || !(w->qb = layer_weight(p, m->q_rank ? "self_attn.q_b_proj" : "self_attn.q_proj", ".weight", nq, in, e))
        || !(w->kva = layer_weight(p, "self_attn.kv_a_proj_with_mqa", ".weight", m->kv_rank + m->rope, n->hidden, e))
        || !(w->kvn = layer_weight(p, "self_attn.kv_a_layernorm", ".weight", 1, m->kv_rank, e))
        || !(w->kvb = layer_weight(p, "self_attn.kv_b_proj", ".weight", n->heads * (m->nope + m->v), m->kv_rank, e))
        || !(w->o = layer_weight(p, "self_attn.o_proj", ".weight", n->hidden, n->heads * m->v, e))
        || layer_optional(p, "self_attn.kv_a_proj_with_mqa", ".bias", 1, m->kv_rank + m->rope, &w->kvab, e)
        || layer_optional(p, "self_attn.o_proj", ".bias", 1, n->hidden, &w->ob, e) ? -1 : 0;
}

static void close_weights(struct weights_of *w)
{
    float *const all[] = {w->norm, w->qa, w->qn, w->qb, w->kva, w->kvn, w->kvb, w->o, w->qab, w->kvab, w->ob};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* Keys of all heads: their own part, then the turned one, which they share. */
static void spread_keys(const struct net *n, const float *latent, const float *kv, size_t rows, float *k)
{
    const struct mla *m = &n->mla;
    for (size_t r = 0; r < rows; r++)
        for (uint64_t h = 0; h < n->heads; h++) {
            float *to = k + (r * n->heads + h) * n->head;
            memcpy(to, kv + (r * n->heads + h) * (m->nope + m->v), m->nope * sizeof *to);
            memcpy(to + m->nope, latent + r * (m->kv_rank + m->rope) + m->kv_rank, m->rope * sizeof *to);
        }
}

static void pick_values(const struct net *n, const float *kv, size_t rows, float *v)
{
    const struct mla *m = &n->mla;
    for (size_t i = 0; i < rows * n->heads; i++)
        memcpy(v + i * m->v, kv + i * (m->nope + m->v) + m->nope, m->v * sizeof *v);
}

/* Room of a batch, in floats per row. */
struct room {
    size_t x, y, low, q, latent, c, kv, k, v, o, all;
};

static struct room room_of(const struct net *n)
{
    const struct mla *m = &n->mla;
    struct room r = {.x = 0};
    r.y = n->hidden;
    r.low = r.y + n->hidden;
    r.q = r.low + m->q_rank;
    r.latent = r.q + n->heads * n->head;
    r.c = r.latent + m->kv_rank + m->rope;
    r.kv = r.c + m->kv_rank;
    r.k = r.kv + n->heads * (m->nope + m->v);
    r.v = r.k + n->heads * n->head;
    r.o = r.v + n->heads * m->v;
    r.all = r.o + n->heads * m->v;
    return r;
}

static int one_batch(struct pass *p, const struct batch *b, const struct weights_of *w, struct points *at, float *memory, struct err *e)
{
    const struct net *n = p->n;
    const struct mla *m = &n->mla;
    const unsigned threads = n->w.threads;
    const size_t rows = b->rows;
    const struct room at_row = room_of(n);
    const uint64_t nq = n->heads * n->head, nl = m->kv_rank + m->rope, nkv = n->heads * (m->nope + m->v), nv = n->heads * m->v;
    float *x = memory, *y = memory + at_row.y * rows, *low = memory + at_row.low * rows, *q = memory + at_row.q * rows;
    float *latent = memory + at_row.latent * rows, *c = memory + at_row.c * rows, *kv = memory + at_row.kv * rows;
    float *k = memory + at_row.k * rows, *v = memory + at_row.v * rows, *o = memory + at_row.o * rows;
    const size_t kv_point = m->q_rank ? 2 : 1;
    if (pass_get(p, b, x, e))
        return -1;
    rms_norm(x, n->hidden, rows, n->hidden, w->norm, n->eps, y, n->hidden);
    if (points_rows(at, p, 0, y, rows, b->set, e))
        return -1;
    if (m->q_rank) {
        la_linear(threads, rows, n->hidden, m->q_rank, y, n->hidden, w->qa, low, m->q_rank);
        add_bias(low, rows, m->q_rank, w->qab);
        rms_norm(low, m->q_rank, rows, m->q_rank, w->qn, LATENT_EPS, low, m->q_rank);
        if (points_rows(at, p, 1, low, rows, b->set, e))
            return -1;
        la_linear(threads, rows, m->q_rank, nq, low, m->q_rank, w->qb, q, nq);
    } else {
        la_linear(threads, rows, n->hidden, nq, y, n->hidden, w->qb, q, nq);
    }
    la_linear(threads, rows, n->hidden, nl, y, n->hidden, w->kva, latent, nl);
    add_bias(latent, rows, nl, w->kvab);
    rms_norm(latent, nl, rows, m->kv_rank, w->kvn, LATENT_EPS, c, m->kv_rank);
    if (points_rows(at, p, kv_point, c, rows, b->set, e))
        return -1;
    la_linear(threads, rows, m->kv_rank, nkv, c, m->kv_rank, w->kvb, kv, nkv);
    for (size_t s = b->seq; s < b->seq + b->nseq; s++) {
        const size_t first = p->s->start[s] - b->first, count = p->s->start[s + 1] - p->s->start[s];
        rope_apply(&n->rope, q + first * nq + m->nope, count, nq, n->heads, n->head);
        rope_apply(&n->rope, latent + first * nl + m->kv_rank, count, nl, 1, m->rope);
    }
    spread_keys(n, latent, kv, rows, k);
    pick_values(n, kv, rows, v);
    for (size_t s = b->seq; s < b->seq + b->nseq; s++) {
        const size_t first = p->s->start[s] - b->first, count = p->s->start[s + 1] - p->s->start[s];
        const struct attend a = {q + first * nq, k + first * nq, v + first * nv, o + first * nv, count, nq, nq, nv, nv, n->heads,
                                 n->heads, n->head, m->v, 0, n->softmax};
        if (attend(threads, &a, e))
            return -1;
    }
    if (points_rows(at, p, kv_point + 1, o, rows, b->set, e))
        return -1;
    la_linear(threads, rows, nv, n->hidden, o, nv, w->o, y, n->hidden);
    add_bias(y, rows, n->hidden, w->ob);
    return pass_add(p, b, x, y, "self_attn", e);
}

int mla_run(struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    const struct mla *m = &n->mla;
    struct weights_of w = {0};
    struct points at = {0};
    float *memory = NULL;
    int r = point_add(&at, p, n->hidden, m->q_rank ? "self_attn.q_a_proj" : "self_attn.q_proj", "self_attn.kv_a_proj_with_mqa", NULL, e)
         || (m->q_rank && point_add(&at, p, m->q_rank, "self_attn.q_b_proj", NULL, NULL, e))
         || point_add(&at, p, m->kv_rank, "self_attn.kv_b_proj", NULL, NULL, e)
         || point_add(&at, p, n->heads * m->v, "self_attn.o_proj", NULL, NULL, e) || points_begin(&at, p, e)
         || open_weights(&w, p, e)
         || (!p->list && !(memory = mem_alloc(p->most, room_of(n).all * sizeof *memory, e))) ? -1 : 0;
    for (size_t i = 0; !r && i < p->batches; i++)
        r = one_batch(p, &p->batch[i], &w, &at, memory, e);
    r = points_end(&at, p, r, e);
    close_weights(&w);
    free(memory);
    return r;
}

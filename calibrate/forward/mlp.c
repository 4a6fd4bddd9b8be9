/* The gated MLP: down(silu(gate(x)) * up(x)). */
#include "calibrate/forward/parts.h"

#include "calibrate/linalg.h"

#include <stdlib.h>

struct weights_of {
    float *norm, *gate, *up, *down, *gb, *ub, *db;
};

static int open_weights(struct weights_of *w, struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    return !(w->norm = layer_weight(p, "post_attention_layernorm", ".weight", 1, n->hidden, e))
        || !(w->gate = layer_weight(p, "mlp.gate_proj", ".weight", n->ffn, n->hidden, e))
        || !(w->up = layer_weight(p, "mlp.up_proj", ".weight", n->ffn, n->hidden, e))
        || !(w->down = layer_weight(p, "mlp.down_proj", ".weight", n->hidden, n->ffn, e))
        || layer_optional(p, "mlp.gate_proj", ".bias", 1, n->ffn, &w->gb, e)
        || layer_optional(p, "mlp.up_proj", ".bias", 1, n->ffn, &w->ub, e)
        || layer_optional(p, "mlp.down_proj", ".bias", 1, n->hidden, &w->db, e) ? -1 : 0;
}

static int one_batch(struct pass *p, const struct batch *b, const struct weights_of *w, struct points *at, float *x, struct err *e)
{
    const struct net *n = p->n;
    const unsigned threads = n->w.threads;
    float *y = x + b->rows * n->hidden, *g = y + b->rows * n->hidden, *u = g + b->rows * n->ffn;
    if (pass_get(p, b, x, e))
        return -1;
    rms_norm(x, n->hidden, b->rows, n->hidden, w->norm, n->eps, y, n->hidden);
    if (points_rows(at, p, 0, y, b->rows, b->set, e))
        return -1;
    la_linear(threads, b->rows, n->hidden, n->ffn, y, n->hidden, w->gate, g, n->ffn);
    la_linear(threads, b->rows, n->hidden, n->ffn, y, n->hidden, w->up, u, n->ffn);
    add_bias(g, b->rows, n->ffn, w->gb);
    add_bias(u, b->rows, n->ffn, w->ub);
    silu_times(threads, g, u, b->rows * n->ffn);
    if (points_rows(at, p, 1, g, b->rows, b->set, e))
        return -1;
    la_linear(threads, b->rows, n->ffn, n->hidden, g, n->ffn, w->down, y, n->hidden);
    add_bias(y, b->rows, n->hidden, w->db);
    return pass_add(p, b, x, y, "mlp", e);
}

int mlp_run(struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    struct points at = {0};
    struct weights_of w = {0};
    float *x = NULL;
    int r = point_add(&at, p, n->hidden, "mlp.gate_proj", "mlp.up_proj", NULL, e) || point_add(&at, p, n->ffn, "mlp.down_proj", NULL, NULL, e)
         || points_begin(&at, p, e)
         || open_weights(&w, p, e) || (!p->list && !(x = mem_alloc(p->most, (2 * n->hidden + 2 * n->ffn) * sizeof *x, e))) ? -1 : 0;
    for (size_t i = 0; !r && i < p->batches; i++)
        r = one_batch(p, &p->batch[i], &w, &at, x, e);
    r = points_end(&at, p, r, e);
    float *const all[] = {x, w.norm, w.gate, w.up, w.down, w.gb, w.ub, w.db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    return r;
}

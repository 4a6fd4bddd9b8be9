/* The gated MLP: down(silu(gate(x)) * up(x)). */
#include "calibrate/forward/parts.h"

#include "calibrate/linalg.h"

#include <stdlib.h>

int mlp_run(struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    const unsigned threads = n->w.threads;
    struct points at = {0};
    float *norm = NULL, *gate = NULL, *up = NULL, *down = NULL, *gb = NULL, *ub = NULL, *db = NULL;
    float *x = mem_alloc(p->most, (2 * n->hidden + 2 * n->ffn) * sizeof *x, e);
    float *y = x + p->most * n->hidden, *g = y + p->most * n->hidden, *u = g + p->most * n->ffn;
    int r = !x || !(norm = layer_weight(p, "post_attention_layernorm", ".weight", 1, n->hidden, e))
         || !(gate = layer_weight(p, "mlp.gate_proj", ".weight", n->ffn, n->hidden, e))
         || !(up = layer_weight(p, "mlp.up_proj", ".weight", n->ffn, n->hidden, e))
         || !(down = layer_weight(p, "mlp.down_proj", ".weight", n->hidden, n->ffn, e))
         || layer_optional(p, "mlp.gate_proj", ".bias", 1, n->ffn, &gb, e) || layer_optional(p, "mlp.up_proj", ".bias", 1, n->ffn, &ub, e)
         || layer_optional(p, "mlp.down_proj", ".bias", 1, n->hidden, &db, e)
         || point_add(&at, p, n->hidden, "mlp.gate_proj", "mlp.up_proj", NULL, e) || point_add(&at, p, n->ffn, "mlp.down_proj", NULL, NULL, e)
         || points_begin(&at, p, e) ? -1 : 0;
    for (size_t i = 0; !r && i < p->batches; i++) {
        const struct batch *b = &p->batch[i];
        if ((r = pass_get(p, b, x, e)))
            break;
        rms_norm(x, n->hidden, b->rows, n->hidden, norm, n->eps, y, n->hidden);
        if ((r = points_rows(&at, p, 0, y, b->rows, b->set, e)))
            break;
        la_linear(threads, b->rows, n->hidden, n->ffn, y, n->hidden, gate, g, n->ffn);
        la_linear(threads, b->rows, n->hidden, n->ffn, y, n->hidden, up, u, n->ffn);
        add_bias(g, b->rows, n->ffn, gb);
        add_bias(u, b->rows, n->ffn, ub);
        silu_times(threads, g, u, b->rows * n->ffn);
        if ((r = points_rows(&at, p, 1, g, b->rows, b->set, e)))
            break;
        la_linear(threads, b->rows, n->ffn, n->hidden, g, n->ffn, down, y, n->hidden);
        add_bias(y, b->rows, n->hidden, db);
        r = pass_add(p, b, x, y, "mlp", e);
    }
    r = points_end(&at, p, r, e);
    float *const all[] = {x, norm, gate, up, down, gb, ub, db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    return r;
}

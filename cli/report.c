/* What a run says: the plan before (-n), the account after. */
#include "cli/job.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *what(const struct op *op)
{
    return op->x == &xform_copy ? "copied" : op->x == &xform_zero ? "zeros" : op->x->name;
}

static const char *expected(const struct op *op) { return op->exact ? "exact" : "rounded"; }

/* ---- the ledger: what became of each tensor of the source ---------------------- */

static void ledger_json(const struct job *j)
{
    const struct plan *p = &j->plan;
    printf(",\"ledger\":[");
    for (size_t i = 0; i < p->nledger; i++) {
        const struct entry *x = &p->ledger[i];
        printf("%s\n{\"name\":", i ? "," : "");
        out_json(stdout, x->name);
        printf(",\"fate\":\"%s\",\"outputs\":[", fate_name(x->fate));
        for (size_t o = 0; o < x->nout; o++) {
            printf(o ? "," : "");
            out_json(stdout, p->out[x->out[o]].t.name);
        }
        printf("],\"rule\":");
        out_json(stdout, x->rule ? x->rule->origin : "default");
        if (x->rule) {
            printf(",\"pattern\":");
            out_json(stdout, x->rule->pattern);
        }
        if (x->why) {
            printf(",\"reason\":");
            out_json(stdout, x->why);
        }
        printf("}");
    }
    printf("\n],\"fates\":{\"tensors\":%zu", p->nledger);
    for (int f = FATE_MAPPED; f < FATE_COUNT; f++)
        printf(",\"%s\":%zu", fate_name(f), p->fates[f]);
    printf("}");
}

/* "x.weight copied -> x.weight (a norm; preset generic '*norm*')" */
static void ledger_line(FILE *f, const struct job *j, const struct entry *x)
{
    fprintf(f, "%s ", fate_name(x->fate));
    out_text(f, x->name);
    for (size_t o = 0; o < x->nout; o++) {
        fprintf(f, o ? ", " : " -> ");
        out_text(f, j->plan.out[x->out[o]].t.name);
    }
    fprintf(f, " (");
    if (x->why) {
        out_text(f, x->why);
        fprintf(f, "; ");
    }
    out_text(f, x->rule ? x->rule->origin : "by default");
    if (x->rule) {
        fprintf(f, " '");
        out_text(f, x->rule->pattern);
        fprintf(f, "'");
    }
    fprintf(f, ")\n");
}

/* What is dropped is always named. */
static void ledger_lines(FILE *f, const struct job *j, const char *head)
{
    for (size_t i = 0; i < j->plan.nledger; i++)
        if (j->c->verbose || j->plan.ledger[i].fate == FATE_DROPPED) {
            fputs(head, f);
            ledger_line(f, j, &j->plan.ledger[i]);
        }
}

static void ledger_sum(FILE *f, const struct job *j)
{
    fprintf(f, "%zu tensors of the source:", j->plan.nledger);
    for (int k = FATE_MAPPED; k < FATE_COUNT; k++)
        fprintf(f, "%s %zu %s", k == FATE_MAPPED ? "" : ",", j->plan.fates[k], fate_name(k));
    fputc('\n', f);
}

static void plan_json(const struct job *j)
{
    printf("{\"verb\":\"%s\",\"input\":", j->verb);
    out_json(stdout, j->input);
    printf(",\"tensors\":[");
    for (size_t i = 0; i < j->plan.nout; i++) {
        const struct op *op = &j->plan.op[j->plan.out[j->order[i]].op];
        char shape[256];
        printf("%s\n{\"name\":", i ? "," : "");
        out_json(stdout, j->t[i].name);
        printf(",\"dtype\":\"%s\",\"shape\":%s,\"bytes\":%" PRIu64 ",\"transform\":\"%s\",\"expected\":\"%s\"",
               dtype_name(j->t[i].dtype), tensor_shape(&j->t[i], shape), j->t[i].size, what(op), expected(op));
        if (j->t[i].stored)
            printf(",\"layout\":\"%s\"", j->t[i].stored->sentence);
        printf("}");
    }
    printf("\n],\"notes\":[");
    for (size_t i = 0; i < j->plan.nnotes; i++) {
        printf(i ? "," : "");
        out_json(stdout, j->plan.note[i]);
    }
    printf("]");
    ledger_json(j);
    printf(",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"files\":%zu,\"memory\":%" PRIu64 "}\n",
           j->plan.bytes_in, j->w.bytes, j->w.nfiles, job_memory(j));
}

void report_plan(const struct job *j)
{
    char shape[256], a[32], b[32], m[32];
    if (j->c->json) {
        plan_json(j);
        return;
    }
    int width = 4;
    for (size_t i = 0; i < j->plan.nout; i++)
        width = (int)strlen(j->t[i].name) > width ? (int)strlen(j->t[i].name) : width;
    for (size_t i = 0; i < j->plan.nout; i++) {
        const struct op *op = &j->plan.op[j->plan.out[j->order[i]].op];
        out_left(stdout, j->t[i].name, width);
        printf("  %-8s %-16s %12" PRIu64 "  %-8s %-8s%s%s\n", dtype_name(j->t[i].dtype),
               tensor_shape(&j->t[i], shape), j->t[i].size, what(op), expected(op), j->t[i].stored ? "  " : "",
               j->t[i].stored ? j->t[i].stored->sentence : "");
    }
    for (size_t i = 0; i < j->plan.nnotes; i++) {
        out_text(stdout, j->plan.note[i]);
        putchar('\n');
    }
    ledger_lines(stdout, j, "");
    ledger_sum(stdout, j);
    printf("%zu tensors, %s in, %s out in %zu file%s; memory: %s for %u thread%s", j->plan.nout,
           out_bytes(j->plan.bytes_in, a), out_bytes(j->w.bytes, b), j->w.nfiles, j->w.nfiles == 1 ? "" : "s",
           out_bytes(job_memory(j), m), j->c->threads,
           j->c->threads == 1 ? "" : "s");
    printf(j->plan.held ? ", of which %s of the pipe are held\n" : "\n", out_bytes(j->plan.held, a));
}

struct totals {
    uint64_t ops[3], elems, inexact, flushed, saturated, changed_elems;
    size_t copied, changed, laid;
};

static struct totals sum(const struct job *j)
{
    struct totals t = {0};
    for (size_t i = 0; i < j->plan.nops; i++) {
        const struct op *op = &j->plan.op[i];
        bool values = op->x == &xform_encode || op->x == &xform_blocks || op->x == &xform_decode || op->x == &xform_requant
                   || op->done.n.inexact;
        if (!values) {
            t.laid += op->nout && j->plan.out[op->out[0]].t.stored && j->plan.out[op->out[0]].as.part == PART_WEIGHT;
            const enum part part = op->nout ? j->plan.out[op->out[0]].as.part : PART_SCALE;
            t.copied += part == PART_PLAIN || part == PART_WEIGHT;
            continue;
        }
        t.changed++;
        t.ops[outcome_verdict(&op->done)]++;
        t.changed_elems += op->done.elems;
        t.inexact += op->done.n.inexact;
        t.flushed += op->done.n.flushed;
        t.saturated += op->done.n.saturated;
    }
    return t;
}

/* The blocks whose values changed on the way from one scheme to another. */
static void tiles_json(const struct op *op)
{
    for (size_t i = 0; i < op->ntiles; i++)
        printf("%s{\"batch\":%" PRIu64 ",\"row\":%" PRIu64 ",\"col\":%" PRIu64 ",\"inexact\":%" PRIu32 "}",
               i ? "," : ",\"blocks\":[", op->tile[i].batch, op->tile[i].row, op->tile[i].col, op->tile[i].inexact);
    if (op->ntiles)
        putchar(']');
}

static void tile_lines(const struct job *j, const struct op *op)
{
    enum { FEW = 10 };
    const size_t most = j->c->verbose ? op->ntiles : FEW;
    const struct scheme *s = op->to ? op->to->scheme : NULL;
    if (!op->ntiles || (op->second && !j->c->verbose)) /* all of it: its cost is told */
        return;
    fprintf(stderr, "octavo %s: ", j->verb);
    out_text(stderr, j->plan.out[op->out[0]].as.weight);
    fprintf(stderr, ": %zu block%s not exact in %s:", op->ntiles, op->ntiles == 1 ? " is" : "s are", s ? s->name : "");
    for (size_t i = 0; i < op->ntiles && i < most; i++) {
        fprintf(stderr, " [");
        if (op->m.batch > 1)
            fprintf(stderr, "%" PRIu64 ",", op->tile[i].batch);
        fprintf(stderr, "%" PRIu64 ",%" PRIu64 "] %" PRIu32, op->tile[i].row, op->tile[i].col, op->tile[i].inexact);
    }
    fprintf(stderr, op->ntiles > most ? " ... (-v names all)\n" : "\n");
}

/* Decibels; 999 when nothing was lost. */
static double cost_db(double lost, double kept) { return lost > 0 ? 10 * log10(kept / lost) : 999; }

/* What rounding a second time has cost, against the values that the source's codes had. */
static void second_line(FILE *f, const struct job *j)
{
    double lost = 0, kept = 0, worst = 1e9;
    const char *name = NULL, *from = NULL;
    size_t n = 0;
    for (size_t i = 0; i < j->plan.nops; i++) {
        const struct op *op = &j->plan.op[i];
        if (!op->second)
            continue;
        lost += op->lost;
        kept += op->kept;
        from = from ? from : op->from->scheme->name;
        if (cost_db(op->lost, op->kept) < worst) {
            worst = cost_db(op->lost, op->kept);
            name = op->from->name;
        }
        n++;
    }
    if (!n)
        return;
    fprintf(f, "  %zu started from codes (%s) and not from the original: %.2f dB from the values of those, worst %.2f dB ('", n, from,
            cost_db(lost, kept), worst);
    out_text(f, name);
    fprintf(f, "')\n");
}

/* What calibration did for the weight that op encodes, or NULL. */
static const struct rounded *rounded_of(const struct job *j, const struct op *op)
{
    for (size_t i = 0; op->rounder && j->calibrated && i < j->calibrated->n; i++)
        if (!strcmp(j->calibrated->done[i].name, j->plan.out[op->out[0]].as.weight))
            return &j->calibrated->done[i];
    return NULL;
}

static void rounded_json(const struct rounded *r)
{
    printf(",\"calibration\":{\"point\":");
    out_json(stdout, r->point);
    printf(",\"tokens\":%" PRIu64 ",\"holdout\":%" PRIu64 ",\"kept\":%s,\"shrink\":%g,\"changed\":%" PRIu64
           ",\"output_db_nearest\":%.4f,\"output_db\":%.4f,\"gain_db\":%.4f,\"fit_gain_db\":%.4f}",
           r->tokens[0], r->tokens[1], r->r.kept ? "true" : "false", r->r.shrink, r->r.kept ? r->r.changed : 0, cost_db(r->r.nearest, 1),
           cost_db(r->r.kept ? r->r.chosen : r->r.nearest, 1), rounded_gain(r), r->r.kept ? cost_db(r->r.fit_chosen, r->r.fit_nearest) : 0);
}

static int by_gain(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* What statistics were good for. */
static void calibrated_lines(FILE *f, const struct job *j)
{
    const struct calibrated *c = j->calibrated;
    double *gain = c && c->n ? malloc(c->n * sizeof *gain) : NULL;
    size_t kept = 0;
    if (c && !c->n)
        fprintf(f, "  no weight has statistics of both sets of sequences, so nothing was calibrated\n");
    if (!gain)
        return;
    for (size_t i = 0; i < c->n; i++) {
        const struct rounded *r = &c->done[i];
        kept += r->r.kept;
        gain[i] = rounded_gain(r);
        if (!j->c->verbose)
            continue;
        fprintf(f, "  ");
        out_text(f, r->name);
        fprintf(f, " [%" PRIu64 ",%" PRIu64 "]  %.1f tokens a channel, output %.2f dB -> %.2f dB", r->rows, r->cols,
                (double)r->tokens[0] / (double)r->cols, cost_db(r->r.nearest, 1), cost_db(r->r.kept ? r->r.chosen : r->r.nearest, 1));
        fprintf(f, r->r.kept ? " (shrinkage %g)\n" : " (nearest codes stay)\n", r->r.shrink);
    }
    qsort(gain, c->n, sizeof *gain, by_gain);
    fprintf(f, "  %zu weights rounded with second moments, %zu of them to better codes than the nearest: the error of their outputs on "
            "held-out text is smaller by %.2f dB (median), %.2f to %.2f dB\n", c->n, kept, gain[c->n / 2], gain[0], gain[c->n - 1]);
    free(gain);
}

static void done_json(const struct job *j)
{
    const struct convention *c = job_convention(j);
    printf("{\"verb\":\"%s\",\"input\":", j->verb);
    out_json(stdout, j->input);
    printf(",\"output\":");
    out_json(stdout, j->shown ? j->shown : j->c->output);
    if (j->want.to)
        printf(",\"scheme\":\"%s\"", j->want.to->scheme->name);
    if (job_encodes(j))
        printf(",\"rule\":\"%s\"", encoding_rule(j->want.to));
    if (c)
        printf(",\"convention\":\"%s\"", c->name);
    if (j->want.target)
        printf(",\"target\":\"%s\"", j->want.target->id);
    printf(",\"tensors\":[");
    for (size_t i = 0, k = 0; i < j->plan.nops; i++) {
        const struct op *op = &j->plan.op[i];
        if (!op->nout)
            continue;
        printf("%s\n{\"name\":", k++ ? "," : "");
        out_json(stdout, j->plan.out[op->out[0]].t.name);
        printf(",\"from\":\"%s\",\"to\":\"%s\",\"transform\":\"%s\",\"verdict\":\"%s\",\"elements\":%" PRIu64
               ",\"inexact\":%" PRIu64 ",\"flushed\":%" PRIu64 ",\"saturated\":%" PRIu64,
               dtype_name(op->src->t[op->nin ? op->in[0] : op->place].dtype), dtype_name(j->plan.out[op->out[0]].t.dtype), what(op),
               verdict_name(outcome_verdict(&op->done)), op->done.elems, op->done.n.inexact, op->done.n.flushed,
               op->done.n.saturated);
        if (op->second)
            printf(",\"second_rounding_sqnr_db\":%.4f", cost_db(op->lost, op->kept));
        if (rounded_of(j, op))
            rounded_json(rounded_of(j, op));
        tiles_json(op);
        printf("}");
    }
    printf("\n],\"notes\":[");
    for (size_t i = 0; i < j->plan.nnotes; i++) {
        printf(i ? "," : "");
        out_json(stdout, j->plan.note[i]);
    }
    printf("]");
    ledger_json(j);
    printf(",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"seconds\":%.3f}\n", j->plan.bytes_in, j->w.bytes,
           j->seconds);
}

static void tensor_lines(const struct job *j)
{
    for (size_t i = 0; i < j->plan.nops; i++) {
        const struct op *op = &j->plan.op[i];
        const struct tensor *t = &op->src->t[op->nin ? op->in[0] : op->place];
        char shape[256], a[32], b[32];
        if (!op->nout)
            continue;
        const struct tensor *o = &j->plan.out[op->out[0]].t;
        fprintf(stderr, "[%*zu/%zu] ", j->plan.nops > 999 ? 5 : 3, i + 1, j->plan.nops);
        out_text(stderr, o->name);
        fprintf(stderr, " %s %s -> %s  %s -> %s  %s", tensor_shape(t, shape), dtype_name(t->dtype), dtype_name(o->dtype), out_bytes(t->size, a),
                out_bytes(o->size, b), verdict_name(outcome_verdict(&op->done)));
        if (op->done.n.inexact)
            fprintf(stderr, " (%" PRIu64 " of %" PRIu64 ")", op->done.n.inexact, op->done.elems);
        fputc('\n', stderr);
    }
}

void report_done(const struct job *j)
{
    char head[64];
    snprintf(head, sizeof head, "octavo %s: ", j->verb);
    if (j->c->json)
        done_json(j);
    if (j->c->quiet)
        return;
    if (j->c->verbose)
        tensor_lines(j);
    for (size_t i = 0; i < j->plan.nnotes; i++) {
        fprintf(stderr, "octavo %s: ", j->verb);
        out_text(stderr, j->plan.note[i]);
        fputc('\n', stderr);
    }
    ledger_lines(stderr, j, head);
    for (size_t i = 0; i < j->plan.nops; i++)
        tile_lines(j, &j->plan.op[i]);
    struct totals t = sum(j);
    const struct convention *c = job_convention(j);
    char a[32], b[32], r[32];
    fprintf(stderr, "octavo %s: %s -> %s", j->verb, j->input, j->shown ? j->shown : j->c->output);
    const char *rule = !job_encodes(j) || !*encoding_rule(j->want.to) ? NULL : encoding_rule(j->want.to);
    if (j->want.to)
        fprintf(stderr, "  [%s%s%s%s%s]", j->want.to->scheme->name, rule ? ", rule " : "", rule ? rule : "",
                c ? ", " : "", c ? c->name : "");
    else if (j->pack && j->pack->target)
        fprintf(stderr, "  [%s, form %s]", j->pack->target, j->pack->form);
    if (t.changed || !t.copied)
        fprintf(stderr, "\n  %zu tensors converted (%" PRIu64 " exact, %" PRIu64 " rounded, %" PRIu64 " saturated), %zu "
                "copied bit for bit", t.changed, t.ops[0], t.ops[1], t.ops[2], t.copied);
    else
        fprintf(stderr, "\n  %zu tensors bit for bit", t.copied);
    fprintf(stderr, t.laid ? ", %zu of them laid out for the chip with their scales\n" : "\n", t.laid);
    if (t.inexact)
        fprintf(stderr, "  of %" PRIu64 " converted values %.2f %% rounded, %" PRIu64 " flushed to zero, %" PRIu64
                " saturated\n", t.changed_elems, 100.0 * (double)t.inexact / (double)t.changed_elems, t.flushed,
                t.saturated);
    second_line(stderr, j);
    calibrated_lines(stderr, j);
    fprintf(stderr, "  ");
    ledger_sum(stderr, j);
    fprintf(stderr, "  %s -> %s in %.2f s (%s/s)\n", out_bytes(j->plan.bytes_in, a), out_bytes(j->w.bytes, b),
            j->seconds, out_bytes((uint64_t)((double)j->plan.bytes_in / (j->seconds > 0 ? j->seconds : 1e-9)), r));
}

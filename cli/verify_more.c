#include "cli/verify_more.h"

#include "cli/out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int more_check(const struct more *m, const char *reference, const char *model, struct err *e)
{
    const bool any = m->calibration || m->end_to_end;
    if (any && (!strcmp(reference, "-") || !strcmp(model, "-")))
        return err_set(e, ERR_USAGE, "--calibration and --end-to-end read weights layer by layer, which a pipe does not allow");
    if (m->end_to_end ? !m->tokens == !m->text : m->tokens || m->text || m->tokenizer)
        return err_set(e, ERR_USAGE, "--end-to-end goes with --text FILE or with --tokens FILE");
    if (m->activations && strcmp(m->activations, "e4m3") && strcmp(m->activations, "none"))
        return err_set(e, ERR_USAGE, "--activations takes e4m3 or none, not '%s'", m->activations);
    if (!m->end_to_end && (m->activations || m->greedy || m->length || m->limit || !isnan(m->max_kl) || !isnan(m->min_top)))
        return err_set(e, ERR_USAGE, "--activations, --greedy, --length, --limit, --max-kl and --min-agreement go with --end-to-end");
    return isnan(m->min_output) || m->calibration ? 0 : err_set(e, ERR_USAGE, "--min-output goes with --calibration FILE");
}

struct showing {
    struct meter meter;
    struct progress p;
};

static void show(void *ctx, uint64_t done, uint64_t all)
{
    struct showing *s = ctx;
    s->p = (struct progress){done, all, "layers of both"};
    meter_show(&s->meter, &s->p);
}

static int run_words(struct more *m, struct model *a, struct model *b, const struct common *c, struct err *e)
{
    struct net na = {0}, nb = {0};
    struct corpus text = {0};
    struct showing s;
    struct words_options o = {.greedy = m->greedy, .progress = show, .progress_ctx = &s};
    if (m->activations && !strcmp(m->activations, "e4m3"))
        o.inputs = inputs_e4m3;
    meter_start(&s.meter, "verify", c);
    const int r = net_open(&na, a, c->threads, e) || net_open(&nb, b, c->threads, e) 
               || (m->text ? corpus_of_model(&text, m->text, m->tokenizer, a, na.vocab, e) : corpus_read(&text, m->tokens, e))
               || corpus_cut(&text, m->length, m->limit, 0, e) || words_compare(&m->words, &na, &nb, &text, &o, e) ? -1 : 0;
    meter_end(&s.meter);
    corpus_free(&text);
    net_close(&na);
    net_close(&nb);
    return r;
}

/* Both models, opened anew: their tensors get other names here. */
static int with_both(struct more *m, const char *reference, const char *model, const struct common *c, const struct stats *s, struct err *e)
{
    struct model a, b;
    if (model_open(&a, reference, e))
        return -1;
    if (model_open(&b, model, e)) {
        model_close(&a);
        return -1;
    }
    const int r = s ? output_errors(&m->outputs, &a, &b, s, c->threads, e) : run_words(m, &a, &b, c, e);
    model_close(&a);
    model_close(&b);
    return r;
}

int more_run(struct more *m, const char *reference, const char *model, const struct common *c, struct err *e)
{
    struct stats s;
    int r = 0;
    if (m->calibration) {
        if (stats_open(&s, m->calibration, e))
            return -1;
        r = with_both(m, reference, model, c, &s, e);
        if (!r && !m->outputs.n)
            r = err_set(e, ERR_INPUT, "%s: has no second moments of a weight that both models have", m->calibration);
        stats_close(&s);
    }
    return r || (m->end_to_end && with_both(m, reference, model, c, NULL, e)) ? -1 : 0;
}

static double db(double error) { return error > 0 ? -10 * log10(error) : INFINITY; }

/* On the sequences that were held out, where there are any: those were not fitted to. */
double more_output_db(const struct output_error *x) { return db(isnan(x->error[STATS_HOLDOUT]) ? x->error[STATS_FIT] : x->error[STATS_HOLDOUT]); }

static int worst_first(const void *a, const void *b)
{
    const struct output_error *x = *(const struct output_error *const *)a, *y = *(const struct output_error *const *)b;
    const double p = more_output_db(x), q = more_output_db(y);
    return p < q ? -1 : p > q ? 1 : strcmp(x->name, y->name);
}

const struct output_error **more_worst_outputs(const struct more *m)
{
    const struct output_error **x = calloc(m->outputs.n + 1, sizeof *x);
    for (size_t i = 0; x && i < m->outputs.n; i++)
        x[i] = &m->outputs.e[i];
    if (x && m->outputs.n)
        qsort(x, m->outputs.n, sizeof *x, worst_first);
    return x;
}

static void print_outputs(const struct more *m, bool every)
{
    const struct output_error **x = more_worst_outputs(m);
    int width = 6;
    if (!x || !m->outputs.n) {
        free(x);
        return;
    }
    const size_t shown = every || m->outputs.n < 10 ? m->outputs.n : 10;
    for (size_t i = 0; i < shown; i++)
        width = (int)strlen(x[i]->name) > width ? (int)strlen(x[i]->name) : width;
    printf("\n%-*s  %12s %12s %10s\n", width, "output", "fit to, dB", "held out, dB", "tokens/in");
    for (size_t i = 0; i < shown; i++) {
        out_left(stdout, x[i]->name, width);
        for (int k = 0; k < STATS_SETS; k++)
            if (isnan(x[i]->error[k]))
                printf(" %12s", "-");
            else
                printf(k ? " %12.2f" : "  %11.2f", db(x[i]->error[k]));
        printf(" %10.1f\n", (double)x[i]->tokens[STATS_FIT] / (double)x[i]->cols);
    }
    if (x[0]->diagonal)
        printf("(weighted by the mean squares of channels; how channels go together is not in that file)\n");
    printf("outputs of %zu layers: the worst %.2f dB, the median %.2f dB%s\n", m->outputs.n, more_output_db(x[0]), more_output_db(x[m->outputs.n / 2]),
           shown < m->outputs.n ? " (the ten worst are shown; -v shows all)" : "");
    free(x);
}

void more_print(const struct more *m, bool every)
{
    const struct words *w = &m->words;
    print_outputs(m, every);
    if (!m->end_to_end)
        return;
    printf("\nperplexity %.5f -> %.5f (%+.4f %%) over %" PRIu64 " tokens%s\n", exp(w->nll[0]), exp(w->nll[1]), 100 * (exp(w->nll[1] - w->nll[0]) - 1),
           w->predicted, m->activations && strcmp(m->activations, "none") ? ", inputs of its linear layers rounded to E4M3" : "");
    printf("KL divergence %.4e nats a token in the mean, 99 %% below %.4e, at most %.4e\n", w->kl, w->kl99, w->kl_max);
    printf("the likeliest next token is the same for %.3f %%\n", 100 * w->same_top);
    if (w->greedy)
        printf("%" PRIu64 " texts of %" PRIu64 " words: %" PRIu64 " part, after %.1f words in the mean\n", w->greedy, m->greedy, w->diverged, w->until);
}

static void put(const char *name, double x)
{
    if (isfinite(x))
        printf(",\"%s\":%.9g", name, x);
    else
        printf(",\"%s\":%s", name, isnan(x) ? "null" : "\"inf\"");
}

void more_json(const struct more *m)
{
    const struct words *w = &m->words;
    if (m->calibration)
        printf(",\"outputs\":[");
    for (size_t i = 0; i < m->outputs.n; i++) {
        const struct output_error *x = &m->outputs.e[i];
        printf("%s\n{\"name\":", i ? "," : "");
        out_json(stdout, x->name);
        printf(",\"tokens\":%" PRIu64 ",\"holdout\":%" PRIu64, x->tokens[STATS_FIT], x->tokens[STATS_HOLDOUT]);
        printf(",\"diagonal\":%s", x->diagonal ? "true" : "false");
        put("fit_db", db(x->error[STATS_FIT]));
        put("holdout_db", isnan(x->error[STATS_HOLDOUT]) ? NAN : db(x->error[STATS_HOLDOUT]));
        printf("}");
    }
    if (m->calibration)
        printf("]");
    if (!m->end_to_end)
        return;
    printf(",\"end_to_end\":{\"tokens\":%" PRIu64 ",\"activations\":\"%s\"", w->predicted, m->activations ? m->activations : "none");
    put("perplexity_a", exp(w->nll[0]));
    put("perplexity_b", exp(w->nll[1]));
    put("kl_mean", w->kl);
    put("kl_99", w->kl99);
    put("kl_max", w->kl_max);
    put("top1", w->same_top);
    if (w->greedy)
        printf(",\"greedy\":%" PRIu64 ",\"diverged\":%" PRIu64 ",\"until\":%.9g", w->greedy, w->diverged, w->until);
    printf("}");
}

int more_judge(const struct more *m, struct err *e)
{
    for (size_t i = 0; !isnan(m->min_output) && i < m->outputs.n; i++)
        if (!(more_output_db(&m->outputs.e[i]) >= m->min_output))
            return err_set(e, ERR_NO, "the output of '%s' fails --min-output: %.4f dB", m->outputs.e[i].name, more_output_db(&m->outputs.e[i]));
    if (!isnan(m->max_kl) && !(m->words.kl <= m->max_kl))
        return err_set(e, ERR_NO, "the mean KL divergence fails --max-kl: %.6g nats", m->words.kl);
    if (!isnan(m->min_top) && !(m->words.same_top >= m->min_top))
        return err_set(e, ERR_NO, "the share of equal likeliest tokens fails --min-agreement: %.6f", m->words.same_top);
    return 0;
}

void more_free(struct more *m) { output_errors_free(&m->outputs); }

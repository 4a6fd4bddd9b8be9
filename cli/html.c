#include "cli/html.h"

#include "calibrate/signature.h"
#include "cli/manifest.h"
#include "formats/io.h"
#include "formats/names.h"
#include "cli/verify_look.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define W(w) html_word(p->lang, w)

static const char style[] =
    ":root{--bg:#fff;--fg:#1b1f24;--soft:#5b6570;--line:#d9dee3;--card:#f5f7f9;--good:#0a7d4f;--bad:#b3261e;--odd:#9a6700;--bar:#2f6db5;--map:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e6e9ec;--soft:#9aa4ae;--line:#343b42;--card:#1d2226;--good:#4cc38a;--bad:#ff8a80;--odd:#f0b72f;--bar:#6aa5e8;--map:#ff8a80}}"
    "*{box-sizing:border-box}html{color-scheme:light dark}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,'Segoe UI','Noto Sans','Noto Sans CJK SC',sans-serif}"
    "main{max-width:1080px;margin:0 auto;padding:28px 24px 60px}h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 4px}p{margin:4px 0 12px}.soft{color:var(--soft)}"
    ".verdict{border-left:6px solid var(--good);background:var(--card);padding:12px 18px;margin:18px 0;border-radius:4px}.verdict.no{border-color:var(--bad)}.verdict b{font-size:18px}"
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(156px,1fr));gap:10px}.figures div{background:var(--card);border-radius:4px;padding:10px 14px}.figures b{display:block;font-size:19px;white-space:nowrap}"
    ".figures span{color:var(--soft);font-size:13px}table{border-collapse:collapse;width:100%;font-size:14px}th{text-align:left;color:var(--soft);font-weight:500}td,th{padding:6px 10px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}"
    "td.good,td.odd,td.bad{white-space:nowrap}td.n,th.n{text-align:right;white-space:nowrap}td.name,code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:12.5px;overflow-wrap:anywhere}.good{color:var(--good)}.odd{color:var(--odd)}.bad{color:var(--bad);font-weight:600}"
    ".two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:8px 36px}.two>div{min-width:0}svg text{fill:var(--fg);font-size:12px;font-family:inherit}svg text.c{text-anchor:middle}svg text.e{text-anchor:end}svg text.in{fill:#10151a;font-size:11px}"
    "svg.chart,svg.half{display:block;width:100%;height:auto}svg.half{max-width:520px}svg .axis{stroke:var(--line)}.bar{fill:var(--bar)}svg.map .m{fill:var(--map)}svg.map .w{fill:none;stroke:var(--fg);stroke-width:1.5}"
    ".s0{fill:#d7443e}.s1{fill:#ee7b4a}.s2{fill:#f6b264}.s3{fill:#f4dd7c}.s4{fill:#a5d88f}.s5{fill:#6cc7a1}.s6{fill:#63b5d6}.s7{fill:#a9b8c9}"
    "pre{background:var(--card);padding:10px 14px;border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12.5px}"
    "@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--line:#bbb;--card:#f4f4f4}main{max-width:none;padding:0}h2{break-after:avoid}svg,tr,.figures div{break-inside:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

static void figure(FILE *f, const char *value, const char *what) { fprintf(f, "<div><b>%s</b><span>%s</span></div>", value, what); }

static void heading(FILE *f, const char *title, const char *note)
{
    fprintf(f, "<h2>%s</h2>", title);
    if (note)
        fprintf(f, "<p class=\"soft\">%s</p>", note);
}

static void decibels(char s[32], double db) { isinf(db) ? snprintf(s, 32, "=") : snprintf(s, 32, "%.2f dB", db); }

static void put_figures(FILE *f, const struct html_page *p)
{
    const struct error_sums *q = p->quantized->n ? p->quantized : p->all;
    size_t quantized = 0, equal = 0;
    char s[32];
    for (size_t i = 0; i < p->r->n; i++) {
        quantized += p->r->t[i].scheme != NULL;
        equal += p->r->t[i].sums.m.equal == p->r->t[i].sums.n;
    }
    fprintf(f, "<div class=\"figures\">");
    snprintf(s, sizeof s, "%zu", p->r->n);
    figure(f, s, W(W_TENSORS));
    snprintf(s, sizeof s, "%zu", quantized);
    figure(f, s, W(W_QUANTIZED));
    snprintf(s, sizeof s, "%zu", equal);
    figure(f, s, W(W_EQUAL));
    decibels(s, error_sqnr(q));
    figure(f, s, W(W_SQNR));
    snprintf(s, sizeof s, "%.3f %%", 100 * error_rel(q));
    figure(f, s, W(W_REL));
    snprintf(s, sizeof s, "%.2f %%", q->n ? 100.0 * (double)q->m.equal / (double)q->n : 100);
    figure(f, s, W(W_EXACT));
    snprintf(s, sizeof s, "%" PRIu64, q->m.saturated);
    figure(f, s, W(W_SATURATED));
    snprintf(s, sizeof s, "%.3g %%", q->n ? 100.0 * (double)q->m.flushed / (double)q->n : 0);
    figure(f, s, W(W_FLUSHED));
    fprintf(f, "</div>");
}

static int put_made(FILE *f, const struct html_page *p, struct err *e)
{
    static const char *const class[] = {"", "good", "odd", "bad"};
    static const enum word word[] = {W_GOOD, W_GOOD, W_ODD, W_BAD};
    struct look_line *line;
    size_t n;
    if (look_lines(p->r, !strcmp(p->lang, "zh"), &line, &n, e))
        return -1;
    if (n) {
        heading(f, W(W_MADE), W(W_MADE_NOTE));
        fprintf(f, "<table>");
    }
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "<tr><td class=\"%s\">%s</td><td class=\"n\">%zu %s</td><td>", class[line[i].s], W(word[line[i].s]), line[i].n, W(W_COUNT_OF));
        html_escape(f, line[i].text);
        if (line[i].s != SIGN_GOOD) {
            fprintf(f, "<br><code class=\"soft\">");
            html_escape(f, line[i].first);
            fprintf(f, "</code>");
        }
        fprintf(f, "</td></tr>");
    }
    if (n)
        fprintf(f, "</table>");
    free(line);
    return 0;
}

static void put_words(FILE *f, const struct html_page *p)
{
    const struct words *w = &p->more->words;
    char s[64];
    if (!p->more->end_to_end)
        return;
    heading(f, W(W_WORDS), NULL);
    fprintf(f, "<div class=\"figures\">");
    snprintf(s, sizeof s, "%.3f → %.3f", exp(w->nll[0]), exp(w->nll[1]));
    figure(f, s, W(W_PERPLEXITY));
    snprintf(s, sizeof s, "%.3e", w->kl);
    figure(f, s, W(W_KL));
    snprintf(s, sizeof s, "%.3e", w->kl99);
    figure(f, s, W(W_KL99));
    snprintf(s, sizeof s, "%.3e", w->kl_max);
    figure(f, s, W(W_KLMAX));
    snprintf(s, sizeof s, "%.2f %%", 100 * w->same_top);
    figure(f, s, W(W_TOP1));
    fprintf(f, "</div>");
}

static void put_outputs(FILE *f, const struct html_page *p)
{
    const struct output_error **x = more_worst_outputs(p->more);
    const size_t n = p->more->outputs.n;
    if (!x || !n) {
        free(x);
        return;
    }
    heading(f, W(W_OUTPUTS), W(W_OUTPUTS_NOTE));
    fprintf(f, "<table><tr><th>%s</th><th class=\"n\">dB</th></tr>", W(W_TENSOR));
    for (size_t i = 0; i < n && i < HTML_WORST; i++) {
        fprintf(f, "<tr><td class=\"name\">");
        html_escape(f, x[i]->name);
        fprintf(f, "</td><td class=\"n\">%.2f</td></tr>", more_output_db(x[i]));
    }
    fprintf(f, "</table>");
    free(x);
}

static void put_worst(FILE *f, const struct html_page *p)
{
    char shape[256], db[32];
    if (!p->maps || !p->maps->n)
        return;
    heading(f, W(W_WORST), W(W_WORST_NOTE));
    fprintf(f, "<table><tr><th>%s</th><th class=\"n\">SQNR</th><th class=\"n\">%s</th><th>%s</th><th></th></tr>", W(W_TENSOR), W(W_REL), W(W_BLOCK));
    for (size_t i = 0; i < p->maps->n; i++) {
        const struct tensor_error *t = &p->maps->t[i];
        decibels(db, error_sqnr(&t->sums));
        fprintf(f, "<tr><td class=\"name\">");
        html_escape(f, t->name);
        fprintf(f, "<br><span class=\"soft\">%s %s</span></td><td class=\"n\">%s</td><td class=\"n\">%.3f %%</td><td>[%" PRIu64 ",%" PRIu64 "]<br>%.3f %%</td><td>",
                t->scheme ? t->scheme->name : dtype_name(t->b->dtype), tensor_shape(t->a, shape), db, 100 * error_rel(&t->sums), t->worst.row, t->worst.col,
                100 * t->worst.rel);
        svg_map(f, t);
        fprintf(f, "</td></tr>");
    }
    fprintf(f, "</table>");
}

static void put_names(FILE *f, const char *title, const char **name, size_t n)
{
    enum { SHOWN = 100 };
    if (!n)
        return;
    fprintf(f, "<h2>%s (%zu)</h2><p class=\"name\">", title, n);
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        fprintf(f, "<code>");
        html_escape(f, name[i]);
        fprintf(f, "</code><br>");
    }
    fprintf(f, n > SHOWN ? "...</p>" : "</p>");
}

static int put_page(FILE *f, const struct html_page *p, struct err *e)
{
    fprintf(f, "<!DOCTYPE html>\n<html lang=\"%s\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Octavo: ",
            strcmp(p->lang, "zh") ? "en" : "zh-CN");
    html_escape(f, p->model);
    fprintf(f, "</title><style>%s</style></head>\n<body><main><h1>%s</h1><p><code>", style, W(W_TITLE));
    html_escape(f, p->model);
    fprintf(f, "</code> <span class=\"soft\">%s</span> <code>", W(W_AGAINST));
    html_escape(f, p->reference);
    fprintf(f, "</code></p>\n<div class=\"verdict%s\"><b class=\"%s\">%s</b><br>", p->failed ? " no" : "", p->failed ? "bad" : "good", W(p->failed ? W_FAILED : W_PASSED));
    html_escape(f, p->failed ? p->failed : W(W_MEASURED));
    fprintf(f, "</div>\n");
    put_figures(f, p);
    put_words(f, p);
    if (put_made(f, p, e))
        return -1;
    fprintf(f, "\n");
    heading(f, W(W_HEAT), W(W_HEAT_NOTE));
    svg_heat(f, p);
    fprintf(f, "\n<div class=\"two\"><div>");
    heading(f, W(W_DISTRIBUTION), W(W_DISTRIBUTION_NOTE));
    svg_distribution(f, p);
    fprintf(f, "</div>\n<div>");
    heading(f, W(W_EXPONENTS), W(W_EXPONENTS_NOTE));
    svg_exponents(f, p);
    fprintf(f, "</div>\n<div>");
    heading(f, W(W_STEPS), W(W_STEPS_NOTE));
    svg_steps(f, p);
    fprintf(f, "</div>\n<div>");
    put_outputs(f, p);
    fprintf(f, "</div></div>\n");
    put_worst(f, p);
    put_names(f, W(W_MISSING), p->r->only_a, p->r->nonly_a);
    put_names(f, W(W_EXTRA), p->r->only_b, p->r->nonly_b);
    fprintf(f, "\n<h2>%s</h2><pre>", W(W_COMMAND));
    html_escape(f, p->command);
    for (int k = 0; k < 2; k++)
        if (*p->digest[k])
            fprintf(f, "\n%s %s", p->digest[k], W(k ? W_MODEL : W_REFERENCE));
    fprintf(f, "</pre><p class=\"soft\">%s octavo " OCTAVO_VERSION "</p></main></body></html>\n", W(W_VERSION));
    return 0;
}

int html_text(const struct html_page *p, char **text, size_t *n, struct err *e)
{
    *text = NULL;
    FILE *f = open_memstream(text, n);
    if (!f)
        return err_set(e, ERR_SYSTEM, "out of memory");
    int r = put_page(f, p, e);
    if (fclose(f) && !r)
        r = err_set(e, ERR_SYSTEM, "out of memory");
    if (r) {
        free(*text);
        *text = NULL;
    }
    return r;
}

/* ---- the worst tensors, once more, for their maps ------------------------------------------------ */
/* A pattern that is this name and no other. */
static int add_name(struct rules *r, const char *name, struct arena *mem, struct err *e)
{
    char *to = arena_alloc(mem, 2 * strlen(name) + 1, e), *p = to;
    for (const char *s = name; to && *s; s++) {
        if (strchr("*?[]\\", *s))
            *p++ = '\\';
        *p++ = *s;
    }
    return !to || rules_add(r, to, ACTION_KEEP, "--html", e) ? -1 : 0;
}

static int choose(struct rules *rules, const struct error_report *r, size_t *chosen, struct arena *mem, struct err *e)
{
    const struct tensor_error **t = arena_array(mem, r->n + 1, sizeof *t, e);
    size_t n = 0;
    if (!t)
        return -1;
    for (size_t i = 0; i < r->n; i++)
        if (!r->t[i].bytes && r->t[i].sums.m.equal != r->t[i].sums.n && r->t[i].map_cols)
            t[n++] = &r->t[i];
    if (n)
        qsort(t, n, sizeof *t, error_worst_first);
    *chosen = n < HTML_WORST ? n : HTML_WORST;
    for (size_t i = 0; i < *chosen; i++)
        if (add_name(rules, t[i]->name, mem, e))
            return -1;
    return rules_add(rules, "*", ACTION_DROP, "--html", e);
}

static int by_rel(const void *a, const void *b)
{
    const struct tensor_error *x = a, *y = b;
    return error_worst_first(&x, &y);
}

static int measure_again(struct html_page *p, struct error_report *maps, const struct rules *rules, const struct common *c, struct err *e)
{
    struct model a, b;
    const struct run_options opt = {.threads = c->threads};
    if (model_open(&a, p->reference, e))
        return -1;
    if (model_open(&b, p->model, e)) {
        model_close(&a);
        return -1;
    }
    int r = names_agree(c->names, &a, &b, e) || error_measure(maps, &a, &b, rules, ERROR_MAP, &opt, e) ? -1 : 0;
    if (!r) { /* names and shapes are those of the models that are open now */
        qsort(maps->t, maps->n, sizeof *maps->t, by_rel);
        p->maps = maps;
        r = html_text(p, &p->text, &p->length, e);
        p->maps = NULL;
        error_free(maps);
    }
    model_close(&a);
    model_close(&b);
    return r;
}

int html_write(struct html_page *p, const char *path, bool force, const struct common *c, struct err *e)
{
    struct rules rules = {0};
    struct error_report maps;
    struct arena mem = {0};
    size_t chosen = 0;
    const bool again = strcmp(p->reference, "-") && strcmp(p->model, "-");
    int r = again ? choose(&rules, p->r, &chosen, &mem, e) : 0;
    for (int k = 0; again && !r && k < 2; k++)
        r = digest_of_model(k ? p->model : p->reference, c->threads, p->digest[k], e);
    if (!r)
        r = chosen ? measure_again(p, &maps, &rules, c, e) : html_text(p, &p->text, &p->length, e);
    if (!r)
        r = io_write_file(path, p->text, p->length, force, c->sync, e);
    free(p->text);
    p->text = NULL;
    rules_free(&rules);
    arena_free(&mem);
    return r;
}

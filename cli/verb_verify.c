/* octavo verify: how far is B from A? Thresholds turn the answer into yes or no. */
#include "cli/html.h"
#include "cli/job.h"
#include "cli/limits.h"
#include "cli/manifest.h"
#include "cli/roles.h"
#include "cli/verbs.h"
#include "cli/verify_look.h"
#include "cli/verify_more.h"

#include "calibrate/error.h"
#include "formats/io.h"
#include "formats/names.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool exact(const struct tensor_error *t) { return t->sums.m.equal == t->sums.n; }

/* Of all tensors that hold numbers, or of the quantized ones alone. */
static struct error_sums sums_of(const struct error_report *r, bool quantized)
{
    struct error_sums sums = {0};
    for (size_t i = 0; i < r->n; i++)
        if (quantized ? r->t[i].scheme != NULL : !r->t[i].bytes)
            error_add(&sums, &r->t[i].sums);
    return sums;
}

static void number(double x)
{
    if (isfinite(x))
        printf("%.9g", x);
    else
        printf(isnan(x) ? "\"nan\"" : "\"inf\"");
}

static void json_sums(const struct error_sums *s)
{
    printf(",\"elements\":%" PRIu64 ",\"exact\":%" PRIu64 ",\"saturated\":%" PRIu64 ",\"flushed\":%" PRIu64 ",\"max_abs\":",
           s->n, s->m.equal, s->m.saturated, s->m.flushed);
    number((double)s->m.max);
    printf(",\"mse\":");
    number(error_mse(s));
    printf(",\"rel\":");
    number(error_rel(s));
    printf(",\"sqnr_db\":");
    number(error_sqnr(s));
    printf(",\"cosine\":");
    number(error_cosine(s));
    if (s->native.sx > 0) {
        struct error_sums native = {.n = s->n, .k = s->native};
        printf(",\"subnormal\":%" PRIu64 ",\"native_rel\":", s->subnormal);
        number(error_rel(&native));
        printf(",\"native_sqnr_db\":");
        number(error_sqnr(&native));
    }
}

static int print_json(const struct error_report *r, const struct error_sums *all, const struct limits *l, const struct more *m, struct err *e)
{
    struct role_sums *role;
    size_t roles;
    if (roles_of(r, &role, &roles, e))
        return -1;
    printf("{\"tensors\":[");
    for (size_t i = 0; i < r->n; i++) {
        const struct tensor_error *t = &r->t[i];
        printf("%s\n{\"name\":", i ? "," : "");
        out_json(stdout, t->name);
        printf(",\"a\":\"%s\",\"b\":\"%s\"", dtype_name(t->a->dtype), dtype_name(t->b->dtype));
        if (t->scheme)
            printf(",\"scheme\":\"%s\"", t->scheme->name);
        json_sums(&t->sums);
        if (t->worst.rel >= 0 || isnan(t->worst.rel)) {
            printf(",\"worst_block\":{\"batch\":%" PRIu64 ",\"row\":%" PRIu64 ",\"col\":%" PRIu64 ",\"rel\":", t->worst.batch,
                   t->worst.row, t->worst.col);
            number(t->worst.rel);
            printf("}");
        }
        if (t->look)
            look_json(t);
        char why[128];
        printf(",\"ok\":%s}", limits_keep(l, t, why, sizeof why) ? "true" : "false");
    }
    printf("\n],\"only_a\":[");
    for (size_t i = 0; i < r->nonly_a; i++) {
        printf(i ? "," : "");
        out_json(stdout, r->only_a[i]);
    }
    printf("],\"only_b\":[");
    for (size_t i = 0; i < r->nonly_b; i++) {
        printf(i ? "," : "");
        out_json(stdout, r->only_b[i]);
    }
    const struct error_sums quantized = sums_of(r, true);
    size_t nq = 0;
    for (size_t i = 0; i < r->n; i++)
        nq += r->t[i].scheme != NULL;
    printf("],\"quantized\":{\"tensors\":%zu", nq);
    json_sums(&quantized);
    printf("},\"roles\":[");
    for (size_t i = 0; i < roles; i++) {
        printf("%s\n{\"role\":", i ? "," : "");
        out_json(stdout, role[i].name);
        printf(",\"tensors\":%zu", role[i].n);
        json_sums(&role[i].sums);
        printf("}");
    }
    printf("],\"all\":{\"tensors\":%zu", r->n);
    json_sums(all);
    printf("}");
    more_json(m);
    printf("}\n");
    free(role);
    return 0;
}

static void print_line(const char *name, int width, const char *what, const struct error_sums *s)
{
    double q = error_sqnr(s);
    char db[32] = "exact";
    if (!isinf(q))
        snprintf(db, sizeof db, "%.2f", q);
    out_left(stdout, name, width);
    printf("  %-18s %8s %10.3e %10.3e %10.3e %11.8f %7.2f%% %6" PRIu64 " %6" PRIu64, what, db, error_rel(s),
           error_mse(s), (double)s->m.max, error_cosine(s), s->n ? 100.0 * (double)s->m.equal / (double)s->n : 100.0,
           s->m.saturated, s->m.flushed);
}

static void only(const char *where, const char *name)
{
    printf("only in the %s: ", where);
    out_text(stdout, name);
    putchar('\n');
}

static int print_table(const struct error_report *r, const struct error_sums *all, bool every, uint64_t most, struct err *e)
{
    const struct tensor_error **t = mem_alloc(r->n, sizeof *t, e);
    size_t inexact = 0, shown;
    int width = 13;
    if (!t)
        return -1;
    for (size_t i = 0; i < r->n; i++) {
        t[i] = &r->t[i];
        inexact += !exact(t[i]);
    }
    qsort(t, r->n, sizeof *t, error_worst_first);
    shown = every ? r->n : min_u64(inexact, most);
    for (size_t i = 0; i < shown; i++)
        width = (int)strlen(t[i]->name) > width ? (int)strlen(t[i]->name) : width;
    printf("%-*s  %-18s %8s %10s %10s %10s %11s %8s %6s %6s  %s\n", width, "tensor", "scheme", "SQNR dB", "rel", "MSE",
           "max abs", "cosine", "exact", "satur", "flush", "worst 128x128 block");
    for (size_t i = 0; i < shown; i++) {
        if (t[i]->bytes) {
            out_left(stdout, t[i]->name, width);
            printf("  %-18s %s\n", dtype_name(t[i]->b->dtype), exact(t[i]) ? "equal bytes" : "BYTES DIFFER");
            continue;
        }
        print_line(t[i]->name, width, t[i]->scheme ? t[i]->scheme->name : dtype_name(t[i]->b->dtype), &t[i]->sums);
        if (t[i]->worst.rel > 0)
            printf("  %.3e at [%" PRIu64 ",%" PRIu64 "]", t[i]->worst.rel, t[i]->worst.row, t[i]->worst.col);
        putchar('\n');
    }
    const struct error_sums quantized = sums_of(r, true);
    struct role_sums *role;
    size_t roles;
    if (roles_of(r, &role, &roles, e)) {
        free(t);
        return -1;
    }
    for (size_t i = 0; i < roles && roles > 1; i++) {
        char what[32];
        snprintf(what, sizeof what, "%zu tensor%s", role[i].n, role[i].n == 1 ? "" : "s");
        print_line(role[i].name, width, what, &role[i].sums);
        putchar('\n');
    }
    free(role);
    if (quantized.n) {
        print_line("all quantized", width, "", &quantized);
        putchar('\n');
    }
    print_line("all", width, "", all);
    putchar('\n');
    printf("\n%zu tensors compared: %zu equal, %zu not%s\n", r->n, r->n - inexact, inexact,
           inexact > shown ? " (the worst are shown; -v shows all)" : "");
    for (size_t i = 0; i < r->nonly_a; i++)
        only("reference", r->only_a[i]);
    for (size_t i = 0; i < r->nonly_b; i++)
        only("other", r->only_b[i]);
    free(t);
    return 0;
}

/* What flushing costs: the figures of the table have it, these are without. */
static void print_flush(const struct error_report *r)
{
    struct error_sums with = {0}, without = {0};
    for (size_t i = 0; i < r->n; i++)
        if (r->t[i].sums.native.sx > 0 || r->t[i].sums.subnormal) {
            error_add(&with, &r->t[i].sums);
            struct error_sums native = {.n = r->t[i].sums.n, .k = r->t[i].sums.native};
            error_add(&without, &native);
        }
    printf("subnormal codes read as 0: %" PRIu64 " of %" PRIu64 " (%.3f%%); SQNR %.2f dB, without that %.2f dB\n", with.subnormal,
           with.n, with.n ? 100.0 * (double)with.subnormal / (double)with.n : 0, error_sqnr(&with), error_sqnr(&without));
}

/* All that is beyond its limits, a line each where `say`; the sentence is of the first and says how many more there are. */
static int judge(const struct error_report *r, const struct limits *l, bool say, struct err *e)
{
    char why[128], first[128];
    const char *name = NULL;
    size_t n = 0;
    if (r->nonly_a)
        return err_set(e, ERR_NO, "%zu tensor%s of the reference %s missing, the first is '%s'", r->nonly_a,
                       r->nonly_a == 1 ? "" : "s", r->nonly_a == 1 ? "is" : "are", r->only_a[0]);
    for (size_t i = 0; i < r->n; i++) {
        if (limits_keep(l, &r->t[i], why, sizeof why))
            continue;
        if (!n++) {
            name = r->t[i].name;
            memcpy(first, why, sizeof first);
        }
        if (say) {
            printf("%s'", n == 1 ? "\n" : "");
            out_text(stdout, r->t[i].name);
            printf("' %s\n", why);
        }
    }
    if (n > 1)
        return err_set(e, ERR_NO, "tensor '%s' %s (and %zu more)", name, first, n - 1);
    return n ? err_set(e, ERR_NO, "tensor '%s' %s", name, first) : 0;
}

/* A quantized weight is "X.weight" to rules, whatever its codes are called. */
static void note_names(struct rules *r, const struct model *m)
{
    char name[1024];
    for (size_t i = 0; i < m->n && r->n; i++) {
        const char *dot = strrchr(m->t[i].name, '.');
        rules_note(r, m->t[i].name);
        if (dot && (size_t)snprintf(name, sizeof name, "%.*s.weight", (int)(dot - m->t[i].name), m->t[i].name) < sizeof name)
            rules_note(r, name);
    }
}

/* What the user asked for, apart from limits. */
struct choice {
    unsigned how;                    /* ERROR_FLUSH, ERROR_INSPECT */
    uint64_t worst;                  /* rows of the table */
    bool inspect;                    /* asked for by name */
    const char *html, *lang, *manifest;
    char command[2048];
};

/* The command as a shell would take it. */
static void keep_command(struct choice *w, int argc, char **argv)
{
    size_t n = (size_t)snprintf(w->command, sizeof w->command, "octavo");
    for (int i = 0; i < argc && n < sizeof w->command; i++) {
        const char *quote = argv[i][strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%")] || !*argv[i] ? "'" : "";
        n += (size_t)snprintf(w->command + n, sizeof w->command - n, " %s%s%s", quote, argv[i], quote);
    }
}

static int write_html(const char *const *in, const struct error_report *r, const struct error_sums *all, const struct more *m, const struct choice *w,
                      const struct common *c, const char *failed, struct err *e)
{
    const struct error_sums quantized = sums_of(r, true);
    struct html_page p = {.lang = w->lang, .reference = in[0], .model = in[1], .command = w->command, .r = r, .all = all, .quantized = &quantized, .more = m,
                          .failed = failed};
    return html_write(&p, w->html, c->force, c, e);
}

static int compare(const char *const *in, const struct common *c, const struct limits *l, const struct choice *w, struct more *m, struct err *e)
{
    const unsigned how = w->how;
    struct model a, b;
    struct rules rules = {0};
    struct error_report r;
    struct meter meter;
    int (*const open)(struct model *, const char *, struct err *) = c->spool ? model_open_spooled : model_open;
    if (open(&a, in[0], e))
        return -1;
    if (open(&b, in[1], e)) {
        model_close(&a);
        return -1;
    }
    if (names_agree(c->names, &a, &b, e)) {
        model_close(&a);
        model_close(&b);
        return -1;
    }
    meter_start(&meter, "verify", c);
    struct run_options opt = {c->threads, NULL, meter_show, &meter};
    int result = rules_from(&rules, c, ACTION_KEEP, ACTION_DROP, false, e) || error_measure(&r, &a, &b, &rules, how, &opt, e) ? -1 : 0;
    meter_end(&meter);
    if (!result && more_run(m, in[0], in[1], c, e)) {
        error_free(&r);
        result = -1;
    }
    if (!result) {
        const struct error_sums all = sums_of(&r, false);
        if (c->json)
            result = print_json(&r, &all, l, m, e);
        else if (!c->quiet)
            result = print_table(&r, &all, c->verbose > 0, w->worst, e);
        if (w->inspect && !c->json && !c->quiet && !result)
            result = look_print(&r, e);
        if (how & ERROR_FLUSH && !c->json && !c->quiet && !result)
            print_flush(&r);
        if (!c->json && !c->quiet && !result)
            more_print(m, c->verbose > 0);
        struct err no = {0};
        const bool failed = judge(&r, l, !c->json && !c->quiet && !result, &no) || more_judge(m, &no);
        if (!result && w->html)
            result = write_html(in, &r, &all, m, w, c, failed ? no.msg : NULL, e);
        if (!result && failed) {
            *e = no;
            result = -1;
        }
        error_free(&r);
        note_names(&rules, &a);
        note_names(&rules, &b);
        rules_warn(&rules, "verify", c);
    }
    rules_free(&rules);
    model_close(&a);
    model_close(&b);
    return result;
}

int verb_verify(int argc, char **argv, struct err *e)
{
    struct common c;
    struct limits l = {.all = NO_LIMITS};
    const char *limits = NULL;
    const char *const *in = (const char *const *)argv;
    size_t n;
    bool flush = false, bf16 = false;
    struct choice w = {.lang = "en", .worst = 10};
    struct more m = {.min_output = NAN, .max_kl = NAN, .min_top = NAN};
    common_init(&c);
    const struct opt opt[] = {
        {OPT_REAL, 0, "max-rel", "X", "fail above this relative Frobenius error of a tensor", &l.all.max_rel},
        {OPT_REAL, 0, "min-sqnr", "DB", "fail below this signal to quantization noise ratio", &l.all.min_sqnr},
        {OPT_REAL, 0, "max-abs", "X", "fail above this absolute error of an element", &l.all.max_abs},
        {OPT_REAL, 0, "max-mse", "X", "fail above this mean squared error", &l.all.max_mse},
        {OPT_REAL, 0, "min-cosine", "X", "fail below this cosine", &l.all.min_cosine},
        {OPT_REAL, 0, "max-saturated", "N", "fail above this many saturated elements in a tensor", &l.all.max_saturated},
        {OPT_FLAG, 0, "require-exact", NULL, "fail when any value differs", &l.all.exact},
        {OPT_REAL, 0, "max-flushed", "SHARE", "fail above this share of elements that became 0, such as 0.01", &l.all.max_flushed},
        {OPT_STRING, 0, "limits", "FILE", "limits by pattern: lines PATTERN max-rel=X ... exact", &limits},
        {OPT_FLAG, 0, "strict", NULL, "fail below what a scheme should reach", &l.strict},
        {OPT_SIZE, 0, "worst", "N", "rows of the table (default 10)", &w.worst},
        {OPT_FLAG, 0, "flush-subnormals", NULL, "read subnormal FP8 codes of MODEL as 0, as some cores do", &flush},
        {OPT_FLAG, 0, "dequantize-bf16", NULL, "round values of MODEL to BF16, as servers do that dequantize to it", &bf16},
        {OPT_FLAG, 0, "inspect", NULL, "how MODEL was made: scale rules, rounding, and what is wrong with it", &w.inspect},
        {OPT_STRING, 0, "html", "FILE", "a report of all this for people, in one file", &w.html},
        {OPT_STRING, 0, "lang", "LANG", "its language: en (default) or zh", &w.lang},
        {OPT_STRING, 0, "manifest", "FILE", "without a REFERENCE: is MODEL what octavo digest --manifest has written?", &w.manifest},
        {OPT_FLAG, 'f', "force", NULL, "overwrite a report that is there", &c.force},
        OPTS_MORE(&m),
        OPTS_NAMES(&c), OPTS_RULES(&c), OPTS_THREADS(&c), OPTS_TALK(&c), OPTS_VERBOSE(&c), {0}};
    const struct usage u = {"verify", "REFERENCE MODEL", "How far is MODEL from REFERENCE? Any two formats; exit 1 when a limit is broken.",
                            opt, 1, 2};
    keep_command(&w, argc, argv);
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    if (n != (w.manifest ? 1 : 2))
        return err_set(e, ERR_USAGE, w.manifest ? "--manifest FILE takes the place of REFERENCE" : "which models? REFERENCE and MODEL");
    if (w.manifest)
        return manifest_check(w.manifest, in[0], &c, e);
    w.how = (flush ? ERROR_FLUSH : 0) | (bf16 ? ERROR_BF16 : 0) | (w.inspect || w.html ? ERROR_INSPECT : 0);
    if (w.html && !c.force && io_exists(w.html))
        return err_set(e, ERR_USAGE, "%s exists (-f overwrites)", w.html);
    l.calibrated = m.calibration;
    if (l.strict && isnan(m.max_kl) && m.end_to_end)
        m.max_kl = 5e-3;
    r = html_check(w.lang, e) || more_check(&m, in[0], in[1], e) || (limits && limits_file(&l, limits, e)) || compare(in, &c, &l, &w, &m, e) ? -1 : 0;
    limits_free(&l);
    more_free(&m);
    return r;
}

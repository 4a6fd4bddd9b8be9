/* octavo audit: is one model sound, and which rules made it? */
#include "cli/job.h"
#include "cli/verbs.h"

#include "calibrate/audit.h"
#include "formats/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct choice {
    const char *source, *fail_on;
    bool no_twins;
};

static int severity_of(const char *word, enum severity *s, struct err *e)
{
    for (*s = FINDING_NOTE; *s <= FINDING_ERROR; (*s)++)
        if (!strcmp(word, severity_name(*s)))
            return 0;
    return err_set(e, ERR_USAGE, "--fail-on takes error, warning or note, not '%s'", word);
}

static void print_place(const struct finding *f, bool json)
{
    if (!place_is(&f->at))
        return;
    printf(json ? ",\"at\":[" : " [");
    if (f->at.batch || json)
        printf("%" PRIu64 ",", f->at.batch);
    printf("%" PRIu64 ",%" PRIu64 "]", f->at.row, f->at.col);
}

static void print(const struct audit *a, const char *path, const struct common *c)
{
    for (size_t i = 0; i < a->n && !c->json; i++) {
        const struct finding *f = &a->f[i];
        if (f->severity == FINDING_NOTE && c->quiet)
            continue;
        printf("%-7s %-11s ", severity_name(f->severity), f->rule);
        out_text(stdout, f->tensor ? f->tensor : "(model)");
        print_place(f, false);
        printf(": ");
        out_text(stdout, f->says);
        printf("\n");
    }
    for (size_t i = 0; i < a->n && c->json; i++) {
        const struct finding *f = &a->f[i];
        printf("{\"severity\":\"%s\",\"rule\":\"%s\",\"tensor\":", severity_name(f->severity), f->rule);
        if (f->tensor)
            out_json(stdout, f->tensor);
        else
            printf("null");
        print_place(f, true);
        printf(",\"says\":");
        out_json(stdout, f->says);
        printf("}\n");
    }
    if (c->json) {
        printf("{\"verb\":\"audit\",\"model\":");
        out_json(stdout, path);
        if (a->convention)
            printf(",\"convention\":\"%s\"", a->convention);
        printf(",\"tensors\":%zu,\"quantized\":%zu,\"bytes\":%" PRIu64 ",\"errors\":%zu,\"warnings\":%zu,\"notes\":%zu}\n", a->tensors, a->quantized,
               a->bytes, a->count[FINDING_ERROR], a->count[FINDING_WARNING], a->count[FINDING_NOTE]);
    } else {
        char bytes[32];
        printf("%s: %zu tensors, %zu quantized weights%s%s%s, %s: %zu error%s, %zu warning%s, %zu note%s\n", path, a->tensors, a->quantized,
               a->convention ? " (" : "", a->convention ? a->convention : "", a->convention ? ")" : "", out_bytes(a->bytes, bytes), a->count[FINDING_ERROR], a->count[FINDING_ERROR] == 1 ? "" : "s", a->count[FINDING_WARNING],
               a->count[FINDING_WARNING] == 1 ? "" : "s", a->count[FINDING_NOTE], a->count[FINDING_NOTE] == 1 ? "" : "s");
    }
}

static int compare(struct audit *a, const char *source, const char *path, const struct run_options *o, struct err *e)
{
    struct model x, y;
    struct error_report r;
    struct rules rules = {0};
    if (model_open(&x, source, e))
        return -1;
    if (model_open(&y, path, e)) {
        model_close(&x);
        return -1;
    }
    int bad = names_agree(NULL, &x, &y, e) || error_measure(&r, &x, &y, &rules, ERROR_INSPECT, o, e) ? -1 : 0;
    if (!bad) {
        bad = audit_source(a, &r, e);
        error_free(&r);
    }
    rules_free(&rules);
    model_close(&x);
    model_close(&y);
    return bad;
}

/* Read once for itself and once beside its original. */
static int read_twice(const char *path, struct err *e)
{
    struct stat st;
    if (!strcmp(path, "-") || (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return err_set(e, ERR_USAGE, "audit --source reads its model twice: it must be a file or a directory, not a pipe");
    return 0;
}

static int audit(const char *path, const struct choice *w, const struct common *c, enum severity limit, struct err *e)
{
    struct model m;
    struct audit a;
    struct meter meter;
    if ((c->spool ? model_open_spooled : model_open)(&m, path, e))
        return -1;
    meter_start(&meter, "audit", c);
    const struct run_options run = {c->threads, NULL, meter_show, &meter};
    int r = audit_model(&a, &m, &(struct audit_options){run, !w->no_twins}, e);
    if (!r && w->source && compare(&a, w->source, path, &run, e)) {
        audit_free(&a);
        r = -1;
    }
    meter_end(&meter);
    if (!r) {
        audit_sort(&a);
        print(&a, path, c);
        for (size_t i = 0; !r && i < a.n && a.f[i].severity >= limit; i++)
            if (!i)
                r = err_set(e, ERR_NO, "%s: %s%s%s%s", path, a.f[i].tensor ? "tensor '" : "", a.f[i].tensor ? a.f[i].tensor : "", a.f[i].tensor ? "' " : "", a.f[i].says);
        audit_free(&a);
    }
    model_close(&m);
    return r;
}

int verb_audit(int argc, char **argv, struct err *e)
{
    struct common c;
    struct choice w = {.fail_on = "error"};
    enum severity limit;
    size_t n;
    common_init(&c);
    const struct opt opt[] = {
        {OPT_STRING, 0, "source", "ORIGINAL", "compare with it: which rules made the scales and codes, and where they did not", &w.source},
        {OPT_STRING, 0, "fail-on", "SEVERITY", "exit 1 for an error (default), a warning or a note", &w.fail_on},
        {OPT_FLAG, 0, "no-twins", NULL, "do not look for tensors with the same bytes: saves a second pass", &w.no_twins},
        OPTS_THREADS(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"audit", "MODEL", "Is MODEL sound? One finding a line; exit 1 for an error.", opt, 1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    return severity_of(w.fail_on, &limit, e) || (w.source && read_twice(argv[0], e)) ? -1 : audit(argv[0], &w, &c, limit, e);
}

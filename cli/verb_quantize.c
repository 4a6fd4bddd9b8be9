/* octavo quantize: weights to a scheme, in a convention that serving software loads. */
#include "cli/job.h"
#include "cli/verbs.h"
#include "formats/names.h"

#include <stdio.h>
#include <string.h>

struct choice {
    const char *scheme, *rule, *convention, *target, *target_file, *nonfinite, *source, *activations, *activation_scales;
    bool requantize, print_rules;
};

static int list_error(const char *what, const char *given, struct buf *names, struct err *e)
{
    int r = err_set(e, ERR_USAGE, "there is no %s '%s'; there are:%s", what, given, names->s ? names->s : "");
    buf_free(names);
    return r;
}

static int choose_target(const struct choice *w, const char **scheme, struct wanted *want, struct target *target,
                         struct err *e)
{
    if (w->target_file ? target_load(target, w->target_file, e) : target_find(target, w->target, e))
        return -1;
    want->target = target;
    const struct target_form *f = &target->form[0];
    for (size_t i = 0; *scheme && i < target->nforms; i++)
        if (!strcmp(target->form[i].scheme->name, *scheme))
            f = &target->form[i];
    if (*scheme && strcmp(f->scheme->name, *scheme))
        return err_set(e, ERR_USAGE, "%s does not take %s (octavo targets %s lists what it takes)", target->id, *scheme,
                       target->id);
    *scheme = f->scheme->name;
    want->convention = f->convention;
    want->fit = f;
    return 0;
}

static int choose_activation(const struct choice *w, struct wanted *want, struct err *e)
{
    static const struct { const char *name; enum activation a; } words[] = {
        {"dynamic", ACTIVATION_DYNAMIC}, {"static", ACTIVATION_STATIC}, {"none", ACTIVATION_NONE}};
    for (size_t i = 0; w->activations && i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i].name, w->activations)) {
            want->activation = words[i].a;
            want->activation_given = true;
        }
    return want->activation_given || !w->activations ? 0
         : err_set(e, ERR_USAGE, "--activations takes dynamic, static or none, not '%s'", w->activations);
}

static int choose(const struct choice *w, struct wanted *want, struct encoding *to, struct target *target, struct err *e)
{
    struct buf names = {0};
    const char *name = w->scheme;
    if ((w->target || w->target_file) && choose_target(w, &name, want, target, e))
        return -1;
    const struct scheme *s = scheme_find(name ? name : SCHEME_DEFAULT);
    for (size_t i = 0; !s && i < scheme_count; i++)
        if (buf_printf(&names, e, " %s", scheme_table[i].name))
            return -1;
    if (!s)
        return list_error("scheme", name, &names, e);
    if (w->convention && !(want->convention = convention_find(w->convention))) {
        for (size_t i = 0; i < convention_count; i++)
            if (buf_printf(&names, e, " %s", convention_table[i]->name))
                return -1;
        return list_error("convention", w->convention, &names, e);
    }
    if (w->nonfinite && strcmp(w->nonfinite, "error") && strcmp(w->nonfinite, "saturate"))
        return err_set(e, ERR_USAGE, "--nonfinite takes error or saturate, not '%s'", w->nonfinite);
    if (encoding_make(to, s, w->rule, e) || choose_activation(w, want, e))
        return -1;
    to->saturate_nonfinite = w->nonfinite && !strcmp(w->nonfinite, "saturate");
    want->to = to;
    want->requantize = w->requantize;
    return 0;
}

static bool takes(const struct convention *c, const struct wanted *want, const struct scheme *s)
{
    enum activation a;
    return want->activation_given ? c->accepts && c->accepts(s, want->activation) : convention_takes(c, s, &a);
}

/* Has c a place for the scheme of the run and for those of its rules? */
static bool takes_all(const struct convention *c, const struct wanted *want)
{
    bool all = takes(c, want, want->to->scheme);
    for (size_t i = 0; i < want->rules->n; i++)
        all &= !want->rules->r[i].to || takes(c, want, want->rules->r[i].to->scheme);
    return all;
}

/* The convention when none was named: that of the scheme, or the first one that can hold all that rules ask for. */
static int choose_convention(struct wanted *want, struct err *e)
{
    const struct scheme *s = want->to->scheme;
    if (!want->convention) {
        const struct convention *usual = convention_default(s);
        if (usual && takes_all(usual, want))
            want->convention = usual;
        for (size_t i = 0; !want->convention && i < convention_count; i++)
            if (strcmp(convention_table[i]->name, "octavo") && takes_all(convention_table[i], want))
                want->convention = convention_table[i];
        if (!want->convention)
            want->convention = convention_find("octavo");
    }
    if (takes_all(want->convention, want))
        return 0;
    return err_set(e, ERR_USAGE, "the convention %s has no place for %s%s%s", want->convention->name, s->name,
                   want->activation_given ? " with such activations" : "",
                   want->rules->n ? ", or for what a rule asks" : "");
}

static int print_rules(const struct rules *r, const struct encoding *to, struct err *e)
{
    struct buf text = {0};
    int bad = rules_print(r, &text, e);
    if (!bad)
        bad = rules_print_defaults(to, &text, e);
    if (!bad)
        fputs(text.s, stdout);
    buf_free(&text);
    return bad;
}

/* A second model that this run reads from. */
static int open_other(const char *path, struct model *m, const char *option, const char *names, struct err *e)
{
    if (!path)
        return 0;
    struct grouping g;
    if (model_open(m, path, e) || names_parse(names, &m->names, e))
        return -1;
    if (m->names != NAMES_SOURCE && grouping_named(m, false, &g, e))
        return -1;
    return m->random ? 0 : err_set(e, ERR_USAGE, "%s %s: a pipe or compressed file cannot be read at any offset", option, path);
}

int verb_quantize(int argc, char **argv, struct err *e)
{
    struct common c;
    struct choice w = {0};
    const char *const *in = (const char *const *)argv;
    size_t n;
    common_init(&c);
    const struct opt opt[] = {
        OPTS_OUTPUT(&c),
        {OPT_STRING, 's', "scheme", "SCHEME", "what weights become (" SCHEME_DEFAULT "); octavo-schemes(7) lists them", &w.scheme},
        {OPT_STRING, 't', "target", "CHIP", "scheme and convention that this chip wants; octavo targets lists them", &w.target},
        {OPT_STRING, 0, "target-file", "FILE", "the same from a target description of your own", &w.target_file},
        {OPT_STRING, 0, "convention", "NAME", "names and config files; octavo-schemes(7) lists them", &w.convention},
        {OPT_STRING, 0, "scale-rule", "RULE", "how a scale follows from amax; octavo-schemes(7) lists them", &w.rule},
        {OPT_STRING, 0, "nonfinite", "WHAT", "NaN or Inf in a weight: error (default) or saturate", &w.nonfinite},
        {OPT_STRING, 0, "source", "MODEL", "weights before they were quantized, for those that would be rounded twice", &w.source},
        {OPT_FLAG, 0, "allow-requantize", NULL, "round quantized weights a second time where no exact way exists", &w.requantize},
        {OPT_STRING, 0, "activations", "WHAT", "what config files say of activations: dynamic, static or none", &w.activations},
        {OPT_STRING, 0, "activation-scales", "FILE", "a safetensors file with the X.input_scale of static activations", &w.activation_scales},
        {OPT_FLAG, 0, "print-rules", NULL, "print the rules of this run, as --rules reads them, and stop", &w.print_rules},
        OPTS_EXACT(&c), OPTS_GGUF(&c), OPTS_NAMES(&c), OPTS_SHARDS(&c), OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"quantize", "MODEL", "Weights to a scheme, in a convention that serving software loads.", opt,
                            0, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct encoding to = {0};
    struct target target = {0};
    struct model better = {0}, scales = {0};
    struct job j = {.verb = "quantize", .input = n ? in[0] : NULL, .c = &c, .want = {.plain = DT_COUNT, .dry_run = c.dry_run}};
    if (w.print_rules) {
        r = choose(&w, &j.want, &to, &target, e)
         || rules_from(&j.rules, &c, ACTION_QUANTIZE, ACTION_KEEP, true, e) || print_rules(&j.rules, &to, e) ? -1 : 0;
    } else if (!n) {
        r = err_set(e, ERR_USAGE, "which model?");
    } else {
        r = choose(&w, &j.want, &to, &target, e) || open_other(w.source, &better, "--source", c.names, e)
         || open_other(w.activation_scales, &scales, "--activation-scales", NULL, e) || job_open(&j, e) ? -1 : 0;
        j.want.better = w.source ? &better : NULL;
        j.want.activations = w.activation_scales ? &scales : NULL;
        r = r || choose_convention(&j.want, e) || job_run(&j, e) ? -1 : 0;
    }
    job_close(&j);
    model_close(&better);
    model_close(&scales);
    target_free(&target);
    return r;
}

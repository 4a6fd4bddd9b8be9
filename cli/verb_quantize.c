/* octavo quantize: weights to a scheme, in a convention that serving software loads. */
#include "cli/caches.h"
#include "cli/job.h"
#include "cli/verbs.h"
#include "formats/names.h"

#include "quantizers/presets.h"

#include <stdio.h>
#include <string.h>

struct choice {
    const char *scheme, *rule, *convention, *target, *target_file, *nonfinite, *source, *activations, *activation_scales,
        *preset, *form, *calibration;
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
    const struct target_form *f = NULL;
    const enum activation a = w->activations && !strcmp(w->activations, "static") ? ACTIVATION_STATIC : ACTIVATION_DYNAMIC;
    want->target = target;
    for (size_t i = 0; !f && i < target->nforms; i++) {
        const struct target_form *x = &target->form[i];
        const bool named = !w->form || !strcmp(w->form, x->name);
        const bool right = !*scheme || !strcmp(x->scheme ? x->scheme->name : x->plain == DT_F16 ? "f16" : "bf16", *scheme);
        /* Fixed scales are taken when they are given. */
        const bool able = w->form || (x->activation == ACTIVATION_STATIC) == (a == ACTIVATION_STATIC || w->activation_scales);
        if (named && right && (able || target->nforms == 1))
            f = x;
    }
    if (!f && w->form)
        return err_set(e, ERR_USAGE, "%s has no form '%s'%s%s (octavo targets %s lists them)", target->id, w->form,
                       *scheme ? " of " : "", *scheme ? *scheme : "", target->id);
    if (!f)
        return err_set(e, ERR_USAGE, "%s does not take %s%s (octavo targets %s lists what it takes)", target->id,
                       *scheme ? *scheme : "that", w->activation_scales ? " with fixed activation scales" : "", target->id);
    if (f->activation == ACTIVATION_STATIC && !w->activation_scales)
        return err_set(e, ERR_USAGE, "form '%s' of %s fixes the scales of activations, which calibration finds: "
                       "--activation-scales FILE gives them", f->name, target->id);
    if (f->activation_given) {
        want->activation = f->activation;
        want->activation_given = true;
    }
    want->fit = f;
    want->convention = f->convention;
    if (!f->scheme) {
        want->plain = f->plain;
        return 0;
    }
    *scheme = f->scheme->name;
    want->gguf = want->convention == convention_find("gguf");
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

/* Options that a file of rules may hold, since they decide what the output is: all but those that lines say better. */
struct setting { const char *name; const char **value; bool *flag; };
enum { SETTINGS = 10 };

static void settings_of(struct choice *w, struct setting s[SETTINGS])
{
    const struct setting all[SETTINGS] = {
        {"preset", &w->preset, NULL}, {"target", &w->target, NULL}, {"target-file", &w->target_file, NULL},
        {"form", &w->form, NULL},
        {"convention", &w->convention, NULL}, {"nonfinite", &w->nonfinite, NULL}, {"source", &w->source, NULL},
        {"activations", &w->activations, NULL}, {"activation-scales", &w->activation_scales, NULL},
        {"allow-requantize", NULL, &w->requantize}};
    memcpy(s, all, sizeof all);
}

/* The command line is before the file. */
static int take_options(struct choice *w, const struct rules *r, bool chip, struct err *e)
{
    struct setting s[SETTINGS];
    settings_of(w, s);
    const char *const by_chip = "target target-file form convention"; /* a chip on the command line stands for all of them */
    const char *const given[] = {w->preset, w->target, w->target_file, w->form, w->convention, w->nonfinite, w->source,
                                 w->activations, w->activation_scales, NULL};
    for (size_t i = 0; i < r->noptions; i++) {
        const struct rule_option *x = &r->option[i];
        size_t k = 0;
        while (k < SETTINGS && strcmp(s[k].name, x->name))
            k++;
        if (k == SETTINGS)
            return err_set(e, ERR_USAGE, "%s: a file of rules has no place for --%s", x->origin, x->name);
        if (s[k].flag ? x->value != NULL : x->value == NULL)
            return err_set(e, ERR_USAGE, s[k].flag ? "%s: --%s takes no value" : "%s: --%s needs a value", x->origin, x->name);
        if (s[k].flag)
            *s[k].flag = true;
        else if (!given[k] && !(chip && strstr(by_chip, x->name)))
            *s[k].value = x->value;
    }
    return 0;
}

/* "* ?= SCHEME RULE" in a file says what --scheme and --scale-rule would, which are before it, and so is the form of a
 * chip that the command line names. */
static void take_scheme(struct choice *w, struct rules *r, bool chip)
{
    struct encoding to;
    if (!rules_take_run(r, &to) || w->scheme || chip)
        return;
    w->scheme = to.scheme->name;
    if (!w->rule && *encoding_word(&to))
        w->rule = encoding_word(&to);
}

static int choose(const struct choice *w, struct wanted *want, struct rules *rules, struct encoding *to,
                  struct target *target, struct err *e)
{
    struct buf names = {0};
    const char *name = w->scheme ? w->scheme : want->gguf && !w->target && !w->target_file ? "q8_0" : NULL;
    if ((w->target || w->target_file) && choose_target(w, &name, want, target, e))
        return -1;
    if (want->plain != DT_COUNT)
        return 0;
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
    if (w->preset && !preset_find(w->preset)) {
        for (size_t i = 0; i < preset_count; i++)
            if (buf_printf(&names, e, " %s", preset_table[i].name))
                return -1;
        return list_error("preset", w->preset, &names, e);
    }
    if (w->form && !w->target && !w->target_file)
        return err_set(e, ERR_USAGE, "--form %s: of which chip? --target CHIP", w->form);
    if (w->nonfinite && strcmp(w->nonfinite, "error") && strcmp(w->nonfinite, "saturate"))
        return err_set(e, ERR_USAGE, "--nonfinite takes error or saturate, not '%s'", w->nonfinite);
    if (encoding_make(to, s, w->rule, e) || choose_activation(w, want, e))
        return -1;
    to->saturate_nonfinite = w->nonfinite && !strcmp(w->nonfinite, "saturate");
    for (size_t i = 0; i < rules->n; i++)
        if (rules->r[i].to)
            rules->r[i].to->saturate_nonfinite = to->saturate_nonfinite;
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
    const struct convention *gguf = convention_find("gguf");
    if (want->gguf && !want->convention)
        want->convention = gguf;
    if (want->gguf != (want->convention == gguf))
        return err_set(e, ERR_USAGE, want->gguf ? "the convention %s is not for GGUF as output" :
                       "the convention %s is for GGUF as output: -o FILE.gguf or --container gguf", want->convention->name);
    if (!want->convention) {
        const struct convention *usual = convention_default(s);
        if (usual && takes_all(usual, want))
            want->convention = usual;
        for (size_t i = 0; !want->convention && i < convention_count; i++)
            if (strcmp(convention_table[i]->name, "octavo") && convention_table[i] != gguf && takes_all(convention_table[i], want))
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

/* The preset of the run, and what it leaves. */
static int add_defaults(const struct choice *w, struct job *j, struct err *e)
{
    const struct preset *p = w->preset ? preset_find(w->preset) : preset_of(j->src.config);
    if (preset_add(&j->rules, p, e) || preset_add_target(&j->rules, j->want.target, j->want.fit, j->want.to && j->want.to->saturate_nonfinite, e))
        return -1;
    return rules_add_default(&j->rules, "*", ACTION_QUANTIZE, "default", "all other matrices of linear layers (X.weight, "
                             "stacks of experts)", e);
}

/* All that decides the output, as a file that --rules reads. */
static int print_rules(const struct job *j, struct choice *w, struct err *e)
{
    struct setting s[SETTINGS];
    struct buf text = {0};
    const struct preset *p = w->preset ? preset_find(w->preset) : preset_of(j->src.config);
    if (j->want.plain != DT_COUNT)
        return err_set(e, ERR_USAGE, "form '%s' of %s quantizes nothing, so there are no rules to print", j->want.fit->name,
                       j->want.target->id);
    w->convention = j->want.convention->name;
    w->preset = "none"; /* its lines are here */
    settings_of(w, s);
    int bad = buf_printf(&text, e, "# octavo quantize --rules FILE\n# preset %s: %s%s%s\n", p->name, p->title,
                         *p->source ? ", after " : "", p->source);
    for (size_t i = 0; !bad && i < SETTINGS; i++)
        if (s[i].flag ? *s[i].flag : *s[i].value != NULL)
            bad = buf_printf(&text, e, "--%s%s%s\n", s[i].name, s[i].flag ? "" : " ", s[i].flag ? "" : *s[i].value);
    if (!bad)
        bad = rules_print(&j->rules, j->want.to, &text, e);
    if (!bad)
        fputs(text.s, stdout);
    buf_free(&text);
    return bad;
}

/* A second model that this run reads from. */
static int open_other(const char *path, struct model *m, const char *option, enum name_style names, struct err *e)
{
    if (!path)
        return 0;
    struct grouping g;
    if (model_open(m, path, e))
        return -1;
    m->names = names;
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
        {OPT_STRING, 0, "form", "NAME", "one of several forms of a target (default: the first)", &w.form},
        {OPT_STRING, 0, "convention", "NAME", "names and config files; octavo-schemes(7) lists them", &w.convention},
        {OPT_STRING, 0, "scale-rule", "RULE", "how a scale follows from amax; octavo-schemes(7) lists them", &w.rule},
        {OPT_STRING, 0, "nonfinite", "WHAT", "NaN or Inf in a weight: error (default) or saturate", &w.nonfinite},
        {OPT_STRING, 0, "source", "MODEL", "weights before they were quantized, for those that would be rounded twice", &w.source},
        {OPT_FLAG, 0, "allow-requantize", NULL, "round quantized weights a second time where no exact way exists", &w.requantize},
        {OPT_STRING, 0, "activations", "WHAT", "what config files say of activations: dynamic, static or none", &w.activations},
        {OPT_STRING, 0, "activation-scales", "FILE", "a safetensors file with the X.input_scale of static activations", &w.activation_scales},
        {OPT_STRING, 0, "calibration", "FILE", "statistics of inputs (octavo calibrate), for codes that suit them", &w.calibration},
        {OPT_STRING, 0, "preset", "NAME", "what a family keeps unquantized (default: by model_type); '?' lists them", &w.preset},
        {OPT_FLAG, 0, "print-rules", NULL, "print all that decides the output, as --rules reads it, and stop", &w.print_rules},
        OPTS_EXACT(&c), OPTS_GGUF(&c), OPTS_NAMES(&c), OPTS_SHARDS(&c), OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"quantize", "MODEL", "Weights to a scheme, in a convention that serving software loads.", opt,
                            0, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct encoding to = {0};
    struct target target = {0};
    struct model better = {0}, scales = {0};
    struct stats stats = {0};
    struct calibrated calibrated = {0};
    struct rounder rounder;
    struct job j = {.verb = "quantize", .input = n ? in[0] : NULL, .c = &c, .want = {.plain = DT_COUNT, .dry_run = c.dry_run}};
    const bool chip = w.target || w.target_file;
    j.want.rules = &j.rules;
    r = rules_from(&j.rules, &c, ACTION_QUANTIZE, ACTION_KEEP, true, e) || take_options(&w, &j.rules, chip, e) ? -1 : 0;
    if (!r) {
        take_scheme(&w, &j.rules, chip);
        r = gguf_choose(&j, e) || choose(&w, &j.want, &j.rules, &to, &target, e) ? -1 : 0;
    }
    if (!r && !n && !w.print_rules)
        r = err_set(e, ERR_USAGE, "which model?");
    if (!r && n && !(w.print_rules && !strcmp(in[0], "-")))
        r = (w.print_rules ? model_open(&j.src, in[0], e) : job_open(&j, e)) || names_choose(&j, e)
         || open_other(w.source, &better, "--source", j.src.names, e)
         || open_other(w.activation_scales, &scales, "--activation-scales", NAMES_SOURCE, e) ? -1 : 0;
    if (!r && w.calibration && !(r = stats_open(&stats, w.calibration, e))) {
        calibrated_init(&calibrated, &stats, c.threads, 2);
        rounder = calibrated_rounder(&calibrated);
        j.want.rounder = &rounder;
        j.calibrated = &calibrated;
    }
    j.want.better = w.source ? &better : NULL;
    j.want.activations = w.activation_scales ? &scales : NULL;
    if (j.want.plain == DT_COUNT)
        r = r || add_defaults(&w, &j, e) || choose_convention(&j.want, e) ? -1 : 0;
    size_t caches = 0;
    if (!r && w.activation_scales && !w.print_rules)
        r = caches_add(&j.src, &scales, j.want.convention, &caches, e);
    if (!r)
        r = w.print_rules ? print_rules(&j, &w, e) : job_run(&j, e);
    job_close(&j);
    model_close(&better);
    model_close(&scales);
    calibrated_free(&calibrated);
    stats_close(&stats);
    target_free(&target);
    return r;
}

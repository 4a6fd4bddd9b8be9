/* octavo quantize: weights to a scheme, in a convention that serving software loads. */
#include "cli/job.h"
#include "cli/verbs.h"

#include <string.h>

struct choice {
    const char *scheme, *rule, *convention, *target, *target_file, *nonfinite;
};

static int list_error(const char *what, const char *given, struct buf *names, struct err *e)
{
    int r = err_set(e, ERR_USAGE, "there is no %s '%s'; there are:%s", what, given, names->s ? names->s : "");
    buf_free(names);
    return r;
}

static int choose_rule(const struct choice *w, struct encoding *to, struct err *e)
{
    struct buf names = {0};
    const struct scheme *s = to->scheme;
    if (s->scale == DT_F32) {
        to->rule_f32 = scale_rule_f32_find(w->rule, s->elem);
        for (size_t i = 0; !to->rule_f32 && i < scale_rule_f32_count; i++)
            if (scale_rules_f32[i].elem == s->elem && buf_printf(&names, e, " %s", scale_rules_f32[i].name))
                return -1;
        return to->rule_f32 ? 0 : list_error("FP32 scale rule", w->rule, &names, e);
    }
    to->rule = scale_rule_find(w->rule ? w->rule : "smallest");
    for (size_t i = 0; !to->rule && i < scale_rule_count; i++)
        if (buf_printf(&names, e, " %s", scale_rules[i].name))
            return -1;
    if (!to->rule)
        return list_error("UE8M0 scale rule", w->rule, &names, e);
    if (to->rule->elem != DT_COUNT && to->rule->elem != s->elem)
        return err_set(e, ERR_USAGE, "rule '%s' is for %s elements; %s has %s", to->rule->name,
                       dtype_name(to->rule->elem), s->name, dtype_name(s->elem));
    return 0;
}

static int choose(const struct choice *w, struct wanted *want, struct encoding *to, struct target *target, struct err *e)
{
    struct buf names = {0};
    const char *scheme = w->scheme;
    if (w->target || w->target_file) {
        if (w->target_file ? target_load(target, w->target_file, e) : target_find(target, w->target, e))
            return -1;
        want->target = target;
        const struct target_form *f = &target->form[0];
        for (size_t i = 0; scheme && i < target->nforms; i++)
            if (!strcmp(target->form[i].scheme->name, scheme))
                f = &target->form[i];
        if (scheme && strcmp(f->scheme->name, scheme))
            return err_set(e, ERR_USAGE, "%s does not take %s (octavo targets %s lists what it takes)", target->id,
                           scheme, target->id);
        scheme = f->scheme->name;
        want->convention = f->convention;
        want->fit = f;
    }
    to->scheme = scheme_find(scheme ? scheme : SCHEME_DEFAULT);
    for (size_t i = 0; !to->scheme && i < scheme_count; i++)
        if (buf_printf(&names, e, " %s", scheme_table[i].name))
            return -1;
    if (!to->scheme)
        return list_error("scheme", scheme, &names, e);
    if (w->convention && !(want->convention = convention_find(w->convention))) {
        for (size_t i = 0; i < convention_count; i++)
            if (buf_printf(&names, e, " %s", convention_table[i]->name))
                return -1;
        return list_error("convention", w->convention, &names, e);
    }
    if (!want->convention)
        want->convention = convention_default(to->scheme);
    if (!want->convention->accepts(to->scheme))
        return err_set(e, ERR_USAGE, "the convention %s has no place for %s", want->convention->name, to->scheme->name);
    if (w->nonfinite && strcmp(w->nonfinite, "error") && strcmp(w->nonfinite, "saturate"))
        return err_set(e, ERR_USAGE, "--nonfinite takes error or saturate, not '%s'", w->nonfinite);
    to->saturate_nonfinite = w->nonfinite && !strcmp(w->nonfinite, "saturate");
    want->to = to;
    return choose_rule(w, to, e);
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
        {OPT_STRING, 0, "convention", "NAME", "names and config: deepseek, deepseek-v4, compressed-tensors, ascend-v1", &w.convention},
        {OPT_STRING, 0, "scale-rule", "RULE", "how a scale follows from amax; octavo-schemes(7) lists them", &w.rule},
        {OPT_STRING, 0, "nonfinite", "WHAT", "NaN or Inf in a weight: error (default) or saturate", &w.nonfinite},
        OPTS_EXACT(&c), OPTS_SHARDS(&c), OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"quantize", "MODEL", "Weights to a scheme, in a convention that serving software loads.", opt,
                            1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct encoding to = {0};
    struct target target = {0};
    struct job j = {.verb = "quantize", .input = in[0], .c = &c, .want = {.plain = DT_COUNT}};
    r = choose(&w, &j.want, &to, &target, e) || job_open(&j, e) || job_run(&j, e) ? -1 : 0;
    job_close(&j);
    target_free(&target);
    return r;
}

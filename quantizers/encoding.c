#include "quantizers/encoding.h"

#include "formats/mem.h"

#include <string.h>

static bool has_values(const struct scheme *s)
{
    return s->scale == DT_F32 || s->scale == DT_BF16 || s->scale == DT_F16;
}

struct encoding encoding_of(const struct scheme *s)
{
    struct encoding to = {.scheme = s, .usual = true};
    if (s->scale == DT_F8_E8M0)
        to.rule = scale_rule_find("smallest");
    else if (has_values(s))
        to.rule_f32 = scale_rule_f32_find(NULL, s->elem);
    return to;
}

const char *encoding_rule(const struct encoding *to)
{
    return to->rule ? to->rule->name : to->rule_f32 ? to->rule_f32->name : to->scheme->two_level ? "nvfp4" : "";
}

const struct num *encoding_num(const struct encoding *to)
{
    const char *named = to->rule ? to->rule->num : to->rule_f32 ? to->rule_f32->num : NULL;
    return named ? num_named(named) : num_find(to->scheme->elem);
}

static int no_rule(const struct scheme *s, const char *rule, struct err *e)
{
    struct buf names = {0};
    int bad = 0;
    for (size_t i = 0; !bad && s->scale == DT_F8_E8M0 && i < scale_rule_count; i++)
        bad = buf_printf(&names, e, " %s", scale_rules[i].name);
    for (size_t i = 0; !bad && has_values(s) && i < scale_rule_f32_count; i++)
        if (scale_rules_f32[i].elem == s->elem)
            bad = buf_printf(&names, e, " %s", scale_rules_f32[i].name);
    if (!bad)
        bad = err_set(e, ERR_USAGE, "there is no %s scale rule '%s' for %s; there are:%s",
                      s->scale == DT_F8_E8M0 ? "UE8M0" : "FP32", rule, s->name, names.s ? names.s : " none");
    buf_free(&names);
    return bad;
}

int encoding_make(struct encoding *to, const struct scheme *s, const char *rule, struct err *e)
{
    *to = encoding_of(s);
    to->copies = s->zero_point || (scheme_int(s) && s->bits != 4 && s->bits != 8);
    if (!encoding_num(to) || (has_values(s) && !to->rule_f32) || (to->copies && rule))
        return err_set(e, ERR_USAGE, "%s is read, but this version does not encode to it", s->name);
    if (!rule)
        return 0;
    to->usual = false;
    to->rule = s->scale == DT_F8_E8M0 ? scale_rule_find(rule) : NULL;
    to->rule_f32 = has_values(s) ? scale_rule_f32_find(rule, s->elem) : NULL;
    if (to->rule && to->rule->elem != DT_COUNT && to->rule->elem != s->elem)
        return err_set(e, ERR_USAGE, "rule '%s' is for %s elements; %s has %s", to->rule->name,
                       dtype_name(to->rule->elem), s->name, dtype_name(s->elem));
    return to->rule || to->rule_f32 ? 0 : no_rule(s, rule, e);
}

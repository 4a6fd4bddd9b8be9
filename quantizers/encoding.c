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
    else if (s->two_level)
        to.rule_e4m3 = scale_rule_e4m3_find(NULL);
    return to;
}

const char *encoding_rule(const struct encoding *to)
{
    return to->rule ? to->rule->name : to->rule_f32 ? to->rule_f32->name : to->rule_e4m3 ? to->rule_e4m3->name : "";
}

const char *encoding_word(const struct encoding *to)
{
    return to->copies || !(to->rule || to->rule_f32) ? "" : encoding_rule(to);
}

const struct num *encoding_num(const struct encoding *to)
{
    const char *named = to->rule ? to->rule->num : to->rule_f32 ? to->rule_f32->num
                        : to->rule_e4m3 ? to->rule_e4m3->num : NULL;
    return named ? num_named(named) : num_find(to->scheme->elem);
}

/* Is there no such rule, or has this scheme no use for it? Names the rules that it has. */
static int no_rule(const struct scheme *s, const char *rule, struct err *e)
{
    const bool pow2 = s->scale == DT_F8_E8M0, values = has_values(s);
    struct buf names = {0};
    int bad = 0;
    for (size_t i = 0; !bad && pow2 && i < scale_rule_count; i++)
        if (scale_rule_for(scale_rules[i].name, s->elem) == &scale_rules[i])
            bad = buf_printf(&names, e, " %s", scale_rules[i].name);
    for (size_t i = 0; !bad && values && i < scale_rule_f32_count; i++)
        if (scale_rules_f32[i].elem == s->elem)
            bad = buf_printf(&names, e, " %s", scale_rules_f32[i].name);
    for (size_t i = 0; !bad && s->two_level && i < scale_rule_e4m3_count; i++)
        bad = buf_printf(&names, e, " %s", scale_rules_e4m3[i].name);
    if (!bad)
        bad = err_set(e, ERR_USAGE, "there is no %s scale rule '%s' for %s, which has %s elements; there are:%s",
                      pow2 ? "UE8M0" : s->two_level ? "E4M3" : "FP32", rule, s->name, dtype_name(s->elem),
                      names.s ? names.s : " none");
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
    to->rule = s->scale == DT_F8_E8M0 ? scale_rule_for(rule, s->elem) : NULL;
    to->rule_f32 = has_values(s) ? scale_rule_f32_find(rule, s->elem) : NULL;
    to->rule_e4m3 = s->two_level ? scale_rule_e4m3_find(rule) : NULL;
    return to->rule || to->rule_f32 || to->rule_e4m3 ? 0 : no_rule(s, rule, e);
}

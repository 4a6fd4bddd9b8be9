#include "quantizers/rules.h"

#include "formats/io.h"

#include <ctype.h>
#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int rules_add(struct rules *r, const char *pattern, enum action a, const char *origin, struct err *e)
{
    struct rule x = {.action = a};
    x.pattern = arena_strdup(&r->mem, pattern, e);
    x.origin = arena_strdup(&r->mem, origin, e);
    if (!x.pattern || !x.origin || mem_grow((void **)&r->r, &r->cap, r->n + 1, sizeof x, e))
        return -1;
    if (!strncmp(pattern, "re:", 3)) {
        regex_t *re = arena_alloc(&r->mem, sizeof *re, e);
        if (!re)
            return -1;
        int bad = regcomp(re, pattern + 3, REG_EXTENDED | REG_NOSUB);
        if (bad) {
            char why[128];
            regerror(bad, re, why, sizeof why);
            return err_set(e, ERR_USAGE, "%s: '%s' is no regular expression: %s", origin, pattern, why);
        }
        x.regex = re;
    }
    r->r[r->n++] = x;
    return 0;
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    for (char *end = s + strlen(s); end > s && isspace((unsigned char)end[-1]);)
        *--end = 0;
    return s;
}

static const struct { const char *word; enum action action; enum dtype dtype; } words[] = {
    {"quantize", ACTION_QUANTIZE, DT_COUNT}, {"keep", ACTION_KEEP, DT_COUNT}, {"drop", ACTION_DROP, DT_COUNT},
    {"bf16", ACTION_DECODE, DT_BF16},        {"f16", ACTION_DECODE, DT_F16},  {"f32", ACTION_DECODE, DT_F32},
};
enum { WORDS = sizeof words / sizeof *words };

/* "mxfp8 floor": a scheme and perhaps a rule. */
static const struct encoding *read_encoding(struct rules *r, const char *origin, char *what, struct err *e)
{
    char *rule = what + strcspn(what, " \t");
    if (*rule)
        *rule++ = 0;
    rule = trim(rule);
    const struct scheme *s = scheme_find(what);
    if (!s) {
        (void)err_set(e, ERR_USAGE, "%s: '%s' is neither quantize, keep, drop, bf16, f16, f32 nor a scheme", origin, what);
        return NULL;
    }
    struct encoding *to = arena_alloc(&r->mem, sizeof *to, e);
    if (to && !encoding_make(to, s, *rule ? rule : NULL, e))
        return to;
    if (to)
        err_prefix(e, "%s", origin);
    return NULL;
}

static int read_rule(struct rules *r, const char *origin, char *line, bool schemes, struct err *e)
{
    char *eq = strrchr(line, '=');
    if (!eq)
        return err_set(e, ERR_USAGE, "%s: '%s' is no rule (PATTERN = quantize|keep|drop%s)", origin, line,
                       schemes ? "|SCHEME" : "");
    *eq = 0;
    const char *pattern = trim(line);
    char *what = trim(eq + 1);
    if (!*pattern)
        return err_set(e, ERR_USAGE, "%s: a rule without a pattern", origin);
    for (size_t i = 0; i < WORDS; i++)
        if (!strcmp(what, words[i].word) && (schemes || words[i].action != ACTION_DECODE)) {
            if (rules_add(r, pattern, words[i].action, origin, e))
                return -1;
            r->r[r->n - 1].dtype = words[i].dtype;
            return 0;
        }
    if (!schemes)
        return err_set(e, ERR_USAGE, "%s: '%s' is neither quantize, keep nor drop", origin, what);
    const struct encoding *to = read_encoding(r, origin, what, e);
    if (!to || rules_add(r, pattern, ACTION_QUANTIZE, origin, e))
        return -1;
    r->r[r->n - 1].to = to;
    return 0;
}

int rules_file(struct rules *r, const char *path, bool schemes, struct err *e)
{
    size_t n;
    char *text = io_read_file(path, 1 << 24, &n, e);
    if (!text)
        return -1;
    int result = 0, number = 0;
    for (char *line = text, *next; !result && line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        number++;
        char *hash = strchr(line, '#');
        if (hash)
            *hash = 0;
        line = trim(line);
        char origin[512];
        snprintf(origin, sizeof origin, "%s:%d", path, number);
        if (*line)
            result = read_rule(r, origin, line, schemes, e);
    }
    free(text);
    return result;
}

const struct rule *rules_find(const struct rules *r, const char *name)
{
    for (size_t i = 0; r && i < r->n; i++) {
        const struct rule *x = &r->r[i];
        if (x->regex ? !regexec(x->regex, name, 0, NULL, 0) : !fnmatch(x->pattern, name, 0))
            return x;
    }
    return NULL;
}

enum action rules_match(const struct rules *r, const char *name)
{
    const struct rule *x = rules_find(r, name);
    return x ? x->action : ACTION_DEFAULT;
}

int rules_print(const struct rules *r, struct buf *text, struct err *e)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct rule *x = &r->r[i];
        const char *what = x->to ? x->to->scheme->name : "", *rule = x->to ? encoding_rule(x->to) : "";
        for (size_t k = 0; !x->to && k < WORDS; k++)
            if (words[k].action == x->action && (x->action != ACTION_DECODE || words[k].dtype == x->dtype))
                what = words[k].word;
        if (buf_printf(text, e, "%s = %s%s%s\n", x->pattern, what, *rule ? " " : "", rule))
            return -1;
    }
    return 0;
}

/* Names of the field for what every published FP8 checkpoint leaves alone
 * (DeepSeek-V3, Qwen3 and Llama on Hugging Face; llama.cpp's tensor names). */
static const struct { const char *pattern, *why; } kept[] = {
    {"*norm*", "a norm"},
    {"*embed*", "an embedding"},
    {"*token_types*", "an embedding"},
    {"token_embd*", "an embedding"},
    {"embed.weight", "an embedding"},
    {"*wte.weight", "an embedding"},
    {"*wpe.weight", "an embedding"},
    {"*lm_head*", "the output head"},
    {"*shared_head*", "the output head"},
    {"head.weight", "the output head"},
    {"*predictions.decoder*", "the output head"},
    {"output.weight", "the output head"},
    {"*.mlp.gate.weight", "a router"},
    {"*.ffn.gate.weight", "a router"},
    {"*block_sparse_moe.gate.weight", "a router"},
    {"*shared_expert_gate*", "a router"},
    {"*router*", "a router"},
    {"*ffn_gate_inp*", "a router"},
    {"*.indexer.weights_proj*", "an indexer's weighting"},
    {"*eh_proj*", "a multi-token-prediction projection"},
    {"*conv1d*", "a convolution"},
    {"*rotary*", "rotary frequencies"},
    {"*rope_freqs*", "rotary frequencies"},
};

bool rules_default(const struct tensor *t, const char **why)
{
    size_t n = strlen(t->name);
    bool weight = n > 7 && !strcmp(t->name + n - 7, ".weight");
    bool experts = strstr(t->name, "experts") || strstr(t->name, "_exps");
    *why = NULL;
    if (!dtype_table[t->dtype].is_float || t->dtype == DT_F64)
        *why = "of a type that is not quantized";
    else if (t->rank < 2)
        *why = "a vector";
    else if (t->rank > 2 && !experts)
        *why = "no matrix of a linear layer";
    else if (!weight && (!experts || t->rank < 3))
        *why = "no weight of a linear layer";
    for (size_t i = 0; !*why && i < sizeof kept / sizeof *kept; i++)
        if (!fnmatch(kept[i].pattern, t->name, 0))
            *why = kept[i].why;
    return !*why;
}

int rules_print_defaults(const struct encoding *to, struct buf *text, struct err *e)
{
    if (buf_printf(text, e, "# by default matrices of linear layers (X.weight, stacks of experts) are quantized, but not:\n"))
        return -1;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (buf_printf(text, e, "%s = keep  # %s\n", kept[i].pattern, kept[i].why))
            return -1;
    const char *rule = encoding_rule(to);
    return buf_printf(text, e, "*.weight = %s%s%s\n", to->scheme->name, *rule ? " " : "", rule);
}

void rules_free(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->r[i].regex)
            regfree(r->r[i].regex);
    free(r->r);
    arena_free(&r->mem);
    *r = (struct rules){0};
}

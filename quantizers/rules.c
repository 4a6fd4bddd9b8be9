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

int rules_file(struct rules *r, const char *path, const char *scheme, struct err *e)
{
    static const struct { const char *word; enum action action; } words[] = {
        {"quantize", ACTION_QUANTIZE}, {"keep", ACTION_KEEP}, {"drop", ACTION_DROP}};
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
        if (!*line)
            continue;
        char origin[512];
        snprintf(origin, sizeof origin, "%s:%d", path, number);
        char *eq = strrchr(line, '=');
        if (!eq) {
            result = err_set(e, ERR_USAGE, "%s: '%s' is no rule (PATTERN = quantize|keep|drop)", origin, line);
            break;
        }
        *eq = 0;
        const char *pattern = trim(line), *word = trim(eq + 1);
        enum action a = scheme && !strcmp(word, scheme) ? ACTION_QUANTIZE : ACTION_DEFAULT;
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (!strcmp(word, words[i].word))
                a = words[i].action;
        if (!*pattern)
            result = err_set(e, ERR_USAGE, "%s: a rule without a pattern", origin);
        else if (a == ACTION_DEFAULT)
            result = err_set(e, ERR_USAGE, "%s: '%s' is neither quantize, keep, drop nor the scheme of this run"
                             " (%s)", origin, word, scheme ? scheme : "none");
        else
            result = rules_add(r, pattern, a, origin, e);
    }
    free(text);
    return result;
}

enum action rules_match(const struct rules *r, const char *name)
{
    for (size_t i = 0; r && i < r->n; i++) {
        const struct rule *x = &r->r[i];
        if (x->regex ? !regexec(x->regex, name, 0, NULL, 0) : !fnmatch(x->pattern, name, 0))
            return x->action;
    }
    return ACTION_DEFAULT;
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

void rules_free(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->r[i].regex)
            regfree(r->r[i].regex);
    free(r->r);
    arena_free(&r->mem);
    *r = (struct rules){0};
}

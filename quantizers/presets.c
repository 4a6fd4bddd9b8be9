#include "quantizers/presets.h"

#include <jansson.h>
#include <string.h>

/* Names of the field for what every published FP8 checkpoint leaves alone
 * (DeepSeek-V3, Qwen3 and Llama on Hugging Face; llama.cpp's tensor names). */
static const struct preset_line generic[] = {
    {"*norm*", ACTION_KEEP, "a norm"},
    {"*embed*", ACTION_KEEP, "an embedding"},
    {"*token_types*", ACTION_KEEP, "an embedding"},
    {"token_embd*", ACTION_KEEP, "an embedding"},
    {"embed.weight", ACTION_KEEP, "an embedding"},
    {"*wte.weight", ACTION_KEEP, "an embedding"},
    {"*wpe.weight", ACTION_KEEP, "an embedding"},
    {"*lm_head*", ACTION_KEEP, "the output head"},
    {"*shared_head*", ACTION_KEEP, "the output head"},
    {"head.weight", ACTION_KEEP, "the output head"},
    {"*predictions.decoder*", ACTION_KEEP, "the output head"},
    {"output.weight", ACTION_KEEP, "the output head"},
    {"*.mlp.gate.weight", ACTION_KEEP, "a router"},
    {"*.ffn.gate.weight", ACTION_KEEP, "a router"},
    {"*block_sparse_moe.gate.weight", ACTION_KEEP, "a router"},
    {"*shared_expert_gate*", ACTION_KEEP, "a router"},
    {"*router*", ACTION_KEEP, "a router"},
    {"*ffn_gate_inp*", ACTION_KEEP, "a router"},
    {"*.indexer.weights_proj*", ACTION_KEEP, "an indexer's weighting"},
    {"*eh_proj*", ACTION_KEEP, "a multi-token-prediction projection"},
    {"*conv1d*", ACTION_KEEP, "a convolution"},
    {"*rotary*", ACTION_KEEP, "rotary frequencies"},
    {"*rope_freqs*", ACTION_KEEP, "rotary frequencies"},
    {0}};
static const struct preset_line none[] = {{0}};

const struct preset preset_table[] = {
    {"generic", "what every family keeps", "", "names of the field", generic},
    {"none", "every matrix of a linear layer is quantized, also heads and routers", "", "", none},
};
const size_t preset_count = sizeof preset_table / sizeof *preset_table;

const struct preset *preset_find(const char *name)
{
    for (size_t i = 0; i < preset_count; i++)
        if (!strcmp(preset_table[i].name, name))
            return &preset_table[i];
    return NULL;
}

static bool has_word(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *s = words; n && (s = strstr(s, word)); s += n)
        if ((s == words || s[-1] == ' ') && (s[n] == ' ' || !s[n]))
            return true;
    return false;
}

static const struct preset *of_type(const json_t *config)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; type && i < preset_count; i++)
        if (has_word(preset_table[i].model_types, type))
            return &preset_table[i];
    return NULL;
}

const struct preset *preset_of(const char *config)
{
    json_t *root = config ? json_loads(config, 0, NULL) : NULL;
    const struct preset *p = of_type(json_object_get(root, "text_config"));
    if (!p)
        p = of_type(root);
    json_decref(root);
    return p ? p : preset_find("generic");
}

static int add_lines(struct rules *r, const struct preset *p, const char *origin, struct err *e)
{
    for (const struct preset_line *l = p->line; l->pattern; l++)
        if (rules_add_default(r, l->pattern, l->action, origin, l->why, e))
            return -1;
    return 0;
}

int preset_add(struct rules *r, const struct preset *p, struct err *e)
{
    const struct preset *rest = preset_find("generic");
    char *origin = arena_printf(&r->mem, e, "preset %s%s%s", p->name, *p->source ? ": " : "", p->source);
    if (!origin || add_lines(r, p, origin, e))
        return -1;
    return p == rest || p->line == none ? 0 : add_lines(r, rest, "preset generic", e);
}

/* Names of tensors in a job, and what goes with them: config.json or the keys of a GGUF. */
#include "cli/job.h"

#include "formats/config_keys.h"
#include "formats/names.h"

#include <string.h>

/* llama.cpp knows its own names only: a GGUF gets them unless --names says otherwise. */
int names_choose(struct job *j, struct err *e)
{
    bool known;
    if (!j->want.gguf || j->c->names || names_of(&j->src) == NAMES_GGUF)
        return 0;
    if (names_known(&j->src, &known, e))
        return -1;
    if (known)
        j->src.names = NAMES_GGUF;
    return 0;
}

/* The type of most of the matrices that are not quantized, as torch calls it. */
static const char *torch_dtype(const struct job *j)
{
    static const struct { enum dtype t; const char *name; } types[] = {
        {DT_BF16, "bfloat16"}, {DT_F16, "float16"}, {DT_F32, "float32"}};
    uint64_t most = 0;
    const char *name = types[0].name;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        uint64_t elems = 0;
        for (size_t i = 0; i < j->plan.nout; i++)
            if (j->as[i].part == PART_PLAIN && j->t[i].rank > 1 && j->t[i].dtype == types[k].t)
                elems += tensor_elems(&j->t[i]);
        if (elems > most) {
            most = elems;
            name = types[k].name;
        }
    }
    return name;
}

int names_config_json(struct job *j, struct err *e)
{
    struct model *const m = &j->src;
    const char *text, *why;
    if (!m->naming || m->naming->from != NAMES_GGUF || m->naming->to != NAMES_HF || m->config || j->want.gguf)
        return 0;
    if (config_from_keys(m, torch_dtype(j), &text, &why, e))
        return -1;
    m->config = text;
    return why ? plan_note(&j->plan, why, e) : 0;
}

int names_keys(struct job *j, struct err *e)
{
    struct model *const m = &j->src;
    const char *note;
    if (!j->c->names && names_of(m) == NAMES_HF && m->config
        && plan_note(&j->plan, "there is no table of names for this architecture: tensors keep Hugging Face's, which llama.cpp "
                     "does not load", e))
        return -1;
    if (!m->naming || m->naming->to != NAMES_GGUF || m->naming->from != NAMES_HF || !m->config)
        return 0;
    if (config_keys_complete(m->naming->architecture))
        return config_to_keys(m, &j->keys, &note, e) || (note && plan_note(&j->plan, note, e)) ? -1 : 0;
    return gguf_keys_str(&j->keys, "general.architecture", m->naming->architecture, e)
                   || plan_note(&j->plan, arena_printf(&j->plan.mem, e, "the keys that llama.cpp needs for architecture %s are not "
                                "made of config.json (--gguf-metadata FILE)", m->naming->architecture), e) ? -1 : 0;
}

#include "validate.h"

#include <stdio.h>
#include <string.h>

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* A member that must be a word, a number or a truth. */
static void word(const char *where, const json_t *o, const char *key, const char *want)
{
    const char *at = strstr(want, text(o, key)); /* "this|that": one of them */
    const size_t n = strlen(text(o, key));
    if (!n || !at || (at > want && at[-1] != '|') || (at[n] && at[n] != '|'))
        say("%s: '%s' is '%s', the loader asks for '%s'", where, key, text(o, key), want);
}
static void number(const char *where, const json_t *o, const char *key, json_int_t want)
{
    const json_t *x = json_object_get(o, key);
    if (!json_is_integer(x) || json_integer_value(x) != want)
        say("%s: '%s' is not %d", where, key, (int)want);
}
static void truth(const char *where, const json_t *o, const char *key, bool want)
{
    const json_t *x = json_object_get(o, key);
    if (!json_is_boolean(x) || json_is_true(x) != want)
        say("%s: '%s' is not %s", where, key, want ? "true" : "false");
}

static bool has(char (*list)[NAME], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i], name))
            return true;
    return false;
}

/* Linear layers that a loader would take for quantized ones unless it is told otherwise. */
static bool is_linear(const char *module)
{
    static const char *const ends[] = {"_proj", "lm_head", "kv_a_proj_with_mqa", "eh_proj", ".head"};
    const size_t n = strlen(module);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n >= strlen(ends[i]) && !strcmp(module + n - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

/* A list of modules that are not quantized says so of all linear ones that are not, and of none that is. */
static void ignored(const char *where, const json_t *list, const struct found *f)
{
    size_t i;
    const json_t *x;
    if (list && !json_is_array(list)) {
        say("%s: it is no list", where);
        return;
    }
    json_array_foreach((json_t *)list, i, x)
        if (!json_is_string(x))
            say("%s: an entry is no string", where);
        else if (has(f->quantized, f->nquantized, json_string_value(x)))
            say("%s: %s is quantized", where, json_string_value(x));
    for (size_t k = 0; k < f->nplain; k++) {
        bool listed = false;
        json_array_foreach((json_t *)list, i, x)
            listed |= json_is_string(x) && !strcmp(json_string_value(x), f->plain[k]);
        if (!listed && is_linear(f->plain[k]))
            say("%s: %s is not quantized and not listed", where, f->plain[k]);
    }
}

static bool kind(const struct found *f, const char *word_)
{
    for (size_t i = 0; i < f->kinds; i++)
        if (!strcmp(f->kind[i]->kind, word_))
            return true;
    return false;
}

static const json_t *section(const struct model *m)
{
    const json_t *q = json_object_get(m->config, "quantization_config");
    if (!json_is_object(q))
        say("config.json: no quantization_config");
    return q;
}

/* vllm/model_executor/layers/quantization/fp8.py: Fp8Config.from_config */
static void deepseek(const struct model *m, const struct found *f)
{
    const json_t *q = section(m), *b = json_object_get(q, "weight_block_size");
    word("quantization_config", q, "quant_method", "fp8");
    word("quantization_config", q, "activation_scheme", "dynamic");
    if (json_object_get(q, "fmt"))
        word("quantization_config", q, "fmt", "e4m3");
    if (json_array_size(b) != 2 || json_integer_value(json_array_get(b, 0)) != 128 || json_integer_value(json_array_get(b, 1)) != 128)
        say("quantization_config: weight_block_size is not [128, 128]");
    if (json_object_get(q, "scale_fmt"))
        word("quantization_config", q, "scale_fmt", "ue8m0");
    ignored("modules_to_not_convert", json_object_get(q, "modules_to_not_convert"), f);
}

/* compressed-tensors: config/base.py, quantization/quant_args.py; arguments that are not listed there are refused */
static void args(const char *where, const json_t *a, int bits, const char *type, const char *strategy, bool dynamic)
{
    static const char *const known[] = {"num_bits", "type", "symmetric", "group_size", "strategy", "block_structure", "dynamic", "actorder",
                                        "scale_dtype", "zp_dtype", "observer", "observer_kwargs"};
    const char *key;
    json_t *x;
    if (!json_is_object(a)) {
        say("%s: missing", where);
        return;
    }
    json_object_foreach((json_t *)a, key, x) {
        bool ok = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            ok |= !strcmp(known[i], key);
        if (!ok)
            say("%s: '%s' is no argument", where, key);
    }
    number(where, a, "num_bits", bits);
    word(where, a, "type", type);
    word(where, a, "strategy", strategy);
    truth(where, a, "symmetric", true);
    truth(where, a, "dynamic", dynamic);
}

static void compressed(const struct model *m, const struct found *f, const char *format, int bits, const char *type,
                       const char *strategy, const char *inputs)
{
    const json_t *q = section(m), *groups = json_object_get(q, "config_groups");
    const char *key;
    json_t *g;
    word("quantization_config", q, "quant_method", "compressed-tensors");
    word("quantization_config", q, "format", format);
    word("quantization_config", q, "quantization_status", "compressed");
    if (json_object_size(groups) != 1)
        say("config_groups: not one group");
    json_object_foreach((json_t *)groups, key, g) {
        const json_t *targets = json_object_get(g, "targets");
        if (json_array_size(targets) < 1)
            say("config_groups: no targets");
        args("weights", json_object_get(g, "weights"), bits, type, strategy, false);
        if (inputs)
            args("input_activations", json_object_get(g, "input_activations"), bits, type, inputs, true);
        else if (json_is_object(json_object_get(g, "input_activations")))
            say("input_activations: weights alone are quantized");
        if (!strcmp(strategy, "group") && strcmp(format, "pack-quantized"))
            number("weights", json_object_get(g, "weights"), "group_size", 32);
    }
    ignored("ignore", json_object_get(q, "ignore"), f);
}

static void ct_any(const struct model *m, const struct found *f)
{
    if (kind(f, "int8-channel"))
        compressed(m, f, "int-quantized", 8, "int", "channel", "token");
    else
        compressed(m, f, "float-quantized", 8, "float", "channel", "token");
}
static void ct_mxfp8(const struct model *m, const struct found *f) { compressed(m, f, "mxfp8-quantized", 8, "float", "group", "group"); }
static void ct_block(const struct model *m, const struct found *f)
{
    compressed(m, f, "float-quantized", 8, "float", "block", "group");
    const json_t *g = json_object_get(json_object_get(section(m), "config_groups"), "group_0");
    const json_t *b = json_object_get(json_object_get(g, "weights"), "block_structure");
    if (json_array_size(b) != 2 || json_integer_value(json_array_get(b, 0)) != 128 || json_integer_value(json_array_get(b, 1)) != 128)
        say("weights: block_structure is not [128, 128]");
}
static void ct_mxfp4(const struct model *m, const struct found *f) { compressed(m, f, "mxfp4-pack-quantized", 4, "float", "group", NULL); }
static void ct_nvfp4(const struct model *m, const struct found *f) { compressed(m, f, "nvfp4-pack-quantized", 4, "float", "tensor_group", NULL); }
static void ct_int4(const struct model *m, const struct found *f) { compressed(m, f, "pack-quantized", 4, "int", "channel|group", NULL); }

/* vllm modelopt.py; NVIDIA/Model-Optimizer modelopt/torch/export/convert_hf_config.py */
static void modelopt_as(const struct model *m, const struct found *f, const char *algorithm, int group)
{
    const json_t *q = section(m);
    json_t *side = side_file(m, "hf_quant_config.json");
    const json_t *inner = json_object_get(side, "quantization");
    word("quantization_config", q, "quant_method", "modelopt");
    word("quantization_config", q, "quant_algo", algorithm);
    ignored("ignore", json_object_get(q, "ignore"), f);
    if (!side)
        say("hf_quant_config.json: missing");
    if (!json_is_object(json_object_get(side, "producer")))
        say("hf_quant_config.json: no producer");
    word("hf_quant_config.json", inner, "quant_algo", algorithm);
    if (group)
        number("hf_quant_config.json", inner, "group_size", group);
    ignored("exclude_modules", json_object_get(inner, "exclude_modules"), f);
    json_decref(side);
}
static void modelopt(const struct model *m, const struct found *f) { modelopt_as(m, f, "MXFP8", 32); }
static void modelopt_fp8(const struct model *m, const struct found *f) { modelopt_as(m, f, "FP8", 0); }
static void modelopt_nvfp4(const struct model *m, const struct found *f) { modelopt_as(m, f, "NVFP4|W4A16_NVFP4", 16); }

/* vllm deepseek_v4/quant_config.py: the scales' type follows from expert_dtype */
static void deepseek_v4(const struct model *m, const struct found *f)
{
    const json_t *q = section(m);
    deepseek(m, f);
    word("quantization_config", q, "scale_fmt", "ue8m0");
    if (kind(f, "fp4"))
        word("config.json", m->config, "expert_dtype", "fp4");
}

/* vllm mxfp4.py: Mxfp4Config.from_config; transformers quantizer_mxfp4.py */
static void gpt_oss(const struct model *m, const struct found *f)
{
    const json_t *q = section(m);
    word("quantization_config", q, "quant_method", "mxfp4");
    ignored("modules_to_not_convert", json_object_get(q, "modules_to_not_convert"), f);
}

/* vllm quark/quark.py: from_config, _is_fp8_w8a8, _is_w_ocp_mx_a_x */
static void quark(const struct model *m, const struct found *f, const char *dtype, const char *scheme)
{
    const json_t *q = section(m), *global = json_object_get(q, "global_quant_config"), *w = json_object_get(global, "weight");
    const json_t *export = json_object_get(q, "export"), *x = json_object_get(global, "input_tensors");
    word("quantization_config", q, "quant_method", "quark");
    if (!json_is_object(export) || !json_is_array(json_object_get(export, "kv_cache_group")))
        say("quantization_config: no export with a kv_cache_group");
    word("export", export, "pack_method", "reorder|order");
    word("weight", w, "dtype", dtype);
    word("weight", w, "qscheme", scheme);
    truth("weight", w, "is_dynamic", false);
    if (!strcmp(dtype, "fp4")) {
        number("weight", w, "group_size", 32);
        word("weight", w, "scale_format", "e8m0");
    } else {
        word("input_tensors", x, "dtype", dtype);
        truth("input_tensors", x, "is_dynamic", true);
    }
    if (!json_object_get(q, "layer_quant_config") || !json_object_get(q, "layer_type_quant_config"))
        say("quantization_config: no layer_quant_config or layer_type_quant_config");
    ignored("exclude", json_object_get(q, "exclude"), f);
}
static void quark_fp8(const struct model *m, const struct found *f) { quark(m, f, "fp8_e4m3", "per_channel"); }
static void quark_mxfp4(const struct model *m, const struct found *f) { quark(m, f, "fp4", "per_group"); }

/* msmodelslim docs ascendv1.md, vllm_ascend/quantization/modelslim_config.py */
static void ascend_as(const char *convention, const struct model *m, const struct found *f)
{
    json_t *d = side_file(m, "quant_model_description.json"), *x;
    const char *key;
    if (json_object_get(m->config, "quantization_config"))
        say("config.json: a quantization_config is believed instead of the description");
    if (!json_is_object(d)) {
        say("quant_model_description.json: missing");
        return;
    }
    word("description", d, "version", "1.0.0");
    if (!*text(d, "model_quant_type"))
        say("description: no model_quant_type");
    if (!json_is_object(json_object_get(d, "metadata")) || !json_is_object(json_object_get(d, "optional")))
        say("description: no metadata or optional");
    if (kind(f, "W8A8_MXFP8") || kind(f, "W4A8_MXFP"))
        number("description", d, "group_size", 32);
    for (size_t i = 0; i < m->n; i++) {
        const char *said = text(d, m->t[i].name);
        const struct rule *r = m->t[i].rank >= 2 ? rule_of(convention, &m->t[i]) : NULL;
        char weight[NAME];
        for (int p = 0; !r && p < 7; p++) { /* what belongs to a weight has its type */
            static const char *const end[] = {".weight_scale", ".weight_offset", ".scale_bias", ".deq_scale", ".input_scale", ".input_offset",
                                              ".quant_bias"};
            const size_t n = strlen(m->t[i].name), k = strlen(end[p]);
            if (n > k && !strcmp(m->t[i].name + n - k, end[p])) {
                snprintf(weight, NAME, "%.*s.weight", (int)(n - k), m->t[i].name);
                const struct tensor *w = find(m, weight);
                r = w ? rule_of(convention, w) : NULL;
            }
        }
        if (strcmp(said, r ? r->kind : "FLOAT"))
            say("description: %s is '%s' and not '%s'", m->t[i].name, said, r ? r->kind : "FLOAT");
    }
    json_object_foreach(d, key, x)
        if (strchr(key, '.') && json_is_string(x) && !find(m, key))
            say("description: %s is in no file", key);
    json_decref(d);
}

static void ascend(const struct model *m, const struct found *f) { ascend_as("ascend-v1", m, f); }
static void ascend_static(const struct model *m, const struct found *f) { ascend_as("ascend-v1:static", m, f); }

/* w4a8.py: per channel is what it calls a group_size of 0, and version 1.0.0 the packing of two rows. */
static void ascend_w4a8(const struct model *m, const struct found *f)
{
    json_t *d = side_file(m, "quant_model_description.json");
    ascend_as("ascend-v1:w4a8", m, f);
    number("description", d, "group_size", 0);
    json_decref(d);
}

/* vllm_mlu fp8.py: Fp8Config.__init__ and from_config as vllm_mlu replaces them */
static void mlu_fp8(const struct model *m, const struct found *f)
{
    const json_t *q = section(m);
    word("quantization_config", q, "quant_method", "fp8");
    word("quantization_config", q, "activation_scheme", "dynamic");
    word("quantization_config", q, "weight_quant_method", "per_channel");
    if (json_object_get(q, "activation_quant_method"))
        word("quantization_config", q, "activation_quant_method", "per_token");
    if (json_object_get(q, "weight_block_size"))
        say("quantization_config: weight_block_size, and scales are per channel");
    ignored("ignored_layers", json_object_get(q, "ignored_layers"), f);
}

/* vllm_mlu smoothquant.py: SmoothQuantConfig */
static void mlu_smoothquant(const struct model *m, const struct found *f)
{
    json_t *q = side_file(m, "quantize_config.json");
    (void)f;
    if (json_object_get(m->config, "quantization_config"))
        say("config.json: a quantization_config of another method");
    if (!q)
        say("quantize_config.json: missing");
    word("quantize_config.json", q, "quant_mode", "SmoothQuant");
    word("quantize_config.json", q, "input_quant_method", "per_token");
    word("quantize_config.json", q, "weight_precision", "int8");
    word("quantize_config.json", q, "activation_precision", "int8");
    word("quantize_config.json", q, "expert_weight_precision", "int8");
    number("quantize_config.json", q, "group_size", 1);
    truth("quantize_config.json", q, "only_expert_per_group", false);
    json_decref(q);
}

/* vllm_gcu w8a8.py: W8A8Config, both places where it can stand */
static void gcu(const struct model *m, const struct found *f)
{
    json_t *side = side_file(m, "quantize_config.json");
    const json_t *q[] = {section(m), side};
    const char *where[] = {"quantization_config", "quantize_config.json"};
    for (int i = 0; i < 2; i++) {
        word(where[i], q[i], "quant_method", "w8a8");
        if (!json_is_integer(json_object_get(q[i], "group_size")))
            say("%s: no group_size", where[i]);
        ignored(where[i], json_object_get(q[i], "ignore"), f);
    }
    json_decref(side);
}

/* sglang-das slimquant_w4a8.py */
static void slimquant(const struct model *m, const struct found *f)
{
    const json_t *q = section(m);
    word("quantization_config", q, "quant_method", "slimquant_w4a8");
    word("quantization_config", q, "activation_scheme", "dynamic");
    ignored("modules_to_not_convert", json_object_get(q, "modules_to_not_convert"), f);
}

/* our own form: TIM-VX include/tim/vx/types.h for the words */
static void tim_vx(const struct model *m, const struct found *f)
{
    json_t *d = side_file(m, "tim_vx_quant.json"), *x;
    const json_t *list = json_object_get(d, "tensors");
    const char *key;
    word("tim_vx_quant.json", d, "format", "tim-vx");
    if (json_object_size(list) != f->nquantized)
        say("tim_vx_quant.json: %d entries for %d weights", (int)json_object_size(list), (int)f->nquantized);
    json_object_foreach((json_t *)list, key, x) {
        const struct tensor *t = find(m, key);
        const json_t *shape = json_object_get(x, "shape");
        word(key, x, "data_type", "INT8");
        word(key, x, "quant_type", "SYMMETRIC_PER_CHANNEL");
        if (!t || json_array_size(shape) != (size_t)t->rank)
            say("tim_vx_quant.json: %s is in no file, or of another rank", key);
        for (int i = 0; t && i < t->rank; i++)
            if ((uint64_t)json_integer_value(json_array_get(shape, (size_t)i)) != t->dim[t->rank - 1 - i])
                say("tim_vx_quant.json: the shape of %s is not that of WHCN", key);
        if (t)
            number(key, x, "channel_dim", t->rank - 1);
        if (!find(m, text(x, "scales")))
            say("tim_vx_quant.json: %s has no scales", key);
    }
    json_decref(d);
}

static const struct {
    const char *name;
    void (*check)(const struct model *m, const struct found *f);
} checks[] = {{"deepseek", deepseek}, {"compressed-tensors", ct_any}, {"compressed-tensors:mxfp8", ct_mxfp8},
              {"compressed-tensors:int4", ct_int4}, {"compressed-tensors:block", ct_block},
              {"compressed-tensors:mxfp4", ct_mxfp4}, {"compressed-tensors:nvfp4", ct_nvfp4}, {"deepseek-v4", deepseek_v4}, {"gpt-oss", gpt_oss},
              {"modelopt:fp8", modelopt_fp8}, {"modelopt:nvfp4", modelopt_nvfp4}, {"quark:fp8", quark_fp8}, {"quark:mxfp4", quark_mxfp4},
              {"modelopt", modelopt}, {"ascend-v1", ascend},
              {"ascend-v1:w4a8", ascend_w4a8}, {"ascend-v1:static", ascend_static}, {"mlu-fp8", mlu_fp8},
              {"mlu-smoothquant", mlu_smoothquant}, {"gcu-w8a8", gcu}, {"slimquant-w4a8", slimquant}, {"tim-vx", tim_vx}};

bool check_config(const char *convention, const struct model *m, const struct found *f)
{
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!strcmp(checks[i].name, convention)) {
            checks[i].check(m, f);
            return true;
        }
    return false;
}

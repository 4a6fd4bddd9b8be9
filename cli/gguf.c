/* GGUF as output: when it is wanted, what has no place in it, and its keys. */
#include "cli/job.h"

#include "formats/gguf.h"
#include "formats/io.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { METADATA_MAX = 1 << 28 };     /* bytes of a JSON file */

int gguf_choose(struct job *j, struct err *e)
{
    const char *const out = j->c->output ? j->c->output : "", *const container = j->c->container;
    const bool by_name = ends_with(out, ".gguf");
    if (container && strcmp(container, "gguf") && strcmp(container, "safetensors"))
        return err_set(e, ERR_USAGE, "--container takes safetensors or gguf, not '%s'", container);
    const bool by_chip = j->want.fit && j->want.fit->convention == convention_find("gguf");
    if (by_chip && container && strcmp(container, "gguf"))
        return err_set(e, ERR_USAGE, "form '%s' of %s is GGUF, and --container says %s", j->want.fit->name, j->want.target->id,
                       container);
    j->want.gguf = container ? !strcmp(container, "gguf") : by_name || by_chip;
    if (container && (j->want.gguf ? ends_with(out, ".safetensors") : by_name))
        return err_set(e, ERR_USAGE, "-o %s and --container %s do not agree", out, container);
    if (j->want.gguf && j->pack)
        return err_set(e, ERR_USAGE, "%s: octavo %s does not write GGUF; convert, quantize, dequantize and unpack do", out, j->verb);
    if (j->want.gguf)
        j->want.convention = convention_find("gguf");
    if (!j->want.gguf && j->c->gguf_metadata.n)
        return err_set(e, ERR_USAGE, "--gguf-metadata needs GGUF as output: -o FILE.gguf or --container gguf");
    return 0;
}

int gguf_check(const struct job *j, struct err *e)
{
    uint32_t type;
    for (size_t i = 0; i < j->plan.nout; i++) {
        const struct out_tensor *const x = &j->as[i];
        const struct tensor *const t = &j->t[i];
        if (x->part != PART_PLAIN && !dtype_is_block(t->dtype))
            return err_set(e, ERR_INPUT, "%s: tensor '%s' is%s %s, for which GGUF has no type (octavo dequantize -o FILE.gguf "
                           "writes values, octavo quantize --scheme=q8_0 rounds anew)", j->input, t->name,
                           x->part == PART_WEIGHT ? "" : " of a weight in", x->scheme ? x->scheme->name : "another type");
        if (!gguf_stores(t->dtype, &type))
            return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s, a type that GGUF does not have (--exclude leaves it out)",
                           j->input, t->name, dtype_name(t->dtype));
    }
    return 0;
}

/* ---- keys ------------------------------------------------------------------------ */

/* llama.cpp's number for a model that is mostly of one type (include/llama.h, enum llama_ftype; of several for a type
 * that one that its loader guesses, src/llama-model-loader.cpp). */
static const struct { enum dtype t; uint32_t id; } file_types[] = {
    {DT_F32, 0},      {DT_F16, 1},      {DT_BF16, 32},    {DT_Q4_0, 2},     {DT_Q4_1, 3},    {DT_Q8_0, 7},
    {DT_Q5_0, 8},     {DT_Q5_1, 9},     {DT_Q2_K, 10},    {DT_Q3_K, 12},    {DT_Q4_K, 15},   {DT_Q5_K, 17},
    {DT_Q6_K, 18},    {DT_IQ2_XXS, 19}, {DT_IQ2_XS, 20},  {DT_IQ3_XXS, 23}, {DT_IQ1_S, 24},  {DT_IQ4_NL, 25},
    {DT_IQ3_S, 26},   {DT_IQ2_S, 28},   {DT_IQ4_XS, 30},  {DT_IQ1_M, 31},   {DT_TQ1_0, 36},  {DT_TQ2_0, 37},
    {DT_MXFP4, 38},   {DT_NVFP4, 39},   {DT_Q1_0, 40},    {DT_Q2_0, 41},
};
enum { FILE_TYPES = sizeof file_types / sizeof *file_types, GUESSED = 1024, QUANTIZATION_VERSION = 2 /* ggml.h */ };

/* Among matrices: block types before others, then the one with most elements. */
static uint32_t file_type(const struct job *j)
{
    uint64_t elems[DT_COUNT] = {0};
    int most = DT_F32;
    for (size_t i = 0; i < j->plan.nout; i++)
        if (j->t[i].rank > 1)
            elems[j->t[i].dtype] += tensor_elems(&j->t[i]);
    for (int t = 0; t < DT_COUNT; t++) {
        const bool block = dtype_is_block((enum dtype)t), best = dtype_is_block((enum dtype)most);
        if (elems[t] && (block == best ? elems[t] > elems[most] : block))
            most = t;
    }
    for (size_t i = 0; i < FILE_TYPES; i++)
        if ((int)file_types[i].t == most)
            return file_types[i].id;
    return GUESSED;
}

/* Do the matrices have the types that they had in a GGUF source? Then its keys are right about them. */
static bool same_types(const struct job *j)
{
    for (size_t i = 0; i < j->plan.nout; i++) {
        const struct op *const op = &j->plan.op[j->plan.out[j->order[i]].op];
        if (j->t[i].rank > 1 && op->x != &xform_copy)
            return false;
    }
    return j->src.container == CONTAINER_GGUF;
}

static int is_json(const char *path, bool *json, struct err *e)
{
    char head[64];
    uint64_t size;
    const int fd = io_open(path, &size, e);
    if (fd < 0)
        return -1;
    const size_t n = (size_t)min_u64(size, sizeof head);
    const int r = io_pread(fd, path, 0, head, n, e);
    size_t i = 0;
    while (!r && i < n && strchr(" \t\r\n", head[i]))
        i++;
    *json = i < n && head[i] == '{';
    close(fd);
    return r;
}

static int add_json(struct gguf_keys *k, const char *path, struct err *e)
{
    size_t n;
    char *const text = io_read_file(path, METADATA_MAX, &n, e);
    const int r = text ? gguf_keys_json(k, text, path, e) : -1;
    free(text);
    return r;
}

static int add_gguf(struct gguf_keys *k, const char *path, struct err *e)
{
    struct model m;
    if (model_open(&m, path, e))
        return -1;
    int r = m.container == CONTAINER_GGUF ? gguf_keys_carry(k, m.gguf_kv, m.gguf_kv_size, m.gguf_kv_count, e)
          : err_set(e, ERR_INPUT, "%s: is neither a GGUF file nor a JSON object, from which GGUF keys can come", path);
    model_close(&m);
    return r;
}

/* Files of --gguf-metadata that are JSON, or those that are not. */
static int add_files(struct job *j, bool want_json, size_t *found, struct err *e)
{
    const struct opt_list *const list = &j->c->gguf_metadata;
    *found = 0;
    for (size_t i = 0; i < list->n; i++) {
        const char *const path = list->item[i].value;
        bool json;
        if (is_json(path, &json, e))
            return -1;
        if (json != want_json)
            continue;
        ++*found;
        if (json ? add_json(&j->keys, path, e) : add_gguf(&j->keys, path, e))
            return -1;
    }
    return 0;
}

/* The keys of a GGUF source, or of a GGUF file that was named instead; what the tensors are now; then what a JSON file says. */
int gguf_metadata(struct job *j, struct err *e)
{
    struct gguf_keys *const k = &j->keys;
    size_t found;
    if (add_files(j, false, &found, e))
        return -1;
    const bool own = !found && j->src.container == CONTAINER_GGUF;
    if (own && gguf_keys_carry(k, j->src.gguf_kv, j->src.gguf_kv_size, j->src.gguf_kv_count, e))
        return -1;
    if (!found && !own && names_keys(j, e))
        return -1;
    if (!(own && same_types(j))
        && (gguf_keys_u32(k, "general.file_type", file_type(j), e)
            || gguf_keys_u32(k, "general.quantization_version", QUANTIZATION_VERSION, e)))
        return -1;
    if (add_files(j, true, &found, e))
        return -1;
    if (!gguf_keys_has(k, "tokenizer.ggml.model")
        && plan_note(&j->plan, "the GGUF file has no tokenizer, without which llama.cpp runs no text (--gguf-metadata FILE)", e))
        return -1;
    if (gguf_keys_has(k, "general.architecture"))
        return 0;
    return plan_note(&j->plan, "the GGUF file has no key general.architecture, without which llama.cpp does not load it "
                     "(--gguf-metadata FILE)", e);
}

#include "formats/names_parts.h"

#include "formats/conventions/parts.h"
#include "formats/derived.h"

#include <ctype.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS_MAX = 6, PIECE = 1 << 20 };

int names_parse(const char *word, enum name_style *to, struct err *e)
{
    *to = NAMES_SOURCE;
    if (word && !strcmp(word, "hf"))
        *to = NAMES_HF;
    else if (word && !strcmp(word, "gguf"))
        *to = NAMES_GGUF;
    else if (word)
        return err_set(e, ERR_USAGE, "--names takes hf or gguf, not '%s'", word);
    return 0;
}

enum name_style names_of(const struct model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const char *s = m->t[i].name;
        if (!strcmp(s, "token_embd.weight") || (!strncmp(s, "blk.", 4) && isdigit((unsigned char)s[4])))
            return NAMES_GGUF;
    }
    return NAMES_HF;
}

int names_agree(const char *word, struct model *a, struct model *b, struct err *e)
{
    if (names_parse(word, &a->names, e))
        return -1;
    if (!word && names_of(a) != names_of(b))
        a->names = NAMES_HF;
    b->names = a->names;
    return 0;
}

static const char *title(enum name_style n) { return n == NAMES_GGUF ? "GGUF" : "Hugging Face"; }

/* ---- patterns ------------------------------------------------------------------------------ */

/* A number as the two sides spell it: no leading zeros. */
static size_t number(const char *s)
{
    const size_t n = strspn(s, "0123456789");
    return n > DIGITS_MAX || (n > 1 && *s == '0') ? 0 : n;
}

static bool matches(const char *pattern, const char *name, bool whole, struct name_match *hit)
{
    *hit = (struct name_match){0};
    for (; *pattern; pattern++) {
        if (*pattern != '{') {
            if (*pattern != *name++)
                return false;
            continue;
        }
        const size_t n = number(name);
        if (!n)
            return false;
        if (pattern[1] == 'L') {
            hit->layer = name;
            hit->layer_n = n;
        } else {
            hit->expert = name;
            hit->expert_n = n;
        }
        name += n;
        pattern += 2;
    }
    hit->rest = name;
    return whole ? !*name : *name == '.' && name[1] && !strchr(name + 1, '.');
}

const char *names_build(struct renaming *r, const char *pattern, const struct name_match *hit, size_t expert)
{
    struct buf b = {0};
    int bad = 0;
    for (const char *p = pattern; *p && !bad; p++) {
        if (*p != '{') {
            bad = buf_put(&b, p, 1, r->e);
            continue;
        }
        if (p[1] == 'L')
            bad = buf_put(&b, hit->layer, hit->layer_n, r->e);
        else if (hit->expert)
            bad = buf_put(&b, hit->expert, hit->expert_n, r->e);
        else
            bad = buf_printf(&b, r->e, "%zu", expert);
        p += 2;
    }
    if (!bad)
        bad = buf_puts(&b, hit->rest, r->e);
    const char *name = bad ? NULL : arena_strdup(&r->m->mem, b.s, r->e);
    buf_free(&b);
    return name;
}

/* The row that maps a name, or NULL. known: parts of quantized weights have names of their own conventions. */
static const struct name_row *find_row(const struct renaming *r, const char *name, bool known, struct name_match *hit)
{
    for (int k = 0; k < ARCH_TABLES && r->arch->table[k]; k++)
        for (const struct name_row *row = r->arch->table[k]; row->gguf || row->hf; row++) {
            const char *pattern = r->from == NAMES_GGUF ? row->gguf : row->hf;
            if (pattern && matches(pattern, name, row->whole, hit)
                && (known || row->whole || !strcmp(hit->rest, ".weight") || !strcmp(hit->rest, ".bias")))
                return row;
        }
    return NULL;
}

bool names_in_gguf(const char *hf, char *out, size_t n)
{
    struct name_match hit;
    char whole[512];
    if (snprintf(whole, sizeof whole, "%s.weight", hf) >= (int)sizeof whole)
        return false;
    for (size_t a = 0; a < name_arch_count; a++)
        for (int k = 0; k < ARCH_TABLES && name_arch_table[a].table[k]; k++)
            for (const struct name_row *row = name_arch_table[a].table[k]; row->gguf || row->hf; row++) {
                if (!row->gguf || !row->hf || row->whole || !matches(row->hf, whole, false, &hit) || strcmp(hit.rest, ".weight"))
                    continue;
                size_t at = 0;
                for (const char *p = row->gguf; *p && at + 1 < n; p++) {
                    if (*p != '{') {
                        out[at++] = *p;
                        continue;
                    }
                    const char *part = p[1] == 'L' ? hit.layer : hit.expert;
                    const size_t length = p[1] == 'L' ? hit.layer_n : hit.expert_n;
                    at += part ? (size_t)snprintf(out + at, n - at, "%.*s", (int)length, part) : 0;
                    p += 2;
                }
                if (row->kind == NAME_EXPERTS && at < n)
                    at += (size_t)snprintf(out + at, n - at, ".%.*s", (int)hit.expert_n, hit.expert);
                if (at >= n)
                    return false;
                out[at] = 0;
                return true;
            }
    return false;
}

/* ---- the new table --------------------------------------------------------------------------- */
int names_put(struct renaming *r, const struct tensor *t)
{
    if (mem_grow((void **)&r->t, &r->cap, r->n + 1, sizeof *r->t, r->e))
        return -1;
    r->t[r->n++] = *t;
    return 0;
}

static int drop(struct renaming *r, size_t i, const char *why)
{
    if (part_of(r, i) != PART_PLAIN)
        return err_set(r->e, ERR_INPUT, "%s: tensor '%s' belongs to a quantized weight, and has no place in %s names",
                       r->m->path, r->m->t[i].name, title(r->to));
    r->done->tensor[i].dropped = why;
    return 0;
}

/* A vector there is a matrix of one row here. */
static int turn_vector(struct renaming *r, struct tensor *t)
{
    if (r->to == NAMES_HF && t->rank == 1) {
        t->dim[1] = t->dim[0];
        t->dim[0] = 1;
        t->rank = 2;
    } else if (r->to == NAMES_GGUF && t->rank == 2 && t->dim[0] == 1) {
        t->dim[0] = t->dim[1];
        t->rank = 1;
    }
    return t->stride || t->stored ? err_set(r->e, ERR_INPUT, "%s: tensor '%s' does not lie row by row", r->m->path, t->name)
                                  : 0;
}

static int rename_one(struct renaming *r, size_t i)
{
    const struct tensor *old = &r->m->t[i];
    struct tensor t = *old;
    struct name_match hit;
    const struct name_row *row = find_row(r, t.name, part_of(r, i) != PART_PLAIN, &hit);
    if (!row)
        return err_set(r->e, ERR_INPUT, "%s: tensor '%.300s' has no %s name: no row of the table for %s maps it",
                       r->m->path, t.name, title(r->to), r->arch->gguf);
    const char *pattern = r->to == NAMES_GGUF ? row->gguf : row->hf;
    if (row->kind == NAME_DROPPED) {
        if (!strncmp(t.name, "rope_f", 6) && names_read_factors(r, i))
            return -1;
        return drop(r, i, row->why);
    }
    if (row->kind == NAME_REFUSED || part_of(r, i) == PART_PIECE)
        return err_set(r->e, ERR_INPUT, "%s: tensor '%.300s' cannot get a %s name: %s", r->m->path, t.name, title(r->to),
                       row->why ? row->why : "it is a piece of a weight that is kept apart (octavo dequantize first)");
    r->renamed++;
    if (row->kind == NAME_EXPERTS && r->to == NAMES_HF)
        return names_split(r, i, pattern, &hit);
    t.name = names_build(r, pattern, &hit, 0);
    if (!t.name)
        return -1;
    if (row->kind == NAME_EXPERTS)
        return names_collect(r, i, t.name, &hit);
    t.name = old->name; /* in messages */
    if ((row->kind == NAME_VECTOR && turn_vector(r, &t))
        || ((row->kind == NAME_Q || row->kind == NAME_K) && names_permute(r, &t, i, row->kind)))
        return -1;
    t.name = names_build(r, pattern, &hit, 0);
    r->moved[i] = r->n;
    return t.name ? names_put(r, &t) : -1;
}

/* ---- what the model says ----------------------------------------------------------------------- */
static const json_t *member(const json_t *config, const char *name)
{
    return json_object_get(config, name);
}

int names_config(struct renaming *r, json_t **config)
{
    *config = config_parse(r->m->config ? r->m->config : "{}", "config.json", r->e);
    return *config ? 0 : err_prefix(r->e, "%s", r->m->path);
}

static int key_number(struct renaming *r, const char *key, uint64_t *x)
{
    char full[128], *end;
    snprintf(full, sizeof full, "%s.%s", r->arch->gguf, key);
    const char *text = model_meta(r->m, full);
    *x = text ? strtoull(text, &end, 10) : 0;
    return text && (*end || *x > UINT32_MAX)
               ? err_set(r->e, ERR_INPUT, "%s: key '%s' is %.60s, and one number is needed", r->m->path, full, text)
               : 0;
}

static int config_number(struct renaming *r, const char *name, uint64_t *x)
{
    json_t *config;
    int bad = 0;
    *x = 0;
    if (names_config(r, &config))
        return -1;
    const json_t *v = member(config, name);
    if (json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) <= UINT32_MAX)
        *x = (uint64_t)json_integer_value(v);
    else if (v && !json_is_null(v))
        bad = err_set(r->e, ERR_INPUT, "%s: config.json: %s is no count", r->m->path, name);
    json_decref(config);
    return bad;
}

int names_number(struct renaming *r, const char *key, const char *name, uint64_t *x)
{
    const bool gguf = r->from == NAMES_GGUF;
    if (gguf ? key_number(r, key, x) : config_number(r, name, x))
        return -1;
    return *x ? 0 : gguf ? config_number(r, name, x) : key_number(r, key, x);
}

static int find_arch(struct renaming *r)
{
    json_t *config;
    const char *key = model_meta(r->m, "general.architecture");
    if (names_config(r, &config))
        return -1;
    const char *type = config_string(config, "model_type");
    const char *name = (r->from == NAMES_GGUF && key) || !*type ? key : type;
    int bad = name ? 0
                   : err_set(r->e, ERR_INPUT, "%s: nothing says which architecture this is: no general.architecture in its "
                             "metadata, no model_type in config.json", r->m->path);
    for (size_t i = 0; !bad && !r->arch && i < name_arch_count; i++) {
        bool is = name == key && !strcmp(name_arch_table[i].gguf, name);
        for (int k = 0; name == type && k < ARCH_TYPES && name_arch_table[i].model_type[k]; k++)
            is |= !strcmp(name_arch_table[i].model_type[k], name);
        if (is)
            r->arch = &name_arch_table[i];
    }
    for (size_t i = 0; !bad && !r->arch && i < name_refused_count; i++)
        if (!fnmatch(name_refused_table[i].pattern, name, 0))
            bad = err_set(r->e, ERR_INPUT, "%s: tensors of architecture '%.60s' cannot get %s names: %s", r->m->path, name,
                          title(r->to), name_refused_table[i].why);
    if (!bad && !r->arch)
        bad = err_set(r->e, ERR_INPUT, "%s: there is no table of names for architecture '%.60s'", r->m->path, name);
    json_decref(config);
    return bad;
}

int names_known(const struct model *m, bool *known, struct err *e)
{
    struct renaming r = {.m = (struct model *)m, .from = NAMES_HF, .e = e};
    bool hf = false;
    for (size_t i = 0; !hf && i < m->n; i++)
        hf = !strncmp(m->t[i].name, "model.", 6) || !strncmp(m->t[i].name, "lm_head.", 8);
    const int bad = hf && m->config ? find_arch(&r) : 0;
    *known = r.arch && !bad;
    return bad && e->kind != ERR_INPUT ? -1 : 0;
}

/* ---- a classifier that is the embedding ---------------------------------------------------------- */
static int says_tied(struct renaming *r, bool *tied)
{
    json_t *config;
    if (names_config(r, &config))
        return -1;
    *tied = json_is_true(member(config, "tie_word_embeddings"));
    json_decref(config);
    return 0;
}

static int equal_bytes(struct renaming *r, size_t a, size_t b, bool *equal)
{
    uint8_t *p = mem_alloc(2, PIECE, r->e);
    const uint64_t size = r->m->t[a].size;
    int bad = p ? 0 : -1;
    *equal = true;
    for (uint64_t at = 0; !bad && *equal && at < size; at += PIECE) {
        const size_t n = (size_t)min_u64(PIECE, size - at);
        bad = model_read(r->m, a, at, p, n, r->e) || model_read(r->m, b, at, p + PIECE, n, r->e) ? -1 : 0;
        *equal = !bad && !memcmp(p, p + PIECE, n);
    }
    free(p);
    return bad;
}

/* A Hugging Face file may hold the classifier although config.json says that it is the embedding: a copy. Then
 * *copy is its index. */
static int find_copy(struct renaming *r, size_t *copy)
{
    size_t head, embedding;
    bool equal = false;
    *copy = NO_TENSOR;
    if (r->from != NAMES_HF || !map_find(&r->m->by_name, "lm_head.weight", &head)
        || !map_find(&r->m->by_name, "model.embed_tokens.weight", &embedding) || part_of(r, head) != PART_PLAIN
        || part_of(r, embedding) != PART_PLAIN)
        return 0;
    const struct tensor *a = &r->m->t[head], *b = &r->m->t[embedding];
    if (says_tied(r, &r->done->tied))
        return -1;
    if (!r->done->tied)
        return 0;
    if (!r->m->random)
        return err_set(r->e, ERR_INPUT, "%s: config.json says that lm_head.weight is the embedding, and both are there: a "
                       "pipe cannot be read ahead to see that they are equal (--spool)", r->m->path);
    if (a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dim, b->dim, a->rank * sizeof *a->dim)
        && tensor_is_flat(a) && tensor_is_flat(b) && equal_bytes(r, head, embedding, &equal))
        return -1;
    if (!equal)
        return err_set(r->e, ERR_INPUT, "%s: config.json says that lm_head.weight is the embedding "
                       "(\"tie_word_embeddings\": true), but its bytes are not those of model.embed_tokens.weight",
                       r->m->path);
    *copy = head;
    return 0;
}

/* ---- the whole -------------------------------------------------------------------------------------- */
static int note(struct renaming *r, const char *text)
{
    if (!text)
        return -1;
    r->done->note[r->done->nnotes++] = text;
    return 0;
}

static int tell(struct renaming *r)
{
    struct arena *mem = &r->m->mem;
    if (r->from != r->to
        && note(r, arena_printf(mem, r->e, "%zu tensors get %s names (architecture %s)", r->renamed, title(r->to),
                                r->arch->gguf)))
        return -1;
    if (r->permuted
        && note(r, arena_printf(mem, r->e, "rows of %zu attention weights go into the order of %s", r->permuted,
                                r->to == NAMES_HF ? "Hugging Face (halves of a head)" : "GGUF (pairs)")))
        return -1;
    if (r->split + r->stacked
        && note(r, arena_printf(mem, r->e, "%zu stacks of experts are %s", r->split + r->stacked,
                                r->split ? "taken apart" : "put together")))
        return -1;
    if (r->added
        && note(r, "rope_freqs.weight is made of rope_scaling in config.json"))
        return -1;
    return 0;
}

static int check_names(struct renaming *r, struct map *by_name)
{
    if (map_reserve(by_name, r->n, r->e))
        return -1;
    for (size_t i = 0; i < r->n; i++) {
        const int there = map_add(by_name, r->t[i].name, i, r->e);
        if (there)
            return there < 0 ? -1 : err_set(r->e, ERR_INPUT, "%s: two tensors would be named '%s'", r->m->path, r->t[i].name);
    }
    return 0;
}

/* Groups say where tensors are, and what their weights are called. */
static int move_groups(struct renaming *r, struct grouping *g)
{
    enum part *part = arena_array(&r->m->mem, r->n + 1, sizeof *part, r->e);
    size_t *group = arena_array(&r->m->mem, r->n + 1, sizeof *group, r->e);
    if (!part || !group)
        return -1;
    for (size_t i = 0; i < r->m->n; i++)
        if (r->moved[i] != NO_TENSOR) {
            part[r->moved[i]] = g->part[i];
            group[r->moved[i]] = g->group[i];
        }
    for (size_t k = 0; k < g->n; k++) {
        struct group *x = &g->g[k];
        struct name_match hit;
        const struct name_row *row = r->from == r->to ? NULL : find_row(r, x->name, false, &hit);
        if (row && !(x->name = names_build(r, r->to == NAMES_GGUF ? row->gguf : row->hf, &hit, 0)))
            return -1;
        for (int p = PART_WEIGHT; p < PART_AUX; p++)
            if (x->of[p] != NO_TENSOR)
                x->of[p] = r->moved[x->of[p]];
        for (unsigned a = 0; a < x->naux; a++)
            x->aux[a] = r->moved[x->aux[a]];
    }
    g->part = part;
    g->group = group;
    return 0;
}

static int rename_all(struct renaming *r, struct grouping *g)
{
    size_t copy;
    struct map by_name = {0};
    r->moved = mem_alloc(r->m->n, sizeof *r->moved, r->e);
    r->done->tensor = arena_array(&r->m->mem, r->m->n + 1, sizeof *r->done->tensor, r->e);
    r->done->n = r->m->n;
    if (!r->moved || !r->done->tensor || find_copy(r, &copy) || (r->from != r->to && find_arch(r)))
        return -1;
    for (size_t i = 0; i < r->m->n; i++) {
        struct named *x = &r->done->tensor[i];
        x->was = tensor_has_pieces(&r->m->t[i]) ? NULL : r->m->t[i].name;
        x->now = r->n;
        r->moved[i] = NO_TENSOR;
        int bad;
        if (i == copy) {
            bad = drop(r, i, "it is the embedding (tie_word_embeddings)");
        } else if (r->from == r->to) {
            r->moved[i] = r->n;
            bad = names_put(r, &r->m->t[i]);
        } else {
            bad = rename_one(r, i);
        }
        if (bad)
            return -1;
        x->count = r->n - x->now;
        if (r->moved[i] != NO_TENSOR) { /* not a stack that was taken apart */
            x->now = r->moved[i];
            x->count = 1;
        }
    }
    if (names_add_factors(r) || names_stack(r) || check_names(r, &by_name) || move_groups(r, g) || tell(r)) {
        map_free(&by_name);
        return -1;
    }
    if (r->from == NAMES_GGUF && r->to == NAMES_HF)
        r->done->tied = !map_find(&by_name, "lm_head.weight", &copy);
    r->done->architecture = r->arch ? r->arch->gguf : NULL;
    map_free(&r->m->by_name);
    free(r->m->t);
    r->m->t = r->t;
    r->m->n = r->n;
    r->m->by_name = by_name;
    r->m->naming = r->done;
    r->t = NULL;
    return 0;
}

static int names_apply(struct model *m, struct grouping *g, struct err *e)
{
    struct renaming r = {.m = m, .g = g, .from = names_of(m), .to = m->names, .e = e};
    r.done = arena_alloc(&m->mem, sizeof *r.done, e);
    if (!r.done)
        return -1;
    r.done->from = r.from;
    r.done->to = r.to;
    int bad = rename_all(&r, g);
    for (size_t i = 0; i < r.nstacks; i++)
        free(r.stack[i].piece);
    free(r.stack);
    map_free(&r.stack_of);
    free(r.moved);
    free(r.t);
    return bad;
}

int grouping_named(struct model *m, bool strict, struct grouping *g, struct err *e)
{
    if (grouping_read(m, strict, g, e))
        return -1;
    return m->names == NAMES_SOURCE || m->naming ? 0 : names_apply(m, g, e);
}

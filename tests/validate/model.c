#include "validate.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bits_of(const char *dtype)
{
    static const struct { const char *name; uint64_t bits; } types[] = {
        {"F64", 64}, {"F32", 32}, {"F16", 16}, {"BF16", 16}, {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F4", 4}, {"I64", 64},
        {"U64", 64}, {"I32", 32}, {"U32", 32}, {"I16", 16}, {"U16", 16}, {"I8", 8}, {"U8", 8}, {"BOOL", 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, dtype))
            return types[i].bits;
    return 0;
}

static void add_tensor(struct model *m, const char *file, const char *name, const json_t *x)
{
    m->t = realloc(m->t, (m->n + 1) * sizeof *m->t);
    struct tensor *t = &m->t[m->n++];
    *t = (struct tensor){0};
    snprintf(t->name, NAME, "%s", name);
    snprintf(t->file, sizeof t->file, "%s", file);
    snprintf(t->dtype, sizeof t->dtype, "%s", json_string_value(json_object_get(x, "dtype")) ? json_string_value(json_object_get(x, "dtype")) : "?");
    const json_t *shape = json_object_get(x, "shape"), *at = json_object_get(x, "data_offsets");
    uint64_t elems = 1;
    t->rank = (int)json_array_size(shape);
    for (int i = 0; i < t->rank && i < RANK; i++)
        elems *= t->dim[i] = (uint64_t)json_integer_value(json_array_get(shape, (size_t)i));
    t->size = (uint64_t)(json_integer_value(json_array_get(at, 1)) - json_integer_value(json_array_get(at, 0)));
    if (!bits_of(t->dtype))
        say("%s: dtype '%s' is none of safetensors", name, t->dtype);
    else if (t->rank > RANK || t->size * 8 != elems * bits_of(t->dtype))
        say("%s: its bytes are not those of its shape and dtype", name);
}

static void load_file(struct model *m, const char *name)
{
    char path[512];
    uint64_t n = 0;
    snprintf(path, sizeof path, "%s/%s", m->dir, name);
    FILE *f = fopen(path, "rb");
    if (!f || fread(&n, 8, 1, f) != 1 || n > 1u << 30) {
        say("%s: no header", name);
        return;
    }
    char *text = calloc(n + 1, 1);
    json_error_t e;
    json_t *root = fread(text, 1, n, f) == n ? json_loads(text, JSON_REJECT_DUPLICATES, &e) : NULL;
    const char *key;
    json_t *x;
    if (!root)
        say("%s: its header is no JSON", name);
    json_object_foreach(root, key, x)
        if (strcmp(key, "__metadata__"))
            add_tensor(m, name, key, x);
    json_decref(root);
    free(text);
    fclose(f);
}

json_t *side_file(const struct model *m, const char *name)
{
    char path[512];
    json_error_t e;
    snprintf(path, sizeof path, "%s/%s", m->dir, name);
    return json_load_file(path, 0, &e);
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name); }

const struct tensor *find(const struct model *m, const char *name)
{
    struct tensor key;
    snprintf(key.name, NAME, "%s", name);
    return bsearch(&key, m->t, m->n, sizeof *m->t, by_name);
}

/* Every tensor is in the map, in its shard, and nothing else; total_size is the sum of all bytes. */
static void check_index(const struct model *m, const char *name)
{
    json_t *index = side_file(m, name), *x;
    const json_t *map = json_object_get(index, "weight_map");
    const char *key;
    uint64_t all = 0;
    for (size_t i = 0; i < m->n; i++) {
        const char *shard = json_string_value(json_object_get(map, m->t[i].name));
        if (!shard || strcmp(shard, m->t[i].file))
            say("%s: %s is in %s, the index says %s", name, m->t[i].name, m->t[i].file, shard ? shard : "nothing");
        all += m->t[i].size;
    }
    json_object_foreach((json_t *)map, key, x)
        if (!find(m, key))
            say("%s: %s is in no file", name, key);
    if ((uint64_t)json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")) != all)
        say("%s: total_size is not %llu", name, (unsigned long long)all);
    json_decref(index);
}

void load(struct model *m, const char *dir)
{
    struct dirent **entry;
    const int n = scandir(dir, &entry, NULL, alphasort);
    char index[256] = "";
    int files = 0;
    *m = (struct model){.dir = dir};
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        const size_t len = strlen(name);
        if (len > 12 && !strcmp(name + len - 12, ".safetensors")) {
            load_file(m, name);
            files++;
        } else if (len > 11 && !strcmp(name + len - 11, ".index.json")) {
            snprintf(index, sizeof index, "%s", name);
        }
    }
    for (int i = 0; i < n; i++)
        free(entry[i]);
    if (n >= 0)
        free(entry);
    m->config = side_file(m, "config.json");
    m->sharded = files > 1;
    if (!m->n)
        say("no tensor in it");
    if (!json_is_object(m->config))
        say("config.json is no JSON object");
    qsort(m->t, m->n, sizeof *m->t, by_name);
    for (size_t i = 1; i < m->n; i++)
        if (!strcmp(m->t[i].name, m->t[i - 1].name))
            say("%s is there twice", m->t[i].name);
    if (files > 1 && !*index)
        say("several files and no index");
    if (*index)
        check_index(m, index);
}

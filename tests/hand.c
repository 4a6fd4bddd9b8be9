#include "tests/hand.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct hand *h, const char *text, size_t length)
{
    char line[256], name[128], type[16];
    uint64_t dim[TENSOR_MAX_RANK];
    uint8_t rank = 0;
    int at = 0;
    snprintf(line, sizeof line, "%.*s", (int)length, text);
    cr_assert_geq(sscanf(line, " %127s %15s %n", name, type, &at), 2, "%s", line);
    const enum dtype dtype = dtype_find(type, strlen(type));
    cr_assert_neq(dtype, DT_COUNT, "%s", line);
    for (const char *p = line + at; *p && *p != ' '; p += *p == ',') {
        char *end;
        dim[rank++] = strtoull(p, &end, 10);
        p = end;
    }
    hand_add(&h->m, name, dtype, rank, dim);
}

void hand_make(struct hand *h, const char *tensors, const char *config, const char *named,
               const char *description)
{
    *h = (struct hand){.m = {.config = config}};
    hand_grow(&h->m, 32);
    for (const char *s = tensors, *end; *s; s = *end ? end + 1 : end) {
        end = s + strcspn(s, ";");
        add(h, s, (size_t)(end - s));
    }
    h->m.kv = h->kv;
    if (named)
        h->kv[h->m.nkv++] = (struct meta){"octavo.convention", named};
    if (named && config)
        cr_assert_fail("a pipe carries config.json in octavo.config");
    if (description)
        h->kv[h->m.nkv++] = (struct meta){"octavo.description", description};
}

void hand_read(struct hand *h)
{
    h->e = (struct err){0};
    cr_assert_eq(grouping_read(&h->m, true, &h->g, &h->e), 0, "%s", h->e.msg);
}

void hand_refused(struct hand *h, const char *text1, const char *text2)
{
    h->e = (struct err){0};
    cr_assert_eq(grouping_read(&h->m, true, &h->g, &h->e), -1, "accepted; wanted '%s'", text1);
    cr_assert_eq(h->e.kind, ERR_INPUT);
    cr_assert(strstr(h->e.msg, text1) && strstr(h->e.msg, text2), "'%s' and '%s' in: %s", text1, text2,
              h->e.msg);
    cr_assert_eq(grouping_read(&h->m, false, &h->g, &h->e), 0, "ls must list it: %s", h->e.msg);
}

enum part hand_part(const struct hand *h, const char *tensor) { return h->g.part[hand_index(&h->m, tensor)]; }

const struct group *hand_group(const struct hand *h, const char *tensor)
{
    const size_t i = hand_index(&h->m, tensor);
    cr_assert_neq(h->g.part[i], PART_PLAIN, "'%s' is plain", tensor);
    return &h->g.g[h->g.group[i]];
}

void hand_drop(struct hand *h)
{
    hand_drop_model(&h->m);
    *h = (struct hand){0};
}

/* ---- tensor by tensor ---------------------------------------------------------- */

void hand_grow(struct model *m, size_t cap)
{
    struct err e = {0};
    m->path = "test";
    m->t = arena_array(&m->mem, cap, sizeof *m->t, &e);
    cr_assert_not_null(m->t);
}

void hand_add(struct model *m, const char *name, enum dtype dtype, uint8_t rank, const uint64_t *dim)
{
    struct err e = {0};
    struct tensor *t = &m->t[m->n];
    *t = (struct tensor){.name = arena_strdup(&m->mem, name, &e), .dtype = dtype, .rank = rank};
    memcpy(t->dim, dim, rank * sizeof *dim);
    cr_assert_eq(map_add(&m->by_name, t->name, m->n, &e), 0, "'%s' twice", name);
    m->n++;
}

void hand_add_out(struct model *m, const struct out_tensor *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hand_add(m, t[i].name, t[i].dtype, t[i].rank, t[i].dim);
}

size_t hand_index(const struct model *m, const char *tensor)
{
    size_t i = 0;
    cr_assert(map_find(&m->by_name, tensor, &i), "no tensor '%s'", tensor);
    return i;
}

/* map_free and arena_free: model_close() would close files that are not there. */
void hand_drop_model(struct model *m)
{
    map_free(&m->by_name);
    arena_free(&m->mem);
    *m = (struct model){0};
}

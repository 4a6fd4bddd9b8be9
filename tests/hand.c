#include "tests/hand.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct hand *h, const char *text, size_t length)
{
    struct model *m = &h->m;
    struct tensor *t = &m->t[m->n];
    char line[256], name[128], type[16];
    int at = 0;
    snprintf(line, sizeof line, "%.*s", (int)length, text);
    cr_assert_geq(sscanf(line, " %127s %15s %n", name, type, &at), 2, "%s", line);
    *t = (struct tensor){.name = arena_strdup(&m->mem, name, &h->e), .dtype = dtype_find(type, strlen(type))};
    cr_assert_neq(t->dtype, DT_COUNT, "%s", line);
    for (const char *s = line + at; *s && *s != ' '; s += *s == ',') {
        char *end;
        t->dim[t->rank++] = strtoull(s, &end, 10);
        s = end;
    }
    cr_assert_eq(map_add(&m->by_name, t->name, m->n, &h->e), 0, "'%s' twice", name);
    m->n++;
}

void hand_make(struct hand *h, const char *tensors, const char *config, const char *named,
               const char *description)
{
    *h = (struct hand){.m = {.path = "test", .config = config}};
    h->m.t = arena_array(&h->m.mem, 32, sizeof *h->m.t, &h->e);
    cr_assert_not_null(h->m.t);
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

static size_t index_of(const struct hand *h, const char *tensor)
{
    size_t i = 0;
    cr_assert(map_find(&h->m.by_name, tensor, &i), "no tensor '%s'", tensor);
    return i;
}

enum part hand_part(const struct hand *h, const char *tensor) { return h->g.part[index_of(h, tensor)]; }

const struct group *hand_group(const struct hand *h, const char *tensor)
{
    const size_t i = index_of(h, tensor);
    cr_assert_neq(h->g.part[i], PART_PLAIN, "'%s' is plain", tensor);
    return &h->g.g[h->g.group[i]];
}

/* map_free and arena_free: model_close() would close files that are not there. */
void hand_drop(struct hand *h)
{
    map_free(&h->m.by_name);
    arena_free(&h->m.mem);
    *h = (struct hand){0};
}

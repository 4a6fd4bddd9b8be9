#include "formats/writer.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tensor some[] = {
    {.name = "b.weight", .dtype = DT_F8_E4M3, .rank = 2, .dim = {3, 5}, .size = 15},
    {.name = "b.scale", .dtype = DT_F32, .rank = 2, .dim = {1, 1}, .size = 4},
    {.name = "a.weight", .dtype = DT_F8_E4M3, .rank = 2, .dim = {0, 5}, .size = 0},
    {.name = "a\"\\\n\xc3\xa9", .dtype = DT_BF16, .rank = 1, .dim = {3}, .size = 6},
    {.name = "Z", .dtype = DT_F32, .rank = 0, .size = 4},
    {.name = "ids", .dtype = DT_I64, .rank = 1, .dim = {1}, .size = 8},
    {.name = "a", .dtype = DT_BOOL, .rank = 3, .dim = {1, 1, 1}, .size = 1},
    {.name = "codes", .dtype = DT_F8_E8M0, .rank = 1, .dim = {2}, .size = 2},
};
enum { N = sizeof some / sizeof *some };
static const struct meta kv[] = {{"format", "pt"}, {"quoted \"\\\n", "line 1\nline\t2 \"\xe2\x82\xac\""}};

/* The header of file f; its members are in the order of the text. */
static json_t *header(const struct writer *w, size_t f)
{
    const uint8_t *const p = w->file[f].head;
    uint64_t n = 0;
    json_error_t je;
    for (int i = 0; i < 8; i++)
        n |= (uint64_t)p[i] << 8 * i;
    cr_assert_eq(n + 8, w->file[f].head_size);
    cr_assert_eq(w->file[f].head_size % 8, 0);
    cr_assert_eq(p[8], '{');
    json_t *const j = json_loadb((const char *)p + 8, n, JSON_REJECT_DUPLICATES, &je);
    cr_assert(j, "%s", je.text);
    return j;
}

static size_t index_of(const char *name)
{
    size_t i = 0;
    while (i < N && strcmp(some[i].name, name))
        i++;
    cr_assert_lt(i, (size_t)N, "%s", name);
    return i;
}

/* Every entry says what the table said, entries tile the data, and slots lie where entries say. */
static size_t check_file(const struct writer *w, size_t f, size_t order[N])
{
    json_t *const j = header(w, f);
    const char *name;
    json_t *v;
    uint64_t at = 0;
    size_t n = 0;
    json_object_foreach(j, name, v)
    {
        if (!strcmp(name, "__metadata__")) {
            cr_assert_eq(n, 0, "metadata comes first");
            cr_assert_eq(json_object_size(v), 2);
            for (int i = 0; i < 2; i++)
                cr_assert_str_eq(json_string_value(json_object_get(v, kv[i].key)), kv[i].value);
            continue;
        }
        const size_t i = order[n++] = index_of(name);
        const struct tensor *const t = &some[i];
        const struct sink_slot *const s = &w->slot[w->slot_of[i]];
        const json_t *const shape = json_object_get(v, "shape"), *const o =
                                                                     json_object_get(v, "data_offsets");
        cr_assert_eq(json_object_size(v), 3);
        cr_assert_str_eq(json_string_value(json_object_get(v, "dtype")), dtype_name(t->dtype));
        cr_assert_eq(json_array_size(shape), t->rank);
        for (size_t d = 0; d < t->rank; d++)
            cr_assert_eq((uint64_t)json_integer_value(json_array_get(shape, d)), t->dim[d]);
        cr_assert_eq(json_array_size(o), 2);
        cr_assert_eq((uint64_t)json_integer_value(json_array_get(o, 0)), at);
        cr_assert_eq((uint64_t)json_integer_value(json_array_get(o, 1)), at + t->size);
        cr_assert(s->file == f && s->off == w->file[f].head_size + at && s->size == t->size);
        at += t->size;
    }
    cr_assert_eq(w->file[f].size, w->file[f].head_size + at);
    cr_assert_eq(w->file[f].tail_size, 0);
    json_decref(j);
    return n;
}

Test(writer, canonical_order)
{
    /* safetensors' own order: dtype descending in its enum, then name by bytes */
    static const char *const want[] = {"ids",   "Z",        "b.scale",  "a\"\\\n\xc3\xa9",
                                       "codes", "a.weight", "b.weight", "a"};
    const uint32_t shard[N] = {0};
    const char *const path[] = {"out"};
    struct writer w;
    struct err e = {0};
    size_t order[N];
    cr_assert_eq(writer_safetensors(&w, some, N, shard, path, 1, kv, 2, false, &e), 0, "%s", e.msg);
    cr_assert_eq(check_file(&w, 0, order), N);
    for (size_t i = 0; i < N; i++)
        cr_assert_str_eq(some[order[i]].name, want[i]);
    for (size_t i = 1; i < N; i++)
        cr_assert(w.slot[i].off == w.slot[i - 1].off + w.slot[i - 1].size, "slots ascend");
    cr_assert_eq(w.bytes, w.file[0].size);
    cr_assert_str_eq(w.file[0].path, "out");
    writer_free(&w);
}

Test(writer, arrival_order)
{
    const uint32_t shard[N] = {0};
    const char *const path[] = {"-"};
    struct writer w;
    struct err e = {0};
    size_t order[N];
    cr_assert_eq(writer_safetensors(&w, some, N, shard, path, 1, kv, 2, true, &e), 0, "%s", e.msg);
    cr_assert_eq(check_file(&w, 0, order), N);
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(order[i], i);
    writer_free(&w);
}

/* Headers of every length modulo 8, with and without metadata. */
Test(writer, header_is_padded_to_eight)
{
    char name[] = "nnnnnnnn";
    const uint32_t shard[1] = {0};
    const char *const path[] = {"out"};
    for (size_t n = 0; n < 9; n++)
        for (size_t m = 0; m < 2; m++) {
            const struct tensor t = {.name = name + n, .dtype = DT_U8, .rank = 1, .dim = {3}, .size = 3};
            struct writer w;
            struct err e = {0};
            cr_assert_eq(writer_safetensors(&w, &t, 1, shard, path, 1, kv, m, false, &e), 0, "%s", e.msg);
            json_decref(header(&w, 0));
            cr_assert_eq(w.slot[0].off % 8, 0);
            writer_free(&w);
        }
}

Test(writer, no_tensors_at_all)
{
    const char *const path[] = {"out"};
    struct writer w;
    struct err e = {0};
    cr_assert_eq(writer_safetensors(&w, NULL, 0, NULL, path, 1, NULL, 0, false, &e), 0, "%s", e.msg);
    cr_assert(w.file[0].head_size == 16 && w.file[0].size == 16 && w.bytes == 16);
    cr_assert_eq(memcmp((const char *)w.file[0].head + 8, "{}      ", 8), 0);
    writer_free(&w);
}

/* An image as a sink would fill it: tensor i full of bytes 'A' + i. */
static struct buf fill(const struct writer *w, size_t f)
{
    struct buf b = {0};
    mk_put(&b, w->file[f].head, w->file[f].head_size);
    while (b.n < w->file[f].size)
        mk_put(&b, "", 1);
    for (size_t i = 0; i < N; i++)
        if (w->slot[w->slot_of[i]].file == f)
            memset(b.s + w->slot[w->slot_of[i]].off, 'A' + (int)i, some[i].size);
    return b;
}

Test(writer, the_reader_takes_it)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m");
    const uint32_t shard[N] = {0};
    const char *const paths[] = {path};
    for (int arrival = 0; arrival < 2; arrival++) {
        struct writer w;
        struct model m;
        struct err e = {0};
        cr_assert_eq(writer_safetensors(&w, some, N, shard, paths, 1, kv, 2, arrival, &e), 0, "%s", e.msg);
        struct buf b = fill(&w, 0);
        mk_write(path, b.s, b.n);
        cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
        cr_assert_eq(m.n, N);
        for (int i = 0; i < 2; i++)
            cr_assert_str_eq(model_meta(&m, kv[i].key), kv[i].value);
        for (size_t i = 0; i < N; i++) {
            size_t k;
            uint8_t p[16];
            cr_assert(map_find(&m.by_name, some[i].name, &k));
            const struct tensor *const t = &m.t[k];
            cr_assert(t->dtype == some[i].dtype && t->rank == some[i].rank && t->size == some[i].size);
            cr_assert_eq(memcmp(t->dim, some[i].dim, t->rank * sizeof *t->dim), 0);
            cr_assert_eq(model_read(&m, k, 0, p, t->size, &e), 0);
            for (size_t x = 0; x < t->size; x++)
                cr_assert_eq(p[x], 'A' + i);
        }
        model_close(&m);
        buf_free(&b);
        writer_free(&w);
    }
    free(path);
    mk_rmdir(dir);
}

Test(writer, shards_and_their_index)
{
    char *const dir = mk_tmpdir();
    char *const path[3] = {mk_path(dir, "m-00001-of-00003.safetensors"),
                           mk_path(dir, "m-00002-of-00003.safetensors"),
                           mk_path(dir, "m-00003-of-00003.safetensors")};
    const uint32_t shard[N] = {2, 2, 0, 0, 2, 0, 2, 0}; /* the second has nothing */
    struct writer w;
    struct err e = {0};
    size_t order[N], count[3];
    cr_assert_eq(writer_safetensors(&w, some, N, shard, (const char *const *)path, 3, kv, 2, false, &e), 0,
                 "%s", e.msg);
    uint64_t bytes = 0;
    for (size_t f = 0; f < 3; f++) {
        count[f] = check_file(&w, f, order);
        bytes += w.file[f].size;
        for (size_t i = 0; i < count[f]; i++)
            cr_assert_eq(shard[order[i]], f);
    }
    cr_assert(count[0] == 4 && count[1] == 0 && count[2] == 4);
    cr_assert_eq(bytes, w.bytes);

    struct buf text = {0};
    json_error_t je;
    cr_assert_eq(writer_index(&w, some, N, &text, &e), 0, "%s", e.msg);
    json_t *const j = json_loadb(text.s, text.n, JSON_REJECT_DUPLICATES, &je), *v;
    cr_assert(j, "%s", je.text);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(j, "metadata"), "total_size")), 40);
    const json_t *const map = json_object_get(j, "weight_map");
    cr_assert_eq(json_object_size(map), N);
    const char *name, *before = "";
    json_object_foreach((json_t *)map, name, v)
    {
        char want[64];
        snprintf(want, sizeof want, "m-%05u-of-00003.safetensors", shard[index_of(name)] + 1);
        cr_assert_str_eq(json_string_value(v), want, "%s", name);
        cr_assert_lt(strcmp(before, name), 0, "sorted");
        before = name;
    }
    json_decref(j);

    /* The reader finds them all through the index. */
    for (size_t f = 0; f < 3; f++) {
        struct buf b = fill(&w, f);
        mk_write(path[f], b.s, b.n);
        buf_free(&b);
    }
    char *const index = mk_path(dir, "model.safetensors.index.json");
    struct model m;
    mk_write(index, text.s, text.n);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    cr_assert(m.sharded && m.n == N);
    model_close(&m);
    buf_free(&text);
    free(index);
    for (int f = 0; f < 3; f++)
        free(path[f]);
    writer_free(&w);
    mk_rmdir(dir);
}

Test(writer, header_that_no_reader_takes)
{
    const size_t n = 100000000;
    char *const name = malloc(n + 1);
    memset(name, 'n', n);
    name[n] = 0;
    const struct tensor t = {.name = name, .dtype = DT_U8, .rank = 1, .dim = {3}, .size = 3};
    const uint32_t shard[1] = {0};
    const char *const path[] = {"out"};
    struct writer w;
    struct err e = {0};
    cr_assert_eq(writer_safetensors(&w, &t, 1, shard, path, 1, NULL, 0, false, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "--shard-size"), "%s", e.msg);
    free(name);
}

Test(writer, packed_slots_are_where_the_plan_says)
{
    struct tensor t[2] = {{.name = "a", .dtype = DT_U8, .rank = 1, .dim = {5}, .size = 5},
                          {.name = "b", .dtype = DT_F32, .rank = 1, .dim = {2}, .size = 8}};
    const struct packed_info info = {.align = 256};
    struct writer w;
    struct err e = {0};
    cr_assert_eq(writer_packed(&w, t, 2, "x.octp", &info, &e), 0, "%s", e.msg);
    cr_assert(w.nfiles == 1 && w.nslots == 2 && w.file[0].tail_size == 4 * 32);
    for (size_t i = 0; i < 2; i++)
        cr_assert(w.slot_of[i] == i && w.slot[i].off == t[i].off && w.slot[i].size == t[i].size
                  && t[i].off % 256 == 0);
    cr_assert(t[0].off >= w.file[0].head_size && t[1].off == t[0].off + 256);
    cr_assert_eq(w.file[0].size, t[1].off + 256 + 128);
    cr_assert_eq(w.bytes, w.file[0].size);
    writer_free(&w);
}

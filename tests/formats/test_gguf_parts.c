#include "formats/gguf.h"
#include "formats/io.h"
#include "formats/shards.h"
#include "tests/mk_gguf.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a model in parts ------------------------------------------------------------- */

/* What the keys of a part say, and its tensors; -1: the key is left out. */
struct part {
    int no, count, tensors;
    const char *tensor[3]; /* names; each is I8 [5] and filled with part, part + 1 ... */
};
/* Three parts, of which the first has no tensors, as gguf-split --no-tensor-first-split makes them. */
static const struct part good[3] = {
    {0, 3, 3, {NULL}}, {1, 3, 3, {"b", "a", NULL}}, {2, 3, 3, {"c", NULL}}};

static struct buf image(const struct part *p, uint32_t fill)
{
    char own[20];
    uint64_t n = 0, keys = 2 + (p->no >= 0) + (p->count >= 0) + (p->tensors >= 0);
    while (p->tensor[n])
        n++;
    struct buf b = gg_head(3, n, keys);
    snprintf(own, sizeof own, "own.%u", fill);
    gg_key(&b, "some.key", 4), mk_le(&b, 100 + fill, 4);
    gg_key(&b, own, 7), mk_le(&b, 1, 1);
    if (p->no >= 0)
        gg_key(&b, "split.no", 2), mk_le(&b, (uint64_t)p->no, 2);
    if (p->count >= 0)
        gg_key(&b, "split.count", 2), mk_le(&b, (uint64_t)p->count, 2);
    if (p->tensors >= 0)
        gg_key(&b, "split.tensors.count", 5), mk_le(&b, (uint64_t)p->tensors, 4);
    for (uint64_t i = 0; i < n; i++)
        gg_tensor(&b, p->tensor[i], 1, (uint64_t[]){5}, 24, 32 * i);
    for (uint64_t i = 0; i < n; i++) {
        gg_pad(&b, 32);
        for (uint32_t k = 0; k < 5; k++)
            mk_le(&b, fill + k, 1);
    }
    return b;
}

static char *name_of(const char *dir, int part, int parts)
{
    char name[40];
    snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", part + 1, parts);
    return mk_path(dir, name);
}

static void write_part(const char *dir, int i, int parts, const struct part *p)
{
    char *const path = name_of(dir, i, parts);
    struct buf b = image(p, (uint32_t)i);
    mk_write(path, b.s, b.n);
    buf_free(&b);
    free(path);
}

static char *write_all(const struct part p[3])
{
    char *const dir = mk_tmpdir();
    for (int i = 0; i < 3; i++)
        write_part(dir, i, 3, &p[i]);
    return dir;
}

/* ---- what is read ------------------------------------------------------------------- */

Test(gguf_parts, names)
{
    size_t stem;
    unsigned part, parts;
    cr_assert(gguf_part_name("a-00001-of-00001.gguf", &stem, &part, &parts));
    cr_assert(stem == 1 && part == 0 && parts == 1);
    cr_assert(gguf_part_name("dir/x-y-00012-of-65535.gguf", &stem, &part, &parts));
    cr_assert(stem == 7 && part == 11 && parts == 65535);
    static const char *const no[] = {"", "a", "a.gguf", "-00001-of-00002.gguf", "a-00000-of-00002.gguf",
                                     "a-00003-of-00002.gguf", "a-0001-of-00002.gguf", "a-00001-of-0002.gguf",
                                     "a-000x1-of-00002.gguf", "a-00001_of-00002.gguf", "a-00001-of-00002.ggu",
                                     "a00001-of-00002.gguf!", "a_00001-of-00002.gguf"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        cr_assert_not(gguf_part_name(no[i], &stem, &part, &parts), "%s", no[i]);
}

static void is_whole(const char *path)
{
    static const char *const name[] = {"b", "a", "c"};
    struct model m;
    struct err e = {0};
    uint8_t p[5];
    cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
    cr_assert(m.container == CONTAINER_GGUF && m.random && m.sharded);
    cr_assert_eq(m.nf, 3);
    cr_assert_eq(m.n, 3);
    for (size_t i = 0; i < 3; i++) {
        const uint32_t file = i < 2 ? 1 : 2;
        char want[40];
        snprintf(want, sizeof want, "m-%05u-of-00003.gguf", file + 1);
        cr_assert_str_eq(m.t[i].name, name[i]);
        cr_assert_eq(m.t[i].file, file);
        cr_assert_str_eq(m.f[file].name, want);
        cr_assert_eq(model_read(&m, i, 0, p, 5, &e), 0, "%s", e.msg);
        cr_assert(p[0] == file && p[4] == file + 4);
    }
    /* The keys are those of the first part. */
    cr_assert_eq(m.nkv, 5);
    cr_assert_eq(m.gguf_kv_count, 5);
    cr_assert(model_meta(&m, "own.0") && !model_meta(&m, "own.1") && !model_meta(&m, "own.2"));
    cr_assert_str_eq(model_meta(&m, "some.key"), "100");
    cr_assert_str_eq(model_meta(&m, "split.no"), "0");
    struct buf b = mk_read(m.f[0].path);
    cr_assert_eq(memcmp(m.gguf_kv, b.s + 24, m.gguf_kv_size), 0);
    cr_assert_eq(m.gguf_kv_size, b.n - 24);
    buf_free(&b);
    model_close(&m);
}

Test(gguf_parts, by_the_first_and_by_directory)
{
    char *const dir = write_all(good), *const path = name_of(dir, 0, 3);
    is_whole(path);
    is_whole(dir);
    cr_assert_eq(chdir(dir), 0);
    is_whole("m-00001-of-00003.gguf");
    is_whole(".");
    free(path);
    mk_rmdir(dir);
}

/* A count of 0 or 1 is no split, whatever the name; nor is the name alone. */
Test(gguf_parts, whole_files)
{
    static const struct part whole[] = {
        {0, 0, 2, {"a", "b", NULL}}, {0, 1, 2, {"a", "b", NULL}}, {-1, 0, -1, {"a", "b", NULL}},
        {-1, 1, -1, {"a", "b", NULL}}, {-1, -1, -1, {"a", "b", NULL}}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        struct model m;
        struct err e = {0};
        char *const dir = mk_tmpdir();
        write_part(dir, 0, 2, &whole[i]);
        cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
        cr_assert(m.n == 2 && m.nf == 1 && !m.sharded);
        model_close(&m);
        mk_rmdir(dir);
    }
}

/* ---- what is refused ----------------------------------------------------------------- */

static void refused(const char *path, const char *file, const char *text)
{
    struct model m;
    struct err e = {0};
    cr_assert_eq(model_open(&m, path, &e), -1, "accepted, should say '%s'", text);
    cr_assert_eq(e.kind, ERR_INPUT, "%s", e.msg);
    cr_assert(strstr(e.msg, file), "does not name %s: %s", file, e.msg);
    cr_assert(strstr(e.msg, text), "does not say '%s': %s", text, e.msg);
    cr_assert_not(strchr(e.msg, '\n'));
}

/* Three parts of which one says something else, opened by the first and by the directory. */
static void refused_with(int i, struct part p, const char *file, const char *text)
{
    char *const dir = write_all(good), *const path = name_of(dir, 0, 3);
    write_part(dir, i, 3, &p);
    refused(path, file, text);
    refused(dir, file, text);
    free(path);
    mk_rmdir(dir);
}

Test(gguf_parts, missing_parts)
{
    for (int i = 0; i < 3; i++) {
        char *const dir = write_all(good), *const path = name_of(dir, i, 3);
        cr_assert_eq(unlink(path), 0);
        refused(dir, strrchr(path, '/'), "is missing");
        free(path);
        mk_rmdir(dir);
    }
}

Test(gguf_parts, parts_out_of_place)
{
    refused_with(1, good[2], "m-00002-of-00003.gguf", "'split.no' is 2, and 1 in this place");
    refused_with(2, good[1], "m-00003-of-00003.gguf", "'split.no' is 1, and 2 in this place");
    refused_with(2, good[0], "m-00003-of-00003.gguf", "'split.no' is 0, and 2 in this place");
    refused_with(0, good[1], "m-00001-of-00003.gguf", "is part 2 of 3, but its name");
    refused_with(1, (struct part){1, 4, 3, {"b", "a", NULL}}, "m-00002-of", "'split.count' is 4, and 3");
    refused_with(1, (struct part){1, 3, 2, {"b", "a", NULL}}, "m-00002-of", "'split.tensors.count' is 2, and 3");
    refused_with(1, (struct part){-1, 3, 3, {"b", "a", NULL}}, "m-00002-of", "has no key 'split.no'");
    refused_with(1, (struct part){1, -1, 3, {"b", "a", NULL}}, "m-00002-of", "has no key 'split.count'");
    refused_with(1, (struct part){1, 3, -1, {"b", "a", NULL}}, "m-00002-of", "has no key 'split.tensors.count'");
    refused_with(0, (struct part){-1, 3, 3, {NULL}}, "m-00001-of", "has no key 'split.no'");
    refused_with(0, (struct part){0, 3, -1, {NULL}}, "m-00001-of", "has no key 'split.tensors.count'");
    refused_with(0, (struct part){3, 3, 3, {NULL}}, "m-00001-of", "claims to be part 4 of 3");
    refused_with(0, (struct part){0, 4, 3, {NULL}}, "m-00001-of", "does not end in '-00001-of-00004.gguf'");
    refused_with(0, (struct part){5, 1, 3, {NULL}}, "m-00001-of", "claims to be part 6 of 1");
}

Test(gguf_parts, tensors_are_counted)
{
    refused_with(2, (struct part){2, 3, 3, {NULL}}, "m-00001-of-00003.gguf", "have 2 tensors, and split.tensors.count is 3");
    refused_with(2, (struct part){2, 3, 3, {"c", "d", NULL}}, "m-00001-of-00003.gguf", "have 4 tensors");
    refused_with(2, (struct part){2, 3, 3, {"a", NULL}}, "tensor 'a'", "m-00002-of-00003.gguf and again in");
}

Test(gguf_parts, types_of_the_keys)
{
    static const struct { const char *key; uint32_t type; unsigned bytes; uint64_t x; const char *text; } bad[] = {
        {"split.no", 4, 4, 0, "is a u32, not a u16"}, {"split.count", 0, 1, 1, "is a u8, not a u16"},
        {"split.tensors.count", 4, 4, 0, "is a u32, not a i32"},
        {"split.tensors.count", 5, 4, UINT32_MAX, "-1 is negative"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m.gguf");
        struct buf b = gg_head(3, 0, 1);
        gg_key(&b, bad[i].key, bad[i].type), mk_le(&b, bad[i].x, bad[i].bytes);
        mk_write(path, b.s, b.n);
        refused(path, bad[i].key, bad[i].text);
        buf_free(&b);
        free(path);
        mk_rmdir(dir);
    }
}

Test(gguf_parts, not_by_another_part_nor_through_a_pipe)
{
    char *const dir = write_all(good), *path = name_of(dir, 1, 3), *const other = mk_path(dir, "first.gguf");
    struct buf b = mk_read(path);
    refused(path, "m-00002-of-00003.gguf: is part 2 of 3", "by its first part");
    refused(path, "m-00001-of-00003.gguf", "first part");
    free(path);
    path = name_of(dir, 0, 3);
    cr_assert_eq(rename(path, other), 0);
    refused(other, "first.gguf", "does not end in '-00001-of-00003.gguf'");
    buf_free(&b);
    b = mk_read(other);
    mk_stdin(b.s, b.n);
    refused("-", "standard input", "is part 1 of 3; parts are read as files");
    struct buf gz = mk_gzip(b.s, b.n);
    mk_write(path, gz.s, gz.n);
    refused(path, "m-00001-of-00003.gguf", "is part 1 of 3; parts are read as files");
    buf_free(&gz);
    mk_write(path, b.s, b.n);
    free(path);
    path = name_of(dir, 2, 3);
    buf_free(&b);
    b = mk_read(path);
    gz = mk_gzip(b.s, b.n);
    mk_write(path, gz.s, gz.n);
    free(path);
    path = name_of(dir, 0, 3);
    refused(path, "m-00003-of-00003.gguf", "is compressed");
    buf_free(&gz);
    buf_free(&b);
    free(path);
    free(other);
    mk_rmdir(dir);
}

/* A directory is one model only if all its GGUF files are parts of it. */
Test(gguf_parts, other_files_beside_them)
{
    static const char *const name[] = {"other.gguf", "n-00001-of-00003.gguf", "m-00001-of-00002.gguf",
                                       "mm-00001-of-00003.gguf"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char *const dir = write_all(good), *const path = mk_path(dir, name[i]);
        struct buf b = image(&good[0], 0);
        mk_write(path, b.s, b.n);
        refused(dir, name[i], "which one?");
        buf_free(&b);
        free(path);
        mk_rmdir(dir);
    }
}

Test(gguf_parts, truncated_parts)
{
    char *const dir = write_all(good);
    for (int i = 0; i < 3; i++) {
        char *const path = name_of(dir, i, 3);
        struct buf b = mk_read(path);
        for (size_t n = b.n; n-- > 0;) {
            cr_assert_eq(truncate(path, (off_t)n), 0);
            refused(dir, strrchr(path, '/'), "");
        }
        mk_write(path, b.s, b.n);
        buf_free(&b);
        free(path);
    }
    is_whole(dir);
    mk_rmdir(dir);
}

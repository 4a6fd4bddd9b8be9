#include "formats/gguf.h"
#include "formats/stream.h"
#include "tests/mk_gguf.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- images ---------------------------------------------------------------- */

static int open_image(struct model *m, const struct buf *b, size_t n, struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m.gguf");
    mk_write(path, b->s, n);
    const int rc = model_open(m, path, e);
    if (rc) {
        cr_assert_eq(e->kind, ERR_INPUT, "%s", e->msg);
        cr_assert(strstr(e->msg, "m.gguf"), "the file is not named: %s", e->msg);
    }
    free(path);
    mk_rmdir(dir);
    return rc;
}

static void rejected(struct buf *b, const char *name, const char *text)
{
    struct model m;
    struct err e = {0};
    cr_assert_eq(open_image(&m, b, b->n, &e), -1, "accepted, should say '%s'", text);
    cr_assert(strstr(e.msg, name), "does not name %s: %s", name, e.msg);
    cr_assert(strstr(e.msg, text), "does not say '%s': %s", text, e.msg);
    buf_free(b);
}

/* Two tensors, [3,2] F32 and a Q8_0 row of 64, with their padding. */
static struct buf small(uint32_t version)
{
    struct buf b = gg_head(version, 2, 1);
    gg_key(&b, "general.name", 8);
    gg_str(&b, "small");
    gg_tensor(&b, "first.weight", 2, (uint64_t[]){2, 3}, 0, 0);
    gg_tensor(&b, "second.weight", 1, (uint64_t[]){64}, 8, 32);
    gg_pad(&b, 32);
    gg_data(&b, 24);
    gg_pad(&b, 32);
    gg_data(&b, 68);
    return b;
}

/* ---- what is read ---------------------------------------------------------- */

Test(gguf, tensors_and_reversed_dimensions)
{
    for (uint32_t version = 2; version <= 3; version++) {
        struct model m;
        struct err e = {0};
        uint8_t p[68];
        struct buf b = small(version);
        cr_assert_eq(open_image(&m, &b, b.n, &e), 0, "%s", e.msg);
        cr_assert_eq(m.container, CONTAINER_GGUF);
        cr_assert_eq(m.n, 2);
        cr_assert_str_eq(m.t[0].name, "first.weight");
        cr_assert(m.t[0].rank == 2 && m.t[0].dim[0] == 3 && m.t[0].dim[1] == 2);
        cr_assert(m.t[0].dtype == DT_F32 && m.t[0].size == 24 && m.t[0].off % 32 == 0);
        cr_assert(m.t[1].dtype == DT_Q8_0 && m.t[1].size == 68);
        cr_assert_eq(model_read(&m, 1, 0, p, 68, &e), 0);
        cr_assert(p[0] == 1 && p[67] == 68);
        cr_assert_str_eq(model_meta(&m, "general.name"), "small");
        model_close(&m);
        buf_free(&b);
    }
}

/* Every type of ggml.h: number, name, elements and bytes of a block. */
static const struct {
    uint32_t id;
    const char *name;
    uint64_t elems, bytes;
} types[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
};
enum { TYPES = sizeof types / sizeof *types };

/* A tensor [3,1,elems] of one type. */
static struct buf of_type(size_t i)
{
    struct buf b = gg_head(3, 1, 0);
    gg_tensor(&b, "t", 3, (uint64_t[]){types[i].elems, 1, 3}, types[i].id, 0);
    gg_pad(&b, 32);
    gg_data(&b, 3 * types[i].bytes);
    return b;
}

Test(gguf, every_type_is_read)
{
    for (size_t i = 0; i < TYPES; i++) {
        struct model m;
        struct err e = {0};
        struct buf b = of_type(i);
        cr_assert_eq(open_image(&m, &b, b.n, &e), 0, "%s", e.msg);
        cr_assert_str_eq(dtype_name(m.t[0].dtype), types[i].name);
        cr_assert_eq(m.t[0].size, 3 * types[i].bytes);
        cr_assert_eq(dtype_table[m.t[0].dtype].block_elems, types[i].elems);
        model_close(&m);
        buf_free(&b);
    }
}

/* All others up to 50 are refused, and those that once were are called by name. */
Test(gguf, no_other_type_is_read)
{
    static const struct { uint32_t id; const char *name; } removed[] = {
        {4, "Q4_2"}, {5, "Q4_3"}, {31, "Q4_0_4_4"}, {32, "Q4_0_4_8"}, {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"},
        {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}};
    size_t refused = 0;
    for (uint32_t id = 0; id <= 50; id++) {
        char text[60] = "no tensor type";
        size_t i = 0;
        while (i < TYPES && types[i].id != id)
            i++;
        if (i < TYPES)
            continue;
        for (size_t k = 0; k < sizeof removed / sizeof *removed; k++)
            if (removed[k].id == id)
                sprintf(text, "type %s was removed", removed[k].name);
        struct buf b = gg_head(3, 1, 0);
        gg_tensor(&b, "a.b", 1, (uint64_t[]){256}, id, 0), gg_pad(&b, 32), gg_data(&b, 512);
        rejected(&b, "'a.b'", text);
        refused++;
    }
    cr_assert_eq(refused, 16);
}

Test(gguf, values_become_text)
{
    struct model m;
    struct err e = {0};
    const float f = 1e-5f;
    const double d = 0.1;
    uint32_t f_bits;
    uint64_t d_bits;
    memcpy(&f_bits, &f, 4);
    memcpy(&d_bits, &d, 8);
    const struct { uint32_t type; uint64_t bits; unsigned n; const char *text; } v[] = {
        {0, 200, 1, "200"}, {1, 0xff, 1, "-1"}, {2, 65535, 2, "65535"}, {3, 0x8000, 2, "-32768"},
        {4, UINT32_MAX, 4, "4294967295"}, {5, 0x80000000u, 4, "-2147483648"},
        {6, f_bits, 4, "9.99999975e-06"}, {7, 0, 1, "false"}, {7, 1, 1, "true"},
        {10, UINT64_MAX, 8, "18446744073709551615"}, {11, 1ull << 63, 8, "-9223372036854775808"},
        {12, d_bits, 8, "0.10000000000000001"}};
    enum { N = sizeof v / sizeof *v };
    struct buf b = gg_head(3, 0, N + 8);
    char name[16];
    for (size_t i = 0; i < N; i++) {
        sprintf(name, "k%zu", i);
        gg_key(&b, name, v[i].type);
        mk_le(&b, v[i].bits, v[i].n);
    }
    gg_key(&b, "text", 8), gg_str(&b, "a \"text\"\n");
    gg_key(&b, "none", 8), gg_str(&b, "");
    gg_key(&b, "nul", 8), mk_le(&b, 3, 8), mk_put(&b, "a\0b", 3);
    gg_key(&b, "latin", 8), gg_str(&b, "caf\xe9");
    gg_key(&b, "long", 8), mk_le(&b, 70000, 8), gg_data(&b, 70000);
    gg_key(&b, "numbers", 9), mk_le(&b, 5, 4), mk_le(&b, 2, 8);
    mk_le(&b, 7, 4), mk_le(&b, UINT32_MAX, 4);
    gg_key(&b, "tags", 9), mk_le(&b, 8, 4), mk_le(&b, 2, 8), gg_str(&b, "x\"y"), gg_str(&b, "z");
    gg_key(&b, "many", 9), mk_le(&b, 8, 4), mk_le(&b, 17, 8);
    for (int i = 0; i < 17; i++)
        gg_str(&b, "token");
    cr_assert_eq(open_image(&m, &b, b.n, &e), 0, "%s", e.msg);
    cr_assert_eq(m.nkv, N + 8);
    for (size_t i = 0; i < N; i++) {
        sprintf(name, "k%zu", i);
        cr_assert_str_eq(model_meta(&m, name), v[i].text);
    }
    cr_assert_str_eq(model_meta(&m, "text"), "a \"text\"\n");
    cr_assert_str_eq(model_meta(&m, "none"), "");
    cr_assert_str_eq(model_meta(&m, "nul"), "[3 bytes]");
    cr_assert_str_eq(model_meta(&m, "latin"), "[4 bytes]");
    cr_assert_str_eq(model_meta(&m, "long"), "[70000 bytes]");
    cr_assert_str_eq(model_meta(&m, "numbers"), "[7,-1]");
    cr_assert_str_eq(model_meta(&m, "tags"), "[\"x\\\"y\",\"z\"]");
    cr_assert_str_eq(model_meta(&m, "many"), "[17 strings]");
    model_close(&m);
    buf_free(&b);
}

Test(gguf, alignment_of_the_file_is_honoured)
{
    struct model m;
    struct err e = {0};
    struct buf b = gg_head(3, 2, 1);
    gg_key(&b, "general.alignment", 4), mk_le(&b, 256, 4);
    gg_tensor(&b, "a", 1, (uint64_t[]){3}, 24, 0);
    gg_tensor(&b, "b", 1, (uint64_t[]){3}, 24, 256);
    gg_pad(&b, 256), gg_data(&b, 3), gg_pad(&b, 256), gg_data(&b, 3);
    cr_assert_eq(open_image(&m, &b, b.n, &e), 0, "%s", e.msg);
    cr_assert_eq(m.t[0].off % 256, 0);
    cr_assert_eq(m.t[1].off, m.t[0].off + 256);
    model_close(&m);
    buf_free(&b);
}

/* The keys as bytes: nothing of them is lost, whatever the text says. */
Test(gguf, keys_are_kept_as_they_are)
{
    struct model m;
    struct err e = {0};
    struct buf b = gg_head(3, 1, 3);
    gg_key(&b, "tokens", 9), mk_le(&b, 8, 4), mk_le(&b, 20, 8);
    for (int i = 0; i < 20; i++)
        gg_str(&b, i % 2 ? "odd" : "");
    gg_key(&b, "general.alignment", 4), mk_le(&b, 64, 4);
    gg_key(&b, "latin", 8), gg_str(&b, "caf\xe9");
    const size_t end = b.n;
    gg_tensor(&b, "t", 1, (uint64_t[]){1}, 24, 0), gg_pad(&b, 64), gg_data(&b, 1);
    cr_assert_eq(open_image(&m, &b, b.n, &e), 0, "%s", e.msg);
    cr_assert_eq(m.gguf_kv_count, 3);
    cr_assert_eq(m.gguf_kv_size, end - 24);
    cr_assert_eq(memcmp(m.gguf_kv, b.s + 24, end - 24), 0);
    model_close(&m);
    cr_assert(!m.gguf_kv && !m.gguf_kv_size && !m.gguf_kv_count);
    buf_free(&b);
    b = gg_head(2, 0, 0);
    cr_assert_eq(open_image(&m, &b, b.n, &e), 0, "%s", e.msg);
    cr_assert(!m.gguf_kv_size && !m.gguf_kv_count);
    model_close(&m);
    buf_free(&b);
}

/* ---- what is refused ------------------------------------------------------- */

Test(gguf, rejects_heads)
{
    struct buf b = gg_head(1, 0, 0);
    rejected(&b, "", "version 1");
    b = gg_head(4, 0, 0);
    rejected(&b, "", "version 4");
    b = gg_head(3u << 24, 0, 0);
    rejected(&b, "", "big-endian");
    b = gg_head(3, UINT64_MAX, 0);
    rejected(&b, "", "-1 tensors");
    b = gg_head(3, 0, UINT64_MAX);
    rejected(&b, "", "-1 keys");
    b = gg_head(3, INT64_MAX, 0);
    rejected(&b, "", "ends");
    b = gg_head(3, 0, INT64_MAX);
    rejected(&b, "", "ends");
}

Test(gguf, rejects_keys)
{
    struct buf b = gg_head(3, 0, 1);
    gg_key(&b, "some.key", 13), mk_le(&b, 0, 8);
    rejected(&b, "'some.key'", "no value type 13");
    b = gg_head(3, 0, 1), gg_key(&b, "", 0), mk_le(&b, 0, 1);
    rejected(&b, "", "no name");
    b = gg_head(3, 0, 2), gg_key(&b, "some.key", 0), mk_le(&b, 0, 1), gg_key(&b, "some.key", 0);
    mk_le(&b, 0, 1);
    rejected(&b, "'some.key'", "twice");
    b = gg_head(3, 0, 1), gg_key(&b, "bad\xff", 0), mk_le(&b, 0, 1);
    rejected(&b, "", "not UTF-8");
    b = gg_head(3, 0, 1), gg_key(&b, "some.key", 9), mk_le(&b, 9, 4), mk_le(&b, 0, 8);
    rejected(&b, "'some.key'", "array itself");
    b = gg_head(3, 0, 1), gg_key(&b, "some.key", 9), mk_le(&b, 99, 4), mk_le(&b, 0, 8);
    rejected(&b, "'some.key'", "array of type 99");
    b = gg_head(3, 0, 1), gg_key(&b, "general.alignment", 4), mk_le(&b, 24, 4);
    rejected(&b, "'general.alignment'", "24 is not a power of two");
    b = gg_head(3, 0, 1), gg_key(&b, "general.alignment", 4), mk_le(&b, 0, 4);
    rejected(&b, "'general.alignment'", "0 is not a power of two");
    b = gg_head(3, 0, 1), gg_key(&b, "general.alignment", 10), mk_le(&b, 32, 8);
    rejected(&b, "'general.alignment'", "not a u32");
}

/* Counts that no file holds: refused by what the file has, before any allocation. */
Test(gguf, huge_counts_take_no_memory)
{
    static const uint64_t count[] = {UINT64_MAX, 1ull << 62, 73939795391, 1ull << 33, 3000000000};
#ifndef MK_SANITIZED /* a sanitizer reserves terabytes for itself */
    const struct rlimit limit = {256 << 20, 256 << 20};
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
#endif
    for (size_t i = 0; i < sizeof count / sizeof *count; i++) {
        struct buf b = gg_head(3, 0, 1);
        gg_key(&b, "some.key", 8), mk_le(&b, count[i], 8), gg_data(&b, 100);
        rejected(&b, "'some.key'", "");
        b = gg_head(3, 0, 1), mk_le(&b, count[i], 8), gg_data(&b, 100);
        rejected(&b, "", "");
        for (uint32_t type = 0; type <= 12; type++) {
            if (type == 9)
                continue;
            b = gg_head(3, 0, 1), gg_key(&b, "some.key", 9), mk_le(&b, type, 4), mk_le(&b, count[i], 8);
            gg_data(&b, 100);
            rejected(&b, "'some.key'", "");
        }
        b = gg_head(3, 1, 0), mk_le(&b, count[i], 8), gg_data(&b, 100);
        rejected(&b, "", "");
    }
}

Test(gguf, rejects_tensors)
{
    struct buf b = gg_head(3, 1, 0);
    gg_tensor(&b, "a.b", 5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0), gg_pad(&b, 32), gg_data(&b, 4);
    rejected(&b, "'a.b'", "5 dimensions");
    b = gg_head(3, 1, 0), gg_tensor(&b, "a.b", 1, (uint64_t[]){UINT64_MAX}, 0, 0), gg_pad(&b, 32);
    rejected(&b, "'a.b'", "negative");
    b = gg_head(3, 1, 0), gg_tensor(&b, "a.b", 2, (uint64_t[]){1ull << 32, 1ull << 32}, 0, 0);
    rejected(&b, "'a.b'", "elements overflows");
    b = gg_head(3, 1, 0), gg_tensor(&b, "a.b", 1, (uint64_t[]){1ull << 62}, 0, 0), gg_pad(&b, 32);
    rejected(&b, "'a.b'", "overflows");
    b = gg_head(3, 1, 0), gg_tensor(&b, "a.b", 2, (uint64_t[]){31, 32}, 8, 0), gg_pad(&b, 32);
    rejected(&b, "'a.b'", "31 elements are no whole number of Q8_0 blocks of 32");
    b = gg_head(3, 1, 0), gg_tensor(&b, "a.b", 1, (uint64_t[]){UINT32_MAX}, UINT32_MAX, 0);
    rejected(&b, "'a.b'", "no tensor type 4294967295");
    b = gg_head(3, 1, 0), gg_tensor(&b, "a.b", 2, (uint64_t[]){128, 2}, 12, 0), gg_pad(&b, 32);
    rejected(&b, "'a.b'", "128 elements are no whole number of Q4_K blocks of 256");
    b = gg_head(3, 1, 0), gg_tensor(&b, "a.b", 1, (uint64_t[]){1}, 0, 32), gg_pad(&b, 32), gg_data(&b, 64);
    rejected(&b, "'a.b'", "byte 32 of the data");
    b = gg_head(3, 2, 0), gg_tensor(&b, "x", 1, (uint64_t[]){1}, 0, 0);
    gg_tensor(&b, "a.b", 1, (uint64_t[]){1}, 0, 4), gg_pad(&b, 32), gg_data(&b, 64);
    rejected(&b, "'a.b'", "byte 4 of the data");
    b = gg_head(3, 2, 0), gg_tensor(&b, "a.b", 1, (uint64_t[]){1}, 0, 0);
    gg_tensor(&b, "a.b", 1, (uint64_t[]){1}, 0, 32), gg_pad(&b, 32), gg_data(&b, 64);
    rejected(&b, "'a.b'", "listed twice");
    b = gg_head(3, 1, 0);
    gg_tensor(&b, "64 bytes are one too many for the name of a tensor in this format", 1,
           (uint64_t[]){1}, 0, 0);
    rejected(&b, "", "longer than 63");
}

Test(gguf, truncation_at_every_byte_is_an_error)
{
    struct buf b = small(3);
    for (size_t n = 0; n < b.n; n++) {
        struct model m;
        struct err e = {0};
        cr_assert_eq(open_image(&m, &b, n, &e), -1, "cut at %zu", n);
    }
    buf_free(&b);
}

Test(gguf, truncation_of_every_type)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m.gguf");
    for (size_t i = 0; i < TYPES; i++) {
        struct buf b = of_type(i);
        mk_write(path, b.s, b.n);
        for (size_t n = b.n; n-- > 0;) {
            struct model m;
            struct err e = {0};
            cr_assert_eq(truncate(path, (off_t)n), 0);
            cr_assert_eq(model_open(&m, path, &e), -1, "%s cut at %zu", types[i].name, n);
            cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "m.gguf"), "%s", e.msg);
        }
        buf_free(&b);
    }
    free(path);
    mk_rmdir(dir);
}

Test(gguf, changed_bytes_never_crash)
{
    static const uint8_t value[] = {0, 1, 2, 9, 0x7f, 0x80, 0xff};
    struct buf b = small(3);
    for (size_t i = 4; i < b.n - 100; i++)
        for (size_t k = 0; k < sizeof value; k++) {
            struct arena mem = {0};
            struct table table = {0};
            struct gguf_info info;
            struct err e = {0};
            struct head h = {.path = "m", .fd = -1, .file_size = b.n, .n = b.n, .cap = b.n};
            h.p = malloc(b.n);
            memcpy(h.p, b.s, b.n);
            h.p[i] = value[k];
            if (gguf_read(&h, 0, &mem, &table, &info, &e))
                cr_assert_eq(e.kind, ERR_INPUT);
            table_free(&table);
            arena_free(&mem);
            free(h.p);
        }
    buf_free(&b);
}

/* ---- files made by others -------------------------------------------------- */

/* As upstream's test does it: with the data, or the header alone. */
static int read_conformance(const char *path, bool with_data, struct err *e)
{
    struct model m;
    if (with_data) {
        const int rc = model_open(&m, path, e);
        if (!rc)
            model_close(&m);
        return rc;
    }
    struct arena mem = {0};
    struct table table = {0};
    struct gguf_info info;
    struct buf b = mk_read(path);
    /* The size is said to be unknown, as on a pipe, so that data is not looked for. */
    mk_stdin("", 0);
    struct head h = {.path = path, .fd = -1, .file_size = UINT64_MAX, .p = (uint8_t *)b.s,
                     .n = b.n, .cap = b.cap, .stream = stream_open(0, path, e)};
    cr_assert(h.stream);
    const int rc = gguf_read(&h, 0, &mem, &table, &info, e);
    stream_close(h.stream);
    b.s = (char *)h.p; /* may have moved */
    table_free(&table);
    arena_free(&mem);
    buf_free(&b);
    return rc;
}

Test(gguf, conformance_files_get_the_upstream_verdict)
{
    char *const list = mk_data("gguf-conformance/EXPECTED.tsv");
    if (!list)
        return;
    FILE *const f = fopen(list, "r");
    char line[400], file[200], mode[40];
    size_t n = 0;
    cr_assert(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%199s %*s %*s %*s %39s", file, mode) != 2 || !strcmp(file, "file"))
            continue;
        char name[300];
        snprintf(name, sizeof name, "gguf-conformance/%s", file);
        char *const path = mk_data(name);
        cr_assert(path);
        struct err e = {0};
        const bool accept = !strncmp(file, "accept", 6);
        const int rc = read_conformance(path, !strcmp(mode, "with_data"), &e);
        cr_assert_eq(!rc, accept, "%s: %s", file, rc ? e.msg : "accepted");
        free(path);
        n++;
    }
    cr_assert_eq(n, 22);
    fclose(f);
    free(list);
}

Test(gguf, damaged_file_is_refused_and_vocabularies_open)
{
    static const char *const good[] = {"bert-bge", "deepseek-coder", "gpt-2", "llama-spm"};
    struct model m;
    struct err e = {0};
    char *path = mk_data("gguf-corrupted/llama-spm-utf8-lossy.gguf");
    if (!path)
        return;
    cr_assert_eq(model_open(&m, path, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "73939795391"), "%s", e.msg);
    free(path);
    for (size_t i = 0; i < 4; i++) {
        char name[100];
        snprintf(name, sizeof name, "gguf-vocab/ggml-vocab-%s.gguf", good[i]);
        path = mk_data(name);
        cr_assert(path);
        cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
        cr_assert_eq(m.n, 0);
        cr_assert(strstr(model_meta(&m, "tokenizer.ggml.tokens"), " strings]"));
        /* Files of keys alone: they are all that follows the head. */
        struct buf b = mk_read(path);
        cr_assert_eq(m.gguf_kv_size, b.n - 24);
        cr_assert_eq(memcmp(m.gguf_kv, b.s + 24, b.n - 24), 0);
        cr_assert_eq(m.gguf_kv_count, m.nkv);
        buf_free(&b);
        model_close(&m);
        free(path);
    }
}

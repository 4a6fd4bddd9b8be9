#include "formats/model.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_image(struct model *m, const void *p, size_t n, struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m.safetensors");
    mk_write(path, p, n);
    const int rc = model_open(m, path, e);
    if (rc) {
        cr_assert_eq(e->kind, ERR_INPUT, "%s", e->msg);
        cr_assert(strstr(e->msg, "m.safetensors: "), "the file is not named: %s", e->msg);
    }
    free(path);
    mk_rmdir(dir); /* the model keeps its descriptor */
    return rc;
}

static void accept(const char *json, size_t data)
{
    struct model m;
    struct err e = {0};
    struct buf b = mk_header(json, data);
    cr_assert_eq(open_image(&m, b.s, b.n, &e), 0, "%s: %s", json, e.msg);
    model_close(&m);
    buf_free(&b);
}

/* text: what the sentence must say, such as the name of the tensor and the rule */
static void reject(const char *json, size_t data, const char *name, const char *text)
{
    struct model m;
    struct err e = {0};
    struct buf b = mk_header(json, data);
    cr_assert_eq(open_image(&m, b.s, b.n, &e), -1, "accepted: %s", json);
    cr_assert(strstr(e.msg, name), "%s: does not name %s: %s", json, name, e.msg);
    cr_assert(strstr(e.msg, text), "%s: does not say '%s': %s", json, text, e.msg);
    buf_free(&b);
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

Test(safetensors, table_is_in_order_of_offsets)
{
    struct model m;
    struct err e = {0};
    struct buf b = mk_header("{" T("b", "F32", "[2,3]", "[8,32]") ",\"__metadata__\":{\"k\":\"v\"},"
                             T("z2", "U8", "[0]", "[8,8]") "," T("z1", "U8", "[3,0]", "[8,8]") ","
                             T("a", "BF16", "[4]", "[0,8]") ","
                             T("c", "I64", "[]", "[32,40]") "}  ", 40);
    cr_assert_eq(open_image(&m, b.s, b.n, &e), 0, "%s", e.msg);
    static const char *const name[] = {"a", "z2", "z1", "b", "c"};
    cr_assert_eq(m.n, 5);
    for (size_t i = 0; i < 5; i++)
        cr_assert_str_eq(m.t[i].name, name[i]);
    cr_assert_eq(m.container, CONTAINER_SAFETENSORS);
    cr_assert(m.random && !m.sharded && m.nf == 1);
    const struct tensor *const t = &m.t[3];
    cr_assert(t->dtype == DT_F32 && t->rank == 2 && t->dim[0] == 2 && t->dim[1] == 3);
    cr_assert(t->size == 24 && t->off == b.n - 32);
    cr_assert(m.t[4].rank == 0 && m.t[4].size == 8 && tensor_elems(&m.t[4]) == 1);
    cr_assert_eq(tensor_elems(&m.t[1]), 0);
    cr_assert_str_eq(model_meta(&m, "k"), "v");
    cr_assert_null(model_meta(&m, "x"));
    size_t i;
    cr_assert(map_find(&m.by_name, "b", &i) && i == 3);
    uint8_t p[24];
    cr_assert_eq(model_read(&m, 3, 2, p, 22, &e), 0);
    cr_assert(p[0] == 11 && p[21] == 32);
    cr_assert_eq(model_read(&m, 1, 0, p, 0, &e), 0);
    cr_assert_eq(model_finish(&m, &e), 0);
    model_close(&m);
    buf_free(&b);
}

Test(safetensors, accepts)
{
    accept("{}", 0);
    accept("{}\r\n\t ", 0);
    accept("{\"__metadata__\":{}}", 0);
    accept("{" T("a", "F32", "[ 1 , 2 ]", "[ 0,\n8]") "}", 8);
    /* rank 0, zero sizes, eight dimensions */
    accept("{" T("a", "F32", "[]", "[0,4]") "}", 4);
    accept("{" T("a", "F32", "[4,0,3]", "[0,0]") "}", 0);
    accept("{" T("a", "U8", "[1,1,1,1,1,1,1,2]", "[0,2]") "}", 2);
    /* types smaller than a byte, in whole bytes */
    accept("{" T("a", "F4", "[3,2]", "[0,3]") "}", 3);
    accept("{" T("a", "F6_E2M3", "[4]", "[0,3]") "}", 3);
    /* fields in any order, unknown ones ignored, whatever they hold */
    accept("{\"a\":{\"data_offsets\":[0,4],"
           "\"x\":[1,-2.5e+3,{\"y\":[null,true,false,\"\\\"\"]},0.1],"
           "\"shape\":[1],\"dtype\":\"F32\",\"x\":{}}}", 4);
    /* names are any text; the empty one too */
    accept("{" T("", "U8", "[1]", "[0,1]") "," T("\xe6\x9d\x83", "U8", "[1]", "[1,2]") "}", 2);
}

Test(safetensors, every_dtype_by_name_and_size)
{
    for (int t = 0; dtype_is_safetensors((enum dtype)t); t++) {
        const struct dtype_info *const d = &dtype_table[t];
        char json[200];
        struct model m;
        struct err e = {0};
        snprintf(json, sizeof json,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[%u,2],\"data_offsets\":[0,%u]}}", d->name,
                 d->block_elems, 2 * d->block_bytes);
        struct buf b = mk_header(json, 2 * d->block_bytes);
        cr_assert_eq(open_image(&m, b.s, b.n, &e), 0, "%s", e.msg);
        cr_assert_eq((int)m.t[0].dtype, t);
        model_close(&m);
        buf_free(&b);
    }
}

Test(safetensors, escapes_become_utf8)
{
    struct model m;
    struct err e = {0};
    struct buf b = mk_header(
        "{" T("a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u6743\\uD83D\\ude00z", "U8",
              "[1]", "[0,1]")
        ",\"__meta\\u0064ata__\":{\"\\u006b\":\"\\u00FF\"}}", 1);
    cr_assert_eq(open_image(&m, b.s, b.n, &e), 0, "%s", e.msg);
    cr_assert_str_eq(m.t[0].name, "a\"\\/\b\f\n\r\tA\xc3\xa9\xe6\x9d\x83\xf0\x9f\x98\x80z");
    cr_assert_str_eq(model_meta(&m, "k"), "\xc3\xbf");
    model_close(&m);
    buf_free(&b);
}

Test(safetensors, rejects_json_that_is_none)
{
    static const char *const bad[] = {
        "", " ", "[", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":1}", "{\"a\":{}", "{,}",
        "{}x", "{}{}", "{\"__metadata__\":{\"a\":1}}", "{\"__metadata__\":{\"a\":null}}",
        "{\"__metadata__\":[]}", "{\"__metadata__\":{\"a\":\"b\",}}",
        "{\"__metadata__\":{\"a\" \"b\"}}",
        "{\"__metadata__\":{\"a\":\"\\x\"}}", "{\"__metadata__\":{\"a\":\"\\u12g4\"}}",
        "{\"__metadata__\":{\"a\":\"\\ud800\"}}", "{\"__metadata__\":{\"a\":\"\\ud800\\u0041\"}}",
        "{\"__metadata__\":{\"a\":\"\\udc00\"}}", "{\"__metadata__\":{\"a\":\"\n\"}}",
        "{\"__metadata__\":{\"a\":\"\x7f\x80\"}}", "{\"__metadata__\":{\"a\":\"\xc0\xaf\"}}",
        "{\"__metadata__\":{\"a\":\"\xed\xa0\x80\"}}",
        "{\"__metadata__\":{\"a\":\"\xf4\x90\x80\x80\"}}",
        "{\"__metadata__\":{\"a\":\"\xe6\x9d\"}}", "{\"__metadata__\":{\"a\":\"\\u0000\"}}",
        "{\"__metadata__\":{}, \"__metadata__\":{}}",
        "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}",
        "{\"a\\u0000\":{}}", " {}", "\xef\xbb\xbf{}", "null", "\"a\"", "{'a':1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        reject(bad[i], 0, "", "");
}

Test(safetensors, rejects_fields_that_are_wrong)
{
    reject("{\"a.b\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'a.b'", "no dtype");
    reject("{\"a.b\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "'a.b'", "no shape");
    reject("{\"a.b\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "'a.b'", "no data_offsets");
    reject("{\"a.b\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
           4,
           "'a.b'", "twice");
    reject("{\"a.b\":{\"shape\":[1],\"shape\":[1],\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
           "'a.b'", "twice");
    reject("{" T("a.b", "F31", "[1]", "[0,4]") "}", 4, "'a.b'", "unknown dtype F31");
    reject("{" T("a.b", "Q8_0", "[32]", "[0,34]") "}", 34, "'a.b'", "unknown dtype Q8_0");
    reject("{" T("a.b", "f32", "[1]", "[0,4]") "}", 4, "'a.b'", "unknown dtype");
    reject("{\"a.b\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'a.b'", "string");
    reject("{" T("a.b", "F32", "1", "[0,4]") "}", 4, "'a.b'", "'[' expected");
    reject("{" T("a.b", "F32", "[-1]", "[0,4]") "}", 4, "'a.b'", "negative");
    reject("{" T("a.b", "F32", "[1.0]", "[0,4]") "}", 4, "'a.b'", "whole number");
    reject("{" T("a.b", "F32", "[1e0]", "[0,4]") "}", 4, "'a.b'", "whole number");
    reject("{" T("a.b", "F32", "[01]", "[0,4]") "}", 4, "'a.b'", "leading zeros");
    reject("{" T("a.b", "F32", "[\"1\"]", "[0,4]") "}", 4, "'a.b'", "number was expected");
    reject("{" T("a.b", "F32", "[1,]", "[0,4]") "}", 4, "'a.b'", "number was expected");
    reject("{" T("a.b", "F32", "[1 1]", "[0,4]") "}", 4, "'a.b'", "expected");
    reject("{" T("a.b", "F32", "[18446744073709551616]", "[0,4]") "}", 4, "'a.b'", "2^64");
    reject("{" T("a.b", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "'a.b'", "8 dimensions");
    reject("{" T("a.b", "F32", "[1]", "[0]") "}", 4, "'a.b'", "fewer than two");
    reject("{" T("a.b", "F32", "[1]", "[0,4,4]") "}", 4, "'a.b'", "more than two");
    reject("{" T("a.b", "F32", "[1]", "[-4,0]") "}", 4, "'a.b'", "negative");
    reject("{\"a.b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":nul}}", 4,
           "'a.b'", "value was expected");
    reject("{\"a.b\":[]}", 0, "'a.b'", "'{' expected");
}

Test(safetensors, rejects_sizes_that_do_not_fit)
{
    reject("{" T("a.b", "F32", "[1]", "[10,9]") "}", 4, "'a.b'",
           "data_offsets 10..9 are not ascending");
    reject("{" T("a.b", "F32", "[2,2]", "[0,12]") "}", 12, "'a.b'",
           "16 bytes, data_offsets 0..12 hold 12");
    reject("{" T("a.b", "F32", "[0]", "[0,4]") "}", 4, "'a.b'", "takes 0 bytes");
    reject("{" T("a.b", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "'a.b'", "overflows");
    reject("{" T("a.b", "F32", "[2,18446744073709551614]", "[0,16]") "}", 16, "'a.b'", "overflows");
    reject("{" T("a.b", "F32", "[0,4294967296,4294967296]", "[0,0]") "}", 0, "'a.b'", "overflows");
    reject("{" T("a.b", "F64", "[2305843009213693952]", "[0,0]") "}", 0, "'a.b'", "more than 2^64");
    reject("{" T("a.b", "F4", "[3]", "[0,1]") "}", 1, "'a.b'", "whole number of bytes");
    reject("{" T("a.b", "F6_E3M2", "[2]", "[0,1]") "}", 1, "'a.b'", "whole number of bytes");
    reject("{" T("a.b", "U8", "[1]", "[18446744073709551614,18446744073709551615]") "}", 1, "'a.b'",
           "overflow");
}

Test(safetensors, rejects_data_that_is_not_covered_once)
{
    reject("{" T("a.b", "U8", "[4]", "[1,5]") "}", 5, "'a.b'", "hole of 1 bytes");
    reject("{" T("x", "U8", "[4]", "[0,4]") "," T("a.b", "U8", "[2]", "[6,8]") "}", 8, "'a.b'",
           "6..8 leave a hole of 2 bytes");
    reject("{" T("a.b", "U8", "[4]", "[2,6]") "," T("x", "U8", "[4]", "[0,4]") "}", 6, "'a.b'",
           "overlap those of 'x', 0..4");
    reject("{" T("a.b", "U8", "[4]", "[0,4]") "," T("a.b", "U8", "[4]", "[0,4]") "}", 4, "'a.b'",
           "listed twice");
    reject("{" T("a.b", "U8", "[4]", "[0,4]") "," T("a.b", "U8", "[4]", "[4,8]") "}", 8, "'a.b'",
           "listed twice");
    reject("{" T("a.b", "U8", "[0]", "[0,0]") "," T("a.b", "U8", "[0]", "[0,0]") "}", 0, "'a.b'",
           "listed twice");
    reject("{" T("x", "U8", "[4]", "[0,4]") "," T("a.b", "U8", "[4]", "[4,8]") "}", 5, "'a.b'",
           "3 are missing");
    reject("{" T("a.b", "U8", "[4]", "[0,4]") "}", 6, "", "2 bytes follow the last tensor");
    reject("{}", 1, "", "1 bytes follow");
}

Test(safetensors, rejects_headers_that_claim_too_much)
{
    struct model m;
    struct err e = {0};
    struct buf b = {0};
    mk_le(&b, 100000001, 8);
    mk_puts(&b, "{}");
    cr_assert_eq(open_image(&m, b.s, b.n, &e), -1);
    cr_assert(strstr(e.msg, "100000001 is above the limit"), "%s", e.msg);
    b.n = 0;
    mk_le(&b, UINT64_MAX, 8);
    cr_assert_eq(open_image(&m, b.s, b.n, &e), -1);
    b.n = 0;
    mk_le(&b, 3, 8);
    mk_puts(&b, "{}");
    cr_assert_eq(open_image(&m, b.s, b.n, &e), -1);
    cr_assert(strstr(e.msg, "has 10 bytes, its header takes 11"), "%s", e.msg);
    buf_free(&b);
}

Test(safetensors, deep_nesting_is_an_error_not_an_overflow)
{
    struct buf b = {0};
    mk_puts(&b, "{\"a\":{\"x\":");
    for (int i = 0; i < 100000; i++)
        mk_puts(&b, i % 2 ? "[" : "{\"y\":");
    reject(b.s, 0, "'a'", "64 deep");
    buf_free(&b);
}

Test(safetensors, truncation_at_every_byte_is_an_error)
{
    static const struct mk_tensor t[] = {
        {"first.weight", "F32", "[2,2]", NULL, 16}, {"empty", "U8", "[0]", NULL, 0},
        {"second.weight", "BF16", "[3]", NULL, 6}};
    struct buf b = mk_safetensors(t, 3, "{\"format\":\"pt\"}");
    for (size_t n = 0; n < b.n; n++) {
        struct model m;
        struct err e = {0};
        cr_assert_eq(open_image(&m, b.s, n, &e), -1, "cut at %zu", n);
    }
    buf_free(&b);
}

/* Not for what they say, but for not crashing: each byte of a header changed to others. */
Test(safetensors, changed_bytes_never_crash)
{
    static const char value[] = "\"\\{}[],:0919e.-ntu \n\x01\x80\xff";
    static const struct mk_tensor t[] = {{"a\\u00e9", "F32", "[2,2]", NULL, 16},
                                         {"b", "U8", "[2]", NULL, 2}};
    struct buf b = mk_safetensors(t, 2, "{\"k\":\"v\"}");
    for (size_t i = 0; i < b.n - 18; i++)
        for (size_t k = 0; k < sizeof value; k++) {
            struct arena mem = {0};
            struct table table = {0};
            struct err e = {0};
            /* a stream without more bytes than these: nothing of the size is known */
            struct head h = {.path = "m", .fd = -1, .file_size = UINT64_MAX, .n = b.n, .cap = b.n};
            h.p = malloc(b.n);
            memcpy(h.p, b.s, b.n);
            h.p[i] = (uint8_t)value[k];
            if (i >= 8) {
                if (safetensors_read(&h, 0, &mem, &table, &e))
                    cr_assert_eq(e.kind, ERR_INPUT);
            }
            table_free(&table);
            arena_free(&mem);
            free(h.p);
        }
    buf_free(&b);
}

Test(safetensors, conformance_files_get_the_upstream_verdict)
{
    static const char *const verdict[] = {"accept", "reject"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "safetensors-conformance/%s", verdict[i]);
        char *const dir = mk_data(name);
        if (!dir)
            return;
        DIR *const d = opendir(dir);
        cr_assert(d);
        size_t n = 0;
        for (struct dirent *x; (x = readdir(d));) {
            if (x->d_name[0] == '.')
                continue;
            char *const path = mk_path(dir, x->d_name);
            struct model m;
            struct err e = {0};
            const int rc = model_open(&m, path, &e);
            cr_assert_eq(rc, -i, "%s: %s", path, e.msg);
            if (!rc)
                model_close(&m);
            else
                cr_assert_eq(e.kind, ERR_INPUT);
            free(path);
            n++;
        }
        cr_assert_geq(n, 8);
        closedir(d);
        free(dir);
    }
}

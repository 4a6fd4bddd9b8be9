#include "formats/packed.h"
#include "formats/sha256.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* A weight in a tiled layout, its scale as repeated bytes, plain tensors, and ones without bytes. */
enum { N = 6, W = 1, S = 2, WSIZE = 5 * 160 * 16, SSIZE = 2 * 5 };
static const char weight_sentence[] = "c1 r1 r0 c0 | r0=16 c0=16", scale_sentence[] = "c0 r0";
static struct stored weight, scale;
static struct tensor table[N];
static const struct meta kv[] = {{"format", "pt"}, {"octavo.config", "{\"a\": \"b\\n\"}\n"}};
static const struct packed_info info = {.target = "some-chip",
                                        .form = "one form",
                                        .scheme = "fp8-ue8m0-128x128",
                                        .align = 512,
                                        .kv = kv,
                                        .nkv = 2};

static void make_table(void)
{
    struct err e = {0};
    uint64_t bytes;
    cr_assert_eq(layout_parse(&weight.layout, weight_sentence, &e), 0);
    cr_assert_eq(layout_parse(&scale.layout, scale_sentence, &e), 0);
    weight.dtype = DT_F8_E4M3;
    weight.sentence = weight_sentence;
    scale.dtype = DT_F8_E8M0;
    scale.sentence = scale_sentence;
    weight.batch = scale.batch = 1;
    weight.rows = 150;
    weight.cols = 70;
    scale.rows = 2;
    scale.cols = 5; /* one per 16 columns; logical [2, 2] repeats three times */
    weight.repeat[0] = weight.repeat[1] = scale.repeat[0] = 1;
    scale.repeat[1] = 3;
    cr_assert(stored_size(&weight, &bytes) && bytes == WSIZE && weight.batch_bytes == WSIZE);
    cr_assert(stored_size(&scale, &bytes) && bytes == SSIZE);
    const struct tensor t[N] = {
        {.name = "empty first", .dtype = DT_BF16, .rank = 2, .dim = {0, 9}},
        {.name = "w", .dtype = DT_F8_E4M3, .rank = 2, .dim = {150, 70}, .size = WSIZE, .stored = &weight},
        {.name = "w scale \"\n\\",
         .dtype = DT_F32,
         .rank = 2,
         .dim = {2, 2},
         .size = SSIZE,
         .stored = &scale},
        {.name = "norm", .dtype = DT_BF16, .rank = 1, .dim = {3}, .size = 6},
        {.name = "one", .dtype = DT_I64, .rank = 0, .size = 8},
        {.name = "empty last", .dtype = DT_F32, .rank = 3, .dim = {2, 0, 2}}};
    memcpy(table, t, sizeof t);
}

static void digest(const void *p, size_t n, uint8_t d[32])
{
    struct sha256 s;
    sha256_init(&s);
    sha256_put(&s, p, n);
    sha256_end(&s, d);
}

/* A complete file; payload bytes are random. */
static struct buf make_file(void)
{
    struct buf head, b = {0};
    uint64_t size, seed = 7;
    size_t tail_size;
    struct err e = {0};
    uint8_t d[N][32], source[32], tail[(N + 2) * 32];
    make_table();
    cr_assert_eq(packed_plan(&info, table, N, &head, &size, &tail_size, &e), 0, "%s", e.msg);
    cr_assert_eq(tail_size, sizeof tail);
    mk_put(&b, head.s, head.n);
    while (b.n < size)
        mk_put(&b, "", 1);
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < table[i].size; k++)
            b.s[table[i].off + k] = (char)oracle_random(&seed);
        digest(b.s + table[i].off, table[i].size, d[i]);
    }
    memset(source, 0x5a, 32);
    packed_trailer((const uint8_t(*)[32])d, N, source, tail);
    memcpy(b.s + size - tail_size, tail, tail_size);
    buf_free(&head);
    return b;
}

static int open_image(struct model *m, const void *p, size_t n, struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m.octp");
    mk_write(path, p, n);
    *e = (struct err){0};
    const int r = model_open(m, path, e);
    free(path);
    mk_rmdir(dir);
    return r;
}

static void refused(const struct buf *b, const char *word, const char *why)
{
    struct model m;
    struct err e;
    const int r = open_image(&m, b->s, b->n, &e);
    if (!r)
        model_close(&m);
    cr_assert_eq(r, -1, "%s is accepted", why);
    cr_assert_eq(e.kind, ERR_INPUT, "%s: %s", why, e.msg);
    cr_assert(strstr(e.msg, word), "%s: %s", why, e.msg);
}

/* ---- what is written is what is read ------------------------------------------ */

Test(packed, round_trip)
{
    struct buf b = make_file();
    struct model m;
    struct err e;
    uint8_t source[32], want[32], digests[N][32];
    cr_assert_eq(open_image(&m, b.s, b.n, &e), 0, "%s", e.msg);
    cr_assert(m.container == CONTAINER_PACKED && m.n == N && m.random);
    for (size_t i = 0; i < N; i++) {
        const struct tensor *const t = &m.t[i], *const x = &table[i];
        cr_assert_str_eq(t->name, x->name);
        cr_assert(t->dtype == x->dtype && t->rank == x->rank && t->off == x->off && t->size == x->size);
        cr_assert_eq(memcmp(t->dim, x->dim, x->rank * sizeof *x->dim), 0);
        cr_assert_eq(!t->stored, !x->stored);
        if (!t->stored)
            continue;
        const struct stored *const s = t->stored, *const y = x->stored;
        cr_assert(s->dtype == y->dtype && s->batch == y->batch && s->rows == y->rows && s->cols == y->cols
                  && s->batch_bytes == y->batch_bytes && s->repeat[0] == y->repeat[0]
                  && s->repeat[1] == y->repeat[1]);
        cr_assert_str_eq(s->sentence, y->sentence);
        cr_assert(s->layout.n == y->layout.n && s->layout.tile[0] == y->layout.tile[0]);
    }
    cr_assert_str_eq(model_meta(&m, "octavo.target"), "some-chip");
    cr_assert_str_eq(model_meta(&m, "octavo.form"), "one form");
    cr_assert_str_eq(model_meta(&m, "octavo.scheme"), "fp8-ue8m0-128x128");
    for (int i = 0; i < 2; i++)
        cr_assert_str_eq(model_meta(&m, kv[i].key), kv[i].value);
    cr_assert_eq(packed_check(&m, digests, source, &e), 0, "%s", e.msg);
    memset(want, 0x5a, 32);
    cr_assert_eq(memcmp(source, want, 32), 0);
    model_close(&m);
    buf_free(&b);
}

Test(packed, the_same_twice)
{
    struct buf a = make_file(), b = make_file();
    cr_assert(a.n == b.n && !memcmp(a.s, b.s, a.n));
    buf_free(&a);
    buf_free(&b);
}

Test(packed, alignment)
{
    struct buf b = make_file();
    uint64_t end = 0;
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(table[i].off % 512, 0);
        cr_assert_geq(table[i].off, end, "no overlap");
        for (uint64_t k = end; i && k < table[i].off; k++)
            cr_assert_eq(b.s[k], 0, "zeros between tensors");
        end = table[i].off + table[i].size;
    }
    buf_free(&b);
}

Test(packed, no_tensors_and_no_target)
{
    const struct packed_info bare = {.align = 64};
    struct buf head;
    uint64_t size;
    size_t tail_size;
    uint8_t source[32] = {1}, tail[64], digests[1][32];
    struct model m;
    struct err e = {0};
    cr_assert_eq(packed_plan(&bare, NULL, 0, &head, &size, &tail_size, &e), 0, "%s", e.msg);
    cr_assert_eq(tail_size, 64);
    packed_trailer(&(const uint8_t[32]){0}, 0, source, tail);
    while (head.n < size - 64)
        mk_put(&head, "", 1);
    mk_put(&head, tail, 64);
    cr_assert_eq(open_image(&m, head.s, head.n, &e), 0, "%s", e.msg);
    cr_assert(m.n == 0 && !model_meta(&m, "octavo.target"));
    cr_assert_eq(packed_check(&m, digests, source, &e), 0, "%s", e.msg);
    cr_assert_eq(source[0], 1);
    model_close(&m);
    buf_free(&head);
}

/* ---- damage --------------------------------------------------------------------- */

static size_t manifest_size(const struct buf *b)
{
    size_t n = 0;
    for (int i = 0; i < 8; i++)
        n |= (size_t)(uint8_t)b->s[16 + i] << 8 * i;
    return n;
}

Test(packed, every_flipped_byte_of_head_and_manifest_is_found)
{
    struct buf b = make_file();
    const size_t n = PACKED_HEAD + manifest_size(&b);
    for (size_t i = 0; i < n; i++) {
        struct model m;
        struct err e;
        b.s[i] ^= (char)(1 << i % 8);
        const int r = open_image(&m, b.s, b.n, &e);
        b.s[i] ^= (char)(1 << i % 8);
        cr_assert_eq(r, -1, "byte %zu", i);
        cr_assert_eq(e.kind, ERR_INPUT, "byte %zu: %s", i, e.msg);
    }
    buf_free(&b);
}

Test(packed, every_other_length_is_refused)
{
    struct buf b = make_file();
    for (size_t n = 0; n < b.n; n += n < 2000 || n + 400 > b.n ? 1 : 97) {
        struct model m;
        struct err e;
        cr_assert_eq(open_image(&m, b.s, n, &e), -1, "%zu bytes", n);
        cr_assert_eq(e.kind, ERR_INPUT, "%s", e.msg);
    }
    mk_put(&b, "", 1);
    refused(&b, "should have", "a byte more");
    buf_free(&b);
}

/* A pipe shows its end only at its end. */
Test(packed, truncated_stream)
{
    struct buf b = make_file();
    for (size_t n = PACKED_HEAD + manifest_size(&b); n <= b.n; n += b.n - n < 300 ? 1 : 151) {
        struct buf gz = mk_gzip(b.s, n);
        struct model m;
        struct err e;
        int r = open_image(&m, gz.s, gz.n, &e);
        cr_assert_eq(r, 0, "%s", e.msg);
        cr_assert(!m.random);
        r = model_finish(&m, &e);
        cr_assert_eq(r, n < b.n ? -1 : 0, "%zu of %zu bytes: %s", n, b.n, e.msg);
        cr_assert_eq(e.kind, n < b.n ? ERR_INPUT : ERR_NONE);
        model_close(&m);
        buf_free(&gz);
    }
    buf_free(&b);
}

Test(packed, payload_and_trailer_are_checked)
{
    struct buf b = make_file();
    uint64_t seed = oracle_seed();
    for (size_t i = 0; i < N + 3; i++)
        for (int k = 0; k < 40; k++) {
            struct model m;
            struct err e;
            uint8_t source[32], digests[N][32];
            const bool tail = i >= N;
            if (!tail && !table[i].size)
                continue;
            const size_t at = tail ? b.n - 96 + (i - N) * 32 + oracle_random(&seed) % 32
                                   : table[i].off + oracle_random(&seed) % table[i].size;
            b.s[at] ^= 4;
            cr_assert_eq(open_image(&m, b.s, b.n, &e), 0, "%s", e.msg);
            cr_assert_eq(packed_check(&m, digests, source, &e), -1, "byte %zu", at);
            cr_assert_eq(e.kind, ERR_INPUT);
            cr_assert(strstr(e.msg, tail ? "trailer" : table[i].name), "%s", e.msg);
            b.s[at] ^= 4;
            model_close(&m);
        }
    buf_free(&b);
}

/* ---- manifests that lie: the sums are right, the words are not ------------------- */

static void seal(struct buf *b)
{
    uint8_t d[32];
    digest(b->s + PACKED_HEAD, manifest_size(b), d);
    memcpy(b->s + 48, d, 8);
    digest(b->s, 56, d);
    memcpy(b->s + 56, d, 8);
}

static void put_field(struct buf *b, size_t at, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        b->s[at + (size_t)i] = (char)(v >> 8 * i);
}

/* The text `from` becomes `to`; the alignment leaves room for a few bytes more. */
static struct buf with(const char *from, const char *to)
{
    struct buf b = make_file();
    const size_t n = manifest_size(&b), k = strlen(from), j = strlen(to);
    char *const at = memmem(b.s + PACKED_HEAD, n, from, k);
    cr_assert(at, "no '%s'", from);
    const size_t rest = PACKED_HEAD + n - (size_t)(at - b.s) - k;
    cr_assert_leq(PACKED_HEAD + n + j - k, table[0].off);
    memmove(at + j, at + k, rest);
    memcpy(at, to, j);
    put_field(&b, 16, n + j - k, 8);
    seal(&b);
    return b;
}

Test(packed, manifests_that_lie)
{
    static const struct {
        const char *from, *to, *word;
    } lie[] = {
        {"\"dtype\":\"BF16\"", "\"dtype\":\"BF17\"", "dtype"},
        {"\"dtype\":\"BF16\"", "\"dtype\":\"Q8_0\"", "dtype"}, /* rows need not be whole blocks here */
        {"\"dtype\":\"BF16\"", "\"dtype\":16", "dtype"},
        {"\"name\":\"w\"", "\"name\":7", "name"},
        {"\"name\":\"w\"", "\"name\":\"norm\"", "norm"},
        {"\"shape\":[150,70]", "\"shape\":[150,71]", "stored shape"},
        {"\"shape\":[150,70]", "\"shape\":[-150,70]", "shape"},
        {"\"shape\":[150,70]", "\"shape\":150", "shape"},
        {"\"shape\":[150,70]", "\"shape\":[1,1,1,1,1,1,1,150,70]", "shape"},
        {"\"shape\":[150,70]", "\"shape\":[4294967296,4294967296]", "shape"},
        {"\"shape\":[3]", "\"shape\":[4]", "size"},
        {"\"shape\":[1,150,70]", "\"shape\":[1,150]", "stored shape"},
        {"\"shape\":[1,150,70]", "\"shape\":[1,151,70]", "stored shape"},
        {"\"shape\":[1,2,5]", "\"shape\":[1,2,4]", "size"},
        {"\"shape\":[1,2,5]", "\"shape\":[1,2,7]", "stored shape"},
        {"\"repeat\":[1,3]", "\"repeat\":[1,0]", "stored shape"},
        {"\"repeat\":[1,3]", "\"repeat\":[1,5]", "stored shape"},
        {"\"repeat\":[1,3]", "\"repeat\":[1,4294967296]", "stored shape"},
        {"\"repeat\":[1,3]", "\"repeat\":null", "stored shape"},
        {weight_sentence, "c1 r1 r0 c0 | r0=16 c0=17", "size"},
        {weight_sentence, "c1 r1 r0 c0 | r0=16 c0=0", "layout"},
        {weight_sentence, "c1 r1 r0 c0 c0", "layout"},
        {"\"offset\":0,", "\"offset\":512,", ""},
        {"\"offset\":0,", "\"offset\":-1,", "offset"},
        {"\"offset\":12800", "\"offset\":12799", "offset"},
        {"\"offset\":12800", "\"offset\":9223372036854775807", "size"},
        {"\"size\":12800", "\"size\":1280000", "size"},
        {"\"size\":6", "\"size\":7", "size"},
        {"\"size\":6", "\"size\":\"6\"", "size"},
        {"\"metadata\":{\"format\":\"pt\"", "\"metadata\":{\"format\":1", "format"},
        {"\"metadata\":{\"format\"", "\"metadata\":{\"octavo.config\"", "JSON"},
        {"\"tensors\":[", "\"tensor\":[", "list of tensors"},
        {"{\"format\":", "[\"format\":", "JSON"},
    };
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        struct buf b = with(lie[i].from, lie[i].to);
        if (*lie[i].word)
            refused(&b, lie[i].word, lie[i].to);
        buf_free(&b);
    }
}

/* A stored type that cannot hold the logical one: bytes beyond the matrix would be read. */
Test(packed, stored_types_that_do_not_fit)
{
    static const struct {
        const char *from, *to;
    } lie[] = {
        {"{\"dtype\":\"F8_E8M0\",\"shape\":[1,2,5]", "{\"dtype\":\"U8\",\"shape\":[1,2,5]"},
        {"{\"dtype\":\"F8_E8M0\",\"shape\":[1,2,5]", "{\"dtype\":\"I8\",\"shape\":[1,2,5]"},
        {"{\"dtype\":\"F8_E8M0\",\"shape\":[1,2,5]", "{\"dtype\":\"F8_E4M3\",\"shape\":[1,2,5]"},
        {"\"w\",\"dtype\":\"F8_E4M3\"", "\"w\",\"dtype\":\"F32\""},
        {"\"w\",\"dtype\":\"F8_E4M3\"", "\"w\",\"dtype\":\"F4\""},
        {"\\\\\",\"dtype\":\"F32\"", "\\\\\",\"dtype\":\"F64\""},
    };
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        struct buf b = with(lie[i].from, lie[i].to);
        refused(&b, "dtype", lie[i].to);
        buf_free(&b);
    }
}

Test(packed, heads_that_lie)
{
    struct buf b = make_file();
    const uint64_t payload = table[0].off, trailer = b.n - (N + 2) * 32;
    static const struct {
        size_t at;
        int n;
    } field[] = {{8, 4}, {16, 8}, {24, 8}, {32, 8}, {40, 8}};
    const struct {
        int field;
        uint64_t v;
        const char *word;
    } lie[] = {
        {0, 0, "version"},
        {0, 2, "version"},
        {1, payload, "lengths"},
        {1, UINT64_MAX, "lengths"},
        {1, 5, "checksum"},
        {2, 0, "lengths"},
        {2, trailer + 1, "lengths"},
        {3, b.n + 1, "lengths"},
        {3, b.n, ""},
        {3, trailer - 32, ""},
        {3, trailer + 32, "trailer"},
        {4, b.n + 32, "bytes"},
        {4, UINT64_MAX, "bytes"},
        {4, trailer - 1, "lengths"},
    };
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        struct buf x = make_file();
        uint8_t d[32];
        put_field(&x, field[lie[i].field].at, lie[i].v, field[lie[i].field].n);
        digest(x.s, 56, d);
        memcpy(x.s + 56, d, 8);
        refused(&x, lie[i].word, lie[i].word);
        buf_free(&x);
    }
    /* A trailer for one tensor less. */
    b.n -= 32;
    put_field(&b, 40, b.n, 8);
    seal(&b);
    refused(&b, "trailer", "a short trailer");
    buf_free(&b);
}

/* ---- sentences ------------------------------------------------------------------- */

Test(packed, any_spelling_of_a_sentence_can_be_stored)
{
    static const char *const spelling[] = {"r0 c0", " r0\tc0 ", "c1 \n r0 c0 | c0=2", "r0 c0\"", "\\"};
    for (size_t i = 0; i < sizeof spelling / sizeof *spelling; i++) {
        struct stored s = {
            .dtype = DT_U8, .sentence = spelling[i], .batch = 1, .rows = 3, .cols = 4, .repeat = {1, 1}};
        struct err e = {0};
        uint64_t bytes, size;
        size_t tail_size;
        struct buf head;
        struct model m;
        if (layout_parse(&s.layout, spelling[i], &e))
            continue;
        cr_assert(stored_size(&s, &bytes));
        struct tensor t = {
            .name = "t", .dtype = DT_U8, .rank = 2, .dim = {3, 4}, .size = bytes, .stored = &s};
        cr_assert_eq(packed_plan(&(struct packed_info){.align = 64}, &t, 1, &head, &size, &tail_size, &e), 0);
        while (head.n < size)
            mk_put(&head, "", 1);
        cr_assert_eq(open_image(&m, head.s, head.n, &e), 0, "'%s': %s", spelling[i], e.msg);
        model_close(&m);
        buf_free(&head);
    }
}

Test(packed, sizes_that_overflow)
{
    struct tensor t[2] = {
        {.name = "a", .dtype = DT_U8, .rank = 1, .dim = {UINT64_MAX - 5}, .size = UINT64_MAX - 5},
        {.name = "b", .dtype = DT_U8, .rank = 1, .dim = {10}, .size = 10}};
    struct buf head = {0};
    uint64_t size;
    size_t tail_size;
    struct err e = {0};
    cr_assert_eq(packed_plan(&info, t, 2, &head, &size, &tail_size, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(!head.s, "nothing is left to free");
    struct stored s = {.dtype = DT_F32, .batch = 1u << 31, .rows = 1u << 31, .cols = 1, .repeat = {1, 1}};
    uint64_t bytes;
    cr_assert_eq(layout_parse(&s.layout, "r0 c0", &e), 0);
    cr_assert(!stored_size(&s, &bytes));
}

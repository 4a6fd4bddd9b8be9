/* The files of llama2.c: what their headers say, and what is no such file. */
#include "formats/llama2c.h"
#include "formats/packed.h"
#include "formats/torch.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* dim 8, hidden 6, layers 2, heads 2, of keys 1, words 5, length 3 */
static const int32_t small[7] = {8, 6, 2, 2, 1, 5, 3};
enum { SHARED_0 = 28 + 4 * (5 * 8 + 2 * 8 + 2 * 64 + 2 * 32 + 2 * 32 + 2 * 64 + 2 * 8 + 2 * 3 * 48 + 8 + 3 * 2 * 2) };

static struct buf image_of(const int32_t v[7], int version, bool shared, size_t floats)
{
    struct buf b = {0};
    if (version) {
        mk_puts(&b, "24ka");
        mk_le(&b, (uint64_t)version, 4);
    }
    for (int i = 0; i < 7; i++)
        mk_le(&b, (uint32_t)(i == 5 && !shared && !version ? -v[i] : v[i]), 4);
    if (version) {
        mk_le(&b, shared, 1);
        while (b.n < 256)
            mk_le(&b, 0, 1);
    }
    for (size_t i = 0; i < floats; i++)
        mk_le(&b, i + 1, 4);
    return b;
}

static int open_image(struct model *m, const struct buf *b, size_t n, bool stream, struct err *e)
{
    char *dir = mk_tmpdir(), *path = mk_path(dir, "m.bin");
    struct buf gz = stream ? mk_gzip(b->s, n) : (struct buf){0};
    mk_write(path, stream ? gz.s : b->s, stream ? gz.n : n);
    *e = (struct err){0};
    const int r = model_open(m, path, e);
    if (r)
        cr_assert_eq(e->kind, ERR_INPUT, "%s", e->msg);
    free(path);
    mk_rmdir(dir);
    buf_free(&gz);
    return r;
}

static uint32_t first(struct model *m, const char *name)
{
    size_t i = 0;
    uint32_t x;
    struct err e = {0};
    cr_assert(map_find(&m->by_name, name, &i), "there is no %s", name);
    cr_assert_eq(model_read(m, i, 0, &x, 4, &e), 0, "%s", e.msg);
    return x;
}

static void check(struct model *m, const char *name, uint32_t value, const char *shape, const char *layout)
{
    size_t i = 0;
    char s[200];
    cr_assert_eq(first(m, name), value, "%s begins with %u", name, first(m, name));
    (void)map_find(&m->by_name, name, &i);
    const struct tensor *t = &m->t[i];
    cr_assert_str_eq(tensor_shape(t, s), shape, "%s", name);
    cr_assert_str_eq(t->stored ? t->stored->sentence : "", layout, "%s", name);
    cr_assert(t->dtype == DT_F32 && t->size == 4 * tensor_elems(t));
}

Test(llama2c, version_0)
{
    struct model m;
    struct err e;
    struct buf b = image_of(small, 0, true, SHARED_0 / 4 - 7);
    cr_assert_eq(b.n, (size_t)SHARED_0);
    cr_assert_eq(open_image(&m, &b, b.n, false, &e), 0, "%s", e.msg);
    cr_assert_eq(m.container, CONTAINER_LLAMA2C);
    cr_assert_eq(m.n, 2u + 2 * 9);
    check(&m, "model.embed_tokens.weight", 1, "[5,8]", "");
    check(&m, "model.layers.0.input_layernorm.weight", 41, "[8]", "");
    check(&m, "model.layers.1.input_layernorm.weight", 49, "[8]", "");
    check(&m, "model.layers.0.self_attn.q_proj.weight", 57, "[8,8]", "r2 r0 r1 c0 | r0=2 r1=2");
    check(&m, "model.layers.1.self_attn.q_proj.weight", 57 + 64, "[8,8]", "r2 r0 r1 c0 | r0=2 r1=2");
    check(&m, "model.layers.0.self_attn.k_proj.weight", 185, "[4,8]", "r2 r0 r1 c0 | r0=2 r1=2");
    check(&m, "model.layers.0.self_attn.v_proj.weight", 249, "[4,8]", "");
    check(&m, "model.layers.1.self_attn.o_proj.weight", 313 + 64, "[8,8]", "");
    check(&m, "model.layers.0.post_attention_layernorm.weight", 441, "[8]", "");
    check(&m, "model.layers.0.mlp.gate_proj.weight", 457, "[6,8]", "");
    check(&m, "model.layers.0.mlp.down_proj.weight", 553, "[8,6]", "");
    check(&m, "model.layers.1.mlp.up_proj.weight", 649 + 48, "[6,8]", "");
    check(&m, "model.norm.weight", 745, "[8]", "");
    cr_assert(strstr(m.config, "\"model_type\": \"llama\"") && strstr(m.config, "\"num_key_value_heads\": 1,")
              && strstr(m.config, "\"tie_word_embeddings\": true") && strstr(m.config, "\"max_position_embeddings\": 3,"));
    model_close(&m);
    buf_free(&b);
    /* two tables of 3 positions and 2 pairs stand before a classifier of its own */
    b = image_of(small, 0, false, SHARED_0 / 4 - 7 + 40);
    cr_assert_eq(open_image(&m, &b, b.n, false, &e), 0, "%s", e.msg);
    cr_assert_eq(m.n, 3u + 2 * 9);
    check(&m, "lm_head.weight", 753 + 12, "[5,8]", "");
    cr_assert(strstr(m.config, "\"tie_word_embeddings\": false"));
    model_close(&m);
    buf_free(&b);
}

Test(llama2c, version_1)
{
    struct model m;
    struct err e;
    const size_t floats = SHARED_0 / 4 - 7 - 12;
    struct buf b = image_of(small, 1, true, floats), c = image_of(small, 1, false, floats + 40);
    cr_assert_eq(open_image(&m, &b, b.n, false, &e), 0, "%s", e.msg);
    check(&m, "model.layers.0.input_layernorm.weight", 1, "[8]", "");
    check(&m, "model.layers.0.post_attention_layernorm.weight", 17, "[8]", "");
    check(&m, "model.norm.weight", 33, "[8]", "");
    check(&m, "model.embed_tokens.weight", 41, "[5,8]", "");
    check(&m, "model.layers.0.self_attn.q_proj.weight", 81, "[8,8]", "r2 r0 r1 c0 | r0=2 r1=2");
    check(&m, "model.layers.1.mlp.up_proj.weight", (uint32_t)floats - 47, "[6,8]", "");
    model_close(&m);
    cr_assert_eq(open_image(&m, &c, c.n, false, &e), 0, "%s", e.msg);
    check(&m, "lm_head.weight", (uint32_t)floats + 1, "[5,8]", "");
    model_close(&m);
    buf_free(&b);
    buf_free(&c);
}

/* One byte less or more, wherever it is seen. */
Test(llama2c, the_size_is_exact)
{
    struct model m;
    struct err e;
    struct buf b = image_of(small, 0, true, SHARED_0 / 4 - 7);
    mk_le(&b, 0, 1);
    for (int d = -1; d <= 1; d += 2) {
        const size_t n = (size_t)(SHARED_0 + d);
        char text[32];
        cr_assert_eq(open_image(&m, &b, n, false, &e), -1);
        snprintf(text, sizeof text, "%d bytes", SHARED_0);
        cr_assert(strstr(e.msg, text) && strstr(e.msg, "m.bin"), "%s", e.msg);
        cr_assert_eq(open_image(&m, &b, n, true, &e), 0, "%s", e.msg);
        cr_assert_eq(model_finish(&m, &e), -1, "a pipe shows it at its end");
        model_close(&m);
    }
    cr_assert_eq(open_image(&m, &b, SHARED_0, true, &e), 0, "%s", e.msg);
    cr_assert_not(m.random);
    cr_assert_eq(model_finish(&m, &e), 0, "%s", e.msg);
    model_close(&m);
    for (size_t n = 0; n < SHARED_0; n += n < 300 ? 1 : 97)
        cr_assert_eq(open_image(&m, &b, n, false, &e), -1, "%zu bytes", n);
    buf_free(&b);
}

/* Numbers that no model has: then it is no such file, whatever its size. */
Test(llama2c, other_headers)
{
    static const struct { int at; int32_t v; } bad[] = {
        {0, 0}, {0, -8}, {0, 9}, {0, 1 << 21}, {1, 0}, {1, -1}, {2, 0}, {2, 1 << 20}, {3, 0}, {3, 3}, {3, 8}, {3, -2},
        {4, 0}, {4, 3}, {4, -1}, {5, 0}, {5, INT32_MIN}, {6, 0}, {6, -3}, {0, INT32_MAX}, {6, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int version = 0; version < 2; version++) {
            struct model m;
            struct err e;
            int32_t v[7];
            memcpy(v, small, sizeof v);
            v[bad[i].at] = bad[i].v;
            struct buf b = image_of(v, version, true, SHARED_0 / 4 - 7);
            if (!version)
                cr_assert_not(llama2c_magic((const uint8_t *)b.s, b.n), "number %d is %d", bad[i].at, bad[i].v);
            cr_assert_eq(open_image(&m, &b, b.n, false, &e), -1);
            cr_assert(strstr(e.msg, version ? "llama2.c" : "m.bin"), "%s", e.msg);
            buf_free(&b);
        }
    /* sizes near 2^64 do not wrap */
    struct model m;
    struct err e;
    const int32_t large[7] = {1 << 20, 1 << 28, 1 << 12, 2, 1, 1 << 28, 1 << 28};
    struct buf b = image_of(large, 0, true, 100);
    cr_assert_eq(open_image(&m, &b, b.n, false, &e), -1);
    cr_assert(strstr(e.msg, "it would have") && strstr(e.msg, "and it has 428"), "%s", e.msg);
    buf_free(&b);
    b = image_of(small, 2, true, 1000);
    cr_assert_eq(open_image(&m, &b, b.n, false, &e), -1);
    cr_assert(strstr(e.msg, "quantized") && strstr(e.msg, "version 2"), "%s", e.msg);
    buf_free(&b);
    b = image_of(small, 7, true, 1000);
    cr_assert_eq(open_image(&m, &b, b.n, false, &e), -1);
    cr_assert(strstr(e.msg, "version 7"), "%s", e.msg);
    buf_free(&b);
}

/* No other container is taken for one, and none of these for another. */
Test(llama2c, is_mistaken_for_nothing)
{
    struct buf b = image_of(small, 0, true, 10);
    cr_assert(llama2c_magic((const uint8_t *)b.s, b.n));
    cr_assert_not(llama2c_magic((const uint8_t *)b.s, 27));
    cr_assert_not(torch_magic((const uint8_t *)b.s, b.n));
    buf_free(&b);
    static const char *const begin[] = {"GGUF\3\0\0\0", PACKED_MAGIC, "PK\3\4\24\0\0\0", "\x80\2\x8a\x0al\xfc\x9c\x46",
                                        "\x40\0\0\0\0\0\0\0{\"x\""};
    for (size_t i = 0; i < sizeof begin / sizeof *begin; i++) {
        uint8_t p[LLAMA2C_HEAD] = {0};
        memset(p + 8, 1, sizeof p - 8);
        memcpy(p, begin[i], 8);
        cr_assert_not(llama2c_magic(p, sizeof p), "%zu", i);
    }
}

/* Bytes of a header that change at random are refused or make a model that can be read to its end. */
Test(llama2c, broken_headers)
{
    uint64_t seed = 11;
    struct buf b = image_of(small, 0, true, SHARED_0 / 4 - 7);
    for (int k = 0; k < 3000; k++) {
        struct buf c = {0};
        struct model m;
        struct err e;
        mk_put(&c, b.s, b.n);
        for (uint64_t i = oracle_random(&seed) % 3; i < 3; i++)
            c.s[oracle_random(&seed) % 28] = (char)(oracle_random(&seed) >> 30);
        if (!open_image(&m, &c, c.n, false, &e)) {
            for (size_t i = 0; i < m.n; i++) {
                uint8_t p[4];
                cr_assert_eq(model_read(&m, i, m.t[i].size - 4, p, 4, &e), 0, "%s", e.msg);
            }
            model_close(&m);
        }
        buf_free(&c);
    }
    buf_free(&b);
}

Test(llama2c, stories)
{
    char *path = mk_data("models/stories260K.bin");
    if (!path)
        return;
    struct model m;
    struct err e = {0};
    cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
    cr_assert(m.container == CONTAINER_LLAMA2C && m.n == 47 && !m.dir);
    cr_assert(strstr(m.config, "\"intermediate_size\": 172") && strstr(m.config, "\"vocab_size\": 512"));
    model_close(&m);
    free(path);
}

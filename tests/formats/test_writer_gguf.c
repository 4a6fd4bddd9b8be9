#include "formats/gguf.h"
#include "formats/writer.h"
#include "tests/mk_gguf.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct err e;

/* The head of every sort of tensor, and where each lies, as the format has it. */
Test(writer_gguf, head_and_places)
{
    static const struct tensor t[] = {
        {.name = "b.weight", .dtype = DT_BF16, .rank = 3, .dim = {2, 3, 5}, .size = 60},
        {.name = "a.weight", .dtype = DT_Q8_0, .rank = 2, .dim = {3, 64}, .size = 204},
        {.name = "one", .dtype = DT_F32, .rank = 0, .size = 4},
        {.name = "ids", .dtype = DT_I64, .rank = 1, .dim = {7}, .size = 56},
    };
    struct gguf_keys k = {0};
    struct writer w;
    cr_assert(!gguf_keys_str(&k, "general.name", "x", &e));
    cr_assert_eq(writer_gguf(&w, t, 4, "m.gguf", &k, &e), 0, "%s", e.msg);
    struct buf b = gg_head(3, 4, 1);
    gg_key(&b, "general.name", 8), gg_str(&b, "x");
    gg_tensor(&b, "b.weight", 3, (uint64_t[]){5, 3, 2}, 30, 0);
    gg_tensor(&b, "a.weight", 2, (uint64_t[]){64, 3}, 8, 64);
    gg_tensor(&b, "one", 0, NULL, 0, 64 + 224);
    gg_tensor(&b, "ids", 1, (uint64_t[]){7}, 27, 64 + 224 + 32);
    gg_pad(&b, 32);
    cr_assert_eq(w.head[0].n, b.n);
    cr_assert(!memcmp(w.head[0].s, b.s, b.n));
    const uint64_t at[] = {0, 64, 288, 320};
    for (size_t i = 0; i < 4; i++)
        cr_assert(w.slot_of[i] == i && w.slot[i].off == b.n + at[i] && w.slot[i].size == t[i].size);
    cr_assert_eq(w.file[0].size, b.n + 320 + 64);
    cr_assert_eq(w.bytes, w.file[0].size);
    writer_free(&w);
    gguf_keys_free(&k);
    buf_free(&b);
}

static void refused(const struct tensor *t, const char *says)
{
    struct writer w;
    const struct gguf_keys k = {0};
    cr_assert_eq(writer_gguf(&w, t, 1, "m.gguf", &k, &e), -1, "%s", says);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, t->name) && strstr(e.msg, says), "%s", e.msg);
}

Test(writer_gguf, what_readers_do_not_take)
{
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    refused(&(struct tensor){.name = name, .dtype = DT_F32, .rank = 1, .dim = {1}, .size = 4}, "64 bytes");
    refused(&(struct tensor){.name = "deep", .dtype = DT_F32, .rank = 5, .dim = {1, 1, 1, 1, 1}, .size = 4}, "at most 4 dimensions");
    refused(&(struct tensor){.name = "none", .dtype = DT_F32, .rank = 2, .dim = {4, 0}}, "without elements");
    refused(&(struct tensor){.name = "mask", .dtype = DT_BOOL, .rank = 1, .dim = {1}, .size = 1}, "BOOL");
    refused(&(struct tensor){.name = "fp8", .dtype = DT_F8_E4M3, .rank = 1, .dim = {1}, .size = 1}, "F8_E4M3");
    struct writer w;
    const struct gguf_keys k = {0};
    name[63] = 0;
    const struct tensor longest = {.name = name, .dtype = DT_F32, .rank = 4, .dim = {1, 1, 1, 1}, .size = 4};
    cr_assert_eq(writer_gguf(&w, &longest, 1, "m.gguf", &k, &e), 0, "%s", e.msg);
    writer_free(&w);
}

/* Each type that is read can be written, by the same number. */
Test(writer_gguf, types)
{
    size_t n = 0;
    for (int t = 0; t < DT_COUNT; t++) {
        uint32_t id;
        if (!gguf_stores((enum dtype)t, &id))
            continue;
        n++;
        const struct dtype_info *const type = &dtype_table[t];
        struct buf b = gg_head(3, 1, 0);
        gg_tensor(&b, "t", 1, (uint64_t[]){type->block_elems}, id, 0);
        gg_pad(&b, 32);
        gg_data(&b, type->block_bytes);
        char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m.gguf");
        struct model m;
        mk_write(path, b.s, b.n);
        cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
        cr_assert_eq((int)m.t[0].dtype, t);
        model_close(&m);
        free(path);
        mk_rmdir(dir);
        buf_free(&b);
    }
    cr_assert_eq(n, 35);
}

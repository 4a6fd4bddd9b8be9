#include "formats/model.h"
#include "tests/mk_torch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct tensor *tensor(const struct model *m, const char *name)
{
    size_t i;
    cr_assert(map_find(&m->by_name, name, &i), "%s", name);
    return &m->t[i];
}

/* ---- what is read -------------------------------------------------------------- */

Test(torch, both_formats)
{
    struct mk_model f = {0};
    for (int legacy = 0; legacy < 2; legacy++) {
        struct buf b = mk_two_tensors(legacy);
        cr_assert_eq(mk_open(&f, b.s, b.n), 0, "%s", f.e.msg);
        cr_assert(f.m.n == 2 && f.m.random && f.m.container == CONTAINER_TORCH && !f.m.nkv);
        const struct tensor *const a = tensor(&f.m, "a"), *const c = tensor(&f.m, "b");
        cr_assert(a->dtype == DT_F32 && a->rank == 2 && a->dim[0] == 4 && a->dim[1] == 6 && a->size == 96);
        cr_assert(c->rank == 1 && c->dim[0] == 8 && c->size == 32 && tensor_is_flat(a) && tensor_is_flat(c));
        uint8_t got[96];
        cr_assert_eq(model_read(&f.m, (size_t)(a - f.m.t), 0, got, 96, &f.e), 0);
        cr_assert_eq(memcmp(got, mk_bytes, 96), 0);
        cr_assert_eq(model_read(&f.m, (size_t)(c - f.m.t), 0, got, 32, &f.e), 0);
        cr_assert_eq(memcmp(got, mk_bytes, 32), 0);
        cr_assert_eq(model_finish(&f.m, &f.e), 0);
        model_close(&f.m);
        buf_free(&b);
    }
    mk_close_dir(&f);
}

Test(torch, element_types)
{
    static const struct {
        const char *storage, *dtype; /* of FloatStorage, or of an UntypedStorage */
        enum dtype t;
    } row[] = {{"Double", "float64", DT_F64},
               {"Float", "float32", DT_F32},
               {"Half", "float16", DT_F16},
               {"BFloat16", "bfloat16", DT_BF16},
               {"Long", "int64", DT_I64},
               {"Int", "int32", DT_I32},
               {"Short", "int16", DT_I16},
               {"Char", "int8", DT_I8},
               {"Byte", "uint8", DT_U8},
               {"Bool", "bool", DT_BOOL},
               {"ComplexFloat", "complex64", DT_C64},
               {NULL, "uint16", DT_U16},
               {NULL, "uint32", DT_U32},
               {NULL, "uint64", DT_U64},
               {NULL, "float8_e4m3fn", DT_F8_E4M3},
               {NULL, "float8_e5m2", DT_F8_E5M2},
               {NULL, "float8_e4m3fnuz", DT_F8_E4M3FNUZ},
               {NULL, "float8_e5m2fnuz", DT_F8_E5M2FNUZ},
               {NULL, "float8_e8m0fnu", DT_F8_E8M0}};
    struct mk_model f = {0};
    for (int k = 0; k < 4; k++) /* legacy or not, typed or not */
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            const bool legacy = k & 1, typed = k & 2;
            const int size = (int)dtype_table[row[i].t].block_bytes;
            struct buf p = {0};
            char name[64];
            if (typed && !row[i].storage)
                continue;
            mk_pickle_legacy(legacy);
            if (typed) {
                mk_pickle(&p, "}%s%ts", "w", (struct mk_view){row[i].storage, "k", 6, 1, "5", "1"});
            } else {
                snprintf(name, sizeof name, "torch %s", row[i].dtype);
                mk_pickle(&p, "}%s%g((%s%g%s%s%i", "w", "torch._utils _rebuild_tensor_v3", "storage",
                          "torch.storage UntypedStorage", "k", "cpu", 6 * size);
                mk_pickle(&p, legacy ? "NtQ%i%v%v\x89N%gtRs" : "tQ%i%v%v\x89N%gtRs", 1, "5", "1", name);
            }
            struct buf b = mk_checkpoint(
                legacy, &p,
                &(struct mk_storage){"k", mk_bytes, 6 * (size_t)size, typed ? 6 : 6 * (uint64_t)size}, 1);
            cr_assert_eq(mk_open(&f, b.s, b.n), 0, "%s: %s", row[i].dtype, f.e.msg);
            const struct tensor *const t = tensor(&f.m, "w");
            uint8_t first;
            cr_assert(t->dtype == row[i].t && t->size == 5 * (uint64_t)size, "%s", row[i].dtype);
            cr_assert_eq(model_read(&f.m, 0, 0, &first, 1, &f.e), 0);
            cr_assert_eq(first, mk_bytes[size], "the offset counts elements");
            model_close(&f.m);
            buf_free(&b);
            buf_free(&p);
        }
    mk_close_dir(&f);
}

/* Pairs of FP4 values: the last dimension is doubled, as in safetensors. */
Test(torch, pairs)
{
    static const char *const stride[] = {"3,1", "1,2"};
    struct mk_model f = {0};
    mk_pickle_legacy(false);
    for (int i = 0; i < 2; i++) {
        struct buf p = {0};
        mk_pickle(&p, "}%s%g((%s%g%s%s%i", "w", "torch._utils _rebuild_tensor_v3", "storage",
                  "torch.storage UntypedStorage", "k", "cpu", 6);
        mk_pickle(&p, "tQ%i%v%v\x89N%gtRs", 0, "2,3", stride[i], "torch float4_e2m1fn_x2");
        struct buf b = mk_checkpoint(false, &p, &(struct mk_storage){"k", mk_bytes, 6, 0}, 1);
        cr_assert_eq(mk_open(&f, b.s, b.n), i ? -1 : 0, "%s", f.e.msg);
        if (i) {
            cr_assert(strstr(f.e.msg, "tensor 'w': pairs of FP4 values that are not in row-major order"),
                      "%s", f.e.msg);
        } else {
            cr_assert(f.m.t[0].dtype == DT_F4 && f.m.t[0].dim[1] == 6 && f.m.t[0].size == 6);
            model_close(&f.m);
        }
        buf_free(&b);
        buf_free(&p);
    }
    mk_close_dir(&f);
}

/* The other functions that make tensors. */
Test(torch, functions)
{
    struct mk_model f = {0};
    struct buf p = {0};
    mk_pickle_legacy(false);
    mk_pickle(&p, "}(%s%g((%s%g%s%s%itQ%i%v%vtR", "v1", "torch._utils _rebuild_tensor", "storage",
              "torch FloatStorage", "0", "cpu", 24, 2, "3,2", "2,1");
    mk_pickle(&p, "%s%g(%t\x88NtR", "parameter", "torch._utils _rebuild_parameter",
              (struct mk_view){"Float", "1", 8, 0, "8", "1"});
    /* Sizes by torch.Size, and a metadata argument that is empty. */
    mk_pickle(&p, "%s%g((%s%g%s%s%itQ%i%g%v\x85R%v\x88N}tRu", "v2", "torch._utils _rebuild_tensor_v2",
              "storage", "torch FloatStorage", "0", "cuda:0", 24, 0, "torch Size", "4,2", "6,1");
    struct buf b = mk_checkpoint(false, &p, mk_two, 2);
    cr_assert_eq(mk_open(&f, b.s, b.n), 0, "%s", f.e.msg);
    cr_assert_eq(f.m.n, 3);
    const struct tensor *const v1 = tensor(&f.m, "v1"), *const v2 = tensor(&f.m, "v2");
    cr_assert(v1->off == v2->off + 8 && tensor_is_flat(v1), "they share a storage");
    cr_assert(v2->stride && v2->stride[0] == 6 && v2->stride[1] == 1 && v2->size == 32);
    cr_assert_eq(tensor(&f.m, "parameter")->size, 32);
    model_close(&f.m);
    buf_free(&b);
    buf_free(&p);
    mk_close_dir(&f);
}

/* ---- views --------------------------------------------------------------------- */

Test(torch, views)
{
    static const struct {
        const char *size, *stride;
        int offset;
        bool flat;
    } row[] = {
        {"4,6", "6,1", 0, true},      {"6,4", "1,6", 0, false},
        {"2,3,4", "12,4,1", 0, true}, {"3,2,4", "4,12,1", 0, false},
        {"", "", 23, true},           {"1", "99999", 23, true},
        {"1,1", "7,7", 0, true},      {"4,1,6", "6,77,1", 0, true},
        {"12", "2", 0, false},        {"2", "23", 0, false},
        {"5,7", "0,1", 3, false},     {"5,7", "1,0", 3, false},
        {"24", "1", 0, true},         {"1,24", "0,1", 0, true},
        {"0,4", "1,9", 24, true},     {"3,0", "5,5", 0, true},
        {"20,3", "1,2", 0, false},    {"2,2,2,2,1,1,1,1", "8,4,2,1,1,1,1,1", 0, true},
    };
    struct mk_model f = {0};
    mk_pickle_legacy(false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct buf p = {0};
        mk_pickle(&p, "}%s%ts", "w",
                  (struct mk_view){"Float", "0", 24, row[i].offset, row[i].size, row[i].stride});
        struct buf b = mk_checkpoint(false, &p, mk_two, 1);
        cr_assert_eq(mk_open(&f, b.s, b.n), 0, "[%s] by %s: %s", row[i].size, row[i].stride, f.e.msg);
        cr_assert_eq(!f.m.t[0].stride, row[i].flat, "[%s] by %s", row[i].size, row[i].stride);
        cr_assert_eq(f.m.t[0].size, 4 * tensor_elems(&f.m.t[0]));
        model_close(&f.m);
        buf_free(&b);
        buf_free(&p);
    }
    mk_close_dir(&f);
}

/* Against all that can be: a view is taken exactly when its last element is in the storage. */
Test(torch, every_small_view)
{
    struct mk_model f = {0};
    mk_pickle_legacy(false);
    size_t taken = 0;
    for (int x = 0; x < 5 * 5 * 5 * 5 * 4; x++) {
        const int d0 = x % 5, d1 = x / 5 % 5, s0 = x / 25 % 5, s1 = x / 125 % 5, at = 2 * (x / 625);
        char size[32], stride[32];
        int last = at;
        struct buf p = {0};
        snprintf(size, sizeof size, "%d,%d", d0, d1);
        snprintf(stride, sizeof stride, "%d,%d", s0, s1);
        for (int i = 0; i < d0; i++)
            for (int k = 0; k < d1; k++)
                last = at + i * s0 + k * s1 > last ? at + i * s0 + k * s1 : last;
        const bool good = d0 && d1 ? last < 8 : at <= 8;
        mk_pickle(&p, "}%s%ts", "w", (struct mk_view){"Float", "1", 8, at, size, stride});
        struct buf b = mk_torch(&p, mk_two + 1, 1, 0);
        cr_assert_eq(mk_open(&f, b.s, b.n), good ? 0 : -1, "[%s] by %s from %d", size, stride, at);
        if (good)
            model_close(&f.m);
        taken += good;
        buf_free(&b);
        buf_free(&p);
    }
    cr_assert(taken > 500 && taken < 2000, "%zu", taken);
    mk_close_dir(&f);
}

/* ---- the dict ------------------------------------------------------------------- */

static const struct mk_view w0 = {"Float", "0", 24, 0, "4,6", "6,1"}, w1 = {"Float", "1", 8, 0, "8", "1"};

static void has_meta(const struct model *m, const char *key, const char *value)
{
    const char *const v = model_meta(m, key);
    cr_assert(v, "%s", key);
    cr_assert_str_eq(v, value, "%s", key);
}

Test(torch, entries_that_are_no_tensors)
{
    struct mk_model f = {0};
    struct buf p = {0};
    mk_pickle_legacy(false);
    mk_pickle(&p, "}(%s%t%s%i%s\x88%sN%s%f", "w", w0, "epoch", -3, "yes", "none", "half", 0.5);
    mk_pickle(&p, "%s%s%s%v%s]%s}%s%g", "name", "h\xc3\xa9", "shape", "1,2", "list", "dict", "type",
              "torch float32");
    mk_pickle(&p, "%s", "odd");
    mk_put(&p, "X\2\0\0\0a\0", 7);
    mk_pickle(&p, "%s\x8f%s", "set", "long");
    mk_put(&p, "\x8a\x09\0\0\0\0\0\0\0\0\1u", 12);
    cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
    cr_assert_eq(f.m.n, 1);
    has_meta(&f.m, "torch.epoch", "-3");
    has_meta(&f.m, "torch.yes", "True");
    has_meta(&f.m, "torch.none", "None");
    has_meta(&f.m, "torch.half", "0.5");
    has_meta(&f.m, "torch.name", "h\xc3\xa9");
    has_meta(&f.m, "torch.shape", "[2 items]");
    has_meta(&f.m, "torch.list", "[0 items]");
    has_meta(&f.m, "torch.dict", "[0 entries]");
    has_meta(&f.m, "torch.type", "torch.float32");
    has_meta(&f.m, "torch.odd", "[2 bytes]");
    has_meta(&f.m, "torch.long", "[9 bytes]");
    has_meta(&f.m, "torch.set", "[0 items]");
    model_close(&f.m);
    mk_close_dir(&f);
}

Test(torch, containers_make_names)
{
    struct mk_model f = {0};
    struct buf p = {0};
    mk_pickle_legacy(false);
    /* {"a": {"b": w0, "c": [w1, (w1,)]}, 7: w1, "d": {"e": 1}} */
    mk_pickle(&p, "}(%s}(%s%t%s](%t%t\x85\x65u%i%t%s}%s%isu", "a", "b", w0, "c", w1, w1, 7, w1, "d", "e", 1);
    cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
    cr_assert_eq(f.m.n, 4);
    (void)tensor(&f.m, "a.b");
    (void)tensor(&f.m, "a.c.0");
    (void)tensor(&f.m, "a.c.1.0");
    (void)tensor(&f.m, "7");
    has_meta(&f.m, "torch.d", "[1 entries]");
    model_close(&f.m);
    mk_close_dir(&f);
}

Test(torch, dicts_that_are_taken)
{
    static const char *const key[] = {"state_dict", "model_state_dict", "model", "module"};
    struct mk_model f = {0};
    mk_pickle_legacy(false);
    for (size_t i = 0; i < 4; i++) {
        struct buf p = {0};
        /* Beside it: metadata, a dict of two tensors, one tensor, and the key of lower rank. */
        mk_pickle(&p, "}(%s%i%s}(%s%t%s%tu%s%t%s}%s%ts%s}%s%isu", "epoch", 3, "optimizer", "x", w0, "y", w1,
                  "best", w1, key[i], "w", w0, i < 3 ? key[i + 1] : "other", "z", 1);
        cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
        cr_assert(f.m.n == 1 && !strcmp(f.m.t[0].name, "w"), "%s", key[i]);
        has_meta(&f.m, "torch.epoch", "3");
        has_meta(&f.m, "torch.left_out", "optimizer (2 tensors), best (1 tensor)");
        model_close(&f.m);
    }
    /* The first of two; and one in another, whose neighbours are named by it. */
    struct buf p = {0};
    mk_pickle(&p, "}(%s}%s%ts%s}(%s}%s%ts%s%iuu", "module", "m", w0, "state_dict", "model", "w", w1, "n", 5);
    cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
    cr_assert(f.m.n == 1 && !strcmp(f.m.t[0].name, "w"));
    has_meta(&f.m, "torch.left_out", "module (1 tensor)");
    has_meta(&f.m, "torch.state_dict.n", "5");
    model_close(&f.m);
    /* No dict of tensors: it is an entry like others. */
    p = (struct buf){0};
    mk_pickle(&p, "}(%s%s%s%t%s](%teu", "model", "llama", "w", w0, "state_dict", w1);
    cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
    cr_assert_eq(f.m.n, 2);
    (void)tensor(&f.m, "state_dict.0");
    has_meta(&f.m, "torch.model", "llama");
    model_close(&f.m);
    mk_close_dir(&f);
}

/* OrderedDict of pairs, as Python 2 wrote it; attributes of one are dropped. */
Test(torch, ordered_dicts)
{
    struct mk_model f = {0};
    struct buf p = {0};
    mk_pickle_legacy(false);
    mk_pickle(&p, "%g](](%s%te%s%t\x86\x65\x85R", "collections OrderedDict", "a", w0, "b", w1);
    cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
    cr_assert_eq(f.m.n, 2);
    model_close(&f.m);
    mk_pickle(&p, "%g)R%s%ts}%s}%s%issb", "collections OrderedDict", "a", w0, "_metadata", "version", 1);
    cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
    cr_assert(f.m.n == 1 && !f.m.nkv);
    model_close(&f.m);
    mk_close_dir(&f);
}

/* ---- streams, shards, real files ----------------------------------------------------- */

Test(torch, streams_need_a_spool_file)
{
    struct mk_model f = {0};
    for (int legacy = 0; legacy < 2; legacy++) {
        struct buf b = mk_two_tensors(legacy), gz = mk_gzip(b.s, b.n);
        cr_assert_eq(mk_open(&f, gz.s, gz.n), -1);
        cr_assert_eq(f.e.kind, ERR_INPUT);
        cr_assert(strstr(f.e.msg, "m.pt: is a PyTorch checkpoint") && strstr(f.e.msg, "needs --spool"), "%s",
                  f.e.msg);
        cr_assert_eq(model_open_spooled(&f.m, f.path, &f.e), 0, "%s", f.e.msg);
        cr_assert(f.m.n == 2 && f.m.random);
        model_close(&f.m);
        mk_stdin(b.s, b.n);
        cr_assert_eq(model_open(&f.m, "-", &f.e), -1);
        cr_assert(strstr(f.e.msg, "standard input: is a PyTorch checkpoint"), "%s", f.e.msg);
        mk_stdin(b.s, b.n);
        cr_assert_eq(model_open_spooled(&f.m, "-", &f.e), 0, "%s", f.e.msg);
        uint8_t got[96];
        cr_assert_eq(model_read(&f.m, (size_t)(tensor(&f.m, "a") - f.m.t), 0, got, 96, &f.e), 0);
        cr_assert_eq(memcmp(got, mk_bytes, 96), 0);
        model_close(&f.m);
        buf_free(&b);
        buf_free(&gz);
    }
    mk_close_dir(&f);
}

static void write_in(const char *dir, const char *name, const void *p, size_t n)
{
    char *const path = mk_path(dir, name);
    mk_write(path, p, n);
    free(path);
}

static void write_one(const char *dir, const char *name, const char *tensor_name, bool legacy)
{
    struct buf p = {0};
    mk_pickle_legacy(legacy);
    mk_pickle(&p, "}%s%ts", tensor_name, w0);
    struct buf b = mk_checkpoint(legacy, &p, mk_two, 1);
    write_in(dir, name, b.s, b.n);
    buf_free(&b);
    buf_free(&p);
}

Test(torch, directories)
{
    char *const dir = mk_tmpdir();
    struct model m;
    struct err e = {0};
    write_in(dir, "training_args.bin", "junk", 4);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert(strstr(e.msg, "has no *.safetensors, pytorch_model.bin"), "%s", e.msg);
    write_one(dir, "pytorch_model.bin", "whole", false);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    cr_assert(m.n == 1 && !strcmp(m.t[0].name, "whole") && !m.sharded);
    model_close(&m);

    /* An index, of shards in both formats, comes before the file. */
    static const char index[] = "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00002.bin\","
                                "\"b\":\"pytorch_model-00002-of-00002.bin\"}}";
    write_one(dir, "pytorch_model-00001-of-00002.bin", "a", false);
    write_one(dir, "pytorch_model-00002-of-00002.bin", "b", true);
    write_in(dir, "pytorch_model.bin.index.json", index, sizeof index - 1);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    cr_assert(m.n == 2 && m.sharded && m.nf == 2 && m.container == CONTAINER_TORCH && m.random);
    cr_assert(tensor(&m, "a")->file == 0 && tensor(&m, "b")->file == 1);
    model_close(&m);
    write_one(dir, "pytorch_model-00002-of-00002.bin", "c", true);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert(strstr(e.msg, "tensor 'b' is not in pytorch_model-00002-of-00002.bin"), "%s", e.msg);

    /* And safetensors before both. */
    static const struct mk_tensor one = {"st", "U8", "[5]", NULL, 5};
    struct buf b = mk_safetensors(&one, 1, NULL);
    write_in(dir, "model.safetensors", b.s, b.n);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    cr_assert(m.n == 1 && !strcmp(m.t[0].name, "st") && m.container == CONTAINER_SAFETENSORS);
    model_close(&m);
    buf_free(&b);
    mk_rmdir(dir);
}

/* A real file of the old format, and the same tensors as safetensors. */
Test(torch, real_legacy_file)
{
    char *const old = mk_data("torch/rxnmapper_albert_pytorch_model.bin"),
                *const new = mk_data("models/rxnmapper_albert.safetensors");
    struct model a, b;
    struct err e = {0};
    if (!old || !new)
        return;
    cr_assert_eq(model_open(&a, old, &e), 0, "%s", e.msg);
    cr_assert_eq(model_open(&b, new, &e), 0, "%s", e.msg);
    cr_assert(a.n == b.n && a.n == 32);
    for (size_t i = 0; i < a.n; i++) {
        const struct tensor *const x = &a.t[i], *const y = tensor(&b, x->name);
        cr_assert(x->dtype == y->dtype && x->rank == y->rank && x->size == y->size && tensor_is_flat(x), "%s",
                  x->name);
        cr_assert_eq(memcmp(x->dim, y->dim, sizeof x->dim), 0, "%s", x->name);
        uint8_t *const p = malloc(x->size), *const q = malloc(x->size);
        cr_assert_eq(
            model_read(&a, i, 0, p, x->size, &e) || model_read(&b, (size_t)(y - b.t), 0, q, x->size, &e), 0);
        cr_assert_eq(memcmp(p, q, x->size), 0, "%s", x->name);
        free(p);
        free(q);
    }
    model_close(&a);
    model_close(&b);
    free(old);
    free(new);
}

Test(torch, real_zip_files)
{
    char *const flat = mk_data("torch/candle_test.pt"), *const fortran =
                                                            mk_data("torch/candle_fortran_tensor_3d.pth");
    struct model m;
    struct err e = {0};
    if (!flat || !fortran)
        return;
    cr_assert_eq(model_open(&m, flat, &e), 0, "%s", e.msg);
    cr_assert(m.n == 1 && !strcmp(m.t[0].name, "test") && m.t[0].dtype == DT_I64 && tensor_is_flat(&m.t[0]));
    model_close(&m);
    cr_assert_eq(model_open(&m, fortran, &e), 0, "%s", e.msg);
    const struct tensor *const t = &m.t[0];
    cr_assert(m.n == 1 && t->rank == 3 && t->dim[0] == 2 && t->dim[1] == 3 && t->dim[2] == 4
              && t->size == 192);
    cr_assert(t->stride && t->stride[0] == 1 && t->stride[1] == 2 && t->stride[2] == 6);
    model_close(&m);
    free(flat);
    free(fortran);
}

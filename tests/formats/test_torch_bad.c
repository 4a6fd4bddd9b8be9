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

static const struct mk_view w0 = {"Float", "0", 24, 0, "4,6", "6,1"}, w1 = {"Float", "1", 8, 0, "8", "1"};

static void has_meta(const struct model *m, const char *key, const char *value)
{
    const char *const v = model_meta(m, key);
    cr_assert(v, "%s", key);
    cr_assert_str_eq(v, value, "%s", key);
}

/* ---- what is refused --------------------------------------------------------------- */

static void refused(struct mk_model *f, const char *says)
{
    cr_assert_eq(f->e.kind, ERR_INPUT, "expected: %s", says);
    cr_assert(strstr(f->e.msg, says) && strstr(f->e.msg, "m.pt: "), "'%s' in: %s", says, f->e.msg);
}
#define REFUSED(says, ...) \
    do { \
        struct buf p_ = {0}; \
        mk_pickle(&p_, __VA_ARGS__); \
        cr_assert_eq(mk_open_pickle(&f, &p_), -1, "expected: %s", says); \
        refused(&f, says); \
    } while (0)

Test(torch_bad, pickles_that_are_refused)
{
    static const char v2[] = "torch._utils _rebuild_tensor_v2", v3[] = "torch._utils _rebuild_tensor_v3",
                      parameter[] = "torch._utils _rebuild_parameter", od[] = "collections OrderedDict",
                      flt[] = "torch FloatStorage", untyped[] = "torch.storage UntypedStorage";
    struct mk_model f = {0};
    mk_pickle_legacy(false);
    /* The top */
    REFUSED("holds one tensor without a name", "%t", w0);
    REFUSED("holds no dict", "](%te", w0);
    REFUSED("holds no dict", "N");
    REFUSED("is a storage and no tensor", "}%s(%s%g%s%s%itQs", "a", "storage", flt, "0", "cpu", 24);
    /* Code */
    REFUSED("the global 'os.system' is not one that tensors need; to load this file would run code",
            "}%s%g%s\x85Rs", "a", "os system", "true");
    REFUSED("the global '__builtin__.eval'", "%g%s\x85R", "__builtin__ eval", "1");
    REFUSED("a call of 'torch.FloatStorage'", "%g%i\x85R", flt, 3);
    REFUSED("a state for what is no dict", "}%s%t}bs", "a", w0);
    /* Functions */
    REFUSED("an OrderedDict with unknown arguments", "%g}\x85R", od);
    REFUSED("an OrderedDict with unknown arguments", "%gNN\x86R", od);
    REFUSED("an OrderedDict of what are no pairs", "%g](NN\x85\x65\x85R", od);
    REFUSED("an OrderedDict of what are no pairs", "%g](NNN\x87\x65\x85R", od);
    REFUSED("a torch.Size of what is no tuple", "%g]\x85R", "torch Size");
    REFUSED("a torch.Size of what is no tuple", "%g)R", "torch Size");
    REFUSED("a tensor made of 5 arguments", "%g(NNNNNtR", v2);
    REFUSED("a tensor made of 8 arguments", "%g(NNNNNNNNtR", v2);
    REFUSED("a tensor made of 3 arguments", "%g(NNNtR", "torch._utils _rebuild_tensor");
    REFUSED("a tensor made of 6 arguments", "%g(NNNNNNtR", v3);
    REFUSED("a tensor is made of a storage, an offset", "%g(NNNNNNtR", v2);
    REFUSED("a tensor is made of a storage, an offset", "%g(%t%i%v%vNNtR", v2, w0, 0, "1", "1");
    REFUSED("a tensor is made of a storage, an offset", "%g((%s%g%s%s%itQ%i]%vNNtR", v2, "storage", flt, "0",
            "cpu", 24, 0, "1");
    REFUSED("a tensor is made of a storage, an offset", "%g((%s%g%s%s%itQ%i%v%iNNtR", v2, "storage", flt, "0",
            "cpu", 24, 0, "1", 1);
    REFUSED("a tensor is made of a storage, an offset", "%g((%s%g%s%s%itQN%v%vNNtR", v2, "storage", flt, "0",
            "cpu", 24, "1", "1");
    REFUSED("a tensor of an untyped storage, without a type", "%g((%s%g%s%s%itQ%i%v%vNNtR", v2, "storage",
            untyped, "0", "cpu", 96, 0, "1", "1");
    REFUSED("is to be conjugated or negated", "%g((%s%g%s%s%itQ%i%v%vNN}%s\x88stR", v2, "storage", flt, "0",
            "cpu", 24, 0, "1", "1", "neg");
    REFUSED("is to be conjugated or negated", "%g((%s%g%s%s%itQ%i%v%vNN%g]tR", v3, "storage", flt, "0", "cpu",
            24, 0, "1", "1", "torch float32");
    REFUSED("a tensor of nothing, which is no type", "%g((%s%g%s%s%itQ%i%v%vNNNtR", v3, "storage", flt, "0",
            "cpu", 24, 0, "1", "1");
    REFUSED("a tensor of torch.FloatStorage, which is no type", "%g((%s%g%s%s%itQ%i%v%vNN%gtR", v3, "storage",
            flt, "0", "cpu", 24, 0, "1", "1", flt);
    REFUSED("a tensor of torch.complex128, which is no type", "%g((%s%g%s%s%itQ%i%v%vNN%gtR", v3, "storage",
            flt, "0", "cpu", 24, 0, "1", "1", "torch complex128");
    REFUSED("a parameter of what is no tensor", "%gNNN\x87R", parameter);
    REFUSED("a parameter of what is no tensor", "%g%tN\x86R", parameter, w0);
    REFUSED("a parameter of what is no tensor", "%g)R", parameter);
    /* Storages */
    REFUSED("a persistent id that is no storage", "NQ");
    REFUSED("a persistent id that is no storage", "(%s%g%s%stQ", "storage", flt, "0", "cpu");
    REFUSED("a persistent id that is no storage", "(%s%g%s%s%iNtQ", "storage", flt, "0", "cpu", 24);
    REFUSED("a persistent id that is no storage", "(%s%g%s%s%itQ", "module", flt, "0", "cpu", 24);
    REFUSED("a persistent id that is no storage", "(%s%s%s%s%itQ", "storage", "x", "0", "cpu", 24);
    REFUSED("a persistent id that is no storage", "(%s%g%s%s%itQ", "storage", "torch float32", "0", "cpu",
            24);
    REFUSED("a persistent id that is no storage", "(%s%g%i%s%itQ", "storage", flt, 0, "cpu", 24);
    REFUSED("a persistent id that is no storage", "(%s%g%s%s%itQ", "storage", flt, "0", "cpu", -24);
    REFUSED("a persistent id that is no storage", "(%s%g%s%s\x88tQ", "storage", flt, "0", "cpu");
    REFUSED("is a torch.ComplexDoubleStorage, whose elements have no type here", "(%s%g%s%s%itQ", "storage",
            "torch ComplexDoubleStorage", "0", "cpu", 24);
    REFUSED("of 4611686018427387904 elements: size or name are not possible", "(%s%g%s%s%ltQ", "storage", flt,
            "0", "cpu", (int64_t)1 << 62);
    REFUSED("storage '0' is there twice, and not the same", "%t%t\x86", w0,
            (struct mk_view){"Int", "0", 24, 0, "1", "1"});
    REFUSED("storage '0' is there twice, and not the same", "%t%t\x86", w0,
            (struct mk_view){"Float", "0", 23, 0, "1", "1"});
    REFUSED("member 'x/data/2' of a tensor is missing", "}%s%ts", "a",
            (struct mk_view){"Float", "2", 24, 0, "1", "1"});
    REFUSED("member 'x/data/0' has 96 bytes; its storage has 100", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 25, 0, "1", "1"});
    REFUSED("member 'x/data/0' has 96 bytes; its storage has 192", "}%s%ts", "a",
            (struct mk_view){"Long", "0", 24, 0, "1", "1"});
    /* Tensors */
    REFUSED("tensor 'a': 9 dimensions; 8 are read", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, 0, "1,1,1,1,1,1,1,1,1", "1,1,1,1,1,1,1,1,1"});
    REFUSED("tensor 'a': 2 dimensions and 1 strides", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, 0, "2,2", "1"});
    REFUSED("tensor 'a': begins before its storage", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, -1, "2", "1"});
    REFUSED("tensor 'a': a dimension or stride that is no number", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, 0, "-2", "1"});
    REFUSED("tensor 'a': a dimension or stride that is no number", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, 0, "2", "-1"});
    REFUSED("tensor 'a': element 24 of storage '0' is wanted, which has 24", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, 1, "4,6", "6,1"});
    REFUSED("tensor 'a': element 25 of storage '0' is wanted", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, 25, "0", "1"});
    REFUSED("tensor 'a': is expanded to 4294967296 bytes, more than 1 GiB", "}%s%ts", "a",
            (struct mk_view){"Float", "0", 24, 0, "32768,32768", "0,0"});
    REFUSED("tensor 'a': its size overflows", "}%s%g((%s%g%s%s%itQ%i(%l%lt%vNNtRs", "a", v2, "storage", flt,
            "0", "cpu", 24, 0, (int64_t)1 << 31, (int64_t)1 << 31, "0,0");
    REFUSED("tensor 'a': its size overflows", "}%s%g((%s%g%s%s%itQ%i(%l%i%it%vNNtRs", "a", v2, "storage", flt,
            "0", "cpu", 24, 0, INT64_MAX, 3, 0, "0,0,0");
    REFUSED("tensor 'a': its size overflows", "}%s%g((%s%g%s%s%itQ%i%v(%ltNNtRs", "a", v2, "storage", flt,
            "0", "cpu", 24, 0, "5", INT64_MAX);
    REFUSED("tensor 'a': its size overflows", "}%s%g((%s%g%s%s%itQ%i%v(%l%l%ltNNtRs", "a", v2, "storage", flt,
            "0", "cpu", 24, 0, "2,2,2", INT64_MAX, INT64_MAX, INT64_MAX);
    /* The dict */
    REFUSED("the key 'a' is in a dict twice", "}(%s%t%s%iu", "a", w0, "a", 1);
    REFUSED("the key 'b' is in a dict twice", "}%s}(%s%t%s%tus", "a", "b", w0, "b", w1);
    REFUSED("tensor 'a.b' is listed twice", "}(%s%t%s}%s%tsu", "a.b", w0, "a", "b", w1);
    REFUSED("tensor '7' is listed twice", "}(%s%t%i%tu", "7", w0, 7, w1);
    REFUSED("two entries without tensors are named '7'", "}(%s%i%i%iu", "7", 1, 7, 2);
    REFUSED("two entries without tensors are named 'a.b'", "}(%s%i%s}(%s%i%s%tuu", "a.b", 1, "a", "b", 2, "t", w0);
    REFUSED("two entries without tensors are named 'left_out'", "}(%s%i%s%t%s}%s%tsu", "left_out", 1,
            "x", w1, "model", "w", w0);
    REFUSED("is no UTF-8 text", "}%s%ts", "a\xff", w0);
    REFUSED("the dict '' has a key that is neither a text nor a number", "}N%ts", w0);
    REFUSED("the dict 'a' has a key that is neither a text nor a number", "}%s}N%tss", "a", w0);
    REFUSED("a container holds itself", "}q\1%sh\1s", "a");
    REFUSED("a container holds itself", "}%s]q\1h\1\x61s", "a");
    REFUSED("'b' is a container of tensors that is also elsewhere", "}(%s]q\1%t\x61%sh\1u", "a", w0, "b");
    REFUSED("1 tensors are attributes or keys", "}(%s%t%s%g)R%s%is}%s%tsbu", "a", w0, "b", od, "x", 1,
            "hidden", w1);
    REFUSED("1 tensors are attributes or keys", "}(%s%t%s}%t%isu", "a", w0, "b", w1, 1);
    mk_close_dir(&f);
}

/* A nest of lists, and a short pickle that stands for 2^30 lists. */
Test(torch_bad, nests)
{
    struct mk_model f = {0};
    struct buf p = {0};
    mk_pickle_legacy(false);
    mk_puts(&p, "}");
    mk_pickle(&p, "%s", "a");
    for (int i = 0; i < 40; i++)
        mk_puts(&p, "](");
    for (int i = 0; i < 40; i++)
        mk_puts(&p, "e");
    mk_puts(&p, "s");
    cr_assert_eq(mk_open_pickle(&f, &p), -1);
    refused(&f, "containers nest deeper than 32");
    p = (struct buf){0};
    mk_pickle(&p, "}(%s%t%sN", "w", w0, "a");
    for (int i = 0; i < 30; i++)
        mk_put(&p, "q\1h\1\x86", 5);
    mk_puts(&p, "u");
    cr_assert_eq(mk_open_pickle(&f, &p), 0, "%s", f.e.msg);
    has_meta(&f.m, "torch.a", "[2 items]");
    model_close(&f.m);
    p = (struct buf){0};
    mk_pickle(&p, "}(%s%t", "a", w0);
    for (int i = 0; i < 30; i++)
        mk_put(&p, "q\1h\1\x86", 5);
    mk_puts(&p, "u");
    cr_assert_eq(mk_open_pickle(&f, &p), -1);
    refused(&f, ".0.1' is a container of tensors that is also elsewhere");
    mk_close_dir(&f);
}

Test(torch_bad, zip_files_that_are_refused)
{
    static const struct {
        const char *name[4], *text[4], *says;
    } row[] = {
        {{"x/other"}, {""}, "is a zip file without DIRECTORY/data.pkl"},
        {{"data.pkl"}, {""}, "is a zip file without DIRECTORY/data.pkl"},
        {{"x/y/data.pkl"}, {""}, "is a zip file without DIRECTORY/data.pkl"},
        {{"x/data.pkl", "y/data.pkl"}, {"", ""}, "with data.pkl in several directories"},
        {{"x/data.pkl", "x/version", "x/constants.pkl"}, {"", "3\n", ""}, "is a TorchScript program"},
        {{"x/data.pkl"}, {""}, "without x/version"},
        {{"x/data.pkl", "x/version"}, {"", ""}, "x/version is none of 1 to 10"},
        {{"x/data.pkl", "x/version"}, {"", "0"}, "x/version is none of 1 to 10"},
        {{"x/data.pkl", "x/version"}, {"", "11\n"}, "x/version is none of 1 to 10"},
        {{"x/data.pkl", "x/version"}, {"", "3.1"}, "x/version is none of 1 to 10"},
        {{"x/data.pkl", "x/version"}, {"", " 3"}, "x/version is none of 1 to 10"},
        {{"x/data.pkl", "x/version", "x/byteorder"}, {"", "3\n", "big"}, "x/byteorder is not 'little'"},
        {{"x/data.pkl", "x/version", "x/byteorder"}, {"", "3\n", ""}, "x/byteorder is not 'little'"},
        {{"x/data.pkl", "x/version"},
         {"\x80\2}.x", "3\n"},
         "data.pkl: byte 4: 1 bytes follow the end of the pickle"},
        {{"x/data.pkl", "x/version"}, {"\x80\2}", "3\n"}, "data.pkl: byte 3: it ends early"},
        {{"x/data.pkl", "x/version"}, {"\x80\2cos\nsystem\n", "3\n"}, "'os.system'"},
    };
    struct mk_model f = {0};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct mk_zip z = {0};
        for (size_t k = 0; k < 4 && row[i].name[k]; k++)
            mk_zip_add(&z, row[i].name[k], row[i].text[k], strlen(row[i].text[k]));
        struct buf b = mk_zip_end(&z, "");
        cr_assert_eq(mk_open(&f, b.s, b.n), -1, "expected: %s", row[i].says);
        refused(&f, row[i].says);
        buf_free(&b);
    }
    /* Without byteorder, as before PyTorch 2.1, and without tensors, it is one. */
    struct mk_zip z = {0};
    mk_zip_add(&z, "x/data.pkl", "\x80\2}.", 4);
    mk_zip_add(&z, "x/version", "10", 2);
    struct buf b = mk_zip_end(&z, "");
    cr_assert_eq(mk_open(&f, b.s, b.n), 0, "%s", f.e.msg);
    cr_assert_eq(f.m.n, 0);
    model_close(&f.m);
    buf_free(&b);
    mk_close_dir(&f);
}

/* ---- before 1.6 -------------------------------------------------------------------- */

Test(torch_bad, legacy_files_that_are_refused)
{
    static const struct {
        const char *find, *put;
        size_t n;
        const char *says;
    } row[] = {
        {"P\x19.", "Q\x19.", 3, "with another magic number"},
        {"M\xe9\3.", "M\xea\3.", 4, "another version than 1001"},
        {"M\xe9\3.", "K\xe9N.", 4, "values are left on the stack"},
        {"\x88u.", "\x89u.", 3, "big-endian machine, or does not say"},
        {"little_endian", "little_Endian", 13, "big-endian machine, or does not say"},
        {"NtQ", "\x88tQ", 3, "storage '0' is a view of another one"},
        {".\x80\2](", ".\x80\2(]", 5, "pickle of the storages"},
        {"0X\1\0\0\0"
         "1e",
         "0X\1\0\0\0"
         "0e",
         8, "storage 2 of 2 is of no tensor, or listed twice"},
        {"](X\1\0\0\0"
         "0",
         "](X\1\0\0\0"
         "1",
         8, "storage '1' has 24 elements at byte 420, and 8 by the pickle"},
        {"](X\1\0\0\0"
         "0",
         "](X\1\0\0\0"
         "x",
         8, "storage 1 of 2 is of no tensor, or listed twice"},
        {"1e.\x18", "1e.\x19", 4, "storage '0' has 25 elements at byte "},
    };
    struct mk_model f = {0};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct buf b = mk_two_tensors(true);
        char *const at = memmem(b.s, b.n, row[i].find, row[i].n);
        cr_assert(at, "%s", row[i].says);
        memcpy(at, row[i].put, row[i].n);
        cr_assert_eq(mk_open(&f, b.s, b.n), -1, "expected: %s", row[i].says);
        refused(&f, row[i].says);
        buf_free(&b);
    }
    struct buf b = mk_two_tensors(true);
    mk_puts(&b, "x");
    cr_assert_eq(mk_open(&f, b.s, b.n), -1);
    refused(&f, "1 bytes follow the last tensor");
    buf_free(&b);
    /* A storage that is not in the list. */
    struct buf p = {0};
    mk_pickle(&p, "}(%s%t%s%tu", "a", w0, "b", w1);
    b = mk_torch_legacy(&p, mk_two, 1);
    cr_assert_eq(mk_open(&f, b.s, b.n), -1);
    refused(&f, "1 of 2 storages are not listed");
    buf_free(&b);
    buf_free(&p);
    /* No globals in the pickles around that of the tensors. */
    b = (struct buf){0};
    mk_put(&b, "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", 15);
    mk_puts(&b, "\x80\2ccollections\nOrderedDict\n.");
    cr_assert_eq(mk_open(&f, b.s, b.n), -1);
    refused(&f, "pickle of the version: byte 27: the global 'collections.OrderedDict'");
    buf_free(&b);
    mk_close_dir(&f);
}

/* ---- damage ------------------------------------------------------------------------- */

Test(torch_bad, cut_at_every_byte)
{
    struct mk_model f = {0};
    for (int legacy = 0; legacy < 2; legacy++) {
        struct buf b = mk_two_tensors(legacy);
        for (size_t n = 0; n < b.n; n++) {
            cr_assert_eq(mk_open(&f, b.s, n), -1, "cut at %zu", n);
            cr_assert_eq(f.e.kind, ERR_INPUT);
        }
        buf_free(&b);
    }
    mk_close_dir(&f);
}

/* Every bit. In a zip file it is an error, or the tensors are the same; where a
 * bit of a storage is hit, only its values can change.  The format before 1.6
 * has no checks of its own: there it is enough that nothing breaks. */
Test(torch_bad, flipped_bits)
{
    struct mk_model f = {0};
    size_t same = 0, refusals = 0;
    for (int legacy = 0; legacy < 2; legacy++) {
        struct buf b = mk_two_tensors(legacy);
        for (size_t bit = 0; bit < 8 * b.n; bit++) {
            b.s[bit / 8] ^= (char)(1 << bit % 8);
            const int rc = mk_open(&f, b.s, b.n);
            b.s[bit / 8] ^= (char)(1 << bit % 8);
            refusals += rc && !legacy;
            if (rc) {
                cr_assert_eq(f.e.kind, ERR_INPUT, "bit %zu: %s", bit, f.e.msg);
                continue;
            }
            if (!legacy) {
                cr_assert(f.m.n == 2 && !f.m.nkv, "bit %zu", bit);
                const struct tensor *const a = tensor(&f.m, "a"), *const c = tensor(&f.m, "b");
                cr_assert(a->rank == 2 && a->dim[0] == 4 && a->dim[1] == 6 && a->dtype == DT_F32
                          && !a->stride);
                cr_assert(c->rank == 1 && c->dim[0] == 8 && c->dtype == DT_F32 && !c->stride);
                cr_assert(!memcmp(b.s + a->off, mk_bytes, 96) && !memcmp(b.s + c->off, mk_bytes, 32),
                          "bit %zu", bit);
                same++;
            }
            for (size_t i = 0; i < f.m.n; i++)
                cr_assert(f.m.t[i].stride || f.m.t[i].off + f.m.t[i].size <= b.n);
            model_close(&f.m);
        }
        buf_free(&b);
    }
    cr_assert(same > 1000 && refusals > 5000, "%zu %zu", same, refusals);
    mk_close_dir(&f);
}

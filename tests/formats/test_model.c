#include "formats/io.h"
#include "formats/model.h"
#include "formats/shards.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct mk_tensor two[] = {
    {"a.weight", "F32", "[2,2]", NULL, 16}, {"b.weight", "U8", "[5]", NULL, 5}};

static void write_in(const char *dir, const char *name, const void *p, size_t n)
{
    char *const path = mk_path(dir, name);
    mk_write(path, p, n);
    free(path);
}

static int open_in(struct model *m, const char *dir, const char *name, struct err *e)
{
    char *const path = mk_path(dir, name);
    const int rc = model_open(m, path, e);
    free(path);
    return rc;
}

static void read_tensor(struct model *m, const char *name, uint8_t *p, size_t n)
{
    struct err e = {0};
    size_t i;
    cr_assert(map_find(&m->by_name, name, &i), "%s", name);
    cr_assert_eq(m->t[i].size, n);
    cr_assert_eq(model_read(m, i, 0, p, n, &e), 0, "%s", e.msg);
}

/* ---- files and streams ----------------------------------------------------- */

Test(model, compressed_files_are_streams_with_the_same_bytes)
{
    char *const dir = mk_tmpdir();
    struct buf plain = mk_safetensors(two, 2, NULL);
    struct buf gz = mk_gzip(plain.s, plain.n), zst = mk_zstd(plain.s, plain.n);
    const struct buf image[3] = {plain, gz, zst};
    for (int i = 0; i < 3; i++) {
        struct model m;
        struct err e = {0};
        uint8_t p[21];
        write_in(dir, "m", image[i].s, image[i].n);
        cr_assert_eq(open_in(&m, dir, "m", &e), 0, "%s", e.msg);
        cr_assert_eq(m.random, i == 0);
        read_tensor(&m, "a.weight", p, 16);
        read_tensor(&m, "b.weight", p + 16, 5);
        cr_assert_eq(memcmp(p, plain.s + plain.n - 21, 21), 0);
        cr_assert_eq(model_finish(&m, &e), 0, "%s", e.msg);
        model_close(&m);
    }
    buf_free(&plain);
    buf_free(&gz);
    buf_free(&zst);
    mk_rmdir(dir);
}

Test(model, pipe_reads_forward_only)
{
    struct model m;
    struct err e = {0};
    uint8_t p[16];
    struct buf b = mk_safetensors(two, 2, NULL);
    mk_stdin(b.s, b.n);
    cr_assert_eq(model_open(&m, "-", &e), 0, "%s", e.msg);
    cr_assert(!m.random && m.n == 2 && m.nf == 1 && m.f[0].fd == -1 && !m.dir && !m.config);
    cr_assert_eq(model_read(&m, 0, 4, p, 4, &e), 0);
    cr_assert_eq(p[0], 5);
    cr_assert_eq(model_read(&m, 0, 0, p, 4, &e), -1);
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert(strstr(e.msg, "a pipe cannot go back"), "%s", e.msg);
    cr_assert_eq(model_read(&m, 1, 4, p, 1, &e), 0, "%s", e.msg);
    cr_assert_eq(p[0], 5);
    cr_assert_eq(model_finish(&m, &e), 0, "%s", e.msg);
    model_close(&m);
    buf_free(&b);
}

Test(model, standard_input_from_a_file_is_random)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m");
    struct model m;
    struct err e = {0};
    uint8_t p[16];
    struct buf b = mk_safetensors(two, 2, NULL);
    mk_write(path, b.s, b.n);
    cr_assert(freopen(path, "rb", stdin));
    cr_assert_eq(model_open(&m, "-", &e), 0, "%s", e.msg);
    cr_assert(m.random);
    read_tensor(&m, "b.weight", p, 5);
    read_tensor(&m, "a.weight", p, 16);
    model_close(&m);
    /* and from the middle of a file it is a stream that begins there */
    mk_write(path, "skipped", 7);
    struct buf both = {0};
    mk_put(&both, "skipped", 7);
    mk_put(&both, b.s, b.n);
    mk_write(path, both.s, both.n);
    cr_assert(freopen(path, "rb", stdin));
    cr_assert_eq(lseek(0, 7, SEEK_SET), 7);
    cr_assert_eq(model_open(&m, "-", &e), 0, "%s", e.msg);
    cr_assert_not(m.random);
    read_tensor(&m, "a.weight", p, 16);
    model_close(&m);
    free(path);
    buf_free(&both);
    buf_free(&b);
    mk_rmdir(dir);
}

/* Cut anywhere, a pipe fails: when it is opened, read, or finished. */
Test(model, pipe_cut_at_every_byte_is_an_error)
{
    struct buf b = mk_safetensors(two, 2, NULL);
    for (size_t n = 0; n <= b.n; n++) {
        struct model m;
        struct err e = {0};
        uint8_t p[16];
        mk_stdin(b.s, n);
        int rc = model_open(&m, "-", &e);
        if (!rc) {
            rc = model_read(&m, 0, 0, p, 16, &e) || model_read(&m, 1, 0, p, 5, &e)
              || model_finish(&m, &e);
            model_close(&m);
        }
        cr_assert_eq(!!rc, n < b.n, "cut at %zu", n);
        if (rc) {
            cr_assert_eq(e.kind, ERR_INPUT);
            if (n >= b.n - 5)
                cr_assert(strstr(e.msg, "'b.weight'"), "%s", e.msg);
        }
    }
    buf_free(&b);
}

Test(model, finish_alone_sees_what_is_missing_or_too_much)
{
    struct model m;
    struct err e = {0};
    struct buf b = mk_safetensors(two, 2, NULL);
    mk_stdin(b.s, b.n - 7);
    cr_assert_eq(model_open(&m, "-", &e), 0);
    cr_assert_eq(model_finish(&m, &e), -1);
    cr_assert(strstr(e.msg, "2 bytes of tensor 'a.weight' are missing"), "%s", e.msg);
    model_close(&m);
    mk_puts(&b, "xyz");
    mk_stdin(b.s, b.n);
    cr_assert_eq(model_open(&m, "-", &e), 0);
    cr_assert_eq(model_finish(&m, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "3 bytes follow"), "%s", e.msg);
    model_close(&m);
    buf_free(&b);
}

Test(model, spool_makes_a_pipe_random)
{
    struct model m;
    struct err e = {0};
    uint8_t p[16];
    struct buf b = mk_safetensors(two, 2, NULL);
    mk_stdin(b.s, b.n);
    cr_assert_eq(model_open_spooled(&m, "-", &e), 0, "%s", e.msg);
    cr_assert(m.random);
    read_tensor(&m, "b.weight", p, 5);
    cr_assert_eq(p[4], 5);
    read_tensor(&m, "a.weight", p, 16);
    cr_assert_eq(p[15], 16);
    model_close(&m);
    for (size_t cut = 1; cut < b.n; cut++) {
        mk_stdin(b.s, b.n - cut);
        cr_assert_eq(model_open_spooled(&m, "-", &e), -1);
        cr_assert_eq(e.kind, ERR_INPUT);
        if (cut <= 5)
            cr_assert(strstr(e.msg, "'b.weight'"), "%s", e.msg);
    }
    struct buf gz = mk_gzip(b.s, b.n);
    mk_stdin(gz.s, gz.n - 1);
    cr_assert_eq(model_open_spooled(&m, "-", &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    mk_stdin(gz.s, gz.n);
    cr_assert_eq(model_open_spooled(&m, "-", &e), 0, "%s", e.msg);
    read_tensor(&m, "a.weight", p, 16);
    model_close(&m);
    setenv("TMPDIR", "/no/such/place", 1);
    mk_stdin(b.s, b.n);
    cr_assert_eq(model_open_spooled(&m, "-", &e), -1);
    cr_assert_eq(e.kind, ERR_SYSTEM);
    cr_assert(strstr(e.msg, "/no/such/place"), "%s", e.msg);
    buf_free(&gz);
    buf_free(&b);
}

/* What is a file already is not copied. */
Test(model, spool_leaves_files_alone)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m");
    struct model m;
    struct err e = {0};
    struct buf b = mk_safetensors(two, 2, NULL);
    mk_write(path, b.s, b.n);
    setenv("TMPDIR", "/no/such/place", 1);
    cr_assert_eq(model_open_spooled(&m, path, &e), 0, "%s", e.msg);
    cr_assert(m.random);
    model_close(&m);
    free(path);
    buf_free(&b);
    unsetenv("TMPDIR");
    mk_rmdir(dir);
}

Test(model, file_that_shrinks_names_the_tensor)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m");
    struct model m;
    struct err e = {0};
    uint8_t p[16];
    struct buf b = mk_safetensors(two, 2, NULL);
    mk_write(path, b.s, b.n);
    cr_assert_eq(model_open(&m, path, &e), 0);
    cr_assert_eq(truncate(path, (off_t)b.n - 10), 0);
    cr_assert_eq(model_read(&m, 0, 0, p, 16, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "'a.weight'"), "%s", e.msg);
    model_close(&m);
    free(path);
    buf_free(&b);
    mk_rmdir(dir);
}

Test(model, what_is_no_model_is_called_so)
{
    char *const dir = mk_tmpdir();
    struct model m;
    struct err e = {0};
    write_in(dir, "m", "PK\3\4 and so on", 14);
    cr_assert_eq(open_in(&m, dir, "m", &e), -1);
    cr_assert(strstr(e.msg, "zip"), "%s", e.msg);
    write_in(dir, "m", "hello, world", 12);
    cr_assert_eq(open_in(&m, dir, "m", &e), -1);
    cr_assert(strstr(e.msg, "safetensors"), "%s", e.msg);
    cr_assert_eq(open_in(&m, dir, "none", &e), -1);
    cr_assert(strstr(e.msg, "No such file"), "%s", e.msg);
    cr_assert_eq(model_open(&m, "/dev/null", &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    mk_rmdir(dir);
}

/* ---- directories ----------------------------------------------------------- */

Test(model, directory_with_one_file)
{
    char *const dir = mk_tmpdir(), *const slash = mk_path(dir, "");
    struct model m;
    struct err e = {0};
    struct buf b = mk_safetensors(two, 2, "{\"octavo.config\":\"{\\\"x\\\":1}\"}");
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "has no *.safetensors"), "%s", e.msg);

    write_in(dir, "any.safetensors", b.s, b.n);
    write_in(dir, "._any.safetensors", "junk", 4);
    write_in(dir, "readme.txt", "", 0);
    cr_assert_eq(model_open(&m, slash, &e), 0, "%s", e.msg);
    cr_assert(m.n == 2 && !m.sharded);
    cr_assert_str_eq(m.f[0].name, "any.safetensors");
    cr_assert_str_eq(m.dir, slash);
    cr_assert_str_eq(m.config, "{\"x\":1}", "from the metadata");
    model_close(&m);
    cr_assert_eq(open_in(&m, dir, "any.safetensors", &e), 0);
    cr_assert_null(m.dir);
    cr_assert_str_eq(m.config, "{\"x\":1}");
    model_close(&m);

    write_in(dir, "config.json", "{\"y\":2}", 7);
    cr_assert_eq(open_in(&m, dir, "any.safetensors", &e), 0);
    cr_assert_str_eq(m.dir, dir);
    cr_assert_str_eq(m.config, "{\"y\":2}");
    model_close(&m);

    write_in(dir, "other.safetensors", b.s, b.n);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert(strstr(e.msg, "any.safetensors, other.safetensors"), "%s", e.msg);
    write_in(dir, "x.safetensors.index.json", "{\"weight_map\":{}}", 17);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    cr_assert_eq(m.n, 0);
    model_close(&m);
    write_in(dir, "y.safetensors.index.json", "{}", 2);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert(strstr(e.msg, "x.safetensors.index.json, y."), "%s", e.msg);
    write_in(dir, "model.safetensors.index.json", "{\"weight_map\":{}}", 17);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    model_close(&m);
    free(slash);
    buf_free(&b);
    mk_rmdir(dir);
}

Test(model, config_has_a_limit)
{
    char *const dir = mk_tmpdir(), *const config = mk_path(dir, "config.json");
    struct model m;
    struct err e = {0};
    struct buf b = mk_safetensors(two, 2, NULL);
    write_in(dir, "m.safetensors", b.s, b.n);
    mk_write(config, "{}", 2);
    cr_assert_eq(truncate(config, (16 << 20) + 1), 0);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert(strstr(e.msg, "config.json: larger than the limit"), "%s", e.msg);
    free(config);
    buf_free(&b);
    mk_rmdir(dir);
}

static const struct mk_tensor shard_one[] = {{"b.weight_scale_inv", "F32", "[1]", NULL, 4},
                                             {"a.weight", "U8", "[2,2]", NULL, 4}};
static const struct mk_tensor shard_two[] = {{"b.weight", "F8_E4M3", "[2,3]", NULL, 6}};

/* A directory with m1.safetensors, m2.safetensors and this index. */
static char *sharded(const char *index)
{
    char *const dir = mk_tmpdir();
    struct buf one = mk_safetensors(shard_one, 2, "{\"format\":\"pt\",\"n\":\"1\"}");
    struct buf other = mk_safetensors(shard_two, 1, "{\"format\":\"pt\",\"n\":\"2\"}");
    write_in(dir, "m1.safetensors", one.s, one.n);
    write_in(dir, "m2.safetensors", other.s, other.n);
    write_in(dir, "model.safetensors.index.json", index, strlen(index));
    buf_free(&one);
    buf_free(&other);
    return dir;
}

#define A "\"a.weight\":\"m1.safetensors\""
#define B "\"b.weight\":\"m2.safetensors\""
#define S "\"b.weight_scale_inv\":\"m1.safetensors\""

Test(model, shards_with_scale_and_weight_apart)
{
    char *const dir = sharded("{\"metadata\":{\"total_size\":1.5e9,\"x\":[{}]},"
                              "\"weight_map\":{" B "," A "," S "}}");
    char *const index = mk_path(dir, "model.safetensors.index.json");
    for (int by_index = 0; by_index < 2; by_index++) {
        struct model m;
        struct err e = {0};
        uint8_t p[6];
        cr_assert_eq(model_open(&m, by_index ? index : dir, &e), 0, "%s", e.msg);
        cr_assert(m.random && m.sharded && m.nf == 2 && m.n == 3);
        cr_assert_str_eq(m.f[0].name, "m1.safetensors");
        cr_assert_str_eq(m.t[0].name, "b.weight_scale_inv");
        cr_assert_str_eq(m.t[2].name, "b.weight");
        cr_assert(m.t[1].file == 0 && m.t[2].file == 1);
        read_tensor(&m, "b.weight", p, 6);
        cr_assert(p[0] == 1 && p[5] == 6);
        read_tensor(&m, "a.weight", p, 4);
        cr_assert_eq(m.nkv, 2);
        cr_assert_str_eq(model_meta(&m, "n"), "1", "of a key in several shards the first counts");
        cr_assert_eq(m.dir != NULL, !by_index);
        model_close(&m);
    }
    free(index);
    mk_rmdir(dir);
}

static void index_rejected(const char *index, const char *name, const char *text)
{
    struct model m;
    struct err e = {0};
    char *const dir = sharded(index);
    cr_assert_eq(model_open(&m, dir, &e), -1, "accepted: %s", index);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, name), "%s: does not name %s: %s", index, name, e.msg);
    cr_assert(strstr(e.msg, text), "%s: does not say '%s': %s", index, text, e.msg);
    mk_rmdir(dir);
}

Test(model, indexes_that_are_wrong)
{
    index_rejected("", "index", "'{' expected");
    index_rejected("{}", "index", "has no weight_map");
    index_rejected("{\"weight_map\":[]}", "index", "'{' expected");
    index_rejected("{\"weight_map\":{\"a\":1}}", "index", "string");
    index_rejected("{\"weight_map\":{}} x", "index", "follows");
    index_rejected("{\"weight_map\":{" A "},\"weight_map\":{}}", "index", "twice");
    index_rejected("{\"weight_map\":{" A "," B "}}", "'b.weight_scale_inv'", "is not listed");
    index_rejected("{\"weight_map\":{" A "," B "," S ",\"c.weight\":\"m2.safetensors\"}}",
                   "'c.weight'", "is not in m2.safetensors");
    index_rejected("{\"weight_map\":{" A "," S ",\"b.weight\":\"m1.safetensors\"}}", "'b.weight'",
                   "is not in m1.safetensors");
    index_rejected("{\"weight_map\":{" B "," S ",\"a.weight\":\"m2.safetensors\"}}", "'a.weight'",
                   "is in m1.safetensors, not in m2.safetensors");
    index_rejected("{\"weight_map\":{" A "," B "," S "," A "}}", "'a.weight'", "listed twice");
    index_rejected("{\"weight_map\":{" A "," B "," S ",\"c.weight\":\"m3.safetensors\"}}",
                   "'c.weight'", "m3.safetensors: is missing");
}

Test(model, shards_stay_in_the_directory)
{
    static const char *const bad[] = {"/etc/passwd", "../m1.safetensors", "x/../../y", "..", "x/..",
                                      "", "./../m"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char index[200];
        snprintf(index, sizeof index, "{\"weight_map\":{\"a.weight\":\"%s\"}}", bad[i]);
        index_rejected(index, "'a.weight'", "leaves the directory");
    }
    /* names that only look so */
    char *const dir = sharded("{\"weight_map\":{\"a.weight\":\"..m/x..safetensors\"}}");
    char *const sub = mk_path(dir, "..m");
    struct model m;
    struct err e = {0};
    struct buf b = mk_safetensors(shard_one + 1, 1, NULL);
    cr_assert_eq(mkdir(sub, 0777), 0);
    write_in(sub, "x..safetensors", b.s, b.n);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    cr_assert_str_eq(m.f[0].name, "x..safetensors");
    model_close(&m);
    free(sub);
    buf_free(&b);
    mk_rmdir(dir);
}

Test(model, tensor_in_two_shards)
{
    char *const dir = sharded("{\"weight_map\":{" A "," B "," S "}}");
    struct model m;
    struct err e = {0};
    static const struct mk_tensor again[] = {{"b.weight", "F8_E4M3", "[2,3]", NULL, 6},
                                             {"a.weight", "U8", "[1]", NULL, 1}};
    struct buf b = mk_safetensors(again, 2, NULL);
    write_in(dir, "m2.safetensors", b.s, b.n);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "'a.weight'") && strstr(e.msg, "m1.safetensors")
              && strstr(e.msg, "m2.safetensors"), "%s", e.msg);
    /* and a broken or compressed shard is named */
    write_in(dir, "m2.safetensors", b.s, b.n - 1);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert(strstr(e.msg, "m2.safetensors: file ends early"), "%s", e.msg);
    struct buf gz = mk_gzip(b.s, b.n);
    write_in(dir, "m2.safetensors", gz.s, gz.n);
    cr_assert_eq(model_open(&m, dir, &e), -1);
    cr_assert(strstr(e.msg, "m2.safetensors: is compressed"), "%s", e.msg);
    buf_free(&gz);
    buf_free(&b);
    mk_rmdir(dir);
}

Test(model, more_shards_than_the_soft_limit_of_files)
{
    enum { N = 100 };
    char *const dir = mk_tmpdir();
    struct buf index = {0};
    struct model m;
    struct err e = {0};
    mk_puts(&index, "{\"weight_map\":{");
    for (int i = 0; i < N; i++) {
        char name[32], file[32];
        snprintf(name, sizeof name, "t%d", i);
        snprintf(file, sizeof file, "s%03d.safetensors", i);
        const struct mk_tensor t = {name, "U8", "[3]", NULL, 3};
        struct buf b = mk_safetensors(&t, 1, NULL);
        write_in(dir, file, b.s, b.n);
        cr_assert_eq(buf_printf(&index, &e, "%s\"%s\":\"%s\"", i ? "," : "", name, file), 0);
        buf_free(&b);
    }
    mk_puts(&index, "}}");
    write_in(dir, "model.safetensors.index.json", index.s, index.n);
    struct rlimit r;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = 64;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &r), 0);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    cr_assert_eq(m.nf, N);
    model_close(&m);
    buf_free(&index);
    mk_rmdir(dir);
}

/* ---- files made by others -------------------------------------------------- */

Test(model, real_models_open)
{
    static const struct { const char *name; size_t n; } model[] = {
        {"models/stories260K-hf", 48}, {"models/stories260K.f32.gguf", 47},
        {"models/hadamards.safetensors", 66}, {"models/rxnmapper_albert.safetensors", 32},
        {"models/candle_csm_voices.safetensors", 2}};
    for (size_t i = 0; i < sizeof model / sizeof *model; i++) {
        char *const path = mk_data(model[i].name);
        struct model m;
        struct err e = {0};
        if (!path)
            return;
        cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
        cr_assert_eq(m.n, model[i].n);
        for (size_t k = 0; k < m.n; k++) {
            uint8_t *const p = malloc(m.t[k].size + 1);
            cr_assert_eq(model_read(&m, k, 0, p, m.t[k].size, &e), 0, "%s", e.msg);
            free(p);
        }
        model_close(&m);
        free(path);
    }
}

/* One model in two containers: what the conversion does not permute is equal. */
Test(model, safetensors_and_gguf_of_one_model_agree)
{
    static const char *const pair[][2] = {
        {"model.embed_tokens.weight", "token_embd.weight"},
        {"model.norm.weight", "output_norm.weight"},
        {"model.layers.%d.input_layernorm.weight", "blk.%d.attn_norm.weight"},
        {"model.layers.%d.post_attention_layernorm.weight", "blk.%d.ffn_norm.weight"},
        {"model.layers.%d.mlp.gate_proj.weight", "blk.%d.ffn_gate.weight"},
        {"model.layers.%d.mlp.up_proj.weight", "blk.%d.ffn_up.weight"},
        {"model.layers.%d.mlp.down_proj.weight", "blk.%d.ffn_down.weight"},
        {"model.layers.%d.self_attn.v_proj.weight", "blk.%d.attn_v.weight"},
        {"model.layers.%d.self_attn.o_proj.weight", "blk.%d.attn_output.weight"}};
    char *const hf = mk_data("models/stories260K-hf");
    char *const gguf = mk_data("models/stories260K.f32.gguf");
    struct model a, b;
    struct err e = {0};
    if (!hf || !gguf)
        return;
    cr_assert_eq(model_open(&a, hf, &e), 0, "%s", e.msg);
    cr_assert_eq(model_open(&b, gguf, &e), 0, "%s", e.msg);
    cr_assert(a.config && strstr(a.config, "LlamaForCausalLM"));
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++)
        for (int layer = 0; layer < 5; layer++) {
            char name[2][100], shape[2][176];
            size_t k[2];
            for (int s = 0; s < 2; s++) {
                const char *const number = strstr(pair[i][s], "%d");
                const size_t head = number ? (size_t)(number - pair[i][s]) : strlen(pair[i][s]);
                snprintf(name[s], sizeof name[s], "%.*s", (int)head, pair[i][s]);
                if (number)
                    snprintf(name[s] + head, sizeof name[s] - head, "%d%s", layer, number + 2);
            }
            cr_assert(map_find(&a.by_name, name[0], &k[0]), "%s", name[0]);
            cr_assert(map_find(&b.by_name, name[1], &k[1]), "%s", name[1]);
            const struct tensor *const x = &a.t[k[0]], *const y = &b.t[k[1]];
            cr_assert_str_eq(tensor_shape(x, shape[0]), tensor_shape(y, shape[1]));
            cr_assert(x->dtype == DT_F32 && y->dtype == DT_F32);
            uint8_t *const p = malloc(x->size), *const q = malloc(x->size);
            cr_assert_eq(model_read(&a, k[0], 0, p, x->size, &e), 0);
            cr_assert_eq(model_read(&b, k[1], 0, q, x->size, &e), 0);
            cr_assert_eq(memcmp(p, q, x->size), 0, "%s", name[0]);
            free(p);
            free(q);
        }
    model_close(&a);
    model_close(&b);
    free(hf);
    free(gguf);
}

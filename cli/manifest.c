#include "cli/manifest.h"

#include "cli/out.h"

#include "formats/io.h"
#include "formats/sha256.h"
#include "quantizers/run.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 256, FILE_MOST = 1 << 28 };

/* ---- what there is ---------------------------------------------------------------------------- */
struct delivery {
    struct model m;
    uint8_t (*digest)[32];           /* of each tensor */
    uint8_t whole[32];
    struct { char name[256]; char hex[65]; } file[FILES_MAX];
    size_t files;
    bool alone;                      /* a file or a pipe: nothing lies beside it */
};

static int one_file(struct delivery *d, const char *dir, const char *name, struct err *e)
{
    char path[4096];
    uint8_t digest[32];
    struct sha256 s;
    size_t n;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path || d->files == FILES_MAX || strlen(name) >= sizeof d->file->name)
        return err_set(e, ERR_INPUT, "%s: too many files, or too long a name: '%s'", dir, name);
    if (io_is_dir(path))
        return 0;
    char *text = io_read_file(path, FILE_MOST, &n, e);
    if (!text)
        return -1;
    sha256_init(&s);
    sha256_put(&s, text, n);
    sha256_end(&s, digest);
    free(text);
    sha256_hex(digest, d->file[d->files].hex);
    strcpy(d->file[d->files++].name, name);
    return 0;
}

/* What lies beside the weights: small files, no weights, nothing hidden. */
static int beside(struct delivery *d, const char *path, struct err *e)
{
    static const char *const weights[] = {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".octp"};
    struct dirent **entry;
    d->alone = !strcmp(path, "-") || !io_is_dir(path);
    if (d->alone)
        return 0;
    const int n = scandir(path, &entry, NULL, alphasort);
    if (n < 0)
        return err_sys(e, "%s: cannot be read", path);
    int r = 0;
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        bool skip = *name == '.' || strchr(name, '\n');
        for (size_t k = 0; k < sizeof weights / sizeof *weights; k++)
            skip |= ends_with(name, weights[k]);
        r = r || skip ? r : one_file(d, path, name, e);
        free(entry[i]);
    }
    free(entry);
    return r;
}

static int open_delivery(struct delivery *d, const char *path, const struct common *c, struct err *e)
{
    *d = (struct delivery){.files = 0};
    if (model_open(&d->m, path, e))
        return -1;
    if (!run_model_digest(&d->m, c->threads, &d->digest, d->whole, e) && !beside(d, path, e))
        return 0;
    free(d->digest);
    model_close(&d->m);
    return -1;
}

static void close_delivery(struct delivery *d)
{
    free(d->digest);
    model_close(&d->m);
}

/* A tensor as a line of the manifest has it. */
static char *line_of(const struct delivery *d, size_t i, struct buf *b, struct err *e)
{
    char hex[65], shape[256];
    const struct tensor *t = &d->m.t[i];
    sha256_hex(d->digest[i], hex);
    b->n = 0;
    return buf_printf(b, e, "%s  %s %s %s", hex, t->name, dtype_name(t->dtype), tensor_shape(t, shape)) ? NULL : b->s;
}

/* ---- printing ------------------------------------------------------------------------------------ */
int digest_of_model(const char *path, unsigned threads, char hex[65], struct err *e)
{
    struct model m;
    uint8_t whole[32];
    if (model_open(&m, path, e))
        return -1;
    uint8_t (*d)[32];
    const int r = run_model_digest(&m, threads, &d, whole, e);
    if (!r)
        sha256_hex(whole, hex);
    free(d);
    model_close(&m);
    return r;
}

int manifest_print(const char *path, const char *source, const struct common *c, struct err *e)
{
    struct delivery d;
    struct buf b = {0};
    char hex[65];
    const char *slash = strrchr(path, '/');
    if (source && digest_of_model(source, c->threads, hex, e))
        return -1;
    if (open_delivery(&d, path, c, e))
        return -1;
    printf("# octavo manifest 1\n# version %s\n# model ", OCTAVO_VERSION);
    out_text(stdout, slash && slash[1] ? slash + 1 : path);
    printf("\n");
    for (size_t i = 0; i < d.m.nkv; i++)
        if (!strncmp(d.m.kv[i].key, "octavo.", 7) && strlen(d.m.kv[i].value) < 200) {
            printf("# ");
            out_text(stdout, d.m.kv[i].key);
            printf(" ");
            out_text(stdout, d.m.kv[i].value);
            printf("\n");
        }
    if (source)
        printf("source %s\n", hex);
    int r = 0;
    for (size_t i = 0; !r && i < d.m.n; i++) {
        r = line_of(&d, i, &b, e) ? 0 : -1;
        if (!r && strchr(b.s, '\n'))
            r = err_set(e, ERR_INPUT, "%s: tensor %zu has a name of several lines, which no manifest holds", path, i);
        if (!r)
            printf("%s\n", b.s);
    }
    for (size_t i = 0; !r && i < d.files; i++)
        printf("file %s %s\n", d.file[i].hex, d.file[i].name);
    sha256_hex(d.whole, hex);
    if (!r)
        printf("model %s\n", hex);
    buf_free(&b);
    close_delivery(&d);
    return r;
}

/* ---- checking ---------------------------------------------------------------------------------------- */
struct checking {
    const char *manifest;
    const struct common *c;
    struct delivery *d;
    struct map tensor;               /* line without its digest -> tensor */
    struct map name;                 /* name -> tensor */
    bool *seen, file_seen[FILES_MAX];
    size_t tensors, files, wrong;
    bool whole;
    char first[512];
    struct arena mem;
};

static void wrong(struct checking *x, const char *what, const char *name)
{
    if (!x->wrong++)
        snprintf(x->first, sizeof x->first, "%s '%s'", what, name);
    if (x->c->quiet)
        return;
    printf("%s: ", what);
    out_text(stdout, name);
    printf("\n");
}

static bool is_hex(const char *s) { return strspn(s, "0123456789abcdef") == 64; }

static int check_file(struct checking *x, const char *hex, const char *name)
{
    for (size_t i = 0; i < x->d->files; i++)
        if (!strcmp(x->d->file[i].name, name)) {
            x->file_seen[i] = true;
            if (strncmp(x->d->file[i].hex, hex, 64))
                wrong(x, "other bytes in file", name);
            return 0;
        }
    wrong(x, "there is no file", name);
    return 0;
}

static int check_tensor(struct checking *x, const char *line, size_t number, struct err *e)
{
    size_t i;
    const char *shape = strrchr(line, ' '), *type = shape;
    char hex[65];
    while (type && type > line + 66 && type[-1] != ' ')
        type--;
    if (!shape || !type || type <= line + 67)
        return err_set(e, ERR_INPUT, "%s: line %zu is no tensor", x->manifest, number);
    if (map_find(&x->tensor, line + 66, &i)) {
        sha256_hex(x->d->digest[i], hex);
        if (x->seen[i])
            return err_set(e, ERR_INPUT, "%s: line %zu: a tensor that was there before", x->manifest, number);
        x->seen[i] = true;
        if (strncmp(hex, line, 64))
            wrong(x, "other bytes in tensor", x->d->m.t[i].name);
        return 0;
    }
    char *name = arena_strndup(&x->mem, line + 66, (size_t)(type - line - 67), e);
    if (!name)
        return -1;
    if (map_find(&x->name, name, &i)) {
        x->seen[i] = true;
        wrong(x, "another type or shape of tensor", name);
    } else {
        wrong(x, "there is no tensor", name);
    }
    return 0;
}

static int check_line(struct checking *x, char *line, size_t number, struct err *e)
{
    char hex[65];
    if (!*line || *line == '#')
        return number == 1 && strcmp(line, "# octavo manifest 1") ? err_set(e, ERR_INPUT, "%s: line 1 is not '# octavo manifest 1'", x->manifest) : 0;
    if (number == 1)
        return err_set(e, ERR_INPUT, "%s: line 1 is not '# octavo manifest 1'", x->manifest);
    if (x->whole)
        return err_set(e, ERR_INPUT, "%s: line %zu stands behind the digest of the model", x->manifest, number);
    if (!strncmp(line, "source ", 7) && is_hex(line + 7))
        return 0;
    if (!strncmp(line, "file ", 5) && is_hex(line + 5) && line[69] == ' ' && line[70]) {
        x->files += !x->d->alone;
        return x->d->alone ? 0 : check_file(x, line + 5, line + 70);
    }
    if (!strncmp(line, "model ", 6) && is_hex(line + 6) && !line[70]) {
        x->whole = true;
        sha256_hex(x->d->whole, hex);
        if (!x->wrong && strncmp(hex, line + 6, 64))
            wrong(x, "another digest of the model", x->d->m.path);
        return 0;
    }
    if (is_hex(line) && line[64] == ' ' && line[65] == ' ') {
        x->tensors++;
        return check_tensor(x, line, number, e);
    }
    return err_set(e, ERR_INPUT, "%s: line %zu is no line of a manifest", x->manifest, number);
}

static int index_tensors(struct checking *x, struct err *e)
{
    struct buf b = {0};
    int r = (x->seen = mem_alloc(x->d->m.n + 1, sizeof *x->seen, e)) ? 0 : -1;
    for (size_t i = 0; !r && i < x->d->m.n; i++) {
        char *own = line_of(x->d, i, &b, e) ? arena_strdup(&x->mem, b.s + 66, e) : NULL;
        r = !own || map_add(&x->tensor, own, i, e) < 0 || map_add(&x->name, x->d->m.t[i].name, i, e) < 0 ? -1 : 0;
    }
    buf_free(&b);
    return r;
}

static int check_all(struct checking *x, char *text, struct err *e)
{
    size_t number = 1;
    for (char *line = text; *line; number++) {
        char *end = strchr(line, '\n'), *next = end ? end + 1 : line + strlen(line);
        if (end)
            *end = 0;
        if (check_line(x, line, number, e))
            return -1;
        line = next;
    }
    if (!x->whole)
        return err_set(e, ERR_INPUT, "%s: is cut: it has no digest of the model", x->manifest);
    for (size_t i = 0; i < x->d->m.n; i++)
        if (!x->seen[i])
            wrong(x, "not in the manifest is tensor", x->d->m.t[i].name);
    for (size_t i = 0; x->files && i < x->d->files; i++)
        if (!x->file_seen[i])
            wrong(x, "not in the manifest is file", x->d->file[i].name);
    return 0;
}

int manifest_check(const char *manifest, const char *path, const struct common *c, struct err *e)
{
    struct delivery d;
    struct checking x = {.manifest = manifest, .c = c, .d = &d};
    size_t n;
    char *text = io_read_file(manifest, FILE_MOST, &n, e);
    if (!text)
        return -1;
    if (strlen(text) != n) {
        free(text);
        return err_set(e, ERR_INPUT, "%s: is no text", manifest);
    }
    if (open_delivery(&d, path, c, e)) {
        free(text);
        return -1;
    }
    int r = index_tensors(&x, e) || check_all(&x, text, e) ? -1 : 0;
    if (!r && c->json)
        printf("{\"verb\":\"verify\",\"tensors\":%zu,\"files\":%zu,\"wrong\":%zu}\n", x.tensors, x.files, x.wrong);
    else if (!r && !c->quiet && !x.wrong)
        printf("%zu tensors and %zu files are what the manifest says\n", x.tensors, x.files);
    if (!r && x.wrong)
        r = err_set(e, ERR_NO, "%s: %s%s", path, x.first, x.wrong > 1 ? ", and more" : "");
    free(text);
    free(x.seen);
    map_free(&x.tensor);
    map_free(&x.name);
    arena_free(&x.mem);
    close_delivery(&d);
    return r;
}

/* Where an output goes and what lies beside its weights: shard names,
 * config.json, the index, description files, tokenizer files, the journal. */
#include "cli/job.h"

#include "formats/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const struct convention *job_convention(const struct job *j)
{
    if (j->want.to || j->want.gguf)
        return j->want.convention;
    bool left = false; /* is anything still quantized? */
    for (size_t i = 0; i < j->plan.nout; i++)
        left |= j->plan.out[i].as.part != PART_PLAIN;
    return left ? j->plan.group.convention : NULL;
}

bool job_encodes(const struct job *j)
{
    for (size_t i = 0; i < j->plan.nops; i++)
        if (j->plan.op[i].x == &xform_encode)
            return true;
    return false;
}

/* ---- files ------------------------------------------------------------------ */
bool deliver_is_stream(const char *path)
{
    struct stat st;
    return !strcmp(path, "-") || (!stat(path, &st) && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)));
}

static enum out_kind kind_of(const char *path)
{
    if (deliver_is_stream(path))
        return OUT_PIPE;
    if (!strcmp(path, "null:"))
        return OUT_NULL;
    if (io_is_dir(path) || ends_with(path, "/"))
        return OUT_DIR;
    if (io_exists(path) || ends_with(path, ".safetensors") || ends_with(path, ".octp") || ends_with(path, ".gguf"))
        return OUT_FILE;
    return OUT_DIR;
}

static int one_path(struct job *j, const char *path, struct err *e)
{
    j->path = arena_array(&j->mem, 1, sizeof *j->path, e);
    if (!j->path)
        return -1;
    j->path[0] = path;
    j->npaths = 1;
    return 0;
}

/* "model-00001-of-00002.safetensors" keeps its numbers and takes the convention's
 * stem, and so does "pytorch_model-00001-of-00002.bin". */
static const char *shard_path(struct job *j, const char *dir, const char *stem, const char *name, struct err *e)
{
    const char *dash = strstr(name, "-0"), *dot = strrchr(name, '.');
    if (dash && ends_with(name, ".safetensors"))
        return arena_printf(&j->mem, e, "%s/%s%s", dir, stem, dash);
    if (!ends_with(name, ".bin") && !ends_with(name, ".pt") && !ends_with(name, ".pth"))
        return arena_printf(&j->mem, e, "%s/%s", dir, name);
    const char *from = dash && dash < dot ? dash : name;
    return arena_printf(&j->mem, e, "%s/%s%.*s.safetensors", dir, from == name ? "" : stem, (int)(dot - from), from);
}

/* Shards as the source has them.  Parts of a GGUF model are numbered anew, since
 * the first may have no tensors. */
static int keep_shards(struct job *j, const char *dir, const char *stem, struct err *e)
{
    uint32_t *used = mem_alloc(j->src.nf, sizeof *used, e);
    j->path = arena_array(&j->mem, j->src.nf, sizeof *j->path, e);
    if (!used || !j->path) {
        free(used);
        return -1;
    }
    for (size_t i = 0; i < j->plan.nout; i++)
        used[j->src.t[j->plan.op[j->plan.out[j->order[i]].op].place].file] = 1;
    struct map seen = {0};
    size_t n = 0;
    for (size_t f = 0; f < j->src.nf; f++)
        n += used[f];
    int r = 0;
    for (size_t f = 0; !r && f < j->src.nf; f++) {
        if (!used[f])
            continue;
        used[f] = (uint32_t)j->npaths;
        j->path[j->npaths] = j->src.container == CONTAINER_GGUF
                               ? arena_printf(&j->mem, e, "%s/%s-%05zu-of-%05zu.safetensors", dir, stem,
                                              j->npaths + 1, n)
                               : shard_path(j, dir, stem, j->src.f[f].name, e);
        r = j->path[j->npaths] ? map_add(&seen, j->path[j->npaths++], f, e) : -1;
        if (r > 0)
            r = err_set(e, ERR_INPUT, "%s: two shards would be written to %s", j->input, j->path[j->npaths - 1]);
    }
    for (size_t i = 0; i < j->plan.nout; i++)
        j->shard[i] = used[j->src.t[j->plan.op[j->plan.out[j->order[i]].op].place].file];
    map_free(&seen);
    free(used);
    return r;
}

static int cut_shards(struct job *j, const char *dir, const char *stem, struct err *e)
{
    uint64_t fill = 0, limit = j->c->shard_size;
    uint32_t n = 0;
    for (size_t i = 0; i < j->plan.nout; i++) {
        /* A scale follows its weight into the same file. */
        bool with_weight = i && j->as[i].part != PART_PLAIN && j->as[i].part != PART_WEIGHT;
        if (fill && !with_weight && fill + j->t[i].size > limit) {
            n++;
            fill = 0;
        }
        fill += j->t[i].size;
        j->shard[i] = n;
    }
    j->npaths = (size_t)n + 1;
    j->path = arena_array(&j->mem, j->npaths, sizeof *j->path, e);
    for (size_t k = 0; j->path && k < j->npaths; k++)
        if (!(j->path[k] = j->npaths == 1 ? arena_printf(&j->mem, e, "%s/%s.safetensors", dir, stem)
                         : arena_printf(&j->mem, e, "%s/%s-%05zu-of-%05zu.safetensors", dir, stem, k + 1, j->npaths)))
            return -1;
    return j->path ? 0 : -1;
}

int deliver_paths(struct job *j, struct err *e)
{
    const char *out = j->c->output ? j->c->output : "null:";
    const struct convention *c = job_convention(j);
    j->kind = kind_of(out);
    if (j->kind != OUT_DIR || j->pack || j->want.gguf) {
        if (j->kind == OUT_DIR)
            return err_set(e, ERR_USAGE, "a %s model is one file: -o FILE.%s", j->pack ? "packed" : "GGUF",
                           j->pack ? "octp" : "gguf");
        if (j->c->resume || j->c->shard_size)
            return err_set(e, ERR_USAGE, "--resume and --shard-size need a directory as output");
        return one_path(j, out, e);
    }
    char *dir = arena_strdup(&j->mem, out, e);
    if (!dir)
        return -1;
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/';)
        dir[--n] = 0;
    j->c->output = dir;
    if (j->src.sharded && !j->c->shard_size)
        return keep_shards(j, dir, c ? c->stem : "model", e);
    if (!j->c->shard_size)
        j->c->shard_size = UINT64_MAX;
    return cut_shards(j, dir, c ? c->stem : "model", e);
}

/* ---- metadata --------------------------------------------------------------- */
static int add_meta(struct job *j, const char *key, const char *value, struct err *e)
{
    if (!value)
        return 0;
    char *copy = arena_strdup(&j->mem, value, e);
    j->kv[j->nkv++] = (struct meta){key, copy};
    return copy ? 0 : -1;
}

static int make_config(struct job *j, struct err *e)
{
    const struct convention *c = job_convention(j);
    if (!j->want.to && j->want.plain == DT_COUNT) { /* nothing changes: the source's words still hold */
        j->config = j->src.config ? strdup(j->src.config) : NULL;
        return j->config || !j->src.config ? 0 : err_set(e, ERR_SYSTEM, "out of memory");
    }
    /* dequantize: --exclude may have left some quantized, and the list of kept modules grows */
    const char *dtype = c ? NULL : j->want.plain == DT_F16 ? "float16" : j->want.plain == DT_F32 ? "float32" : "bfloat16";
    if (c && !c->config)
        return err_set(e, ERR_USAGE, "the convention %s is read, not written; --convention names another one", c->name);
    if (config_text(j->src.config, c, j->as, j->plan.nout, dtype, &j->config, e))
        return -1;
    return c && c->description ? c->description(j->as, j->plan.nout, &j->description, e) : 0;
}

/* A description file of the source that still holds. */
static int keep_description(struct job *j, struct err *e)
{
    const struct convention *c = j->plan.group.convention;
    if (j->want.to || j->want.plain != DT_COUNT || !c || !c->description_name)
        return 0;
    const char *text = model_meta(&j->src, "octavo.description");
    if (text)
        return buf_puts(&j->description, text, e);
    char *path = j->src.dir ? arena_printf(&j->mem, e, "%s/%s", j->src.dir, c->description_name) : NULL;
    if (!path || !io_exists(path))
        return 0;
    size_t n;
    char *file = io_read_file(path, 1 << 28, &n, e);
    int r = file ? buf_put(&j->description, file, n, e) : -1;
    free(file);
    return r;
}

int deliver_metadata(struct job *j, struct err *e)
{
    const struct convention *c = job_convention(j);
    if (make_config(j, e) || keep_description(j, e))
        return -1;
    j->kv = arena_array(&j->mem, j->src.nkv + 8, sizeof *j->kv, e);
    if (!j->kv)
        return -1;
    bool format = false, encodes = job_encodes(j);
    for (size_t i = 0; i < j->src.nkv; i++) {
        const struct meta *m = &j->src.kv[i];
        bool rule = !encodes && !strcmp(m->key, "octavo.rule") && c;
        if ((!strncmp(m->key, "octavo.", 7) && !rule) || !strncmp(m->key, "tokenizer.", 10))
            continue;
        format |= !strcmp(m->key, "format");
        if (add_meta(j, m->key, m->value, e))
            return -1;
    }
    if (!format && add_meta(j, "format", "pt", e))
        return -1;
    if (encodes && *encoding_rule(j->want.to) && add_meta(j, "octavo.rule", encoding_rule(j->want.to), e))
        return -1;
    if (j->kind == OUT_DIR)
        return 0;
    /* A file or a pipe has no directory around it: what describes the model travels inside. */
    return add_meta(j, "octavo.config", j->config, e) || add_meta(j, "octavo.convention", c ? c->name : NULL, e)
        || add_meta(j, "octavo.description", j->description.n ? j->description.s : NULL, e) ? -1 : 0;
}

/* ---- a directory ------------------------------------------------------------ */

static bool is_description(const char *name)
{
    for (size_t i = 0; i < convention_count; i++)
        if (convention_table[i]->description_name && !strcmp(convention_table[i]->description_name, name))
            return true;
    return false;
}

/* What is carried from the source: everything but weights and what describes them. */
static bool is_companion(const struct job *j, const char *name)
{
    static const char *const never[] = {".*", "*.safetensors", "*.index.json", "config.json", "*.gguf", "*.bin", "*.pt",
                                        "*.pth", "*.octp", "*.h5", "*.msgpack", "*.onnx", "quant_model_description*.json"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (!fnmatch(never[i], name, 0))
            return false;
    const struct convention *c = j->plan.group.convention;
    const bool same = !j->want.to && j->want.plain == DT_COUNT;
    const bool written = c && c->description_name && !strcmp(c->description_name, name);
    return !is_description(name) || (same && !written);
}

/* Remembers a file that was written, for deliver_undo. */
static int made(struct job *j, const char *path, struct err *e)
{
    if (mem_grow((void **)&j->made, &j->made_cap, j->nmade + 1, sizeof *j->made, e))
        return -1;
    j->made[j->nmade++] = path;
    return 0;
}

static int carry(struct job *j, const char *name, struct err *e)
{
    struct outfile out;
    struct stat st;
    uint64_t size;
    char *from = arena_printf(&j->mem, e, "%s/%s", j->src.dir, name);
    char *to = arena_printf(&j->mem, e, "%s/%s", j->c->output, name);
    if (!from || !to)
        return -1;
    if (stat(from, &st) || !S_ISREG(st.st_mode))
        return plan_note(&j->plan, arena_printf(&j->plan.mem, e, "%s was not carried over: it is no file", from), e);
    int fd = io_open(from, &size, e);
    if (fd < 0 || outfile_open(&out, to, j->c->force || j->c->resume, false, e)) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    char *p = mem_alloc(1 << 20, 1, e);
    int r = p ? 0 : -1;
    for (uint64_t done = 0; !r && done < size; done += 1 << 20) {
        size_t n = (size_t)min_u64(1 << 20, size - done);
        r = io_pread(fd, from, done, p, n, e) || io_pwrite(out.fd, to, done, p, n, e) ? -1 : 0;
    }
    free(p);
    close(fd);
    if (r)
        outfile_abort(&out);
    return r || outfile_commit(&out, j->c->sync, e) ? -1 : made(j, to, e);
}

static int companions(struct job *j, struct err *e)
{
    DIR *d = opendir(j->src.dir);
    if (!d)
        return err_sys(e, "cannot read the directory %s", j->src.dir);
    int r = 0;
    for (struct dirent *x; !r && (x = readdir(d));)
        if (is_companion(j, x->d_name))
            r = carry(j, x->d_name, e);
    closedir(d);
    return r;
}

static int side_file(struct job *j, const char *name, const char *text, size_t n, struct err *e)
{
    char *path = arena_printf(&j->mem, e, "%s/%s", j->c->output, name);
    if (!path || io_write_file(path, text, n, j->c->force || j->c->resume, j->c->sync, e))
        return -1;
    return made(j, path, e);
}

int deliver_directory(struct job *j, struct err *e)
{
    const struct convention *c = job_convention(j);
    if (j->src.dir && companions(j, e))
        return -1;
    if (j->config && side_file(j, "config.json", j->config, strlen(j->config), e))
        return -1;
    if (j->description.n && c && c->description_name
        && side_file(j, c->description_name, j->description.s, j->description.n, e))
        return -1;
    if (j->npaths < 2 && !strstr(j->path[0], "-of-"))
        return 0;
    struct buf index = {0};
    char *name = arena_printf(&j->mem, e, "%s.safetensors.index.json", c ? c->stem : "model");
    int r = name ? writer_index(&j->w, j->t, j->plan.nout, &index, e) || side_file(j, name, index.s, index.n, e) : -1;
    buf_free(&index);
    return r ? -1 : 0;
}

/* ---- the journal of --resume ------------------------------------------------- */

/* Everything that decides the bytes of the output: the heads of its files, the
 * rules of its scales, and which files are read (size and time of change stand for content). */
static int fingerprint(struct job *j, char hex[65], struct err *e)
{
    struct sha256 s;
    uint8_t d[32];
    struct stat st;
    sha256_init(&s);
    for (size_t i = 0; i < j->w.nfiles; i++)
        sha256_put(&s, j->w.head[i].s, j->w.head[i].n);
    for (size_t i = 0; i < j->plan.nops; i++) {
        const struct encoding *to = j->plan.op[i].to;
        if (!to)
            continue;
        const char *rule = encoding_rule(to);
        sha256_put(&s, rule, strlen(rule) + 1);
        sha256_put(&s, &to->saturate_nonfinite, sizeof to->saturate_nonfinite);
    }
    for (size_t i = 0; i < j->src.nf; i++) {
        if (fstat(j->src.f[i].fd, &st))
            return err_sys(e, "%s: --resume needs files as input", j->input);
        const int64_t v[3] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
        sha256_put(&s, v, sizeof v);
    }
    sha256_end(&s, d);
    sha256_hex(d, hex);
    return 0;
}

static int file_digest(const char *path, char hex[65], struct err *e)
{
    uint64_t size;
    int fd = io_open(path, &size, e), r = fd < 0 ? -1 : 0;
    char *p = mem_alloc(1 << 20, 1, e);
    struct sha256 s;
    uint8_t d[32];
    sha256_init(&s);
    for (uint64_t done = 0; p && !r && done < size; done += 1 << 20) {
        size_t n = (size_t)min_u64(1 << 20, size - done);
        r = io_pread(fd, path, done, p, n, e);
        sha256_put(&s, p, r ? 0 : n);
    }
    sha256_end(&s, d);
    sha256_hex(d, hex);
    free(p);
    if (fd >= 0)
        close(fd);
    return p ? r : -1;
}

static int journal_read(struct journal *q, char *text, struct err *e)
{
    struct job *j = q->j;
    char *line = strtok(text, "\n");
    if (!line || strncmp(line, "octavo-journal 1 ", 17) || strcmp(line + 17, q->fingerprint))
        return err_set(e, ERR_USAGE, "%s belongs to another job (other input, options or version); remove it or write "
                       "elsewhere", q->path);
    while ((line = strtok(NULL, "\n")))
        for (size_t i = 0; strlen(line) > 66 && i < j->npaths; i++) {
            char hex[65];
            if (strcmp(strrchr(j->path[i], '/') + 1, line + 66) || !io_exists(j->path[i]))
                continue;
            if (file_digest(j->path[i], hex, e))
                return -1;
            q->skip[i] = !strncmp(hex, line, 64);
        }
    return 0;
}

int journal_open(struct journal *q, struct job *j, struct err *e)
{
    *q = (struct journal){.j = j};
    if (fingerprint(j, q->fingerprint, e) || !(q->skip = mem_alloc(j->npaths, sizeof *q->skip, e)))
        return -1;
    q->path = arena_printf(&j->mem, e, "%s/.octavo-journal", j->c->output);
    if (!q->path)
        return -1;
    if (io_exists(q->path)) {
        size_t n;
        char *text = io_read_file(q->path, 1 << 26, &n, e);
        int r = text ? journal_read(q, text, e) : -1;
        free(text);
        return r;
    }
    for (size_t i = 0; i < j->npaths && !j->c->force; i++)
        if (io_exists(j->path[i]))
            return err_set(e, ERR_USAGE, "%s exists and no journal says that it is part of this job (-f overwrites)",
                           j->path[i]);
    struct buf b = {0};
    int r = buf_printf(&b, e, "octavo-journal 1 %s\n", q->fingerprint)
         || io_write_file(q->path, b.s, b.n, false, j->c->sync, e) ? -1 : 0;
    buf_free(&b);
    return r;
}

int journal_published(void *journal, size_t file, struct err *e)
{
    struct journal *q = journal;
    const char *path = q->j->path[file];
    char hex[65], line[512];
    if (file_digest(path, hex, e))
        return -1;
    int fd = open(q->path, O_WRONLY | O_APPEND | O_CLOEXEC);
    int n = snprintf(line, sizeof line, "%s  %s\n", hex, strrchr(path, '/') + 1);
    if (fd < 0 || write(fd, line, (size_t)n) != n || fsync(fd)) {
        if (fd >= 0)
            close(fd);
        return err_sys(e, "cannot write %s", q->path);
    }
    close(fd);
    return 0;
}

void journal_close(struct journal *q, bool done)
{
    if (q->path && done)
        unlink(q->path);
    free(q->skip);
}

int deliver_mkdir(struct job *j, struct err *e)
{
    struct stat a, b;
    if (!mkdir(j->c->output, 0777)) {
        j->made_dir = true;
        return 0;
    }
    if (errno != EEXIST)
        return err_sys(e, "cannot create the directory %s", j->c->output);
    if (j->src.dir && !stat(j->src.dir, &a) && !stat(j->c->output, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return err_set(e, ERR_USAGE, "%s is the input; write elsewhere", j->c->output);
    DIR *d = opendir(j->c->output);
    bool empty = true;
    for (struct dirent *x; d && (x = readdir(d));)
        empty &= !strcmp(x->d_name, ".") || !strcmp(x->d_name, "..");
    if (d)
        closedir(d);
    if (!empty && !j->c->force && !j->c->resume)
        return err_set(e, ERR_USAGE, "%s exists and is not empty (-f overwrites, --resume goes on)", j->c->output);
    return 0;
}

/* -f into a directory with another model: its shards, index and description
 * would speak for ours. */
int deliver_remove_stale(struct job *j, struct err *e)
{
    static const char *const pattern[] = {"*.safetensors", "*.safetensors.index.json"};
    DIR *d = opendir(j->c->output);
    int r = d ? 0 : err_sys(e, "cannot read the directory %s", j->c->output);
    for (struct dirent *x; !r && (x = readdir(d));) {
        bool stale = is_description(x->d_name);
        for (size_t i = 0; i < sizeof pattern / sizeof *pattern; i++)
            stale |= !fnmatch(pattern[i], x->d_name, 0);
        for (size_t i = 0; stale && i < j->npaths; i++)
            stale = strcmp(strrchr(j->path[i], '/') + 1, x->d_name) != 0;
        for (size_t i = 0; stale && i < j->nmade; i++)
            stale = strcmp(strrchr(j->made[i], '/') + 1, x->d_name) != 0;
        char *path = stale ? arena_printf(&j->mem, e, "%s/%s", j->c->output, x->d_name) : NULL;
        if (stale && (!path || unlink(path)))
            r = path ? err_sys(e, "cannot remove %s, which belongs to the model that was there", path) : -1;
    }
    if (d)
        closedir(d);
    return r;
}

void deliver_undo(struct job *j)
{
    for (size_t i = 0; i < j->nmade; i++)
        unlink(j->made[i]);
    if (j->made_dir)
        (void)rmdir(j->c->output); /* --resume leaves finished files, and so the directory */
}

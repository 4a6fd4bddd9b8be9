/* Options as tables: parsing, --help and completion come from one place. */
#ifndef OCTAVO_OPT_H
#define OCTAVO_OPT_H

#include "formats/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_type {
    OPT_END, OPT_FLAG /* bool */, OPT_OFF /* bool, cleared */, OPT_COUNT /* int, counted */, OPT_STRING,
    OPT_LIST /* struct opt_list */, OPT_THREADS /* unsigned */, OPT_SIZE /* uint64_t, with K M G KiB ... */,
    OPT_REAL /* double */
};
struct opt_list_item { const char *value; const char *name; };
struct opt_list {
    struct opt_list_item *item; /* in the order of the command line */
    size_t n, cap;
};
struct opt {
    enum opt_type type;
    char letter;             /* 0: none */
    const char *name, *arg, *help;
    void *to;
};
struct usage {
    const char *verb, *operands, *title;
    const struct opt *opt;
    size_t min, max;         /* operands; SIZE_MAX: any number */
};
/* 0 with the n operands moved to argv[0..n), 1 when help was printed, -1. */
int opt_parse(const struct usage *u, int argc, char **argv, size_t *n, struct err *e) MUST_USE;
/* Frees what lists hold, when the verb is done. */
void opt_release(void);

/* ---- what all verbs share ------------------------------------------------- */
struct common {
    const char *output;
    unsigned threads;
    uint64_t memory;
    bool dry_run, force, json, resume, spool, in_place, sync, progress, require_exact;
    int quiet, verbose;
    const char *names;       /* --names, or NULL */
    struct opt_list rules;   /* --include, --exclude, --rules in order */
    uint64_t shard_size;
    const char *container;   /* --container, or NULL: by the name of the output */
    struct opt_list gguf_metadata;
};
void common_init(struct common *c);

#define OPTS_TALK(c) \
    {OPT_COUNT, 'q', "quiet", NULL, "say nothing but errors", &(c)->quiet}, \
    {OPT_FLAG, 0, "json", NULL, "machine-readable result on standard output", &(c)->json}
#define OPTS_VERBOSE(c) \
    {OPT_COUNT, 'v', "verbose", NULL, "say more: a line per tensor", &(c)->verbose}
#define OPTS_THREADS(c) \
    {OPT_THREADS, 'T', "threads", "N", "threads; 0 means one per processor (default)", &(c)->threads}, \
    {OPT_FLAG, 0, "spool", NULL, "copy a pipe to a temporary file ($TMPDIR) when it must be read at random", &(c)->spool}, \
    {OPT_OFF, 0, "no-progress", NULL, "no progress line on a terminal", &(c)->progress}
#define OPTS_WORK(c) \
    OPTS_THREADS(c), OPTS_VERBOSE(c), \
    {OPT_SIZE, 'M', "memory", "SIZE", "refuse a plan that needs more memory (default: half of RAM)", &(c)->memory}
#define OPTS_RULES(c) \
    {OPT_LIST, 0, "include", "PATTERN", "a glob or re:REGEX of tensor names (repeatable, first match wins)", &(c)->rules}, \
    {OPT_LIST, 0, "exclude", "PATTERN", "the opposite (repeatable, first match wins)", &(c)->rules}, \
    {OPT_LIST, 0, "rules", "FILE", "a file of rules, PATTERN = quantize|keep|drop; octavo-rules(5)", &(c)->rules}
#define OPTS_NAMES(c) \
    {OPT_STRING, 0, "names", "WHOSE", "names of tensors, and the order that goes with them: hf or gguf", &(c)->names}
#define OPTS_OUTPUT(c) \
    {OPT_STRING, 'o', "output", "PATH", "file, directory, - for a pipe, null: for nothing", &(c)->output}, \
    {OPT_FLAG, 'f', "force", NULL, "overwrite what is there", &(c)->force}, \
    {OPT_FLAG, 'n', "dry-run", NULL, "print the plan and stop", &(c)->dry_run}, \
    {OPT_FLAG, 0, "in-place", NULL, "write into the existing file: faster, not atomic", &(c)->in_place}, \
    {OPT_OFF, 0, "no-sync", NULL, "do not wait for the disk before renaming", &(c)->sync}
#define OPTS_GGUF(c) \
    {OPT_STRING, 0, "container", "NAME", "safetensors or gguf; -o FILE.gguf says it too", &(c)->container}, \
    {OPT_LIST, 0, "gguf-metadata", "FILE", "keys for a GGUF output: of another GGUF file, or a JSON object", &(c)->gguf_metadata}
#define OPTS_SHARDS(c) \
    {OPT_SIZE, 0, "shard-size", "SIZE", "cut a directory into files of at most this size, such as 5GB", &(c)->shard_size}, \
    {OPT_FLAG, 0, "resume", NULL, "keep finished files of a directory, and go on from them", &(c)->resume}
#define OPTS_EXACT(c) \
    {OPT_FLAG, 0, "require-exact", NULL, "exit 1, writing nothing, when a value would change", &(c)->require_exact}

#endif

/* What convert, quantize, dequantize, pack and unpack have in common: open,
 * plan, write, describe. */
#ifndef OCTAVO_JOB_H
#define OCTAVO_JOB_H

#include "cli/opt.h"
#include "cli/out.h"
#include "calibrate/rounder.h"
#include "formats/writer.h"
#include "quantizers/run.h"

enum out_kind { OUT_FILE, OUT_DIR, OUT_PIPE, OUT_NULL };

struct job {
    const char *verb, *input;
    const char *shown;               /* what the account calls the output; NULL: as c->output */
    struct common *c;
    struct wanted want;
    struct rules rules;
    struct model *rank;              /* unpack: all ranks, src among them; NULL: src is the whole model */
    size_t nranks;
    struct packed_info *pack;        /* write a packed file; kv is filled in */
    struct calibrated *calibrated;   /* quantize --calibration, or NULL */
    bool verify_packed;              /* unpack: check the SHA-256 of the source first */

    struct model src;
    struct model whole;              /* pack: src as it was before some tensors were put into one (fused.h); n 0: none was */
    const size_t *was;               /* whole.t[i] is src.t[was[i]], or in it */
    struct plan plan;
    struct writer w;
    enum out_kind kind;
    struct tensor *t;                /* outputs in order of arrival */
    size_t *order;                   /* t[i] is plan output order[i] */
    struct out_tensor *as;           /* the same, described for conventions */
    uint32_t *shard;
    const char **path;
    size_t npaths;
    struct meta *kv;
    size_t nkv;
    struct gguf_keys keys;           /* of a GGUF output */
    char *config;                    /* text of config.json for the output, or NULL (free()) */
    struct buf description;
    double seconds;
    const char **made;               /* side files written */
    size_t nmade, made_cap;
    bool made_dir;
    uint8_t source_digest[32];
    struct arena mem;
};

/* Opens j->input with the options of j->c (--spool); reads --include, --exclude, --rules, unless
 * j->want.rules is there already. */
int job_open(struct job *j, struct err *e) MUST_USE;
/* Puts the tensors into one of which j->want.form wants rows in turns. */
int job_fuse(struct job *j, struct err *e) MUST_USE;
/* Plans (j->want) and, unless -n, writes and reports. */
int job_run(struct job *j, struct err *e) MUST_USE;
/* Bytes that the plan takes at most, all threads together. */
uint64_t job_memory(const struct job *j);
void job_close(struct job *j);
int rules_from(struct rules *r, const struct common *c, enum action include, enum action exclude, bool schemes,
               struct err *e) MUST_USE;
/* After rules_note: a line for each rule that matches nothing, on standard error, unless -q. */
void rules_warn(struct rules *r, const char *verb, const struct common *c);

/* deliver.c: what lies beside the weights. */
const struct convention *job_convention(const struct job *j);
bool job_encodes(const struct job *j);                         /* is any scale derived here? */
int deliver_paths(struct job *j, struct err *e) MUST_USE;      /* kind, files, shards */
int deliver_metadata(struct job *j, struct err *e) MUST_USE;   /* config.json, description, header metadata */
int deliver_directory(struct job *j, struct err *e) MUST_USE;  /* side files of a directory */
bool deliver_is_stream(const char *path);                       /* a pipe or device: written in turn */
int deliver_remove_stale(struct job *j, struct err *e) MUST_USE; /* after -f: what another model left there */
int deliver_mkdir(struct job *j, struct err *e) MUST_USE;       /* makes it; refuses one with something in it */
void deliver_undo(struct job *j);                              /* removes what was written beside the weights */
/* --resume: which files are done already (skip[file]). */
struct journal { char *path; char fingerprint[65]; struct job *j; bool *skip; };
int journal_open(struct journal *q, struct job *j, struct err *e) MUST_USE;
int journal_published(void *journal, size_t file, struct err *e);
void journal_close(struct journal *q, bool done);

/* gguf.c: GGUF as output (j->want.gguf). */
int gguf_choose(struct job *j, struct err *e) MUST_USE;        /* is it wanted? */
int gguf_check(const struct job *j, struct err *e) MUST_USE;   /* what has no place in it */
int gguf_metadata(struct job *j, struct err *e) MUST_USE;      /* j->keys */

/* names.c */
int names_choose(struct job *j, struct err *e) MUST_USE;       /* what a GGUF gets when nobody says */
int names_config_json(struct job *j, struct err *e) MUST_USE;  /* of the keys of a GGUF source, as if it had been there */
int names_keys(struct job *j, struct err *e) MUST_USE;         /* j->keys of config.json */

/* report.c */
void report_plan(const struct job *j);
void report_done(const struct job *j);

#endif

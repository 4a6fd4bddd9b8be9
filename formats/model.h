/* A model is a table of tensors plus a way to read their bytes.
 *
 * A safetensors file, a sharded directory, a GGUF file, a packed file, a PyTorch
 * checkpoint, a file of llama2.c and a pipe all become one struct model.  Opening reads headers only.  Everything
 * from a header is owned by the model's arena and freed by model_close(). */
#ifndef OCTAVO_MODEL_H
#define OCTAVO_MODEL_H

#include "formats/dtype.h"
#include "formats/err.h"
#include "formats/mem.h"

enum { TENSOR_MAX_RANK = 8 };

/* Elements [start, start + dim) of a tensor [whole], in each dimension. */
struct slice {
    uint64_t start[TENSOR_MAX_RANK], whole[TENSOR_MAX_RANK];
};

struct tensor {
    const char *name;
    enum dtype dtype;
    uint8_t rank;                   /* 0: one element */
    uint64_t dim[TENSOR_MAX_RANK];  /* slowest first, as PyTorch and safetensors; GGUF's order is reversed on reading */
    uint32_t file;                  /* index into model.f */
    uint64_t off, size;             /* bytes: absolute in that file; of all elements, wherever they lie */
    const struct stored *stored;    /* not NULL: another order, see packed.h */
    const uint64_t *stride;         /* not NULL: element (i, j, ...) lies i * stride[0] + j * stride[1] + ... elements
                                       after off; only where elements are whole bytes, and never on a stream */
    const struct slice *slice;      /* not NULL: a part of a bigger tensor */
    const struct fused *fused;      /* not NULL: rows of two tensors in turns, see fused.h */
    const struct derived *derived;  /* not NULL: computed from other tensors (derived.h); off means nothing */
};

/* A tensor as a stack of matrices: rank 0 and 1 are one row, rank 2 is
 * [rows, cols], the leading dimensions of higher ranks multiply to batch. */
struct matrix {
    uint64_t batch, rows, cols;
};
struct matrix tensor_matrix(const struct tensor *t);
uint64_t tensor_elems(const struct tensor *t);
/* The size bytes at off are the elements in row-major order. */
static inline bool tensor_is_flat(const struct tensor *t) { return !t->stored && !t->stride; }
/* "[4096,4096]" into s (at least 176 bytes); returns s. */
char *tensor_shape(const struct tensor *t, char *s);

struct meta {
    const char *key, *value; /* safetensors __metadata__; GGUF key/values as text, arrays as "[123 strings]" */
};

struct model_file {
    const char *path; /* as opened, for messages */
    const char *name; /* last component: the shard's name */
    int fd;           /* -1 on a pipe */
    uint64_t size;
};

/* Whose names tensors have, or shall have (names.h). */
enum name_style { NAMES_SOURCE /* as they are */, NAMES_HF, NAMES_GGUF };

/* A tensor as the files have it, and the tensors t[now], t[now + 1], ... that it is, or is a part of. */
struct named {
    const char *was;           /* NULL: it was derived itself */
    const char *dropped;       /* why, or NULL */
    size_t now, count;
};
/* What became of names: one sentence each. */
enum { NAMING_NOTES = 5 };
struct naming {
    struct named *tensor;      /* in the order of the files */
    size_t n;
    enum name_style from, to;
    const char *architecture;  /* as GGUF files call it */
    bool tied;                 /* the classifier is the embedding, and no tensor of its own */
    bool factors;              /* a tensor with factors of the rotary embedding was dropped: */
    double rope_factor;        /* those of Llama 3's rule with this factor, or 0: not known */
    const char *note[NAMING_NOTES];
    size_t nnotes;
};

enum container { CONTAINER_SAFETENSORS, CONTAINER_GGUF, CONTAINER_PACKED, CONTAINER_TORCH, CONTAINER_LLAMA2C };

struct model {
    const char *path;          /* as the user wrote it; "-" for standard input */
    enum container container;
    struct tensor *t;          /* in order of (file, off): the order a pipe delivers */
    size_t n;
    struct tensor *computed;   /* of a packed file: what was computed for the chip, or has two tensors in it, in order; it is
                                  in no list of tensors */
    size_t ncomputed;
    struct map by_name;        /* tensor name -> index in t */
    const char **piece;        /* names of tensors that derived ones have taken the place of (derived.h); may be in t again */
    size_t npieces;
    struct meta *kv;
    size_t nkv;
    struct model_file *f;
    size_t nf;
    bool random;               /* false: a pipe or compressed file; tensors can only be read once, in order */
    bool headers_only;         /* bytes of tensors may be missing */
    bool sharded;              /* came through an index or as several files */
    /* GGUF: the whole key/value section of the (first) file as it lies there, gguf_kv_count
     * times { u64 length, key, u32 type, value }, little-endian, so that it can be written
     * again; alignment and split.* keys are in it too.  NULL and 0 elsewhere. */
    const uint8_t *gguf_kv;
    size_t gguf_kv_size;
    uint64_t gguf_kv_count;
    uint8_t *gguf_head;        /* the memory it is in */
    const char *dir;           /* where config.json and tokenizer files are; NULL when there is no such place */
    const char *config;        /* text of config.json (from dir, else from metadata key octavo.config), or NULL */
    enum name_style names;          /* what grouping_named() shall call the tensors; set it after opening */
    struct naming *naming;     /* what it did; NULL: nothing */
    struct stream *stream;     /* the byte stream when !random */
    uint64_t stream_pos;       /* absolute position in it */
    uint64_t stream_end;       /* where it must end at the earliest */
    struct arena mem;
};

/* path: a .safetensors file, a GGUF file or the first of its parts, a packed
 * file, a PyTorch checkpoint, an index.json, a directory (one model or a sharded
 * one), or "-".  gzip and zstd are undone, by content and not by name; such input
 * is a stream (random = false).  Every rule of the container is checked; errors
 * are ERR_INPUT and name file, tensor and numbers.  On failure m needs no close. */
int model_open(struct model *m, const char *path, struct err *e) MUST_USE;
/* The same, but a stream is copied to an unlinked temporary file in $TMPDIR (or
 * /tmp) first, and is random then (option --spool). */
int model_open_spooled(struct model *m, const char *path, struct err *e) MUST_USE;
/* The same as model_open, but bytes after the headers of safetensors files may be missing: a model of which only the
 * headers were fetched. */
int model_open_headers(struct model *m, const char *path, struct err *e) MUST_USE;
/* Reads n raw bytes at byte off of tensor i.  Thread-safe when random; else
 * offsets must ascend over the whole file, bytes skipped are discarded, and an
 * input that ends early is an error naming the tensor. */
int model_read(struct model *m, size_t i, uint64_t off, void *p, size_t n, struct err *e) MUST_USE;
/* The same for a tensor that may be no longer in the table, of a model that is random. */
int model_read_piece(struct model *m, const struct tensor *t, uint64_t off, void *p, size_t n,
                     struct err *e) MUST_USE;
/* The value of a metadata key, or NULL. */
const char *model_meta(const struct model *m, const char *key);
/* The last n bytes of the (only) file; of a stream, once its tensors were read. */
int model_read_end(struct model *m, void *p, size_t n, struct err *e) MUST_USE;
/* A pipe shows only at its end that it is complete: reads on to there, and fails
 * when bytes of a tensor are missing or bytes follow the last one.  Does nothing
 * when random: then model_open has compared the size of the file. */
int model_finish(struct model *m, struct err *e) MUST_USE;
void model_close(struct model *m);

/* ---- for the readers (safetensors.c, gguf.h, packed.c, torch.h) ---------- */

/* A header that is being parsed: bytes from the start of a file or stream,
 * fetched as needed.  head_need makes bytes [0, n) valid; past the end of the
 * input it fails with ERR_INPUT "path: file ends at byte X, Y needed". */
struct head {
    const char *path;
    int fd;                 /* -1: stream */
    struct stream *stream;
    uint64_t file_size;     /* UINT64_MAX when unknown (stream) */
    bool may_be_short;      /* bytes of tensors may be missing */
    uint8_t *p;
    size_t n, cap;
};
int head_need(struct head *h, uint64_t n, struct err *e) MUST_USE;
/* Each reader appends its tensors to *t (the arrays are the table's, names and
 * values are in the arena) with .file set; metadata to kv.  A reader checks
 * that names and keys are unique in its file where it can do so cheaply;
 * model_open checks that tensor names are unique in the model. */
struct table {
    struct tensor *t;
    size_t n, cap;
    struct meta *kv;
    size_t nkv, kvcap;
    uint64_t end; /* of the file read last: where it must end, or at the earliest can; 0 unknown */
};
int table_tensor(struct table *t, const struct tensor *x, struct err *e) MUST_USE;
int table_meta(struct table *t, const char *key, const char *value, struct err *e) MUST_USE;
/* Sets end and compares it with the size of the file where that is known: a file
 * that is shorter is an error naming the first of the tensors [from, n),
 * sorted, that is cut; one that is longer is an error when end is exact. */
int table_end(struct table *t, size_t from, const struct head *h, uint64_t end, bool exact,
              struct err *e) MUST_USE;
/* Sorts tensors [from, n) by (file, off, size), ties as they came. */
int table_sort(struct table *t, size_t from, struct err *e) MUST_USE;
void table_free(struct table *t);

int safetensors_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct err *e) MUST_USE;

#endif

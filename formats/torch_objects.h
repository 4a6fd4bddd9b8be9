/* Inside the reader of PyTorch checkpoints (torch.h): the storages and tensors
 * that a pickle makes, and how they become the tensors of a model. */
#ifndef OCTAVO_TORCH_OBJECTS_H
#define OCTAVO_TORCH_OBJECTS_H

#include "formats/pickle.h"

/* What the object of a PICKLE_OBJECT begins with. */
enum torch_kind { TORCH_STORAGE, TORCH_VIEW };

struct torch_storage {
    enum torch_kind kind;
    const char *key;
    enum dtype dtype;           /* DT_COUNT: bytes without a type */
    uint64_t numel, bytes;
    uint64_t off;               /* in the file; found says that it is known */
    bool found;
};

/* A tensor, as the pickle has it; the numbers are unchecked. */
struct torch_view {
    enum torch_kind kind;
    const struct torch_storage *storage;
    enum dtype dtype;
    const struct pickle_value *offset, *size, *stride; /* INT, TUPLE, TUPLE */
    bool used;                  /* it has a name, or was left out by rule */
    struct torch_view *next;
};

struct torch_reader {
    struct head *h;
    uint32_t file;
    bool legacy;
    struct arena *mem, tmp;     /* of the model; of the pickle */
    struct table *table;
    struct err *e;
    struct map by_key;          /* key -> index in storage */
    struct torch_storage **storage;
    size_t n, cap;
    struct torch_view *views;   /* all that were made */
    struct buf left_out;
};

/* "path: message". Returns -1. */
int torch_fail(const struct torch_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A machine for the pickle at byte pos of h, with nothing that it may name. */
struct pickle torch_machine(struct torch_reader *r, struct head *h, uint64_t pos, const char *what);
/* The same for the pickle of the tensors: its storages and views are kept in r. */
struct pickle torch_machine_for_tensors(struct torch_reader *r, struct head *h, uint64_t pos,
                                        const char *what);
/* Bytes of an element as PyTorch counts them: a pair of FP4 values is one. */
uint64_t torch_item_size(enum dtype t);

/* The tensors of the dict into r->table, by the rules in torch.h, once all storages are placed. */
int torch_read_dict(struct torch_reader *r, struct pickle_value *root) MUST_USE;

#endif

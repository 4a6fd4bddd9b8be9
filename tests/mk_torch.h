/* Images of PyTorch checkpoints: pickles, zip files, and the two formats made
 * of them. Nothing here shares a line with the readers. */
#ifndef OCTAVO_TESTS_MK_TORCH_H
#define OCTAVO_TESTS_MK_TORCH_H

#include "formats/model.h"
#include "tests/mk.h"

/* Appends a pickle (without PROTO): opcodes as they are, and for
 *     %s  const char *   BINUNICODE
 *     %i  int            BININT
 *     %l  int64_t        LONG1 of eight bytes
 *     %f  double         BINFLOAT
 *     %g  const char *   GLOBAL "module name"
 *     %v  const char *   a tuple of the numbers in the text "2,3", "" for ()
 *     %t  struct mk_view a call that makes a tensor (_rebuild_tensor_v2) */
struct mk_view {
    const char *type, *key;      /* "Float", of FloatStorage; key of the storage */
    int numel;                   /* of the storage */
    int offset;
    const char *size, *stride;   /* "2,3" */
};
void mk_pickle(struct buf *b, const char *fmt, ...);
void mk_pickle_legacy(bool legacy); /* persistent ids have a sixth part from here on */

enum {
    MK_ZIP64 = 1,        /* sizes and offsets of entries and of the end in ZIP64 fields */
    MK_DESCRIPTOR = 2,   /* local headers without sizes, descriptors after the contents */
    MK_NO_CRC = 4,       /* 0 for every CRC */
    MK_ALIGN = 8,        /* contents at multiples of 64, as torch.save has them */
    MK_END64 = 16,       /* a ZIP64 end record that is not needed, as torch.save has it */
};
struct mk_zip {
    struct buf out, dir;
    size_t n;
    unsigned flags;
};
void mk_zip_add(struct mk_zip *z, const char *name, const void *p, size_t n);
struct buf mk_zip_end(struct mk_zip *z, const char *comment);

struct mk_storage {
    const char *key;
    const void *p;
    size_t n;            /* bytes */
    uint64_t numel;      /* legacy */
};
/* A checkpoint whose data.pkl is PROTO 2, pickle, STOP; in directory "x". */
struct buf mk_torch(const struct buf *pickle, const struct mk_storage *s, size_t n, unsigned flags);
struct buf mk_torch_legacy(const struct buf *pickle, const struct mk_storage *s, size_t n);

/* The two storages most tests have, of bytes 1, 2, 3 ...: 24 F32 elements under "0", 8 under "1". */
extern const uint8_t mk_bytes[96];
extern const struct mk_storage mk_two[2];
/* The checkpoint of this pickle in either format. */
struct buf mk_checkpoint(bool legacy, const struct buf *pickle, const struct mk_storage *s, size_t n);
/* {"a": Float "0" [4,6], "b": Float "1" [8]} */
struct buf mk_two_tensors(bool legacy);

/* A model opened from an image; the directory lives until mk_close_dir. */
struct mk_model {
    char *dir, *path; /* dir/m.pt */
    struct model m;
    struct err e;
};
int mk_open(struct mk_model *f, const void *p, size_t n);
/* The zip checkpoint of this pickle, which is freed, and mk_two. */
int mk_open_pickle(struct mk_model *f, struct buf *pickle);
void mk_close_dir(struct mk_model *f);

#endif

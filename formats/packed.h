/* The packed file (.octp): tensors as a chip wants them in memory, with all
 * that is needed to undo it.  octavo-packed(5) is the specification.
 *
 *     head      64 bytes: magic, version, lengths, checksums
 *     manifest  JSON: target, form, metadata, one entry per tensor
 *     payload   each tensor at a multiple of the target's alignment, zeros between
 *     trailer   SHA-256 of every tensor's payload, of the source, and of both
 *
 * No time, host or path inside: the same input gives the same bytes.  Every
 * size is known before the first byte, so one pass can write it to a pipe. */
#ifndef OCTAVO_PACKED_H
#define OCTAVO_PACKED_H

#include "formats/layout.h"
#include "formats/model.h"

#define PACKED_MAGIC "OCTAVO\x1a\n"
enum { PACKED_HEAD = 64, PACKED_VERSION = 1, PACKED_ALIGN_MIN = 64 };

/* How a tensor lies when it is not row-major bytes of its own type. Stored
 * element (r, c) is logical element (r / repeat[0], c / repeat[1]). */
struct stored {
    enum dtype dtype;             /* F8_E8M0, F32, BF16 and F16 stand for scales of another one of them, where that is
                                   * exact; I4, F4 and I8 for such codes in the bytes or words of U8, I8 and I32 */
    const char *sentence;
    struct layout layout;
    uint64_t batch, rows, cols;   /* as it lies, without padding */
    uint64_t batch_bytes;         /* from one matrix to the next */
    uint32_t repeat[2];
    bool bytes;                   /* rows of whole blocks, as bytes: cols and the layout's columns count them */
    int shift;                    /* scales: what lies there is 2^shift times the value */
    bool flip;                    /* integers: the upper bit of every code is inverted, code + 2^(bits - 1) */
    bool high;                    /* bytes of two codes: the checkpoint has the even column in the high half */
    const char *rule, *of;        /* computed for the chip by this rule from the scales of that weight, and no part of
                                   * the model; NULL: a tensor of the model */
};
/* Stored elements per element of tensor t: 1, or how many codes it holds. */
unsigned stored_ratio(const struct stored *s, enum dtype t);
/* The type for such a tensor; false when it cannot be stored so. */
bool stored_fits(const struct stored *s, enum dtype t);
/* Fills batch_bytes; false when sizes overflow or 8-bit bytes do not suffice. */
bool stored_size(struct stored *s, uint64_t *bytes);

/* What goes into the manifest beside the tensors. */
struct packed_info {
    const char *target, *form, *scheme; /* may be NULL: a free sentence was packed */
    uint32_t align;
    uint32_t tp, ep, ranks, rank;       /* ranks 0: the whole model */
    const struct meta *kv;
    size_t nkv;
};
/* t[i].size and stored are given; t[i].off and the head (64 bytes + manifest,
 * malloc'ed in *head) are computed, and the size of the whole file. */
int packed_plan(const struct packed_info *info, struct tensor *t, size_t n, struct buf *head,
                uint64_t *file_size, size_t *tail_size, struct err *e) MUST_USE;
/* The trailer from n tensor digests and the source's. tail holds (n + 2) * 32 bytes. */
void packed_trailer(const uint8_t (*digest)[32], size_t n, const uint8_t source[32], uint8_t *tail);

/* The container reader; metadata gets octavo.target, octavo.form and, of a rank's part, octavo.parallel, "TP EP RANKS RANK". */
int packed_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct err *e) MUST_USE;

/* Checks the trailer of a packed model: every tensor's payload against its
 * SHA-256. ERR_INPUT names the first tensor that differs. digest[i] is of the
 * payload of tensor i, or of the one that it is in: computed here from a file, given
 * by the caller for a stream that was read up to its last tensor. source receives the digest of
 * what was packed. */
int packed_check(struct model *m, uint8_t (*digest)[32], uint8_t source[32], struct err *e) MUST_USE;

#endif

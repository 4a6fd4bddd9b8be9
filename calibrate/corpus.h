/* Token ids, cut into sequences of which some are kept apart. */
#ifndef OCTAVO_CALIBRATE_CORPUS_H
#define OCTAVO_CALIBRATE_CORPUS_H

#include "calibrate/forward/net.h"

struct corpus {
    uint32_t *id;
    size_t tokens;
    size_t *start;                   /* n + 1 */
    uint8_t *set;
    size_t n;
    size_t length;                   /* of the rows of a table, 0: there are none */
    bool begins;                     /* each sequence begins with token bos, beside those of the text */
    uint32_t bos;
};
/* A file of ids: raw U32, little-endian; or NumPy's .npy of 16, 32 or 64 bits in C order, one row of ids or a table whose rows are
 * sequences. ERR_INPUT for anything else. */
int corpus_read(struct corpus *c, const char *path, struct err *e) MUST_USE;
/* A text, by the tokenizer at a path (tokenizer.h). */
int corpus_text(struct corpus *c, const char *path, const char *tokenizer, struct err *e) MUST_USE;
/* The same of a model in m, opened from `path`: its own tokenizer, or bytes where it has none and 256 tokens; or the one that is named. */
int corpus_of_model(struct corpus *c, const char *text, const char *tokenizer, const struct model *m, uint64_t vocab, struct err *e) MUST_USE;
/* The first `limit` ids (0: all) in sequences of `length` (0: the rows of the table, else 512); the last one may be shorter. Of
 * every `every` sequences the last one is held out (0: none). The token that begins each is one of `length`. Sequences to fit to come first. ERR_INPUT when one of the two sets
 * would be empty. */
int corpus_cut(struct corpus *c, size_t length, size_t limit, size_t every, struct err *e) MUST_USE;
struct sequences corpus_sequences(const struct corpus *c);
void corpus_free(struct corpus *c);

#endif

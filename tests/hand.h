/* Models without data, written down as text: for what conventions make of names, types and shapes. */
#ifndef OCTAVO_TESTS_HAND_H
#define OCTAVO_TESTS_HAND_H

#include "formats/convention.h"

struct hand {
    struct model m;
    struct meta kv[2];
    struct grouping g;
    struct err e;
};
/* tensors: "a.weight F8_E4M3 256,384; a.weight_scale F32"; config: text of config.json or NULL; description:
 * that of the convention `named`, as a pipe carries them (both NULL: none). */
void hand_make(struct hand *h, const char *tensors, const char *config, const char *named,
               const char *description);
/* Reads the groups strictly and must succeed. */
void hand_read(struct hand *h);
/* Reading them strictly is an ERR_INPUT whose sentence has both texts; not strictly it succeeds. */
void hand_refused(struct hand *h, const char *text1, const char *text2);
/* The group of a tensor; fails the test when it belongs to none. */
const struct group *hand_group(const struct hand *h, const char *tensor);
enum part hand_part(const struct hand *h, const char *tensor);
void hand_drop(struct hand *h);

/* The same, tensor by tensor: room for cap of them, one more, those of an output, where one is, the end. */
void hand_grow(struct model *m, size_t cap);
void hand_add(struct model *m, const char *name, enum dtype dtype, uint8_t rank, const uint64_t *dim);
void hand_add_out(struct model *m, const struct out_tensor *t, size_t n);
size_t hand_index(const struct model *m, const char *tensor);
void hand_drop_model(struct model *m);

#endif

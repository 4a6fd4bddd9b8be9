/* What a comparison with the original says about how a tensor was made, in words.
 *
 * The figures that tell cases apart are in the project's reference on accuracy: E4M3 to nearest has 31.5 dB whatever the block,
 * 28.5 after a second rounding, E5M2 25.5, below 15 codes and scales do not belong together. */
#ifndef OCTAVO_CALIBRATE_SIGNATURE_H
#define OCTAVO_CALIBRATE_SIGNATURE_H

#include "calibrate/error.h"

enum signature {
    SIGN_NONE,       /* nothing to say: no quantized weight, or no figure that tells */
    SIGN_GOOD,       /* as its scheme should be made */
    SIGN_ODD,        /* worth knowing: output-aware rounding, another rule */
    SIGN_BAD         /* something is wrong with it */
};
/* One sentence without a full stop, in English or Chinese, into text [n]. What only inspection tells is said when t->look is there.
 * at: the element or block of the weight that it is about, else its worst block; NO_PLACE: the grid of scales as a whole. */
enum signature signature_of(const struct tensor_error *t, bool zh, char *text, size_t n, struct place *at);

#endif

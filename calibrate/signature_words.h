/* The sentences of signature.c. */
#ifndef OCTAVO_CALIBRATE_SIGNATURE_WORDS_H
#define OCTAVO_CALIBRATE_SIGNATURE_WORDS_H

#include "calibrate/inspect.h"

enum sentence {
    S_TRANSPOSED, S_EXCHANGED, S_NEAREST_SATURATED, S_NEAREST, S_NEAREST_F32, S_ROUNDED, S_NEAREST_BF16,
    S_FEW_MOVED, S_SCALES_BF16, S_SCALES_LATER, S_BESIDE, S_FAR, S_OFF_BY, S_OFF_LESS, S_NO_RULE, S_DOUBLED,
    S_TIMES, S_AS_E4M3, S_ABOVE_E4M3, S_TWICE, S_BELOW_E4M3, S_LIKE_E5M2, S_AS_E5M2, S_BELOW_E5M2, S_APART,
    S_SATURATED, S_NAN_CODES, S_BAD_SCALES, S_EXACT, S_BLOCK,
    SENTENCES
};
/* A format for printf. */
const char *signature_sentence(enum sentence s, bool zh);
const char *signature_rounding(enum round_mode r, bool zh);

#endif

/* UE4M3: E4M3 without its sign, the block scale of NVFP4.  Checkpoints store it
 * as F8_E4M3 with bit 7 clear. */
#include "quantizers/num.h"

static uint32_t encode(float x, enum overflow o)
{
    if (x < 0)
        return 0;   /* -Inf as well: a scale has no business there */
    return e4m3_encode(x, o) & 0x7f;
}

static float decode(uint32_t code)
{
    return e4m3_decode(code & 0x7f);
}

const struct num num_ue4m3 = {
    .name = "ue4m3", .dtype = DT_F8_E4M3, .bits = 7,
    .max = 448, .min_normal = 0x1p-6f, .min = 0x1p-9f, .emax = 8, .mbits = 3,
    .encode = encode, .decode = decode,
};

/* A matrix whose codes under several scale rules are published, BF16, 192 x 320:
 * blocks of 128 x 128 are cut off below and on the right, differ in range, and one
 * is zero. */
#include "mini.h"

enum { HEIGHT = 192, WIDTH = 320 };

void write_matrix(const char *path)
{
    const uint64_t dim[2] = {HEIGHT, WIDTH};
    struct out o = {.shards = 1, .planning = true};
    uint8_t *const data = need(HEIGHT * WIDTH, 2);
    uint32_t s = 12345;

    for (int i = 0; i < HEIGHT; i++)
        for (int j = 0; j < WIDTH; j++) {
            s = s * 1664525 + 1013904223;
            float x = (float)(((double)(s >> 8) - 8388608) / 16777216 * (1 + (7 * i + 3 * j) % 13));
            const int e = 5 * (i / 64) + 3 * (j / 64) - 16;
            for (int k = 0; k < e; k++)
                x *= 2;
            for (int k = 0; k > e; k--)
                x /= 2;
            store(BF16, i >= 128 && j >= 256 ? 0 : x, data + 2 * (i * WIDTH + j));
        }
    out_put(&o, "m.weight", true, BF16, 2, dim, NULL);
    out_planned(&o);
    out_put(&o, "m.weight", true, BF16, 2, dim, data);
    out_single(&o, path);
    out_free(&o);
}

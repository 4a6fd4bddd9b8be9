/* The fixed tree that ends every sum over 16 lanes. */
#ifndef OCTAVO_KERN_SUM_H
#define OCTAVO_KERN_SUM_H

static inline double kern_lane_sum(const double *lane)
{
    double s[8];

    for (int i = 0; i < 8; i++)
        s[i] = lane[i] + lane[i + 8];
    for (int half = 4; half; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

#endif

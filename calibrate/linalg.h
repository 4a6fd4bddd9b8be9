/* Matrix products, by OpenBLAS where the machine has it and in plain C elsewhere. All matrices are
 * row-major; ld* are the elements from one row to the next.
 *
 * Every call works on the caller's thread alone, so that a product has the same bits for any number
 * of threads: to use more, cut the work into pieces of a fixed size and share them out with each().
 * The bits do depend on the library and on the processor that it was tuned for: la_name() goes
 * into what is written. */
#ifndef OCTAVO_CALIBRATE_LINALG_H
#define OCTAVO_CALIBRATE_LINALG_H

#include <stdbool.h>
#include <stddef.h>

/* What multiplies: "plain C", or OpenBLAS's own description of itself. OCTAVO_BLAS=none in the
 * environment asks for plain C. Any thread may be the first to ask. */
const char *la_name(void);

/* C [m,n] = alpha * op(A) [m,k] * op(B) [k,n] + beta * C; op transposes where ta or tb is set.
 * With beta 0, C need not be initialized. No dimension may exceed 2^31 - 1. */
void la_sgemm(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b, size_t ldb,
              float beta, float *c, size_t ldc);
void la_dgemm(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda, const double *b,
              size_t ldb, double beta, double *c, size_t ldc);

/* Y [rows,out] = X [rows,in] * W^T, W [out,in]: a linear layer, on `threads` threads. */
void la_linear(unsigned threads, size_t rows, size_t in, size_t out, const float *x, size_t ldx, const float *w, float *y, size_t ldy);

/* H [n,n] += X^T X, X [rows,n], the upper triangle alone (row <= column), on `threads` threads.
 * Up to 1024 rows are summed in F32, and those sums in double. */
void la_gram(unsigned threads, size_t rows, size_t n, const float *x, size_t ldx, double *h);

#endif

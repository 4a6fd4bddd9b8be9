/* Products on an NVIDIA GPU with the bytes of packed files (make check-gpu).
 *
 *     check DIR [exchanged]      DIR: what prepare.sh made
 *
 * D = X * W^T with X [M,K] of E4M3 codes and scales made here, and W [N,K] from DIR/FORM.octp:
 * codes and scales go to the card exactly as they lie in the file. Each D is compared with the
 * product that the CPU makes, in double, of the weights that octavo dequantized. Two readers:
 * a kernel that does what octavo-packed(5) says, and cuBLASLt in the mode of the form. exchanged: two
 * scales of each weight change places first, and all must disagree.
 *
 * An element may be off by `bound` times the sum of its terms' magnitudes: 2^-20 for the kernel
 * (double, rounded once; the weights of the CPU are F32), 2^-9 for cuBLASLt (the FP8 tensor
 * cores of Hopper keep about 14 bits while they add), and 2^-8 of the result more where D is BF16. */
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>
#include "packed.h"

enum { M = 64, BLOCK = 128 };
enum kind { BLOCKS, ROWS, ONE };
struct form {
    const char *name, *scale, *layout;
    kind what;
    int x_mode, w_mode;
};
static const form FORMS[] = {
    {"cublaslt", "weight_scale_inv", "r0 c1 c0 | c0=4", BLOCKS, CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F,
     CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F},
    {"channel", "weight_scale", "", ROWS, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F,
     CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F},
    {"tensor", "weight_scale", "", ONE, CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F, CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F},
};
static const char *const MATRICES[] = {"self_attn.q_proj", "mlp.gate_proj", "mlp.down_proj"};

#define CUDA(call)                                                                                    \
    do {                                                                                              \
        const cudaError_t e_ = (call);                                                                \
        if (e_ != cudaSuccess) {                                                                      \
            fprintf(stderr, "check-gpu: %s: %s\n", #call, cudaGetErrorString(e_));                    \
            exit(4);                                                                                  \
        }                                                                                             \
    } while (0)
#define LT(call)                                                                                      \
    do {                                                                                              \
        const cublasStatus_t s_ = (call);                                                             \
        if (s_ != CUBLAS_STATUS_SUCCESS) {                                                            \
            fprintf(stderr, "check-gpu: %s: %s\n", #call, cublasLtGetStatusString(s_));               \
            exit(4);                                                                                  \
        }                                                                                             \
    } while (0)

static uint32_t next_random()
{
    static uint32_t x = 20240607;
    x = x * 1664525u + 1013904223u;
    return x >> 8;
}

/* E4M3 by definition, apart from CUDA's own conversion. */
static double e4m3(uint8_t c)
{
    const int e = c >> 3 & 15, m = c & 7;
    const double v = e ? ldexp(8 + m, e - 10) : ldexp(m, -9);
    return c & 128 ? -v : v;
}

static int64_t groups(int64_t n) { return (n + BLOCK - 1) / BLOCK; }

/* Where the scale of an element of X or W lies: octavo-packed(5)'s sentence, written out. */
__host__ __device__ static int64_t x_at(kind what, int64_t m, int64_t k)
{
    return what == BLOCKS ? k / BLOCK * M + m : what == ROWS ? m : 0;
}
__host__ __device__ static int64_t w_at(kind what, int64_t n, int64_t k, int64_t K)
{
    const int64_t blocks = (K + BLOCK - 1) / BLOCK, stride = (blocks + 3) / 4 * 4;
    return what == BLOCKS ? n / BLOCK * stride + k / BLOCK : what == ROWS ? n : 0;
}

__global__ void by_definition(kind what, int64_t N, int64_t K, const __nv_fp8_e4m3 *x, const float *xs,
                              const __nv_fp8_e4m3 *w, const float *ws, float *d)
{
    const int64_t n = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, m = blockIdx.y;
    if (n >= N)
        return;
    double sum = 0;
    for (int64_t k = 0; k < K; k++)
        sum += (double)(float)x[m * K + k] * xs[x_at(what, m, k)] * ((double)(float)w[n * K + k] * ws[w_at(what, n, k, K)]);
    d[m * N + n] = (float)sum;
}

template <typename T> static T *to_card(const void *bytes, size_t n)
{
    void *p;
    CUDA(cudaMalloc(&p, n));
    CUDA(cudaMemcpy(p, bytes, n, cudaMemcpyHostToDevice));
    return (T *)p;
}

/* D of cuBLASLt in the type asked for; false when it has no algorithm for that. It counts columns
 * first, so that its A is W and its D [N,M]: in memory that is our [M,N]. */
static bool by_cublaslt(const form &f, int64_t N, int64_t K, const void *x, const float *xs, const void *w, const float *ws,
                        cudaDataType_t type, void *d)
{
    static cublasLtHandle_t lt;
    static void *space;
    const size_t space_size = 32 << 20;
    if (!lt) {
        LT(cublasLtCreate(&lt));
        CUDA(cudaMalloc(&space, space_size));
    }
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t la, lb, ld;
    cublasLtMatmulPreference_t want;
    const cublasOperation_t t = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    const int32_t w_mode = f.w_mode, x_mode = f.x_mode;
    LT(cublasLtMatmulDescCreate(&op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof t));
    LT(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSB, &plain, sizeof plain));
    LT(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &w_mode, sizeof w_mode));
    LT(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &x_mode, sizeof x_mode));
    LT(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &ws, sizeof ws));
    LT(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &xs, sizeof xs));
    LT(cublasLtMatrixLayoutCreate(&la, CUDA_R_8F_E4M3, K, N, K));
    LT(cublasLtMatrixLayoutCreate(&lb, CUDA_R_8F_E4M3, K, M, K));
    LT(cublasLtMatrixLayoutCreate(&ld, type, N, M, N));
    LT(cublasLtMatmulPreferenceCreate(&want));
    LT(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &space_size, sizeof space_size));
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    const cublasStatus_t s = cublasLtMatmulAlgoGetHeuristic(lt, op, la, lb, ld, ld, want, 1, &found, &count);
    if (s == CUBLAS_STATUS_SUCCESS && count) {
        const float one = 1, zero = 0;
        LT(cublasLtMatmul(lt, op, &one, w, la, x, lb, &zero, d, ld, d, ld, &found.algo, space, space_size, 0));
        CUDA(cudaDeviceSynchronize());
    } else if (s != CUBLAS_STATUS_SUCCESS && s != CUBLAS_STATUS_NOT_SUPPORTED) {
        LT(s);
    }
    cublasLtMatmulPreferenceDestroy(want);
    cublasLtMatrixLayoutDestroy(ld);
    cublasLtMatrixLayoutDestroy(lb);
    cublasLtMatrixLayoutDestroy(la);
    cublasLtMatmulDescDestroy(op);
    return s == CUBLAS_STATUS_SUCCESS && count;
}

/* One line of the table; whether D agrees. The worst element is given in parts of its bound. */
static bool compare(const form &f, const char *matrix, const char *reader, int64_t N, int64_t K, const std::vector<double> &want,
                    const std::vector<double> &terms, const std::vector<double> &got, double bound, double rounding)
{
    double worst = 0;
    for (size_t i = 0; i < want.size(); i++) {
        const double off = fabs(got[i] - want[i]) / (bound * terms[i] + rounding * fabs(want[i]));
        worst = off <= worst ? worst : off; /* a NaN is the worst, and stays it */
        if (std::isnan(off))
            worst = INFINITY;
    }
    printf("%-9s %-17s %4lld x %-4lld %-14s %10.4f  %s\n", f.name, matrix, (long long)N, (long long)K, reader, worst,
           worst <= 1 ? "agrees" : "DISAGREES");
    return worst <= 1;
}

/* Counts of products that agreed, and of those of cuBLASLt that could be had. */
static int disagreed, had;

static int check(const char *dir, const form &f, const char *matrix, bool exchanged)
{
    char path[4096], name[256], layout[64];
    uint64_t shape[2], size, one_shape[2], scale_size;
    snprintf(path, sizeof path, "%s/%s.octp", dir, f.name);
    snprintf(name, sizeof name, "model.layers.0.%s.weight", matrix);
    const uint8_t *w = (const uint8_t *)packed_bytes(path, name, shape, &size, layout);
    if (!w)
        return 3;
    const int64_t N = (int64_t)shape[0], K = (int64_t)shape[1];
    bool plain = !*layout || !strcmp(layout, "r0 c0");
    snprintf(name, sizeof name, "model.layers.0.%s.%s", matrix, f.scale);
    const float *packed = (const float *)packed_bytes(path, name, one_shape, &scale_size, layout);
    if (!packed)
        return 3;
    const size_t want_scales = f.what == BLOCKS ? groups(N) * ((groups(K) + 3) / 4 * 4) : f.what == ROWS ? N : 1;
    plain = plain && (*f.layout ? !strcmp(layout, f.layout) : !*layout || !strcmp(layout, "r0 c0"));
    if (size != (uint64_t)(N * K) || scale_size != want_scales * sizeof(float) || !plain) {
        fprintf(stderr, "check-gpu: %s: %s has %llu bytes in the layout '%s', which is not what this check reads\n", path, name,
                (unsigned long long)scale_size, layout);
        return 3;
    }
    std::vector<float> ws(packed, packed + want_scales);
    if (exchanged && f.what == ONE) {
        const float *other = (const float *)packed_bytes(path, "model.layers.0.self_attn.v_proj.weight_scale", one_shape,
                                                         &scale_size, layout);
        if (!other)
            return 3;
        ws[0] = *other;
    } else if (exchanged) { /* the least and the greatest, padding apart */
        size_t least = 0, most = 0;
        for (size_t i = 0; i < ws.size(); i++) {
            least = ws[i] != 0 && ws[i] < ws[least] ? i : least;
            most = ws[i] > ws[most] ? i : most;
        }
        std::swap(ws[least], ws[most]);
    }

    std::vector<float> weights(N * K);
    snprintf(path, sizeof path, "%s/%s.%s.f32", dir, f.name, matrix);
    FILE *in = fopen(path, "rb");
    const bool whole = in && fread(weights.data(), sizeof(float), weights.size(), in) == weights.size() && getc(in) == EOF;
    if (in)
        fclose(in);
    if (!whole) {
        fprintf(stderr, "check-gpu: %s does not hold %lld x %lld values\n", path, (long long)N, (long long)K);
        return 3;
    }
    std::vector<uint8_t> x(M * K);
    for (auto &c : x)
        c = (uint8_t)(0x20 + next_random() % 0x40 + (next_random() & 1) * 0x80);
    std::vector<float> xs(f.what == BLOCKS ? groups(K) * M : f.what == ROWS ? M : 1);
    for (auto &s : xs)
        s = 0.5f + (float)(next_random() % 1024) / 1024;
    std::vector<double> want(M * N), terms(M * N), got(M * N);
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++)
            for (int64_t k = 0; k < K; k++) {
                const double v = e4m3(x[m * K + k]) * xs[x_at(f.what, m, k)] * weights[n * K + k];
                want[m * N + n] += v;
                terms[m * N + n] += fabs(v);
            }

    uint8_t *gx = to_card<uint8_t>(x.data(), x.size()), *gw = to_card<uint8_t>(w, size);
    float *gxs = to_card<float>(xs.data(), xs.size() * sizeof(float)), *gws = to_card<float>(ws.data(), ws.size() * sizeof(float));
    std::vector<float> d(M * N, NAN);
    float *gd = to_card<float>(d.data(), d.size() * sizeof(float));
    by_definition<<<dim3((unsigned)((N + 127) / 128), M), 128>>>(f.what, N, K, (const __nv_fp8_e4m3 *)gx, gxs,
                                                                 (const __nv_fp8_e4m3 *)gw, gws, gd);
    CUDA(cudaGetLastError());
    CUDA(cudaMemcpy(d.data(), gd, d.size() * sizeof(float), cudaMemcpyDeviceToHost));
    got.assign(d.begin(), d.end());
    disagreed += !compare(f, matrix, "definition", N, K, want, terms, got, ldexp(1, -20), 0);

    CUDA(cudaMemset(gd, 0xff, d.size() * sizeof(float))); /* NaN in either type */
    if (by_cublaslt(f, N, K, gx, gxs, gw, gws, CUDA_R_32F, gd)) {
        CUDA(cudaMemcpy(d.data(), gd, d.size() * sizeof(float), cudaMemcpyDeviceToHost));
        got.assign(d.begin(), d.end());
        disagreed += !compare(f, matrix, "cublaslt F32", N, K, want, terms, got, ldexp(1, -9), 0);
        had++;
    } else if (by_cublaslt(f, N, K, gx, gxs, gw, gws, CUDA_R_16BF, gd)) {
        std::vector<__nv_bfloat16> b(M * N);
        CUDA(cudaMemcpy(b.data(), gd, b.size() * sizeof b[0], cudaMemcpyDeviceToHost));
        for (size_t i = 0; i < b.size(); i++)
            got[i] = __bfloat162float(b[i]);
        disagreed += !compare(f, matrix, "cublaslt BF16", N, K, want, terms, got, ldexp(1, -9), ldexp(1, -8));
        had++;
    } else {
        printf("%-9s %-17s %4lld x %-4lld %-14s %10s  no algorithm in cuBLASLt\n", f.name, matrix, (long long)N, (long long)K,
               "cublaslt", "-");
    }
    for (void *p : {(void *)gx, (void *)gw, (void *)gxs, (void *)gws, (void *)gd})
        CUDA(cudaFree(p));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], "exchanged")))
        return fprintf(stderr, "usage: check DIR [exchanged]\n"), 2;
    cudaDeviceProp card;
    CUDA(cudaGetDeviceProperties(&card, 0));
    printf("%s, compute capability %d.%d, cuBLASLt %zu; X [%d,K] * W [N,K]\n", card.name, card.major, card.minor,
           cublasLtGetVersion(), (int)M);
    printf("%-9s %-17s %-11s %-14s %10s\n", "form", "weight", "  N x K", "reader", "worst/bound");
    for (const form &f : FORMS) {
        const int before = had;
        for (const char *matrix : MATRICES) {
            const int r = check(argv[1], f, matrix, argc == 3);
            if (r)
                return r;
        }
        /* The scale modes of the forms are those of Hopper: there each must be had at least once. */
        if (had == before && card.major == 9) {
            fprintf(stderr, "check-gpu: cuBLASLt multiplied nothing in the form %s\n", f.name);
            disagreed++;
        }
    }
    return disagreed ? 1 : 0;
}

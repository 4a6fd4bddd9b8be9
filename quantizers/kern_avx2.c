/* The AVX2 level: conversions, and the list of what the other files bring. */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"

struct kern kern_avx2_plain;

static void bf16_to_f32(const uint16_t *x, float *y, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const __m256 a = load8((const uint8_t *)(x + i), SRC_BF16);
        const __m256 b = load8((const uint8_t *)(x + i + 8), SRC_BF16);

        _mm256_storeu_ps(y + i, a);
        _mm256_storeu_ps(y + i + 8, b);
    }
    kern_avx2_plain.bf16_to_f32(x + i, y + i, n - i);
}

static void f16_to_f32(const uint16_t *x, float *y, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(loadu128(x + i)));
        _mm256_storeu_ps(y + i + 8, _mm256_cvtph_ps(loadu128(x + i + 8)));
    }
    kern_avx2_plain.f16_to_f32(x + i, y + i, n - i);
}

/* Eight FP32 to BF16, in 32-bit lanes. */
static ALWAYS_INLINE __m256i round_bf16(const float *x)
{
    const __m256 v = _mm256_loadu_ps(x);
    const __m256i u = _mm256_castps_si256(v), hi = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(hi, _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(u, odd), _mm256_set1_epi32(0x7fff));
    const __m256i quiet = _mm256_or_si256(hi, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));

    return _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), quiet, nan);
}

static void f32_to_bf16(const float *x, uint16_t *y, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const __m256i p = _mm256_packus_epi32(round_bf16(x + i), round_bf16(x + i + 8));

        _mm256_storeu_si256((__m256i *)(void *)(y + i), _mm256_permute4x64_epi64(p, 0xd8));
    }
    kern_avx2_plain.f32_to_bf16(x + i, y + i, n - i);
}

static void f32_to_f16(const float *x, uint16_t *y, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const __m128i a = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        const __m128i b = _mm256_cvtps_ph(_mm256_loadu_ps(x + i + 8), _MM_FROUND_TO_NEAREST_INT);

        _mm_storeu_si128((__m128i *)(void *)(y + i), a);
        _mm_storeu_si128((__m128i *)(void *)(y + i + 8), b);
    }
    kern_avx2_plain.f32_to_f16(x + i, y + i, n - i);
}

void kern_fill_avx2(struct kern *k)
{
    kern_fill_c(&kern_avx2_plain);
    k->name = "avx2";
    k->bf16_to_f32 = bf16_to_f32;
    k->f16_to_f32 = f16_to_f32;
    k->f32_to_bf16 = f32_to_bf16;
    k->f32_to_f16 = f32_to_f16;
    kern_avx2_fill_amax(k);
    kern_avx2_fill_e4m3(k);
    kern_avx2_fill_scaled(k);
    kern_avx2_fill_fp4(k);
    kern_avx2_fill_decode(k);
    kern_avx2_fill_error(k);
}
#else
void kern_fill_avx2(struct kern *k)
{
    (void)k;
}
#endif

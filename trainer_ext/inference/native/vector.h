/* Vectors of floats, 16 wide with AVX-512 and 8 wide with AVX2, and the functions that an encoder applies to them. */
#ifndef VECTOR_H
#define VECTOR_H

#include <immintrin.h>
#include <stdint.h>

/* Vectors in an array stay in registers only where the loops over it are unrolled. */
#define UNROLL _Pragma("GCC unroll 16")

#ifdef __AVX512F__
enum { WIDTH = 16 };
typedef __m512 Floats;
typedef __m512i Ints;
static inline Floats load(const float *from) { return _mm512_loadu_ps(from); }
static inline void store(float *to, Floats x) { _mm512_storeu_ps(to, x); }
static inline Ints load_ints(const int32_t *from) { return _mm512_loadu_si512(from); }
static inline void store_ints(int32_t *to, Ints x) { _mm512_storeu_si512(to, x); }
static inline Floats all(float x) { return _mm512_set1_ps(x); }
static inline Ints all_ints(int32_t x) { return _mm512_set1_epi32(x); }
static inline Floats add(Floats x, Floats y) { return _mm512_add_ps(x, y); }
static inline Floats subtract(Floats x, Floats y) { return _mm512_sub_ps(x, y); }
static inline Floats multiply(Floats x, Floats y) { return _mm512_mul_ps(x, y); }
static inline Floats smaller(Floats x, Floats y) { return _mm512_min_ps(x, y); }
static inline Floats larger(Floats x, Floats y) { return _mm512_max_ps(x, y); }
/* x * y + z */
static inline Floats multiply_add(Floats x, Floats y, Floats z) { return _mm512_fmadd_ps(x, y, z); }
/* x * 2^y for whole y >= -126 */
static inline Floats times_two_to(Floats x, Floats y) { return _mm512_scalef_ps(x, y); }
static inline Ints add_ints(Ints x, Ints y) { return _mm512_add_epi32(x, y); }
static inline Ints subtract_ints(Ints x, Ints y) { return _mm512_sub_epi32(x, y); }
static inline Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
static inline Ints to_nearest(Floats x) { return _mm512_cvtps_epi32(x); }
static inline Floats rounded(Floats x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline Floats about_one_over(Floats x) { return _mm512_rcp14_ps(x); }
/* The first `count` numbers of x, and those of y behind them. */
static inline Floats keep_first(int count, Floats x, Floats y)
{
    return _mm512_mask_blend_ps((__mmask16)((1u << count) - 1), y, x);
}
static inline float sum_of(Floats x) { return _mm512_reduce_add_ps(x); }
static inline float smallest_of(Floats x) { return _mm512_reduce_min_ps(x); }
static inline float largest_of(Floats x) { return _mm512_reduce_max_ps(x); }
static inline Floats load_bytes(const int8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}
/* Store each integer as an unsigned byte, those out of range as 0 or 255. */
static inline void store_bytes(uint8_t *to, Ints x)
{
    Ints not_negative = _mm512_max_epi32(x, _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)to, _mm512_cvtusepi32_epi8(not_negative));
}
#else
enum { WIDTH = 8 };
typedef __m256 Floats;
typedef __m256i Ints;
static inline Floats load(const float *from) { return _mm256_loadu_ps(from); }
static inline void store(float *to, Floats x) { _mm256_storeu_ps(to, x); }
static inline Ints load_ints(const int32_t *from) { return _mm256_loadu_si256((const __m256i *)from); }
static inline void store_ints(int32_t *to, Ints x) { _mm256_storeu_si256((__m256i *)to, x); }
static inline Floats all(float x) { return _mm256_set1_ps(x); }
static inline Ints all_ints(int32_t x) { return _mm256_set1_epi32(x); }
static inline Floats add(Floats x, Floats y) { return _mm256_add_ps(x, y); }
static inline Floats subtract(Floats x, Floats y) { return _mm256_sub_ps(x, y); }
static inline Floats multiply(Floats x, Floats y) { return _mm256_mul_ps(x, y); }
static inline Floats smaller(Floats x, Floats y) { return _mm256_min_ps(x, y); }
static inline Floats larger(Floats x, Floats y) { return _mm256_max_ps(x, y); }
/* x * y + z */
static inline Floats multiply_add(Floats x, Floats y, Floats z) { return _mm256_fmadd_ps(x, y, z); }
/* x * 2^y for whole y >= -126: the exponent of a float begins at its bit 23. */
static inline Floats times_two_to(Floats x, Floats y)
{
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(y), _mm256_set1_epi32(127));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
static inline Ints add_ints(Ints x, Ints y) { return _mm256_add_epi32(x, y); }
static inline Ints subtract_ints(Ints x, Ints y) { return _mm256_sub_epi32(x, y); }
static inline Floats to_floats(Ints x) { return _mm256_cvtepi32_ps(x); }
static inline Ints to_nearest(Floats x) { return _mm256_cvtps_epi32(x); }
static inline Floats rounded(Floats x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline Floats about_one_over(Floats x) { return _mm256_rcp_ps(x); }
/* The first `count` numbers of x, and those of y behind them. */
static inline Floats keep_first(int count, Floats x, Floats y)
{
    __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i is_kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), numbers);
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(is_kept));
}
static inline float sum_of(Floats x)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
static inline float smallest_of(Floats x)
{
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 pair = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(pair, _mm_movehdup_ps(pair)));
}
static inline float largest_of(Floats x)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}
static inline Floats load_bytes(const int8_t *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
}
/* Store each integer as an unsigned byte, those out of range as 0 or 255. */
static inline void store_bytes(uint8_t *to, Ints x)
{
    __m128i shorts = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i *)to, _mm_packus_epi16(shorts, shorts));
}
#endif

/* 1 / x to the last bit or two: one step of Newton's method. */
static inline Floats one_over(Floats x)
{
    Floats guess = about_one_over(x);
    return multiply(guess, subtract(all(2.0f), multiply(x, guess)));
}

/* 2^x for x <= 0, with a relative error of 2e-7; below -126 as at -126. */
static inline Floats two_to(Floats x)
{
    x = larger(x, all(-126.0f));
    Floats whole = rounded(x);
    Floats rest = subtract(x, whole);
    /* Fitted on [-0.5, 0.5] for the least relative error. */
    Floats sum = all(1.32764666e-3f);
    sum = multiply_add(sum, rest, all(9.67554096e-3f));
    sum = multiply_add(sum, rest, all(5.55071346e-2f));
    sum = multiply_add(sum, rest, all(0.240221202f));
    sum = multiply_add(sum, rest, all(0.693146944f));
    sum = multiply_add(sum, rest, all(1.00000012f));
    return times_two_to(sum, whole);
}

/* GELU(x) = x / 2 * (1 + erf(x / sqrt(2))), as exact as floats are (an absolute error of 1e-7 on average, at most 1e-6):
 * a coarser one would let more numbers fall on other levels than ONNX Runtime's.
 *
 * erf(x / sqrt(2)) is taken as x * P(x^2) / Q(x^2), fitted by weighted least squares on [-5.5, 5.5]. */
static inline Floats gelu(Floats x)
{
    Floats near = larger(smaller(x, all(5.5f)), all(-5.5f));
    Floats square = multiply(near, near);
    Floats upper = all(4.44322743e-8f);
    upper = multiply_add(upper, square, all(1.30613789e-5f));
    upper = multiply_add(upper, square, all(3.65707498e-4f));
    upper = multiply_add(upper, square, all(9.52317917e-3f));
    upper = multiply_add(upper, square, all(7.02838361e-2f));
    upper = multiply_add(upper, square, all(0.797883971f));
    Floats lower = all(1.19540025e-6f);
    lower = multiply_add(lower, square, all(7.86087451e-5f));
    lower = multiply_add(lower, square, all(1.9624096e-3f));
    lower = multiply_add(lower, square, all(2.93984551e-2f));
    lower = multiply_add(lower, square, all(0.254751312f));
    lower = multiply_add(lower, square, all(1.0f));
    Floats erf = multiply(multiply(near, upper), one_over(lower));
    Floats half = multiply(x, all(0.5f));
    return multiply_add(half, erf, half);
}

#endif

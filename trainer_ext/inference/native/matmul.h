/* Products of unsigned 8-bit activations and signed 8-bit weights, added up in 32 bits: exact on every CPU.
 *
 * Weights lie in blocks of 16 columns; a block holds, for every 4 rows, the 4 values of each column side by side. That is
 * what the tiles of AMX and the dot products of VNNI and AVX2 read. */
#ifndef MATMUL_H
#define MATMUL_H

#include <immintrin.h>
#include <stdint.h>

/* Rows and columns are padded to these, so that no kernel has to know where a matrix ends. */
enum { DEPTH_STEP = 64, COLUMN_STEP = 64, BLOCK = 16 };

static inline int padded(int size, int step) { return (size + step - 1) / step * step; }

/* Lay out weights (depth, columns), row by row, as blocks; `sums` gets the sum of each column. */
static void pack_weights(const int8_t *weights, int depth, int columns, int8_t *packed, int32_t *sums)
{
    int block_bytes = padded(depth, DEPTH_STEP) * BLOCK;
    for (int row = 0; row < depth; row++) {
        for (int column = 0; column < columns; column++) {
            int8_t value = weights[(int64_t)row * columns + column];
            int8_t *block = packed + (int64_t)(column / BLOCK) * block_bytes;
            block[row / 4 * 64 + column % BLOCK * 4 + row % 4] = value;
            sums[column] += value;
        }
    }
}

/* Sums stay in registers only where the loops over them are unrolled. */
#define UNROLL _Pragma("GCC unroll 16")

#if defined(__AMX_INT8__)
/* Two by two tiles of 16 x 16 sums. */
enum { ROWS_AT_ONCE = 32, COLUMNS_AT_ONCE = 32 };

struct TileShapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_a_row[16];
    uint8_t rows[16];
};

static inline void begin_products(void)
{
    struct TileShapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shapes.bytes_a_row[tile] = 64;
        shapes.rows[tile] = 16;
    }
    _tile_loadconfig(&shapes);
}

static inline void end_products(void) { _tile_release(); }

/* Sums (ROWS_AT_ONCE, COLUMNS_AT_ONCE) of `rows` rows of activations and the blocks at `weights`. */
static inline void product(const uint8_t *activations, int depth, const int8_t *weights, int rows, int32_t *sums)
{
    const uint8_t *lower = activations + (int64_t)16 * depth;
    const int8_t *right = weights + (int64_t)depth * BLOCK;
    int stride = COLUMNS_AT_ONCE * 4;
    int has_lower = rows > 16;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < depth; k += 64) {
        _tile_loadd(4, activations + k, depth);
        _tile_loadd(6, weights + k * BLOCK, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, right + k * BLOCK, 64);
        _tile_dpbusd(1, 4, 7);
        if (has_lower) {
            _tile_loadd(5, lower + k, depth);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_stored(0, sums, stride);
    _tile_stored(1, sums + 16, stride);
    if (has_lower) {
        _tile_stored(2, sums + 16 * COLUMNS_AT_ONCE, stride);
        _tile_stored(3, sums + 16 * COLUMNS_AT_ONCE + 16, stride);
    }
}

#elif defined(__AVX512VNNI__)
enum { ROWS_AT_ONCE = 12, COLUMNS_AT_ONCE = 32 };

static inline void begin_products(void) {}
static inline void end_products(void) {}

static inline void product(const uint8_t *activations, int depth, const int8_t *weights, int rows, int32_t *sums)
{
    (void)rows; /* the rows behind the last hold something, and nobody reads their sums */
    const int8_t *right = weights + (int64_t)depth * BLOCK;
    __m512i total[ROWS_AT_ONCE][2];
    UNROLL
    for (int row = 0; row < ROWS_AT_ONCE; row++)
        total[row][0] = total[row][1] = _mm512_setzero_si512();
    for (int k = 0; k < depth; k += 4) {
        __m512i first = _mm512_loadu_si512(weights + k * BLOCK);
        __m512i second = _mm512_loadu_si512(right + k * BLOCK);
        UNROLL
        for (int row = 0; row < ROWS_AT_ONCE; row++) {
            __m512i four = _mm512_set1_epi32(*(const int32_t *)(activations + (int64_t)row * depth + k));
            total[row][0] = _mm512_dpbusd_epi32(total[row][0], four, first);
            total[row][1] = _mm512_dpbusd_epi32(total[row][1], four, second);
        }
    }
    UNROLL
    for (int row = 0; row < ROWS_AT_ONCE; row++) {
        _mm512_storeu_si512(sums + row * COLUMNS_AT_ONCE, total[row][0]);
        _mm512_storeu_si512(sums + row * COLUMNS_AT_ONCE + BLOCK, total[row][1]);
    }
}

#else
enum { ROWS_AT_ONCE = 4, COLUMNS_AT_ONCE = 16 };

static inline void begin_products(void) {}
static inline void end_products(void) {}

/* AVX2 adds two products in 16 bits: exact only for weights that an export made safe for it (see `is_pair_safe`). */
static inline __m256i add_products(__m256i total, __m256i activations, __m256i weights)
{
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(total, activations, weights);
#else
    __m256i pairs = _mm256_maddubs_epi16(activations, weights);
    return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

static inline void product(const uint8_t *activations, int depth, const int8_t *weights, int rows, int32_t *sums)
{
    (void)rows; /* the rows behind the last hold something, and nobody reads their sums */
    __m256i total[ROWS_AT_ONCE][2];
    UNROLL
    for (int row = 0; row < ROWS_AT_ONCE; row++) {
        total[row][0] = _mm256_setzero_si256();
        total[row][1] = _mm256_setzero_si256();
    }
    for (int k = 0; k < depth; k += 4) {
        __m256i left = _mm256_loadu_si256((const __m256i *)(weights + k * BLOCK));
        __m256i right = _mm256_loadu_si256((const __m256i *)(weights + k * BLOCK + 32));
        UNROLL
        for (int row = 0; row < ROWS_AT_ONCE; row++) {
            __m256i four = _mm256_set1_epi32(*(const int32_t *)(activations + (int64_t)row * depth + k));
            total[row][0] = add_products(total[row][0], four, left);
            total[row][1] = add_products(total[row][1], four, right);
        }
    }
    UNROLL
    for (int row = 0; row < ROWS_AT_ONCE; row++) {
        _mm256_storeu_si256((__m256i *)(sums + row * COLUMNS_AT_ONCE), total[row][0]);
        _mm256_storeu_si256((__m256i *)(sums + row * COLUMNS_AT_ONCE + 8), total[row][1]);
    }
}
#endif

#endif

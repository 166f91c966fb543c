/* Products of unsigned 8-bit activations and signed 8-bit weights, added up in 32 bits: exact on every CPU.
 *
 * Weights lie in blocks of 16 columns; a block holds, for every 4 rows, the 4 values of each column side by side. That is
 * what the tiles of AMX and the dot products of VNNI and AVX2 read. */
#ifndef MATMUL_H
#define MATMUL_H

#include <stdint.h>

#include "vector.h"

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

/* Sums (ROWS_AT_ONCE, COLUMNS_AT_ONCE) of `rows` rows of activations and the blocks at `weights`; of `stride` numbers of a
 * row those behind `depth` are 0. */
static inline void product(const uint8_t *activations, int depth, int stride, const int8_t *weights, int rows, int32_t *sums)
{
    (void)depth; /* tiles hold whole steps */
    const uint8_t *lower = activations + (int64_t)16 * stride;
    const int8_t *right = weights + (int64_t)stride * BLOCK;
    int row_bytes = COLUMNS_AT_ONCE * 4;
    int has_lower = rows > 16;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < stride; k += 64) {
        _tile_loadd(4, activations + k, stride);
        _tile_loadd(6, weights + k * BLOCK, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, right + k * BLOCK, 64);
        _tile_dpbusd(1, 4, 7);
        if (has_lower) {
            _tile_loadd(5, lower + k, stride);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_stored(0, sums, row_bytes);
    _tile_stored(1, sums + 16, row_bytes);
    if (has_lower) {
        _tile_stored(2, sums + 16 * COLUMNS_AT_ONCE, row_bytes);
        _tile_stored(3, sums + 16 * COLUMNS_AT_ONCE + 16, row_bytes);
    }
}

#else
/* As many sums as fit into the registers: ROWS_AT_ONCE x 2 vectors; and fewer for what is left at the end. */
#if defined(__AVX512VNNI__)
enum { ROWS_AT_ONCE = 12, COLUMNS_AT_ONCE = 32 };
/* A vector is a block: the second one is behind the whole first. */
static inline int64_t second_vector(int stride) { return (int64_t)stride * BLOCK; }
static inline Ints add_four_products(Ints total, Ints activations, Ints weights)
{
    return _mm512_dpbusd_epi32(total, activations, weights);
}
#else
enum { COLUMNS_AT_ONCE = 16 };
/* Two vectors are a block. */
static inline int64_t second_vector(int stride)
{
    (void)stride;
    return 32;
}
#if defined(__AVXVNNI__)
enum { ROWS_AT_ONCE = 6 };
static inline Ints add_four_products(Ints total, Ints activations, Ints weights)
{
    return _mm256_dpbusd_avx_epi32(total, activations, weights);
}
#else
enum { ROWS_AT_ONCE = 4 };
/* AVX2 adds two products in 16 bits: exact only for weights that an export made safe for it (see `is_pair_safe`). */
static inline Ints add_four_products(Ints total, Ints activations, Ints weights)
{
    __m256i pairs = _mm256_maddubs_epi16(activations, weights);
    return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif
#endif
enum { SOME_ROWS = ROWS_AT_ONCE * 2 / 3, FEW_ROWS = ROWS_AT_ONCE / 3 };

static inline void begin_products(void) {}
static inline void end_products(void) {}

/* `rows` is a constant wherever this is called. */
static inline __attribute__((always_inline)) void product_of(int rows, const uint8_t *activations, int depth, int stride,
                                                             const int8_t *weights, int32_t *sums)
{
    const int8_t *right = weights + second_vector(stride);
    Ints total[ROWS_AT_ONCE][2];
    UNROLL
    for (int row = 0; row < rows; row++)
        total[row][0] = total[row][1] = all_ints(0);
    for (int k = 0; k < depth; k += 4) {
        Ints first = load_ints((const int32_t *)(weights + k * BLOCK));
        Ints second = load_ints((const int32_t *)(right + k * BLOCK));
        UNROLL
        for (int row = 0; row < rows; row++) {
            Ints four = all_ints(*(const int32_t *)(activations + (int64_t)row * stride + k));
            total[row][0] = add_four_products(total[row][0], four, first);
            total[row][1] = add_four_products(total[row][1], four, second);
        }
    }
    UNROLL
    for (int row = 0; row < rows; row++) {
        store_ints(sums + row * COLUMNS_AT_ONCE, total[row][0]);
        store_ints(sums + row * COLUMNS_AT_ONCE + WIDTH, total[row][1]);
    }
}

/* Sums (ROWS_AT_ONCE, COLUMNS_AT_ONCE) of `rows` rows of activations, each `stride` bytes long, and the blocks at `weights`.
 * A few rows behind the last are multiplied, too: they hold something, and nobody reads their sums. */
static inline void product(const uint8_t *activations, int depth, int stride, const int8_t *weights, int rows, int32_t *sums)
{
    if (rows > SOME_ROWS)
        product_of(ROWS_AT_ONCE, activations, depth, stride, weights, sums);
    else if (rows > FEW_ROWS)
        product_of(SOME_ROWS, activations, depth, stride, weights, sums);
    else
        product_of(FEW_ROWS, activations, depth, stride, weights, sums);
}
#endif

#endif

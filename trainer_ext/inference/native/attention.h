/* Attention of one text in 32-bit floats: softmax(Q K^T * scale) V, head by head (Vaswani et al. 2017, equation 1). */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "vector.h"

/* As many sums as fit into the registers: QUERIES_AT_ONCE x 2 vectors; and fewer for what is left at the end. */
#ifdef __AVX512F__
enum { QUERIES_AT_ONCE = 12, QUERIES_AT_END = 4 };
#else
enum { QUERIES_AT_ONCE = 5, QUERIES_AT_END = 2 };
#endif
enum { PAIR = 2 * WIDTH };

/* What products read: 32-bit floats; or pairs of bfloat16, each pair in the place of a float, for which CPUs with
 * AVX512-BF16 need one instruction where two floats need two. Sums are 32-bit floats either way. */
#ifdef __AVX512BF16__
enum { NUMBERS_A_PLACE = 2 };
static inline Floats add_products(Floats total, Floats x, Floats y)
{
    return _mm512_dpbf16_ps(total, (__m512bh)x, (__m512bh)y);
}
#else
enum { NUMBERS_A_PLACE = 1 };
static inline Floats add_products(Floats total, Floats x, Floats y) { return multiply_add(x, y, total); }
#endif

static inline int places(int numbers) { return (numbers + NUMBERS_A_PLACE - 1) / NUMBERS_A_PLACE; }

/* Sums (queries, PAIR) over `depth` of left[q, k] * right[k, :]; `queries` is a constant wherever this is called. */
static inline __attribute__((always_inline)) void small_product(int queries, const float *left, int left_stride,
                                                                const float *right, int right_stride, int depth,
                                                                float *sums, int stride)
{
    Floats total[QUERIES_AT_ONCE][2];
    UNROLL
    for (int q = 0; q < queries; q++)
        total[q][0] = total[q][1] = all(0.0f);
    for (int k = 0; k < depth; k++) {
        Floats first = load(right + (int64_t)k * right_stride);
        Floats second = load(right + (int64_t)k * right_stride + WIDTH);
        UNROLL
        for (int q = 0; q < queries; q++) {
            Floats one = all(left[(int64_t)q * left_stride + k]);
            total[q][0] = add_products(total[q][0], one, first);
            total[q][1] = add_products(total[q][1], one, second);
        }
    }
    UNROLL
    for (int q = 0; q < queries; q++) {
        store(sums + q * stride, total[q][0]);
        store(sums + q * stride + WIDTH, total[q][1]);
    }
}

/* Turn the scores of one query for `keys` keys into e^(score - largest); return 1 / their sum.
 *
 * The vector that holds the last of them is filled with almost 0. */
static inline float softmax(float *scores, int keys, float scale)
{
    int last = (keys - 1) / WIDTH * WIDTH;
    Floats rest = keep_first(keys - last, load(scores + last), all(-1e30f));
    Floats most = rest;
    for (int key = 0; key < last; key += WIDTH)
        most = larger(most, load(scores + key));
    /* e^x is 2^(x * log2(e)) */
    scale *= 1.44269504f;
    Floats factor = all(scale);
    Floats shift = all(-scale * largest_of(most));
    Floats sums = two_to(multiply_add(rest, factor, shift));
    store(scores + last, sums);
    for (int key = 0; key < last; key += WIDTH) {
        Floats power = two_to(multiply_add(load(scores + key), factor, shift));
        store(scores + key, power);
        sums = add(sums, power);
    }
    return 1.0f / sum_of(sums);
}

/* All heads of one text: side by side in the rows of query, key and value.
 *
 * queries: how many tokens ask: all, or the first. Rows of `query` up to a multiple of QUERIES_AT_ONCE can be read. */
typedef struct {
    const float *query, *key, *value;
    int query_stride, stride, tokens, queries, count, size;
    float scale;
} Heads;

/* Turn 4 x 4 floats. */
static inline void transpose(const float *from, int from_stride, float *to, int to_stride)
{
    __m128 first = _mm_loadu_ps(from);
    __m128 second = _mm_loadu_ps(from + from_stride);
    __m128 third = _mm_loadu_ps(from + 2 * from_stride);
    __m128 fourth = _mm_loadu_ps(from + 3 * from_stride);
    _MM_TRANSPOSE4_PS(first, second, third, fourth);
    _mm_storeu_ps(to, first);
    _mm_storeu_ps(to + to_stride, second);
    _mm_storeu_ps(to + 2 * to_stride, third);
    _mm_storeu_ps(to + 3 * to_stride, fourth);
}

/* What the heads of a text are worked on with.
 *
 * keys_across, values: of a head, each (padded size, padded tokens).
 * queries, rows: pairs of bfloat16 of a head, each (tokens, padded size); unused where products read floats.
 * scores: (QUERIES_AT_ONCE, padded tokens). */
typedef struct {
    float *keys_across, *values, *queries, *rows, *scores;
} Room;

/* The queries of a head: (queries, stride), as products read them. */
typedef struct {
    const float *first;
    int stride;
} Queries;

/* Turn rows (tokens, places) into (places, width). Groups of 4 may reach beyond the last token and the head: the room is
 * there, and what lies in it is not read. */
static inline void turn(const float *rows, int stride, int tokens, int count, float *across, int width)
{
    for (int token = 0; token < tokens; token += 4)
        for (int place = 0; place < count; place += 4)
            transpose(rows + (int64_t)token * stride + place, stride, across + (int64_t)place * width + token, width);
}

#ifdef __AVX512BF16__
/* Round rows of `size` floats to pairs of bfloat16; behind an odd last one comes 0. */
static inline void round_rows(const float *from, int from_stride, int rows, int size, float *to, int to_stride)
{
    for (int row = 0; row < rows; row++) {
        for (int k = 0; k < size; k += WIDTH) {
            Floats x = load(from + (int64_t)row * from_stride + k);
            if (size - k < WIDTH)
                x = keep_first(size - k, x, all(0.0f));
            __m256i rounded = (__m256i)_mm512_cvtneps_pbh(x);
            _mm256_storeu_si256((__m256i *)(to + (int64_t)row * to_stride + k / 2), rounded);
        }
    }
}

/* Values of a head as (pairs of tokens, stride): what a column has in two tokens side by side. */
static inline void pair_values(const Heads *heads, int head, float *values, int stride)
{
    /* The numbers of the first vector, each followed by that of the second. */
    const __m512i order = _mm512_set_epi32(
        0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008,
        0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    for (int token = 0; token < heads->tokens; token += 2) {
        const float *value = heads->value + (int64_t)token * heads->stride + head * heads->size;
        int has_second = token + 1 < heads->tokens;
        for (int k = 0; k < stride; k += WIDTH) {
            Floats first = load(value + k);
            Floats second = has_second ? load(value + heads->stride + k) : all(0.0f);
            __m512i both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
            _mm512_storeu_si512(values + (int64_t)token / 2 * stride + k, _mm512_permutexvar_epi16(order, both));
        }
    }
}

static inline Queries gather_head(const Heads *heads, int head, int width, int value_stride, const Room *room)
{
    int stride = (heads->size + WIDTH - 1) / WIDTH * WIDTH / 2;
    round_rows(heads->key + head * heads->size, heads->stride, heads->tokens, heads->size, room->rows, stride);
    turn(room->rows, stride, heads->tokens, places(heads->size), room->keys_across, width);
    pair_values(heads, head, room->values, value_stride);
    round_rows(heads->query + head * heads->size, heads->query_stride, heads->queries, heads->size, room->queries, stride);
    return (Queries){room->queries, stride};
}

/* Round e^(score - largest) in place. */
static inline void round_scores(float *scores, int keys)
{
    for (int key = 0; key < keys; key += PAIR) {
        __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(load(scores + key + WIDTH), load(scores + key));
        _mm512_storeu_si512(scores + key / 2, rounded);
    }
}
#else
/* Keys of a head as (size, width), and its values as (tokens, stride): rows of the text are far apart, and would share a
 * few places of the cache. */
static inline Queries gather_head(const Heads *heads, int head, int width, int value_stride, const Room *room)
{
    turn(heads->key + head * heads->size, heads->stride, heads->tokens, heads->size, room->keys_across, width);
    for (int token = 0; token < heads->tokens; token++) {
        const float *value = heads->value + (int64_t)token * heads->stride + head * heads->size;
        for (int k = 0; k < value_stride; k += WIDTH)
            store(room->values + (int64_t)token * value_stride + k, load(value + k));
    }
    return (Queries){heads->query + head * heads->size, heads->query_stride};
}

static inline void round_scores(float *scores, int keys)
{
    (void)scores;
    (void)keys;
}
#endif

/* Attention of a few queries of a head, from `first` on; `queries` is a constant, of which `count` are there. */
static inline __attribute__((always_inline)) void attend_some(int queries, const Heads *heads, int head, Queries query,
                                                              int first, int count, const Room *room, float *out,
                                                              int out_stride)
{
    int width = (heads->tokens + PAIR - 1) / PAIR * PAIR;
    int value_stride = (heads->size + PAIR - 1) / PAIR * PAIR;
    const float *asked = query.first + (int64_t)first * query.stride;
    for (int column = 0; column < width; column += PAIR)
        small_product(queries, asked, query.stride, room->keys_across + column, width, places(heads->size),
                      room->scores + column, width);
    float shares[QUERIES_AT_ONCE];
    for (int q = 0; q < count; q++) {
        shares[q] = softmax(room->scores + q * width, heads->tokens, heads->scale);
        round_scores(room->scores + q * width, heads->tokens);
    }
    for (int column = 0; column < heads->size; column += PAIR) {
        float sums[QUERIES_AT_ONCE * PAIR];
        small_product(queries, room->scores, width, room->values + column, value_stride, places(heads->tokens), sums, PAIR);
        for (int q = 0; q < count; q++) {
            float *to = out + (int64_t)(first + q) * out_stride + head * heads->size + column;
            Floats share = all(shares[q]);
            store(to, multiply(load(sums + q * PAIR), share));
            store(to + WIDTH, multiply(load(sums + q * PAIR + WIDTH), share));
        }
    }
}

/* Attention of all heads into `out` (queries, out_stride); PAIR - 1 floats behind the last head may be overwritten. */
static void attend(const Heads *heads, const Room *room, float *out, int out_stride)
{
    int width = (heads->tokens + PAIR - 1) / PAIR * PAIR;
    int value_stride = (heads->size + PAIR - 1) / PAIR * PAIR;
    for (int head = 0; head < heads->count; head++) {
        Queries query = gather_head(heads, head, width, value_stride, room);
        int first = 0;
        for (; first + QUERIES_AT_ONCE <= heads->queries; first += QUERIES_AT_ONCE)
            attend_some(QUERIES_AT_ONCE, heads, head, query, first, QUERIES_AT_ONCE, room, out, out_stride);
        for (; first < heads->queries; first += QUERIES_AT_END) {
            int left = heads->queries - first;
            int count = left < QUERIES_AT_END ? left : QUERIES_AT_END;
            attend_some(QUERIES_AT_END, heads, head, query, first, count, room, out, out_stride);
        }
    }
}

#endif

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

/* Sums (queries, PAIR) over `depth` of left[q, k] * right[k, :]; `queries` is a constant wherever this is called. */
static inline __attribute__((always_inline)) void small_product(int queries, const float *left, int left_stride,
                                                                const float *right, int right_stride, int depth,
                                                                float *sums, int stride)
{
    Floats total[QUERIES_AT_ONCE][2];
    for (int q = 0; q < queries; q++)
        total[q][0] = total[q][1] = all(0.0f);
    for (int k = 0; k < depth; k++) {
        Floats first = load(right + (int64_t)k * right_stride);
        Floats second = load(right + (int64_t)k * right_stride + WIDTH);
        for (int q = 0; q < queries; q++) {
            Floats one = all(left[(int64_t)q * left_stride + k]);
            total[q][0] = multiply_add(one, first, total[q][0]);
            total[q][1] = multiply_add(one, second, total[q][1]);
        }
    }
    for (int q = 0; q < queries; q++) {
        store(sums + q * stride, total[q][0]);
        store(sums + q * stride + WIDTH, total[q][1]);
    }
}

/* Turn the scores of one query for `keys` keys into e^(score - largest), with 0 up to `width`; return 1 / their sum. */
static inline float softmax(float *scores, int keys, int width, float scale)
{
    for (int key = keys; key < width; key++)
        scores[key] = -1e30f;
    Floats most = load(scores);
    for (int key = WIDTH; key < width; key += WIDTH)
        most = larger(most, load(scores + key));
    Floats largest = all(largest_of(most));
    Floats sums = all(0.0f);
    for (int key = 0; key < width; key += WIDTH) {
        Floats difference = multiply(subtract(load(scores + key), largest), all(scale));
        Floats power = exponential(difference);
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

/* Keys of a head as (size, width), and its values as (tokens, padded size): rows of the text are far apart, and would
 * share a few places of the cache. Groups of 4 may reach beyond the last token and the head: the room is there, and
 * what lies in it is not read. */
static inline void gather_head(const Heads *heads, int head, int width, float *keys_across, float *values)
{
    int size = heads->size;
    int value_stride = (size + PAIR - 1) / PAIR * PAIR;
    const float *keys = heads->key + head * size;
    for (int token = 0; token < heads->tokens; token += 4)
        for (int k = 0; k < size; k += 4)
            transpose(keys + (int64_t)token * heads->stride + k, heads->stride, keys_across + (int64_t)k * width + token, width);
    for (int token = 0; token < heads->tokens; token++) {
        const float *value = heads->value + (int64_t)token * heads->stride + head * size;
        for (int k = 0; k < value_stride; k += WIDTH)
            store(values + (int64_t)token * value_stride + k, load(value + k));
    }
}

/* What the heads of a text are worked on with.
 *
 * keys_across, values: of a head, each (padded size, padded tokens).
 * scores: (QUERIES_AT_ONCE, padded tokens). */
typedef struct {
    float *keys_across, *values, *scores;
} Room;

/* Attention of a few queries of a head, from `first` on; `queries` is a constant, of which `count` are there. */
static inline __attribute__((always_inline)) void attend_some(int queries, const Heads *heads, int head, int first,
                                                              int count, const Room *room, float *out, int out_stride)
{
    int width = (heads->tokens + PAIR - 1) / PAIR * PAIR;
    int value_stride = (heads->size + PAIR - 1) / PAIR * PAIR;
    const float *query = heads->query + (int64_t)first * heads->query_stride + head * heads->size;
    for (int column = 0; column < width; column += PAIR)
        small_product(queries, query, heads->query_stride, room->keys_across + column, width, heads->size,
                      room->scores + column, width);
    float shares[QUERIES_AT_ONCE];
    for (int q = 0; q < count; q++)
        shares[q] = softmax(room->scores + q * width, heads->tokens, width, heads->scale);
    for (int column = 0; column < heads->size; column += PAIR) {
        float sums[QUERIES_AT_ONCE * PAIR];
        small_product(queries, room->scores, width, room->values + column, value_stride, heads->tokens, sums, PAIR);
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
    for (int head = 0; head < heads->count; head++) {
        gather_head(heads, head, width, room->keys_across, room->values);
        int first = 0;
        for (; first + QUERIES_AT_ONCE <= heads->queries; first += QUERIES_AT_ONCE)
            attend_some(QUERIES_AT_ONCE, heads, head, first, QUERIES_AT_ONCE, room, out, out_stride);
        for (; first < heads->queries; first += QUERIES_AT_END) {
            int left = heads->queries - first;
            int count = left < QUERIES_AT_END ? left : QUERIES_AT_END;
            attend_some(QUERIES_AT_END, heads, head, first, count, room, out, out_stride);
        }
    }
}

#endif

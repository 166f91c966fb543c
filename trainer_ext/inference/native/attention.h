/* Attention of one text in 32-bit floats: softmax(Q K^T * scale) V, head by head (Vaswani et al. 2017, equation 1). */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "vector.h"

/* As many sums as fit into the registers: QUERIES_AT_ONCE x 2 vectors. */
#ifdef __AVX512F__
enum { QUERIES_AT_ONCE = 12 };
#else
enum { QUERIES_AT_ONCE = 5 };
#endif
enum { PAIR = 2 * WIDTH };

/* Sums (QUERIES_AT_ONCE, PAIR) over `depth` of left[q, k] * right[k, :]. */
static inline __attribute__((always_inline)) void
small_product(const float *left, int left_stride, const float *right, int right_stride, int depth, float *sums, int stride)
{
    Floats total[QUERIES_AT_ONCE][2];
    for (int q = 0; q < QUERIES_AT_ONCE; q++)
        total[q][0] = total[q][1] = all(0.0f);
    for (int k = 0; k < depth; k++) {
        Floats first = load(right + (int64_t)k * right_stride);
        Floats second = load(right + (int64_t)k * right_stride + WIDTH);
        for (int q = 0; q < QUERIES_AT_ONCE; q++) {
            Floats one = all(left[(int64_t)q * left_stride + k]);
            total[q][0] = multiply_add(one, first, total[q][0]);
            total[q][1] = multiply_add(one, second, total[q][1]);
        }
    }
    for (int q = 0; q < QUERIES_AT_ONCE; q++) {
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

/* Keys of a head as (size, width), and its values as (tokens, padded size): rows of the text are far apart, and would
 * share a few places of the cache. */
static inline void gather_head(const Heads *heads, int head, int width, float *keys_across, float *values)
{
    int size = heads->size;
    int value_stride = (size + PAIR - 1) / PAIR * PAIR;
    for (int token = 0; token < heads->tokens; token++) {
        const float *key = heads->key + (int64_t)token * heads->stride + head * size;
        const float *value = heads->value + (int64_t)token * heads->stride + head * size;
        for (int k = 0; k < size; k++)
            keys_across[(int64_t)k * width + token] = key[k];
        for (int k = 0; k < value_stride; k += WIDTH)
            store(values + (int64_t)token * value_stride + k, load(value + k));
    }
}

/* Attention of all heads.
 *
 * keys_across, values: room for a head's keys and values, each (padded size, padded tokens).
 * scores: room for (QUERIES_AT_ONCE, padded tokens).
 * out: (queries, out_stride): PAIR - 1 floats behind the last head may be overwritten. */
static void attend(const Heads *heads, float *keys_across, float *values, float *scores, float *out, int out_stride)
{
    int width = (heads->tokens + PAIR - 1) / PAIR * PAIR;
    int value_stride = (heads->size + PAIR - 1) / PAIR * PAIR;
    for (int head = 0; head < heads->count; head++) {
        gather_head(heads, head, width, keys_across, values);
        for (int first = 0; first < heads->queries; first += QUERIES_AT_ONCE) {
            const float *block = heads->query + (int64_t)first * heads->query_stride + head * heads->size;
            for (int column = 0; column < width; column += PAIR)
                small_product(block, heads->query_stride, keys_across + column, width, heads->size, scores + column, width);
            int left = heads->queries - first;
            int count = left < QUERIES_AT_ONCE ? left : QUERIES_AT_ONCE;
            float shares[QUERIES_AT_ONCE];
            for (int q = 0; q < count; q++)
                shares[q] = softmax(scores + q * width, heads->tokens, width, heads->scale);
            for (int column = 0; column < heads->size; column += PAIR) {
                float sums[QUERIES_AT_ONCE * PAIR];
                small_product(scores, width, values + column, value_stride, heads->tokens, sums, PAIR);
                for (int q = 0; q < count; q++) {
                    float *to = out + (int64_t)(first + q) * out_stride + head * heads->size + column;
                    Floats share = all(shares[q]);
                    store(to, multiply(load(sums + q * PAIR), share));
                    store(to + WIDTH, multiply(load(sums + q * PAIR + WIDTH), share));
                }
            }
        }
    }
}

#endif

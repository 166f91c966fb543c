/* The encoder of a BERT-like model in dynamic INT8, on one thread.
 *
 * It computes what `model_quantized.onnx` says (DynamicQuantizeLinear, MatMulInteger, GELU, LayerNormalization), but goes
 * over memory less often: sums become floats, get their bias, GELU or residual and their range while they are in the
 * cache. Several texts are run one behind the other, without padding, so that weights are read once for all of them;
 * each keeps scales of its own, so that no answer depends on its neighbours.
 * `setup.py` compiles this file for several CPUs; `library.py` loads the one that fits.
 *
 * Rows of floats are padded with zeros to a multiple of COLUMN_STEP, so that no loop has to know where a row ends. */

#define _GNU_SOURCE
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attention.h"
#include "matmul.h"
#include "vector.h"

enum { MAX_TABLES = 4, MAX_TEXTS = 64, PAGE = 1 << 21 };

typedef struct {
    int depth, columns;
    int8_t *weights;
    int32_t *sums;
    float *scales, *bias;
    /* (depth): by what the input is multiplied before it becomes bytes; (columns): by what the result is; NULL: nothing. */
    float *smoothing, *result_smoothing;
} Linear;

typedef struct {
    float *weight, *bias;
} Norm;

typedef struct {
    /* Of all tokens: query, key and value side by side; or key and value, where `query` is of the first token only. */
    Linear joined, query;
    Linear output, inner, outer;
    Norm attention_norm, output_norm;
} Layer;

/* Rows that are added up to a token's embedding. */
typedef struct {
    const int8_t *bytes;
    const float *scales, *floats;
    enum RowOf { TOKEN, POSITION, TYPE, CONSTANT } row_of;
    int offset, rows;
} Table;

typedef struct {
    int layers, hidden, head_size;
    /* Of the layer where they are most: what all heads are wide together, and feed-forward neurons. */
    int widest_heads, widest_inner;
    float epsilon, attention_scale;
    Table tables[MAX_TABLES];
    int table_count;
    Norm embedding_norm;
    Layer *layer;
    /* All packed weights, one behind the other in the order of their use: few large pages, read from end to end. */
    int8_t *weights, *free_weights;
} Encoder;

/* Of the values of one text; it includes 0, as DynamicQuantizeLinear wants it. */
typedef struct {
    Floats low, high;
} Range;

/* What one run works with: texts whose rows lie one behind the other. */
typedef struct {
    int texts;
    /* (texts + 1): where each text begins, and the end of the last. */
    int first[MAX_TEXTS + 1];
    Range range[MAX_TEXTS];
    float scale[MAX_TEXTS];
    int32_t zero_point[MAX_TEXTS];
} Batch;

typedef struct {
    float *hidden, *middle, *joined, *query, *context, *wide;
    Room room;
    /* (texts, columns): of the product at hand. */
    float *column_scales;
    int32_t *corrections;
    uint8_t *bytes;
    Batch all, first_tokens;
} Workspace;

enum After { NOTHING, ADD_RESIDUAL, APPLY_GELU };

/* ---- memory ---- */

/* Zeros; on pages of 2 MB where it is worth it and the system has them. */
static void *zeros(size_t bytes)
{
    size_t step = bytes >= PAGE ? PAGE : 64;
    size_t size = (bytes + step - 1) / step * step;
    void *memory = aligned_alloc(step, size);
    if (!memory)
        return NULL;
    if (step == PAGE)
        madvise(memory, size, MADV_HUGEPAGE);
    return memset(memory, 0, size);
}

static float *padded_copy(const float *values, int count)
{
    float *copy = zeros(sizeof(float) * padded(count, COLUMN_STEP));
    if (copy && values)
        memcpy(copy, values, sizeof(float) * count);
    return copy;
}

/* ---- the steps of a layer ---- */

static inline Range empty_range(void) { return (Range){all(0.0f), all(0.0f)}; }

static inline void widen(Range *range, Floats x)
{
    range->low = smaller(range->low, x);
    range->high = larger(range->high, x);
}

static inline Floats smooth(Floats x, const float *smoothing, int column)
{
    return smoothing ? multiply(x, load(smoothing + column)) : x;
}

/* The range of each text's rows, multiplied by `smoothing` if there is one. */
static void find_ranges(Batch *batch, const float *rows, int stride, int width, const float *smoothing)
{
    for (int text = 0; text < batch->texts; text++) {
        Range range = empty_range();
        for (int row = batch->first[text]; row < batch->first[text + 1]; row++)
            for (int column = 0; column < width; column += WIDTH)
                widen(&range, smooth(load(rows + (int64_t)row * stride + column), smoothing, column));
        batch->range[text] = range;
    }
}

/* DynamicQuantizeLinear of ONNX, for each text: rows of floats become bytes (rows, width). The batch has the ranges of the
 * rows, multiplied by `smoothing` if there is one. */
static inline __attribute__((always_inline)) void quantise_smoothed(Batch *batch, const float *rows, int stride, int width,
                                                                    const float *smoothing, uint8_t *bytes)
{
    for (int text = 0; text < batch->texts; text++) {
        float low = smallest_of(batch->range[text].low);
        float high = largest_of(batch->range[text].high);
        float scale = (high - low) / 255.0f;
        /* No range, or one too small to divide by. */
        if (scale < FLT_MIN)
            scale = 1.0f;
        int32_t zero_point = (int32_t)__builtin_rintf(-low / scale);
        batch->scale[text] = scale;
        batch->zero_point[text] = zero_point;
        Floats factor = all(1.0f / scale);
        Ints zero = all_ints(zero_point);
        for (int row = batch->first[text]; row < batch->first[text + 1]; row++) {
            const float *from = rows + (int64_t)row * stride;
            uint8_t *to = bytes + (int64_t)row * width;
            for (int column = 0; column < width; column += WIDTH) {
                Floats x = smooth(load(from + column), smoothing, column);
                store_bytes(to + column, add_ints(to_nearest(multiply(x, factor)), zero));
            }
        }
    }
}

static void quantise(Batch *batch, const float *rows, int stride, int width, const float *smoothing, uint8_t *bytes)
{
    if (smoothing)
        quantise_smoothed(batch, rows, stride, width, smoothing, bytes);
    else
        quantise_smoothed(batch, rows, stride, width, NULL, bytes);
}

/* For each text: by what its sums are multiplied, and what its zero point adds to them. */
static void prepare_columns(const Linear *linear, const Batch *batch, Workspace *space)
{
    int columns = padded(linear->columns, COLUMN_STEP);
    for (int text = 0; text < batch->texts; text++) {
        float *scales = space->column_scales + (int64_t)text * columns;
        int32_t *corrections = space->corrections + (int64_t)text * columns;
        for (int column = 0; column < columns; column++) {
            scales[column] = batch->scale[text] * linear->scales[column];
            corrections[column] = batch->zero_point[text] * linear->sums[column];
        }
    }
}

/* Turn the sums of a block into floats: scaled, with their bias, and what comes after.
 *
 * sums: of `rows` rows of one text, the first of which is `row`.
 * scales, corrections: of that text, from the block's first column on. */
static inline __attribute__((always_inline)) void
finish(const Linear *linear, const float *scales, const int32_t *corrections, const int32_t *sums, int row, int rows,
       int column, enum After after, const float *residual, float *out, Range *range)
{
    int stride = padded(linear->columns, COLUMN_STEP);
    const float *smoothing = linear->result_smoothing;
    Range seen = *range;
    for (int part = 0; part < COLUMNS_AT_ONCE; part += WIDTH) {
        Floats scale = load(scales + part);
        Ints correction = load_ints(corrections + part);
        Floats bias = load(linear->bias + column + part);
        for (int r = 0; r < rows; r++) {
            Ints sum = subtract_ints(load_ints(sums + r * COLUMNS_AT_ONCE + part), correction);
            Floats x = multiply_add(to_floats(sum), scale, bias);
            int64_t place = (int64_t)(row + r) * stride + column + part;
            if (after == ADD_RESIDUAL)
                x = add(x, load(residual + place));
            if (after == APPLY_GELU) {
                x = smooth(gelu(x), smoothing, column + part);
                widen(&seen, x);
            }
            store(out + place, x);
        }
    }
    *range = seen;
}

/* The product of all rows, block by block; a block may hold the end of a text and the beginning of the next ones. */
static inline __attribute__((always_inline)) void
multiply_all(const Linear *linear, Batch *batch, Workspace *space, enum After after, const float *residual, float *out)
{
    int depth = padded(linear->depth, DEPTH_STEP);
    int columns = padded(linear->columns, COLUMN_STEP);
    int count = batch->first[batch->texts];
    int32_t sums[ROWS_AT_ONCE * COLUMNS_AT_ONCE] __attribute__((aligned(64)));
    for (int column = 0; column < columns; column += COLUMNS_AT_ONCE) {
        const int8_t *weights = linear->weights + (int64_t)column * depth;
        int text = 0;
        for (int row = 0; row < count; row += ROWS_AT_ONCE) {
            int end = row + ROWS_AT_ONCE < count ? row + ROWS_AT_ONCE : count;
            product(space->bytes + (int64_t)row * depth, linear->depth, depth, weights, end - row, sums);
            for (int from = row; from < end;) {
                int to = batch->first[text + 1] < end ? batch->first[text + 1] : end;
                int64_t place = (int64_t)text * columns + column;
                finish(linear, space->column_scales + place, space->corrections + place,
                       sums + (from - row) * COLUMNS_AT_ONCE, from, to - from, column, after, residual, out,
                       &batch->range[text]);
                text += to == batch->first[text + 1];
                from = to;
            }
        }
    }
}

/* Multiply rows of floats by 8-bit weights: quantise each text with the scale of its own range first.
 *
 * The batch has the ranges of the rows, smoothed as the weights want it; after APPLY_GELU it has those of the result. */
static void apply(const Linear *linear, Batch *batch, Workspace *space, const float *rows, int stride, enum After after,
                  const float *residual, float *out)
{
    int depth = padded(linear->depth, DEPTH_STEP);
    quantise(batch, rows, stride, depth, linear->smoothing, space->bytes);
    prepare_columns(linear, batch, space);
    switch (after) {
    case ADD_RESIDUAL:
        multiply_all(linear, batch, space, ADD_RESIDUAL, residual, out);
        break;
    case APPLY_GELU:
        for (int text = 0; text < batch->texts; text++)
            batch->range[text] = empty_range();
        multiply_all(linear, batch, space, APPLY_GELU, NULL, out);
        break;
    default:
        multiply_all(linear, batch, space, NOTHING, NULL, out);
    }
}

/* LayerNormalization of a row in place; `range` gets that of the result, multiplied by `smoothing` if there is one. */
static inline __attribute__((always_inline)) void normalise_row(const Norm *norm, float *values, int width, float epsilon,
                                                                const float *smoothing, Range *range)
{
    int stride = padded(width, COLUMN_STEP);
    const float *weight = norm->weight, *bias = norm->bias;
    Range seen = *range;
    /* Rows end at a multiple of COLUMN_STEP; sums that do not wait for each other are taken side by side. */
    Floats sums = all(0.0f), more_sums = all(0.0f);
    for (int column = 0; column < stride; column += PAIR) {
        sums = add(sums, load(values + column));
        more_sums = add(more_sums, load(values + column + WIDTH));
    }
    float mean = sum_of(add(sums, more_sums)) / width;
    Floats squares = all(0.0f), more_squares = all(0.0f);
    for (int column = 0; column < stride; column += PAIR) {
        Floats difference = subtract(load(values + column), all(mean));
        squares = multiply_add(difference, difference, squares);
        difference = subtract(load(values + column + WIDTH), all(mean));
        more_squares = multiply_add(difference, difference, more_squares);
    }
    squares = add(squares, more_squares);
    /* The zeros behind the row were counted, too. */
    float variance = (sum_of(squares) - mean * mean * (stride - width)) / width;
    Floats factor = all(1.0f / __builtin_sqrtf(variance + epsilon));
    for (int column = 0; column < stride; column += WIDTH) {
        Floats x = multiply(subtract(load(values + column), all(mean)), factor);
        x = multiply_add(x, load(weight + column), load(bias + column));
        store(values + column, x);
        widen(&seen, smooth(x, smoothing, column));
    }
    *range = seen;
}

/* LayerNormalization of all rows in place; the batch gets the ranges of the result as the next weights want it: multiplied
 * by `smoothing`, if there is one. */
static void normalise(const Norm *norm, Batch *batch, float *rows, int width, float epsilon, const float *smoothing)
{
    int stride = padded(width, COLUMN_STEP);
    for (int text = 0; text < batch->texts; text++) {
        Range range = empty_range();
        for (int row = batch->first[text]; row < batch->first[text + 1]; row++)
            normalise_row(norm, rows + (int64_t)row * stride, width, epsilon, smoothing, &range);
        batch->range[text] = range;
    }
}

static int64_t row_of(const Table *table, int64_t id, int64_t type, int position)
{
    switch (table->row_of) {
    case TOKEN:
        return id;
    case POSITION:
        return position + table->offset;
    case TYPE:
        return type;
    default:
        return 0;
    }
}

static void add_row(const Table *table, int64_t row, int width, float *out)
{
    int column = 0;
    if (table->floats) {
        const float *values = table->floats + row * width;
        for (; column + WIDTH <= width; column += WIDTH)
            store(out + column, add(load(out + column), load(values + column)));
        for (; column < width; column++)
            out[column] += values[column];
        return;
    }
    const int8_t *values = table->bytes + row * width;
    float scale = table->scales[row];
    for (; column + WIDTH <= width; column += WIDTH)
        store(out + column, multiply_add(load_bytes(values + column), all(scale), load(out + column)));
    for (; column < width; column++)
        out[column] += values[column] * scale;
}

/* Returns 0 for a row that a table does not have. */
static int embed(const Encoder *encoder, const Batch *batch, const int64_t *ids, const int64_t *types, float *out)
{
    int stride = padded(encoder->hidden, COLUMN_STEP);
    memset(out, 0, sizeof(float) * batch->first[batch->texts] * stride);
    for (int text = 0; text < batch->texts; text++) {
        for (int token = batch->first[text]; token < batch->first[text + 1]; token++) {
            int position = token - batch->first[text];
            for (int number = 0; number < encoder->table_count; number++) {
                const Table *table = encoder->tables + number;
                int64_t row = row_of(table, ids[token], types[token], position);
                if (row < 0 || row >= table->rows)
                    return 0;
                add_row(table, row, encoder->hidden, out + (int64_t)token * stride);
            }
        }
    }
    return 1;
}

/* The attention of each text, into `context`: of all its tokens, or of the first where the layer has a query of its own. */
static void attend_all(const Encoder *encoder, const Layer *layer, Workspace *space)
{
    const Batch *batch = &space->all;
    /* Of all heads side by side. */
    int width = layer->output.depth;
    int out_stride = padded(width, COLUMN_STEP) + PAIR;
    int stride = padded(layer->joined.columns, COLUMN_STEP);
    int is_first_only = layer->query.weights != NULL;
    for (int text = 0; text < batch->texts; text++) {
        int first = batch->first[text];
        int tokens = batch->first[text + 1] - first;
        int queries = is_first_only ? 1 : tokens;
        const float *joined = space->joined + (int64_t)first * stride;
        float *out = space->context + (int64_t)(is_first_only ? text : first) * out_stride;
        Heads heads = {.query = joined, .key = joined + width, .value = joined + 2 * width, .query_stride = stride,
                       .stride = stride, .tokens = tokens, .queries = queries, .count = width / encoder->head_size,
                       .size = encoder->head_size, .scale = encoder->attention_scale};
        if (is_first_only) {
            heads.query_stride = padded(width, COLUMN_STEP);
            heads.query = space->query + (int64_t)text * heads.query_stride;
            heads.key = joined;
            heads.value = joined + width;
        }
        attend(&heads, &space->room, out, out_stride);
        for (int row = 0; row < queries; row++)
            memset(out + (int64_t)row * out_stride + width, 0, sizeof(float) * (out_stride - width));
    }
}

/* Move the first token's row of each text to the front. */
static void keep_first_tokens(const Batch *batch, float *rows, int stride)
{
    for (int text = 1; text < batch->texts; text++)
        memcpy(rows + (int64_t)text * stride, rows + (int64_t)batch->first[text] * stride, sizeof(float) * stride);
}

/* By what the input of a layer is multiplied before it becomes bytes; NULL: nothing, or there is no such layer. */
static const float *input_smoothing(const Encoder *encoder, int number)
{
    return number < encoder->layers ? encoder->layer[number].joined.smoothing : NULL;
}

static void run_layer(const Encoder *encoder, int number, Workspace *space)
{
    const Layer *layer = encoder->layer + number;
    int width = padded(encoder->hidden, COLUMN_STEP);
    int context_width = padded(layer->output.depth, COLUMN_STEP);
    int context_stride = context_width + PAIR;
    Batch *batch = &space->all;
    apply(&layer->joined, batch, space, space->hidden, width, NOTHING, NULL, space->joined);
    if (layer->query.weights) {
        keep_first_tokens(batch, space->hidden, width);
        batch = &space->first_tokens;
        find_ranges(batch, space->hidden, width, width, layer->query.smoothing);
        apply(&layer->query, batch, space, space->hidden, width, NOTHING, NULL, space->query);
    }
    attend_all(encoder, layer, space);
    find_ranges(batch, space->context, context_stride, context_width, layer->output.smoothing);
    apply(&layer->output, batch, space, space->context, context_stride, ADD_RESIDUAL, space->hidden, space->middle);
    normalise(&layer->attention_norm, batch, space->middle, encoder->hidden, encoder->epsilon, layer->inner.smoothing);
    apply(&layer->inner, batch, space, space->middle, width, APPLY_GELU, NULL, space->wide);
    int inner_stride = padded(layer->inner.columns, COLUMN_STEP);
    apply(&layer->outer, batch, space, space->wide, inner_stride, ADD_RESIDUAL, space->middle, space->hidden);
    normalise(&layer->output_norm, batch, space->hidden, encoder->hidden, encoder->epsilon,
              input_smoothing(encoder, number + 1));
}

/* ---- what library.py calls ---- */

/* Ask the system for what the products need; 0 where it is granted. */
int encoder_prepare(void)
{
#ifdef __AMX_INT8__
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return (int)syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
#else
    return 0;
#endif
}

static Linear *linear_of(Encoder *encoder, int layer, int which)
{
    Layer *owner = encoder->layer + layer;
    Linear *all_of_them[] = {&owner->joined, &owner->query, &owner->output, &owner->inner, &owner->outer};
    return all_of_them[which];
}

void encoder_free(Encoder *encoder)
{
    for (int layer = 0; encoder->layer && layer < encoder->layers; layer++) {
        for (int which = 0; which < 5; which++) {
            Linear *linear = linear_of(encoder, layer, which);
            free(linear->sums);
            free(linear->scales);
            free(linear->bias);
            free(linear->smoothing);
            free(linear->result_smoothing);
        }
        Layer *owner = encoder->layer + layer;
        free(owner->attention_norm.weight);
        free(owner->attention_norm.bias);
        free(owner->output_norm.weight);
        free(owner->output_norm.bias);
    }
    free(encoder->embedding_norm.weight);
    free(encoder->embedding_norm.bias);
    free(encoder->weights);
    free(encoder->layer);
    free(encoder);
}

static size_t packed_bytes(int depth, int columns)
{
    return (size_t)padded(depth, DEPTH_STEP) * padded(columns, COLUMN_STEP);
}

/* What the weights of a layer take at most; `heads`: the width of all heads together. */
static size_t weight_bytes(int hidden, int heads, int inner)
{
    size_t attention = packed_bytes(hidden, 3 * heads) + packed_bytes(hidden, heads) + packed_bytes(heads, hidden);
    return attention + packed_bytes(hidden, inner) + packed_bytes(inner, hidden);
}

static inline int larger_of(int x, int y) { return x > y ? x : y; }

/* heads, inner: (layers) the width of a layer's heads together, a multiple of `head_size`, and its feed-forward neurons. */
Encoder *encoder_new(int layers, int hidden, int head_size, const int32_t *heads, const int32_t *inner, float epsilon,
                     float attention_scale)
{
    size_t bytes = 0;
    Encoder *encoder = calloc(1, sizeof(Encoder));
    if (!encoder)
        return NULL;
    encoder->layers = layers;
    encoder->hidden = hidden;
    encoder->head_size = head_size;
    encoder->epsilon = epsilon;
    encoder->attention_scale = attention_scale;
    encoder->layer = calloc(layers, sizeof(Layer));
    for (int layer = 0; layer < layers; layer++) {
        encoder->widest_heads = larger_of(encoder->widest_heads, heads[layer]);
        encoder->widest_inner = larger_of(encoder->widest_inner, inner[layer]);
        bytes += weight_bytes(hidden, heads[layer], inner[layer]);
    }
    encoder->weights = zeros(bytes);
    encoder->free_weights = encoder->weights;
    if (!encoder->layer || !encoder->weights) {
        encoder_free(encoder);
        return NULL;
    }
    return encoder;
}

/* Copy weights (depth, columns), scales and bias (columns) and smoothing (depth, or NULL); 0 if there is no memory. */
int encoder_set_linear(Encoder *encoder, int layer, int which, int depth, int columns, const int8_t *weights,
                       const float *scales, const float *bias, const float *smoothing)
{
    Linear *linear = linear_of(encoder, layer, which);
    linear->depth = depth;
    linear->columns = columns;
    int wide = padded(columns, COLUMN_STEP);
    linear->weights = encoder->free_weights;
    encoder->free_weights += packed_bytes(depth, columns);
    linear->sums = zeros(sizeof(int32_t) * wide);
    linear->scales = padded_copy(scales, columns);
    linear->bias = padded_copy(bias, columns);
    if (smoothing) {
        float *copy = padded_copy(smoothing, depth);
        if (!copy)
            return 0;
        Layer *owner = encoder->layer + layer;
        /* Nothing else reads what GELU gives, so that it is multiplied as soon as it is there. */
        if (linear == &owner->outer)
            owner->inner.result_smoothing = copy;
        else
            linear->smoothing = copy;
    }
    if (!linear->sums || !linear->scales || !linear->bias)
        return 0;
    pack_weights(weights, depth, columns, linear->weights, linear->sums);
    return 1;
}

/* Copy weight and bias (hidden) of a LayerNormalization; layer -1 is that of the embeddings. */
int encoder_set_norm(Encoder *encoder, int layer, int which, const float *weight, const float *bias)
{
    Norm *norm = &encoder->embedding_norm;
    if (layer >= 0)
        norm = which == 0 ? &encoder->layer[layer].attention_norm : &encoder->layer[layer].output_norm;
    norm->weight = padded_copy(weight, encoder->hidden);
    norm->bias = padded_copy(bias, encoder->hidden);
    return norm->weight && norm->bias;
}

/* Rows of `bytes` with a scale each, or of `floats`; they are not copied. */
void encoder_add_table(Encoder *encoder, int row_of, int offset, int rows, const int8_t *bytes, const float *scales,
                       const float *floats)
{
    if (encoder->table_count < MAX_TABLES)
        encoder->tables[encoder->table_count++] = (Table){bytes, scales, floats, row_of, offset, rows};
}

/* In whole cache lines of floats. */
static size_t padded_size(size_t size) { return (size + 15) / 16 * 16; }

void workspace_free(Workspace *space)
{
    free(space->hidden);
    free(space);
}

/* Room for texts of so many tokens together; NULL if there is none. */
Workspace *workspace_new(const Encoder *encoder, int tokens)
{
    /* Blocks read and multiply whole groups of rows: 48 is more than any group, and the rows are there. */
    size_t rows = tokens + 48;
    size_t texts = tokens < MAX_TEXTS ? tokens : MAX_TEXTS;
    size_t hidden = padded(encoder->hidden, COLUMN_STEP);
    size_t heads = padded(encoder->widest_heads, COLUMN_STEP);
    size_t joined = padded(3 * encoder->widest_heads, COLUMN_STEP);
    size_t inner = padded(encoder->widest_inner, COLUMN_STEP);
    size_t widest = larger_of(larger_of(inner, joined), hidden);
    size_t keys = padded(tokens, PAIR);
    size_t head = padded(encoder->head_size, PAIR);
    Workspace *space = zeros(sizeof(Workspace));
    if (!space)
        return NULL;
    struct {
        void *part;
        size_t size;
    } wanted[] = {
        {&space->hidden, rows * hidden},
        {&space->middle, rows * hidden},
        {&space->joined, rows * joined + PAIR},
        {&space->query, (texts + 48) * heads},
        {&space->context, rows * (heads + PAIR)},
        {&space->wide, rows * inner},
        {&space->room.keys_across, head * keys},
        {&space->room.values, head * keys},
        {&space->room.queries, head * (keys + QUERIES_AT_ONCE)},
        {&space->room.rows, head * keys},
        {&space->room.scores, QUERIES_AT_ONCE * keys},
        {&space->column_scales, texts * widest},
        {&space->corrections, texts * widest},
        {&space->bytes, rows * widest / sizeof(float)},
    };
    int count = sizeof(wanted) / sizeof(wanted[0]);
    size_t total = 0;
    for (int number = 0; number < count; number++)
        total += padded_size(wanted[number].size);
    float *memory = zeros(sizeof(float) * total);
    if (!memory) {
        free(space);
        return NULL;
    }
    for (int number = 0; number < count; number++) {
        *(float **)wanted[number].part = memory;
        memory += padded_size(wanted[number].size);
    }
    return space;
}

/* Encode texts.
 *
 * ids, types: the tokens of all texts, one behind the other, at most as many as the workspace has room for.
 * lengths: (texts), each at least 1; at most MAX_TEXTS texts.
 * out: gets the last hidden states (all tokens, hidden), or those of the first tokens (texts, hidden).
 * Returns 0, and nothing in `out`, for an id, a type or a length that the embeddings have no row for. */
int encoder_run(const Encoder *encoder, Workspace *space, const int64_t *ids, const int64_t *types, const int64_t *lengths,
                int texts, float *out)
{
    int hidden = encoder->hidden;
    int stride = padded(hidden, COLUMN_STEP);
    space->all.texts = space->first_tokens.texts = texts;
    space->all.first[0] = space->first_tokens.first[0] = 0;
    for (int text = 0; text < texts; text++) {
        space->all.first[text + 1] = space->all.first[text] + (int)lengths[text];
        space->first_tokens.first[text + 1] = text + 1;
    }
    if (!embed(encoder, &space->all, ids, types, space->hidden))
        return 0;
    begin_products();
    normalise(&encoder->embedding_norm, &space->all, space->hidden, hidden, encoder->epsilon, input_smoothing(encoder, 0));
    for (int layer = 0; layer < encoder->layers; layer++)
        run_layer(encoder, layer, space);
    end_products();
    int rows = encoder->layer[encoder->layers - 1].query.weights ? texts : space->all.first[texts];
    for (int row = 0; row < rows; row++)
        memcpy(out + (int64_t)row * hidden, space->hidden + (int64_t)row * stride, sizeof(float) * hidden);
    return 1;
}

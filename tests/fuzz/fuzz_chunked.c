/* Chunked bodies: read in one piece and in small ones, the data, the end and the refusal are the same. The first byte
 * of the input chooses the pieces. */
#include "http/chunked.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
    int result;
    size_t used;
    size_t data_len;
    uint64_t data_sum; /* depends on every byte and on their order */
};

static bool is_over(const struct outcome *outcome)
{
    return outcome->result < 0 || outcome->result == HTTP_CHUNKED_END;
}

static void feed(struct http_chunked *chunked, const char *in, size_t len, struct outcome *outcome)
{
    while (len > 0 && !is_over(outcome)) {
        size_t used;
        struct http_text data;
        outcome->result = http_chunked_next(chunked, in, len, &used, &data);
        MUST(used > 0 && used <= len);
        if (outcome->result == HTTP_CHUNKED_DATA) {
            MUST(data.len > 0 && data.data >= in && data.data + data.len == in + used);
            for (size_t i = 0; i < data.len; i++)
                outcome->data_sum = outcome->data_sum * 31 + (uint8_t)data.data[i];
            outcome->data_len += data.len;
        }
        outcome->used += used;
        in += used, len -= used;
    }
}

static struct outcome read_pieces(const uint8_t *data, size_t size, size_t step)
{
    struct http_chunked chunked = {0};
    struct outcome outcome = {0};
    for (size_t at = 0; at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        char *copy = fuzz_copy(data + at, len);
        feed(&chunked, copy, len, &outcome);
        free(copy);
    }
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct outcome whole = read_pieces(data + 1, size - 1, size - 1);
    struct outcome pieces = read_pieces(data + 1, size - 1, 1 + data[0] % 32);
    MUST(is_over(&whole) == is_over(&pieces));
    MUST(!is_over(&whole) || whole.result == pieces.result);
    MUST(whole.used == pieces.used && whole.data_len == pieces.data_len && whole.data_sum == pieces.data_sum);
    return 0;
}

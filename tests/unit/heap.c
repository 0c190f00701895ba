/* The heap of times against a plain array: the earliest comes first, equal times in the order of their sequence,
 * whatever is taken out in between, and whatever shape the heap has got from that. */
#include "base/heap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "random.h"

enum { COUNT = 2000 };

static proa_op ops[COUNT];
static bool held[COUNT];

static proa_op *earliest(void)
{
    proa_op *best = NULL;

    for (size_t i = 0; i < COUNT; i++) {
        proa_op *op = &ops[i];

        if (held[i] && (!best || op->timing.when_ns < best->timing.when_ns ||
                        (op->timing.when_ns == best->timing.when_ns && op->sequence < best->sequence)))
            best = op;
    }
    return best;
}

static void add(struct heap *heap, size_t index, uint64_t when_ns, uint32_t sequence)
{
    ops[index].timing.when_ns = when_ns;
    ops[index].sequence = sequence;
    heap_add(heap, &ops[index].timing);
    held[index] = true;
}

static void remove_one(struct heap *heap, size_t index)
{
    heap_remove(heap, &ops[index].timing);
    held[index] = false;
}

static void test_against_array(uint32_t spread, uint32_t add_share)
{
    struct heap heap = {NULL};
    uint32_t sequence = 0;
    unsigned wrong = 0;

    memset(ops, 0, sizeof(ops));
    memset(held, 0, sizeof(held));
    for (int step = 0; step < 20000; step++) {
        size_t index = random_below(COUNT);

        if (!held[index] && random_below(10) < add_share)
            add(&heap, index, random_below(spread), sequence++);
        else if (held[index])
            remove_one(&heap, index);
        else if (heap.root)
            remove_one(&heap, (size_t)(heap_op(heap.root) - ops));
        wrong += step % 16 == 0 && (heap.root ? heap_op(heap.root) : NULL) != earliest();
        wrong += heap_holds(&ops[index].timing) != held[index];
    }
    while (heap.root) {
        wrong += heap_op(heap.root) != earliest();
        remove_one(&heap, (size_t)(heap_op(heap.root) - ops));
    }
    CHECK(wrong == 0);
    CHECK(earliest() == NULL);
}

/* In order, in reverse, all the same: shapes of lists, which a recursive heap dies of. */
static void test_shapes(void)
{
    enum { MANY = 300000 };
    proa_op *many = calloc(MANY, sizeof(*many));

    for (int shape = 0; shape < 3; shape++) {
        struct heap heap = {NULL};
        uint64_t last = 0;
        unsigned wrong = 0;

        for (uint32_t i = 0; i < MANY; i++) {
            many[i].timing.when_ns = shape == 0 ? i : shape == 1 ? MANY - i : 7;
            many[i].sequence = i;
            heap_add(&heap, &many[i].timing);
        }
        for (uint32_t i = 0; i < MANY; i++) {
            uint64_t key = shape == 2 ? heap_op(heap.root)->sequence : heap.root->when_ns;

            wrong += key < last;
            last = key;
            heap_remove(&heap, heap.root);
        }
        CHECK(wrong == 0 && heap.root == NULL);
    }
    free(many);
}

/* The sequence is 32 bits and goes round: of two equal times the one that was started just before comes first. */
static void test_sequence_goes_round(void)
{
    struct heap heap = {NULL};

    memset(ops, 0, sizeof(ops));
    add(&heap, 0, 5, 3);
    add(&heap, 1, 5, UINT32_MAX - 1);
    add(&heap, 2, 5, UINT32_MAX);
    add(&heap, 3, 5, 0);
    for (size_t i = 0; i < 4; i++) {
        static const size_t order[] = {1, 2, 3, 0};

        CHECK(heap_op(heap.root) == &ops[order[i]]);
        heap_remove(&heap, heap.root);
    }
}

int main(void)
{
    test_against_array(1u << 31, 9);
    test_against_array(10, 9);
    test_against_array(1, 9);
    test_against_array(1000, 3);
    test_shapes();
    test_sequence_goes_round();
    return check_done("heap");
}

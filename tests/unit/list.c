/* The queue of ops against a plain array: appended at the end, taken from the front, taken out anywhere. */
#include "base/list.h"

#include <stdbool.h>
#include <string.h>

#include "../check.h"
#include "random.h"

enum { COUNT = 50 };

static proa_op ops[COUNT];
static size_t expected[COUNT], expected_count;
static struct op_list list;

static bool is_as_expected(void)
{
    const proa_op *op = list.first;

    size_t i = 0;

    for (; op && i < expected_count && op == &ops[expected[i]]; op = op->next)
        i++;
    return !op && i == expected_count;
}

static void forget(size_t at)
{
    memmove(&expected[at], &expected[at + 1], (--expected_count - at) * sizeof(expected[0]));
}

static void step(void)
{
    size_t index = random_below(COUNT), at = 0;

    while (at < expected_count && expected[at] != index)
        at++;
    if (at == expected_count) {
        list_append(&list, &ops[index]);
        expected[expected_count++] = index;
    } else if (random_below(3) == 0) {
        CHECK(list_take_first(&list) == &ops[expected[0]]);
        forget(0);
    } else {
        list_remove(&list, &ops[index]);
        forget(at);
    }
}

int main(void)
{
    unsigned wrong = 0;

    CHECK(list_take_first(&list) == NULL);
    for (int i = 0; i < 20000; i++) {
        step();
        wrong += !is_as_expected();
    }
    while (list_take_first(&list))
        continue;
    CHECK(wrong == 0);
    CHECK(list.first == NULL);
    list_append(&list, &ops[0]);
    CHECK(list.first == &ops[0] && list_take_first(&list) == &ops[0] && list.first == NULL);
    return check_done("list");
}

/* A queue of ops, linked through their own `next` and `previous`: appending and taking out anywhere is O(1), and an
 * op can be in one list at a time. The list points at its first op, whose `previous` is the last one; the last one's
 * `next` is null. */
#ifndef PROA_LIST_H
#define PROA_LIST_H

#include <proa/op.h>

#include "base/base.h"

struct op_list {
    proa_op *first;
};

static inline void list_append(struct op_list *list, proa_op *op)
{
    op->next = NULL;
    if (!list->first) {
        list->first = op->previous = op;
        return;
    }
    op->previous = list->first->previous;
    op->previous->next = op;
    list->first->previous = op;
}

static inline void list_remove(struct op_list *list, proa_op *op)
{
    if (op == list->first)
        list->first = op->next;
    else
        op->previous->next = op->next;
    if (op->next)
        op->next->previous = op->previous;
    else if (list->first)
        list->first->previous = op->previous;
}

static inline proa_op *list_take_first(struct op_list *list)
{
    proa_op *op = list->first;

    if (op)
        list_remove(list, op);
    return op;
}

#endif

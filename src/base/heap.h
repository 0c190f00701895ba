/* A pairing heap of points in time, linked through the ops themselves: nothing is ever allocated.
 *
 * Adding is O(1), the earliest is at hand at once, taking any one out is O(log n) amortised (Fredman et al., "The
 * pairing heap", 1986). Equal times come out in the order of their `sequence`. */
#ifndef PROA_HEAP_H
#define PROA_HEAP_H

#include <proa/op.h>

#include "base/base.h"

typedef struct proa_op_timing heap_node;

struct heap {
    heap_node *root;
};

static inline proa_op *heap_op(heap_node *node)
{
    return CONTAINER_OF(node, proa_op, timing);
}

/* A node that is in no heap has no way back; the root's way back leads to itself. */
static inline int heap_holds(const heap_node *node)
{
    return node->back != NULL;
}

void heap_add(struct heap *heap, heap_node *node);
void heap_remove(struct heap *heap, heap_node *node);

#endif

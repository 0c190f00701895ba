#include "base/heap.h"

/* `child` is the first child, `sibling` the next child of the same parent, `back` whoever points here. */

static int earlier(heap_node *a, heap_node *b)
{
    if (a->when_ns != b->when_ns)
        return a->when_ns < b->when_ns;
    return (int32_t)(heap_op(a)->sequence - heap_op(b)->sequence) < 0;
}

/* Makes the later of two roots the first child of the earlier. */
static heap_node *meld(heap_node *a, heap_node *b)
{
    if (earlier(b, a)) {
        heap_node *swap = a;

        a = b;
        b = swap;
    }
    b->sibling = a->child;
    if (b->sibling)
        b->sibling->back = b;
    b->back = a;
    a->child = b;
    return a;
}

/* Melds a list of siblings into one root: pairs from left to right, the pairs' roots from right to left. */
static heap_node *meld_siblings(heap_node *first)
{
    heap_node *pairs = NULL, *root = NULL;

    while (first) {
        heap_node *a = first, *b = a->sibling;

        first = b ? b->sibling : NULL;
        a->sibling = NULL;
        if (b) {
            b->sibling = NULL;
            a = meld(a, b);
        }
        a->sibling = pairs;
        pairs = a;
    }
    while (pairs) {
        heap_node *next = pairs->sibling;

        pairs->sibling = NULL;
        root = root ? meld(root, pairs) : pairs;
        pairs = next;
    }
    return root;
}

static void set_root(struct heap *heap, heap_node *root)
{
    heap->root = root;
    if (root)
        root->back = root;
}

void heap_add(struct heap *heap, heap_node *node)
{
    node->child = node->sibling = NULL;
    set_root(heap, heap->root ? meld(heap->root, node) : node);
}

void heap_remove(struct heap *heap, heap_node *node)
{
    heap_node *rest = meld_siblings(node->child);

    if (node == heap->root) {
        set_root(heap, rest);
    } else {
        if (node->back->child == node)
            node->back->child = node->sibling;
        else
            node->back->sibling = node->sibling;
        if (node->sibling)
            node->sibling->back = node->back;
        if (rest)
            set_root(heap, meld(heap->root, rest));
    }
    node->back = NULL;
}

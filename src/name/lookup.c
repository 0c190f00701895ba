/* proa_resolve(): both families' answers, in one order. */
#include <errno.h>

#include "name/name.h"

/* Takes the best one out each time; of equal ones the first. */
static unsigned sort(const struct proa_inquiry *inquiry, proa_address *ret_addresses)
{
    const struct found *rest[PROA_ADDRESSES_MAX];
    unsigned count = 0;

    for (const struct question *question = inquiry->questions; question < inquiry->questions + 2; question++)
        for (unsigned i = 0; i < question->count; i++)
            rest[count++] = &question->found[i];
    for (unsigned place = 0; place < count; place++) {
        unsigned best = 0;

        for (unsigned i = 1; i < count - place; i++)
            if (order_compare(rest[i], rest[best]) < 0)
                best = i;
        ret_addresses[place] = rest[best]->address;
        for (unsigned i = best; i + 1 < count - place; i++)
            rest[i] = rest[i + 1];
    }
    return count;
}

/* The resolver may be gone after it. */
static void end(proa_lookup *lookup, int64_t value)
{
    proa_resolver *resolver = lookup->inquirer.inquiry->resolver;

    inquiry_leave(&lookup->inquirer);
    proa_complete(&lookup->op, value);
    resolver_attend(resolver);
}

static void heard(struct proa_inquirer *inquirer)
{
    proa_lookup *lookup = proa_owner(inquirer, proa_lookup, inquirer);
    int64_t value = 0;

    if (!inquirer->inquiry->is_closed) {
        if (!inquiry_is_answered(inquirer->inquiry))
            return;
        value = sort(inquirer->inquiry, lookup->addresses);
    }
    if (value == 0)
        value = inquiry_error(inquirer->inquiry, &lookup->reason);
    end(lookup, value);
}

static void stop(proa_op *op)
{
    end(proa_owner(op, proa_lookup, op), -ECANCELED);
}

void proa_resolve(proa_resolver *resolver, proa_lookup *lookup, const char *name, proa_callback *callback)
{
    int error;

    proa_compose(resolver->loop, &lookup->op, stop, callback);
    lookup->reason = "it was ended early";
    lookup->inquirer.heard = heard;
    error = inquiry_begin(resolver, &lookup->inquirer, name, &lookup->reason);
    if (error)
        proa_complete(&lookup->op, error);
    else
        resolver_attend(resolver);
}

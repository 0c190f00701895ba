#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

void panic(const char *where, const char *what)
{
    fprintf(stderr, "proa: %s: %s\n", where, what);
    abort();
}

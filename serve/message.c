/* One write per message: lines of several workers do not mix. */
#include "serve/message.h"

#include <stdarg.h>
#include <stdio.h>

enum { MESSAGE_MAX = 1024 };

void message_error(const char *expected, const char *remedy, const char *what, ...)
{
    char text[MESSAGE_MAX];
    va_list arguments;

    va_start(arguments, what);
    vsnprintf(text, sizeof(text), what, arguments);
    va_end(arguments);
    fprintf(stderr, "proa serve: %s\n  expected: %s\n  now: %s\n", text, expected, remedy);
}

void message_note(const char *what, ...)
{
    char text[MESSAGE_MAX];
    va_list arguments;

    va_start(arguments, what);
    vsnprintf(text, sizeof(text), what, arguments);
    va_end(arguments);
    fprintf(stderr, "proa serve: %s\n", text);
}

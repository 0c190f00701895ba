/* Reason phrases, from the rows of status.h. */
#include "http/status.h"

struct http_text http_status_reason(unsigned code)
{
    switch (code) {
#define X(code, name, reason) \
    case code:                \
        return HTTP_TEXT(reason);
        HTTP_STATUS_LIST(X)
#undef X
    default:
        return HTTP_TEXT("Unknown");
    }
}

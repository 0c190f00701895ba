/* The steps of RFC 9110 13.2.2, in their order. Each field's own section says when it does not count; a tag that is not
 * one matches nothing. */
#include "http/conditions.h"

#include "http/date.h"
#include "http/etag.h"

typedef bool etag_equal(struct http_text a, struct http_text b);

/* "*" stands for any current representation, and only when it is the whole list (13.1.1, 13.1.2). */
static bool list_matches(struct http_list list, struct http_text etag, etag_equal *equal)
{
    struct http_text element;
    size_t elements = 0;
    bool star = false;
    while (http_list_next(&list, &element)) {
        elements++;
        if (http_text_equal(element, HTTP_TEXT("*")))
            star = true;
        else if (http_etag_is_valid(element) && equal(element, etag))
            return true;
    }
    return star && elements == 1;
}

static bool field_matches(const struct http_request *req, const char *head, enum http_field field,
                          const struct http_validators *current, etag_equal *equal)
{
    return list_matches(http_request_list(req, head, field), current->etag, equal);
}

/* False also when the field is missing or not a date: then it does not count (13.1.3, 13.1.4). */
static bool field_date(const struct http_request *req, const char *head, enum http_field field,
                       const struct http_validators *current, int64_t *ret_time_s)
{
    return http_request_has(req, field) &&
           http_date_parse(http_request_field(req, head, field), current->now_s, ret_time_s);
}

static bool is_get_or_head(const struct http_request *req)
{
    return req->method == HTTP_METHOD_GET || req->method == HTTP_METHOD_HEAD;
}

/* Steps 1 and 2: is the representation still the one the client wants to act on? */
static int check_unchanged(const struct http_request *req, const char *head, const struct http_validators *current)
{
    int64_t since_s;
    if (http_request_has(req, HTTP_FIELD_IF_MATCH)) {
        bool matches = field_matches(req, head, HTTP_FIELD_IF_MATCH, current, http_etag_equal_strong);
        return matches ? 0 : HTTP_PRECONDITION_FAILED;
    }
    if (field_date(req, head, HTTP_FIELD_IF_UNMODIFIED_SINCE, current, &since_s))
        return current->mtime_s <= since_s ? 0 : HTTP_PRECONDITION_FAILED;
    return 0;
}

/* Steps 3 and 4: is it one the client does not have yet? */
static int check_changed(const struct http_request *req, const char *head, const struct http_validators *current)
{
    int64_t since_s;
    if (http_request_has(req, HTTP_FIELD_IF_NONE_MATCH)) {
        if (!field_matches(req, head, HTTP_FIELD_IF_NONE_MATCH, current, http_etag_equal_weak))
            return 0;
        return is_get_or_head(req) ? HTTP_NOT_MODIFIED : HTTP_PRECONDITION_FAILED;
    }
    if (is_get_or_head(req) && field_date(req, head, HTTP_FIELD_IF_MODIFIED_SINCE, current, &since_s))
        return current->mtime_s <= since_s ? HTTP_NOT_MODIFIED : 0;
    return 0;
}

int http_conditions_check(const struct http_request *req, const char *head, const struct http_validators *current)
{
    /* 13.2.1: methods that do not select a representation ignore all conditions */
    if (req->method == HTTP_METHOD_OPTIONS || req->method == HTTP_METHOD_TRACE || req->method == HTTP_METHOD_CONNECT)
        return 0;
    int status = check_unchanged(req, head, current);
    return status ? status : check_changed(req, head, current);
}

/* 8.8.2.2: a date is a strong validator for the server that knows the file did not change twice in that second: it
 * could not have, unseen, once the second is over. */
static bool date_is_current(struct http_text value, const struct http_validators *current)
{
    int64_t time_s;
    return http_date_parse(value, current->now_s, &time_s) && time_s == current->mtime_s &&
           current->now_s > current->mtime_s;
}

bool http_range_applies(const struct http_request *req, const char *head, const struct http_validators *current)
{
    if (req->method != HTTP_METHOD_GET || !http_request_has(req, HTTP_FIELD_RANGE))
        return false;
    if (!http_request_has(req, HTTP_FIELD_IF_RANGE))
        return true;
    struct http_text value = http_request_field(req, head, HTTP_FIELD_IF_RANGE);
    if (http_etag_is_valid(value))
        return http_etag_equal_strong(value, current->etag);
    return date_is_current(value, current);
}

/* The parser reads a line in one pass, left to right, many bytes at a step (http/scan.h). A line that is not there
 * yet is only searched for its LF from then on, and read again from its start when that has come: every byte is
 * looked at three times at most, whatever the pieces.
 *
 * Functions that read a line take a `struct view` that ends where the bytes or the limits end, and never look past its
 * first LF. They return the bytes of the line with its CRLF; otherwise 0 or a negative status: a refusal, that counts
 * if the LF is in the view, and else says nothing (stop_at_line). */
#include "http/request.h"

#include <string.h>

#include "http/authority.h"
#include "http/byte.h"
#include "http/scan.h"

struct view {
    const char *head; /* slices count from here */
    const char *at;   /* the line */
    const char *end;
    bool full; /* the limits end it, not the bytes */
};

static const struct http_text methods[] = {{"", 0},
#define X(name) {#name, sizeof(#name) - 1},
                                           HTTP_METHOD_LIST(X)
#undef X
};

static inline struct http_slice slice_of(struct view view, const char *from, const char *to)
{
    return (struct http_slice){(uint16_t)(from - view.head), (uint16_t)(to - from)};
}

static inline struct http_text text_of(const char *from, const char *to)
{
    return (struct http_text){from, (size_t)(to - from)};
}

/* OWS, RFC 9110 5.6.3. */
static inline bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

static inline const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

/* Bytes from the start of the line to behind the CRLF that must stand at `at`. */
static inline int line_end(struct view view, const char *at)
{
    if (view.end - at >= 2)
        return memcmp(at, "\r\n", 2) == 0 ? (int)(at + 2 - view.at) : -HTTP_BAD_REQUEST;
    return at == view.end || *at == '\r' ? 0 : -HTTP_BAD_REQUEST;
}

static enum http_method method_of(const char *at, size_t len)
{
#define X(name)                                                                \
    if (len == sizeof(#name) - 1 && memcmp(at, #name, sizeof(#name) - 1) == 0) \
        return HTTP_METHOD_##name;
    HTTP_METHOD_LIST(X)
#undef X
    return HTTP_METHOD_UNKNOWN;
}

/* RFC 9112 2.3: "HTTP/" DIGIT "." DIGIT, in exactly this case. Sets the minor version. */
static int read_version(struct http_request *req, const char *at)
{
    if (memcmp(at, "HTTP/1.1", 8) == 0) {
        req->minor = 1;
        return 0;
    }
    if (memcmp(at, "HTTP/", 5) != 0 || !http_byte_is_digit(at[5]) || at[6] != '.' || !http_byte_is_digit(at[7]))
        return -HTTP_BAD_REQUEST;
    req->minor = at[7] != '0';
    return at[5] == '1' ? 0 : -HTTP_VERSION_NOT_SUPPORTED;
}

/* A target: [at, query) is what comes before the query, [query, end) the query with its '?', if there is one. */
struct target {
    const char *at;
    const char *query;
    const char *end;
};

static void keep_resource(struct http_request *req, struct view view, const struct target *target, const char *path)
{
    req->path = slice_of(view, path, target->query);
    if (target->query < target->end)
        req->query = slice_of(view, target->query + 1, target->end);
}

static int read_absolute_form(struct http_request *req, struct view view, const struct target *target)
{
    struct http_text scheme = HTTP_TEXT("http://");
    struct http_text rest = text_of(target->at, target->query);
    if (rest.len < scheme.len || !http_text_equal_nocase((struct http_text){rest.data, scheme.len}, scheme))
        return -HTTP_BAD_REQUEST;
    const char *authority = target->at + scheme.len;
    const char *path = http_authority_skip(authority, target->query, HTTP_PORT_OPTIONAL);
    if (!path || (path < target->query && *path != '/'))
        return -HTTP_BAD_REQUEST;
    req->form = HTTP_TARGET_ABSOLUTE;
    req->authority = slice_of(view, authority, path);
    keep_resource(req, view, target, path);
    return 0;
}

/* RFC 9112 3.2: which form is allowed depends on the method. */
static int read_target(struct http_request *req, struct view view, const struct target *target)
{
    if (req->method == HTTP_METHOD_CONNECT) {
        req->form = HTTP_TARGET_AUTHORITY;
        req->authority = slice_of(view, target->at, target->end);
        const char *end = http_authority_skip(target->at, target->end, HTTP_PORT_REQUIRED);
        return end == target->end ? 0 : -HTTP_BAD_REQUEST;
    }
    if (*target->at == '/') {
        req->form = HTTP_TARGET_ORIGIN;
        keep_resource(req, view, target, target->at);
        return 0;
    }
    if (*target->at == '*' && target->end - target->at == 1) {
        req->form = HTTP_TARGET_ASTERISK;
        return req->method == HTTP_METHOD_OPTIONS ? 0 : -HTTP_BAD_REQUEST;
    }
    return read_absolute_form(req, view, target);
}

static struct target scan_target(const char *at, const char *end)
{
    struct target target = {.at = at, .query = http_scan_resource(at, end)};
    bool has_query = target.query < end && *target.query == '?';
    target.end = has_query ? http_scan_target(target.query, end) : target.query;
    return target;
}

/* RFC 9112 3: method SP request-target SP HTTP-version. What is malformed is 400 before anything is unsupported; a
 * refusal only counts when the line is all there. */
static int read_request_line(struct http_request *req, struct view view)
{
    enum { VERSION_LEN = 8 };
    const char *method_end = http_scan_token(view.at, view.end);
    if (method_end == view.end || *method_end != ' ' || method_end == view.at)
        return -HTTP_BAD_REQUEST;
    struct target target = scan_target(method_end + 1, view.end);
    if (target.end == view.end || *target.end != ' ' || target.end == target.at)
        return -HTTP_BAD_REQUEST;
    const char *version = target.end + 1;
    if (view.end - version < VERSION_LEN + 2)
        return -HTTP_BAD_REQUEST;
    int supported = read_version(req, version);
    int used = line_end(view, version + VERSION_LEN);
    if (used < 0 || supported == -HTTP_BAD_REQUEST)
        return -HTTP_BAD_REQUEST;

    req->line = slice_of(view, view.at, version + VERSION_LEN);
    req->target = slice_of(view, target.at, target.end);
    req->method = (uint8_t)method_of(view.at, (size_t)(method_end - view.at));
    if (supported < 0)
        return supported;
    if (req->method == HTTP_METHOD_UNKNOWN)
        return -HTTP_NOT_IMPLEMENTED;
    int refused = read_target(req, view, &target);
    return refused < 0 ? refused : used;
}

/* One empty line in front of the request line is passed over (RFC 9112 2.2); a second one is not. */
static int read_start(struct http_request *req, struct view view)
{
    if (view.at == view.end)
        return 0;
    if (view.at == view.head && *view.at == '\r')
        return line_end(view, view.at);
    int used = read_request_line(req, view);
    if (used > 0)
        req->stage = HTTP_STAGE_FIELDS;
    return used;
}

static inline int keep_field(struct http_request *req, enum http_field field, struct http_slice value)
{
    uint32_t bit = UINT32_C(1) << field;
    if (req->seen & bit) {
        req->repeated |= bit;
        return http_field_rows[field].repeat == HTTP_FIELD_ONE ? -HTTP_BAD_REQUEST : 0;
    }
    req->seen |= bit;
    req->fields[field] = value;
    return 0;
}

/* RFC 9112 5: name ":" OWS value OWS. No space before the colon (5.1) and no folding (5.2) come for free: a space is
 * not a token byte. */
static inline int read_field(struct http_request *req, struct view view)
{
    const char *colon = http_scan_token(view.at, view.end);
    if (colon == view.end)
        return 0;
    if (*colon != ':' || colon == view.at)
        return -HTTP_BAD_REQUEST;
    const char *value = skip_space(colon + 1, view.end);
    const char *value_end = http_scan_text(value, view.end);
    int used = line_end(view, value_end);
    if (used <= 0)
        return used;
    enum http_field field = http_field_find(text_of(view.at, colon));
    if (field == HTTP_FIELD_OTHER)
        return used;
    while (value_end > value && is_space(value_end[-1]))
        value_end--;
    int refused = keep_field(req, field, slice_of(view, value, value_end));
    return refused < 0 ? refused : used;
}

/* A field line, or the empty line behind the last. */
static inline int read_field_line(struct http_request *req, struct view view, const struct http_limits *limits)
{
    if (view.at == view.end || *view.at != '\r') {
        int used = read_field(req, view);
        return used > 0 && ++req->fields_n > limits->fields_max ? -HTTP_FIELDS_TOO_LARGE : used;
    }
    int used = line_end(view, view.at);
    if (used > 0)
        req->stage = HTTP_STAGE_DONE;
    return used;
}

/* RFC 9112 3.2: exactly one Host with HTTP/1.1, none or one with 1.0; that it is not repeated is known already. */
static int check_host(struct http_request *req, const char *head)
{
    if (!http_request_has(req, HTTP_FIELD_HOST))
        return req->minor == 0 ? 0 : -HTTP_BAD_REQUEST;
    struct http_slice host = req->fields[HTTP_FIELD_HOST];
    const char *start = head + host.at;
    if (http_authority_skip(start, head + req->line_at, HTTP_PORT_OPTIONAL) != start + host.len)
        return -HTTP_BAD_REQUEST;
    if (req->authority.len == 0) /* the authority of the target wins, RFC 9112 3.2.2 */
        req->authority = host;
    return 0;
}

static int read_content_length(struct http_request *req, const char *head)
{
    struct http_text value = http_request_field(req, head, HTTP_FIELD_CONTENT_LENGTH);
    if (!http_text_number(value, &req->content_length))
        return -HTTP_BAD_REQUEST;
    if (req->content_length > INT64_MAX)
        return -HTTP_CONTENT_TOO_LARGE;
    req->body = req->content_length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    return 0;
}

/* RFC 9112 6.1: with HTTP/1.0 or beside a Content-Length, Transfer-Encoding is an attempt at smuggling or a fault; a
 * coding other than chunked is one we do not have. */
static int read_transfer_encoding(struct http_request *req, const char *head)
{
    if (req->minor == 0 || http_request_has(req, HTTP_FIELD_CONTENT_LENGTH))
        return -HTTP_BAD_REQUEST;
    struct http_text value = http_request_field(req, head, HTTP_FIELD_TRANSFER_ENCODING);
    if (!http_text_equal_nocase(value, HTTP_TEXT("chunked")))
        return -HTTP_NOT_IMPLEMENTED;
    req->body = HTTP_BODY_CHUNKED;
    return 0;
}

static int read_framing(struct http_request *req, const char *head)
{
    if (http_request_has(req, HTTP_FIELD_TRANSFER_ENCODING))
        return read_transfer_encoding(req, head);
    if (http_request_has(req, HTTP_FIELD_CONTENT_LENGTH))
        return read_content_length(req, head);
    return 0;
}

static bool list_has(struct http_list list, struct http_text token)
{
    struct http_text element;
    while (http_list_next(&list, &element)) {
        if (http_text_equal_nocase(element, token))
            return true;
    }
    return false;
}

/* RFC 9112 9.3: close wins; 1.1 persists, 1.0 only when asked to. */
static bool is_persistent(const struct http_request *req, const char *head)
{
    if (!http_request_has(req, HTTP_FIELD_CONNECTION))
        return req->minor > 0;
    struct http_list connection = http_request_list(req, head, HTTP_FIELD_CONNECTION);
    if (list_has(connection, HTTP_TEXT("close")))
        return false;
    return req->minor > 0 || list_has(connection, HTTP_TEXT("keep-alive"));
}

/* The head is complete: what its fields mean together. */
static int finish(struct http_request *req, const char *head)
{
    int refused = check_host(req, head);
    if (refused == 0)
        refused = read_framing(req, head);
    if (refused < 0)
        return refused;
    req->keep_alive = is_persistent(req, head);
    if (http_request_has(req, HTTP_FIELD_EXPECT) && req->minor > 0)
        req->expect_continue = list_has(http_request_list(req, head, HTTP_FIELD_EXPECT), HTTP_TEXT("100-continue"));
    return (int)req->line_at;
}

static bool has_line_feed(const char *from, const char *to)
{
    return from < to && memchr(from, '\n', (size_t)(to - from)) != NULL;
}

/* What may be read of the lines of this stage. */
static inline struct view view_of(const struct http_request *req, const char *head, size_t len,
                                  const struct http_limits *limits)
{
    size_t max = limits->head_max < HTTP_HEAD_MAX ? limits->head_max : HTTP_HEAD_MAX;
    size_t line_max = req->line_at + (size_t)limits->line_max + 2; /* CRLF */
    if (req->stage == HTTP_STAGE_START && line_max < max)
        max = line_max;
    return (struct view){head, head + req->line_at, head + (len < max ? len : max), len >= max};
}

/* The line has no end in the view: wait for it, unless it has used up its room or could never be a request: a TLS hello
 * has no line end to be judged by. */
static int await_line(struct http_request *req, struct view view)
{
    bool nonsense = view.at == view.head && view.at < view.end && *view.at != '\r' &&
                    !http_byte_is(*view.at, HTTP_BYTE_TOKEN);
    if (nonsense)
        return -HTTP_BAD_REQUEST;
    if (view.full)
        return req->stage == HTTP_STAGE_START ? -HTTP_URI_TOO_LONG : -HTTP_FIELDS_TOO_LARGE;
    req->scanned = (uint32_t)(view.end - view.head);
    return 0;
}

/* A line was not read. That counts as a refusal only if the line is all there. */
static int stop_at_line(struct http_request *req, struct view view, int refused)
{
    return has_line_feed(view.at, view.end) ? refused : await_line(req, view);
}

static int read_start_lines(struct http_request *req, const char *head, size_t len, const struct http_limits *limits)
{
    do {
        struct view view = view_of(req, head, len, limits);
        int used = read_start(req, view);
        if (used <= 0)
            return stop_at_line(req, view, used);
        req->line_at += (uint32_t)used;
    } while (req->stage == HTTP_STAGE_START);
    return 1;
}

static int read_field_lines(struct http_request *req, const char *head, size_t len, const struct http_limits *limits)
{
    struct view view = view_of(req, head, len, limits);
    do {
        int used = read_field_line(req, view, limits);
        if (used <= 0) {
            req->line_at = (uint32_t)(view.at - head);
            return stop_at_line(req, view, used);
        }
        view.at += used;
    } while (req->stage == HTTP_STAGE_FIELDS);
    req->line_at = (uint32_t)(view.at - head);
    return 1;
}

/* The end of a line has been waited for. Returns 1 when it is there. */
static int resume(struct http_request *req, const char *head, size_t len, const struct http_limits *limits)
{
    struct view view = view_of(req, head, len, limits);
    if (!has_line_feed(head + req->scanned, view.end))
        return await_line(req, view);
    req->scanned = 0;
    return 1;
}

void http_request_init(struct http_request *req)
{
    /* in two parts: gcc makes stores of small ones and a slow string instruction of the whole */
    memset(req, 0, offsetof(struct http_request, fields));
    memset(req->fields, 0, sizeof(req->fields));
}

int http_request_parse(struct http_request *req, const char *head, size_t len, const struct http_limits *limits)
{
    static const struct http_limits defaults = HTTP_LIMITS_DEFAULT;
    if (!limits)
        limits = &defaults;
    int result = req->scanned ? resume(req, head, len, limits) : 1;
    if (result > 0 && req->stage == HTTP_STAGE_START)
        result = read_start_lines(req, head, len, limits);
    if (result > 0)
        result = read_field_lines(req, head, len, limits);
    return result > 0 ? finish(req, head) : result;
}

struct http_list http_request_list(const struct http_request *req, const char *head, enum http_field field)
{
    struct http_list list = {.line = http_request_field(req, head, field), .field = field};
    if (req->repeated >> field & 1) {
        list.more = text_of(list.line.data + list.line.len, head + req->line_at);
        http_text_split(&list.more, '\n');
    }
    return list;
}

struct http_text http_method_name(enum http_method method)
{
    return methods[method];
}

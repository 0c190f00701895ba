/* Names come from the file system and may hold anything: they are escaped for links and for HTML, each in its way. */
#include "serve/listing.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "http/response.h"
#include "serve/exchange.h"
#include "serve/input.h"
#include "serve/responder.h"
#include "serve/server.h"

struct row {
    char *name;
    bool directory;
    bool link; /* it may lead out of what is served: nothing is told of its target */
    uint64_t size;
    int64_t mtime_s;
};

static const char page_style[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
    ":root{color-scheme:light dark}\n"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\n"
    "table{border-collapse:collapse;width:100%}\nth{text-align:left;font-weight:600}\n"
    "td,th{padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}\n"
    "td+td,th+th{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    "td:first-child{overflow-wrap:anywhere}\na{text-decoration:none}\na:hover{text-decoration:underline}\n"
    "</style>\n";

static int compare(const void *a, const void *b)
{
    const struct row *left = a, *right = b;

    if (left->directory != right->directory)
        return right->directory - left->directory;
    int order = strcasecmp(left->name, right->name);
    return order ? order : strcmp(left->name, right->name);
}

/* Reads the names that a request could ask for. */
static size_t read_rows(DIR *directory, struct row *rows)
{
    size_t count = 0;
    struct dirent *found;

    while (count < LISTING_NAMES_MAX && (found = readdir(directory))) {
        struct stat stat;
        if (found->d_name[0] == '.' || fstatat(dirfd(directory), found->d_name, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
            (!S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode) && !S_ISLNK(stat.st_mode)))
            continue;
        char *name = strdup(found->d_name);
        if (!name)
            break;
        rows[count++] = (struct row){
            .name = name,
            .directory = S_ISDIR(stat.st_mode),
            .link = S_ISLNK(stat.st_mode),
            .size = (uint64_t)stat.st_size,
            .mtime_s = stat.st_mtim.tv_sec,
        };
    }
    return count;
}

static void format_size(char *text, size_t text_size, uint64_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)size;
    unsigned unit = 0;

    for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    snprintf(text, text_size, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* Escapes through a writer of http/ into the stream. */
static void put(FILE *page, void (*escape)(struct http_writer *, struct http_text), struct http_text text)
{
    char buffer[HTTP_PATH_SIZE * 6];
    struct http_writer out = http_writer_of(buffer, sizeof(buffer));

    escape(&out, text);
    fwrite(out.data, 1, out.len, page);
}

static void put_row(FILE *page, const struct row *row)
{
    struct http_text name = http_text_from(row->name);
    char size[32] = "", date[32];
    time_t mtime_s = (time_t)row->mtime_s;
    struct tm tm;
    const char *slash = row->directory ? "/" : "";

    if (row->link)
        snprintf(size, sizeof(size), "link");
    else if (!row->directory)
        format_size(size, sizeof(size), row->size);
    strftime(date, sizeof(date), "%Y-%m-%d %H:%M", gmtime_r(&mtime_s, &tm));
    /* "./" keeps a name with a colon from being read as a scheme (RFC 3986 4.2). */
    fputs("<tr><td><a href=\"./", page);
    put(page, http_write_url_path, name);
    fprintf(page, "%s\">", slash);
    put(page, http_write_html, name);
    fprintf(page, "%s</a></td><td>%s</td><td>%s</td></tr>\n", slash, size, date);
}

static void put_page(FILE *page, struct http_text path, const struct row *rows, size_t count)
{
    fputs(page_style, page);
    fputs("<title>", page);
    put(page, http_write_html, path);
    fputs("</title>\n</head>\n<body>\n<h1>", page);
    put(page, http_write_html, path);
    fputs("</h1>\n<table>\n<tr><th>Name</th><th>Size</th><th>Changed (UTC)</th></tr>\n", page);
    if (path.len > 1)
        fputs("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n", page);
    for (size_t i = 0; i < count; i++)
        put_row(page, &rows[i]);
    fputs("</table>\n", page);
    if (count == LISTING_NAMES_MAX)
        fprintf(page, "<p>Only %d names are shown.</p>\n", LISTING_NAMES_MAX);
    fputs("</body>\n</html>\n", page);
}

/* On a thread of the pool. */
static int64_t make_page(proa_op *op)
{
    struct listing *listing = &proa_owner(op, struct exchange, op)->listing;
    struct row *rows = malloc(LISTING_NAMES_MAX * sizeof(*rows));
    FILE *page = open_memstream(&listing->page, &listing->page_size);
    DIR *directory = fdopendir(listing->directory);

    if (directory)
        listing->directory = -1; /* closedir() closes it */
    if (rows && page && directory) {
        size_t count = read_rows(directory, rows);
        qsort(rows, count, sizeof(*rows), compare);
        put_page(page, (struct http_text){listing->path, listing->path_len}, rows, count);
        while (count > 0)
            free(rows[--count].name);
    }
    if (directory)
        closedir(directory);
    if (page)
        fclose(page);
    free(rows);
    return 0;
}

static void send_page(struct connection *connection, const struct http_request *request, const char *head,
                      const struct listing *listing)
{
    struct server *server = connection->server;
    struct block *block = block_take(&server->blocks, CACHE_HEAD_MAX + listing->page_size);
    bool with_body = request->method == HTTP_METHOD_GET;

    if (!block) {
        connection_close(connection);
        return;
    }
    clock_tell(&server->clock, proa_now(server->loop));
    struct http_writer out = http_writer_of(block->data, block->capacity);
    head_start(&out, HTTP_OK, &server->clock, responder_persistence(connection, request));
    http_response_field(&out, "Content-Type", HTTP_TEXT("text/html; charset=utf-8"));
    http_response_number(&out, "Content-Length", listing->page_size);
    http_response_field(&out, "Cache-Control", HTTP_TEXT("no-cache"));
    http_response_end(&out);
    if (with_body)
        http_write(&out, (struct http_text){listing->page, listing->page_size});
    responder_account(connection, request, head, HTTP_OK, with_body ? listing->page_size : 0);
    connection_send(connection, block, 0, out.len);
}

static void on_page_made(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct connection *connection = exchange->connection;
    struct listing *listing = &exchange->listing;

    exchange->working = false;
    if (listing->directory >= 0)
        server_close_file(connection->server, proa_fd_of(listing->directory));
    if (connection->phase == PHASE_CLOSING) {
        connection_collect(connection);
    } else {
        const struct http_request *request = &connection->input->request;
        const char *head = connection->input->data + connection->input->at;
        if (result.value < 0 || !listing->page || listing->page_size == 0)
            responder_status(connection, request, head, HTTP_SERVICE_UNAVAILABLE);
        else
            send_page(connection, request, head, listing);
    }
    free(listing->page);
    listing->page = NULL;
    connection_answered(connection);
}

void listing_start(struct connection *connection, proa_fd directory, struct http_text path)
{
    struct exchange *exchange = connection->exchange;

    exchange->working = true;
    exchange->listing = (struct listing){
        .directory = proa_fd_number(directory), .path = path.data, .path_len = path.len};
    proa_work(connection->server->loop, &exchange->op, make_page, on_page_made);
}

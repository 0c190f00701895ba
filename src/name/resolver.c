/* Opening, turning and closing a resolver. */
#include <errno.h>
#include <proa/time.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "name/name.h"

enum { TIMEOUT_MS = 2000, TRIES = 3 };

/* What c-ares would do on its own comes so late that it meets only what nobody waits for any more. */
enum { NEVER_MS = 3600 * 1000 };

void queue_append(struct queue *queue, struct proa_inquiry *inquiry)
{
    inquiry->is_queued = 1;
    inquiry->next_queued = NULL;
    if (queue->first)
        queue->last->next_queued = inquiry;
    else
        queue->first = inquiry;
    queue->last = inquiry;
}

/* Returns the first, or null where it was gone already. */
static struct proa_inquiry *queue_take(struct queue *queue)
{
    struct proa_inquiry *inquiry = queue->first;

    queue->first = inquiry->next_queued;
    inquiry->is_queued = 0;
    if (inquiry->inquirer)
        return inquiry;
    inquiry_free_if_quiet(inquiry);
    return NULL;
}

/* Turning: each of these does one thing, if there is something to do. */

void resolver_note(struct question *question)
{
    proa_resolver *resolver = question->inquiry->resolver;

    if (question->is_noted)
        return;
    question->is_noted = 1;
    question->next_noted = resolver->noted;
    resolver->noted = question;
}

static int look_at_note(proa_resolver *resolver)
{
    struct question *question = resolver->noted;

    if (!question)
        return 0;
    resolver->noted = question->next_noted;
    question->is_noted = 0;
    question_look(question);
    return 1;
}

static int write_out(proa_resolver *resolver)
{
    for (unsigned i = 0; i < resolver->server_count; i++)
        if (wires_write(&resolver->servers[i]))
            return 1;
    return 0;
}

static int take_address(proa_resolver *resolver)
{
    struct proa_inquiry *inquiry;

    if (!resolver->addresses.first)
        return 0;
    inquiry = queue_take(&resolver->addresses);
    if (inquiry)
        inquiry_know_address(inquiry);
    return 1;
}

static int take_arriving(proa_resolver *resolver)
{
    struct proa_inquiry *inquiry = resolver->arriving.first;

    if (!inquiry || (inquiry->inquirer && !hosts_ready(&resolver->hosts, resolver->loop)))
        return 0;
    inquiry = queue_take(&resolver->arriving);
    if (inquiry && !inquiry_know_local(inquiry))
        queue_append(&resolver->waiting, inquiry);
    return 1;
}

static int take_waiting(proa_resolver *resolver)
{
    struct proa_inquiry *inquiry = resolver->waiting.first;

    if (!inquiry || (inquiry->inquirer && resolver->asking == ASKING_MAX))
        return 0;
    inquiry = queue_take(&resolver->waiting);
    if (inquiry)
        inquiry_ask(inquiry);
    return 1;
}

/* Nobody waits for what c-ares still has. */
static int forget_unwanted(proa_resolver *resolver)
{
    if (resolver->asking > 0 || resolver->outstanding == 0)
        return 0;
    for (unsigned i = 0; i < resolver->server_count; i++)
        ares_cancel(resolver->servers[i].channel);
    return 1;
}

static void free_if_unused(proa_resolver *resolver)
{
    if (!resolver->is_closed || resolver->users > 0 || proa_in_flight(&resolver->hosts.op))
        return;
    hosts_close(&resolver->hosts);
    free(resolver);
}

void resolver_attend(proa_resolver *resolver)
{
    if (resolver->is_attending)
        return;
    resolver->is_attending = 1;
    while (look_at_note(resolver) || write_out(resolver) || take_address(resolver) || take_arriving(resolver) ||
           take_waiting(resolver) || forget_unwanted(resolver))
        continue;
    resolver->is_attending = 0;
    free_if_unused(resolver);
}

static void on_hosts(struct hosts *hosts)
{
    resolver_attend(proa_owner(hosts, proa_resolver, hosts));
}

/* Opening */

static int errno_of(int status)
{
    return status == ARES_SUCCESS ? 0 : status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
}

static void free_domains(struct ares_options *options)
{
    for (int i = 0; i < options->ndomains; i++)
        free(options->domains[i]);
    free(options->domains);
}

static int take_domains(const char *search, struct ares_options *options)
{
    char *copy = strdup(search), *rest = copy, *word;
    int error = copy ? 0 : -ENOMEM;

    options->domains = error ? NULL : calloc(strlen(search) / 2 + 1, sizeof(*options->domains));
    if (!options->domains)
        error = -ENOMEM;
    while (!error && (word = strtok_r(rest, " ,", &rest))) {
        options->domains[options->ndomains] = strdup(word);
        error = options->domains[options->ndomains] ? 0 : -ENOMEM;
        options->ndomains += !error;
    }
    free(copy);
    return error;
}

/* HOSTALIASES, a file that c-ares would read for each question, is left out. */
static int open_channel(proa_resolver *resolver, struct server *server, const char *search)
{
    char lookups[] = "b";
    struct ares_options options = {
        .flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOALIASES,
        .timeout = NEVER_MS,
        .tries = 1,
        .lookups = lookups,
        .sock_state_cb = wire_wanted,
        .sock_state_cb_data = server,
    };
    int chosen = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB |
                 ARES_OPT_NOROTATE | (search ? ARES_OPT_DOMAINS : 0);
    int error = search ? take_domains(search, &options) : 0;

    server->resolver = resolver;
    if (!error)
        error = errno_of(ares_init_options(&server->channel, &options, chosen));
    if (search)
        free_domains(&options);
    if (!error)
        ares_set_socket_functions(server->channel, &wire_functions, server);
    return error;
}

static int keep_server(struct server *server, const struct ares_addr_port_node *node)
{
    struct ares_addr_port_node alone = *node;

    alone.next = NULL;
    return errno_of(ares_set_servers_ports(server->channel, &alone));
}

/* The first channel tells which servers there are; then each has one. */
static int open_channels(proa_resolver *resolver, const proa_resolver_options *options)
{
    struct ares_addr_port_node *servers = NULL, *node;
    struct server *server = resolver->servers;
    int error = open_channel(resolver, server, options->search);

    if (error)
        return error;
    resolver->server_count = 1;
    if (options->servers)
        error = errno_of(ares_set_servers_ports_csv(server->channel, options->servers));
    if (!error)
        error = errno_of(ares_get_servers_ports(server->channel, &servers));
    if (!error && !servers)
        error = -EINVAL;
    for (node = servers; !error && node && server < resolver->servers + SERVERS_MAX; node = node->next, server++) {
        if (server > resolver->servers) {
            error = open_channel(resolver, server, options->search);
            resolver->server_count += !error;
        }
        if (!error)
            error = keep_server(server, node);
    }
    if (servers)
        ares_free_data(servers);
    return error;
}

static int library_status;

static void open_library(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static void close_channels(proa_resolver *resolver)
{
    for (unsigned i = 0; i < resolver->server_count; i++)
        ares_destroy(resolver->servers[i].channel);
    resolver->server_count = 0;
}

int proa_resolver_open(proa_loop *loop, const proa_resolver_options *options, proa_resolver **ret_resolver)
{
    static once_flag library = ONCE_FLAG_INIT;
    static const proa_resolver_options defaults;
    proa_resolver *resolver = calloc(1, sizeof(*resolver));
    int error;

    *ret_resolver = NULL;
    if (!resolver)
        return -ENOMEM;
    call_once(&library, open_library);
    options = options ? options : &defaults;
    resolver->loop = loop;
    resolver->timeout_ns = (options->timeout_ms ? options->timeout_ms : TIMEOUT_MS) * PROA_MILLISECOND_NS;
    resolver->tries = options->tries ? options->tries : TRIES;
    error = errno_of(library_status);
    if (!error)
        error = hosts_open(&resolver->hosts, options->hosts_path ? options->hosts_path : "/etc/hosts", on_hosts);
    if (!error)
        error = open_channels(resolver, options);
    if (error) {
        close_channels(resolver);
        hosts_close(&resolver->hosts);
        free(resolver);
        return error;
    }
    *ret_resolver = resolver;
    return 0;
}

/* Closing */

void proa_resolver_close(proa_resolver *resolver)
{
    struct proa_inquiry *inquiry, *next;

    resolver->is_closed = 1;
    resolver->is_attending = 1;
    for (inquiry = resolver->first; inquiry; inquiry = next) {
        next = inquiry->next;
        inquiry->is_closed = 1;
        if (inquiry->inquirer)
            inquiry->inquirer->heard(inquiry->inquirer);
    }
    close_channels(resolver);
    proa_cancel(&resolver->hosts.op);
    resolver->is_attending = 0;
    resolver_attend(resolver);
}

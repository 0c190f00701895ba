#include "model.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { DATAGRAMS_MAX = 64, SURE_DATAGRAMS = 5, SURE_DATAGRAM_BYTES = 20000, UDP_MAX = 65507 };
enum { SENDS_MAX = 256, LOG_MAX = 1 << 20, SURE_BYTES = 1000, SURE_SENDS = 3 };

struct model_op {
    struct step step;
    bool live, cancelled;
    bool waits;   /* linked: its turn has not come */
    bool doomed;  /* and will not come */
    bool by_link; /* its descriptor is named as that of the op before */
    bool linked;  /* was started as that */
    bool front_failed;
    int previous, next; /* in its link, or -1 */
    uint64_t doom;      /* ops doomed together end in the order of their link */
    bool closed_again;  /* while it waited for its turn, on a number that was being closed already */
    bool refused;       /* EBADF, for its descriptor was being closed; or ECANCELED, for the loop was */
    bool hopeless;      /* a send after the shutdown was done */
    bool moved_time;    /* had a deadline: its place among the timers is its own */
    uint64_t when_ns;   /* timers: when due */
    uint64_t interval_ns;
    uint64_t deadline_ns, earliest_deadline_ns;
    uint64_t deadline_turn; /* that it was set before */
    uint64_t turn;          /* that it was started before */
    uint64_t order;         /* among all starts */
    uint64_t received;      /* polls: by its descriptor, at the start */
    uint64_t file_size;     /* reads: that the file had for certain at the start, */
    uint64_t file_solid;    /* and what of it had no holes */
    uint32_t serial;        /* sends: among all sends */
    unsigned generation;    /* connects: of the listener */
};

struct model_send {
    uint32_t serial;
    int op; /* while it is in flight, else -1 */
    uint64_t size, moved;
};

/* What one end of a connection sends and what the other received of it. */
struct model_direction {
    struct model_send sends[SENDS_MAX];
    size_t count;
    uint64_t started;
    uint64_t received;
    bool ended;    /* the end of stream was delivered */
    bool shutting; /* SHUT_WR was asked for, */
    bool shut;     /* and done */
};

struct model_datagram {
    enum { FLYING, SENT, FAILED } state;
    bool arrived, passed; /* was taken; one behind it was */
    uint32_t serial;
    int op;
    uint64_t size;
};

/* What a socket has sent to the other one of its pair. */
struct model_datagrams {
    struct model_datagram all[DATAGRAMS_MAX];
    size_t count;
};

struct model_fd {
    enum { VACANT, FILLING, OPEN, CLOSING } state;
    bool local;                          /* Unix */
    bool closed;                         /* really */
    bool shutting_receive, shut_receive; /* SHUT_RD asked for, done */
    bool may_reset;                      /* bytes met, or may meet, a closed end */
    uint64_t makers;                     /* model.makers at the start of the close */
    unsigned generation;
    int64_t waiting, arriving; /* listeners: connections made and not taken; those and connects in flight */
};

static struct {
    struct model_op ops[OPS_IN_ALL];
    struct model_fd fds[FDS];
    struct model_direction directions[STREAMS];           /* by the sending end */
    struct model_datagrams datagrams[2 * DATAGRAM_PAIRS]; /* by the sending socket */
    uint64_t turn, order, makers, dooms;
    uint64_t now_ns; /* of the loop, in callbacks */
    uint32_t serial;
    int buffers_kept;
    bool loop_closing, draining, pairing;
    bool linking;
    int link_last;                                      /* the latest op of that link, or -1 */
    uint64_t file_certain[FILES], file_possible[FILES]; /* sizes */
    uint64_t file_solid[FILES];                         /* so far there are no holes */
} model;

static char received[STREAMS][LOG_MAX]; /* by the sending end */

static const struct step_row *row_of(const struct model_op *op)
{
    return &step_rows[op->step.kind];
}

static bool is_a(const struct model_op *op, enum step_kind kind)
{
    return op->step.kind == kind;
}

static bool is_send(const struct model_op *op)
{
    return is_a(op, STEP_SEND) || is_a(op, STEP_SEND_RELAXED);
}

static bool is_receive(const struct model_op *op)
{
    return is_a(op, STEP_RECV) || is_a(op, STEP_RECV_MANY);
}

static bool is_read(const struct model_op *op)
{
    return is_a(op, STEP_READ) || is_a(op, STEP_READV);
}

static bool is_write(const struct model_op *op)
{
    return is_a(op, STEP_WRITE) || is_a(op, STEP_WRITEV);
}

static bool is_send_to(const struct model_op *op)
{
    return is_a(op, STEP_SEND_TO);
}

static bool is_receive_from(const struct model_op *op)
{
    return is_a(op, STEP_RECV_FROM) || is_a(op, STEP_RECV_FROM_MANY);
}

static bool is_on_fd(const struct model_op *op)
{
    return row_of(op)->target != NOTHING && !is_a(op, STEP_LISTEN) && !is_a(op, STEP_OPEN) && !is_a(op, STEP_CONNECT);
}

/* A close and a post take their course, once begun. */
static bool can_be_ended(const struct model_op *op)
{
    return op->waits || (!is_a(op, STEP_CLOSE) && !is_a(op, STEP_POST));
}

static bool has_begun(const struct model_op *op)
{
    return op->live && !op->waits;
}

/* A number that is named from the start is the op's until its end, begun or not. */
static bool holds(const struct model_op *op, int fd)
{
    return op->live && is_on_fd(op) && op->step.b == fd && !op->by_link && !op->refused;
}

static int op_index(const struct model_op *op)
{
    return (int)(op - model.ops);
}

const char *model_kind_name(int op)
{
    return row_of(&model.ops[op])->name;
}

char content_of_send(uint32_t serial, uint64_t offset)
{
    uint64_t x = ((uint64_t)serial << 32 | offset / 8) + 1;

    x *= UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return (char)(x >> (offset % 8 * 8));
}

/* Never zero, which is what holes are read as. */
char content_of_file(uint64_t offset)
{
    return (char)('a' + offset * 7 % 26);
}

/* Steps */

bool model_idle(int op)
{
    return !model.ops[op].live;
}

static bool makers_in_flight(void)
{
    if (model.pairing)
        return true;
    for (int i = 0; i < OPS_IN_ALL; i++) {
        if (model.ops[i].live && row_of(&model.ops[i])->traits & MAKES)
            return true;
    }
    return false;
}

/* The number of a descriptor that is being closed may be used, to be refused, as long as no other can have got it. */
bool model_is_there(int fd)
{
    const struct model_fd *of = &model.fds[fd];

    return of->state == OPEN || (of->state == CLOSING && !makers_in_flight() && of->makers == model.makers);
}

/* The op in front in the open link is, or leaves to the next, what B stands for. */
static bool is_left(int fd)
{
    const struct model_op *last = &model.ops[model.linking && model.link_last >= 0 ? model.link_last : 0];

    return model.linking && model.link_last >= 0 && last->step.b == fd && row_of(last)->traits & LEAVES;
}

bool model_is_open(int fd)
{
    return model_is_there(fd) || (is_left(fd) && model.fds[fd].state == FILLING);
}

bool model_is_named(int fd)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        if (model.ops[i].live && is_a(&model.ops[i], STEP_CONNECT) && model.ops[i].step.b == fd)
            return true;
    }
    return false;
}

bool model_by_link(int op)
{
    return model.ops[op].by_link;
}

bool model_may_make(void)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        if (model.ops[i].live && model.ops[i].refused && is_on_fd(&model.ops[i]))
            return false;
    }
    return true;
}

bool model_is_vacant(int fd)
{
    return model.fds[fd].state == VACANT;
}

bool model_fits(int stream, int size)
{
    const struct model_direction *direction = &model.directions[stream];
    uint64_t waiting = 0;

    for (int i = 0; i < OPS; i++) {
        if (model.ops[i].live && model.ops[i].waits && is_send(&model.ops[i]))
            waiting += (uint64_t)model.ops[i].step.c;
    }
    return direction->count + OPS < SENDS_MAX && direction->started + waiting + (uint64_t)size <= LOG_MAX;
}

static struct model_direction *incoming(int stream)
{
    return &model.directions[stream ^ 1];
}

/* Bytes known to be taken. Those of a send in flight are known to the op alone. */
static uint64_t taken(const struct model_direction *direction)
{
    uint64_t total = 0;

    for (size_t i = 0; i < direction->count; i++)
        total += direction->sends[i].moved;
    return total;
}

/* What was received is a beginning of what was taken. */
static void check_content(int stream)
{
    const struct model_direction *direction = &model.directions[stream];
    uint64_t at = 0;

    for (size_t i = 0; i < direction->count; i++) {
        for (uint64_t j = 0; j < direction->sends[i].moved && at < direction->received; j++, at++) {
            if (received[stream][at] != content_of_send(direction->sends[i].serial, j))
                model_fails("wrong bytes", "fd[%d]: byte %llu of what it received is not byte %llu of send %zu",
                            stream ^ 1, (unsigned long long)at, (unsigned long long)j, i);
        }
    }
    if (at < direction->received)
        model_fails("more received than was taken", "fd[%d]", stream ^ 1);
}

static void check_complete(int stream)
{
    const struct model_direction *direction = &model.directions[stream];
    const struct model_fd *receiver = &model.fds[stream ^ 1];

    if (direction->ended && !receiver->may_reset && !receiver->shutting_receive &&
        direction->received < taken(direction))
        model_fails("bytes lost before the end of stream", "fd[%d]: %llu of %llu", stream ^ 1,
                    (unsigned long long)direction->received, (unsigned long long)taken(direction));
}

/* Once all its sends have ended. */
static void check_stream(int stream)
{
    check_content(stream);
    check_complete(stream);
}

void model_begin(void)
{
    memset(&model, 0, sizeof(model));
}

void model_turn(void)
{
    model.turn++;
}

void model_pairing(void)
{
    model.pairing = true;
}

void model_pair(int connection, bool local)
{
    model.pairing = false;
    for (int fd = 2 * connection; fd < 2 * connection + 2; fd++) {
        check_stream(fd);
        model.fds[fd] = (struct model_fd){.state = OPEN, .local = local};
        model.directions[fd] = (struct model_direction){.count = 0};
    }
    model.makers++;
}

static struct model_datagrams *datagrams_of(int fd)
{
    return &model.datagrams[fd - FIRST_DATAGRAM];
}

static int peer_of(int fd)
{
    return FIRST_DATAGRAM + ((fd - FIRST_DATAGRAM) ^ 1);
}

/* The second of a pair. */
static bool is_connected(int fd)
{
    return (fd - FIRST_DATAGRAM) % 2;
}

bool model_is_countable(int socket)
{
    return datagrams_of(socket)->count + OPS < DATAGRAMS_MAX;
}

void model_datagrams(int pair)
{
    model.pairing = false;
    for (int fd = FIRST_DATAGRAM + 2 * pair; fd < FIRST_DATAGRAM + 2 * pair + 2; fd++) {
        model.fds[fd] = (struct model_fd){.state = OPEN, .local = pair};
        datagrams_of(fd)->count = 0;
    }
    model.makers++;
}

static void note_datagram(const struct model_op *op)
{
    struct model_datagrams *datagrams = datagrams_of(op->step.b);

    datagrams->all[datagrams->count++] = (struct model_datagram){
        .serial = op->serial, .op = op_index(op), .size = (uint64_t)op->step.c};
}

static void note_send(struct model_op *op)
{
    struct model_direction *direction = &model.directions[op->step.b];
    uint64_t size = (uint64_t)op->step.c;

    op->hopeless = direction->shut;
    direction->sends[direction->count++] = (struct model_send){op->serial, op_index(op), size, 0};
    direction->started += size;
    if (model.fds[op->step.b ^ 1].state != OPEN)
        model.fds[op->step.b].may_reset = model.fds[op->step.b ^ 1].may_reset = true;
}

/* TCP answers with a reset to what comes for a socket that is shut in both directions. */
static void note_shutdown(const struct model_op *op)
{
    struct model_fd *fd = &model.fds[op->step.b];

    if (op->step.c != SHUT_WR)
        fd->shutting_receive = true;
    if (op->step.c != SHUT_RD)
        model.directions[op->step.b].shutting = true;
    if (!fd->local && fd->shutting_receive && model.directions[op->step.b].shutting)
        fd->may_reset = model.fds[op->step.b ^ 1].may_reset = true;
}

/* Closing an end that has unread bytes, or will get some, resets the connection. */
static void note_close(const struct model_op *op)
{
    struct model_fd *fd = &model.fds[op->step.b];

    fd->state = CLOSING;
    fd->makers = model.makers;
    if (op->step.b < STREAMS && incoming(op->step.b)->started > incoming(op->step.b)->received)
        fd->may_reset = model.fds[op->step.b ^ 1].may_reset = true;
}

static void note_file(struct model_op *op)
{
    int file = op->step.b - FIRST_FILE;
    uint64_t end = (uint64_t)op->step.c + (uint64_t)op->step.d;

    op->file_size = model.file_certain[file];
    op->file_solid = model.file_solid[file];
    if (is_write(op) && op->step.c > 0 && end > model.file_possible[file])
        model.file_possible[file] = end;
}

static void cut_off(struct model_op *op)
{
    if (op->previous >= 0)
        model.ops[op->previous].next = -1;
    op->previous = -1;
}

/* Those from there on end before their turn. */
static void doom_from(int index)
{
    int front = model.ops[index].previous;

    cut_off(&model.ops[index]);
    model.dooms++;
    for (int i = index; i >= 0; i = model.ops[i].next) {
        model.ops[i].doomed = true;
        model.ops[i].doom = model.dooms;
        if (i == model.link_last)
            model.link_last = front;
    }
}

/* A close ends what is linked and holds the number; its own link behind it, too. */
static void doom_those_on(int fd)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        const struct model_op *op = &model.ops[i];

        if (holds(op, fd) && op->waits && !op->doomed)
            doom_from(i);
    }
}

/* Whoever closes a number again gets EBADF. If it was closed for real meanwhile, this close ends, as any does, what is linked
 * and waits on it; if not, those get EBADF when their turn comes. */
static void note_close_again(int fd)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        struct model_op *op = &model.ops[i];

        op->closed_again |= op->live && op->waits && is_on_fd(op) && op->step.b == fd;
    }
}

/* What its start does, now that it is its turn. */
static void begin(struct model_op *op)
{
    const struct step *step = &op->step;

    op->waits = false;
    op->turn = model.turn;
    op->order = model.order++;
    op->refused |= (model.loop_closing && can_be_ended(op)) || (is_on_fd(op) && model.fds[step->b].state == CLOSING);
    if (op->refused) {
        if (is_a(op, STEP_CLOSE))
            note_close_again(step->b);
        return;
    }
    if (is_send(op))
        note_send(op);
    else if (is_send_to(op))
        note_datagram(op);
    else if (is_a(op, STEP_SHUTDOWN))
        note_shutdown(op);
    else if (is_a(op, STEP_POLL))
        op->received = incoming(op->step.b)->received;
    else if (is_a(op, STEP_CLOSE)) {
        note_close(op);
        doom_those_on(step->b);
    } else if (is_read(op) || is_write(op) || is_a(op, STEP_STAT))
        note_file(op);
    else if (is_a(op, STEP_CONNECT)) {
        op->generation = model.fds[step->b].generation;
        model.fds[step->b].arriving++;
    }
}

/* Behind the last of the link that is open, if there is one. A descriptor that is there is named by its number every
 * other time. */
static void note_link(struct model_op *op)
{
    int last = model.link_last, fd = op->step.b;

    op->previous = op->next = -1;
    if (!model.linking || is_a(op, STEP_POST))
        return;
    op->by_link = is_on_fd(op) && is_left(fd) && (op_index(op) % 2 || model.fds[fd].state == FILLING);
    model.link_last = op_index(op);
    if (last < 0)
        return;
    model.ops[last].next = op_index(op);
    op->previous = last;
    op->linked = op->waits = true;
    op->refused = is_on_fd(op) && !op->by_link && model.fds[fd].state == CLOSING;
}

void model_start(const struct step *step, uint64_t when_ns)
{
    struct model_op *op = &model.ops[step->a];

    *op = (struct model_op){.step = *step, .live = true, .when_ns = when_ns};
    op->deadline_ns = op->earliest_deadline_ns = PROA_NEVER;
    op->interval_ns = (uint64_t)(step->c + 1) * TICK_NS;
    if (row_of(op)->traits & MAKES)
        model.makers++;
    if (is_send(op) || is_send_to(op))
        op->serial = model.serial++;
    note_link(op);
    if ((is_a(op, STEP_LISTEN) || is_a(op, STEP_OPEN)) && (op->waits || !model.loop_closing))
        model.fds[step->b].state = FILLING;
    if (!op->waits)
        begin(op);
}

void model_link_begin(void)
{
    model.linking = true;
    model.link_last = -1;
}

void model_link_end(void)
{
    model.linking = false;
    model.link_last = -1;
}

void model_cancel(int op)
{
    model.ops[op].cancelled = model.ops[op].live;
    if (model.ops[op].waits && model.ops[op].live && !model.ops[op].doomed)
        doom_from(op);
}

/* The loop, which looks at the deadlines before it delivers, has ended it; it will be told. A close that has begun takes no notice. */
static bool has_run_out(const struct model_op *op)
{
    return (op->waits || !is_a(op, STEP_CLOSE)) && op->deadline_ns <= model.now_ns && op->deadline_turn < model.turn;
}

void model_deadline(int index, uint64_t when_ns)
{
    struct model_op *op = &model.ops[index];

    if (op->waits && has_run_out(op))
        return;
    op->deadline_turn = model.turn;
    op->moved_time = true;
    op->deadline_ns = when_ns;
    if (when_ns < op->earliest_deadline_ns)
        op->earliest_deadline_ns = when_ns;
}

void model_close_loop(void)
{
    model.loop_closing = true;
}

void model_drain(void)
{
    model.draining = true;
}

void model_buffers(int kept)
{
    model.buffers_kept = kept;
}

/* What is allowed */

static bool own_fd_closing(const struct model_op *op)
{
    return is_on_fd(op) && model.fds[op->step.b].state == CLOSING;
}

static bool may_be_cancelled(const struct model_op *op)
{
    if (op->waits)
        return op->doomed || op->closed_again || model.loop_closing;
    return can_be_ended(op) && (op->cancelled || model.loop_closing || own_fd_closing(op));
}

static bool may_time_out(const struct model_op *op, const struct observation *seen)
{
    return can_be_ended(op) && op->earliest_deadline_ns <= seen->now_ns;
}

/* The other end sends no more, as far as has been asked for. */
static bool may_be_at_end(int stream)
{
    return incoming(stream)->shutting || model.fds[stream ^ 1].state != OPEN || model.fds[stream].shutting_receive ||
           model.fds[stream].may_reset;
}

static bool peer_may_refuse(int stream)
{
    const struct model_fd *peer = &model.fds[stream ^ 1];

    return peer->state != OPEN || (peer->local && peer->shutting_receive) || model.fds[stream].may_reset;
}

static bool receive_allows(const struct model_op *op, const struct observation *seen)
{
    int64_t limit = is_a(op, STEP_RECV) ? op->step.c : BUFFER_SIZE;

    if (seen->value > 0)
        return seen->value <= limit;
    return (seen->value == 0 && may_be_at_end(op->step.b)) ||
           (seen->value == -ECONNRESET && model.fds[op->step.b].may_reset);
}

static bool send_allows(const struct model_op *op, const struct observation *seen)
{
    int stream = op->step.b;

    if (seen->value == op->step.c)
        return !op->hopeless && seen->sent == (uint64_t)op->step.c;
    if (seen->value == -EPIPE)
        return model.directions[stream].shutting || peer_may_refuse(stream);
    return seen->value == -ECONNRESET && model.fds[stream].may_reset;
}

/* With both directions shut a TCP socket is no longer connected. */
static bool shutdown_allows(const struct model_op *op, const struct observation *seen)
{
    int stream = op->step.b;

    if (seen->value == 0)
        return true;
    return seen->value == -ENOTCONN && !model.fds[stream].local &&
           (model.fds[stream].may_reset || (model.directions[stream].shutting && may_be_at_end(stream)));
}

static bool poll_allows(const struct model_op *op, const struct observation *seen)
{
    int stream = op->step.b;
    int64_t wanted = op->step.c ? POLLOUT : POLLIN;
    bool something = incoming(stream)->started > op->received;
    bool over = may_be_at_end(stream) || peer_may_refuse(stream) || model.directions[stream].shutting;

    if (seen->value <= 0 || seen->value & ~(wanted | POLLERR | POLLHUP))
        return false;
    return over || (seen->value == wanted && (op->step.c || something));
}

static bool connect_allows(const struct model_op *op, const struct observation *seen)
{
    const struct model_fd *listener = &model.fds[op->step.b];
    bool gone = listener->state != OPEN || listener->generation != op->generation;

    return seen->value >= 0 || (gone && (seen->value == -ECONNREFUSED || seen->value == -ECONNRESET));
}

static bool read_allows(const struct model_op *op, const struct observation *seen)
{
    uint64_t size = (uint64_t)op->step.c, offset = (uint64_t)op->step.d;
    uint64_t possible = model.file_possible[op->step.b - FIRST_FILE];
    uint64_t least = op->file_size > offset ? op->file_size - offset : 0;
    uint64_t most = possible > offset ? possible - offset : 0;

    if (seen->value < 0 || (uint64_t)seen->value < (least < size ? least : size) ||
        (uint64_t)seen->value > (most < size ? most : size))
        return false;
    for (uint64_t i = 0; i < (uint64_t)seen->value; i++) {
        bool hole = seen->data[i] == 0 && offset + i >= op->file_solid;

        if (!hole && seen->data[i] != content_of_file(offset + i))
            return false;
    }
    return true;
}

static bool repeat_allows(struct model_op *op, const struct observation *seen)
{
    uint64_t last_ns = op->when_ns + ((uint64_t)seen->value - 1) * op->interval_ns;

    if (seen->value < 1 || !(seen->flags & PROA_MORE) || seen->now_ns < last_ns ||
        seen->now_ns >= last_ns + op->interval_ns)
        return false;
    op->when_ns = last_ns + op->interval_ns;
    return true;
}

/* So many are under way, or lie there, and so much. */
static bool are_few(const struct model_datagrams *datagrams)
{
    uint64_t bytes = 0;
    size_t count = 0;

    for (size_t i = 0; i < datagrams->count; i++) {
        if (datagrams->all[i].arrived || datagrams->all[i].state == FAILED)
            continue;
        bytes += datagrams->all[i].size;
        count++;
    }
    return count <= SURE_DATAGRAMS && bytes <= SURE_DATAGRAM_BYTES;
}

static bool peer_is_gone(int fd)
{
    return model.fds[peer_of(fd)].state != OPEN;
}

/* A Unix socket whose peer is gone is told so once, and is not connected from then on. */
static bool send_to_allows(const struct model_op *op, const struct observation *seen)
{
    int fd = op->step.b;
    bool local = model.fds[fd].local, too_large = !local && op->step.c > UDP_MAX;

    if (seen->value == op->step.c)
        return !too_large;
    return (seen->value == -EMSGSIZE && too_large) || (seen->value == -ECONNREFUSED && peer_is_gone(fd)) ||
           (seen->value == -ENOTCONN && local && is_connected(fd) && peer_is_gone(fd)) ||
           (seen->value == -ENOBUFS && local && !is_connected(fd) && !are_few(datagrams_of(fd)));
}

static bool receive_from_allows(const struct model_op *op, const struct observation *seen)
{
    int64_t limit = is_a(op, STEP_RECV_FROM) ? op->step.c : BUFFER_SIZE - PROA_DATAGRAM_OVERHEAD;
    int fd = op->step.b;

    if (seen->value >= 0)
        return seen->from_peer && seen->value == ((int64_t)seen->size < limit ? (int64_t)seen->size : limit);
    return seen->value == -ECONNREFUSED && !model.fds[fd].local && is_connected(fd) && peer_is_gone(fd);
}

static bool kind_allows(struct model_op *op, const struct observation *seen)
{
    switch ((enum step_kind)op->step.kind) {
    case STEP_TIMER:
        return seen->value == 0 && seen->now_ns >= op->when_ns;
    case STEP_TIMER_REPEAT:
        return repeat_allows(op, seen);
    case STEP_WORK:
    case STEP_WORK_POSTS:
        return seen->value == op->step.a;
    case STEP_RECV:
    case STEP_RECV_MANY:
        return receive_allows(op, seen);
    case STEP_SEND:
    case STEP_SEND_RELAXED:
        return send_allows(op, seen);
    case STEP_SEND_TO:
        return send_to_allows(op, seen);
    case STEP_RECV_FROM:
    case STEP_RECV_FROM_MANY:
        return receive_from_allows(op, seen);
    case STEP_SHUTDOWN:
        return shutdown_allows(op, seen);
    case STEP_POLL:
        return poll_allows(op, seen);
    case STEP_CONNECT:
        return connect_allows(op, seen);
    case STEP_ACCEPT:
    case STEP_ACCEPT_MANY:
        return seen->value >= 0 && model.fds[op->step.b].arriving > 0;
    case STEP_LISTEN:
    case STEP_OPEN:
        return seen->value >= 0;
    case STEP_READ:
    case STEP_READV:
        return read_allows(op, seen);
    case STEP_WRITE:
    case STEP_WRITEV:
        return seen->value == op->step.c;
    case STEP_STAT:
        return seen->value == 0 && seen->size >= op->file_size &&
               seen->size <= model.file_possible[op->step.b - FIRST_FILE];
    default:
        return seen->value == 0; /* post, close, fsync */
    }
}

static bool refusal_allows(const struct model_op *op, const struct observation *seen)
{
    return (is_on_fd(op) && (seen->value == -EBADF || seen->value == -ECANCELED)) ||
           (seen->value == -ECANCELED && may_be_cancelled(op)) || (seen->value == -ETIMEDOUT && may_time_out(op, seen));
}

/* Closing a loop ends what is linked; one whose turn comes meanwhile may be among it. */
static bool may_have_waited(const struct model_op *op)
{
    return model.loop_closing && op->linked;
}

static bool allows(struct model_op *op, const struct observation *seen)
{
    if (op->waits)
        return (seen->value == -ECANCELED && may_be_cancelled(op)) ||
               (seen->value == -ETIMEDOUT && may_time_out(op, seen));
    if (op->refused)
        return refusal_allows(op, seen);
    if (seen->value == -ECANCELED)
        return may_be_cancelled(op) || may_have_waited(op);
    if (seen->value == -ETIMEDOUT)
        return may_time_out(op, seen);
    return kind_allows(op, seen);
}

static bool repeats(const struct model_op *op)
{
    return is_a(op, STEP_TIMER_REPEAT) || is_a(op, STEP_RECV_MANY) || is_a(op, STEP_ACCEPT_MANY) ||
           is_a(op, STEP_RECV_FROM_MANY);
}

/* A repeating op's answers are not final; its final completion is an error, or the end of stream. */
static bool more_is_right(const struct model_op *op, const struct observation *seen)
{
    bool answer = seen->value > 0 || (seen->value == 0 && !is_a(op, STEP_RECV_MANY));

    return (repeats(op) && answer) == !!(seen->flags & PROA_MORE);
}

/* Order */

static void check_timer_order(const struct model_op *op)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        const struct model_op *other = &model.ops[i];
        bool earlier = other->when_ns < op->when_ns || (other->when_ns == op->when_ns && other->order < op->order);

        if (has_begun(other) && is_a(other, STEP_TIMER) && other->turn < model.turn && !other->refused &&
            !other->moved_time && !other->cancelled && earlier)
            model_fails("timers out of order", "op[%d] before op[%d]", op_index(op), i);
    }
}

static bool was_to_time_out(const struct model_op *op)
{
    return op->earliest_deadline_ns != PROA_NEVER;
}

static bool was_to_end(const struct model_op *op)
{
    return op->cancelled || was_to_time_out(op);
}

/* Ops of the same kind on the same descriptor that were started before have ended before; what was to end early may be
 * told later, but for a close, which waits for all. */
static void check_start_order(const struct model_op *op, bool (*same)(const struct model_op *), const char *what)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        const struct model_op *other = &model.ops[i];

        if (has_begun(other) && other != op && same(other) && other->step.b == op->step.b && other->order < op->order &&
            !other->refused && (is_a(op, STEP_CLOSE) || !was_to_end(other)))
            model_fails(what, "op[%d] before op[%d]", op_index(op), i);
    }
}

static bool is_post(const struct model_op *op)
{
    return is_a(op, STEP_POST);
}

static bool any_live(int fd, bool (*same)(const struct model_op *))
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        if (has_begun(&model.ops[i]) && same(&model.ops[i]) && model.ops[i].step.b == fd && !model.ops[i].refused)
            return true;
    }
    return false;
}

static bool is_single_receive(const struct model_op *op)
{
    return is_a(op, STEP_RECV);
}

static bool is_repeating_receive(const struct model_op *op)
{
    return is_a(op, STEP_RECV_MANY);
}

/* Those that were doomed with it and are in front of it have ended. What a deadline ended may be told later, and a loop
 * that closes ends them by their descriptors. */
static void check_link_order(const struct model_op *op)
{
    for (int i = was_to_time_out(op) || model.loop_closing ? -1 : op->previous; i >= 0; i = model.ops[i].previous) {
        const struct model_op *other = &model.ops[i];

        if (was_to_time_out(other))
            return;
        if (other->live && op->doomed && other->doom == op->doom)
            model_fails("links out of order", "op[%d] before op[%d]", op_index(op), i);
    }
}

static void check_numbers(const struct model_op *op)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        if (&model.ops[i] != op && model.ops[i].waits && holds(&model.ops[i], op->step.b))
            model_fails("closed before an op linked on it had ended", "op[%d] before op[%d]", op_index(op), i);
    }
}

static void check_order(const struct model_op *op, const struct observation *seen)
{
    if (op->waits) {
        check_link_order(op);
        return;
    }
    if (is_a(op, STEP_TIMER) && seen->value == 0 && !op->moved_time)
        check_timer_order(op);
    if (is_send(op) && seen->value >= 0)
        check_start_order(op, is_send, "sends out of order");
    /* One that repeats gives way while it has no buffer, and those behind it lose their order. */
    if (is_a(op, STEP_RECV) && seen->value >= 0 && !any_live(op->step.b, is_repeating_receive))
        check_start_order(op, is_single_receive, "receives out of order");
    if (is_send_to(op) && seen->value >= 0)
        check_start_order(op, is_send_to, "sends of datagrams out of order");
    if (is_post(op))
        check_start_order(op, is_post, "posts out of order");
    if (is_a(op, STEP_CLOSE) && !op->refused && seen->value == 0) {
        check_numbers(op);
        check_start_order(op, is_on_fd, "closed before an op on it had ended");
    }
}

/* What a completion changes */

static void log_received(int stream, int64_t value, const char *data)
{
    struct model_direction *direction = incoming(stream);

    if (value < 0)
        return;
    if (value == 0)
        direction->ended = true;
    if (direction->received + (uint64_t)value > direction->started)
        model_fails("more received than sent", "fd[%d]: %llu sent, %llu and %lld received", stream,
                    (unsigned long long)direction->started, (unsigned long long)direction->received, (long long)value);
    if (value > 0)
        memcpy(&received[stream ^ 1][direction->received], data, (size_t)value);
    direction->received += (uint64_t)value;
}

static void end_send(const struct model_op *op, uint64_t sent)
{
    struct model_direction *direction = &model.directions[op->step.b];

    for (size_t i = 0; i < direction->count; i++) {
        if (direction->sends[i].op != op_index(op))
            continue;
        direction->sends[i].op = -1;
        direction->sends[i].moved = sent;
    }
}

static bool is_content(const struct model_datagram *datagram, const struct observation *seen)
{
    if (datagram->arrived || datagram->state == FAILED || datagram->size != seen->size)
        return false;
    for (uint64_t i = 0; i < (uint64_t)seen->value; i++) {
        if (seen->data[i] != content_of_send(datagram->serial, i))
            return false;
    }
    return true;
}

/* Those of a Unix socket arrive in the order of sending; UDP promises none. */
static void take_datagram(int fd, const struct observation *seen)
{
    struct model_datagrams *datagrams = datagrams_of(peer_of(fd));

    if (seen->value < 0)
        return;
    for (size_t i = 0; i < datagrams->count; i++) {
        struct model_datagram *datagram = &datagrams->all[i];

        if (is_content(datagram, seen)) {
            datagram->arrived = true;
            return;
        }
        if (!datagram->arrived && datagram->state == SENT && model.fds[fd].local)
            model_fails("datagrams out of order", "fd[%d]: %zu was passed", fd, i);
        datagram->passed |= !datagram->arrived && model.fds[fd].local;
    }
    model_fails("a datagram that nobody sent", "fd[%d]: %lld of %llu bytes", fd, (long long)seen->value,
                (unsigned long long)seen->size);
}

static void end_datagram(const struct model_op *op, int64_t value)
{
    struct model_datagrams *datagrams = datagrams_of(op->step.b);

    for (size_t i = 0; i < datagrams->count; i++) {
        struct model_datagram *datagram = &datagrams->all[i];

        if (datagram->op != op_index(op) || datagram->state != FLYING)
            continue;
        datagram->state = value >= 0 ? SENT : FAILED;
        if (value < 0 && datagram->arrived)
            model_fails("a datagram arrived that was not sent", "op[%d]: %lld", op_index(op), (long long)value);
        if (value >= 0 && datagram->passed && !datagram->arrived)
            model_fails("datagrams out of order", "fd[%d]: %zu was passed", peer_of(op->step.b), i);
    }
}

static void end_shutdown(const struct model_op *op, int64_t value)
{
    if (value != 0)
        return;
    model.fds[op->step.b].shut_receive |= op->step.c != SHUT_WR;
    model.directions[op->step.b].shut |= op->step.c != SHUT_RD;
}

static void end_close(const struct model_op *op, int64_t value)
{
    struct model_fd *fd = &model.fds[op->step.b];

    if (op->refused)
        return;
    fd->state = value == 0 ? VACANT : OPEN;
    fd->closed = true;
    fd->waiting = fd->arriving = 0;
    fd->generation++;
}

static void end_connect(const struct model_op *op, int64_t value)
{
    struct model_fd *listener = &model.fds[op->step.b];

    if (listener->generation == op->generation && listener->state == OPEN && value >= 0)
        listener->waiting++;
}

static void end_write(const struct model_op *op, int64_t value)
{
    int file = op->step.b - FIRST_FILE;
    uint64_t start = (uint64_t)op->step.d, end = start + (uint64_t)op->step.c;

    if (value > 0 && end > model.file_certain[file])
        model.file_certain[file] = end;
    if (value > 0 && start <= model.file_solid[file] && end > model.file_solid[file])
        model.file_solid[file] = end;
}

static void take_in(struct model_op *op, const struct observation *seen)
{
    switch ((enum step_kind)op->step.kind) {
    case STEP_RECV:
    case STEP_RECV_MANY:
        log_received(op->step.b, seen->value, seen->data);
        break;
    case STEP_SEND:
    case STEP_SEND_RELAXED:
        end_send(op, seen->sent);
        break;
    case STEP_RECV_FROM:
    case STEP_RECV_FROM_MANY:
        take_datagram(op->step.b, seen);
        break;
    case STEP_SEND_TO:
        end_datagram(op, seen->value);
        break;
    case STEP_SHUTDOWN:
        end_shutdown(op, seen->value);
        break;
    case STEP_CLOSE:
        end_close(op, seen->value);
        break;
    case STEP_LISTEN:
    case STEP_OPEN:
        if (model.fds[op->step.b].state == FILLING)
            model.fds[op->step.b].state = seen->value >= 0 ? OPEN : VACANT;
        break;
    case STEP_CONNECT:
        end_connect(op, seen->value);
        break;
    case STEP_ACCEPT:
    case STEP_ACCEPT_MANY:
        if (seen->value >= 0) {
            model.fds[op->step.b].waiting--;
            model.fds[op->step.b].arriving--;
        }
        break;
    case STEP_WRITE:
    case STEP_WRITEV:
        end_write(op, seen->value);
        break;
    default:
        break;
    }
}

/* Short counts of files are failures, too. */
static bool has_failed(const struct model_op *op, int64_t value)
{
    return value < 0 || ((is_read(op) || is_write(op)) && value < op->step.c);
}

/* One that ended before its turn has taken those behind it along. */
static int linked_behind(struct model_op *op, int64_t value)
{
    struct model_op *next = &model.ops[op->next >= 0 ? op->next : 0];
    int index = op->next;

    cut_off(op);
    if (index < 0)
        return -1;
    next->front_failed = has_failed(op, value);
    if (op->waits && !op->doomed)
        doom_from(index);
    cut_off(next);
    return op->waits ? -1 : index;
}

/* A loop that is closing begins nothing but closes; what is on a number that was being closed hears so when its turn comes. */
void model_go_on(int index)
{
    struct model_op *op = &model.ops[index >= 0 ? index : 0];

    if (index < 0 || op->doomed || has_run_out(op))
        return;
    if (op->front_failed)
        doom_from(index);
    else if (!model.loop_closing || is_a(op, STEP_CLOSE) || op->refused)
        begin(op);
}

int model_completion(int index, const struct observation *seen)
{
    struct model_op *op = &model.ops[index];
    char what[64];

    if (!op->live)
        model_fails("completed without being in flight", "op[%d], last a %s: %lld", index, row_of(op)->name,
                    (long long)seen->value);
    snprintf(what, sizeof(what), "%s: not allowed", row_of(op)->name);
    if (!allows(op, seen))
        model_fails(what, "op[%d]: value %lld, flags %u", index, (long long)seen->value, seen->flags);
    if (!more_is_right(op, seen))
        model_fails("MORE where it should not be, or none where it should", "op[%d], %s: value %lld, flags %u", index,
                    row_of(op)->name, (long long)seen->value, seen->flags);
    check_order(op, seen);
    model.now_ns = seen->now_ns;
    op->live = seen->flags & PROA_MORE;
    if (!op->waits || is_a(op, STEP_LISTEN) || is_a(op, STEP_OPEN))
        take_in(op, seen);
    if (row_of(op)->traits & MAKES)
        model.makers++;
    return op->live ? -1 : linked_behind(op, seen->value);
}

/* What must come */

/* Bytes that were taken from the sender and have not arrived, or the end of the stream. */
static bool owes(int stream)
{
    const struct model_direction *direction = incoming(stream);

    return taken(direction) > direction->received || direction->shut || model.fds[stream ^ 1].closed;
}

/* The first in the order of start among those of a sort on a descriptor. */
static bool is_first(const struct model_op *op, bool (*same)(const struct model_op *))
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        const struct model_op *other = &model.ops[i];

        if (has_begun(other) && same(other) && !other->refused && other->step.b == op->step.b &&
            other->order < op->order)
            return false;
    }
    return true;
}

/* Little enough was ever sent that the buffers of any connection hold it, or nothing is left of it. A Unix socket has a
 * large message's room back only when all of it was read. */
static bool has_room(int stream)
{
    const struct model_direction *direction = &model.directions[stream];

    return direction->started == direction->received ||
           (direction->started <= SURE_BYTES && direction->count <= SURE_SENDS);
}

static bool receive_is_due(const struct model_op *op)
{
    int stream = op->step.b;

    if (is_a(op, STEP_RECV_MANY) && model.buffers_kept >= BUFFERS)
        return false;
    return owes(stream) || model.fds[stream].shut_receive;
}

static bool accept_is_due(const struct model_op *op)
{
    return model.fds[op->step.b].waiting > 0;
}

static bool send_is_due(const struct model_op *op)
{
    int stream = op->step.b;
    bool drained = model.draining && !model.fds[stream ^ 1].shutting_receive;

    return has_room(stream) || drained || op->hopeless || model.fds[stream ^ 1].closed;
}

/* UDP may lose them where they are many. */
static bool owes_datagram(int fd)
{
    const struct model_datagrams *datagrams = datagrams_of(peer_of(fd));

    if (!model.fds[fd].local && !are_few(datagrams))
        return false;
    for (size_t i = 0; i < datagrams->count; i++) {
        if (datagrams->all[i].state == SENT && !datagrams->all[i].arrived)
            return true;
    }
    return false;
}

static bool send_to_is_due(const struct model_op *op)
{
    int fd = op->step.b;

    return !model.fds[fd].local || model.draining || are_few(datagrams_of(fd)) || model.fds[peer_of(fd)].closed;
}

static bool is_relaxed(const struct model_op *op)
{
    return is_a(op, STEP_SEND_RELAXED);
}

static bool waits_for_it(const struct model_op *op)
{
    if (is_receive(op))
        return is_first(op, is_receive) && receive_is_due(op);
    if (is_send(op))
        return is_first(op, is_send) && send_is_due(op);
    if (is_send_to(op))
        return is_first(op, is_send_to) && send_to_is_due(op);
    if (is_receive_from(op))
        return is_first(op, is_receive_from) && owes_datagram(op->step.b) &&
               (is_a(op, STEP_RECV_FROM) || model.buffers_kept < BUFFERS);
    if (is_a(op, STEP_SHUTDOWN))
        return !any_live(op->step.b, is_send);
    if (is_a(op, STEP_POLL))
        return op->step.c ? has_room(op->step.b) && !any_live(op->step.b, is_send)
                          : owes(op->step.b) && !model.draining && !any_live(op->step.b, is_receive);
    if (is_a(op, STEP_ACCEPT) || is_a(op, STEP_ACCEPT_MANY))
        return accept_is_due(op);
    return false;
}

static bool is_due(const struct model_op *op, bool with_relaxed)
{
    if (op->waits)
        return op->doomed || op->deadline_ns != PROA_NEVER;
    bool ended = can_be_ended(op) &&
                 (op->refused || op->cancelled || own_fd_closing(op) || op->deadline_ns != PROA_NEVER);

    if (ended || (row_of(op)->traits & FINE && op->when_ns != PROA_NEVER))
        return true;
    return (with_relaxed || !is_relaxed(op)) && waits_for_it(op);
}

int model_due(bool with_relaxed)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        if (model.ops[i].live && is_due(&model.ops[i], with_relaxed))
            return i;
    }
    return -1;
}

void model_end(void)
{
    for (int i = 0; i < OPS_IN_ALL; i++) {
        if (model.ops[i].live)
            model_fails("never completed", "op[%d], a %s", i, model_kind_name(i));
    }
    for (int stream = 0; stream < STREAMS; stream++)
        check_stream(stream);
}

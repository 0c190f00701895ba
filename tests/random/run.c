#include "run.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../conformance/harness.h"
#include "model.h"

enum { STRAYS_MAX = 512, POOL_THREADS = 2 };

static struct verdict *verdict; /* shared with the parent */

_Noreturn void model_fails(const char *what, const char *format, ...)
{
    va_list arguments;

    snprintf(verdict->what, sizeof(verdict->what), "%s", what);
    va_start(arguments, format);
    vsnprintf(verdict->detail, sizeof(verdict->detail), format, arguments);
    va_end(arguments);
    _exit(1);
}

/* The words of program.h. All is zero when the child begins. */

static proa_loop *loop;
static proa_buffer_pool *pool;
static proa_op op[OPS_IN_ALL], posted[OPS];
static proa_fd fd[FDS];
static proa_address address[LISTENERS];
static char in[OPS_IN_ALL][RECEIVE_MAX], out[OPS][SEND_MAX];
static proa_datagram arrived[OPS_IN_ALL], departing[OPS];
static proa_address socket_address[2 * DATAGRAM_PAIRS];
static struct statx status[OPS];
static const proa_open_how how = {O_RDWR | O_CREAT, 0600, 0};
static struct iovec pieces[OPS][PIECES];
static char path[FILES][64];
static int keep;

static struct step running[OPS_IN_ALL]; /* what each op was last started by */
static struct step after[OPS];          /* what its completion is awaited by; kind STEP_KINDS: nothing */
static uint32_t kept[BUFFERS];
static int kept_count;
static bool lent[BUFFERS];
static int strays[STRAYS_MAX]; /* connections that no slot holds */
static int stray_count;
static bool posts[OPS]; /* a post is due, or will be */
static _Atomic unsigned works_run;
static unsigned posts_seen, posts_made;
static uint32_t serial;
static bool draining;

static bool idle(int a)
{
    return model_idle(a);
}

static bool is_open(int b)
{
    return model_is_open(b);
}

static bool vacant(int b)
{
    return model_is_vacant(b);
}

static bool is_there(int b)
{
    return model_is_there(b);
}

static bool unnamed(int b)
{
    return !model_is_named(b);
}

static bool fits(int b, int size)
{
    return model_fits(b, size);
}

static bool is_countable(int b)
{
    return model_is_countable(b);
}

static bool may_post(int a)
{
    return !posts[a];
}

static uint64_t soon(int ticks)
{
    return ticks == NEVER_TICKS ? PROA_NEVER : proa_now(loop) + (uint64_t)ticks * TICK_NS;
}

static uint64_t interval(int ticks)
{
    return (uint64_t)(ticks + 1) * TICK_NS;
}

static uint64_t limit(int a, int ticks)
{
    if (!model_idle(a))
        model_deadline(a, soon(ticks));
    return soon(ticks);
}

static proa_fd on(int a, int b)
{
    return model_by_link(a) ? PROA_LINKED : fd[b];
}

static bool linking;

static bool is_linking(void)
{
    return linking;
}

static void begin_link(void)
{
    linking = true;
    model_link_begin();
    proa_link_begin(loop);
}

static void end_link(void)
{
    if (!linking)
        return;
    linking = false;
    model_link_end();
    proa_link_end(loop);
}

static proa_op *cancelled(int a)
{
    model_cancel(a);
    return &op[a];
}

static char *fill(int a, int size)
{
    for (int i = 0; i < size; i++)
        out[a][i] = content_of_send(serial, (uint64_t)i);
    serial++;
    return out[a];
}

/* The first of a pair says whom it is for, the second is connected. */
static proa_datagram *datagram(int a, int b, int size)
{
    int socket = b - FIRST_DATAGRAM;

    departing[a] = (proa_datagram){.data = fill(a, size), .size = (size_t)size};
    if (socket % 2 == 0)
        departing[a].peer = socket_address[socket + 1];
    return &departing[a];
}

static char *fill_file(int a, int size, int offset)
{
    for (int i = 0; i < size; i++)
        out[a][i] = content_of_file((uint64_t)offset + (uint64_t)i);
    return out[a];
}

static const struct iovec *cut(int a, char *data, int size)
{
    size_t first = (size_t)size / 3;

    pieces[a][0] = (struct iovec){data, first};
    pieces[a][1] = (struct iovec){data + first, 0};
    pieces[a][2] = (struct iovec){data + first, (size_t)size - first};
    return pieces[a];
}

static proa_fd leaving(int a, int b)
{
    return on(a, b);
}

static const char *path_for(int a, int b)
{
    (void)a;
    return path[b - FIRST_FILE];
}

static const proa_address *address_for(int a, int b)
{
    (void)a;
    if (b == FIRST_LISTENER)
        REQUIRE(proa_address_parse("127.0.0.1:0", &address[0]) == 0);
    return &address[b - FIRST_LISTENER];
}

static int64_t work(proa_op *o)
{
    return o - op;
}

static void on_posted(proa_op *o, proa_result result)
{
    if (!posts[o - posted] || result.value != 0 || result.flags != 0)
        model_fails("a post from a thread: not allowed", "value %lld", (long long)result.value);
    posts[o - posted] = false;
    posts_seen++;
}

static int64_t work_posts(proa_op *o)
{
    works_run++;
    proa_post(loop, &posted[o - op], on_posted);
    return o - op;
}

static void give_back(uint32_t buffer)
{
    lent[buffer] = false;
    proa_buffer_return(pool, buffer);
}

static void return_kept(int count)
{
    for (count++; count > 0 && kept_count > 0; count--)
        give_back(kept[--kept_count]);
    model_buffers(kept_count);
}

static void turn(enum proa_run_mode mode)
{
    end_link();
    model_turn();
    proa_loop_run(loop, mode);
}

/* Sleeps only on what must come. */
static void turn_once(void)
{
    turn(model_due(false) >= 0 ? PROA_ONCE : PROA_NO_WAIT);
}

/* Ops of the runner's own. */
static proa_op helper[3];
static int64_t helped[3];

static void on_helped(proa_op *o, proa_result result)
{
    helped[o - helper] = result.value;
}

static void help(int h)
{
    while (proa_in_flight(&helper[h]))
        turn(PROA_ONCE);
}

static void run_for(int ticks)
{
    end_link();
    proa_timer(loop, &helper[0], soon(ticks), on_helped);
    help(0);
}

static void pair(int b, int local)
{
    proa_address at = address_any(local ? UNIX : TCP);
    int listener;

    end_link();
    model_pairing();
    proa_listen(loop, &helper[0], &at, 4, 0, on_helped);
    help(0);
    listener = (int)helped[0];
    REQUIRE(listener >= 0 && proa_local_address(NULL, proa_fd_of(listener), &at) == 0);
    proa_connect(loop, &helper[1], &at, on_helped);
    proa_accept(loop, &helper[2], proa_fd_of(listener), on_helped);
    help(1);
    help(2);
    proa_close(loop, &helper[0], proa_fd_of(listener), on_helped);
    help(0);
    if (local)
        unlink(at.as.local.sun_path);
    for (int i = 0; i < 2; i++) {
        REQUIRE(helped[1 + i] >= 0);
        fd[2 * b + i] = proa_fd_of((int)helped[1 + i]);
        set_size((int)helped[1 + i], SO_SNDBUF, SEND_BUFFER);
    }
    model_pair(b, local);
}

static void unlink_sockets(int b)
{
    for (int i = 2 * b; i < 2 * b + 2; i++) {
        if (socket_address[i].as.any.sa_family == AF_UNIX)
            unlink(socket_address[i].as.local.sun_path);
    }
}

static void datagrams(int b)
{
    end_link();
    model_pairing();
    unlink_sockets(b);
    for (int i = 2 * b; i < 2 * b + 2; i++) {
        proa_address at = address_any(b ? UNIX : TCP);

        proa_datagram_open(loop, &helper[1], &at, i % 2 ? &socket_address[i - 1] : NULL, 0, on_helped);
        help(1);
        REQUIRE(helped[1] >= 0);
        fd[FIRST_DATAGRAM + i] = proa_fd_of((int)helped[1]);
        REQUIRE(proa_local_address(NULL, fd[FIRST_DATAGRAM + i], &socket_address[i]) == 0);
    }
    model_datagrams(b);
}

static void close_loop(void)
{
    end_link();
    model_close_loop();
    proa_loop_close(loop);
    loop = NULL;
}

static proa_callback done;

/* A function per row of the table. */
#define STEP_FUNCTION(name, traits, target, amount, weight, condition, call) \
    static bool may_##name(const struct step *step)                          \
    {                                                                        \
        const int A = step->a, B = step->b, C = step->c, D = step->d;        \
                                                                             \
        (void)A, (void)B, (void)C, (void)D;                                  \
        return condition;                                                    \
    }                                                                        \
    static void do_##name(const struct step *step)                           \
    {                                                                        \
        const int A = step->a, B = step->b, C = step->c, D = step->d;        \
                                                                             \
        (void)A, (void)B, (void)C, (void)D;                                  \
        call;                                                                \
    }
STEPS(STEP_FUNCTION)
#undef STEP_FUNCTION

static const struct {
    bool (*may)(const struct step *step);
    void (*make)(const struct step *step);
} functions[STEP_KINDS] = {
#define STEP_FUNCTIONS(name, ...) [STEP_##name] = {may_##name, do_##name},
    STEPS(STEP_FUNCTIONS)
#undef STEP_FUNCTIONS
};

/* Steps */

static bool in_call;

static uint64_t when_due(const struct step *step)
{
    return step->kind == STEP_TIMER || step->kind == STEP_TIMER_REPEAT ? soon(step->c) : 0;
}

static void make_step(const struct step *step)
{
    unsigned traits = step_rows[step->kind].traits;

    if (!functions[step->kind].may(step) || (traits & MAKES && !model_may_make()))
        return;
    if (traits & STARTS) {
        running[step->a] = *step;
        model_start(step, when_due(step));
        if (step->kind == STEP_WORK_POSTS)
            posts[step->a] = true;
    }
    in_call = !(traits & ALONE);
    functions[step->kind].make(step);
    in_call = false;
}

static void take_lent(proa_result result)
{
    if (result.buffer >= BUFFERS || lent[result.buffer])
        model_fails("a buffer lent twice", "%u", result.buffer);
    lent[result.buffer] = true;
    if (!keep) {
        give_back(result.buffer);
        return;
    }
    kept[kept_count++] = result.buffer;
    model_buffers(kept_count);
}

static void take_fd(const struct step *step, proa_result result)
{
    if (result.value < 0)
        return;
    if (step->kind == STEP_LISTEN || step->kind == STEP_OPEN) {
        fd[step->b] = proa_result_fd(result);
        if (step->kind == STEP_LISTEN)
            REQUIRE(proa_local_address(NULL, fd[step->b], &address[step->b - FIRST_LISTENER]) == 0);
    } else {
        REQUIRE(stray_count < STRAYS_MAX);
        strays[stray_count++] = (int)result.value;
    }
}

static bool is_from_peer(const proa_datagram *from, int b)
{
    const proa_address *peer = &socket_address[(b - FIRST_DATAGRAM) ^ 1];

    return from->peer.size == peer->size && memcmp(&from->peer.as, &peer->as, peer->size) == 0;
}

static void observe_datagram(int a, proa_result result, struct observation *seen)
{
    if (result.flags & PROA_LENT)
        proa_datagram_in(pool, result, &arrived[a]);
    seen->data = arrived[a].data;
    seen->size = arrived[a].whole_size;
    seen->from_peer = is_from_peer(&arrived[a], running[a].b) && arrived[a].size == (size_t)result.value;
}

/* Returns the op whose turn comes after the callback, or -1. */
static int observe(int a, proa_result result)
{
    const struct step *step = &running[a];
    struct observation seen = {.value = result.value, .flags = result.flags, .now_ns = proa_now(loop)};

    seen.sent = proa_sent(&op[a]);
    seen.data = result.flags & PROA_LENT ? proa_buffer(pool, result.buffer) : in[a];
    if (step->kind == STEP_STAT)
        seen.size = status[a].stx_size;
    if ((step->kind == STEP_RECV_FROM || step->kind == STEP_RECV_FROM_MANY) && result.value >= 0)
        observe_datagram(a, result, &seen);
    return model_completion(a, &seen);
}

static void make_next(int a, const struct step *step, proa_result result)
{
    struct step next;

    if (a >= FIRST_DRAIN && (result.value > 0 || (result.value == 0 && step->kind == STEP_RECV_FROM)))
        make_step(step);
    if (a >= OPS || draining)
        return;
    next = after[a];
    after[a].kind = STEP_KINDS;
    if (next.kind != STEP_KINDS)
        make_step(&next);
}

static void done(proa_op *o, proa_result result)
{
    int a = (int)(o - op), linked;
    const struct step step = running[a];

    if (in_call)
        model_fails("a callback inside a call", "op[%d]", a);
    if (!!proa_in_flight(o) != !!(result.flags & PROA_MORE))
        model_fails("proa_in_flight() is wrong in a callback", "op[%d]", a);
    linked = observe(a, result);
    if (result.flags & PROA_LENT)
        take_lent(result);
    if (step_rows[step.kind].traits & MAKES)
        take_fd(&step, result);
    if (result.flags & PROA_MORE)
        return;
    if (step.kind == STEP_WORK_POSTS && result.value < 0)
        posts[a] = false;
    else if (step.kind == STEP_WORK_POSTS)
        posts_made++;
    make_next(a, &step, result);
    model_go_on(linked);
}

/* The end of a program that left its loop open: all that must come has to come; then every stream is emptied, which
 * lets everything that was sent arrive; then every descriptor is closed. */

static void await(bool with_relaxed)
{
    while (model_due(with_relaxed) >= 0) {
        if (model_due(false) >= 0)
            turn(PROA_ONCE);
        else
            run_for(1);
    }
}

static void empty_streams(void)
{
    draining = true;
    keep = 0;
    return_kept(BUFFERS);
    for (int b = 0; b < STREAMS; b++) {
        if (is_open(b))
            make_step(&(struct step){.kind = STEP_RECV, .a = FIRST_DRAIN + b, .b = b, .c = RECEIVE_MAX});
    }
    for (int b = FIRST_DATAGRAM; b < FDS; b++) {
        if (is_open(b))
            make_step(&(struct step){.kind = STEP_RECV_FROM, .a = FIRST_DRAIN + b, .b = b, .c = RECEIVE_MAX});
    }
    model_drain();
    await(true);
}

static void close_descriptors(void)
{
    for (int b = 0; b < FDS; b++) {
        if (is_open(b))
            make_step(&(struct step){.kind = STEP_CLOSE, .a = FIRST_CLOSER + b, .b = b});
    }
    await(true);
}

static void close_numbers(void)
{
    for (int b = 0; b < FDS; b++) {
        if (is_open(b))
            close_plain(fd[b].handle);
    }
    while (stray_count > 0)
        close_plain(strays[--stray_count]);
    for (int i = 0; i < FILES; i++)
        unlink(path[i]);
    unlink(address[1].as.local.sun_path);
    for (int b = 0; b < DATAGRAM_PAIRS; b++)
        unlink_sockets(b);
}

static void end_program(void)
{
    if (loop) {
        end_link();
        await(false);
        empty_streams();
        close_descriptors();
        close_loop();
    }
    model_end();
    if (posts_made != works_run || posts_seen != works_run)
        model_fails("posts from threads lost or doubled", "%u functions ran, %u told so, %u posts came", works_run,
                    posts_made, posts_seen);
    close_numbers();
}

static void set_stage(const char *engine)
{
    const proa_loop_options options = {.engine = engine, .pool_threads = POOL_THREADS};
    int error = proa_loop_open(&loop, &options);

    if (error < 0)
        model_fails("the loop cannot be opened", "%s", strerror(-error));
    REQUIRE(proa_buffer_pool_open(loop, BUFFERS, BUFFER_SIZE, &pool) == 0);
    for (int i = 0; i < FILES; i++)
        snprintf(path[i], sizeof(path[i]), "%s", temp_fresh("file"));
    address[1] = address_any(UNIX);
    for (int i = 0; i < OPS; i++)
        after[i].kind = STEP_KINDS;
    model_begin();
}

static void run(const struct program *program, const char *engine)
{
    int fds = fd_count();
    int64_t blocks = heap_live();

    set_stage(engine);
    for (size_t i = 0; i < program->count && loop; i++) {
        const struct step *step = &program->steps[i];

        if (step->after)
            after[step->after - 1] = *step;
        else
            make_step(step);
    }
    end_program();
    if (fd_count() != fds)
        model_fails("descriptors leaked", "%d, then %d", fds, fd_count());
    if (!heap_is_back_at(blocks))
        model_fails("heap blocks leaked", "%lld, then %lld", (long long)blocks, (long long)heap_live());
}

/* The child */

static void on_alarm(int number)
{
    int due = model_due(true);
    char what[64];

    (void)number;
    snprintf(what, sizeof(what), "hangs: %s", due >= 0 ? model_kind_name(due) : "in a call");
    model_fails(what, "op[%d]", due);
}

static _Noreturn void be_child(const struct program *program, const char *engine, unsigned limit_s, bool quiet)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    if (quiet && !freopen("/dev/null", "w", stderr))
        _exit(1);
    sigaction(SIGALRM, &action, NULL);
    alarm(limit_s);
    run(program, engine);
    _exit(0);
}

static void judge_status(int wait_status)
{
    if (verdict->what[0] || (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0))
        return;
    if (WIFSIGNALED(wait_status))
        snprintf(verdict->what, sizeof(verdict->what), "killed by signal %d", WTERMSIG(wait_status));
    else
        snprintf(verdict->what, sizeof(verdict->what), "exit status %d", WEXITSTATUS(wait_status));
}

void program_run(const struct program *program, const char *engine, unsigned limit_s, bool quiet,
                 struct verdict *ret_verdict)
{
    int wait_status;
    pid_t pid;

    if (!verdict) {
        verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(verdict != MAP_FAILED);
    }
    memset(verdict, 0, sizeof(*verdict));
    fflush(NULL);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0)
        be_child(program, engine, limit_s, quiet);
    while (waitpid(pid, &wait_status, 0) < 0)
        REQUIRE(errno == EINTR);
    judge_status(wait_status);
    *ret_verdict = *verdict;
}

/* Sends of files that wait for a fetch: what stands behind them can end, nothing spins meanwhile, and however many wait for
 * their turn, each has it. */
#include "harness.h"

#include <semaphore.h>

#include "loop/loop.h"

/* One connection more than there are buffers for, twice over. */
enum { PIECE = 1 << 18, MANY = 80, FULL = 32, FURTHER = 8, WAKE_UPS_MAX = 20 };

/* The one thread of the file crew, kept from its work until it is released. */
struct hold {
    struct slot slot;
    sem_t held, released;
};

static int64_t hold_thread(proa_op *op)
{
    struct hold *hold = proa_owner(proa_owner(op, struct slot, op), struct hold, slot);

    sem_post(&hold->held);
    while (sem_wait(&hold->released) < 0)
        continue;
    return 0;
}

static void hold_begin(struct hold *hold, proa_loop *loop)
{
    proa_work_function *function = hold_thread;

    *hold = (struct hold){0};
    REQUIRE(sem_init(&hold->held, 0, 0) == 0 && sem_init(&hold->released, 0, 0) == 0);
    op_start_part(loop, &hold->slot.op, OP_FILE_WORK, -1,
                  (struct part){slot_done, .data = (void *)(uintptr_t)function});
    while (sem_wait(&hold->held) < 0)
        continue;
}

static void hold_end(struct hold *hold, proa_loop *loop)
{
    REQUIRE(sem_post(&hold->released) == 0);
    RUN_UNTIL(loop, hold->slot.finals);
    sem_destroy(&hold->held);
    sem_destroy(&hold->released);
}

static void check_rest(proa_loop *loop)
{
    uint64_t before = proa_loop_meters(loop).wake_ups;

    loop_run_for(loop, 5 * MS);
    HOLDS(proa_loop_meters(loop).wake_ups - before <= WAKE_UPS_MAX);
}

static void start_send(proa_loop *loop, struct slot *slot, proa_fd fd)
{
    static const char text[100];

    proa_send(loop, &slot->op, fd, text, sizeof(text), slot_done);
}

/* A file of proc(5) is never in the page cache. Its send has had to wait for room before, so that room is watched for. */
static void test_behind_a_fetch(const char *by)
{
    proa_loop *loop = loop_open_with((proa_loop_options){.send_file_by = by, .file_threads = 1});
    int file = open("/proc/self/limits", O_RDONLY | O_CLOEXEC), far;
    struct slot before = {0}, fetching = {0}, behind[3] = {0}, close = {0};
    struct hold hold;
    proa_fd near;

    test_case("behind a send that is fetching, by %s", by);
    REQUIRE(file >= 0);
    hold_begin(&hold, loop);
    pair_open(loop, TCP, &near, &far);
    far_fill(near.handle);
    start_send(loop, &before, near);
    proa_send_file(loop, &fetching.op, near, proa_fd_of(file), 0, 10, slot_done);
    for (size_t i = 0; i < ARRAY_SIZE(behind); i++)
        start_send(loop, &behind[i], near);
    loop_run_for(loop, MS);
    while (!(fetching.op.flags & OP_FETCHING)) {
        far_drain(far);
        loop_run_for(loop, MS / 4);
    }
    HOLDS(before.finals == 1);
    check_rest(loop);
    CALL(proa_cancel(&behind[0].op));
    RUN_UNTIL(loop, behind[0].finals);
    HOLDS(behind[0].value == -ECANCELED && fetching.finals == 0);
    CALL(proa_set_deadline(&behind[1].op, 1));
    RUN_UNTIL(loop, behind[1].finals);
    HOLDS(behind[1].value == -ETIMEDOUT && fetching.finals == 0);
    check_rest(loop);
    CALL(proa_close(loop, &close.op, near, slot_done));
    RUN_UNTIL(loop, close.finals);
    HOLDS(close.value == 0 && fetching.value == -ECANCELED && behind[2].value == -ECANCELED);
    HOLDS(fetching.finals == 1 && behind[2].finals == 1 && fetching.order < close.order);
    HOLDS(far_ended(far) && hold.slot.finals == 0);
    check_rest(loop);
    hold_end(&hold, loop);
    close_now(loop, proa_fd_of(file));
    close_plain(far);
    proa_loop_close(loop);
}

/* Sends by copying, each with a reader of its own. */
struct sending {
    struct slot slot;
    proa_fd near;
    int far;
    uint64_t at;
    bool holds;
};

static proa_loop *loop;
static struct slot tick;
static int file;

static void sendings_open(struct sending *sendings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sendings[i] = (struct sending){.holds = true};
        pair_open(loop, TCP, &sendings[i].near, &sendings[i].far);
        set_size(sendings[i].near.handle, SO_SNDBUF, 16384);
        set_size(sendings[i].far, SO_RCVBUF, 16384);
    }
}

static void sending_start(struct sending *sending, uint64_t size)
{
    proa_send_file(loop, &sending->slot.op, sending->near, proa_fd_of(file), 0, size, slot_done);
}

static void sending_read(struct sending *sending)
{
    static char data[PIECE];
    ssize_t count = recv(sending->far, data, sizeof(data), MSG_DONTWAIT);

    if (count <= 0)
        return;
    sending->holds &= pattern_holds(data, (size_t)count, sending->at);
    sending->at += (uint64_t)count;
}

/* Runs until all of them are over, and what they sent was read. */
static void sendings_finish(struct sending *sendings, size_t count, uint64_t size)
{
    for (size_t left = count; left > 0;) {
        proa_loop_run(loop, PROA_ONCE);
        left = 0;
        for (size_t i = 0; i < count; i++) {
            sending_read(&sendings[i]);
            left += !sendings[i].slot.finals || sendings[i].at < proa_sent(&sendings[i].slot.op);
        }
    }
    for (size_t i = 0; i < count; i++)
        HOLDS(sendings[i].slot.value == (int64_t)size && sendings[i].at == size && sendings[i].holds);
}

static void sendings_close(struct sending *sendings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        close_now(loop, sendings[i].near);
        close_plain(sendings[i].far);
    }
}

static void open_all(uint64_t size)
{
    static char data[PIECE];

    loop = loop_open_with((proa_loop_options){.send_file_by = "copy"});
    file = open(temp_fresh("source"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(file >= 0);
    for (uint64_t at = 0; at < size; at += PIECE) {
        pattern_fill(data, PIECE, at);
        REQUIRE(write(file, data, PIECE) == PIECE);
    }
    tick = (struct slot){0};
    proa_timer_repeat(loop, &tick.op, 1, MS / 4, slot_done);
}

static void close_all(void)
{
    proa_cancel(&tick.op);
    RUN_UNTIL(loop, tick.finals);
    close_plain(file);
    proa_loop_close(loop);
}

/* Nobody is done before everybody has begun. */
static void test_turns(void)
{
    static struct sending sendings[MANY];
    const uint64_t size = 4 * PIECE;
    size_t over = 0, begun = 0;

    test_case("%d at once", MANY);
    open_all(size);
    sendings_open(sendings, MANY);
    for (size_t i = 0; i < MANY; i++)
        sending_start(&sendings[i], size);
    while (over == 0) {
        proa_loop_run(loop, PROA_ONCE);
        for (size_t i = 0; i < MANY; i++) {
            sending_read(&sendings[i]);
            over += sendings[i].slot.finals;
        }
    }
    for (size_t i = 0; i < MANY; i++)
        begun += proa_sent(&sendings[i].slot.op) > 0;
    HOLDS(begun == MANY || strcmp(test_engine(), "threads") == 0); /* whose threads need no turns */
    sendings_finish(sendings, MANY, size);
    sendings_close(sendings, MANY);
    close_all();
}

/* Who does not read keeps no buffer from those who do: who come later, or wait already. The sockets are full beforehand, so
 * that not even a first step of theirs ends; but direct ones, which no number leads to. */
static void test_full_sockets(bool at_once)
{
    static struct sending full[FULL], further[FURTHER];
    const uint64_t size = 4 * PIECE;

    test_case("%d full sockets, and %d with room %s", FULL, FURTHER, at_once ? "at once" : "later");
    open_all(size);
    sendings_open(full, FULL);
    sendings_open(further, FURTHER);
    for (size_t i = 0; i < FULL; i++) {
        far_fill(full[i].near.handle);
        sending_start(&full[i], size);
    }
    if (!at_once)
        loop_run_for(loop, 5 * MS);
    for (size_t i = 0; i < FURTHER; i++)
        sending_start(&further[i], 2 * PIECE);
    sendings_finish(further, FURTHER, 2 * PIECE);
    for (size_t i = 0; i < FULL; i++) {
        HOLDS(full[i].slot.finals == 0);
        proa_cancel(&full[i].slot.op);
        RUN_UNTIL(loop, full[i].slot.finals);
        HOLDS(full[i].slot.value == -ECANCELED);
    }
    sendings_close(full, FULL);
    sendings_close(further, FURTHER);
    close_all();
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "fetches");
    /* On a machine there is no thread to be held, and on this engine each send has its own. */
    if (!test_simulated() && strcmp(test_engine(), "threads") != 0) {
        test_behind_a_fetch("sendfile");
        test_behind_a_fetch("copy");
    }
    test_turns();
    test_full_sockets(false);
    test_full_sockets(true);
    return check_done("fetches");
}

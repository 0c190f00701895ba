/* Streams: bytes, copies and files in one order; marks to the byte; one error for all; and that order and gathering are the
 * socket's queue at work. */
#include "harness.h"

enum { PIECE = 1000, PIECES = 64, BULK = 1 << 20, STALLING = 3 };

struct piece {
    proa_chunk chunk;
    unsigned finals;
    int64_t value;
    uint64_t order;
};

static proa_loop *loop;
static proa_fd near;
static int far;

static struct under {
    proa_stream stream;
    unsigned finals, rooms;
    int64_t value, room;
    void (*on_room)(void);
} under;

static struct piece pieces[PIECES];
static uint64_t orders;
static void (*after_piece)(void);
static char bulk[BULK];
static _Alignas(16) char memory[32768];

static void on_piece(proa_op *op, proa_result result)
{
    struct piece *piece = proa_owner(op, struct piece, chunk.op);

    REQUIRE(!test_in_call && !proa_in_flight(op));
    piece->finals++;
    piece->value = result.value;
    piece->order = ++orders;
    if (after_piece)
        after_piece();
}

static void on_stream(proa_op *op, proa_result result)
{
    REQUIRE(!test_in_call && op == &under.stream.op);
    if (result.flags & PROA_MORE) {
        under.rooms++;
        under.room = result.value;
        if (under.on_room)
            under.on_room();
        return;
    }
    under.finals++;
    under.value = result.value;
}

static void begin(enum family family, proa_stream_options options)
{
    memset(&under, 0, sizeof(under));
    memset(pieces, 0, sizeof(pieces));
    pair_open(loop, family, &near, &far);
    CALL(proa_stream_start(loop, &under.stream, near, &options, on_stream));
}

static int write_piece(unsigned i, const void *data, size_t size)
{
    int room;

    CALL(room = proa_stream_write(&under.stream, &pieces[i].chunk, data, size, on_piece));
    return room;
}

static int write_text(const char *text, size_t size)
{
    int room;

    CALL(room = proa_stream_text(&under.stream, text, size));
    return room;
}

/* Reads at most so much at a time, until `size` bytes have come; all of the pattern. */
static bool read_pattern(uint64_t from, uint64_t size, size_t gulp)
{
    static char data[65536];
    bool good = true;

    for (uint64_t got = 0; got < size;) {
        ssize_t count = recv(far, data, gulp < size - got ? gulp : size - got, MSG_DONTWAIT);

        if (count > 0)
            good &= pattern_holds(data, (size_t)count, from + got);
        if (count > 0)
            got += (uint64_t)count;
        else if (count == 0 || under.finals)
            return false;
        if (count > 0)
            proa_loop_run(loop, PROA_NO_WAIT);
        else
            loop_run_for(loop, MS / 20);
    }
    return good;
}

static unsigned pieces_over(unsigned count)
{
    unsigned over = 0;

    for (unsigned i = 0; i < count; i++)
        over += pieces[i].finals;
    return over;
}

static void finish(void)
{
    RUN_UNTIL(loop, under.finals);
    close_now(loop, near);
    close_plain(far);
    HOLDS(under.finals == 1 && !proa_in_flight(&under.stream.op));
}

static void check_pieces(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        HOLDS(pieces[i].finals == 1 && pieces[i].value == PIECE);
        HOLDS(i == 0 || pieces[i].order > pieces[i - 1].order);
    }
}

/* sendfile(2) needs a number. */
static bool sends_files(void)
{
    return proa_fd_number(near) >= 0;
}

static void test_order(enum family family)
{
    enum { ROUNDS = 4 };
    uint64_t gathered = proa_loop_meters(loop).sends_gathered;
    const char *end = bulk + (2 * ROUNDS + 3) * PIECE;
    int file;

    test_case("bytes, copies and a file, %s", family == TCP ? "TCP" : "Unix");
    begin(family, (proa_stream_options){.text = memory, .text_size = sizeof(memory)});
    for (unsigned i = 0; i < ROUNDS; i++) {
        char copy[PIECE / 2];

        HOLDS(write_piece(i, bulk + 2 * i * PIECE, PIECE + PIECE / 2) == 1);
        memcpy(copy, bulk + (2 * i + 1) * PIECE + PIECE / 2, sizeof(copy));
        HOLDS(write_text(copy, sizeof(copy)) == 1);
        memset(copy, 0, sizeof(copy));
    }
    file = temp_file("part", bulk + 2 * ROUNDS * PIECE, 3 * PIECE);
    if (sends_files())
        CALL(proa_stream_send_file(&under.stream, &pieces[ROUNDS].chunk, proa_fd_of(file), 0, 3 * PIECE, on_piece));
    else
        write_piece(ROUNDS, bulk + 2 * ROUNDS * PIECE, 3 * PIECE);
    write_piece(ROUNDS + 1, end, PIECE);
    HOLDS(proa_stream_queued(&under.stream) == (2 * ROUNDS + 4) * PIECE);
    CALL(proa_stream_end(&under.stream));
    CALL(proa_stream_end(&under.stream));
    write_piece(ROUNDS + 2, end, PIECE);
    HOLDS(write_text("late", 4) == -EPIPE);
    HOLDS(read_pattern(0, (2 * ROUNDS + 4) * PIECE, 777));
    RUN_UNTIL(loop, under.finals);
    HOLDS(under.value == 0 && under.rooms == 0 && far_ended(far));
    for (unsigned i = 0; i <= ROUNDS + 1; i++)
        HOLDS(pieces[i].finals == 1 && pieces[i].value > 0 && (i == 0 || pieces[i].order > pieces[i - 1].order));
    RUN_UNTIL(loop, pieces[ROUNDS + 2].finals);
    HOLDS(pieces[ROUNDS + 2].value == -EPIPE);
    HOLDS(proa_loop_meters(loop).sends_gathered - gathered >= 2 * ROUNDS - 1);
    HOLDS(proa_stream_queued(&under.stream) == 0);
    finish();
    close_plain(file);
}

/* Ten pieces are as much as there may be, and from four on there is room. */
static void test_marks(void)
{
    test_case("marks");
    begin(TCP, (proa_stream_options){.high = 10 * PIECE, .low = 4 * PIECE});
    for (unsigned i = 0; i < 9; i++)
        HOLDS(write_piece(i, bulk + i * PIECE, PIECE) == 1);
    HOLDS(write_piece(9, bulk + 9 * PIECE, PIECE) == 0 && proa_stream_queued(&under.stream) == 10 * PIECE);
    HOLDS(write_piece(10, bulk + 10 * PIECE, PIECE) == 0 && proa_stream_queued(&under.stream) == 11 * PIECE);
    HOLDS(read_pattern(0, 11 * PIECE, 65536));
    RUN_UNTIL(loop, pieces_over(11) == 11);
    HOLDS(under.rooms == 1 && under.room == 4 * PIECE);
    check_pieces(11);
    HOLDS(write_piece(11, bulk + 11 * PIECE, PIECE) == 1);
    RUN_UNTIL(loop, pieces[11].finals);
    HOLDS(under.rooms == 1);

    test_case("an idle stream is cancelled");
    CALL(proa_cancel(&under.stream.op));
    finish();
    HOLDS(under.value == -ECANCELED);
}

/* One after the other, as room comes: a reader of any pace bounds what is queued. */
static uint64_t produced, most_queued;
static unsigned turn;

static void produce(void)
{
    int room = 1;

    while (room && produced < BULK && !pieces[turn].chunk.op.state) {
        size_t size = BULK - produced < 5 * PIECE ? BULK - produced : 5 * PIECE;

        pieces[turn].finals = 0;
        room = proa_stream_write(&under.stream, &pieces[turn].chunk, bulk + produced, size, on_piece);
        produced += size;
        turn = (turn + 1) % PIECES;
        if (proa_stream_queued(&under.stream) > most_queued)
            most_queued = proa_stream_queued(&under.stream);
    }
    if (produced == BULK)
        proa_stream_end(&under.stream);
}

static void test_slow_reader(enum family family)
{
    uint64_t before;

    test_case("a slow reader, %s", family == TCP ? "TCP" : "Unix");
    produced = most_queued = turn = 0;
    begin(family, (proa_stream_options){.high = 100 * PIECE});
    set_size(near.handle, SO_SNDBUF, 16384);
    under.on_room = produce;
    threads_await_rest(); /* a sanitizer allocates in each as it starts */
    before = heap_calls();
    produce();
    HOLDS(read_pattern(0, BULK, 50000));
    RUN_UNTIL(loop, under.finals);
    HOLDS(heap_calls() == before || strcmp(test_engine(), "threads") == 0 || test_simulated());
    HOLDS(under.value == 0 && under.rooms >= BULK / (100 * PIECE) - 1 && far_ended(far));
    HOLDS(most_queued >= 100 * PIECE && most_queued < 105 * PIECE);
    finish();
}

/* Texts of all sizes through little memory, again and again. */
static void test_texts(void)
{
    uint64_t sent = 0, refused = 0;

    test_case("texts");
    begin(TCP, (proa_stream_options){.text = memory, .text_size = 2048});
    HOLDS(write_text(bulk, 2048) == -EMSGSIZE && write_text(bulk, SIZE_MAX - 8) == -EMSGSIZE);
    while (sent < 200000) {
        size_t size = 1 + random_below(700);
        int taken = write_text(bulk + sent, size);

        HOLDS(taken >= 0 || taken == -ENOBUFS);
        if (taken >= 0) {
            sent += size;
            continue;
        }
        refused++;
        RUN_UNTIL(loop, under.rooms == refused);
        HOLDS(far_drain(far) <= sent);
    }
    HOLDS(refused > 50);
    CALL(proa_cancel(&under.stream.op));
    finish();
    begin(TCP, (proa_stream_options){0});
    HOLDS(write_text("x", 1) == -EMSGSIZE);
    CALL(proa_stream_end(&under.stream));
    finish();
    HOLDS(under.value == 0);
}

/* The same to a reader who takes little at a time, so that some of the memory is always in use, and which is compared. */
static void test_text_ring(enum family family)
{
    uint64_t sent = 0, got = 0, total = test_slow() ? 100000 : 400000;

    test_case("texts, compared, %s", family == TCP ? "TCP" : "Unix");
    begin(family, (proa_stream_options){.text = memory, .text_size = sizeof(memory)});
    set_size(near.handle, SO_SNDBUF, 4096);
    while (got < total) {
        size_t size = 1 + random_below(700);
        int taken = sent < total ? write_text(bulk + sent, size) : 0;
        char data[1000];
        ssize_t count;

        REQUIRE(taken >= 0 || taken == -ENOBUFS);
        if (sent < total && taken >= 0) {
            sent += size;
            continue;
        }
        count = recv(far, data, 1 + random_below(sizeof(data)), MSG_DONTWAIT);
        if (count > 0 && !HOLDS(pattern_holds(data, (size_t)count, got)))
            break;
        if (count > 0)
            got += (uint64_t)count;
        proa_loop_run(loop, count > 0 ? PROA_NO_WAIT : PROA_ONCE);
    }
    CALL(proa_stream_end(&under.stream));
    RUN_UNTIL(loop, under.finals || far_drain(far));
    finish();
}

/* Much is queued that nobody reads; then comes the end, some way or other. All have their completion. */
static void stall(void)
{
    begin(TCP, (proa_stream_options){.text = memory, .text_size = sizeof(memory)});
    set_size(near.handle, SO_SNDBUF, 16384);
    for (unsigned i = 0; i < STALLING; i++)
        write_piece(i, bulk, BULK);
    HOLDS(write_text("never", 5) == 0);
    for (unsigned i = STALLING; i < 10; i++)
        write_piece(i, bulk, PIECE);
    HOLDS(write_text("never", 5) == 0);
    loop_run_for(loop, MS);
    HOLDS(!under.finals && pieces_over(10) < STALLING);
}

static void fails_with(int64_t error)
{
    RUN_UNTIL(loop, under.finals);
    HOLDS(under.value == error && under.rooms == 0 && pieces_over(10) == 10);
    for (unsigned i = STALLING; i < 10; i++)
        HOLDS(pieces[i].value == -ECANCELED || pieces[i].value == error);
    HOLDS(proa_stream_queued(&under.stream) == 0);
    close_now(loop, near);
}

static void cancel_stream(void)
{
    proa_cancel(&under.stream.op);
}

static void test_errors(void)
{
    test_case("the peer goes");
    stall();
    close_plain(far);
    RUN_UNTIL(loop, under.finals);
    HOLDS(under.value == -ECONNRESET || under.value == -EPIPE);
    fails_with(under.value);

    test_case("a piece is cancelled");
    stall();
    CALL(proa_cancel(&pieces[5].chunk.op));
    RUN_UNTIL(loop, pieces[5].finals);
    write_piece(20, bulk, PIECE);
    HOLDS(write_text("late", 4) == -EPIPE);
    RUN_UNTIL(loop, pieces[20].finals);
    HOLDS(pieces[20].value == -ECANCELED);
    fails_with(-ECANCELED);
    close_plain(far);
}

static void test_early_ends(void)
{
    test_case("the stream is cancelled");
    stall();
    CALL(proa_stream_end(&under.stream));
    CALL(proa_cancel(&under.stream.op));
    CALL(proa_cancel(&under.stream.op));
    fails_with(-ECANCELED);
    close_plain(far);

    test_case("it is cancelled in the callback of its last piece");
    begin(TCP, (proa_stream_options){0});
    after_piece = cancel_stream;
    write_piece(0, bulk, PIECE);
    RUN_UNTIL(loop, under.finals);
    after_piece = NULL;
    HOLDS(under.value == -ECANCELED && pieces[0].value == PIECE);
    finish();

    test_case("its deadline passes");
    stall();
    CALL(proa_set_deadline(&under.stream.op, clock_ns() + MS));
    fails_with(-ETIMEDOUT);
    close_plain(far);

    test_case("the socket is closed");
    stall();
    close_now(loop, near);
    HOLDS(under.finals == 1 && under.value == -ECANCELED && pieces_over(10) == 10);
    close_plain(far);

    test_case("the socket of an idle stream is closed");
    begin(TCP, (proa_stream_options){0});
    close_now(loop, near);
    HOLDS(under.finals == 1 && under.value == -ECANCELED);
    close_plain(far);

    test_case("no socket at all");
    under.finals = 0;
    CALL(proa_stream_start(loop, &under.stream, near, NULL, on_stream));
    write_piece(0, bulk, PIECE);
    RUN_UNTIL(loop, under.finals && pieces[0].finals);
    HOLDS(under.value == -EBADF && pieces[0].value == -EBADF);
    under.finals = pieces[0].finals = 0;
    CALL(proa_stream_start(loop, &under.stream, proa_fd_of(INT32_MAX), NULL, on_stream));
    write_piece(0, bulk, PIECE);
    RUN_UNTIL(loop, under.finals && pieces[0].finals);
    HOLDS(under.value == -EBADF && pieces[0].value == -ECANCELED);
}

static void test_short_file(void)
{
    int file = temp_file("short", bulk, 3 * PIECE);

    test_case("a file that is shorter than was said");
    begin(TCP, (proa_stream_options){0});
    CALL(proa_stream_send_file(&under.stream, &pieces[0].chunk, proa_fd_of(file), 0, 5 * PIECE, on_piece));
    HOLDS(read_pattern(0, 3 * PIECE, 65536));
    RUN_UNTIL(loop, under.finals);
    HOLDS(under.value == -EIO && pieces[0].value == 3 * PIECE);
    finish();
    close_plain(file);
}

/* A stream that is started from the last callback of one that ends with its loop. */
static proa_stream late;
static unsigned late_finals;

static void on_late(proa_op *op, proa_result result)
{
    HOLDS(op == &late.op && result.value == -ECANCELED);
    late_finals++;
}

static void on_ended(proa_op *op, proa_result result)
{
    on_stream(op, result);
    proa_stream_start(loop, &late, near, NULL, on_late);
    HOLDS(proa_stream_text(&late, "x", 1) < 0);
    proa_stream_write(&late, &pieces[30].chunk, "x", 1, on_piece);
    proa_stream_end(&late);
}

static void test_loop_close(void)
{
    test_case("the loop closes");
    stall();
    under.stream.op.callback = on_ended;
    proa_loop_close(loop);
    HOLDS(under.finals == 1 && under.value == -ECANCELED && pieces_over(10) == 10);
    HOLDS(late_finals == 1 && pieces[30].finals == 1 && pieces[30].value == -ECANCELED);
    if (!test_simulated()) {
        close_plain(near.handle);
        close_plain(far);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "streams");
    pattern_fill(bulk, sizeof(bulk), 0);
    loop = loop_open();
    test_order(TCP);
    test_order(UNIX);
    test_marks();
    test_slow_reader(TCP);
    test_slow_reader(UNIX);
    test_texts();
    test_text_ring(TCP);
    test_text_ring(UNIX);
    test_errors();
    test_early_ends();
    if (!test_has(PROA_FEATURE_DIRECT))
        test_short_file();
    test_loop_close();
    return check_done("streams");
}

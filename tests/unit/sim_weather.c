/* What a simulated machine can be told to do to its programs: limits, faults by script, and each chance, made certain. */
#include <errno.h>
#include <proa/proa.h>
#include <proa/sim.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../check.h"
#include "machine/machine.h"

enum { CERTAIN = 1000000 };

static proa_sim *sim;
static proa_loop *loop;

struct slot {
    proa_op op;
    int64_t value;
    uint64_t at_ns;
    unsigned completions;
};

static void on_done(proa_op *op, proa_result result)
{
    struct slot *slot = proa_owner(op, struct slot, op);

    slot->value = result.value;
    slot->at_ns = proa_now(op->loop);
    slot->completions++;
}

static void enter(proa_sim_options options)
{
    CHECK(proa_sim_open(&sim, &options) == 0);
    CHECK(proa_sim_enter(sim) == 0);
    CHECK(proa_loop_open(&loop, NULL) == 0);
}

static void leave(void)
{
    proa_loop_close(loop);
    proa_sim_leave();
    proa_sim_close(sim);
}

/* The value that the op which START starts completes with. */
#define AWAIT(start)                        \
    ({                                      \
        struct slot slot_ = {0};            \
        proa_op *op = &slot_.op;            \
        start;                              \
        while (proa_in_flight(op))          \
            proa_loop_run(loop, PROA_ONCE); \
        CHECK(slot_.completions == 1);      \
        slot_.value;                        \
    })

static int64_t open_file(const char *path, int flags)
{
    return AWAIT(proa_open(loop, op, PROA_CWD, path, (proa_open_how){.flags = flags, .mode = 0600}, on_done));
}

static int64_t read_file(int64_t fd, void *data, size_t size)
{
    return AWAIT(proa_read(loop, op, proa_fd_of((int)fd), data, size, 0, on_done));
}

static int64_t write_file(int64_t fd, const void *data, size_t size)
{
    return AWAIT(proa_write(loop, op, proa_fd_of((int)fd), data, size, 0, on_done));
}

/* A TCP connection within the machine. */
static int64_t connect_pair(int64_t *ret_taken)
{
    proa_address address;
    struct slot accepted = {0};
    int64_t listener, connected;

    CHECK(proa_address_parse("127.0.0.1:0", &address) == 0);
    listener = AWAIT(proa_listen(loop, op, &address, 8, 0, on_done));
    CHECK(proa_local_address(NULL, proa_fd_of((int)listener), &address) == 0);
    proa_accept(loop, &accepted.op, proa_fd_of((int)listener), on_done);
    connected = AWAIT(proa_connect(loop, op, &address, on_done));
    proa_set_deadline(&accepted.op, proa_now(loop) + PROA_SECOND_NS);
    while (proa_in_flight(&accepted.op))
        proa_loop_run(loop, PROA_ONCE);
    *ret_taken = accepted.value;
    CHECK(AWAIT(proa_close(loop, op, proa_fd_of((int)listener), on_done)) == 0);
    return connected;
}

/* The disk */

static void test_files(void)
{
    char data[16] = "";
    uint64_t start_ns;
    struct statx status;
    int64_t fd;

    enter((proa_sim_options){0});
    CHECK(proa_sim_put_file(sim, "/deep/down/file", "content", 7) == 0);
    CHECK(proa_sim_put_file(sim, "/deep/down", "", 0) == -EISDIR);
    CHECK(proa_sim_put_file(sim, "/deep/down/file/below", "", 0) == -ENOTDIR);
    CHECK(proa_sim_make_directory(sim, "/deep/down/file/below") == -ENOTDIR);
    CHECK(proa_sim_get_file(sim, "/deep/none", data, sizeof(data)) == -ENOENT);
    CHECK(proa_sim_get_file(sim, "/deep", data, sizeof(data)) == -EISDIR);
    start_ns = proa_sim_now(sim);
    fd = open_file("/deep/down/file", O_RDWR);
    CHECK(fd >= 0 && proa_sim_now(sim) > start_ns);
    CHECK(read_file(fd, data, sizeof(data)) == 7 && memcmp(data, "content", 7) == 0);
    CHECK(write_file(fd, "Other", 5) == 5);
    CHECK(AWAIT(proa_fsync(loop, op, proa_fd_of((int)fd), on_done)) == 0);
    CHECK(AWAIT(proa_stat(loop, op, proa_fd_of((int)fd), "", 0, STATX_BASIC_STATS, &status, on_done)) == 0);
    CHECK(status.stx_size == 7 && S_ISREG(status.stx_mode));
    CHECK(AWAIT(proa_close(loop, op, proa_fd_of((int)fd), on_done)) == 0);
    CHECK(proa_sim_get_file(sim, "/deep/down/file", data, sizeof(data)) == 7 && memcmp(data, "Othernt", 7) == 0);
    leave();
}

static void test_full_disk(void)
{
    static char data[64 << 10];
    int64_t fd;

    enter((proa_sim_options){.disk_size = 32 << 10});
    fd = open_file("/file", O_RDWR | O_CREAT);
    CHECK(write_file(fd, data, sizeof(data)) == 32 << 10);
    CHECK(AWAIT(proa_write(loop, op, proa_fd_of((int)fd), data, 1, 40 << 10, on_done)) == -ENOSPC);
    CHECK(proa_sim_put_file(sim, "/other", data, 1) == -ENOSPC);
    CHECK(proa_sim_put_file(sim, "/file", data, sizeof(data) / 2) == 0);
    leave();
}

/* With two at a time, of ops that take from a tenth of a time to all of it. */
static void test_disk_queue(void)
{
    enum { OPS = 8 };
    struct slot slots[OPS] = {0};
    uint64_t start_ns;

    enter((proa_sim_options){.disk_queue = 2, .disk_latency_ns = PROA_SECOND_NS});
    start_ns = proa_now(loop);
    for (int i = 0; i < OPS; i++)
        proa_open(loop, &slots[i].op, PROA_CWD, "/tmp", (proa_open_how){.flags = O_RDONLY}, on_done);
    CHECK(proa_loop_run(loop, PROA_ONCE) > 0);
    proa_cancel(&slots[OPS - 1].op);
    CHECK(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    CHECK(slots[OPS - 1].value == -ECANCELED);
    for (int i = 0; i < OPS - 1; i++)
        CHECK(slots[i].value >= 0 && slots[i].at_ns >= start_ns + PROA_SECOND_NS / 10);
    CHECK(proa_sim_now(sim) >= start_ns + 4 * PROA_SECOND_NS / 10);
    CHECK(proa_sim_now(sim) <= start_ns + (OPS - 1) * PROA_SECOND_NS);
    leave();
}

/* Who asks about a file has a place beside those whose files come from the disk, however many they are; and of those none
 * is lost. The fourth thread takes what is asked as it comes, so that it is told within the time that an op takes. */
static void test_cold_files(const char *mover)
{
    enum { SENDS = 40, SIZE = 100 };
    static char content[SIZE];
    static struct slot sends[SENDS];
    const proa_loop_options options = {.send_file_by = mover};
    struct slot stat = {0};
    struct statx status;
    int64_t near[SENDS], far[SENDS], file;
    uint64_t start_ns;

    enter((proa_sim_options){.disk_latency_ns = PROA_SECOND_NS, .chances = {.cold_file = CERTAIN}});
    proa_loop_close(loop);
    CHECK(proa_loop_open(&loop, &options) == 0);
    CHECK(proa_sim_put_file(sim, "/cold", content, SIZE) == 0);
    file = open_file("/cold", O_RDONLY);
    for (int i = 0; i < SENDS; i++)
        near[i] = connect_pair(&far[i]);
    for (int i = 0; i < SENDS; i++) {
        sends[i] = (struct slot){0};
        proa_send_file(loop, &sends[i].op, proa_fd_of((int)near[i]), proa_fd_of((int)file), 0, SIZE, on_done);
    }
    start_ns = proa_now_refresh(loop);
    while (proa_now(loop) < start_ns + PROA_SECOND_NS / 10)
        proa_loop_run(loop, PROA_ONCE);
    start_ns = proa_now(loop);
    proa_stat(loop, &stat.op, PROA_CWD, "/cold", 0, STATX_BASIC_STATS, &status, on_done);
    proa_cancel(&sends[SENDS / 2].op);
    CHECK(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    CHECK(stat.value == 0 && stat.at_ns <= start_ns + PROA_SECOND_NS);
    for (int i = 0; i < SENDS; i++)
        CHECK(sends[i].completions == 1 && sends[i].value == (i == SENDS / 2 ? -ECANCELED : SIZE));
    CHECK(sends[SENDS - 1].at_ns > stat.at_ns);
    leave();
}

static void test_disk_chances(void)
{
    char data[1000];
    int64_t fd;

    memset(data, 1, sizeof(data));
    enter((proa_sim_options){.chances = {.short_read = CERTAIN, .short_write = CERTAIN}});
    fd = open_file("/file", O_RDWR | O_CREAT);
    CHECK(write_file(fd, data, sizeof(data)) < 1000);
    CHECK(proa_sim_put_file(sim, "/file", data, sizeof(data)) == 0);
    CHECK(read_file(fd, data, sizeof(data)) < 1000);
    leave();

    enter((proa_sim_options){.chances = {.read_error = CERTAIN, .write_error = CERTAIN}});
    fd = open_file("/file", O_RDWR | O_CREAT);
    CHECK(write_file(fd, data, 1) == -EIO);
    CHECK(read_file(fd, data, 1) == -EIO);
    CHECK(AWAIT(proa_fsync(loop, op, proa_fd_of((int)fd), on_done)) == -EIO);
    leave();

    enter((proa_sim_options){.chances = {.disk_full = CERTAIN}});
    fd = open_file("/file", O_RDWR | O_CREAT);
    CHECK(write_file(fd, data, 1) == -ENOSPC);
    leave();

    enter((proa_sim_options){.disk_latency_ns = PROA_SECOND_NS, .chances = {.slow_disk = CERTAIN}});
    uint64_t start_ns = proa_now(loop);
    CHECK(open_file("/tmp", O_RDONLY) >= 0);
    CHECK(proa_now(loop) >= start_ns + 10 * PROA_SECOND_NS);
    leave();
}

/* The network */

static void test_connection_chances(void)
{
    int64_t near, far;
    char data[8] = "";

    enter((proa_sim_options){.chances = {.refused = CERTAIN}});
    CHECK(connect_pair(&far) == -ECONNREFUSED && far == -ETIMEDOUT);
    leave();

    enter((proa_sim_options){.chances = {.reset = CERTAIN}});
    near = connect_pair(&far);
    CHECK(near >= 0 && far >= 0);
    CHECK(AWAIT(proa_send(loop, op, proa_fd_of((int)near), data, 1, on_done)) == -ECONNRESET);
    CHECK(AWAIT(proa_recv(loop, op, proa_fd_of((int)far), data, 1, on_done)) == -ECONNRESET);
    CHECK(AWAIT(proa_recv(loop, op, proa_fd_of((int)near), data, 1, on_done)) == 0);
    leave();

    enter((proa_sim_options){.chances = {.aborted = CERTAIN}});
    near = connect_pair(&far);
    CHECK(far == -ETIMEDOUT); /* an accept passes over it */
    if (near >= 0)
        near = AWAIT(proa_recv(loop, op, proa_fd_of((int)near), data, 1, on_done));
    CHECK(near == -ECONNRESET);
    leave();
}

/* Sends `size` bytes, and receives them: how often, and until when, is what the chances change. */
static unsigned transfer(proa_sim_options options, size_t size, uint64_t *ret_ns)
{
    static char out[10000], in[10000];
    struct slot sent = {0};
    unsigned receives = 0;
    int64_t near, far;
    size_t received = 0;

    for (size_t i = 0; i < size; i++)
        out[i] = (char)(i * 7);
    enter(options);
    near = connect_pair(&far);
    *ret_ns = proa_now_refresh(loop);
    proa_send(loop, &sent.op, proa_fd_of((int)near), out, size, on_done);
    while (received < size) {
        int64_t got = AWAIT(proa_recv(loop, op, proa_fd_of((int)far), in + received, sizeof(in) - received, on_done));

        if (!CHECK(got > 0))
            break;
        received += (size_t)got;
        receives++;
    }
    *ret_ns = proa_now(loop) - *ret_ns;
    CHECK(sent.value == (int64_t)size && received == size && memcmp(in, out, size) == 0);
    leave();
    return receives;
}

static void test_transfer_chances(void)
{
    uint64_t calm_ns, slow_ns, ignored_ns;

    CHECK(transfer((proa_sim_options){0}, 10000, &calm_ns) == 1);
    CHECK(transfer((proa_sim_options){.chances = {.short_recv = CERTAIN}}, 10000, &ignored_ns) > 1);
    CHECK(transfer((proa_sim_options){.chances = {.short_send = CERTAIN}}, 10000, &ignored_ns) > 1);
    CHECK(transfer((proa_sim_options){.chances = {.split = CERTAIN}}, 10000, &ignored_ns) > 1);
    CHECK(transfer((proa_sim_options){.chances = {.late_report = CERTAIN}}, 10000, &ignored_ns) == 1);
    CHECK(transfer((proa_sim_options){.chances = {.interrupted = CERTAIN / 2}}, 10000, &ignored_ns) >= 1);
    CHECK(transfer((proa_sim_options){.chances = {.slow_network = CERTAIN}}, 10000, &slow_ns) == 1);
    CHECK(slow_ns > 20 * calm_ns);
    CHECK(transfer((proa_sim_options){.socket_buffer = 1000}, 10000, &ignored_ns) >= 10);
    CHECK(transfer((proa_sim_options){.latency_ns = PROA_SECOND_NS}, 10, &slow_ns) == 1);
    CHECK(slow_ns >= PROA_SECOND_NS / 10);
}

/* Sends a hundred numbered datagrams; tells how many came, and how many were behind a later one. */
static void send_datagrams(proa_sim_options options, unsigned *ret_came, unsigned *ret_late)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    unsigned char number, latest = 0;
    int from, to;

    enter(options);
    from = machine_socket(sim, AF_INET, SOCK_DGRAM);
    to = machine_socket(sim, AF_INET, SOCK_DGRAM);
    CHECK(machine_bind(sim, to, (struct sockaddr *)&address, size) == 0);
    CHECK(machine_getsockname(sim, to, (struct sockaddr *)&address, &size) == 0);
    CHECK(machine_connect(sim, from, (struct sockaddr *)&address, size) == 0);
    for (number = 0; number < 100; number++)
        CHECK(machine_send(sim, from, &number, 1, 0) == 1);
    CHECK(machine_wait(sim, NULL, NULL, proa_sim_now(sim) + PROA_SECOND_NS) == 0);
    *ret_came = *ret_late = 0;
    while (machine_recv(sim, to, &number, 1, 0) == 1) {
        *ret_came += 1;
        *ret_late += number < latest;
        latest = number > latest ? number : latest;
    }
    leave();
}

static void test_datagram_chances(void)
{
    unsigned came, late;

    send_datagrams((proa_sim_options){0}, &came, &late);
    CHECK(came == 100);
    send_datagrams((proa_sim_options){.chances = {.datagram_lost = CERTAIN}}, &came, &late);
    CHECK(came == 0);
    send_datagrams((proa_sim_options){.chances = {.datagram_lost = CERTAIN / 2}}, &came, &late);
    CHECK(came > 20 && came < 80);
    send_datagrams((proa_sim_options){.chances = {.datagram_doubled = CERTAIN}}, &came, &late);
    CHECK(came == 200);
    send_datagrams((proa_sim_options){.chances = {.datagram_late = CERTAIN / 2}}, &came, &late);
    CHECK(came == 100 && late > 20);
}

/* Limits and scripts */

static void test_descriptors(void)
{
    int64_t near, far;

    enter((proa_sim_options){.chances = {.no_descriptor = CERTAIN / 2}});
    unsigned refused = 0;
    for (int i = 0; i < 100; i++)
        refused += open_file("/tmp", O_RDONLY) == -EMFILE;
    CHECK(refused > 20 && refused < 80);
    leave();

    /* The wake-up, the listener and the connecting end are 3 to 5. */
    enter((proa_sim_options){.descriptors_max = 6});
    near = connect_pair(&far);
    CHECK(near >= 0 && far == -ETIMEDOUT && proa_loop_meters(loop).accepts_paused > 0);
    leave();
}

static void test_script(void)
{
    char data[8] = "";
    int64_t fd;

    enter((proa_sim_options){0});
    CHECK(proa_sim_fault(sim, "nonsense", 0, 1, -EIO, 0) == -EINVAL);
    CHECK(proa_sim_fault(sim, "open", 1, 2, -ENFILE, 0) == 0);
    CHECK(open_file("/tmp", O_RDONLY) >= 0);
    CHECK(open_file("/tmp", O_RDONLY) == -ENFILE);
    CHECK(open_file("/tmp", O_RDONLY) == -ENFILE);
    CHECK(open_file("/tmp", O_RDONLY) >= 0);
    CHECK(proa_sim_put_file(sim, "/file", "content", 7) == 0);
    fd = open_file("/file", O_RDONLY);
    CHECK(proa_sim_fault(sim, "read", 0, 1, 0, 3) == 0);
    CHECK(read_file(fd, data, sizeof(data)) == 3);
    CHECK(read_file(fd, data, sizeof(data)) == 7);
    leave();
}

/* A machine for whoever only names the engine: threads outside may post to it. */

static struct slot posted;

static void on_posted(proa_op *op, proa_result result)
{
    on_done(op, result);
    proa_loop_stop(op->loop);
}

static void *post_late(void *argument)
{
    usleep(20000);
    proa_post(argument, &posted.op, on_posted);
    return NULL;
}

static int64_t draw_time(void)
{
    struct slot slot = {0};
    uint64_t start_ns = proa_now(loop);

    proa_open(loop, &slot.op, PROA_CWD, "/tmp", (proa_open_how){.flags = O_RDONLY}, on_done);
    CHECK(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0 && slot.value >= 0);
    return (int64_t)(slot.at_ns - start_ns);
}

static void test_own_machine(void)
{
    proa_loop_options options = {.engine = "sim"};
    proa_loop *real, *second;
    pthread_t thread;
    int64_t took;

    setenv("PROA_SIM_SEED", "42", 1);
    CHECK(proa_loop_open(&loop, &options) == 0);
    took = draw_time();
    CHECK(proa_loop_open(&second, &options) == 0); /* shares it */
    CHECK(proa_loop_open(&real, NULL) == 0 && strcmp(proa_loop_engine(real), "sim") != 0);
    proa_loop_close(real);
    proa_loop_close(second);
    CHECK(pthread_create(&thread, NULL, post_late, loop) == 0);
    CHECK(proa_loop_run(loop, PROA_UNTIL_STOPPED) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(posted.completions == 1);
    proa_loop_close(loop);
    for (int i = 0; i < 2; i++) {
        CHECK(proa_loop_open(&loop, &options) == 0);
        CHECK((draw_time() == took) == (i == 0));
        proa_loop_close(loop);
        setenv("PROA_SIM_SEED", "43", 1);
    }
}

int main(void)
{
    test_files();
    test_full_disk();
    test_disk_queue();
    test_cold_files("sendfile");
    test_cold_files("copy");
    test_disk_chances();
    test_connection_chances();
    test_transfer_chances();
    test_datagram_chances();
    test_descriptors();
    test_script();
    test_own_machine();
    return check_done("sim_weather");
}

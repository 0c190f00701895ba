#include "calls.h"

#include <poll.h>

static int64_t nothing(proa_op *op)
{
    (void)op;
    return 0;
}

/* clang-format off */
static void call_cancel(struct call_scene *s) { proa_cancel(&s->pending.op); }
static void call_set_deadline(struct call_scene *s) { proa_set_deadline(&s->pending.op, 1); }
static void call_close(struct call_scene *s) { proa_close(s->loop, &s->fresh.op, s->fd, slot_done); }
static void call_listen(struct call_scene *s) { proa_listen(s->loop, &s->fresh.op, &s->address, 4, 0, slot_done); }
static void call_accept(struct call_scene *s) { proa_accept(s->loop, &s->fresh.op, s->fd, slot_done); }
static void call_accept_many(struct call_scene *s) { proa_accept_many(s->loop, &s->fresh.op, s->fd, slot_done); }
static void call_connect(struct call_scene *s) { proa_connect(s->loop, &s->fresh.op, &s->address, slot_done); }
static void call_recv(struct call_scene *s) { proa_recv(s->loop, &s->fresh.op, s->fd, s->data, 1, slot_done); }
static void call_recv_many(struct call_scene *s) { proa_recv_many(s->loop, &s->fresh.op, s->fd, s->pool, slot_done); }
static void call_send(struct call_scene *s) { proa_send(s->loop, &s->fresh.op, s->fd, s->data, 1, slot_done); }
static void call_relaxed(struct call_scene *s)
{
    proa_send_relaxed(s->loop, &s->fresh.op, s->fd, s->data, 1, slot_done);
}
static void call_send_file(struct call_scene *s)
{
    proa_send_file(s->loop, &s->fresh.op, s->fd, s->fd, 0, 1, slot_done);
}
static void call_zero_copy(struct call_scene *s)
{
    proa_send_zero_copy(s->loop, &s->fresh.op, s->fd, s->data, 1, slot_done);
}
static void call_shutdown(struct call_scene *s) { proa_shutdown(s->loop, &s->fresh.op, s->fd, SHUT_WR, slot_done); }
static void call_datagram_open(struct call_scene *s)
{
    proa_datagram_open(s->loop, &s->fresh.op, &s->address, NULL, 0, slot_done);
}
static void call_recv_from(struct call_scene *s)
{
    proa_recv_from(s->loop, &s->fresh.op, s->fd, s->data, 1, &s->datagram, slot_done);
}
static void call_recv_from_many(struct call_scene *s)
{
    proa_recv_from_many(s->loop, &s->fresh.op, s->fd, s->pool, slot_done);
}
static void call_send_to(struct call_scene *s) { proa_send_to(s->loop, &s->fresh.op, s->fd, &s->datagram, slot_done); }
static void call_splice(struct call_scene *s)
{
    proa_splice(s->loop, &s->fresh.op, &s->splicing, s->fd, 0, s->fd, 0, 1, slot_done);
}
static void call_tee(struct call_scene *s)
{
    proa_tee(s->loop, &s->fresh.op, &s->splicing, s->fd, s->fd, 1, slot_done);
}
static void call_vmsplice(struct call_scene *s)
{
    proa_vmsplice(s->loop, &s->fresh.op, &s->splicing, s->fd, s->data, 1, slot_done);
}
static void call_relay(struct call_scene *s)
{
    proa_relay(s->loop, &s->fresh.op, &s->relaying, s->relay_pool, s->fd, s->fd, slot_done);
}
static void call_pipe(struct call_scene *s)
{
    proa_fd ends[2];

    proa_pipe(s->loop, &ends[0], &ends[1], 0);
}
static void call_relay_pool_open(struct call_scene *s)
{
    proa_relay_pool *pool;

    proa_relay_pool_open(s->loop, 4, 64, &pool);
}
static void call_relay_pool_close(struct call_scene *s) { proa_relay_pool_close(s->relay_pool); }
static void call_open(struct call_scene *s)
{
    proa_open(s->loop, &s->fresh.op, PROA_CWD, "/", (proa_open_how){.flags = O_RDONLY}, slot_done);
}
static void call_read(struct call_scene *s) { proa_read(s->loop, &s->fresh.op, s->fd, s->data, 1, 0, slot_done); }
static void call_write(struct call_scene *s) { proa_write(s->loop, &s->fresh.op, s->fd, s->data, 1, 0, slot_done); }
static void call_fsync(struct call_scene *s) { proa_fsync(s->loop, &s->fresh.op, s->fd, slot_done); }
static void call_fdatasync(struct call_scene *s) { proa_fdatasync(s->loop, &s->fresh.op, s->fd, slot_done); }
static void call_stat(struct call_scene *s)
{
    proa_stat(s->loop, &s->fresh.op, s->fd, "", 0, STATX_BASIC_STATS, &s->status, slot_done);
}
static void call_readv(struct call_scene *s) { proa_readv(s->loop, &s->fresh.op, s->fd, NULL, 0, 0, slot_done); }
static void call_writev(struct call_scene *s) { proa_writev(s->loop, &s->fresh.op, s->fd, NULL, 0, 0, slot_done); }
static void call_truncate(struct call_scene *s) { proa_truncate(s->loop, &s->fresh.op, s->fd, 0, slot_done); }
static void call_allocate(struct call_scene *s) { proa_allocate(s->loop, &s->fresh.op, s->fd, 0, 0, 1, slot_done); }
static void call_make_directory(struct call_scene *s)
{
    proa_make_directory(s->loop, &s->fresh.op, PROA_CWD, "/", 0700, slot_done);
}
static void call_unlink(struct call_scene *s) { proa_unlink(s->loop, &s->fresh.op, PROA_CWD, "/", 0, slot_done); }
static void call_rename(struct call_scene *s)
{
    proa_rename(s->loop, &s->fresh.op, PROA_CWD, "/", s->fd, "/", 0, slot_done);
}
static void call_hard_link(struct call_scene *s)
{
    proa_hard_link(s->loop, &s->fresh.op, PROA_CWD, "/", s->fd, "/", 0, slot_done);
}
static void call_symbolic_link(struct call_scene *s)
{
    proa_symbolic_link(s->loop, &s->fresh.op, "/", PROA_CWD, "/", slot_done);
}
static void call_read_link(struct call_scene *s)
{
    proa_read_link(s->loop, &s->fresh.op, PROA_CWD, "/", s->data, sizeof(s->data), slot_done);
}
static void call_read_directory(struct call_scene *s)
{
    proa_read_directory(s->loop, &s->fresh.op, s->fd, s->data, sizeof(s->data), slot_done);
}
static void call_watch(struct call_scene *s)
{
    proa_watch(s->loop, &s->fresh.op, "/", IN_CREATE, s->data, sizeof(s->data), slot_done);
}
static void call_timer(struct call_scene *s) { proa_timer(s->loop, &s->fresh.op, 1, slot_done); }
static void call_timer_repeat(struct call_scene *s) { proa_timer_repeat(s->loop, &s->fresh.op, 1, 1, slot_done); }
static void call_poll(struct call_scene *s) { proa_poll(s->loop, &s->fresh.op, s->fd, POLLIN, slot_done); }
static void call_signal(struct call_scene *s) { proa_signal(s->loop, &s->fresh.op, SIGUSR1, slot_done); }
static void call_work(struct call_scene *s) { proa_work(s->loop, &s->fresh.op, nothing, slot_done); }
static void call_spawn(struct call_scene *s)
{
    static char *const arguments[] = {"true", NULL};
    static const proa_command command = {.arguments = arguments};

    proa_spawn(s->loop, &s->fresh.op, &command, &s->process, slot_done);
}
static void call_wait_child(struct call_scene *s) { proa_wait_child(s->loop, &s->fresh.op, s->fd, slot_done); }
static void call_post(struct call_scene *s) { proa_post(s->loop, &s->fresh.op, slot_done); }
static void call_wake(struct call_scene *s) { proa_loop_wake(s->loop); }
static void call_run(struct call_scene *s) { proa_loop_run(s->loop, PROA_NO_WAIT); }
static void call_stop(struct call_scene *s) { proa_loop_stop(s->loop); }
static void call_loop_close(struct call_scene *s) { proa_loop_close(s->loop); }
static void call_now(struct call_scene *s) { proa_now(s->loop); }
static void call_now_refresh(struct call_scene *s) { proa_now_refresh(s->loop); }
static void call_meters(struct call_scene *s) { proa_loop_meters(s->loop); }
static void call_refusal(struct call_scene *s) { proa_loop_refusal(s->loop); }
static void call_link_begin(struct call_scene *s) { proa_link_begin(s->loop); }
static void call_link_end(struct call_scene *s) { proa_link_end(s->loop); }
static void call_pool_open(struct call_scene *s)
{
    proa_buffer_pool *pool;

    proa_buffer_pool_open(s->loop, 4, 64, &pool);
}
static void call_pool_close(struct call_scene *s) { proa_buffer_pool_close(s->pool); }
static void call_buffer_return(struct call_scene *s) { proa_buffer_return(s->pool, 0); }
/* clang-format on */

const struct call calls[] = {
    {"proa_cancel", false, call_cancel},
    {"proa_set_deadline", false, call_set_deadline},
    {"proa_close", false, call_close},
    {"proa_listen", false, call_listen},
    {"proa_accept", false, call_accept},
    {"proa_accept_many", false, call_accept_many},
    {"proa_connect", false, call_connect},
    {"proa_recv", false, call_recv},
    {"proa_recv_many", false, call_recv_many},
    {"proa_send", false, call_send},
    {"proa_send_relaxed", false, call_relaxed},
    {"proa_send_file", false, call_send_file},
    {"proa_send_zero_copy", false, call_zero_copy},
    {"proa_shutdown", false, call_shutdown},
    {"proa_datagram_open", false, call_datagram_open},
    {"proa_recv_from", false, call_recv_from},
    {"proa_recv_from_many", false, call_recv_from_many},
    {"proa_send_to", false, call_send_to},
    {"proa_pipe", false, call_pipe},
    {"proa_splice", false, call_splice},
    {"proa_tee", false, call_tee},
    {"proa_vmsplice", false, call_vmsplice},
    {"proa_relay", false, call_relay},
    {"proa_relay_pool_open", false, call_relay_pool_open},
    {"proa_relay_pool_close", false, call_relay_pool_close},
    {"proa_open", false, call_open},
    {"proa_read", false, call_read},
    {"proa_write", false, call_write},
    {"proa_fsync", false, call_fsync},
    {"proa_fdatasync", false, call_fdatasync},
    {"proa_stat", false, call_stat},
    {"proa_readv", false, call_readv},
    {"proa_writev", false, call_writev},
    {"proa_truncate", false, call_truncate},
    {"proa_allocate", false, call_allocate},
    {"proa_make_directory", false, call_make_directory},
    {"proa_unlink", false, call_unlink},
    {"proa_rename", false, call_rename},
    {"proa_hard_link", false, call_hard_link},
    {"proa_symbolic_link", false, call_symbolic_link},
    {"proa_read_link", false, call_read_link},
    {"proa_read_directory", false, call_read_directory},
    {"proa_watch", false, call_watch},
    {"proa_timer", false, call_timer},
    {"proa_timer_repeat", false, call_timer_repeat},
    {"proa_poll", false, call_poll},
    {"proa_signal", false, call_signal},
    {"proa_work", false, call_work},
    {"proa_spawn", false, call_spawn},
    {"proa_wait_child", false, call_wait_child},
    {"proa_post", true, call_post},
    {"proa_loop_wake", true, call_wake},
    {"proa_loop_run", false, call_run},
    {"proa_loop_stop", false, call_stop},
    {"proa_loop_close", false, call_loop_close},
    {"proa_now", false, call_now},
    {"proa_now_refresh", false, call_now_refresh},
    {"proa_loop_meters", false, call_meters},
    {"proa_loop_refusal", false, call_refusal},
    {"proa_link_begin", false, call_link_begin},
    {"proa_link_end", false, call_link_end},
    {"proa_buffer_pool_open", false, call_pool_open},
    {"proa_buffer_pool_close", false, call_pool_close},
    {"proa_buffer_return", false, call_buffer_return},
};

const size_t call_count = ARRAY_SIZE(calls);

void call_scene_open(struct call_scene *scene)
{
    memset(scene, 0, sizeof(*scene));
    scene->loop = loop_open();
    scene->address = address_any(TCP);
    REQUIRE(proa_buffer_pool_open(scene->loop, 4, 64, &scene->pool) == 0);
    REQUIRE(proa_relay_pool_open(scene->loop, 4, 64, &scene->relay_pool) == 0);
    pair_open(scene->loop, TCP, &scene->fd, &scene->far);
    proa_recv(scene->loop, &scene->pending.op, scene->fd, scene->data, sizeof(scene->data), slot_done);
    proa_loop_run(scene->loop, PROA_NO_WAIT);
}

void call_scene_close(struct call_scene *scene)
{
    close_now(scene->loop, scene->fd);
    close_plain(scene->far);
    REQUIRE(scene->pending.finals == 1);
    proa_buffer_pool_close(scene->pool);
    proa_relay_pool_close(scene->relay_pool);
    proa_loop_close(scene->loop);
}

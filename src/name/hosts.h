/* The hosts file (hosts(5)): read by ops, kept sorted by name, and looked at anew at most once a second. */
#ifndef NAME_HOSTS_H
#define NAME_HOSTS_H

#include <proa/file.h>
#include <proa/loop.h>
#include <proa/socket.h>

struct host_line {
    const char *name;
    size_t place; /* in the file */
    int family;
    uint8_t bytes[16];
};

struct hosts {
    char *path; /* null: there is none */
    void (*then)(struct hosts *hosts);
    proa_op op;
    proa_fd fd;
    struct statx status, read_status;
    uint64_t looked_ns;
    int is_known; /* `lines` are those of the file at `looked_ns` */
    int error;
    char *text;
    size_t size, room;
    struct host_line *lines;
    size_t count;
};

int hosts_open(struct hosts *hosts, const char *path, void (*then)(struct hosts *hosts));
void hosts_close(struct hosts *hosts);

/* Whether it can be asked now. If not, it is being read, and `then` is called when it can. */
int hosts_ready(struct hosts *hosts, proa_loop *loop);

/* The lines with that name, in the order of the file. */
size_t hosts_find(const struct hosts *hosts, const char *name, const struct host_line **ret_lines);

#endif

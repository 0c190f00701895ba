/* A program as C. The head gives the words of program.h their plain meaning; then comes a statement per step. */
#include <ctype.h>
#include <string.h>

#include "program.h"

#define NUMBER(name) \
    {                \
#name, name  \
    }

static const struct {
    const char *name;
    int value;
} numbers[] = {
    NUMBER(OPS),         NUMBER(FDS),         NUMBER(FIRST_FILE),     NUMBER(FIRST_LISTENER),
    NUMBER(FILES),       NUMBER(RECEIVE_MAX), NUMBER(SEND_MAX),       NUMBER(BUFFERS),
    NUMBER(BUFFER_SIZE), NUMBER(TICK_NS),     NUMBER(NEVER_TICKS),    NUMBER(BACKLOG),
    NUMBER(SEND_BUFFER), NUMBER(PIECES),      NUMBER(FIRST_DATAGRAM), NUMBER(DATAGRAM_PAIRS),
};

static const char head[] =
    "static proa_loop *loop;\n"
    "static proa_buffer_pool *pool;\n"
    "static proa_op op[OPS], posted[OPS], helper[4];\n"
    "static proa_fd fd[FDS];\n"
    "static int fills[OPS], leaves[OPS]; /* 1 + the descriptor that the op's completion brings or ends */\n"
    "static int names[OPS]; /* the listener that a connect goes to, else -1 */\n"
    "static int linking, left = -1; /* the descriptor that PROA_LINKED stands for */\n"
    "static void (*after[OPS])(void);\n"
    "static proa_address address[2];\n"
    "static char in[OPS][RECEIVE_MAX], out[OPS][SEND_MAX], path[FDS][64], folder[] = \"/tmp/proa-XXXXXX\";\n"
    "static struct statx status[OPS];\n"
    "static struct iovec pieces[OPS][PIECES];\n"
    "static proa_datagram arrived[OPS], departing[OPS];\n"
    "static proa_address socket_address[2 * DATAGRAM_PAIRS];\n"
    "static uint32_t kept[BUFFERS];\n"
    "static int keep, kept_count;\n"
    "static const proa_open_how how = {O_RDWR | O_CREAT, 0600, 0};\n"
    "\n"
    "static void done(proa_op *o, proa_result r)\n"
    "{\n"
    "    int a = (int)(o - op);\n"
    "    void (*then)(void) = after[a];\n"
    "\n"
    "    printf(\"op[%d]: %lld%s\\n\", a, (long long)r.value, r.flags & PROA_MORE ? \", more\" : \"\");\n"
    "    if (r.flags & PROA_LENT) {\n"
    "        if (keep)\n"
    "            kept[kept_count++] = r.buffer;\n"
    "        else\n"
    "            proa_buffer_return(pool, r.buffer);\n"
    "    }\n"
    "    if (r.flags & PROA_MORE)\n"
    "        return;\n"
    "    if (fills[a] && r.value >= 0) {\n"
    "        fd[fills[a] - 1] = proa_result_fd(r);\n"
    "        if (fills[a] > FIRST_LISTENER)\n"
    "            proa_local_address(NULL, proa_result_fd(r), &address[fills[a] - 1 - FIRST_LISTENER]);\n"
    "    }\n"
    "    if (leaves[a] && r.value == 0)\n"
    "        fd[leaves[a] - 1] = proa_fd_of(-1);\n"
    "    fills[a] = leaves[a] = 0;\n"
    "    after[a] = NULL;\n"
    "    if (then)\n"
    "        then();\n"
    "}\n"
    "\n"
    "static int64_t helped[4];\n"
    "\n"
    "static void on_helped(proa_op *o, proa_result r)\n"
    "{\n"
    "    helped[o - helper] = r.value;\n"
    "}\n"
    "\n"
    "static void on_posted(proa_op *o, proa_result r)\n"
    "{\n"
    "    printf(\"posted[%d]: %lld\\n\", (int)(o - posted), (long long)r.value);\n"
    "}\n"
    "\n"
    "static void help(int h)\n"
    "{\n"
    "    while (proa_in_flight(&helper[h]))\n"
    "        proa_loop_run(loop, PROA_ONCE);\n"
    "}\n"
    "\n"
    "static inline int idle(int a)\n"
    "{\n"
    "    return !proa_in_flight(&op[a]);\n"
    "}\n"
    "\n"
    "static inline int may_post(int a)\n"
    "{\n"
    "    return !proa_in_flight(&posted[a]);\n"
    "}\n"
    "\n"
    "static inline int is_there(int b)\n"
    "{\n"
    "    return fd[b].handle >= 0;\n"
    "}\n"
    "\n"
    "static inline int is_open(int b)\n"
    "{\n"
    "    return is_there(b) || left == b;\n"
    "}\n"
    "\n"
    "static inline int vacant(int b)\n"
    "{\n"
    "    return !is_open(b);\n"
    "}\n"
    "\n"
    "static inline int unnamed(int b)\n"
    "{\n"
    "    for (int a = 0; a < OPS; a++)\n"
    "        if (!idle(a) && names[a] == b)\n"
    "            return 0;\n"
    "    return 1;\n"
    "}\n"
    "\n"
    "static inline proa_fd on(int a, int b)\n"
    "{\n"
    "    return left == b && (a % 2 || !is_there(b)) ? PROA_LINKED : fd[b];\n"
    "}\n"
    "\n"
    "static inline void started(int a, int b, int b_left)\n"
    "{\n"
    "    names[a] = b;\n"
    "    left = linking ? b_left : -1;\n"
    "}\n"
    "\n"
    "static inline int is_linking(void)\n"
    "{\n"
    "    return linking;\n"
    "}\n"
    "\n"
    "static inline void begin_link(void)\n"
    "{\n"
    "    linking = 1;\n"
    "    proa_link_begin(loop);\n"
    "}\n"
    "\n"
    "static inline void end_link(void)\n"
    "{\n"
    "    if (linking)\n"
    "        proa_link_end(loop);\n"
    "    linking = 0;\n"
    "    left = -1;\n"
    "}\n"
    "\n"
    "static inline int fits(int b, int size)\n"
    "{\n"
    "    return b < FDS && size <= SEND_MAX;\n"
    "}\n"
    "\n"
    "static inline uint64_t interval(int ticks)\n"
    "{\n"
    "    return (uint64_t)(ticks + 1) * TICK_NS;\n"
    "}\n"
    "\n"
    "static inline uint64_t soon(int ticks)\n"
    "{\n"
    "    return ticks == NEVER_TICKS ? PROA_NEVER : proa_now(loop) + (uint64_t)ticks * TICK_NS;\n"
    "}\n"
    "\n"
    "static inline uint64_t limit(int a, int ticks)\n"
    "{\n"
    "    printf(\"op[%d] is given %d ticks\\n\", a, ticks);\n"
    "    return soon(ticks);\n"
    "}\n"
    "\n"
    "static inline proa_op *cancelled(int a)\n"
    "{\n"
    "    printf(\"op[%d] is cancelled\\n\", a);\n"
    "    return &op[a];\n"
    "}\n"
    "\n"
    "static inline char *fill(int a, int size)\n"
    "{\n"
    "    static int letter;\n"
    "\n"
    "    return memset(out[a], 'a' + letter++ % 26, (size_t)size);\n"
    "}\n"
    "\n"
    "static inline int is_countable(int b)\n"
    "{\n"
    "    return b < FDS;\n"
    "}\n"
    "\n"
    "static inline proa_datagram *datagram(int a, int b, int size)\n"
    "{\n"
    "    departing[a] = (proa_datagram){.data = fill(a, size), .size = (size_t)size};\n"
    "    if ((b - FIRST_DATAGRAM) % 2 == 0)\n"
    "        departing[a].peer = socket_address[b - FIRST_DATAGRAM + 1];\n"
    "    return &departing[a];\n"
    "}\n"
    "\n"
    "static inline char *fill_file(int a, int size, int offset)\n"
    "{\n"
    "    return memset(out[a], 'a' + offset % 26, (size_t)size);\n"
    "}\n"
    "\n"
    "static inline const struct iovec *cut(int a, char *data, int size)\n"
    "{\n"
    "    size_t first = (size_t)size / 3;\n"
    "\n"
    "    pieces[a][0] = (struct iovec){data, first};\n"
    "    pieces[a][1] = (struct iovec){data + first, 0};\n"
    "    pieces[a][2] = (struct iovec){data + first, (size_t)size - first};\n"
    "    return pieces[a];\n"
    "}\n"
    "\n"
    "static inline proa_fd leaving(int a, int b)\n"
    "{\n"
    "    leaves[a] = b + 1;\n"
    "    return on(a, b);\n"
    "}\n"
    "\n"
    "static inline const char *path_for(int a, int b)\n"
    "{\n"
    "    fills[a] = b + 1;\n"
    "    snprintf(path[b], sizeof(path[b]), \"%s/%d\", folder, b);\n"
    "    return path[b];\n"
    "}\n"
    "\n"
    "static inline void choose_address(int b)\n"
    "{\n"
    "    snprintf(path[b], sizeof(path[b]), b == FIRST_LISTENER ? \"127.0.0.1:0\" : \"unix:%s/socket\", folder);\n"
    "    proa_address_parse(path[b], &address[b - FIRST_LISTENER]);\n"
    "}\n"
    "\n"
    "static inline const proa_address *address_for(int a, int b)\n"
    "{\n"
    "    fills[a] = b + 1;\n"
    "    choose_address(b);\n"
    "    return &address[b - FIRST_LISTENER];\n"
    "}\n"
    "\n"
    "static inline int64_t work(proa_op *o)\n"
    "{\n"
    "    return o - op;\n"
    "}\n"
    "\n"
    "static inline int64_t work_posts(proa_op *o)\n"
    "{\n"
    "    proa_post(loop, &posted[o - op], on_posted);\n"
    "    return o - op;\n"
    "}\n"
    "\n"
    "static inline void return_kept(int count)\n"
    "{\n"
    "    for (count++; count > 0 && kept_count > 0; count--)\n"
    "        proa_buffer_return(pool, kept[--kept_count]);\n"
    "}\n"
    "\n"
    "static inline void turn(enum proa_run_mode mode)\n"
    "{\n"
    "    end_link();\n"
    "    proa_loop_run(loop, mode);\n"
    "}\n"
    "\n"
    "static inline void turn_once(void)\n"
    "{\n"
    "    end_link();\n"
    "    if (!proa_in_flight(&helper[3]))\n"
    "        proa_timer(loop, &helper[3], proa_now(loop) + 100 * PROA_MILLISECOND_NS, on_helped);\n"
    "    proa_loop_run(loop, PROA_ONCE);\n"
    "}\n"
    "\n"
    "static inline void run_for(int ticks)\n"
    "{\n"
    "    end_link();\n"
    "    proa_timer(loop, &helper[0], soon(ticks), on_helped);\n"
    "    help(0);\n"
    "}\n"
    "\n"
    "static inline void pair(int b, int local)\n"
    "{\n"
    "    proa_address at;\n"
    "    char text[64];\n"
    "    int size = SEND_BUFFER;\n"
    "\n"
    "    end_link();\n"
    "    snprintf(text, sizeof(text), local ? \"unix:%s/pair\" : \"127.0.0.1:0\", folder);\n"
    "    proa_address_parse(text, &at);\n"
    "    proa_listen(loop, &helper[0], &at, 4, PROA_LISTEN_REPLACE, on_helped);\n"
    "    help(0);\n"
    "    proa_local_address(NULL, proa_fd_of((int)helped[0]), &at);\n"
    "    proa_connect(loop, &helper[1], &at, on_helped);\n"
    "    proa_accept(loop, &helper[2], proa_fd_of((int)helped[0]), on_helped);\n"
    "    help(1);\n"
    "    help(2);\n"
    "    proa_close(loop, &helper[0], proa_fd_of((int)helped[0]), on_helped);\n"
    "    help(0);\n"
    "    for (int i = 0; i < 2; i++) {\n"
    "        fd[2 * b + i] = proa_fd_of((int)helped[1 + i]);\n"
    "        setsockopt((int)helped[1 + i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));\n"
    "    }\n"
    "}\n"
    "\n"
    "static inline void datagrams(int b)\n"
    "{\n"
    "    static int number;\n"
    "    char text[64];\n"
    "\n"
    "    end_link();\n"
    "    for (int i = 2 * b; i < 2 * b + 2; i++) {\n"
    "        proa_address at;\n"
    "\n"
    "        snprintf(text, sizeof(text), b ? \"unix:%s/%d\" : \"127.0.0.1:0\", folder, 100 + number++);\n"
    "        proa_address_parse(text, &at);\n"
    "        proa_datagram_open(loop, &helper[1], &at, i % 2 ? &socket_address[i - 1] : NULL, 0, on_helped);\n"
    "        help(1);\n"
    "        fd[FIRST_DATAGRAM + i] = proa_fd_of((int)helped[1]);\n"
    "        proa_local_address(NULL, fd[FIRST_DATAGRAM + i], &socket_address[i]);\n"
    "    }\n"
    "}\n"
    "\n"
    "static inline void close_loop(void)\n"
    "{\n"
    "    end_link();\n"
    "    proa_loop_close(loop);\n"
    "    exit(0);\n"
    "}\n";

static const char head_of_main[] = "int main(void)\n"
                                   "{\n"
                                   "    if (!mkdtemp(folder) || proa_loop_open(&loop, &options) < 0)\n"
                                   "        return 1;\n"
                                   "    proa_buffer_pool_open(loop, BUFFERS, BUFFER_SIZE, &pool);\n"
                                   "    for (int b = 0; b < FDS; b++)\n"
                                   "        fd[b] = proa_fd_of(-1);\n"
                                   "\n";

static const char end_of_main[] = "\n"
                                  "    run_for(NEVER_TICKS - 1);\n"
                                  "    for (int a = 0; a < OPS; a++)\n"
                                  "        if (!idle(a))\n"
                                  "            printf(\"op[%d] is still in flight\\n\", a);\n"
                                  "    close_loop();\n"
                                  "}\n";

/* The argument that a capital A, B, C or D which stands alone is the name of. */
static const int *argument_at(const char *text, const char *at, const struct step *step)
{
    const int *arguments[] = {&step->a, &step->b, &step->c, &step->d};
    bool alone = (at == text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_')) &&
                 !(isalnum((unsigned char)at[1]) || at[1] == '_');

    return alone && *at >= 'A' && *at <= 'D' ? arguments[*at - 'A'] : NULL;
}

static void print_filled(const char *text, const struct step *step, FILE *file)
{
    for (const char *at = text; *at; at++) {
        const int *argument = argument_at(text, at, step);

        if (argument)
            fprintf(file, "%d", *argument);
        else
            putc(*at, file);
    }
}

static void print_condition(const struct step_row *row, const struct step *step, FILE *file)
{
    if (strcmp(row->condition, "1") == 0)
        return;
    fputs("    if (", file);
    print_filled(row->condition, step, file);
    fputs(row->traits & STARTS ? ") {\n    " : ")\n    ", file);
}

/* Posts are never linked. */
static void print_started(const struct step *step, FILE *file)
{
    int names = step->kind == STEP_CONNECT ? step->b : -1;
    int left = step_rows[step->kind].traits & LEAVES ? step->b : -1;

    if (step->kind != STEP_POST)
        fprintf(file, "        started(%d, %d, %d);\n", step->a, names, left);
    fputs("    }\n", file);
}

static void print_call(const struct step *step, FILE *file)
{
    const struct step_row *row = &step_rows[step->kind];

    print_condition(row, step, file);
    fputs("    ", file);
    print_filled(row->call, step, file);
    fputs(";\n", file);
    if (row->traits & STARTS)
        print_started(step, file);
}

static void print_deferred(const struct program *program, FILE *file)
{
    for (size_t i = 0; i < program->count; i++) {
        if (!program->steps[i].after)
            continue;
        fprintf(file, "\nstatic void step_%zu(void)\n{\n", i);
        print_call(&program->steps[i], file);
        fputs("}\n", file);
    }
}

void program_print(const struct program *program, const char *engine, const char *why, FILE *file)
{
    fprintf(file, "/* %s */\n#define _GNU_SOURCE\n", why);
    fputs("#include <proa/proa.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\nenum {\n", file);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        fprintf(file, "    %s = %d,\n", numbers[i].name, numbers[i].value);
    fprintf(file, "};\n\nstatic const proa_loop_options options = {.engine = \"%s\", .pool_threads = 2};\n", engine);
    fputs(head, file);
    print_deferred(program, file);
    fprintf(file, "\n%s", head_of_main);
    for (size_t i = 0; i < program->count; i++) {
        if (program->steps[i].after)
            fprintf(file, "    after[%d] = step_%zu;\n", program->steps[i].after - 1, i);
        else
            print_call(&program->steps[i], file);
    }
    fputs(end_of_main, file);
}

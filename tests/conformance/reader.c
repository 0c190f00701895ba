#include "reader.h"

bool reader_step(struct reader *reader, size_t size_max)
{
    static char data[1 << 18];
    ssize_t count = recv(reader->far, data, size_max < sizeof(data) ? size_max : sizeof(data), MSG_DONTWAIT);

    if (count <= 0)
        return count == 0 || errno != EAGAIN;
    reader->holds &= pattern_holds(data, (size_t)count, reader->at);
    reader->at += (uint64_t)count;
    return false;
}

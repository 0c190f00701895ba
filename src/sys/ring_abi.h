/* Names of the io_uring interface that liburing 2.3 does not know yet, with the kernel that brought each. */
#ifndef PROA_RING_ABI_H
#define PROA_RING_ABI_H

#include <liburing.h>

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7) /* 6.15 */
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17) /* 6.15 */
#endif

#endif

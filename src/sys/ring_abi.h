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

#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3) /* 6.2 */
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

/* 6.9. Newer headers have these as names that no #ifndef sees, so ours are different ones. */
enum { RING_REGISTER_NAPI = 27, RING_UNREGISTER_NAPI = 28 };

struct ring_napi {
    uint32_t busy_poll_to;
    uint8_t prefer_busy_poll;
    uint8_t opcode;
    uint8_t pad[2];
    uint32_t op_param;
    uint32_t resv;
};

#endif

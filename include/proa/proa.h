/* Proa: completion-based I/O, every generation of it behind one interface.
 *
 * Start an op, be called once it has completed. An op is a struct inside yours; from start to final completion
 * it and every buffer it names belong to the loop, before and after they are yours. proa_contract(7) holds all rules. */
#ifndef PROA_H
#define PROA_H

#include "buffer.h"
#include "datagram.h"
#include "directory.h"
#include "engine.h"
#include "event.h"
#include "file.h"
#include "link.h"
#include "loop.h"
#include "moving.h"
#include "op.h"
#include "process.h"
#include "relay.h"
#include "socket.h"
#include "stream.h"
#include "time.h"

#define PROA_VERSION "0.1.0"

#endif

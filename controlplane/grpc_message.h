// SPDX-License-Identifier: ISC
//
// grpc_message.h - a received message's bytes in one piece, inflated by us where the client compressed them.
//
// gRPC's own inflating looks at the limit only before it inflates: 1 MiB becomes 1 GiB.
#pragma once

#include <grpc/grpc.h>

#include "dataplane/roles.h"

// Gives the message's bytes in *ret_slice (the caller's to unref) and uses up the buffer. 0, or -EMSGSIZE: longer than max bytes
// once inflated, -EBADMSG: does not inflate, -ENOMEM.
int grpc_message_read(grpc_byte_buffer *buffer, size_t max, grpc_slice *ret_slice) RUNS_ON(io_role);

/*
 * Where the whole records of a file end: a shipper that is killed while it
 * writes leaves a part of one behind them, and whatever is appended to that
 * can never be read.
 */
#ifndef SHIPPER_WHOLE_H
#define SHIPPER_WHOLE_H

#include <sys/types.h>

#include "shipper/sink.h"

/*
 * Reads a file of size bytes.  Returns the end of the last whole line,
 * message, block or map, at most size; or -1 with one sentence fragment in *why when the
 * file cannot be read or holds something else, which must not be cut.
 */
off_t	whole_end(int fd, off_t size, enum sink_framing framing, const char **why);

#endif

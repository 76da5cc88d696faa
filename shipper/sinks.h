/* For the sinks themselves: what stands in the registry, and how a sentence is made. */
#ifndef SHIPPER_SINKS_H
#define SHIPPER_SINKS_H

#include "shipper/sink.h"

extern const struct sink sink_stdout;
extern const struct sink sink_stderr;
extern const struct sink sink_file;
extern const struct sink sink_folder;
extern const struct sink sink_null;
extern const struct sink sink_kafka;
extern const struct sink sink_s3;

#endif

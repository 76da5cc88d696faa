/* For the formats themselves: what stands in the registry, and the frames of a batch. */
#ifndef SHIPPER_FORMATS_H
#define SHIPPER_FORMATS_H

#include "shipper/format.h"

extern const struct format format_table;
extern const struct format format_jsonl;
extern const struct format format_csv;
extern const struct format format_tsv;
extern const struct format format_protobuf;
extern const struct format format_protobuf_list;
extern const struct format format_proto_json;
extern const struct format format_proto_text;
extern const struct format format_msgpack;
extern const struct format format_parquet;

/*
 * The whole length of the record that a batch begins with, and of its prefix;
 * 0 if it does not begin with a whole one.
 */
size_t	format_frame(const uint8_t *bytes, size_t length, size_t *prefix);

#endif

/*
 * The check of a record that came out of a ring: is it, byte for byte, what
 * our encoder would write?  Whoever owns a collector can put anything there,
 * and what passes here goes into batches with other namespaces' records.
 */
#ifndef SHIPPER_CHECK_H
#define SHIPPER_CHECK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Checks a record without its length prefix, in private memory.  NULL if it is
 * well-formed: fields in strictly ascending order, all of them a collector's,
 * canonical varints, no zeros, numbers within their field's width, known enum
 * values, strings of 1 to RECORD_STRING_MAX bytes of UTF-8 without control
 * characters, addresses of 16 bytes, 1 to RECORD_BYTES_MAX other bytes.
 * Otherwise what is wrong with it, in a few constant words for the log.
 */
const char *check_record(const uint8_t *bytes, size_t length);

#endif

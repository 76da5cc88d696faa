/*
 * The input is a record as a collector could put it into its ring.  The check
 * says what a plain reading of its rules says, and whatever it lets through is
 * what protobuf would have written.
 */
#include "common/fd.h"
#include "common/record_reader.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"
#include "shipper/check.h"
#include "shipper/stamp.h"
#include "tests/fuzz/fuzz.h"

/* Why one field is wrong does not matter here.  Its bytes, or 0. */
static size_t
plain_value(const struct record_field *field, const uint8_t *at, size_t left)
{
	uint64_t value = 0;
	size_t n = varint_read(at, left, &value);

	if (n == 0 || value == 0)
		return 0;
	if (record_wire_type((enum record_type)field->type) == 0)
		return value <= record_field_max(field) ? n : 0;
	if (value > left - n)
		return 0;
	switch (field->type) {
	case RECORD_ADDRESS:
		return value == 16 ? n + (size_t)value : 0;
	case RECORD_BYTES:
		return value <= RECORD_BYTES_MAX ? n + (size_t)value : 0;
	default:
		return stamp_string_fault((const char *)at + n, (size_t)value) == NULL ? n + (size_t)value : 0;
	}
}

static bool
plain_check(const uint8_t *at, size_t left)
{
	uint64_t tag, previous = 0;
	size_t n;

	for (bool first = true; first || left > 0; first = false) {
		int row = -1;

		n = varint_read(at, left, &tag);
		if (n > 0 && tag >> 3 > previous && tag >> 3 < RECORD_NUMBERS)
			row = record_field_by_number((uint32_t)(tag >> 3));
		if (row < 0 || record_fields[row].owner != RECORD_COLLECTOR ||
		    record_wire_type((enum record_type)record_fields[row].type) != (tag & 7))
			return false;
		previous = tag >> 3;
		at += n;
		left -= n;
		if ((n = plain_value(&record_fields[row], at, left)) == 0)
			return false;
		at += n;
		left -= n;
	}
	return true;
}

static void
require_protobuf(const uint8_t *bytes, size_t length)
{
	cleanup_free uint8_t *again = malloc(length);
	XtcpFlatRecord__V1__XtcpFlatRecord *message;
	struct record record;

	FUZZ_REQUIRE(record_read(&record, bytes, length) == 0);
	message = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, length, bytes);
	FUZZ_REQUIRE(message != NULL && again != NULL);
	FUZZ_REQUIRE(xtcp_flat_record__v1__xtcp_flat_record__get_packed_size(message) == length);
	xtcp_flat_record__v1__xtcp_flat_record__pack(message, again);
	FUZZ_REQUIRE(memcmp(again, bytes, length) == 0);
	xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(message, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *bytes = fuzz_copy(data, size);
	const char *wrong = check_record(bytes, size);

	FUZZ_REQUIRE((wrong == NULL) == plain_check(bytes, size));
	if (wrong == NULL)
		require_protobuf(bytes, size);
	return 0;
}

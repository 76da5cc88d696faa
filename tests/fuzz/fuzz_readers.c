/*
 * The input is a message of any format that `tcpdiag consume` and `decode`
 * read, behind a byte that chooses the reader.  What is read is whole records;
 * what is refused leaves none, and says why.
 */
#include "cli/reader.h"
#include "proto/xtcp_flat_record.pb-c.h"
#include "shipper/formats.h"
#include "tests/fuzz/fuzz.h"

/* As many as a message of this size can hold, and each is not far larger than what it was read from. */
enum { GROWTH = 64, RECORD_MOST = 64 * 1024 };

static const struct reader *
choose(uint8_t byte)
{
	size_t count = 0;

	while (readers[count] != NULL)
		count++;
	return readers[byte % count];
}

/* Other programs' records pass through some readers as they are: any protobuf is one. */
static void
require_records(const struct buffer *records, size_t size)
{
	size_t prefix, frame;

	FUZZ_REQUIRE(records->length <= GROWTH * size + RECORD_MOST);
	for (size_t at = 0; at < records->length; at += frame) {
		XtcpFlatRecord__V1__XtcpFlatRecord *record;

		frame = format_frame(records->bytes + at, records->length - at, &prefix);
		FUZZ_REQUIRE(frame > 0);
		record = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, frame - prefix, records->bytes + at + prefix);
		if (record != NULL)
			xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(record, NULL);
	}
}

/* As a file that is read piece by piece: a unit is never longer than what is there. */
static void
require_units(const struct reader *reader, const uint8_t *bytes, size_t size)
{
	for (size_t at = 0, unit; at < size; at += unit) {
		uint8_t *rest = fuzz_copy(bytes + at, size - at);

		unit = reader->unit(rest, size - at);
		FUZZ_REQUIRE(unit <= size - at);
		free(rest);
		if (unit == 0)
			return;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[READER_WHY + 64] = "";
	struct buffer records = { 0 };
	const struct reader *reader;
	uint8_t *message;

	if (size < 2)
		return 0;
	reader = choose(data[0]);
	message = fuzz_copy(data + 1, size - 1);
	(void)reader_by_look(message, size - 1);
	require_units(reader, message, size - 1);
	if (reader_message(reader, message, size - 1, &records, error, sizeof(error)) == 0)
		require_records(&records, size);
	else
		FUZZ_REQUIRE(records.length == 0 && error[0] != '\0');
	buffer_free(&records);
	free(message);
	return 0;
}

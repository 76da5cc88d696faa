/*
 * The input is a datagram of the kernel's.  Whatever is in it, every message
 * becomes a record that the shipper's check lets through, with the values that
 * stand in the message, or is refused; and no TCP-MD5 key is left in it.
 */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/tcp.h>

#include <libmnl/libmnl.h>

#include "collector/encode.h"
#include "collector/walk.h"
#include "common/fd.h"
#include "common/record_reader.h"
#include "common/ring.h"
#include "common/varint.h"
#include "shipper/check.h"
#include "tests/fuzz/fuzz.h"

static const struct encode_metadata metadata = {
	.timestamp = 1700000000000000000, .snapshot = 7, .sequence = 300, .counter = 3, .attempt = 1,
};

static void
require_zeros(const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		FUZZ_REQUIRE(((const uint8_t *)bytes)[i] == 0);
}

static void
require_no_keys(const struct nlmsghdr *message)
{
	const struct nlattr *attr;
	const struct tcp_diag_md5sig *keys;
	size_t count, tail;

	mnl_attr_for_each(attr, message, sizeof(struct inet_diag_msg)) {
		if (mnl_attr_get_type(attr) != INET_DIAG_MD5SIG)
			continue;
		keys = mnl_attr_get_payload(attr);
		count = mnl_attr_get_payload_len(attr) / sizeof(*keys);
		tail = mnl_attr_get_payload_len(attr) % sizeof(*keys);
		for (size_t i = 0; i < count; i++)
			require_zeros(keys[i].tcpm_key, sizeof(keys[i].tcpm_key));
		require_zeros(&keys[count], tail);
	}
}

/* What is read from an attribute, but numbers. */
static void
require_other(const struct record_value *value, const struct record_field *field, const uint8_t *payload, size_t length)
{
	switch (field->load) {
	case RECORD_LOAD_FLAG:
		FUZZ_REQUIRE(value->number == 1);
		break;
	case RECORD_LOAD_KEYS:
		FUZZ_REQUIRE(value->number == length / sizeof(struct tcp_diag_md5sig) && value->number > 0);
		break;
	case RECORD_LOAD_TAIL:
		FUZZ_REQUIRE(value->number == (length - field->offset < RECORD_BYTES_MAX ? length - field->offset : RECORD_BYTES_MAX));
		FUZZ_REQUIRE(memcmp(value->bytes, payload + field->offset, (size_t)value->number) == 0);
		break;
	case RECORD_LOAD_ADDRESS:
		FUZZ_REQUIRE(value->number == 16 && field->offset + value->number <= length);
		FUZZ_REQUIRE(memcmp(value->bytes, payload + field->offset, 16) == 0);
		break;
	default:
		break;
	}
}

/* A field is in the record exactly when the kernel sent it, with that value. */
static void
require_row(const struct record *record, const struct attributes *found, enum record_index row)
{
	const struct record_field *field = &record_fields[row];
	size_t width = record_load_width((enum record_load)field->load);
	uint64_t number = 0;
	bool sent;

	if (field->source >= RECORD_SOURCES)
		return;
	sent = (found->present >> field->source & 1) != 0 &&
	    (field->source != RECORD_INFO || field->offset + width <= found->length[field->source]);
	FUZZ_REQUIRE(record_field_present(record, row) == sent);
	if (!sent)
		return;
	if (field->load < RECORD_LOAD_U8 || field->load > RECORD_LOAD_U64) {
		require_other(&record->values[row], field, found->payload[field->source], found->length[field->source]);
		return;
	}
	FUZZ_REQUIRE(field->offset + width <= found->length[field->source]);
	for (size_t i = 0; i < width; i++)
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		number |= (uint64_t)found->payload[field->source][field->offset + i] << (8 * i);
#else
		number = number << 8 | found->payload[field->source][field->offset + i];
#endif
	FUZZ_REQUIRE(record->values[row].number == number);
}

static void
require_record(const uint8_t *bytes, size_t length, const struct attributes *found)
{
	/* Where a read beyond the end is seen. */
	cleanup_free uint8_t *copy = fuzz_copy(bytes, length);
	struct record record;

	FUZZ_REQUIRE(check_record(copy, length) == NULL);
	FUZZ_REQUIRE(record_read(&record, copy, length) == 0);
	FUZZ_REQUIRE(record.values[RECORD_F_attributes_present].number == found->present);
	for (int row = 0; row < RECORD_FIELDS; row++)
		require_row(&record, found, (enum record_index)row);
}

static void
take_message(struct nlmsghdr *message)
{
	cleanup_free uint8_t *out = malloc(RING_PREFIX_MAX + ENCODE_SOCKET_MAX);
	struct counters counters = { 0 };
	struct attributes found;
	uint64_t length = 0, chosen;
	size_t size, prefix;

	FUZZ_REQUIRE(out != NULL);
	/* A choice of decoders by the numbers that the kernel would leave alone; the seeds' is all of them. */
	chosen = message->nlmsg_seq == 1 ? ATTRIBUTES_EVERY : message->nlmsg_seq | (uint64_t)message->nlmsg_pid << 32;
	attributes_choose(chosen);
	if (!attributes_find(&found, message, &counters)) {
		require_zeros(mnl_nlmsg_get_payload(message), mnl_nlmsg_get_payload_len(message));
		return;
	}
	require_no_keys(message);
	FUZZ_REQUIRE((found.present & ~chosen & ~(UINT64_C(1) << RECORD_MSG)) == 0);
	size = encode_socket(out, &metadata, &found);
	prefix = varint_read(out, size, &length);
	FUZZ_REQUIRE(prefix > 0 && prefix <= RING_PREFIX_MAX);
	FUZZ_REQUIRE(prefix + length == size && length <= RECORD_MAX);
	require_record(out + prefix, (size_t)length, &found);
}

/* A message that was cut short is tried as one that ends there. */
static void
mend(struct nlmsghdr *message, int left)
{
	if (left >= (int)sizeof(*message) && message->nlmsg_len > (uint32_t)left && message->nlmsg_len <= UINT16_MAX)
		message->nlmsg_len = (uint32_t)left;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *datagram = fuzz_copy(data, size);
	struct nlmsghdr *message = (struct nlmsghdr *)datagram;
	int left = (int)size;

	for (mend(message, left); walk_message_whole(message, left); mend(message, left)) {
		take_message(message);
		message = mnl_nlmsg_next(message, &left);
	}
	return 0;
}

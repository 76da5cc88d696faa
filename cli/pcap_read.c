/* Reads capture files: see pcap.h. */
#include <byteswap.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/pcap.h"
#include "cli/pcap_ng.h"
#include "common/clock.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/stamp.h"

enum {
	PCAP_HEADER = 24, PCAP_PACKET_HEADER = 16,
	PCAP_BLOCK_HEADER = 8, PCAP_BLOCK_MIN = 12,
	PCAP_INTERFACE_MAX = 1024 * 1024,	/* bytes of its block */
	PCAP_SKIP = 64 * 1024,
	PCAP_INTERFACES_MAX = 65536,
};

void
pcap_open(struct pcap_reader *reader, struct input *input)
{
	*reader = (struct pcap_reader){ .input = input };
}

void
pcap_close(struct pcap_reader *reader)
{
	free(reader->interfaces);
}

static enum pcap_result __attribute__((format(printf, 3, 4)))
pcap_bad(struct pcap_reader *reader, uint64_t offset, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reader->error, sizeof(reader->error), format, arguments);
	va_end(arguments);
	reader->bad = offset;
	return PCAP_BAD;
}

/* --- numbers of the file's byte order --- */

static uint16_t
pcap_16(const struct pcap_reader *reader, const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return reader->swapped ? bswap_16(value) : value;
}

static uint32_t
pcap_32(const struct pcap_reader *reader, const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return reader->swapped ? bswap_32(value) : value;
}

static uint64_t
pcap_64(const struct pcap_reader *reader, const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return reader->swapped ? bswap_64(value) : value;
}

/* --- interfaces --- */

static struct pcap_interface *
pcap_add_interface(struct pcap_reader *reader)
{
	if (reader->ninterfaces == reader->capacity) {
		reader->capacity = reader->capacity > 0 ? reader->capacity * 2 : 16;
		reader->interfaces = reallocarray(reader->interfaces, reader->capacity, sizeof(*reader->interfaces));
		if (reader->interfaces == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory");
	}
	reader->interfaces[reader->ninterfaces] = (struct pcap_interface){ .resolution = PCAP_RESOLUTION_US };
	return &reader->interfaces[reader->ninterfaces++];
}

/* Units of the resolution as ns; 0 if that is a time that a record cannot have. */
static uint64_t
pcap_time(const struct pcap_interface *interface, uint64_t units)
{
	__int128 ns = (__int128)units * (__int128)SECOND;
	unsigned int power = interface->resolution & ~PCAP_RESOLUTION_BINARY;

	if ((interface->resolution & PCAP_RESOLUTION_BINARY) != 0)
		ns >>= power;
	else
		for (; power > 0 && ns > 0; power--)
			ns /= 10;
	ns += (__int128)interface->seconds * (__int128)SECOND;
	return ns < 0 || ns > INT64_MAX ? 0 : (uint64_t)ns;
}

/* --- pcap --- */

/* Takes what there is of a packet's bytes; padding and options behind them are to be skipped. */
static enum pcap_result
pcap_take(struct pcap_reader *reader, struct pcap_packet *packet, size_t length, size_t behind)
{
	size_t there = input_want(reader->input, length);

	packet->offset = reader->input->offset;
	packet->bytes = input_here(reader->input);
	packet->length = there < length ? there : length;
	reader->rest = length + behind;
	reader->start = packet->offset;
	return PCAP_PACKET;
}

static enum pcap_result
pcap_read_packet(struct pcap_reader *reader, struct pcap_packet *packet)
{
	uint64_t start = reader->input->offset;
	size_t there = input_want(reader->input, PCAP_PACKET_HEADER);
	const uint8_t *header = input_here(reader->input);
	const struct pcap_interface *interface = reader->interfaces;
	uint64_t units = interface->resolution == PCAP_RESOLUTION_NS ? SECOND : SECOND / MICROSECOND;
	uint32_t length;

	if (there == 0)
		return PCAP_END;
	if (there < PCAP_PACKET_HEADER)
		return pcap_bad(reader, start, "the file is cut short: it ends within the header of a packet");
	length = pcap_32(reader, header + 8);
	if (length > PCAP_PACKET_MAX)
		return pcap_bad(reader, start, "not a packet: it would have %" PRIu32 " bytes, where %d can be", length, PCAP_PACKET_MAX);
	packet->timestamp = pcap_time(interface, pcap_32(reader, header) * units + pcap_32(reader, header + 4));
	packet->original = pcap_32(reader, header + 12);
	packet->interface = 0;
	packet->link = interface->link;
	packet->identity = &interface->identity;
	input_skip(reader->input, PCAP_PACKET_HEADER);
	return pcap_take(reader, packet, length, 0);
}

static enum pcap_result
pcap_begin_pcap(struct pcap_reader *reader, uint8_t resolution)
{
	struct pcap_interface *interface;

	if (input_want(reader->input, PCAP_HEADER) < PCAP_HEADER)
		return pcap_bad(reader, reader->input->offset, "the file is cut short: it ends within its header");
	interface = pcap_add_interface(reader);
	interface->resolution = resolution;
	/* What stands above may be the length of a check sum. */
	interface->link = pcap_32(reader, input_here(reader->input) + 20) & UINT16_MAX;
	if (interface->link != PCAP_LINK_NETLINK)
		return pcap_bad(reader, reader->input->offset + 20, "not a capture of netlink: its link type is %u, not %d",
		    interface->link, PCAP_LINK_NETLINK);
	input_skip(reader->input, PCAP_HEADER);
	return PCAP_PACKET;
}

/* --- pcapng --- */

static enum pcap_result
pcap_begin_section(struct pcap_reader *reader)
{
	uint64_t start = reader->input->offset;
	uint32_t order;

	if (input_want(reader->input, PCAP_BLOCK_MIN) < PCAP_BLOCK_MIN)
		return pcap_bad(reader, start, "the file is cut short: it ends within the header of a section");
	memcpy(&order, input_here(reader->input) + 8, sizeof(order));
	if (order != PCAP_MAGIC_ORDER && order != bswap_32(PCAP_MAGIC_ORDER))
		return pcap_bad(reader, start + 8, "not a section of a pcapng: it has no byte order");
	reader->swapped = order != PCAP_MAGIC_ORDER;
	reader->before += reader->ninterfaces;
	reader->ninterfaces = 0;
	return PCAP_PACKET;
}

/* A value that may stand in a record, else "". */
static void
pcap_set_text(char *to, size_t size, const uint8_t *value, size_t length)
{
	to[0] = '\0';
	if (length >= size || memchr(value, '\0', length) != NULL || stamp_string_fault((const char *)value, length) != NULL)
		return;
	memcpy(to, value, length);
	to[length] = '\0';
}

/* True if it is what pcap_write_interface() writes. */
static bool
pcap_set_identity(struct pcap_identity *identity, const char *description)
{
	int end = 0;

	_Static_assert(sizeof(identity->container) == 128 && sizeof(identity->runtime) == 32, "as the format has them");
	sscanf(description, PCAP_DESCRIPTION "inode %" SCNu64 " cookie %" SCNu64 "%n container %127[0-9a-f]%n runtime %31[a-z-]%n",
	    &identity->inode, &identity->cookie, &end, identity->container, &end, identity->runtime, &end);
	return end > 0 && description[end] == '\0';
}

static void
pcap_set_option(const struct pcap_reader *reader, struct pcap_interface *interface, unsigned int option, const uint8_t *value,
    size_t length)
{
	char description[512];

	if (option == PCAP_OPTION_RESOLUTION && length == 1)
		interface->resolution = *value;
	if (option == PCAP_OPTION_SECONDS && length == sizeof(interface->seconds))
		interface->seconds = (int64_t)pcap_64(reader, value);
	if (option == PCAP_OPTION_NAME)
		pcap_set_text(interface->identity.name, sizeof(interface->identity.name), value, length);
	if (option == PCAP_OPTION_DESCRIPTION) {
		pcap_set_text(description, sizeof(description), value, length);
		interface->ours = pcap_set_identity(&interface->identity, description);
	}
}

static void
pcap_set_options(const struct pcap_reader *reader, struct pcap_interface *interface, const uint8_t *at, size_t left)
{
	while (left >= 4) {
		unsigned int option = pcap_16(reader, at), length = pcap_16(reader, at + 2);
		size_t padded = 4 + ((length + 3U) & ~3U);

		if (option == 0 || padded > left)
			return;
		pcap_set_option(reader, interface, option, at + 4, length);
		at += padded;
		left -= padded;
	}
}

static enum pcap_result
pcap_read_interface(struct pcap_reader *reader, uint32_t length)
{
	uint64_t start = reader->input->offset;
	struct pcap_interface *interface;
	const uint8_t *block;

	if (length < PCAP_BLOCK_MIN + 8 || length > PCAP_INTERFACE_MAX)
		return pcap_bad(reader, start, "not an interface: its block would have %" PRIu32 " bytes", length);
	if (reader->ninterfaces == PCAP_INTERFACES_MAX)
		return pcap_bad(reader, start, "more than %d interfaces", PCAP_INTERFACES_MAX);
	if (input_want(reader->input, length) < length)
		return pcap_bad(reader, start, "the file is cut short: it ends within an interface");
	block = input_here(reader->input);
	interface = pcap_add_interface(reader);
	interface->link = pcap_16(reader, block + 8);
	interface->snaplen = pcap_32(reader, block + 12);
	pcap_set_options(reader, interface, block + 16, length - PCAP_BLOCK_MIN - 8);
	/* Else the name is a device's. */
	if (!interface->ours || interface->identity.name[0] == '\0')
		interface->identity = (struct pcap_identity){ 0 };
	return PCAP_PACKET;
}

/* A packet's block: of so many bytes, and fixed ones before the packet's. */
static enum pcap_result
pcap_take_block(struct pcap_reader *reader, struct pcap_packet *packet, uint32_t block, size_t fixed, uint32_t length)
{
	uint64_t start = reader->input->offset;
	const struct pcap_interface *interface;

	if (length > PCAP_PACKET_MAX || fixed + length + 4 > block)
		return pcap_bad(reader, start, "not a packet: it would have %" PRIu32 " bytes in a block of %" PRIu32, length, block);
	if (packet->interface >= reader->ninterfaces)
		return pcap_bad(reader, start, "not a packet: there is no interface %" PRIu64, packet->interface);
	interface = &reader->interfaces[packet->interface];
	packet->link = interface->link;
	packet->identity = &interface->identity;
	packet->timestamp = packet->timestamp != 0 ? pcap_time(interface, packet->timestamp) : 0;
	packet->interface += reader->before;
	input_skip(reader->input, fixed);
	return pcap_take(reader, packet, length, block - fixed - length);
}

enum { PCAP_NG_FIXED = PCAP_BLOCK_HEADER + 20, PCAP_NG_SIMPLE_FIXED = PCAP_BLOCK_HEADER + 4 };

/* The present kind of packet, and the one before it, which differ in how the interface is written. */
static enum pcap_result
pcap_read_block_packet(struct pcap_reader *reader, struct pcap_packet *packet, enum pcap_block kind, uint32_t block)
{
	const uint8_t *at;

	if (input_want(reader->input, PCAP_NG_FIXED) < PCAP_NG_FIXED)
		return pcap_bad(reader, reader->input->offset, "the file is cut short: it ends within the header of a packet");
	at = input_here(reader->input) + PCAP_BLOCK_HEADER;
	packet->interface = kind == PCAP_NG_PACKET ? pcap_32(reader, at) : pcap_16(reader, at);
	packet->timestamp = (uint64_t)pcap_32(reader, at + 4) << 32 | pcap_32(reader, at + 8);
	packet->original = pcap_32(reader, at + 16);
	return pcap_take_block(reader, packet, block, PCAP_NG_FIXED, pcap_32(reader, at + 12));
}

/* One that says nothing but its length, and that before it was cut to the interface's. */
static enum pcap_result
pcap_read_simple_packet(struct pcap_reader *reader, struct pcap_packet *packet, uint32_t block)
{
	uint32_t length, snaplen;

	if (input_want(reader->input, PCAP_NG_SIMPLE_FIXED) < PCAP_NG_SIMPLE_FIXED)
		return pcap_bad(reader, reader->input->offset, "the file is cut short: it ends within the header of a packet");
	length = pcap_32(reader, input_here(reader->input) + PCAP_BLOCK_HEADER);
	snaplen = reader->ninterfaces > 0 ? reader->interfaces[0].snaplen : 0;
	packet->interface = 0;
	packet->timestamp = 0;
	packet->original = length;
	return pcap_take_block(reader, packet, block, PCAP_NG_SIMPLE_FIXED, snaplen != 0 && snaplen < length ? snaplen : length);
}

/* The block that is next: *found if it is a packet's. */
static enum pcap_result
pcap_read_block(struct pcap_reader *reader, struct pcap_packet *packet, bool *found)
{
	uint64_t start = reader->input->offset;
	size_t there = input_want(reader->input, PCAP_BLOCK_HEADER);
	uint32_t kind, length;

	if (there == 0)
		return PCAP_END;
	if (there < PCAP_BLOCK_HEADER)
		return pcap_bad(reader, start, "the file is cut short: it ends within the header of a block");
	kind = pcap_32(reader, input_here(reader->input));
	/* A section may change the byte order, that of its own length too. */
	if (kind == PCAP_MAGIC_NG && pcap_begin_section(reader) == PCAP_BAD)
		return PCAP_BAD;
	length = pcap_32(reader, input_here(reader->input) + 4);
	if (length < PCAP_BLOCK_MIN || length % 4 != 0)
		return pcap_bad(reader, start, "not a block of a pcapng: it would have %" PRIu32 " bytes", length);
	*found = kind == PCAP_NG_PACKET || kind == PCAP_NG_OLD_PACKET || kind == PCAP_NG_SIMPLE_PACKET;
	if (kind == PCAP_NG_SIMPLE_PACKET)
		return pcap_read_simple_packet(reader, packet, length);
	if (*found)
		return pcap_read_block_packet(reader, packet, (enum pcap_block)kind, length);
	if (kind == PCAP_NG_INTERFACE && pcap_read_interface(reader, length) == PCAP_BAD)
		return PCAP_BAD;
	reader->start = start;
	reader->rest = length;
	return PCAP_PACKET;
}

/* --- either --- */

static enum pcap_result
pcap_begin(struct pcap_reader *reader)
{
	size_t there = input_want(reader->input, sizeof(uint32_t));
	uint32_t magic;

	reader->begun = true;
	if (there < sizeof(magic))
		return pcap_bad(reader, 0, there == 0 ? "not a capture: it is empty" : "not a capture: it has %zu bytes", there);
	magic = pcap_32(reader, input_here(reader->input));
	reader->ng = magic == PCAP_MAGIC_NG;
	reader->swapped = magic == bswap_32(PCAP_MAGIC_US) || magic == bswap_32(PCAP_MAGIC_NS);
	magic = reader->swapped ? bswap_32(magic) : magic;
	if (reader->ng)
		return PCAP_PACKET;
	if (magic == PCAP_MAGIC_US)
		return pcap_begin_pcap(reader, PCAP_RESOLUTION_US);
	if (magic == PCAP_MAGIC_NS)
		return pcap_begin_pcap(reader, PCAP_RESOLUTION_NS);
	return pcap_bad(reader, 0, "not a capture: it begins as neither pcap nor pcapng does");
}

/* What is behind the last packet, or a block that is none. */
static enum pcap_result
pcap_skip_rest(struct pcap_reader *reader)
{
	while (reader->rest > 0) {
		size_t there = input_want(reader->input, reader->rest < PCAP_SKIP ? reader->rest : PCAP_SKIP);
		size_t n = there < reader->rest ? there : reader->rest;

		if (n == 0)
			return pcap_bad(reader, reader->start, "the file is cut short: %zu bytes of what begins here are missing", reader->rest);
		input_skip(reader->input, n);
		reader->rest -= n;
	}
	return PCAP_PACKET;
}

static enum pcap_result
pcap_next(struct pcap_reader *reader, struct pcap_packet *packet)
{
	bool found = false;
	enum pcap_result result = reader->begun ? PCAP_PACKET : pcap_begin(reader);

	while (result == PCAP_PACKET && !found) {
		if ((result = pcap_skip_rest(reader)) != PCAP_PACKET)
			break;
		found = !reader->ng;
		result = reader->ng ? pcap_read_block(reader, packet, &found) : pcap_read_packet(reader, packet);
	}
	return result;
}

enum pcap_result
pcap_read(struct pcap_reader *reader, struct pcap_packet *packet)
{
	enum pcap_result result = pcap_next(reader, packet);

	/* What cannot be read is not cut short: input.h says what it is. */
	return result == PCAP_BAD && reader->input->failed ? PCAP_END : result;
}

bool
pcap_is_sock_diag(const struct pcap_packet *packet)
{
	const uint8_t *family = packet->bytes + PCAP_COOKED - sizeof(uint16_t);

	return packet->link == PCAP_LINK_NETLINK && packet->length >= PCAP_COOKED && (family[0] << 8 | family[1]) == NETLINK_SOCK_DIAG;
}

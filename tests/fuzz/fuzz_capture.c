/*
 * The input is a capture file, as somebody sends it.  Whatever is in it, packets
 * are bytes of the file, each datagram can be wiped and anonymized, and what is
 * written of it is read again as it was.
 */
#include <sys/mman.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "cli/anonymize.h"
#include "cli/datagram.h"
#include "cli/pcap.h"
#include "collector/walk.h"
#include "common/fd.h"
#include "shipper/stamp.h"
#include "tests/fuzz/fuzz.h"

static struct anonymize *anonymize;

/* A file with these bytes, to be read. */
static struct input
open_bytes(const uint8_t *bytes, size_t size)
{
	struct input input = { .name = "input", .fd = memfd_create("capture", MFD_CLOEXEC) };

	FUZZ_REQUIRE(input.fd != -1 && write(input.fd, bytes, size) == (ssize_t)size && lseek(input.fd, 0, SEEK_SET) == 0);
	return input;
}

static void
require_no_key(const struct nlmsghdr *message)
{
	const struct nlattr *attr;

	if (!datagram_is_socket(message) || mnl_nlmsg_get_payload_len(message) < sizeof(struct inet_diag_msg))
		return;
	mnl_attr_for_each(attr, message, sizeof(struct inet_diag_msg)) {
		const struct tcp_diag_md5sig *keys = mnl_attr_get_payload(attr);

		if (mnl_attr_get_type(attr) != INET_DIAG_MD5SIG)
			continue;
		for (size_t i = 0; i < mnl_attr_get_payload_len(attr) / sizeof(*keys); i++)
			for (size_t at = 0; at < sizeof(keys[i].tcpm_key); at++)
				FUZZ_REQUIRE(keys[i].tcpm_key[at] == 0);
	}
}

static void
take_datagram(const struct pcap_packet *packet, struct buffer *written)
{
	size_t size = packet->length - PCAP_COOKED;
	cleanup_free uint8_t *bytes = fuzz_copy(packet->bytes + PCAP_COOKED, size);
	struct pcap_datagram datagram = { .ng = true, .timestamp = packet->timestamp, .bytes = bytes, .length = size, .original = size };
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;
	struct counters counters = { 0 };
	int left = (int)size;

	datagram_wipe(bytes, size, &counters);
	for (; walk_message_whole(message, left); message = mnl_nlmsg_next(message, &left))
		require_no_key(message);
	for (; left > 0; left--)
		FUZZ_REQUIRE(((const uint8_t *)message)[left - 1] == 0);
	anonymize_datagram(anonymize, bytes, size);
	pcap_write_datagram(written, &datagram);
}

static void
require_packet(const struct pcap_packet *packet, const uint8_t *data, size_t size)
{
	FUZZ_REQUIRE(packet->length <= PCAP_PACKET_MAX);
	FUZZ_REQUIRE(packet->offset <= size && packet->length <= size - packet->offset);
	FUZZ_REQUIRE(packet->length == 0 || memcmp(packet->bytes, data + packet->offset, packet->length) == 0);
	FUZZ_REQUIRE(packet->timestamp <= INT64_MAX);
	FUZZ_REQUIRE(stamp_string_fault(packet->identity->name, strlen(packet->identity->name)) == NULL);
	FUZZ_REQUIRE(stamp_string_fault(packet->identity->container, strlen(packet->identity->container)) == NULL);
	FUZZ_REQUIRE(stamp_string_fault(packet->identity->runtime, strlen(packet->identity->runtime)) == NULL);
}

/* Returns how many datagrams are written. */
static size_t
take_file(const uint8_t *data, size_t size, struct buffer *written)
{
	struct input input = open_bytes(data, size);
	struct pcap_reader pcap;
	struct pcap_packet packet;
	enum pcap_result result;
	size_t datagrams = 0;

	pcap_open(&pcap, &input);
	while ((result = pcap_read(&pcap, &packet)) == PCAP_PACKET) {
		require_packet(&packet, data, size);
		if (!pcap_is_sock_diag(&packet))
			continue;
		take_datagram(&packet, written);
		datagrams++;
	}
	FUZZ_REQUIRE(!input.failed);
	FUZZ_REQUIRE(result == PCAP_END ? input.offset == size : pcap.bad <= size && pcap.error[0] != '\0');
	pcap_close(&pcap);
	input_close(&input);
	return datagrams;
}

/* What pcap.c writes is a whole file, with the same datagrams. */
static void
require_again(const struct buffer *written, size_t datagrams)
{
	struct input input = open_bytes(written->bytes, written->length);
	struct pcap_reader pcap;
	struct pcap_packet packet;
	enum pcap_result result;

	pcap_open(&pcap, &input);
	for (; (result = pcap_read(&pcap, &packet)) == PCAP_PACKET; datagrams--)
		FUZZ_REQUIRE(pcap_is_sock_diag(&packet) && packet.length == packet.original && strcmp(packet.identity->name, "a") == 0);
	FUZZ_REQUIRE(result == PCAP_END && datagrams == 0);
	pcap_close(&pcap);
	input_close(&input);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[ANONYMIZE_KEY] = "0123456789abcdef0123456789abcdef";
	static const struct pcap_identity identity = { .name = "a", .inode = 1, .container = "0a", .runtime = "docker" };
	struct buffer written = { 0 };

	if (anonymize == NULL)
		anonymize = anonymize_new(key);
	pcap_write_header(&written, true);
	pcap_write_interface(&written, &identity);
	require_again(&written, 0);
	require_again(&written, take_file(data, size, &written));
	buffer_free(&written);
	return 0;
}

/*
 * tcpdiag replay: reads a capture of netlink and prints its sockets in any
 * format.  Messages are decoded and encoded by the collector's code, and
 * checked and written by the shipper's: what is shown of a capture is what
 * would have been delivered.
 *
 * Whatever gives no record is counted, and the end says how many of what.
 */
#include <byteswap.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "cli/anonymize.h"
#include "cli/conversations.h"
#include "cli/datagram.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/pcap.h"
#include "cli/replay.h"
#include "collector/attributes.h"
#include "collector/encode.h"
#include "collector/walk.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/ring.h"
#include "common/varint.h"
#include "common/version.h"
#include "namespacer/decoders.h"
#include "shipper/check.h"
#include "shipper/metrics.h"
#include "shipper/stamp.h"

enum { REPLAY_DECODERS_MAX = 128 };

/* What became of a message; of a packet, where it is not looked into. */
enum replay_book {
	REPLAY_RECORDS,
	/* skipped */
	REPLAY_REQUESTS, REPLAY_ENDS, REPLAY_FAILURES, REPLAY_NOTHING,
	REPLAY_PROTOCOLS, REPLAY_MESSAGES, REPLAY_FAMILIES, REPLAY_LINKS,
	/* not as they should be */
	REPLAY_MALFORMED, REPLAY_CUT, REPLAY_FOREIGN,
	REPLAY_BOOKS
};

static const char *const replay_books[REPLAY_BOOKS] = {
	[REPLAY_REQUESTS] = "requests",
	[REPLAY_ENDS] = "ends of dumps",
	[REPLAY_FAILURES] = "errors of the kernel",
	[REPLAY_NOTHING] = "messages that say nothing",
	[REPLAY_PROTOCOLS] = "sockets that are not TCP",
	[REPLAY_MESSAGES] = "messages of other kinds",
	[REPLAY_FAMILIES] = "packets of other netlink families",
	[REPLAY_LINKS] = "packets of other links",
	[REPLAY_MALFORMED] = "malformed",
	[REPLAY_CUT] = "cut short",
	[REPLAY_FOREIGN] = "of a machine of the other byte order",
};

struct replay {
	struct input		 in;
	struct pcap_reader	 pcap;
	struct output		*output;
	struct anonymize	*anonymize;	/* or NULL */
	bool			 anonymous;	/* --anonymize */
	const char		*key;		/* --anonymize-key, or NULL */
	uint64_t		 attributes;	/* that are decoded: bits of enum record_source */
	struct conversations	 conversations;
	struct attributes	 found;
	struct counters		 counters;
	uint64_t		 books[REPLAY_BOOKS];
	struct buffer		 datagram;	/* aligned, as the decoder needs it */
	uint8_t			 stamp[RECORD_STAMP_MAX];
	size_t			 stamp_length;	/* 0: none has been written yet */
	uint64_t		 stamped;	/* the interface that it is of */
	int			 code;		/* not 0: the file is not as it should be */
};

/* --- what is wrong with the file --- */

static void __attribute__((format(printf, 3, 4)))
replay_complain(struct replay *replay, uint64_t offset, const char *format, ...)
{
	static struct log_limit limit;
	cleanup_free char *what = NULL;
	va_list arguments;

	replay->code = EXIT_CODE_DATA;
	if (!log_allowed(&limit))
		return;
	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) == -1)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	va_end(arguments);
	log_error("%s: offset %" PRIu64 ": %s", replay->in.name, offset, what);
}

/* --- sockets --- */

/* The record's bytes without their length; NULL if the shipper would not let it through. */
static const uint8_t *
replay_encode(struct replay *replay, const struct pcap_packet *packet, const struct nlmsghdr *message, size_t *length)
{
	static uint8_t room[RING_PREFIX_MAX + ENCODE_SOCKET_MAX];
	struct conversation *conversation = conversations_of(&replay->conversations, packet->interface, message);
	const struct encode_metadata metadata = {
		.timestamp = packet->timestamp,
		.snapshot = conversation->snapshot,
		.sequence = replay->books[REPLAY_RECORDS] + 1,
		.counter = ++conversation->records,
		.attempt = 1,
	};
	size_t size = encode_socket(room, &metadata, &replay->found);
	uint64_t value = 0;
	size_t prefix = varint_read(room, size, &value);
	const char *fault = check_record(room + prefix, (size_t)value);

	*length = (size_t)value;
	if (fault == NULL)
		return room + prefix;
	log_error("a record of this program is refused by it: %s", fault);
	replay->code = EXIT_CODE_INTERNAL;
	return NULL;
}

static enum replay_book
replay_record(struct replay *replay, const struct pcap_packet *packet, const struct nlmsghdr *message)
{
	struct batch *batch = &replay->output->batch;
	const uint8_t *record;
	size_t length;

	record = replay_encode(replay, packet, message, &length);
	if (record == NULL)
		return REPLAY_MALFORMED;
	/* It is written before more is read: it stays within what one read brings. */
	memcpy(batch_place(batch, replay->stamp, replay->stamp_length, length), record, length);
	batch_commit(batch, replay->stamp_length, length);
	return REPLAY_RECORDS;
}

/* The kernel says the protocol of a message where it can be in doubt. */
static bool
replay_is_tcp(const struct replay *replay)
{
	return (replay->found.present >> RECORD_PROTOCOL & 1) == 0 || *replay->found.payload[RECORD_PROTOCOL] == IPPROTO_TCP;
}

static enum replay_book
replay_socket(struct replay *replay, const struct pcap_packet *packet, struct nlmsghdr *message, uint64_t offset)
{
	if (!datagram_is_socket(message) || !conversations_tcp(&replay->conversations, packet->interface, message))
		return REPLAY_PROTOCOLS;
	if (!attributes_find(&replay->found, message, &replay->counters)) {
		replay_complain(replay, offset, "malformed: a message of %" PRIu32 " bytes about a socket", message->nlmsg_len);
		return REPLAY_MALFORMED;
	}
	/* In place, where the attributes were found. */
	if (replay->anonymize != NULL)
		anonymize_message(replay->anonymize, message);
	return replay_is_tcp(replay) ? replay_record(replay, packet, message) : REPLAY_PROTOCOLS;
}

/* --- messages --- */

/* Namespaces follow one another in a file, so that the stamp is kept. */
static void
replay_stamp(struct replay *replay, const struct pcap_packet *packet)
{
	struct pcap_identity from = *packet->identity;
	const struct stamp_identity identity = {
		.version = VERSION,
		.netns = from.name,
		.inode = from.inode,
		.container = from.container,
		.runtime = from.runtime,
		.cookie = from.cookie,
	};

	if (replay->stamp_length > 0 && replay->stamped == packet->interface)
		return;
	if (replay->anonymize != NULL)
		anonymize_identity(&from, packet->interface);
	replay->stamp_length = stamp_write(replay->stamp, &identity);
	replay->stamped = packet->interface;
}

/* NLMSG_DONE and NLMSG_ERROR begin with an errno, or 0. */
static enum replay_book
replay_end(struct replay *replay, const struct nlmsghdr *message, uint64_t offset)
{
	int error;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(error)) {
		replay_complain(replay, offset, "malformed: the end of a dump of %" PRIu32 " bytes", message->nlmsg_len);
		return REPLAY_MALFORMED;
	}
	memcpy(&error, mnl_nlmsg_get_payload(message), sizeof(error));
	if (error == 0)
		return REPLAY_ENDS;
	log_limited(LOG_LEVEL_WARNING, "%s: offset %" PRIu64 ": the kernel answered: %s", replay->in.name, offset, strerror(-error));
	return REPLAY_FAILURES;
}

static enum replay_book
replay_message(struct replay *replay, const struct pcap_packet *packet, struct nlmsghdr *message, uint64_t offset)
{
	switch (message->nlmsg_type) {
	case NLMSG_NOOP:
		return REPLAY_NOTHING;
	case NLMSG_ERROR:
	case NLMSG_DONE:
		return replay_end(replay, message, offset);
	default:
		break;
	}
	if ((message->nlmsg_flags & NLM_F_REQUEST) != 0) {
		conversations_ask(&replay->conversations, packet->interface, message);
		return REPLAY_REQUESTS;
	}
	if (message->nlmsg_type == SOCK_DIAG_BY_FAMILY || message->nlmsg_type == TCPDIAG_GETSOCK)
		return replay_socket(replay, packet, message, offset);
	return REPLAY_MESSAGES;
}

/* What is left of a datagram, and no message. */
static void
replay_rest(struct replay *replay, const struct pcap_packet *packet, const struct nlmsghdr *message, size_t left, uint64_t offset)
{
	uint32_t swapped = left >= sizeof(*message) ? bswap_32(message->nlmsg_len) : 0;

	if (packet->length < packet->original) {
		replay->books[REPLAY_CUT]++;
		replay_complain(replay, offset, "cut short: the capture has %zu of %zu bytes of this packet", packet->length, packet->original);
	} else if (swapped >= sizeof(*message) && swapped <= left) {
		replay->books[REPLAY_FOREIGN]++;
		replay_complain(replay, offset, "a message of a machine of the other byte order; replay it on such a one");
	} else {
		replay->books[REPLAY_MALFORMED]++;
		replay_complain(replay, offset, "malformed: %zu bytes that are no message", left);
	}
}

static void
replay_datagram(struct replay *replay, const struct pcap_packet *packet)
{
	uint64_t offset = packet->offset + PCAP_COOKED;
	struct nlmsghdr *message;
	int left = (int)(packet->length - PCAP_COOKED);

	replay_stamp(replay, packet);
	replay->datagram.length = 0;
	buffer_append(&replay->datagram, packet->bytes + PCAP_COOKED, (size_t)left);
	message = (struct nlmsghdr *)replay->datagram.bytes;
	while (walk_message_whole(message, left) && !replay->output->failed) {
		replay->books[replay_message(replay, packet, message, offset)]++;
		offset += NLMSG_ALIGN(message->nlmsg_len);
		message = mnl_nlmsg_next(message, &left);
	}
	if (left > 0 || packet->length < packet->original)
		replay_rest(replay, packet, message, left > 0 ? (size_t)left : 0, offset);
}

static void
replay_packet(struct replay *replay, const struct pcap_packet *packet)
{
	if (packet->link != PCAP_LINK_NETLINK)
		replay->books[REPLAY_LINKS]++;
	else if (packet->length < PCAP_COOKED)
		replay_rest(replay, packet, NULL, 0, packet->offset);
	else if (!pcap_is_sock_diag(packet))
		replay->books[REPLAY_FAMILIES]++;
	else
		replay_datagram(replay, packet);
}

/* --- the end --- */

/* "requests: 2, ends of dumps: 3": the books from first to last that are not 0. */
static void
replay_say(const struct replay *replay, const char *title, enum replay_book first, enum replay_book last)
{
	struct buffer line = { 0 };

	for (unsigned int book = first; book <= last; book++)
		if (replay->books[book] > 0)
			buffer_printf(&line, "%s%s: %" PRIu64, line.length > 0 ? ", " : "", replay_books[book], replay->books[book]);
	if (line.length > 0)
		log_info("%s: %s: %.*s", replay->in.name, title, (int)line.length, (const char *)line.bytes);
	buffer_free(&line);
}

static void
replay_say_attributes(const struct replay *replay)
{
	const struct counters *counters = &replay->counters;
	const uint64_t *unknown = counters->unknown_attributes[0];
	struct buffer line = { 0 };

	for (size_t i = 0; i < sizeof(counters->unknown_attributes) / sizeof(unknown[0]); i++)
		if (unknown[i] > 0)
			buffer_printf(&line, "%s%s: %" PRIu64, line.length > 0 ? ", " : "", metrics_attribute(i), unknown[i]);
	if (line.length > 0)
		log_info("%s: attributes of unknown kinds: %.*s", replay->in.name, (int)line.length, (const char *)line.bytes);
	buffer_free(&line);
}

static void
replay_say_counters(const struct replay *replay)
{
	const struct {
		const char	*what;
		uint64_t	 count;
	} told[] = {
		{ "attributes too short to be decoded", replay->counters.short_attributes },
		{ "attributes with more in them than is known", replay->counters.long_attributes },
		{ "bytes of tcp_info for which a record has no room", replay->counters.cut_bytes },
		{ "TCP-MD5 keys left out", replay->counters.md5_keys },
	};

	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		if (told[i].count > 0)
			log_info("%s: %s: %" PRIu64, replay->in.name, told[i].what, told[i].count);
}

static void
replay_summary(const struct replay *replay)
{
	log_info("%s: records: %" PRIu64 ", dumps with sockets: %" PRIu64, replay->in.name, replay->books[REPLAY_RECORDS],
	    replay->conversations.count);
	replay_say(replay, "skipped", REPLAY_REQUESTS, REPLAY_LINKS);
	replay_say(replay, "not decoded", REPLAY_MALFORMED, REPLAY_FOREIGN);
	replay_say_attributes(replay);
	replay_say_counters(replay);
}

static bool
replay_wait(void *context)
{
	struct replay *replay = context;

	output_flush(replay->output);
	return !replay->output->failed;
}

static int
replay_run(struct replay *replay)
{
	enum pcap_result result;
	struct pcap_packet packet;

	output_begin(replay->output);
	while ((result = pcap_read(&replay->pcap, &packet)) == PCAP_PACKET && !replay->output->failed)
		replay_packet(replay, &packet);
	output_end(replay->output);
	if (result == PCAP_BAD)
		replay_complain(replay, replay->pcap.bad, "%s", replay->pcap.error);
	replay_summary(replay);
	if (replay->output->failed)
		return EXIT_CODE_SINK;
	return replay->in.failed ? EXIT_CODE_DATA : replay->code;
}

/* --- the command line --- */

static void
replay_help(void)
{
	printf("usage: tcpdiag replay [options] FILE\n"
	    "\n"
	    "Prints the TCP sockets in a capture of netlink (-: of standard input), be it of\n"
	    "tcpdiag capture or of an nlmon device, pcap or pcapng.\n"
	    "\n");
	output_help();
	printf("  -d, --decoders NAME,...  what is decoded of each socket, by the names of\n"
	    "                           the key decoders of tcpdiag.conf(5)\n"
	    "  -a, --anonymize          show stand-ins for addresses and names\n"
	    "  -k, --anonymize-key FILE the same ones whenever FILE has the same bytes\n"
	    "  -h, --help               this text\n"
	    "\n"
	    "A record's time is that of its packet.  Records come in the order of the file.\n"
	    "What gives no record is counted, and told at the end on standard error.\n");
}

static int
replay_set_decoders(struct replay *replay, char *names)
{
	char error[1024], *items[REPLAY_DECODERS_MAX], *name;
	struct config_list list = { items, 0 };

	while ((name = strsep(&names, ",")) != NULL && list.count < REPLAY_DECODERS_MAX)
		items[list.count++] = name;
	replay->attributes = decoders_mask(&list, error, sizeof(error));
	return replay->attributes != 0 ? -1 : output_usage(replay->output, "%s", error);
}

static int
replay_set(struct replay *replay, int letter, char *value)
{
	switch (letter) {
	case 'd':
		return replay_set_decoders(replay, value);
	case 'k':
		replay->key = value;
		replay->anonymous = true;
		return -1;
	case 'a':
		replay->anonymous = true;
		return -1;
	case 'f':
		return output_set_format(replay->output, value);
	case 'c':
		return output_set_columns(replay->output, value);
	case 'h':
		replay_help();
		return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_SINK;
	default:	/* getopt has said what is wrong */
		return EXIT_CODE_USAGE;
	}
}

/* Returns -1 to go on, else the exit code; what is wrong is said already. */
static int
replay_parse(struct replay *replay, int argc, char **argv, const char **file)
{
	static const struct option longs[] = {
		{ "format", required_argument, NULL, 'f' },
		{ "columns", required_argument, NULL, 'c' },
		{ "decoders", required_argument, NULL, 'd' },
		{ "anonymize", no_argument, NULL, 'a' },
		{ "anonymize-key", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int letter, code;

	optind = 0;
	while ((letter = getopt_long(argc, argv, "f:c:d:ak:h", longs, NULL)) != -1) {
		code = replay_set(replay, letter, optarg);
		if (code != -1)
			return code;
	}
	if (argc - optind != 1)
		return output_usage(replay->output, "%s", optind == argc ? "which FILE?  - is standard input" : "only one FILE at a time");
	*file = argv[optind];
	if (replay->anonymous && (replay->anonymize = anonymize_open(replay->key)) == NULL)
		return EXIT_CODE_USAGE;
	return output_open(replay->output);
}

int
replay_main(int argc, char **argv)
{
	struct output output = { .command = "replay" };
	const struct config_list standard = { NULL, 0 };
	struct replay replay = { .output = &output, .attributes = decoders_mask(&standard, NULL, 0) };
	const char *file = NULL;
	int code;

	code = replay_parse(&replay, argc, argv, &file);
	if (code == -1 && input_open(&replay.in, file) == -1)
		code = EXIT_CODE_DATA;
	if (code == -1) {
		replay.in.wait = replay_wait;
		replay.in.context = &replay;
		attributes_choose(replay.attributes);
		pcap_open(&replay.pcap, &replay.in);
		code = replay_run(&replay);
		pcap_close(&replay.pcap);
		input_close(&replay.in);
	}
	conversations_free(&replay.conversations);
	buffer_free(&replay.datagram);
	anonymize_free(replay.anonymize);
	output_close(&output);
	return code;
}

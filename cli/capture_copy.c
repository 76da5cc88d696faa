/* Copies captures: see capture_copy.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/capture_copy.h"
#include "cli/pcap.h"
#include "common/exit.h"
#include "common/log.h"

enum { COPY_ROOM = 1024 * 1024 };	/* bytes that are written at once */

struct copy {
	struct capture_file	*file;
	uint32_t		*interfaces;	/* numbers in the copy, by those of the input; UINT32_MAX: none yet */
	size_t			 ninterfaces;
	struct buffer		 datagram;	/* aligned */
	uint64_t		 others;	/* packets that are left out */
};

static void
copy_grow(struct copy *copy, uint64_t interface)
{
	if (interface >= copy->ninterfaces) {
		copy->interfaces = reallocarray(copy->interfaces, (size_t)interface + 1, sizeof(*copy->interfaces));
		if (copy->interfaces == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory");
	}
	while (copy->ninterfaces <= interface)
		copy->interfaces[copy->ninterfaces++] = UINT32_MAX;
}

/* Chooses the interface of the copy that a packet is of. */
static void
copy_interface(struct copy *copy, const struct pcap_packet *packet)
{
	if (!copy->file->ng)
		return;
	copy_grow(copy, packet->interface);
	if (copy->interfaces[packet->interface] == UINT32_MAX) {
		capture_file_interface(copy->file, packet->identity);
		copy->interfaces[packet->interface] = copy->file->interface;
	}
	copy->file->interface = copy->interfaces[packet->interface];
}

static void
copy_packet(struct copy *copy, const struct pcap_packet *packet)
{
	size_t original = packet->original > packet->length ? packet->original : packet->length;

	if (!pcap_is_sock_diag(packet)) {
		copy->others++;
		return;
	}
	copy_interface(copy, packet);
	copy->datagram.length = 0;
	buffer_append(&copy->datagram, packet->bytes + PCAP_COOKED, packet->length - PCAP_COOKED);
	capture_file_add(copy->file, packet->timestamp, copy->datagram.bytes, copy->datagram.length, original - PCAP_COOKED);
}

static bool
copy_wait(void *context)
{
	return capture_file_flush(context);
}

/* Returns the exit code. */
static int
copy_run(struct copy *copy, struct pcap_reader *pcap)
{
	struct pcap_packet packet;
	enum pcap_result result = PCAP_END;
	bool good = true;

	capture_file_begin(copy->file);
	while (good && (result = pcap_read(pcap, &packet)) == PCAP_PACKET) {
		copy_packet(copy, &packet);
		if (copy->file->packets.length >= COPY_ROOM)
			good = capture_file_flush(copy->file);
	}
	if (!good || pcap->input->refused)
		return EXIT_CODE_SINK;
	if (pcap->input->failed)
		return EXIT_CODE_DATA;
	if (result == PCAP_BAD)
		log_error("%s: offset %" PRIu64 ": %s", pcap->input->name, pcap->bad, pcap->error);
	if (!capture_file_flush(copy->file))
		return EXIT_CODE_SINK;
	return result == PCAP_BAD ? EXIT_CODE_DATA : EXIT_CODE_OK;
}

int
capture_copy(struct input *input, struct capture_file *file)
{
	struct copy copy = { .file = file };
	struct pcap_reader pcap;
	int code;

	input->wait = copy_wait;
	input->context = file;
	pcap_open(&pcap, input);
	code = copy_run(&copy, &pcap);
	if (copy.others > 0)
		log_info("%s: packets left out, since they are not of sock_diag: %" PRIu64, input->name, copy.others);
	pcap_close(&pcap);
	buffer_free(&copy.datagram);
	free(copy.interfaces);
	return code;
}

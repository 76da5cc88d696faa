/* The file that a capture goes to: see capture_file.h. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/capture_file.h"
#include "cli/datagram.h"
#include "common/fd.h"
#include "common/log.h"

/* Out of the way of the number that the sock_diag socket must have. */
enum { CAPTURE_FD_HIGH = 64 };

/* Empties a file, unless it is the one that is read; what is no file has nothing in it.  False with errno. */
static bool
capture_file_empty(int fd, int input)
{
	struct stat st, other;

	if (fstat(fd, &st) == -1)
		return false;
	if (input != -1 && fstat(input, &other) == 0 && S_ISREG(st.st_mode) && st.st_dev == other.st_dev && st.st_ino == other.st_ino) {
		errno = EBUSY;
		return false;
	}
	return !S_ISREG(st.st_mode) || ftruncate(fd, 0) == 0;
}

int
capture_file_open(struct capture_file *file, const char *name, int input)
{
	bool standard = strcmp(name, "-") == 0;
	cleanup_fd int fd = standard ? dup(STDOUT_FILENO) : open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

	file->name = standard ? "standard output" : name;
	/* What a shell has opened is as it should be. */
	if (fd == -1 || (!standard && !capture_file_empty(fd, input)) || (file->fd = fcntl(fd, F_DUPFD_CLOEXEC, CAPTURE_FD_HIGH)) == -1) {
		log_errno(LOG_LEVEL_ERROR, "%s cannot be opened for writing%s", file->name, errno == EBUSY ? ", being read" : "");
		return -1;
	}
	return 0;
}

void
capture_file_begin(struct capture_file *file)
{
	pcap_write_header(&file->packets, file->ng);
}

void
capture_file_interface(struct capture_file *file, const struct pcap_identity *identity)
{
	struct pcap_identity shown = *identity;

	if (!file->ng)
		return;
	if (file->anonymize != NULL)
		anonymize_identity(&shown, file->interfaces);
	pcap_write_interface(&file->packets, &shown);
	file->interface = file->interfaces++;
}

void
capture_file_add(struct capture_file *file, uint64_t timestamp, void *bytes, size_t length, size_t original)
{
	const struct pcap_datagram datagram = {
		.ng = file->ng,
		.interface = file->interface,
		.timestamp = timestamp,
		.bytes = bytes,
		.length = length,
		.original = original,
	};

	file->books->overwritten += datagram_wipe(bytes, length, &file->books->counters);
	if (file->anonymize != NULL)
		anonymize_datagram(file->anonymize, bytes, length);
	pcap_write_datagram(&file->packets, &datagram);
	file->books->datagrams++;
}

bool
capture_file_flush(struct capture_file *file)
{
	const uint8_t *bytes = file->packets.bytes;
	size_t length = file->packets.length;

	while (length > 0) {
		ssize_t n = write(file->fd, bytes, length);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			log_errno(LOG_LEVEL_ERROR, "%s", file->name);
			return false;
		}
		bytes += n;
		length -= (size_t)n;
	}
	file->packets.length = 0;
	return true;
}

void
capture_file_close(struct capture_file *file)
{
	fd_close(&file->fd);
	buffer_free(&file->packets);
	anonymize_free(file->anonymize);
}

/*
 * The file that a capture goes to.  Nothing gets into it with a TCP-MD5 key or,
 * if so asked for, with an address in it.
 */
#ifndef CLI_CAPTURE_FILE_H
#define CLI_CAPTURE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/anonymize.h"
#include "cli/pcap.h"
#include "common/buffer.h"
#include "common/counters.h"

/* What went into it, also from other processes, which share it. */
struct capture_books {
	uint64_t	datagrams;
	uint64_t	overwritten;	/* messages that could not be taken apart */
	struct counters	counters;	/* read: sockets; and TCP-MD5 keys */
};

struct capture_file {
	const char		*name;		/* for messages */
	int			 fd;
	bool			 ng;		/* a pcapng */
	struct anonymize	*anonymize;	/* or NULL */
	uint32_t		 interfaces;	/* of a pcapng, so far */
	uint32_t		 interface;	/* that what is added is of */
	struct buffer		 packets;	/* that are not written yet */
	struct capture_books	*books;
};

/*
 * name: "-" is standard output.  input: what is read to make it, which must be
 * another file; or -1.  -1 with the reason said; what was in the file is gone
 * only when all is well.
 */
int	capture_file_open(struct capture_file *, const char *name, int input);
void	capture_file_begin(struct capture_file *);
/* What follows is of this namespace, till file->interface is set to another's. */
void	capture_file_interface(struct capture_file *, const struct pcap_identity *);
/* bytes: aligned; they are wiped where they are. */
void	capture_file_add(struct capture_file *, uint64_t timestamp, void *bytes, size_t length, size_t original);
/* Writes it.  False: it is said why not. */
bool	capture_file_flush(struct capture_file *);
void	capture_file_close(struct capture_file *);

#endif

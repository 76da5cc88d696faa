/*
 * The child that reads one network namespace for a capture.  It gives up its
 * capabilities before it asks: the kernel looks at the process that reads, and
 * tells marks and TCP-MD5 keys to one with CAP_NET_ADMIN only.
 */
#ifndef CLI_CAPTURE_CHILD_H
#define CLI_CAPTURE_CHILD_H

#include "cli/capture_file.h"
#include "cli/pcap.h"
#include "common/record.h"

/* What it tells, in memory that is shared. */
struct capture_told {
	const char		*step;		/* that failed, or NULL; a constant of this program */
	int			 error;		/* errno of it, or the kernel's of the dump */
	enum record_outcome	 outcome;
};

struct capture_child {
	int			 netns;		/* nsfs; -1: it stays where it is */
	struct pcap_identity	 identity;
	uint32_t		 states;	/* 1 << TCP state: what to ask for */
	uint8_t			 extensions;	/* idiag_ext */
	bool			 with_mark;	/* keeps CAP_NET_ADMIN */
	uint64_t		 patience;	/* ns that the dump may take */
	void			*pinned;	/* a private page */
	struct capture_file	*file;
	struct capture_told	*told;
};

/* Ends with EXIT_CODE_OK unless told->step is set or the file takes no more. */
_Noreturn void	capture_child(struct capture_child *);

#endif

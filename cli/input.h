/*
 * A file, however large, or a pipe that lives: read from its start to its end,
 * with the offset of what is at hand.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

struct input {
	const char	*name;		/* for messages */
	int		 fd;
	bool		 ended;		/* nothing more to read */
	bool		 failed;	/* nor is it right to go on; it is said why */
	bool		 refused;	/* ... since wait() did not want more */
	struct buffer	 read;		/* read.bytes[used] is next */
	size_t		 used;
	uint64_t	 offset;	/* of that in the file */
	/*
	 * Called before more is waited for: what has been read can be written.
	 * False: it is of no use to read more, and it is said why.
	 */
	bool		(*wait)(void *context);
	void		*context;
};

/* file: "-" is standard input.  -1 with the reason said. */
int		 input_open(struct input *, const char *file);
/* Waits for so many bytes; returns how many are there: fewer at the end only. */
size_t		 input_want(struct input *, size_t length);
/* What is at hand, till more is wanted. */
const uint8_t	*input_here(const struct input *);
void		 input_skip(struct input *, size_t length);
void		 input_close(struct input *);

#endif

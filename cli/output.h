/* Records to standard output, in any format: what the commands share that print files. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>

#include "common/buffer.h"
#include "shipper/batch.h"
#include "shipper/format.h"

enum { OUTPUT_COLUMNS_MAX = 1024 };

struct output {
	const char		*command;	/* for messages */
	const struct format	*format;	/* NULL: the standard one */
	char			*columns[OUTPUT_COLUMNS_MAX];
	size_t			 ncolumns;
	void			*state;		/* the format's */
	struct batch		 batch;		/* records that are not written yet */
	struct buffer		 bytes;
	bool			 failed;	/* it takes no more; it is said why */
};

/* Says what is wrong with the command line, and where to look.  Returns the exit code. */
int	output_usage(const struct output *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The lines of --help about --format and --columns. */
void	output_help(void);
/* Of the command line.  -1 to go on, else the exit code. */
int	output_set_format(struct output *, const char *name);
int	output_set_columns(struct output *, char *names);
/* Opens the format, whichever it is.  -1 to go on, else the exit code. */
int	output_open(struct output *);
/* Writes what stands before the first record. */
void	output_begin(struct output *);
/* Writes the batch. */
void	output_flush(struct output *);
/* Writes the batch, and what a format needs at its end. */
void	output_end(struct output *);
void	output_close(struct output *);

#endif

/* Records to standard output: see output.h. */
#include <sys/ioctl.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "shipper/formats.h"

/* --- the command line --- */

int
output_usage(const struct output *output, const char *format, ...)
{
	cleanup_free char *what = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) == -1)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	va_end(arguments);
	log_error("%s: %s (see tcpdiag %s --help)", output->command, what, output->command);
	return EXIT_CODE_USAGE;
}

void
output_help(void)
{
	size_t i;

	printf("  -f, --format FORMAT      (default: table on a terminal, else jsonl)\n");
	for (i = 0; formats[i] != NULL; i++)
		printf("        %-12s  %s\n", formats[i]->name, formats[i]->help);
	printf("  -c, --columns NAME,...   fields to show, for table, csv and tsv\n");
}

int
output_set_format(struct output *output, const char *name)
{
	char names[256] = "";
	size_t i, length;

	output->format = format_by_name(name);
	if (output->format != NULL)
		return -1;
	for (i = 0; formats[i] != NULL; i++) {
		length = strlen(names);
		snprintf(names + length, sizeof(names) - length, "%s%s", i ? ", " : "", formats[i]->name);
	}
	return output_usage(output, "unknown format \"%s\": there are %s", name, names);
}

int
output_set_columns(struct output *output, char *names)
{
	char *name;

	while ((name = strsep(&names, ",")) != NULL) {
		if (*name == '\0')
			return output_usage(output, "--columns has an empty name");
		if (output->ncolumns == OUTPUT_COLUMNS_MAX)
			return output_usage(output, "--columns has more than %d names", OUTPUT_COLUMNS_MAX);
		output->columns[output->ncolumns++] = name;
	}
	return -1;
}

/* --- writing --- */

static void
output_write(struct output *output, const uint8_t *bytes, size_t length)
{
	while (length > 0 && !output->failed) {
		ssize_t n = write(STDOUT_FILENO, bytes, length);

		if (n >= 0) {
			bytes += n;
			length -= (size_t)n;
		} else if (errno != EINTR) {
			log_errno(LOG_LEVEL_ERROR, "standard output");
			output->failed = true;
		}
	}
}

static unsigned int
output_width(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

int
output_open(struct output *output)
{
	struct format_options options = { .ncolumns = output->ncolumns };
	char error[1024];

	if (output->format == NULL)
		output->format = isatty(STDOUT_FILENO) ? &format_table : &format_jsonl;
	if (output->ncolumns > 0 && !output->format->columns)
		return output_usage(output, "format %s has no --columns", output->format->name);
	options.columns = output->ncolumns > 0 ? output->columns : NULL;
	options.width = output_width();
	output->state = output->format->open(&options, error, sizeof(error));
	if (output->state == NULL)
		return output_usage(output, "%s", error);
	/* A reader that has gone is an error like others, and is told. */
	signal(SIGPIPE, SIG_IGN);
	return -1;
}

void
output_begin(struct output *output)
{
	if (output->format->header == NULL)
		return;
	output->format->header(output->state, &output->bytes);
	output_write(output, output->bytes.bytes, output->bytes.length);
	output->bytes.length = 0;
}

void
output_flush(struct output *output)
{
	const struct buffer *records = &output->batch.records;

	if (records->length == 0)
		return;
	if (output->format->batch == NULL)
		output_write(output, records->bytes, records->length);
	else {
		output->format->batch(output->state, records->bytes, records->length, &output->bytes);
		output_write(output, output->bytes.bytes, output->bytes.length);
		output->bytes.length = 0;
	}
	batch_clear(&output->batch);
}

void
output_end(struct output *output)
{
	output_flush(output);
	if (output->format->finish == NULL)
		return;
	output->format->finish(output->state, &output->bytes);
	output_write(output, output->bytes.bytes, output->bytes.length);
	output->bytes.length = 0;
}

void
output_close(struct output *output)
{
	batch_free(&output->batch);
	buffer_free(&output->bytes);
	if (output->format != NULL)
		format_close(output->format, output->state);
}

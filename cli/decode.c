/*
 * tcpdiag decode: reads what formats protobuf and protobufList wrote and prints
 * it in any format.  Records are unpacked and packed again by protobuf-c, not by
 * our own reader: so a file that another program wrote is put into the canonical
 * order, and a mistake of our encoder is not repeated by the one who checks it.
 *
 * A file may be larger than memory, or a pipe that lives: what has been read is
 * written before more is waited for.
 */
#include <sys/ioctl.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/decode.h"
#include "common/buffer.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"
#include "shipper/formats.h"

enum {
	DECODE_READ = 256 * 1024,		/* bytes asked for at once */
	DECODE_RECORD_MAX = RECORD_STAMP_MAX + RECORD_MAX,
	DECODE_ENVELOPE_MAX = 64 * 1024 * 1024,
	DECODE_COLUMNS_MAX = 1024,
	ENVELOPE_ROW = 10 << 3 | 2,		/* field 10, length-delimited */
};

enum decode_input { DECODE_AUTO, DECODE_RECORDS, DECODE_ENVELOPES };

static const char *const decode_inputs[] = {
	[DECODE_AUTO] = "auto",
	[DECODE_RECORDS] = "protobuf",
	[DECODE_ENVELOPES] = "protobufList",
};

struct decode_options {
	const struct format	*format;
	enum decode_input	 input;
	char			*columns[DECODE_COLUMNS_MAX];
	size_t			 ncolumns;
	const char		*file;
};

struct decode {
	const char		*file;		/* for messages */
	int			 fd;
	bool			 ended;		/* nothing more to read */
	enum decode_input	 input;
	const struct format	*format;
	void			*state;		/* the format's */
	struct buffer		 in;		/* read; in.bytes[used] is next */
	size_t			 used;
	uint64_t		 offset;	/* of in.bytes[used] in the file */
	struct buffer		 batch;
	struct buffer		 out;
	int			 code;		/* the exit code; not 0 ends it */
};

/* --- writing --- */

static void
decode_write(struct decode *decode, const uint8_t *bytes, size_t length)
{
	while (length > 0 && decode->code != EXIT_CODE_SINK) {
		ssize_t n = write(STDOUT_FILENO, bytes, length);

		if (n >= 0) {
			bytes += n;
			length -= (size_t)n;
		} else if (errno != EINTR) {
			log_errno(LOG_LEVEL_ERROR, "standard output");
			decode->code = EXIT_CODE_SINK;
		}
	}
}

static void
decode_flush(struct decode *decode)
{
	if (decode->batch.length == 0)
		return;
	if (decode->format->batch == NULL)
		decode_write(decode, decode->batch.bytes, decode->batch.length);
	else {
		decode->format->batch(decode->state, decode->batch.bytes, decode->batch.length, &decode->out);
		decode_write(decode, decode->out.bytes, decode->out.length);
		decode->out.length = 0;
	}
	decode->batch.length = 0;
}

/* Says what is wrong after what was right has been written, and ends the run. */
static void __attribute__((format(printf, 3, 4)))
decode_fail(struct decode *decode, uint64_t offset, const char *format, ...)
{
	cleanup_free char *what = NULL;
	va_list arguments;

	decode_flush(decode);
	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) == -1)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	va_end(arguments);
	log_error("%s: offset %" PRIu64 ": %s", decode->file, offset, what);
	if (decode->code == 0)
		decode->code = EXIT_CODE_DATA;
}

/* --- reading --- */

static void
decode_fill(struct decode *decode)
{
	struct buffer *in = &decode->in;
	ssize_t n;

	decode_flush(decode);
	if (decode->code != 0)
		return;
	if (decode->used > 0)
		memmove(in->bytes, in->bytes + decode->used, in->length - decode->used);
	in->length -= decode->used;
	decode->used = 0;
	do
		n = read(decode->fd, buffer_reserve(in, DECODE_READ), DECODE_READ);
	while (n == -1 && errno == EINTR);
	if (n == -1) {
		log_errno(LOG_LEVEL_ERROR, "%s", decode->file);
		decode->code = EXIT_CODE_DATA;
	}
	if (n > 0)
		in->length += (size_t)n;
	else
		decode->ended = true;
}

/* Bytes that are there, at least so many unless the file ends before. */
static size_t
decode_want(struct decode *decode, size_t length)
{
	while (decode->in.length - decode->used < length && !decode->ended && decode->code == 0)
		decode_fill(decode);
	return decode->in.length - decode->used;
}

static const uint8_t *
decode_here(const struct decode *decode)
{
	return decode->in.bytes + decode->used;
}

static void
decode_skip(struct decode *decode, size_t length)
{
	decode->used += length;
	decode->offset += length;
}

enum decode_length { LENGTH_OK, LENGTH_END, LENGTH_BAD };

/* Reads a varint; asks for no byte behind it, since that one may be long in coming. */
static enum decode_length
decode_varint(struct decode *decode, uint64_t start, uint64_t *value)
{
	size_t n = 0, length;

	do {
		n++;
		if (decode_want(decode, n) < n) {
			if (n == 1 || decode->code != 0)
				return LENGTH_END;
			decode_fail(decode, start,
			    "the file is cut short: it ends within a length");
			return LENGTH_BAD;
		}
	} while (n < VARINT_MAX && (decode_here(decode)[n - 1] & 0x80));
	length = varint_read(decode_here(decode), n, value);
	if (length == 0) {
		decode_fail(decode, start, "not a file of records: there is no length");
		return LENGTH_BAD;
	}
	decode_skip(decode, length);
	return LENGTH_OK;
}

/* --- records --- */

static bool
decode_known(const struct record *record)
{
	unsigned int word, row;

	for (row = 0; row < RECORD_FIELDS; row++) {
		/* protobuf-c's strings end at a NUL; what stands behind it would be lost. */
		if (record_fields[row].type == RECORD_STRING && record->values[row].number > 0 &&
		    memchr(record->values[row].bytes, 0, record->values[row].number) != NULL)
			return false;
	}
	for (word = 0; word < RECORD_WORDS; word++) {
		if (record->written[word] != 0)
			return true;
	}
	return false;
}

static void
decode_pack(struct decode *decode, const XtcpFlatRecord__V1__XtcpFlatRecord *message)
{
	size_t size = xtcp_flat_record__v1__xtcp_flat_record__get_packed_size(message);
	uint8_t *to = buffer_reserve(&decode->batch, VARINT_MAX + size);
	size_t prefix = varint_write(to, size);

	xtcp_flat_record__v1__xtcp_flat_record__pack(message, to + prefix);
	decode->batch.length += prefix + size;
}

/* start: where it begins in the file, for the message. */
static void
decode_record(struct decode *decode, uint64_t start, size_t length)
{
	XtcpFlatRecord__V1__XtcpFlatRecord *message = NULL;
	struct record record;

	if (record_read(&record, decode_here(decode), length) == 0 && decode_known(&record))
		message = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, length, decode_here(decode));
	if (message == NULL) {
		decode_fail(decode, start, "not a record: these %zu bytes are no XtcpFlatRecord",
		    length);
		return;
	}
	decode_pack(decode, message);
	xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(message, NULL);
	decode_skip(decode, length);
}

/* A record of so many bytes, all of which have to be there. */
static void
decode_whole_record(struct decode *decode, uint64_t start, uint64_t length)
{
	size_t there = decode_want(decode, (size_t)length);

	if (decode->code != 0)
		return;
	if (there < length)
		decode_fail(decode, start,
		    "the record is cut short: %zu of its %" PRIu64 " bytes are there", there, length);
	else
		decode_record(decode, start, (size_t)length);
}

/* One row of an Envelope; *left: bytes of the Envelope from here on. */
static void
decode_row(struct decode *decode, uint64_t *left)
{
	uint64_t start = decode->offset, tag, length, used;
	enum decode_length result = decode_varint(decode, start, &tag);

	if (result == LENGTH_OK && tag != ENVELOPE_ROW) {
		decode_fail(decode, start, "not an Envelope: it has another field than row");
		return;
	}
	if (result == LENGTH_OK)
		result = decode_varint(decode, start, &length);
	if (result == LENGTH_END && decode->code == 0)
		decode_fail(decode, start,
		    "the Envelope is cut short: %" PRIu64 " bytes of it are missing",
		    *left - (decode->offset - start));
	if (result != LENGTH_OK)
		return;
	used = decode->offset - start;
	if (used > *left || length > *left - used) {
		decode_fail(decode, start, "not an Envelope: a row reaches beyond its end");
		return;
	}
	*left -= used + length;
	decode_whole_record(decode, start, length);
}

static void
decode_envelope(struct decode *decode, uint64_t length)
{
	while (length > 0 && decode->code == 0)
		decode_row(decode, &length);
}

/* The first byte behind a length tells: no record has a field 10 of that type. */
static void
decode_detect(struct decode *decode)
{
	if (decode->input != DECODE_AUTO)
		return;
	if (decode_want(decode, 1) >= 1 && decode_here(decode)[0] == ENVELOPE_ROW)
		decode->input = DECODE_ENVELOPES;
	else if (decode->code == 0)
		decode->input = DECODE_RECORDS;
}

/* False at the end of the file, or when decode->code says why not to go on. */
static bool
decode_next(struct decode *decode)
{
	uint64_t start = decode->offset, length, most;

	if (decode_varint(decode, start, &length) != LENGTH_OK)
		return false;
	if (length > 0)
		decode_detect(decode);
	most = decode->input == DECODE_ENVELOPES ? DECODE_ENVELOPE_MAX : DECODE_RECORD_MAX;
	if (decode->code != 0)
		return false;
	if (length > most || (length == 0 && decode->input != DECODE_ENVELOPES))
		decode_fail(decode, start,
		    "not a file of records: a length of %" PRIu64 ", where 1 to %" PRIu64 " can be", length, most);
	else if (decode->input == DECODE_ENVELOPES)
		decode_envelope(decode, length);
	else
		decode_whole_record(decode, start, length);
	return decode->code == 0;
}

static int
decode_run(struct decode *decode)
{
	if (decode->format->header != NULL) {
		decode->format->header(decode->state, &decode->out);
		decode_write(decode, decode->out.bytes, decode->out.length);
		decode->out.length = 0;
	}
	while (decode->code == 0 && decode_next(decode))
		;
	/* What stood before a mistake is good. */
	decode_flush(decode);
	buffer_free(&decode->in);
	buffer_free(&decode->batch);
	buffer_free(&decode->out);
	return decode->code;
}

/* --- the command line --- */

static void
decode_help(void)
{
	size_t i;

	printf("usage: tcpdiag decode [options] FILE\n"
	    "\n"
	    "Prints the records of a file (-: of standard input) in another format.\n"
	    "\n"
	    "  -f, --format FORMAT      (default: table on a terminal, else jsonl)\n");
	for (i = 0; formats[i] != NULL; i++)
		printf("        %-12s  %s\n", formats[i]->name, formats[i]->help);
	printf("  -i, --input INPUT        what FILE is: protobuf, protobufList, or auto to see\n"
	    "                           by its first bytes (the default)\n"
	    "  -c, --columns NAME,...   fields to show, for table, csv and tsv\n"
	    "  -h, --help               this text\n"
	    "\n"
	    "Fields are written in the order of their numbers: --format protobuf of a file\n"
	    "of tcpdiag's has the same records of the same size, but not its bytes, since\n"
	    "there identity stands first.\n");
}

static int
decode_usage(const char *format, ...)
{
	cleanup_free char *what = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) == -1)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	va_end(arguments);
	log_error("decode: %s (see tcpdiag decode --help)", what);
	return EXIT_CODE_USAGE;
}

static int
decode_set_format(struct decode_options *options, const char *name)
{
	char names[256] = "";
	size_t i, length;

	options->format = format_by_name(name);
	if (options->format != NULL)
		return -1;
	for (i = 0; formats[i] != NULL; i++) {
		length = strlen(names);
		snprintf(names + length, sizeof(names) - length, "%s%s", i ? ", " : "", formats[i]->name);
	}
	return decode_usage("unknown format \"%s\": there are %s", name, names);
}

static int
decode_set_input(struct decode_options *options, const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(decode_inputs) / sizeof(decode_inputs[0]); i++) {
		if (strcmp(decode_inputs[i], name) == 0) {
			options->input = (enum decode_input)i;
			return -1;
		}
	}
	return decode_usage("unknown input \"%s\": there are auto, protobuf, protobufList", name);
}

static int
decode_set_columns(struct decode_options *options, char *names)
{
	char *name;

	while ((name = strsep(&names, ",")) != NULL) {
		if (*name == '\0')
			return decode_usage("--columns has an empty name");
		if (options->ncolumns == DECODE_COLUMNS_MAX)
			return decode_usage("--columns has more than %d names", DECODE_COLUMNS_MAX);
		options->columns[options->ncolumns++] = name;
	}
	return -1;
}

static int
decode_set(struct decode_options *options, int letter, char *value)
{
	switch (letter) {
	case 'f':
		return decode_set_format(options, value);
	case 'i':
		return decode_set_input(options, value);
	case 'c':
		return decode_set_columns(options, value);
	case 'h':
		decode_help();
		return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_SINK;
	}
	/* getopt has said what is wrong. */
	return EXIT_CODE_USAGE;
}

/* Returns -1 to go on, else the exit code; what is wrong is said already. */
static int
decode_parse(struct decode_options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "format", required_argument, NULL, 'f' },
		{ "input", required_argument, NULL, 'i' },
		{ "columns", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int letter, code;

	/* 0, not 1: whoever called us may have used getopt before. */
	optind = 0;
	while ((letter = getopt_long(argc, argv, "f:i:c:h", longs, NULL)) != -1) {
		code = decode_set(options, letter, optarg);
		if (code != -1)
			return code;
	}
	if (argc - optind != 1)
		return decode_usage("%s", optind == argc ? "which FILE?  - is standard input" : "only one FILE at a time");
	options->file = argv[optind];
	if (options->format == NULL)
		options->format = isatty(STDOUT_FILENO) ? &format_table : &format_jsonl;
	if (options->ncolumns > 0 && !options->format->columns)
		return decode_usage("format %s has no --columns", options->format->name);
	return -1;
}

static unsigned int
decode_width(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* Where the records come from; -1 with the reason said. */
static int
decode_open(struct decode *decode, const char *file)
{
	if (strcmp(file, "-") == 0) {
		decode->file = "standard input";
		decode->fd = STDIN_FILENO;
		return 0;
	}
	decode->file = file;
	decode->fd = open(file, O_RDONLY | O_CLOEXEC);
	if (decode->fd == -1)
		log_errno(LOG_LEVEL_ERROR, "%s", file);
	return decode->fd == -1 ? -1 : 0;
}

int
decode_main(int argc, char **argv)
{
	struct decode_options options = { 0 };
	struct format_options format = { 0 };
	struct decode decode = { 0 };
	cleanup_free void *state = NULL;
	char error[1024];
	int code;

	code = decode_parse(&options, argc, argv);
	if (code != -1)
		return code;
	format.columns = options.ncolumns > 0 ? options.columns : NULL;
	format.ncolumns = options.ncolumns;
	format.width = decode_width();
	state = options.format->open(&format, error, sizeof(error));
	if (state == NULL)
		return decode_usage("%s", error);
	if (decode_open(&decode, options.file) == -1)
		return EXIT_CODE_DATA;
	/* A reader that has gone is an error like others, and is told. */
	signal(SIGPIPE, SIG_IGN);
	decode.input = options.input;
	decode.format = options.format;
	decode.state = state;
	code = decode_run(&decode);
	if (decode.fd != STDIN_FILENO)
		close(decode.fd);
	return code;
}

/*
 * tcpdiag decode: reads what any format but table and parquet wrote and prints
 * it in any format.  Records of protobuf and protobufList are unpacked and packed
 * again by protobuf-c, not by our own reader: so a file that another program
 * wrote is put into the canonical order, and a mistake of our encoder is not
 * repeated by the one who checks it.
 *
 * A file may be larger than memory, or a pipe that lives: what has been read is
 * written before more is waited for.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/decode.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/reader.h"
#include "common/buffer.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"

enum {
	DECODE_RECORD_MAX = RECORD_STAMP_MAX + RECORD_MAX,
	DECODE_ENVELOPE_MAX = 64 * 1024 * 1024,
	ENVELOPE_ROW = 10 << 3 | 2,		/* field 10, length-delimited */
};

/* Formats whose records come in pieces of any size are read here, the others unit by unit by their readers. */
enum decode_input { DECODE_AUTO, DECODE_RECORDS, DECODE_ENVELOPES, DECODE_UNITS };

static const char *const decode_inputs[] = {
	[DECODE_AUTO] = "auto",
	[DECODE_RECORDS] = "protobuf",
	[DECODE_ENVELOPES] = "protobufList",
};

enum { DECODE_INPUTS = sizeof(decode_inputs) / sizeof(decode_inputs[0]) };

struct decode_options {
	struct output		*output;
	enum decode_input	 input;
	const struct reader	*reader;	/* of DECODE_UNITS */
	const char		*file;
};

struct decode {
	struct input		 in;
	struct output		*output;
	enum decode_input	 input;
	const struct reader	*reader;	/* of DECODE_UNITS */
	struct reader_state	 state;
	int			 code;		/* the exit code; not 0 ends it */
};

/* Says what is wrong after what was right has been written, and ends the run. */
static void __attribute__((format(printf, 3, 4)))
decode_fail(struct decode *decode, uint64_t offset, const char *format, ...)
{
	cleanup_free char *what = NULL;
	va_list arguments;

	output_flush(decode->output);
	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) == -1)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	va_end(arguments);
	log_error("%s: offset %" PRIu64 ": %s", decode->in.name, offset, what);
	if (decode->code == 0)
		decode->code = EXIT_CODE_DATA;
}

/* --- reading --- */

static bool
decode_wait(void *context)
{
	struct decode *decode = context;

	output_flush(decode->output);
	return !decode->output->failed;
}

/* Bytes that are there, at least so many unless the file ends before or decode->code says why not. */
static size_t
decode_want(struct decode *decode, size_t length)
{
	size_t there = input_want(&decode->in, length);

	if (decode->in.failed && decode->code == 0)
		decode->code = decode->in.refused ? EXIT_CODE_SINK : EXIT_CODE_DATA;
	return there;
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
	} while (n < VARINT_MAX && (input_here(&decode->in)[n - 1] & 0x80));
	length = varint_read(input_here(&decode->in), n, value);
	if (length == 0) {
		decode_fail(decode, start, "not a file of records: there is no length");
		return LENGTH_BAD;
	}
	input_skip(&decode->in, length);
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
	struct buffer *batch = &decode->output->batch.records;
	uint8_t *to = buffer_reserve(batch, VARINT_MAX + size);
	size_t prefix = varint_write(to, size);

	xtcp_flat_record__v1__xtcp_flat_record__pack(message, to + prefix);
	batch->length += prefix + size;
}

/* start: where it begins in the file, for the message. */
static void
decode_record(struct decode *decode, uint64_t start, size_t length)
{
	XtcpFlatRecord__V1__XtcpFlatRecord *message = NULL;
	struct record record;

	if (record_read(&record, input_here(&decode->in), length) == 0 && decode_known(&record))
		message = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, length, input_here(&decode->in));
	if (message == NULL) {
		decode_fail(decode, start, "not a record: these %zu bytes are no XtcpFlatRecord",
		    length);
		return;
	}
	decode_pack(decode, message);
	xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(message, NULL);
	input_skip(&decode->in, length);
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
	uint64_t start = decode->in.offset, tag, length, used;
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
		    *left - (decode->in.offset - start));
	if (result != LENGTH_OK)
		return;
	used = decode->in.offset - start;
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
	if (decode_want(decode, 1) >= 1 && input_here(&decode->in)[0] == ENVELOPE_ROW)
		decode->input = DECODE_ENVELOPES;
	else if (decode->code == 0)
		decode->input = DECODE_RECORDS;
}

/* False at the end of the file, or when decode->code says why not to go on. */
static bool
decode_next(struct decode *decode)
{
	uint64_t start = decode->in.offset, length, most;

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

/* --- units ------------------------------------------------------------------------- */

/*
 * The formats that show by their first bytes: none begins as a record or an
 * Envelope of less than READER_LOOK bytes does, so that nothing is waited for
 * that may be long in coming.
 */
static void
decode_look(struct decode *decode)
{
	size_t there = decode->input == DECODE_AUTO ? decode_want(decode, 1) : 0;

	if (there > 0 && input_here(&decode->in)[0] >= READER_LOOK)
		decode->reader = reader_by_look(input_here(&decode->in), decode_want(decode, READER_LOOK));
	if (decode->reader != NULL)
		decode->input = DECODE_UNITS;
}

/* The length of the next unit, or what there is of it when the file ends; 0 at the end, or when decode->code says why not. */
static size_t
decode_unit_length(struct decode *decode)
{
	size_t there, unit;

	for (size_t want = 1;; want = there + 1) {
		there = decode_want(decode, want);
		if (decode->code != 0 || there == 0)
			return 0;
		unit = decode->reader->unit(input_here(&decode->in), there);
		if (unit > 0 || there < want)
			return unit > 0 ? unit : there;
		if (there <= DECODE_ENVELOPE_MAX)
			continue;
		decode_fail(decode, decode->in.offset, "not %s: no %s ends within %d bytes", decode->reader->name, decode->reader->what,
		    DECODE_ENVELOPE_MAX);
	}
}

static bool
decode_next_unit(struct decode *decode)
{
	size_t length = decode_unit_length(decode);
	char error[READER_WHY + 64];

	if (length == 0)
		return false;
	if (reader_unit(decode->reader, &decode->state, decode->in.offset, input_here(&decode->in), length, &decode->output->batch.records,
	    error, sizeof(error)) == -1)
		decode_fail(decode, decode->in.offset, "%s", error);
	else
		input_skip(&decode->in, length);
	return decode->code == 0;
}

static int
decode_run(struct decode *decode)
{
	bool (*next)(struct decode *);

	output_begin(decode->output);
	decode_look(decode);
	next = decode->input == DECODE_UNITS ? decode_next_unit : decode_next;
	while (decode->code == 0 && next(decode))
		;
	/* What stood before a mistake is good. */
	output_end(decode->output);
	return decode->output->failed ? EXIT_CODE_SINK : decode->code;
}

/* --- the command line --- */

static void
decode_help(void)
{
	char names[128];

	printf("usage: tcpdiag decode [options] FILE\n"
	    "\n"
	    "Prints the records of a file (-: of standard input) in another format.\n"
	    "\n"
	    "  -i, --input INPUT        what FILE is: a format below, or auto to see\n"
	    "                           by its first bytes (the default)\n");
	output_help();
	printf("  -h, --help               this text\n"
	    "\n"
	    "FILE can be\n"
	    "%s\n"
	    "\n"
	    "Fields are written in the order of their numbers: --format protobuf of a file\n"
	    "of tcpdiag's has the same records of the same size, but not its bytes, since\n"
	    "there identity stands first.\n", reader_names(names));
}

static int
decode_set_input(struct decode_options *options, const char *name)
{
	char names[128];

	options->reader = NULL;
	for (size_t i = 0; i < DECODE_INPUTS; i++) {
		if (strcmp(decode_inputs[i], name) == 0) {
			options->input = (enum decode_input)i;
			return -1;
		}
	}
	options->input = DECODE_UNITS;
	options->reader = reader_by_name(name);
	return options->reader != NULL ? -1 :
	    output_usage(options->output, "unknown input \"%s\": there are auto, %s", name, reader_names(names));
}

static int
decode_set(struct decode_options *options, int letter, char *value)
{
	switch (letter) {
	case 'f':
		return output_set_format(options->output, value);
	case 'i':
		return decode_set_input(options, value);
	case 'c':
		return output_set_columns(options->output, value);
	case 'h':
		decode_help();
		return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_SINK;
	default:	/* getopt has said what is wrong */
		return EXIT_CODE_USAGE;
	}
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
		return output_usage(options->output, "%s",
		    optind == argc ? "which FILE?  - is standard input" : "only one FILE at a time");
	options->file = argv[optind];
	return output_open(options->output);
}

int
decode_main(int argc, char **argv)
{
	struct output output = { .command = "decode" };
	struct decode_options options = { .output = &output };
	struct decode decode = { .output = &output };
	int code;

	code = decode_parse(&options, argc, argv);
	if (code == -1 && input_open(&decode.in, options.file) == -1)
		code = EXIT_CODE_DATA;
	if (code == -1) {
		decode.in.wait = decode_wait;
		decode.in.context = &decode;
		decode.input = options.input;
		decode.reader = options.reader;
		code = decode_run(&decode);
		input_close(&decode.in);
		reader_state_free(&decode.state);
	}
	output_close(&output);
	return code;
}

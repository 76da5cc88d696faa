/*
 * table: for a person in front of a terminal.  The widths come from the batch
 * and only grow, so that one batch stands under the other.  Where the terminal
 * is too narrow, names and addresses are shortened first; then the last columns
 * go.  A number is never cut.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/text.h"

enum {
	TABLE_HEADER_EVERY = 40,	/* rows, so that one is on every screen */
	TABLE_GAP = 2,			/* blanks between two columns */
	TABLE_PLAIN_MAX = TEXT_ADDRESS_MAX + 8,	/* of a cell that is no string: [address]:port */
	TABLE_LEAST_ENDPOINT = 21,	/* of what is shortened, so much stays: any IPv4 one */
	TABLE_LEAST_STRING = 12,
};

#define ELLIPSIS	"\xe2\x80\xa6"
enum { ELLIPSIS_LENGTH = 3 };

enum table_style {
	TABLE_VALUE,		/* as the other formats have it */
	TABLE_ENDPOINT,		/* address:port; the field is the address */
	TABLE_MILLISECONDS,	/* of microseconds */
	TABLE_BYTES,
	TABLE_BITS,		/* per second, of bytes per second */
};

struct table_name {
	const char	*name;		/* for --columns */
	const char	*header;
	uint16_t	 row;		/* of record_fields */
	uint8_t		 style;		/* enum table_style */
	uint8_t		 width;		/* at least; what is usual, so that little moves */
	bool		 standard;	/* shown if nothing else is asked for */
};

/* In the order of importance: the last ones are the first to go. */
static const struct table_name table_names[] = {
	{ "netns", "NETNS", RECORD_F_netns, TABLE_VALUE, 7, true },
	{ "state", "STATE", RECORD_F_inet_diag_msg_state, TABLE_VALUE, 11, true },
	{ "local", "LOCAL", RECORD_F_inet_diag_msg_socket_source, TABLE_ENDPOINT, 9, true },
	{ "peer", "PEER", RECORD_F_inet_diag_msg_socket_destination, TABLE_ENDPOINT, 9, true },
	{ "rtt", "RTT", RECORD_F_tcp_info_rtt, TABLE_MILLISECONDS, 7, true },
	{ "cwnd", "CWND", RECORD_F_tcp_info_snd_cwnd, TABLE_VALUE, 5, true },
	{ "retrans", "RETRANS", RECORD_F_tcp_info_total_retrans, TABLE_VALUE, 7, true },
	{ "rate", "RATE", RECORD_F_tcp_info_delivery_rate, TABLE_BITS, 8, true },
	{ "sent", "SENT", RECORD_F_tcp_info_bytes_sent, TABLE_BYTES, 6, true },
	{ "received", "RECEIVED", RECORD_F_tcp_info_bytes_received, TABLE_BYTES, 8, true },
	{ "acked", "ACKED", RECORD_F_tcp_info_bytes_acked, TABLE_BYTES, 6, false },
	{ "resent", "RESENT", RECORD_F_tcp_info_bytes_retrans, TABLE_BYTES, 6, false },
	{ "minrtt", "MINRTT", RECORD_F_tcp_info_min_rtt, TABLE_MILLISECONDS, 7, false },
	{ "rttvar", "RTTVAR", RECORD_F_tcp_info_rtt_var, TABLE_MILLISECONDS, 7, false },
	{ "rto", "RTO", RECORD_F_tcp_info_rto, TABLE_MILLISECONDS, 7, false },
	{ "pacing", "PACING", RECORD_F_tcp_info_pacing_rate, TABLE_BITS, 8, false },
	{ "mss", "MSS", RECORD_F_tcp_info_snd_mss, TABLE_VALUE, 5, false },
	{ "ssthresh", "SSTHRESH", RECORD_F_tcp_info_snd_ssthresh, TABLE_VALUE, 8, false },
	{ "lost", "LOST", RECORD_F_tcp_info_lost, TABLE_VALUE, 5, false },
	{ "unacked", "UNACKED", RECORD_F_tcp_info_unacked, TABLE_VALUE, 7, false },
	{ "unsent", "UNSENT", RECORD_F_tcp_info_not_sent_bytes, TABLE_BYTES, 6, false },
	{ "rqueue", "RQUEUE", RECORD_F_inet_diag_msg_rqueue, TABLE_BYTES, 6, false },
	{ "wqueue", "WQUEUE", RECORD_F_inet_diag_msg_wqueue, TABLE_BYTES, 6, false },
	{ "cc", "CC", RECORD_F_congestion_algorithm_string, TABLE_VALUE, 5, false },
	{ "uid", "UID", RECORD_F_inet_diag_msg_uid, TABLE_VALUE, 5, false },
	{ "inode", "INODE", RECORD_F_inet_diag_msg_inode, TABLE_VALUE, 8, false },
	{ "cookie", "COOKIE", RECORD_F_inet_diag_msg_socket_cookie, TABLE_VALUE, 8, false },
	{ "kind", "KIND", RECORD_F_record_kind, TABLE_VALUE, 6, false },
	{ "container", "CONTAINER", RECORD_F_container_id, TABLE_VALUE, 12, false },
	{ "host", "HOST", RECORD_F_hostname, TABLE_VALUE, 8, false },
};
enum { TABLE_NAMES = sizeof(table_names) / sizeof(table_names[0]) };

struct table_column {
	const char	*header;
	uint16_t	 row;
	uint8_t		 style;
	bool		 left;		/* else it stands at the right */
	unsigned int	 least;		/* it may be shortened to so much; 0: it may not */
	unsigned int	 wanted;	/* by the widest cell so far */
	unsigned int	 given;		/* in this batch; 0: not shown */
};

struct table {
	unsigned int		 limit;		/* columns of the terminal; 0: none */
	unsigned int		 since;		/* rows since the last header */
	bool			 begun;
	unsigned int		 rows;		/* of the batch at work */
	struct text_presence	 presence;
	struct buffer		*out;
	size_t			 count;
	struct table_column	 columns[];
};

static void
table_column_init(struct table_column *column, const char *header, unsigned int row, enum table_style style,
    unsigned int width)
{
	enum record_type type = record_fields[row].type;

	column->header = header;
	column->row = (uint16_t)row;
	column->style = (uint8_t)style;
	column->left = style == TABLE_ENDPOINT || (style == TABLE_VALUE && type > RECORD_I64);
	if (type == RECORD_ADDRESS)
		column->least = TABLE_LEAST_ENDPOINT;
	else if (type == RECORD_STRING || type == RECORD_BYTES)
		column->least = TABLE_LEAST_STRING;
	column->wanted = (unsigned int)strlen(header);
	if (column->wanted < width)
		column->wanted = width;
}

static int
table_column_by_name(struct table_column *column, const char *name)
{
	size_t i;
	int row;

	for (i = 0; i < TABLE_NAMES; i++) {
		const struct table_name *known = &table_names[i];

		if (strcmp(known->name, name) == 0) {
			table_column_init(column, known->header, known->row, known->style, known->width);
			return 0;
		}
	}
	row = record_field_by_name(name);
	if (row == -1)
		return -1;
	table_column_init(column, record_fields[row].name, (unsigned int)row, TABLE_VALUE, 0);
	return 0;
}

static void
table_unknown(const char *name, char *error, size_t size)
{
	size_t i, length;

	snprintf(error, size, "unknown column \"%s\": the fields are listed in tcpdiag-record(7), and table has", name);
	for (i = 0; i < TABLE_NAMES; i++) {
		length = strlen(error);
		snprintf(error + length, size - length, "%s %s", i ? "," : "", table_names[i].name);
	}
}

static void *
table_open(const struct format_options *options, char *error, size_t size)
{
	size_t i, most = options->ncolumns ? options->ncolumns : TABLE_NAMES;
	struct table *table = calloc(1, sizeof(*table) + most * sizeof(table->columns[0]));

	if (table == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: %zu columns", most);
	table->limit = options->width;
	for (i = 0; i < options->ncolumns; i++) {
		if (table_column_by_name(&table->columns[table->count++], options->columns[i]) == -1) {
			table_unknown(options->columns[i], error, size);
			free(table);
			return NULL;
		}
	}
	for (i = 0; options->ncolumns == 0 && i < TABLE_NAMES; i++) {
		if (table_names[i].standard)
			table_column_by_name(&table->columns[table->count++], table_names[i].name);
	}
	return table;
}

/* Where table_endpoint finds the port of an address. */
_Static_assert(RECORD_F_inet_diag_msg_socket_source - RECORD_F_inet_diag_msg_socket_source_port == 2, "local port");
_Static_assert(RECORD_F_inet_diag_msg_socket_destination - RECORD_F_inet_diag_msg_socket_destination_port == 2,
    "peer port");

static size_t
table_endpoint(char *to, const struct record *record, unsigned int row)
{
	uint64_t family = record->values[RECORD_F_inet_diag_msg_family].number;
	uint64_t port = record->values[row - 2].number;
	char *at = to;

	if (family != TEXT_IPV4)
		*at++ = '[';
	at += text_address(at, family, record->values[row].bytes);
	if (family != TEXT_IPV4)
		*at++ = ']';
	*at++ = ':';
	/* As in ss(8): port 0 is any. */
	if (port == 0)
		*at++ = '*';
	else
		at += text_number(at, port);
	return (size_t)(at - to);
}

static size_t
table_plain(char *to, const struct record *record, const struct table_column *column)
{
	uint64_t number = record->values[column->row].number;
	bool bare;

	switch ((enum table_style)column->style) {
	case TABLE_ENDPOINT:
		return table_endpoint(to, record, column->row);
	case TABLE_MILLISECONDS:
		return text_milliseconds(to, number);
	case TABLE_BYTES:
		return text_scaled(to, number, "B");
	case TABLE_BITS:
		/* All ones is the kernel's way to say that there is no limit. */
		if (number > UINT64_MAX / 8) {
			memcpy(to, "unlimited", 9);
			return 9;
		}
		return text_scaled(to, number * 8, "bps");
	case TABLE_VALUE:
		break;
	}
	return text_plain(to, record, column->row, &bare);
}

/* Writes the cell behind what out holds, without counting it. */
static size_t
table_cell(struct table *table, const struct table_column *column, const struct record *record,
    const uint64_t *present)
{
	const struct record_value *value = &record->values[column->row];
	char *to;

	if (!text_has(present, column->row)) {
		*buffer_reserve(table->out, 1) = '-';
		return 1;
	}
	if (record_fields[column->row].type == RECORD_BYTES)
		return text_bytes((char *)buffer_reserve(table->out, TEXT_BYTES * value->number), value->bytes, value->number);
	if (record_fields[column->row].type != RECORD_STRING)
		return table_plain((char *)buffer_reserve(table->out, TABLE_PLAIN_MAX), record, column);
	to = (char *)buffer_reserve(table->out, TEXT_ESCAPED * value->number);
	return text_string(to, value->bytes, value->number, TEXT_TERMINAL);
}

/* Takes out of the text's middle what is too much, up to where the port begins. */
static size_t
table_shorten(char *text, size_t length, size_t columns, bool endpoint)
{
	const char *colon = endpoint ? memrchr(text, ':', length) : NULL;
	size_t tail = 0, head;

	if (colon != NULL) {
		tail = length - (size_t)(colon - text);
		if (colon > text && colon[-1] == ']')
			tail++;
	}
	if (tail + 1 >= columns)
		tail = 0;
	head = text_fit(text, length, columns - 1 - tail);
	memmove(text + head + ELLIPSIS_LENGTH, text + length - tail, tail);
	memcpy(text + head, ELLIPSIS, ELLIPSIS_LENGTH);
	return head + ELLIPSIS_LENGTH + tail;
}

/* Counts the cell that stands behind what out holds, shortened and with blanks. */
static void
table_place(struct table *table, const struct table_column *column, size_t length)
{
	struct buffer *out = table->out;
	bool first = column == table->columns;
	size_t width, before, after;
	char *text;

	buffer_reserve(out, length + TABLE_GAP + column->given + ELLIPSIS_LENGTH);
	text = (char *)out->bytes + out->length;
	width = text_columns(text, length);
	if (width > column->given) {
		length = table_shorten(text, length, column->given, column->style == TABLE_ENDPOINT);
		width = text_columns(text, length);
	}
	before = column->left ? 0 : column->given - width;
	after = column->left ? column->given - width : 0;
	before += first ? 0 : TABLE_GAP;
	memmove(text + before, text, length);
	memset(text, ' ', before);
	memset(text + before + length, ' ', after);
	out->length += before + length + after;
}

static void
table_end_line(struct buffer *out)
{
	while (out->length > 0 && out->bytes[out->length - 1] == ' ')
		out->length--;
	buffer_append_string(out, "\n");
}

static void
table_measure(void *state, const struct record *record)
{
	struct table *table = state;
	uint64_t present[RECORD_WORDS];
	size_t i;

	if (!text_is_socket(record))
		return;
	table->rows++;
	text_present(&table->presence, record, present);
	for (i = 0; i < table->count; i++) {
		struct table_column *column = &table->columns[i];
		size_t length = table_cell(table, column, record, present);
		size_t width = text_columns((char *)table->out->bytes + table->out->length, length);

		if (width > column->wanted)
			column->wanted = (unsigned int)width;
	}
}

static void
table_row(void *state, const struct record *record)
{
	struct table *table = state;
	uint64_t present[RECORD_WORDS];
	size_t i;

	if (!text_is_socket(record))
		return;
	text_present(&table->presence, record, present);
	for (i = 0; i < table->count && table->columns[i].given > 0; i++)
		table_place(table, &table->columns[i], table_cell(table, &table->columns[i], record, present));
	table_end_line(table->out);
}

static void
table_header(struct table *table)
{
	size_t i;

	for (i = 0; i < table->count && table->columns[i].given > 0; i++) {
		const char *header = table->columns[i].header;

		memcpy(buffer_reserve(table->out, strlen(header)), header, strlen(header));
		table_place(table, &table->columns[i], strlen(header));
	}
	table_end_line(table->out);
}

static unsigned int
table_least(const struct table_column *column)
{
	return column->least > 0 && column->least < column->wanted ? column->least : column->wanted;
}

/* How many columns there is room for, at least one; and what is left. */
static size_t
table_choose(const struct table *table, unsigned int *room)
{
	unsigned int used = 0, more;
	size_t i;

	for (i = 0; i < table->count; i++) {
		more = table_least(&table->columns[i]) + (i ? TABLE_GAP : 0);
		if (i > 0 && used + more > table->limit)
			break;
		used += more;
	}
	*room = used < table->limit ? table->limit - used : 0;
	return i;
}

/* What is left goes to the narrowest of those that want more, one by one. */
static void
table_share(struct table *table, size_t shown, unsigned int room)
{
	struct table_column *neediest;
	size_t i;

	do {
		neediest = NULL;
		for (i = 0; i < shown; i++) {
			struct table_column *column = &table->columns[i];

			if (column->given < column->wanted && (neediest == NULL || column->given < neediest->given))
				neediest = column;
		}
		if (neediest != NULL && room > 0)
			neediest->given++;
	} while (neediest != NULL && room-- > 0);
}

static void
table_fit(struct table *table)
{
	unsigned int room;
	size_t i, shown;

	if (table->limit == 0) {
		for (i = 0; i < table->count; i++)
			table->columns[i].given = table->columns[i].wanted;
		return;
	}
	shown = table_choose(table, &room);
	for (i = 0; i < table->count; i++)
		table->columns[i].given = i < shown ? table_least(&table->columns[i]) : 0;
	table_share(table, shown, room);
	/* A terminal narrower than one name. */
	if (shown == 1 && table->columns[0].least > 0 && table->columns[0].given > table->limit)
		table->columns[0].given = table->limit;
}

static void
table_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	struct table *table = state;

	table->out = out;
	table->rows = 0;
	format_each(bytes, length, table_measure, table);
	if (table->rows > 0) {
		table_fit(table);
		/* Without a terminal there is no screen from which it could be gone. */
		if (!table->begun || (table->limit != 0 && table->since >= TABLE_HEADER_EVERY)) {
			table_header(table);
			table->begun = true;
			table->since = 0;
		}
		format_each(bytes, length, table_row, table);
		table->since += table->rows;
	}
	table->out = NULL;
}

const struct format format_table = {
	.name = "table",
	.help = "lines for people, as wide as the terminal",
	.columns = true,
	.text = true,
	.aligned = true,
	.open = table_open,
	.batch = table_batch,
};

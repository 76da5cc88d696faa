/*
 * The metrics: metrics.def as a table, and as text in Prometheus' format.
 *
 * Everything shown is one struct of 64-bit numbers, filled by whoever knows
 * them.  Counters in it never run backwards while this process lives.
 */
#ifndef SHIPPER_METRICS_H
#define SHIPPER_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/protocol.h"
#include "shipper/account.h"
#include "shipper/books.h"
#include "shipper/drain.h"
#include "shipper/http.h"

#define METRICS_PREFIX	"tcpdiag_"
#define METRICS_TYPE	"text/plain; version=0.0.4; charset=utf-8"

enum metrics_kind { METRICS_COUNTER, METRICS_COUNTER_NANO, METRICS_GAUGE, METRICS_GAUGE_NANO };

/* What is so at this moment, and what the process counts of itself. */
struct metrics_now {
	uint64_t		ready;
	uint64_t		connected;	/* a namespacer is */
	uint64_t		refusing;	/* the sink is */
	uint64_t		unlisted;	/* rings of namespaces that have no account of their own */
	uint64_t		started;	/* ns since 1970 */
	uint64_t		cpu;		/* ns */
	uint64_t		resident;	/* bytes */
	struct http_counts	http;
};

struct metrics {
	/* 64-bit numbers, each of which has a row */
	struct books		books;
	struct account		account;
	struct drain_figures	rings;
	struct metrics_now	now;
	struct protocol_counts	namespacer;
	/* rows of one of these are shown for each namespace */
	struct account_shown	netns;

	const struct account_list *namespaces;	/* or NULL: none are shown */
	const char		*format, *sink;	/* their names */
};

/* A group's title, a family's head, a value, or the latter two. */
struct metrics_row {
	const char		*group;	/* the title of what follows, and nothing else; or NULL */
	const char		*name;	/* of the family that begins here, or NULL */
	const char		*label;	/* of the family; NULL: it has one value */
	const char		*value;	/* of the label, if there is one value */
	const char		*help;	/* of the family, or of the value */
	const char		*(*text)(size_t index);	/* of an array: the label's value */
	/* Writes all labels; the value is 1. */
	void			(*info)(const struct metrics *, struct buffer *out);
	enum metrics_kind	 kind;	/* of the family */
	bool			 netns;	/* the family is shown for each namespace */
	bool			 seen;	/* values of 0 are not shown */
	size_t			 offset;
	size_t			 count;	/* of numbers; 0: a head without a value */
};

extern const struct metrics_row metrics_rows[];
extern const size_t metrics_nrows;

/*
 * An unknown attribute by its index in counters: "23", "tls-8" of one that
 * stands in another, "31+" of the last; till it is called again.
 */
const char *metrics_attribute(size_t index);
/* Appends all of them in Prometheus' text format 0.0.4. */
void	 metrics_write(const struct metrics *, struct buffer *out);
/* True of counters: they only grow. */
bool	 metrics_is_counter(enum metrics_kind);
/* Appends text as it may stand in a label's value, between quotes. */
void	 metrics_escape_label(struct buffer *out, const char *text);
/* The same for the text behind # HELP. */
void	 metrics_escape_help(struct buffer *out, const char *text);

#endif

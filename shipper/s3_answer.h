/* What S3's answers mean. */
#ifndef SHIPPER_S3_ANSWER_H
#define SHIPPER_S3_ANSWER_H

#include <stdbool.h>

#include "shipper/sink.h"

enum { S3_ANSWER_CODE_MAX = 64, S3_ANSWER_TEXT_MAX = 256 };

struct http_answer;

/* An answer that is no success. */
struct s3_answer {
	enum sink_class	class;
	bool		keys;		/* the credentials may be out of date */
	bool		there;		/* an object of that key is there */
	bool		unknown;	/* a header was not known: without it once more */
	char		code[S3_ANSWER_CODE_MAX];	/* as S3 names it, or "" */
	char		text[S3_ANSWER_TEXT_MAX];	/* in words, ends without a period */
};

/* True if it is a success; else what kind of failure it is. */
bool	s3_answer_read(struct s3_answer *, const struct http_answer *);

#endif

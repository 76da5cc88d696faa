/* What S3's answers mean: see s3_answer.h. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "shipper/http_client.h"
#include "shipper/s3_answer.h"
#include "shipper/s3_xml.h"
#include "shipper/sigv4.h"

struct s3_answer_kind {
	const char		*code;		/* NULL: any */
	long			 status;	/* 0: any */
	enum sink_class		 class;
	bool			 keys, there, unknown;
};

/*
 * The first that fits.  None refuses for good: an object has the records of many
 * sockets, and what is wrong with it is wrong with the configuration or the bucket,
 * which a person can mend.
 */
static const struct s3_answer_kind s3_answer_kinds[] = {
	{ "EntityTooLarge", 0, SINK_CLASS_TOO_LARGE, false, false, false },
	{ "InvalidAccessKeyId", 0, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ "XAdminUserNotFound", 0, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ "SignatureDoesNotMatch", 0, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ "ExpiredToken", 0, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ "InvalidToken", 0, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ "InvalidTokenId", 0, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ "TokenRefreshRequired", 0, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ "RequestTimeTooSkewed", 0, SINK_CLASS_AUTHENTICATION, false, false, false },
	{ "AuthorizationHeaderMalformed", 0, SINK_CLASS_AUTHENTICATION, false, false, false },
	{ "AccessDenied", 0, SINK_CLASS_DENIED, false, false, false },
	{ "AllAccessDisabled", 0, SINK_CLASS_DENIED, false, false, false },
	{ "AccountProblem", 0, SINK_CLASS_DENIED, false, false, false },
	{ "NoSuchBucket", 0, SINK_CLASS_UNKNOWN_TARGET, false, false, false },
	{ "InvalidBucketName", 0, SINK_CLASS_UNKNOWN_TARGET, false, false, false },
	{ "PermanentRedirect", 0, SINK_CLASS_UNKNOWN_TARGET, false, false, false },
	{ "SlowDown", 0, SINK_CLASS_BUSY, false, false, false },
	{ "ServiceUnavailable", 0, SINK_CLASS_BUSY, false, false, false },
	{ "TemporaryRedirect", 0, SINK_CLASS_BUSY, false, false, false },
	{ "ConditionalRequestConflict", 0, SINK_CLASS_BUSY, false, false, false },
	{ "OperationAborted", 0, SINK_CLASS_BUSY, false, false, false },
	{ "RequestTimeout", 0, SINK_CLASS_TIMEOUT, false, false, false },
	{ "QuotaExceeded", 0, SINK_CLASS_NO_SPACE, false, false, false },
	{ "XMinioStorageFull", 0, SINK_CLASS_NO_SPACE, false, false, false },
	{ "XMinioAdminBucketQuotaExceeded", 0, SINK_CLASS_NO_SPACE, false, false, false },
	{ "NotImplemented", 0, SINK_CLASS_OTHER, false, false, true },
	{ "PreconditionFailed", 0, SINK_CLASS_OTHER, false, true, false },
	/* by their status, where the body does not say more */
	{ NULL, 401, SINK_CLASS_AUTHENTICATION, true, false, false },
	{ NULL, 403, SINK_CLASS_DENIED, false, false, false },
	{ NULL, 404, SINK_CLASS_UNKNOWN_TARGET, false, false, false },
	{ NULL, 408, SINK_CLASS_TIMEOUT, false, false, false },
	{ NULL, 412, SINK_CLASS_OTHER, false, true, false },
	{ NULL, 413, SINK_CLASS_TOO_LARGE, false, false, false },
	{ NULL, 429, SINK_CLASS_BUSY, false, false, false },
	{ NULL, 501, SINK_CLASS_OTHER, false, false, true },
	{ NULL, 502, SINK_CLASS_BUSY, false, false, false },
	{ NULL, 503, SINK_CLASS_BUSY, false, false, false },
	{ NULL, 504, SINK_CLASS_TIMEOUT, false, false, false },
	{ NULL, 507, SINK_CLASS_NO_SPACE, false, false, false },
	{ NULL, 0, SINK_CLASS_OTHER, false, false, false },
};

static const struct s3_answer_kind *
s3_answer_kind(const char *code, long status)
{
	const struct s3_answer_kind *kind = s3_answer_kinds;

	while ((kind->code != NULL && strcmp(kind->code, code) != 0) || (kind->status != 0 && kind->status != status))
		kind++;
	return kind;
}

/* Both clocks side by side: which of them is wrong is not ours to say. */
static void
s3_answer_clocks(struct s3_answer *answer, const struct http_answer *http)
{
	char here[SIGV4_DATE_SIZE];

	sigv4_date(here, clock_real());
	snprintf(answer->text, sizeof(answer->text), "the clocks are too far apart: here it is %s (UTC), at the server %s", here,
	    http->date[0] != '\0' ? http->date : "another time");
}

static void
s3_answer_words(struct s3_answer *answer, const struct http_answer *http)
{
	char message[S3_ANSWER_TEXT_MAX / 2];

	s3_xml_find(http->body, http->length, "Message", message, sizeof(message));
	if (message[0] != '\0' && message[strlen(message) - 1] == '.')
		message[strlen(message) - 1] = '\0';
	if (http->status >= 300 && http->status < 400)
		snprintf(answer->text, sizeof(answer->text), "status %ld %s: the bucket is elsewhere: s3-region or s3-endpoint is wrong",
		    http->status, answer->code);
	else if (answer->code[0] != '\0')
		snprintf(answer->text, sizeof(answer->text), "status %ld %s: %s", http->status, answer->code, message);
	else
		snprintf(answer->text, sizeof(answer->text), "status %ld", http->status);
}

/* CompleteMultipartUpload may answer 200 and tell of an error all the same. */
static bool
s3_answer_is_good(const struct http_answer *http)
{
	return http->status >= 200 && http->status < 300 && strstr(http->body, "<Error>") == NULL;
}

bool
s3_answer_read(struct s3_answer *answer, const struct http_answer *http)
{
	const struct s3_answer_kind *kind;

	*answer = (struct s3_answer){ 0 };
	if (http->status == 0) {
		answer->class = http->class;
		snprintf(answer->text, sizeof(answer->text), "%s", http->why);
		return false;
	}
	if (s3_answer_is_good(http))
		return true;
	s3_xml_find(http->body, http->length, "Code", answer->code, sizeof(answer->code));
	kind = s3_answer_kind(answer->code, http->status);
	answer->class = kind->class;
	answer->keys = kind->keys;
	answer->there = kind->there;
	answer->unknown = kind->unknown;
	if (strcmp(answer->code, "RequestTimeTooSkewed") == 0)
		s3_answer_clocks(answer, http);
	else
		s3_answer_words(answer, http);
	return false;
}

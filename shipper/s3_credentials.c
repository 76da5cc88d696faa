/* Keys for S3: see s3_credentials.h. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/fd.h"
#include "common/log.h"
#include "shipper/http_client.h"
#include "shipper/s3_credentials.h"
#include "shipper/s3_xml.h"
#include "shipper/sigv4.h"

/* Temporary keys are fetched anew so long before they end. */
#define S3_CREDENTIALS_EARLY	(5 * MINUTE)

enum {
	S3_CREDENTIALS_TEXT_MAX = 16 * 1024,	/* of a file: a web identity's token is the longest */
	S3_CREDENTIALS_WHY = 512,
	S3_CREDENTIALS_URL = 1024,
	S3_CREDENTIALS_FIELD = 4096,
};

/* A file with a secret, and what it was when it was read. */
struct s3_file {
	const char	*key;		/* of the configuration */
	const char	*name;		/* "": there is none */
	char		*text;		/* its first line; or NULL */
	struct stat	 seen;
};

enum s3_file_name { S3_FILE_ACCESS, S3_FILE_SECRET, S3_FILE_TOKEN, S3_FILES };

struct s3_source;

struct s3_credentials {
	const struct config	*config;
	struct http_client	*http;
	const struct s3_source	*source;
	struct s3_file		 files[S3_FILES];
	struct s3_keys		 keys;		/* fetched; those of files are the files' text */
	uint64_t		 expires;	/* ns since 1970 */
	bool			 have;
	bool			 doubted;
	TAILQ_HEAD(, s3_wait)	 waiting;
	/* a fetch that is under way */
	struct http_call	*call;
	unsigned int		 step;
	char			 token[S3_CREDENTIALS_FIELD];	/* of the metadata service */
	char			 role[S3_CREDENTIALS_URL / 2];
	char			*body;		/* of what is sent to STS; or NULL */
};

struct s3_source {
	const char	*name;
	/* NULL, or the key that is missing and a sentence. */
	const char	*(*check)(const struct config *, char *error, size_t size);
	/* Sends the next request, or fails by s3_credentials_fail. */
	void		(*fetch)(struct s3_credentials *);	/* NULL: files */
	/* What it has brought; true: the keys are there, false: the next step, or it has failed. */
	bool		(*take)(struct s3_credentials *, const struct http_answer *);
};

static void s3_credentials_answered(void *, const struct http_answer *);

/* --- secrets --------------------------------------------------------------------------- */

static void
s3_secret_free(char **text)
{
	if (*text != NULL) {
		explicit_bzero(*text, strlen(*text));
		free(*text);
	}
	*text = NULL;
}

static void
s3_keys_free(struct s3_keys *keys)
{
	s3_secret_free(&keys->access_key);
	s3_secret_free(&keys->secret_key);
	s3_secret_free(&keys->session_token);
}

/* --- files ------------------------------------------------------------------------------- */

static char *
s3_file_fault(const struct s3_file *file, const char *fault, char *error, size_t size)
{
	snprintf(error, size, "%s: %s: %s", file->key, file->name, fault);
	return NULL;
}

/* The first line, without white space around it; NULL with a sentence. */
static char *
s3_file_read(const struct s3_file *file, struct stat *seen, char *error, size_t size)
{
	cleanup_fd int fd = open(file->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char text[S3_CREDENTIALS_TEXT_MAX], *first, *copy;
	ssize_t n = -1;

	if (fd == -1 || fstat(fd, seen) == -1 || (n = read(fd, text, sizeof(text) - 1)) == -1)
		return s3_file_fault(file, strerror(errno), error, size);
	text[n] = '\0';
	first = text + strspn(text, " \t\r\n");
	first[strcspn(first, " \t\r\n")] = '\0';
	copy = (size_t)n < sizeof(text) - 1 && *first != '\0' ? strdup(first) : NULL;
	explicit_bzero(text, sizeof(text));
	if (copy == NULL)
		return s3_file_fault(file, n == 0 ? "the file is empty" : "it has to be one short line", error, size);
	return copy;
}

static bool
s3_file_is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	    a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* What cannot be read any more, for lack of rights or since it is being replaced, stays as it was. */
static void
s3_file_renew(struct s3_file *file)
{
	char error[S3_CREDENTIALS_WHY], *text;
	struct stat now;

	if (file->name[0] == '\0' || stat(file->name, &now) == -1 || s3_file_is_same(&now, &file->seen))
		return;
	if ((text = s3_file_read(file, &now, error, sizeof(error))) == NULL) {
		log_limited(LOG_LEVEL_WARNING, "%s; what was read before is used", error);
		return;
	}
	s3_secret_free(&file->text);
	file->text = text;
	file->seen = now;
	log_info("%s: %s has changed and was read again", file->key, file->name);
}

static int
s3_files_open(struct s3_credentials *c, char *error, size_t size)
{
	for (size_t i = 0; i < S3_FILES; i++)
		if (c->files[i].name[0] != '\0' &&
		    (c->files[i].text = s3_file_read(&c->files[i], &c->files[i].seen, error, size)) == NULL)
			return -1;
	return 0;
}

static const char *
s3_files_check(const struct config *config, char *error, size_t size)
{
	const char *missing = config->s3_access_key_file[0] == '\0' ? "s3-access-key-file" :
	    config->s3_secret_key_file[0] == '\0' ? "s3-secret-key-file" : NULL;

	if (missing != NULL)
		snprintf(error, size, "s3-credentials = files needs s3-access-key-file and s3-secret-key-file");
	return missing;
}

/* --- fetching ------------------------------------------------------------------------------ */

static void
s3_credentials_tell(struct s3_credentials *c, const struct s3_keys *keys, enum sink_class class, const char *why)
{
	struct s3_wait *wait;

	while ((wait = TAILQ_FIRST(&c->waiting)) != NULL) {
		TAILQ_REMOVE(&c->waiting, wait, link);
		wait->ready(wait->context, keys, class, why);
	}
}

static void
s3_credentials_forget_fetch(struct s3_credentials *c)
{
	explicit_bzero(c->token, sizeof(c->token));
	s3_secret_free(&c->body);
	c->step = 0;
}

/* Keys that are valid still are used all the same. */
static void
s3_credentials_fail(struct s3_credentials *c, enum sink_class class, const char *what)
{
	char why[S3_CREDENTIALS_WHY];

	s3_credentials_forget_fetch(c);
	snprintf(why, sizeof(why), "s3: no credentials from %s: %s", c->source->name, what);
	if (c->have && !c->doubted && clock_real() < c->expires) {
		log_limited(LOG_LEVEL_WARNING, "%s; those from before are valid still", why);
		s3_credentials_tell(c, &c->keys, SINK_CLASS_NONE, NULL);
	} else
		s3_credentials_tell(c, NULL, class, why);
}

static void
s3_credentials_send(struct s3_credentials *c, const struct http_request *request)
{
	char error[S3_CREDENTIALS_WHY];

	c->call = http_client_send(c->http, request, s3_credentials_answered, c, error, sizeof(error));
	if (c->call == NULL)
		s3_credentials_fail(c, SINK_CLASS_SYSTEM, error);
}

static void
s3_credentials_fetched(struct s3_credentials *c)
{
	s3_credentials_forget_fetch(c);
	c->have = true;
	c->doubted = false;
	log_debug("s3: credentials from %s, valid until %" PRIu64, c->source->name, c->expires / SECOND);
	s3_credentials_tell(c, &c->keys, SINK_CLASS_NONE, NULL);
}

static void
s3_credentials_answered(void *context, const struct http_answer *answer)
{
	struct s3_credentials *c = context;

	c->call = NULL;
	if (answer->status == 0) {
		s3_credentials_fail(c, answer->class, answer->why);
		return;
	}
	if (c->source->take(c, answer))
		s3_credentials_fetched(c);
}

/* "2026-11-26T23:00:00Z", maybe with a fraction; 0: it is none. */
static uint64_t
s3_credentials_time(const char *text)
{
	struct tm tm = { 0 };

	if (strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
		return 0;
	return (uint64_t)timegm(&tm) * SECOND;
}

/* Takes three copies.  False: one is missing, or the time is none. */
static bool
s3_credentials_keep(struct s3_credentials *c, const char *access_key, const char *secret_key, const char *token, const char *expires)
{
	if (access_key == NULL || secret_key == NULL || token == NULL || expires == NULL || access_key[0] == '\0' ||
	    secret_key[0] == '\0' || s3_credentials_time(expires) == 0)
		return false;
	s3_keys_free(&c->keys);
	c->keys = (struct s3_keys){ strdup(access_key), strdup(secret_key), strdup(token) };
	c->expires = s3_credentials_time(expires);
	return c->keys.access_key != NULL && c->keys.secret_key != NULL && c->keys.session_token != NULL;
}

/* --- the instance's metadata service ------------------------------------------------------------ */

enum { S3_INSTANCE_TOKEN, S3_INSTANCE_ROLE, S3_INSTANCE_KEYS };

static const char *
s3_instance_check(const struct config *config, char *error, size_t size)
{
	(void)config;
	(void)error;
	(void)size;
	return NULL;
}

static void
s3_instance_fetch(struct s3_credentials *c)
{
	static const char *const paths[] = { "/latest/api/token", "/latest/meta-data/iam/security-credentials/",
		"/latest/meta-data/iam/security-credentials/" };
	char url[S3_CREDENTIALS_URL], header[S3_CREDENTIALS_FIELD + 64];
	const char *headers[] = { header, "Content-Type:" };
	struct http_request request = { .method = "GET", .url = url, .headers = headers, .nheaders = 2 };

	snprintf(url, sizeof(url), "%s%s%s", c->config->s3_instance_endpoint, paths[c->step], c->step == S3_INSTANCE_KEYS ? c->role : "");
	if (c->step == S3_INSTANCE_TOKEN) {
		request.method = "PUT";
		request.body = (const uint8_t *)"";
		snprintf(header, sizeof(header), "X-aws-ec2-metadata-token-ttl-seconds: 300");
	} else
		snprintf(header, sizeof(header), "X-aws-ec2-metadata-token: %s", c->token);
	s3_credentials_send(c, &request);
	explicit_bzero(header, sizeof(header));
}

/* {"Code": "Success", "AccessKeyId": ..., "SecretAccessKey": ..., "Token": ..., "Expiration": ...} */
static bool
s3_instance_parse(struct s3_credentials *c, const char *text)
{
	static const char *const names[] = { "AccessKeyId", "SecretAccessKey", "Token", "Expiration" };
	struct json_object *root = json_tokener_parse(text), *member;
	const char *values[4] = { NULL };
	bool kept;

	for (size_t i = 0; i < 4; i++)
		if (json_object_is_type(root, json_type_object) && json_object_object_get_ex(root, names[i], &member) &&
		    json_object_is_type(member, json_type_string))
			values[i] = json_object_get_string(member);
	kept = s3_credentials_keep(c, values[0], values[1], values[2], values[3]);
	for (size_t i = 0; i < 4; i++)
		if (values[i] != NULL)
			explicit_bzero((char *)(uintptr_t)values[i], strlen(values[i]));
	json_object_put(root);
	return kept;
}

/* One word of an answer: a token, or a role's name. */
static bool
s3_instance_word(char *to, size_t size, const char *body)
{
	size_t length = strcspn(body, "\r\n");

	snprintf(to, size, "%.*s", (int)length, body);
	return length > 0 && length < size;
}

static bool
s3_instance_take(struct s3_credentials *c, const struct http_answer *answer)
{
	static const char *const what[] = { "a token", "the role of the instance", "keys" };
	char why[S3_CREDENTIALS_WHY];
	bool good = answer->status == 200;

	if (good && c->step == S3_INSTANCE_KEYS && s3_instance_parse(c, answer->body))
		return true;
	if (good && c->step == S3_INSTANCE_TOKEN)
		good = s3_instance_word(c->token, sizeof(c->token), answer->body);
	else
		good = good && c->step == S3_INSTANCE_ROLE && s3_instance_word(c->role, sizeof(c->role), answer->body);
	if (good) {
		c->step++;
		s3_instance_fetch(c);
		return false;
	}
	snprintf(why, sizeof(why), "%s was asked for %s, and the answer (status %ld) has none", c->config->s3_instance_endpoint,
	    what[c->step], answer->status);
	s3_credentials_fail(c, SINK_CLASS_AUTHENTICATION, why);
	return false;
}

/* --- a web identity -------------------------------------------------------------------------------- */

static const char *
s3_web_check(const struct config *config, char *error, size_t size)
{
	const char *missing = config->s3_web_identity_token_file[0] == '\0' ? "s3-web-identity-token-file" :
	    config->s3_role_arn[0] == '\0' ? "s3-role-arn" : NULL;

	if (missing != NULL)
		snprintf(error, size, "s3-credentials = web-identity needs s3-web-identity-token-file and s3-role-arn");
	return missing;
}

/* Who renews the token's file does so every hour or so: it is read each time. */
static void
s3_web_fetch(struct s3_credentials *c)
{
	const struct s3_file file = { "s3-web-identity-token-file", c->config->s3_web_identity_token_file, NULL, { 0 } };
	static const char *const headers[] = { "Content-Type: application/x-www-form-urlencoded" };
	char url[S3_CREDENTIALS_URL], error[S3_CREDENTIALS_WHY], *token;
	struct buffer body = { 0 };
	struct stat seen;

	if ((token = s3_file_read(&file, &seen, error, sizeof(error))) == NULL) {
		s3_credentials_fail(c, SINK_CLASS_SYSTEM, error);
		return;
	}
	/* Never grown, which would leave a copy behind. */
	buffer_reserve(&body, 3 * (strlen(token) + strlen(c->config->s3_role_arn)) + 256);
	buffer_append_string(&body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=tcpdiag&RoleArn=");
	sigv4_encode(&body, c->config->s3_role_arn, false);
	buffer_append_string(&body, "&WebIdentityToken=");
	sigv4_encode(&body, token, false);
	s3_secret_free(&token);
	buffer_append(&body, "", 1);
	c->body = (char *)body.bytes;
	if (c->config->s3_sts_endpoint[0] != '\0')
		snprintf(url, sizeof(url), "%s/", c->config->s3_sts_endpoint);
	else
		snprintf(url, sizeof(url), "https://sts.%s.amazonaws.com%s/", c->config->s3_region,
		    strncmp(c->config->s3_region, "cn-", 3) == 0 ? ".cn" : "");
	s3_credentials_send(c, &(struct http_request){
		.method = "POST",
		.url = url,
		.headers = headers,
		.nheaders = 1,
		.body = (const uint8_t *)c->body,
		.length = body.length - 1,
	});
}

static bool
s3_web_take(struct s3_credentials *c, const struct http_answer *answer)
{
	static const char *const names[] = { "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration" };
	char values[4][S3_CREDENTIALS_FIELD], code[64], message[256], why[S3_CREDENTIALS_WHY];
	bool kept = answer->status == 200;

	for (size_t i = 0; i < 4; i++)
		kept = s3_xml_find(answer->body, answer->length, names[i], values[i], sizeof(values[i])) && kept;
	kept = kept && s3_credentials_keep(c, values[0], values[1], values[2], values[3]);
	explicit_bzero(values, sizeof(values));
	if (kept)
		return true;
	s3_xml_find(answer->body, answer->length, "Code", code, sizeof(code));
	s3_xml_find(answer->body, answer->length, "Message", message, sizeof(message));
	snprintf(why, sizeof(why), "the security token service answered with status %ld %s: %s", answer->status, code, message);
	s3_credentials_fail(c, answer->status >= 500 ? SINK_CLASS_BUSY : SINK_CLASS_AUTHENTICATION, why);
	return false;
}

/* --- all of them ---------------------------------------------------------------------------------------- */

static const struct s3_source s3_sources[] = {
	{ "files", s3_files_check, NULL, NULL },
	{ "instance", s3_instance_check, s3_instance_fetch, s3_instance_take },
	{ "web-identity", s3_web_check, s3_web_fetch, s3_web_take },
};

static const struct s3_source *
s3_source_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof(s3_sources) / sizeof(s3_sources[0]); i++)
		if (strcmp(s3_sources[i].name, name) == 0)
			return &s3_sources[i];
	return NULL;
}

const char *
s3_credentials_check(const struct config *config, char *error, size_t size)
{
	const struct s3_source *source = s3_source_by_name(config->s3_credentials);

	if (source != NULL)
		return source->check(config, error, size);
	snprintf(error, size, "'%s' is none of files, instance, web-identity", config->s3_credentials);
	return "s3-credentials";
}

struct s3_credentials *
s3_credentials_new(const struct config *config, struct http_client *http, char *error, size_t size)
{
	struct s3_credentials *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		snprintf(error, size, "out of memory");
		return NULL;
	}
	c->config = config;
	c->http = http;
	c->source = s3_source_by_name(config->s3_credentials);
	c->files[S3_FILE_ACCESS] = (struct s3_file){ .key = "s3-access-key-file", .name = config->s3_access_key_file };
	c->files[S3_FILE_SECRET] = (struct s3_file){ .key = "s3-secret-key-file", .name = config->s3_secret_key_file };
	c->files[S3_FILE_TOKEN] = (struct s3_file){ .key = "s3-session-token-file", .name = config->s3_session_token_file };
	TAILQ_INIT(&c->waiting);
	if (c->source->fetch == NULL && s3_files_open(c, error, size) == -1) {
		s3_credentials_free(c);
		return NULL;
	}
	return c;
}

void
s3_credentials_free(struct s3_credentials *c)
{
	if (c->call != NULL)
		http_client_cancel(c->call);
	s3_credentials_forget_fetch(c);
	for (size_t i = 0; i < S3_FILES; i++)
		s3_secret_free(&c->files[i].text);
	s3_keys_free(&c->keys);
	free(c);
}

static void
s3_credentials_get_from_files(struct s3_credentials *c, struct s3_wait *wait)
{
	struct s3_keys keys;

	for (size_t i = 0; i < S3_FILES; i++)
		s3_file_renew(&c->files[i]);
	keys = (struct s3_keys){ c->files[S3_FILE_ACCESS].text, c->files[S3_FILE_SECRET].text, c->files[S3_FILE_TOKEN].text };
	wait->ready(wait->context, &keys, SINK_CLASS_NONE, NULL);
}

void
s3_credentials_get(struct s3_credentials *c, struct s3_wait *wait)
{
	if (c->source->fetch == NULL) {
		s3_credentials_get_from_files(c, wait);
		return;
	}
	if (c->have && !c->doubted && clock_real() + S3_CREDENTIALS_EARLY < c->expires) {
		wait->ready(wait->context, &c->keys, SINK_CLASS_NONE, NULL);
		return;
	}
	TAILQ_INSERT_TAIL(&c->waiting, wait, link);
	if (c->call == NULL && TAILQ_FIRST(&c->waiting) == wait)
		c->source->fetch(c);
}

void
s3_credentials_leave(struct s3_credentials *c, struct s3_wait *wait)
{
	TAILQ_REMOVE(&c->waiting, wait, link);
}

void
s3_credentials_doubt(struct s3_credentials *c)
{
	c->doubted = true;
}

/* A schema registry: see registry.h. */
#include <json-c/json.h>
#include <openssl/evp.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/fd.h"
#include "proto/schema.h"
#include "shipper/http_client.h"
#include "shipper/registry.h"

enum {
	REGISTRY_FILE_MAX = 256 * 1024,
	REGISTRY_URL_MAX = 1024,
	REGISTRY_WHY = 1024,
	REGISTRY_PASSWORD_MAX = 512,
	REGISTRY_LINE_MAX = 2 * REGISTRY_PASSWORD_MAX,
};

#define REGISTRY_CONNECT	(10 * SECOND)
#define REGISTRY_STALL		(20 * SECOND)

const char registry_schema[] = PROTO_SCHEMA;

struct registry {
	const struct config	*config;
	struct event_base	*base;
	struct buffer		 ca;
	struct http_client	*client;	/* once it is needed */
	char			 subject[REGISTRY_SUBJECT_MAX];
	char			 authorization[REGISTRY_LINE_MAX];	/* a header, or "" */
	json_object		*body;		/* of the request */
	struct event		*failed;	/* none could be made */
	registry_answered	 answered;
	void			*context;
};

/* --- what is right ------------------------------------------------------------------- */

const char *
registry_check(const struct config *config, char *error, size_t size)
{
	const char *url = config->schema_registry;
	bool tls = strncmp(url, "https://", 8) == 0, file = config->schema_registry_password_file[0] != '\0';

	if (url[0] == '\0')
		return NULL;
	if ((!tls && strncmp(url, "http://", 7) != 0) || strchr(url, '@') != NULL || strlen(url) > REGISTRY_URL_MAX / 2) {
		snprintf(error, size, "'%s' is not http://HOST[:PORT][/PATH] or https://..., without a user in it", url);
		return "schema-registry";
	}
	if (!tls && config->schema_registry_ca[0] != '\0') {
		snprintf(error, size, "schema-registry is not https");
		return "schema-registry-ca";
	}
	if ((config->schema_registry_user[0] != '\0') == file)
		return NULL;
	snprintf(error, size, "schema-registry-user and schema-registry-password-file go together");
	return file ? "schema-registry-password-file" : "schema-registry-user";
}

/* --- answers ------------------------------------------------------------------------------ */

static void
registry_say(struct registry *registry, uint32_t id, enum sink_class class, const char *what)
{
	struct registry_answer answer = { .id = id, .class = class };
	char why[REGISTRY_WHY];

	if (class != SINK_CLASS_NONE) {
		snprintf(why, sizeof(why), "schema registry %s: subject %s: %s", registry->config->schema_registry, registry->subject, what);
		answer.why = why;
	}
	json_object_put(registry->body);
	registry->body = NULL;
	registry->answered(registry->context, &answer);
}

static const struct registry_status {
	long		 status;
	enum sink_class	 class;
	const char	*why;
} registry_statuses[] = {
	{ 401, SINK_CLASS_AUTHENTICATION, "it wants other credentials: schema-registry-user, schema-registry-password-file" },
	{ 403, SINK_CLASS_DENIED, "it is forbidden" },
	{ 404, SINK_CLASS_UNKNOWN_TARGET, "the schema of this version is not registered: tcpdiag schema register does it" },
	{ 409, SINK_CLASS_INVALID, "a schema that is registered there is not compatible with ours" },
	{ 422, SINK_CLASS_INVALID, "it takes no such schema" },
	{ 429, SINK_CLASS_BUSY, "too many requests" },
	{ 0, SINK_CLASS_BUSY, "it does not answer as it should" },
};

/* The text of a member of the answer, or "". */
static const char *
registry_member(json_object *object, const char *name)
{
	json_object *member = NULL;

	return json_object_object_get_ex(object, name, &member) ? json_object_get_string(member) : "";
}

static void
registry_refused(struct registry *registry, long status, json_object *object)
{
	const struct registry_status *row = registry_statuses;
	const char *message = registry_member(object, "message");
	char what[REGISTRY_WHY / 2];

	while (row->status != 0 && row->status != status)
		row++;
	snprintf(what, sizeof(what), "%s (HTTP %ld%s%.200s)", row->why, status, message[0] != '\0' ? ": " : "", message);
	registry_say(registry, 0, row->class, what);
}

static void
registry_http_answered(void *context, const struct http_answer *http)
{
	struct registry *registry = context;
	json_object *object = NULL, *id = NULL;
	int64_t number = 0;

	if (http->status == 0) {
		registry_say(registry, 0, http->class, http->why);
		return;
	}
	object = json_tokener_parse(http->body);
	if (http->status == 200 && json_object_object_get_ex(object, "id", &id) && json_object_is_type(id, json_type_int))
		number = json_object_get_int64(id);
	if (number > 0 && number <= INT32_MAX)
		registry_say(registry, (uint32_t)number, SINK_CLASS_NONE, NULL);
	else
		registry_refused(registry, http->status, object);
	json_object_put(object);
}

static void
registry_failed(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	registry_say(context, 0, SINK_CLASS_SYSTEM, "no request could be made");
}

/* --- files ----------------------------------------------------------------------------- */

/* The bytes of a file with a NUL behind them; -1 with a sentence. */
static int
registry_read(struct buffer *to, const char *key, const char *name, char *error, size_t size)
{
	cleanup_fd int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd != -1 ? read(fd, buffer_reserve(to, REGISTRY_FILE_MAX), REGISTRY_FILE_MAX - 1) : -1;

	if (n > 0 && n < REGISTRY_FILE_MAX - 1) {
		to->length = (size_t)n;
		to->bytes[n] = '\0';
		return 0;
	}
	snprintf(error, size, "%s: %s: %s", key, name, n == -1 ? strerror(errno) : n == 0 ? "the file is empty" : "it is too large");
	return -1;
}

static int
registry_read_password(struct registry *registry, char *error, size_t size)
{
	const struct config *config = registry->config;
	char pair[REGISTRY_PASSWORD_MAX], code[REGISTRY_LINE_MAX - 32];
	struct buffer password = { 0 };
	int length;

	if (registry_read(&password, "schema-registry-password-file", config->schema_registry_password_file, error, size) == -1) {
		buffer_free(&password);
		return -1;
	}
	length = snprintf(pair, sizeof(pair), "%s:%.*s", config->schema_registry_user,
	    (int)strcspn((const char *)password.bytes, "\r\n"), (const char *)password.bytes);
	explicit_bzero(password.bytes, password.length);
	buffer_free(&password);
	if (length >= (int)sizeof(pair)) {
		snprintf(error, size, "schema-registry-password-file: user and password are longer than %d bytes", REGISTRY_PASSWORD_MAX);
		return -1;
	}
	EVP_EncodeBlock((unsigned char *)code, (const unsigned char *)pair, length);
	snprintf(registry->authorization, sizeof(registry->authorization), "Authorization: Basic %s", code);
	explicit_bzero(pair, sizeof(pair));
	explicit_bzero(code, sizeof(code));
	return 0;
}

/* --- the whole --------------------------------------------------------------------------- */

struct registry *
registry_new(struct event_base *base, const struct config *config, char *error, size_t size)
{
	struct registry *registry = calloc(1, sizeof(*registry));

	if (registry == NULL) {
		snprintf(error, size, "schema registry: out of memory");
		return NULL;
	}
	registry->base = base;
	registry->config = config;
	registry->failed = evtimer_new(base, registry_failed, registry);
	snprintf(registry->subject, sizeof(registry->subject), "%s-value", config->kafka_topic);
	if ((config->schema_registry_ca[0] == '\0' ||
	    registry_read(&registry->ca, "schema-registry-ca", config->schema_registry_ca, error, size) == 0) &&
	    (config->schema_registry_password_file[0] == '\0' || registry_read_password(registry, error, size) == 0))
		return registry;
	registry_free(registry);
	return NULL;
}

void
registry_free(struct registry *registry)
{
	if (registry->client != NULL)
		http_client_free(registry->client);
	if (registry->failed != NULL)
		event_free(registry->failed);
	json_object_put(registry->body);
	buffer_free(&registry->ca);
	explicit_bzero(registry->authorization, sizeof(registry->authorization));
	free(registry);
}

const char *
registry_subject(const struct registry *registry)
{
	return registry->subject;
}

/* --- a question -------------------------------------------------------------------------------- */

static bool
registry_send(struct registry *registry, const char *url)
{
	const char *headers[] = { "Content-Type: application/vnd.schemaregistry.v1+json",
		"Accept: application/vnd.schemaregistry.v1+json", registry->authorization };
	const struct http_client_options options = { .base = registry->base, .ca = &registry->ca, .connect = REGISTRY_CONNECT,
		.stall = REGISTRY_STALL };
	struct http_request request = { .method = "POST", .url = url, .headers = headers,
		.nheaders = registry->authorization[0] != '\0' ? 3 : 2 };
	char error[256];

	if (registry->client == NULL && (registry->client = http_client_new(&options, error, sizeof(error))) == NULL)
		return false;
	request.body = (const uint8_t *)json_object_to_json_string_length(registry->body, JSON_C_TO_STRING_PLAIN, &request.length);
	return http_client_send(registry->client, &request, registry_http_answered, registry, error, sizeof(error)) != NULL;
}

void
registry_ask(struct registry *registry, enum registry_verb verb, registry_answered answered, void *context)
{
	const struct timeval now = { 0, 0 };
	const char *base = registry->config->schema_registry;
	char url[REGISTRY_URL_MAX + REGISTRY_SUBJECT_MAX];

	registry->answered = answered;
	registry->context = context;
	registry->body = json_object_new_object();
	json_object_object_add(registry->body, "schemaType", json_object_new_string("PROTOBUF"));
	json_object_object_add(registry->body, "schema", json_object_new_string(registry_schema));
	snprintf(url, sizeof(url), "%.*s/subjects/%s%s", (int)(strlen(base) - (base[strlen(base) - 1] == '/')), base, registry->subject,
	    verb == REGISTRY_REGISTER ? "/versions" : "");
	if (!registry_send(registry, url))
		evtimer_add(registry->failed, &now);
}

/* --- the head of a message ------------------------------------------------------------------------ */

void
registry_head(uint8_t to[REGISTRY_HEAD], uint32_t id)
{
	to[0] = 0;
	for (int i = 0; i < 4; i++)
		to[1 + i] = (uint8_t)(id >> (24 - 8 * i));
	/* The indexes' short form of [0]. */
	to[5] = 0;
}

size_t
registry_head_length(const uint8_t *bytes, size_t length)
{
	if (length < REGISTRY_HEAD || bytes[0] != 0)
		return 0;
	if (bytes[5] == 0)
		return REGISTRY_HEAD;
	/* The long form: how many, then each, in zigzag. */
	return length > REGISTRY_HEAD && bytes[5] == 2 && bytes[6] == 0 ? REGISTRY_HEAD + 1 : 0;
}

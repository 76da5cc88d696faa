/* Names of objects: see object_key.h. */
#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "shipper/object_key.h"

enum { KEY_WORD_MAX = 160, KEY_TEMPLATE_MAX = 400 };

static const struct {
	const char	*word;
	const char	*time;		/* a part of the time, by strftime(3); NULL: see key_word */
	size_t		 most;		/* bytes */
} key_words[] = {
	{ "date", "%Y-%m-%d", 10 }, { "year", "%Y", 4 }, { "month", "%m", 2 }, { "day", "%d", 2 },
	{ "hour", "%H", 2 }, { "minute", "%M", 2 }, { "second", "%S", 2 },
	{ "host", NULL, OBJECT_KEY_HOST_MAX }, { "epoch", NULL, 16 }, { "sequence", NULL, 20 },
};

enum { KEY_WORDS = sizeof(key_words) / sizeof(key_words[0]) };

/* The word that stands in braces at the start, or KEY_WORDS. */
static size_t
key_find_word(const char *braced)
{
	size_t i, length;

	for (i = 0; i < KEY_WORDS; i++) {
		length = strlen(key_words[i].word);
		if (strncmp(braced + 1, key_words[i].word, length) == 0 && braced[1 + length] == '}')
			break;
	}
	return i;
}

/* A name of a file never begins with a dot: such are hidden, and two of them lead upwards. */
static void
key_host(char *to, const char *host)
{
	size_t i;

	for (i = 0; host[i] != '\0' && i < OBJECT_KEY_HOST_MAX; i++) {
		bool plain = (isalnum((unsigned char)host[i]) && (unsigned char)host[i] < 0x80) || strchr(i == 0 ? "-_" : ".-_", host[i]) != NULL;

		to[i] = plain ? host[i] : '_';
	}
	to[i] = '\0';
}

static void
key_word(char to[KEY_WORD_MAX], size_t word, const struct object_key *key)
{
	time_t seconds = (time_t)(key->time / SECOND);
	struct tm tm;

	if (key_words[word].time != NULL) {
		gmtime_r(&seconds, &tm);
		/* The formats are those of the table above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		strftime(to, KEY_WORD_MAX, key_words[word].time, &tm);
#pragma GCC diagnostic pop
	} else if (strcmp(key_words[word].word, "host") == 0)
		key_host(to, key->host);
	else if (strcmp(key_words[word].word, "epoch") == 0)
		snprintf(to, KEY_WORD_MAX, "%016" PRIx64, key->epoch);
	else
		snprintf(to, KEY_WORD_MAX, "%010" PRIu64, key->sequence);
}

void
object_key_write(char *to, const char *prefix, const char *set, const char *template, const struct object_key *key, const char *ending)
{
	char word[KEY_WORD_MAX];
	size_t used = (size_t)snprintf(to, OBJECT_KEY_MAX, "%s%s%s/", prefix, prefix[0] != '\0' ? "/" : "", set);

	for (const char *at = template; *at != '\0' && used < OBJECT_KEY_MAX - 1; at++) {
		if (*at != '{') {
			to[used++] = *at;
			continue;
		}
		key_word(word, key_find_word(at), key);
		used += (size_t)snprintf(to + used, OBJECT_KEY_MAX - used, "%s", word);
		at = strchr(at, '}');
	}
	snprintf(to + used, OBJECT_KEY_MAX - used, ".%s", ending);
}

/* --- faults ---------------------------------------------------------------------------- */

/* Of a path whose parts are names of files. */
static const char *
key_path_fault(const char *path)
{
	size_t length;

	for (const char *at = path;; at += length + 1) {
		length = strcspn(at, "/");
		if (length == 0)
			return "has an empty part: it neither begins nor ends with a slash, and has no two in a row";
		if (at[0] == '.')
			return "has a part that begins with a dot";
		if (at[length] == '\0')
			break;
	}
	for (; *path != '\0'; path++)
		if ((unsigned char)*path <= ' ' || (unsigned char)*path >= 0x7f || strchr("\\\"'*?%#", *path) != NULL)
			return "may have letters, digits and punctuation, but none of \\ \" ' * ? % # and no blank";
	return NULL;
}

const char *
object_key_prefix_fault(const char *prefix)
{
	if (prefix[0] == '\0')
		return NULL;
	if (strlen(prefix) > KEY_TEMPLATE_MAX / 2)
		return "is longer than 200 bytes";
	if (strpbrk(prefix, "{}") != NULL)
		return "has a brace; what is filled in stands in object-key";
	return key_path_fault(prefix);
}

/* Bytes that the template takes at most, when it is filled in. */
static size_t
key_most(const char *template)
{
	size_t most = strlen(template);

	for (; *template != '\0'; template++)
		most += *template == '{' ? key_words[key_find_word(template)].most : 0;
	return most;
}

const char *
object_key_fault(const char *template)
{
	const char *at;

	for (at = template; (at = strpbrk(at, "{}")) != NULL; at = strchr(at, '}') + 1)
		if (*at == '}' || key_find_word(at) == KEY_WORDS)
			return "can have {date}, {year}, {month}, {day}, {hour}, {minute}, {second}, {host}, {epoch} and {sequence}, "
			    "and no other brace";
	if (strstr(template, "{epoch}") == NULL || strstr(template, "{sequence}") == NULL)
		return "needs {epoch} and {sequence}: without them one object would overwrite another";
	if (key_most(template) > KEY_TEMPLATE_MAX)
		return "is too long: filled in, it would have more than 400 bytes";
	return key_path_fault(template);
}

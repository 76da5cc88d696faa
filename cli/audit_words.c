/* Properties are texts of words: making them, and taking them apart. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "common/buffer.h"
#include "common/utf8.h"

enum { AUDIT_WORD_MAX = 4096 };

/* What may stand in a word as it is; everything else, patterns' signs too, is %XX. */
static bool
audit_word_plain(char c)
{
	return isascii((unsigned char)c) && (isalnum((unsigned char)c) || strchr("/_.:,+@()<>-!#&$~;{}'\"", c) != NULL);
}

/*
 * There is room for twice as many whenever they are a power of two: a process
 * that was taken over may have a million descriptors.
 */
static void
audit_words_push(struct audit_words *words, char *item)
{
	size_t size = words->count * sizeof(item);
	struct buffer grown = { 0 };

	if ((words->count & (words->count - 1)) == 0) {
		/* Through the buffer, which does not run out of memory in silence. */
		memcpy(buffer_reserve(&grown, 2 * (size + sizeof(item))), words->count > 0 ? words->items : &item, size);
		free(words->items);
		words->items = (void *)grown.bytes;
	}
	words->items[words->count++] = item;
}

void
audit_words_add(struct audit_words *words, const char *format, ...)
{
	char raw[AUDIT_WORD_MAX];
	struct buffer word = { 0 };
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(raw, sizeof(raw), format, arguments);
	va_end(arguments);
	for (const char *c = raw; *c != '\0'; c++) {
		if (audit_word_plain(*c))
			buffer_append(&word, c, 1);
		else
			buffer_printf(&word, "%%%02X", (unsigned char)*c);
	}
	buffer_append(&word, "", 1);
	audit_words_push(words, (char *)word.bytes);
}

static int
audit_words_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *
audit_words_join(struct audit_words *words, bool sorted)
{
	struct buffer text = { 0 };

	if (sorted && words->count > 0)
		qsort(words->items, words->count, sizeof(*words->items), audit_words_compare);
	for (size_t i = 0, same; i < words->count; i += same) {
		same = 1;
		while (sorted && i + same < words->count && strcmp(words->items[i], words->items[i + same]) == 0)
			same++;
		buffer_printf(&text, "%s%s", i > 0 ? " " : "", words->items[i]);
		if (same > 1)
			buffer_printf(&text, "=%zu", same);
	}
	buffer_append(&text, "", 1);
	audit_words_free(words);
	return (char *)text.bytes;
}

/* Words of a text that is one of ours already. */
void
audit_words_split(struct audit_words *words, const char *text)
{
	while (*text != '\0') {
		size_t length = strcspn(text, " ");
		struct buffer word = { 0 };

		if (length > 0) {
			buffer_append(&word, text, length);
			buffer_append(&word, "", 1);
			audit_words_push(words, (char *)word.bytes);
		}
		text += length + (text[length] == ' ');
	}
}

void
audit_words_free(struct audit_words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->items[i]);
	free(words->items);
	*words = (struct audit_words){ 0 };
}

void
audit_print(const char *text)
{
	struct buffer clean = { 0 };

	buffer_append_string(&clean, text);
	buffer_append(&clean, "", 1);
	utf8_clean((char *)clean.bytes);
	if (audit.json)
		putchar('"');
	for (const char *c = (const char *)clean.bytes; *c != '\0'; c++) {
		if (audit.json && (*c == '"' || *c == '\\'))
			putchar('\\');
		putchar(*c);
	}
	if (audit.json)
		putchar('"');
	buffer_free(&clean);
}

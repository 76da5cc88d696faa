/*
 * The configuration: see config.h.  All that is known of a key is its row of
 * config.def; reading, printing and --help are loops over the table.
 */
#include "common/config.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/ring.h"
#include "common/utf8.h"
#include "common/version.h"

#define KIB	UINT64_C(1024)
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

enum { CONFIG_NUMBER_MAX = 32, CONFIG_NAME_MAX = 64 };

enum config_type { TYPE_DURATION, TYPE_SIZE, TYPE_COUNT, TYPE_BOOL, TYPE_STRING, TYPE_LIST, TYPE_PROPERTIES, TYPES };

struct config_row {
	enum config_type	 type;
	size_t			 offset;	/* in struct config */
	const char		*name;		/* NULL: a title, which is help */
	const char		*standard;
	uint64_t		 minimum;
	uint64_t		 maximum;
	const char		*programs;
	const char		*help;
};

static const struct config_row rows[] = {
#define GROUP(title) { TYPES, 0, NULL, NULL, 0, 0, "", title },
#define KEY(type, member, name, standard, minimum, maximum, programs, help) \
	{ TYPE_##type, offsetof(struct config, member), name, standard, minimum, maximum, programs, help },
#include "common/config.def"
#undef KEY
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

/* Where a key was set last. */
struct config_place {
	unsigned int	source;		/* config.source at that time; 0: the default */
	unsigned int	line;		/* of the file; 0: not from a file */
};

struct config_unit {
	const char	*name;
	uint64_t	 factor;
};

static const struct config_unit duration_units[] = {
	{ "h", HOUR }, { "m", MINUTE }, { "s", SECOND }, { "ms", MILLISECOND }, { "us", MICROSECOND }, { "ns", 1 }, { NULL, 0 },
};
static const struct config_unit size_units[] = { { "GiB", GIB }, { "MiB", MIB }, { "KiB", KIB }, { "", 1 }, { NULL, 0 } };
static const struct config_unit count_units[] = { { "", 1 }, { NULL, 0 } };

static int __attribute__((format(printf, 3, 4)))
fail(char *error, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return -1;
}

static void *
checked(void *memory)
{
	if (memory == NULL)
		fatal_errno(EXIT_CODE_SYSTEM, "no memory for the configuration");
	return memory;
}

/* A copy without the white space around it. */
static char *
trimmed(const char *text, size_t length)
{
	while (length > 0 && strchr(" \t", text[0]) != NULL) {
		text++;
		length--;
	}
	while (length > 0 && strchr(" \t", text[length - 1]) != NULL)
		length--;
	return checked(strndup(text, length));
}

/* --- numbers ------------------------------------------------------------- */

/* A zero needs no unit. */
static int
quantity_parse(const char *text, const struct config_unit *units, uint64_t *value)
{
	const struct config_unit *unit;
	unsigned long long number;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -1;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno != 0)
		return -1;
	for (unit = units; unit->name != NULL; unit++) {
		if (strcmp(end, unit->name) == 0 || (number == 0 && *end == '\0'))
			return __builtin_mul_overflow(number, unit->factor, value) ? -1 : 0;
	}
	return -1;
}

static void
quantity_print(char *to, size_t size, const struct config_unit *units, uint64_t value)
{
	const struct config_unit *unit = units;

	if (value == 0) {
		snprintf(to, size, "0");
		return;
	}
	while (value % unit->factor != 0)
		unit++;
	snprintf(to, size, "%llu%s", (unsigned long long)(value / unit->factor), unit->name);
}

int
config_duration(const char *text, uint64_t *ns)
{
	return quantity_parse(text, duration_units, ns);
}

int
config_size(const char *text, uint64_t *bytes)
{
	return quantity_parse(text, size_units, bytes);
}

/* --- what a type is ------------------------------------------------------ */

typedef int (*config_set_fn)(void *member, const struct config_row *, const char *value, char *error, size_t size);
typedef void (*config_print_fn)(const void *member, const struct config_row *, FILE *);

static int	set_number(void *, const struct config_row *, const char *, char *, size_t);
static int	set_bool(void *, const struct config_row *, const char *, char *, size_t);
static int	set_string(void *, const struct config_row *, const char *, char *, size_t);
static int	add_items(void *, const struct config_row *, const char *, char *, size_t);
static int	set_property(void *, const struct config_row *, const char *, char *, size_t);
static void	print_number(const void *, const struct config_row *, FILE *);
static void	print_bool(const void *, const struct config_row *, FILE *);
static void	print_string(const void *, const struct config_row *, FILE *);
static void	print_list(const void *, const struct config_row *, FILE *);

static const struct {
	const char			*argument;	/* in --help */
	const char			*what;		/* in errors */
	const struct config_unit	*units;
	config_set_fn			 set;
	config_print_fn			 print;
} types[TYPES] = {
	[TYPE_DURATION] = { "DURATION", "a number and a unit (ns, us, ms, s, m or h)", duration_units, set_number, print_number },
	[TYPE_SIZE] = { "SIZE", "a number of bytes (or with KiB, MiB or GiB)", size_units, set_number, print_number },
	[TYPE_COUNT] = { "NUMBER", "a number", count_units, set_number, print_number },
	[TYPE_BOOL] = { "yes|no", "yes or no", NULL, set_bool, print_bool },
	[TYPE_STRING] = { "TEXT", NULL, NULL, set_string, print_string },
	[TYPE_LIST] = { "LIST", NULL, NULL, add_items, print_list },
	/* config_print() gives each a line of its own. */
	[TYPE_PROPERTIES] = { "TEXT", NULL, NULL, set_property, NULL },
};

static int
set_number(void *member, const struct config_row *row, const char *value, char *error, size_t size)
{
	const struct config_unit *units = types[row->type].units;
	char least[CONFIG_NUMBER_MAX], most[CONFIG_NUMBER_MAX];
	uint64_t number;

	if (quantity_parse(value, units, &number) == -1)
		return fail(error, size, "%s: '%s' is not %s", row->name, value, types[row->type].what);
	if (number < row->minimum || number > row->maximum) {
		quantity_print(least, sizeof(least), units, row->minimum);
		quantity_print(most, sizeof(most), units, row->maximum);
		return fail(error, size, "%s: %s is too %s: it can be %s to %s", row->name, value,
		    number < row->minimum ? "small" : "large", least, most);
	}
	*(uint64_t *)member = number;
	return 0;
}

static int
set_bool(void *member, const struct config_row *row, const char *value, char *error, size_t size)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on" };
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(value, words[i]) == 0) {
			*(bool *)member = i % 2 == 1;
			return 0;
		}
	}
	return fail(error, size, "%s: '%s' is not %s", row->name, value, types[row->type].what);
}

static int
set_string(void *member, const struct config_row *row, const char *value, char *error, size_t size)
{
	char **string = member;

	free(*string);
	*string = checked(strdup(value));
	return 0;
}

static void
add_item(struct config_list *list, char *item)
{
	list->items = checked(reallocarray(list->items, list->count + 1, sizeof(*list->items)));
	list->items[list->count++] = item;
}

static int
add_items(void *member, const struct config_row *row, const char *value, char *error, size_t size)
{
	struct config_list *list = member;
	size_t length;
	char *item;

	if (value[0] == '\0')
		return 0;
	for (;; value += length + 1) {
		length = strcspn(value, ",");
		item = trimmed(value, length);
		add_item(list, item);
		if (item[0] == '\0')
			return fail(error, size, "%s: there is nothing before or after a comma", row->name);
		if (value[length] == '\0')
			return 0;
	}
}

/* value: "NAME=VALUE". */
static int
set_property(void *member, const struct config_row *row, const char *value, char *error, size_t size)
{
	struct config_list *list = member;
	size_t i, name = strcspn(value, "=") + 1;

	if (value[0] == '\0')
		return 0;	/* the default */
	if (value[0] == '=')
		return fail(error, size, "%s: the property's name is missing", row->name);
	for (i = 0; i < list->count; i++) {
		if (strncmp(list->items[i], value, name) == 0) {
			free(list->items[i]);
			list->items[i] = checked(strdup(value));
			return 0;
		}
	}
	add_item(list, checked(strdup(value)));
	return 0;
}

static void
list_clear(struct config_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_list){ 0 };
}

static void
print_number(const void *member, const struct config_row *row, FILE *out)
{
	char text[CONFIG_NUMBER_MAX];

	quantity_print(text, sizeof(text), types[row->type].units, *(const uint64_t *)member);
	fprintf(out, " %s", text);
}

static void
print_bool(const void *member, const struct config_row *row, FILE *out)
{
	fprintf(out, " %s", *(const bool *)member ? "yes" : "no");
}

static void
print_string(const void *member, const struct config_row *row, FILE *out)
{
	const char *string = *(char *const *)member;

	fprintf(out, "%s%s", string[0] != '\0' ? " " : "", string);
}

static void
print_list(const void *member, const struct config_row *row, FILE *out)
{
	const struct config_list *list = member;
	size_t i;

	for (i = 0; i < list->count; i++)
		fprintf(out, "%s%s", i == 0 ? " " : ",", list->items[i]);
}

/* --- one key ------------------------------------------------------------- */

static void *
member_of(struct config *config, const struct config_row *row)
{
	return (char *)config + row->offset;
}

static const struct config_row *
row_by_name(const char *name, size_t length)
{
	const struct config_row *row;

	for (row = rows; row < rows + ROWS; row++) {
		if (row->type == TYPE_PROPERTIES && strncmp(row->name, name, strlen(row->name)) == 0)
			return row;
		if (row->name != NULL && strncmp(row->name, name, length) == 0 && row->name[length] == '\0')
			return row;
	}
	return NULL;
}

/* letter 0 is a program that reads everything. */
static bool
is_read_by(const struct config_row *row, char letter)
{
	return row->name != NULL && (letter == '\0' || strchr(row->programs, letter) != NULL);
}

const char *
config_key(size_t index)
{
	const struct config_row *row;

	for (row = rows; row < rows + ROWS; row++) {
		if (row->name != NULL && index-- == 0)
			return row->name;
	}
	return NULL;
}

/* What a type's set() is given: the value, for a property with its name before it. */
static char *
row_value(const struct config_row *row, const char *key, const char *text)
{
	char *value = trimmed(text, strlen(text)), *both;
	size_t prefix = strlen(row->name);

	if (row->type != TYPE_PROPERTIES || key == NULL)
		return value;
	if (asprintf(&both, "%.*s=%s", (int)(strcspn(key, "=") - prefix), key + prefix, value) == -1)
		both = NULL;
	free(value);
	return checked(both);
}

/* key: as it was written, NULL for a default; line: of the file that is being read, or 0. */
static int
set_row(struct config *config, const struct config_row *row, const char *key, unsigned int line, const char *text,
    char *error, size_t size)
{
	struct config_place *place = &config->places[row - rows];
	cleanup_free char *value = row_value(row, key, text);

	if (!utf8_valid(value, strlen(value)))
		return fail(error, size, "%s: the value is not UTF-8, or has a control character", row->name);
	if (row->type == TYPE_LIST && place->source != config->source)
		list_clear(member_of(config, row));
	*place = (struct config_place){ config->source, line };
	return types[row->type].set(member_of(config, row), row, value, error, size);
}

void
config_init(struct config *config)
{
	const struct config_row *row;
	char error[CONFIG_ERROR_MAX];

	*config = (struct config){ 0 };
	config->places = checked(calloc(ROWS, sizeof(*config->places)));
	for (row = rows; row < rows + ROWS; row++) {
		if (row->name != NULL && set_row(config, row, NULL, 0, row->standard, error, sizeof(error)) == -1)
			fatal(EXIT_CODE_INTERNAL, "the default of %s", error);
	}
	config->source = 1;
}

void
config_free(struct config *config)
{
	const struct config_row *row;

	for (row = rows; row < rows + ROWS; row++) {
		if (row->type == TYPE_LIST || row->type == TYPE_PROPERTIES)
			list_clear(member_of(config, row));
		if (row->type == TYPE_STRING)
			free(*(char **)member_of(config, row));
	}
	free(config->places);
	free(config->file);
	*config = (struct config){ 0 };
}

/* --- the nearest name ---------------------------------------------------- */

/* How many characters differ; names as long as CONFIG_NAME_MAX are all far. */
static size_t
name_distance(const char *a, size_t alength, const char *b)
{
	size_t distance[CONFIG_NAME_MAX + 1], blength = strlen(b), i, j, diagonal, above;

	if (alength > CONFIG_NAME_MAX || blength > CONFIG_NAME_MAX)
		return CONFIG_NAME_MAX;
	for (j = 0; j <= blength; j++)
		distance[j] = j;
	for (i = 1; i <= alength; i++) {
		diagonal = distance[0];
		distance[0] = i;
		for (j = 1; j <= blength; j++) {
			above = distance[j];
			distance[j] = diagonal + (a[i - 1] != b[j - 1]);
			if (above + 1 < distance[j])
				distance[j] = above + 1;
			if (distance[j - 1] + 1 < distance[j])
				distance[j] = distance[j - 1] + 1;
			diagonal = above;
		}
	}
	return distance[blength];
}

struct nearest {
	const char	*name;
	size_t		 distance;
};

static void
nearest_try(struct nearest *nearest, const char *word, size_t length, const char *name)
{
	size_t distance = name_distance(word, length, name);

	/* A third of a word may be wrong; more is another word. */
	if (distance <= (length + 2) / 3 && (nearest->name == NULL || distance < nearest->distance))
		*nearest = (struct nearest){ name, distance };
}

static struct nearest
nearest_key(const char *word, size_t length, char letter)
{
	struct nearest nearest = { 0 };
	const struct config_row *row;

	for (row = rows; row < rows + ROWS; row++) {
		if (is_read_by(row, letter))
			nearest_try(&nearest, word, length, row->name);
	}
	return nearest;
}

static int
fail_unknown_key(const char *key, char *error, size_t size)
{
	struct nearest nearest = nearest_key(key, strlen(key), '\0');

	if (nearest.name == NULL)
		return fail(error, size, "unknown key '%s'", key);
	return fail(error, size, "unknown key '%s' (did you mean '%s'?)", key, nearest.name);
}

int
config_set(struct config *config, const char *key, const char *value, char *error, size_t size)
{
	const struct config_row *row = row_by_name(key, strlen(key));

	if (row == NULL)
		return fail_unknown_key(key, error, size);
	return set_row(config, row, key, 0, value, error, size);
}

/* --- the file ------------------------------------------------------------ */

static int
read_assignment(struct config *config, unsigned int line, const char *text, char *error, size_t size)
{
	const char *equals = strchr(text, '=');
	const struct config_place *place;
	const struct config_row *row;
	cleanup_free char *key = NULL;

	if (equals == NULL)
		return fail(error, size, "'%s' is not 'key = value'", text);
	key = trimmed(text, (size_t)(equals - text));
	row = row_by_name(key, strlen(key));
	if (row == NULL)
		return fail_unknown_key(key, error, size);
	place = &config->places[row - rows];
	if (row->type != TYPE_LIST && row->type != TYPE_PROPERTIES && place->source == config->source)
		return fail(error, size, "'%s' is set in line %u already", key, place->line);
	return set_row(config, row, key, line, equals + 1, error, size);
}

static int
read_line(struct config *config, unsigned int number, const char *line, size_t length, char *error, size_t size)
{
	cleanup_free char *text = NULL;

	if (strlen(line) != length)
		return fail(error, size, "the line has a NUL byte");
	if (length > 0 && line[length - 1] == '\n')
		length--;
	text = trimmed(line, length);
	if (text[0] == '\0' || text[0] == '#')
		return 0;
	return read_assignment(config, number, text, error, size);
}

static int
read_lines(struct config *config, FILE *file, char *error, size_t size)
{
	cleanup_free char *line = NULL;
	char sentence[CONFIG_ERROR_MAX];
	unsigned int number;
	size_t space = 0;
	ssize_t length;

	for (number = 1; (length = getline(&line, &space, file)) != -1; number++) {
		if (read_line(config, number, line, (size_t)length, sentence, sizeof(sentence)) == -1)
			return fail(error, size, "%s:%u: %s", config->file, number, sentence);
	}
	if (ferror(file))
		return fail(error, size, "%s: cannot be read: %s", config->file, strerror(errno));
	return 0;
}

int
config_read(struct config *config, const char *name, char *error, size_t size)
{
	FILE *file = fopen(name, "re");
	int result;

	if (file == NULL)
		return fail(error, size, "%s: cannot be read: %s", name, strerror(errno));
	free(config->file);
	config->file = checked(strdup(name));
	config->source++;
	result = read_lines(config, file, error, size);
	config->source++;
	fclose(file);
	return result;
}

/* "NAME=VALUE" as lines of the file. */
static void
print_properties(const struct config_row *row, const struct config_list *list, FILE *out)
{
	size_t i, name;

	for (i = 0; i < list->count; i++) {
		name = strcspn(list->items[i], "=");
		fprintf(out, "%s%.*s = %s\n", row->name, (int)name, list->items[i], list->items[i] + name + 1);
	}
}

void
config_print(const struct config *config, FILE *out, char only)
{
	const struct config_row *row;

	for (row = rows; row < rows + ROWS; row++) {
		if (!is_read_by(row, only))
			continue;
		if (row->type == TYPE_PROPERTIES) {
			print_properties(row, (const struct config_list *)((const char *)config + row->offset), out);
			continue;
		}
		fprintf(out, "%s =", row->name);
		types[row->type].print((const char *)config + row->offset, row, out);
		fputc('\n', out);
	}
}

/* --- the command line ---------------------------------------------------- */

struct parse {
	struct config			*config;
	const struct config_program	*program;
	const char			*file;		/* --config */
	bool				 help, version, print, check;
	bool				 apply;		/* the second walk */
};

/* An option and its value, as they stand in argv. */
struct parse_word {
	const struct config_option	*option;	/* or */
	const struct config_row		*row;
	void				*context;
	const char			*name;		/* behind the hyphens */
	size_t				 length;	/* of the name */
	const char			*value;
	int				 words;
};

static int
parse_config(void *context, const char *value)
{
	((struct parse *)context)->file = value;
	return 0;
}

static int
parse_help(void *context, const char *value)
{
	((struct parse *)context)->help = true;
	return 0;
}

static int
parse_version(void *context, const char *value)
{
	((struct parse *)context)->version = true;
	return 0;
}

static int
parse_print(void *context, const char *value)
{
	((struct parse *)context)->print = true;
	return 0;
}

static int
parse_check(void *context, const char *value)
{
	((struct parse *)context)->check = true;
	return 0;
}

static const struct config_option common_options[] = {
	{ "config", 0, "FILE", "read this file instead of " CONFIG_FILE, parse_config },
	{ "check-config", 0, NULL, "say what is wrong with the configuration, and end", parse_check },
	{ "print-config", 0, NULL, "print the configuration with all its defaults, and end", parse_print },
	{ "help", 'h', NULL, "print this, and end", parse_help },
	{ "version", 0, NULL, "print the version and the commit, and end", parse_version },
	{ NULL, 0, NULL, NULL, NULL },
};

static const struct config_option *
option_find(const struct config_option *options, const char *name, size_t length, char letter)
{
	const struct config_option *option;

	for (option = options; option != NULL && option->name != NULL; option++) {
		if (letter != '\0' ? option->letter == letter :
		    strncmp(option->name, name, length) == 0 && option->name[length] == '\0')
			return option;
	}
	return NULL;
}

static void
log_unknown_option(const struct parse *parse, const char *word, const struct parse_word *at)
{
	const struct config_option *const tables[] = { common_options, parse->program->options };
	struct nearest nearest = nearest_key(at->name, at->length, parse->program->letter);
	const struct config_option *option;
	size_t i;

	for (i = 0; i < 2; i++) {
		for (option = tables[i]; option != NULL && option->name != NULL; option++)
			nearest_try(&nearest, at->name, at->length, option->name);
	}
	if (word[1] == '-' && row_by_name(at->name, at->length) != NULL)
		log_error("option '--%.*s' is not for %s, which does not read that key", (int)at->length, at->name, parse->program->name);
	else if (nearest.name != NULL && word[1] == '-')
		log_error("unknown option '--%.*s' (did you mean '--%s'?)", (int)at->length, at->name, nearest.name);
	else
		log_error("unknown option '%s' (see --help)", word);
}

/* Which option a word is.  -1, or the exit code. */
static int
word_find(struct parse *parse, const char *word, struct parse_word *at)
{
	char letter = word[1] == '-' ? '\0' : word[1];

	*at = (struct parse_word){ .name = word + 2, .length = strcspn(word + 2, "="), .words = 1 };
	if (letter != '\0' && word[2] != '\0') {
		log_unknown_option(parse, word, at);
		return EXIT_CODE_USAGE;
	}
	at->context = parse;
	at->option = option_find(common_options, at->name, at->length, letter);
	if (at->option == NULL) {
		at->context = parse->program->context;
		at->option = option_find(parse->program->options, at->name, at->length, letter);
	}
	if (at->option == NULL && letter == '\0')
		at->row = row_by_name(at->name, at->length);
	if (at->option == NULL && (at->row == NULL || !is_read_by(at->row, parse->program->letter))) {
		log_unknown_option(parse, word, at);
		return EXIT_CODE_USAGE;
	}
	return -1;
}

/* Its value: behind "=", else the next word.  -1, or the exit code. */
static int
word_value(struct parse_word *at, char **words)
{
	bool wanted = at->row != NULL || at->option->argument != NULL;
	const char *name = at->row != NULL ? at->row->name : at->option->name;

	if (at->name[0] != '\0' && at->name[at->length] == '=')
		at->value = at->name + at->length + 1;
	if (!wanted && at->value != NULL) {
		log_error("option '--%s' takes no value", name);
		return EXIT_CODE_USAGE;
	}
	if (!wanted || at->value != NULL)
		return -1;
	at->value = words[1];
	at->words = 2;
	if (at->value == NULL) {
		log_error("option '--%s' needs a value", name);
		return EXIT_CODE_USAGE;
	}
	return -1;
}

/*
 * The first walk takes what is common to all programs, the second, after the
 * file, the rest.  -1, or the exit code.
 */
static int
word_apply(struct parse *parse, const struct parse_word *at)
{
	char error[CONFIG_ERROR_MAX];
	int code;

	if (parse->apply == (at->context == parse))
		return -1;
	if (at->row == NULL) {
		code = at->option->set(at->context, at->value);
		return code != 0 ? code : -1;
	}
	if (set_row(parse->config, at->row, at->name, 0, at->value, error, sizeof(error)) == -1) {
		log_error("--%s", error);
		return EXIT_CODE_USAGE;
	}
	return -1;
}

/* -1, or the exit code; ordered: argv with the operands behind the options. */
static int
walk(struct parse *parse, int argc, char **argv, char **ordered, int *operands)
{
	cleanup_free char **rest = checked(calloc((size_t)argc + 1, sizeof(*rest)));
	int i, code, count = 0, used = 1;
	struct parse_word at;

	for (i = 1; i < argc && !parse->help && !parse->version; i += at.words) {
		at.words = 1;
		if (strcmp(argv[i], "--") == 0) {
			ordered[used++] = argv[i++];
			break;
		}
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			rest[count++] = argv[i];
			continue;
		}
		if ((code = word_find(parse, argv[i], &at)) != -1 || (code = word_value(&at, argv + i)) != -1 ||
		    (code = word_apply(parse, &at)) != -1)
			return code;
		memcpy(ordered + used, argv + i, (size_t)at.words * sizeof(*argv));
		used += at.words;
	}
	*operands = used;
	memcpy(ordered + used, rest, (size_t)count * sizeof(*argv));
	memcpy(ordered + used + count, argv + i, (size_t)(argc - i) * sizeof(*argv));
	return -1;
}

static int
walk_in_order(struct parse *parse, int argc, char **argv, int *operands)
{
	cleanup_free char **ordered = checked(calloc((size_t)argc + 1, sizeof(*ordered)));
	int code, first = argc;

	code = walk(parse, argc, argv, ordered, &first);
	if (code != -1)
		return code;
	memcpy(argv + 1, ordered + 1, (size_t)(argc - 1) * sizeof(*argv));
	if (operands != NULL) {
		*operands = first;
	} else if (first < argc && !parse->help && !parse->version) {
		log_error("unexpected argument '%s' (see --help)", argv[first]);
		return EXIT_CODE_USAGE;
	}
	return -1;
}

/* --- --help -------------------------------------------------------------- */

static void
help_line(const char *option, const char *help, const char *standard)
{
	enum { COLUMN = 32 };
	int width = (int)strlen(option);

	printf("  %s%*s%s", option, width < COLUMN ? COLUMN - width : 1, "", help);
	if (standard != NULL && standard[0] != '\0')
		printf(" [%s]", standard);
	putchar('\n');
}

static void
help_options(const struct config_option *options)
{
	const struct config_option *option;
	char text[128], letter[] = "-x, ";

	for (option = options; option != NULL && option->name != NULL; option++) {
		letter[1] = option->letter;
		snprintf(text, sizeof(text), "%s--%s%s%s", option->letter != 0 ? letter : "", option->name,
		    option->argument != NULL ? " " : "", option->argument != NULL ? option->argument : "");
		help_line(text, option->help, NULL);
	}
}

static void
help_keys(char letter)
{
	const struct config_row *row, *title = NULL;
	char text[128];

	for (row = rows; row < rows + ROWS; row++) {
		if (row->name == NULL)
			title = row;
		if (!is_read_by(row, letter))
			continue;
		if (title != NULL)
			printf("\n%s:\n", title->help);
		title = NULL;
		snprintf(text, sizeof(text), "--%s%s %s", row->name, row->type == TYPE_PROPERTIES ? "NAME" : "", types[row->type].argument);
		help_line(text, row->help, row->standard);
	}
}

static void
help_print(const struct config_program *program)
{
	printf("usage: %s %s\n%s\n\n", program->name, program->usage, program->about);
	help_options(program->options);
	help_options(common_options);
	printf("\nKeys of tcpdiag.conf(5), each with its [default]:\n");
	help_keys(program->letter);
}

/* --- all of it ----------------------------------------------------------- */

/* Says what is wrong with a key that was set well, and where.  The exit code. */
static int
fail_key(const struct config *config, const char *key, const char *sentence)
{
	const struct config_row *row = row_by_name(key, strlen(key));
	const struct config_place *place = row != NULL ? &config->places[row - rows] : NULL;

	if (place != NULL && place->line > 0) {
		log_error("%s:%u: %s: %s", config->file, place->line, key, sentence);
		return EXIT_CODE_CONFIG;
	}
	log_error("--%s: %s", key, sentence);
	return EXIT_CODE_USAGE;
}

static int
check_values(const struct config *config, const struct config_program *program)
{
	int level = log_level_by_name(config->log_level);
	char error[CONFIG_ERROR_MAX];
	const char *key = NULL;

	if (level == -1) {
		snprintf(error, sizeof(error), "'%s' is not error, warning, notice, info or debug", config->log_level);
		return fail_key(config, "log-level", error);
	}
	log_init(program->name, (enum log_level)level);
	if (program->check != NULL)
		key = program->check(program->context, config, error, sizeof(error));
	return key != NULL ? fail_key(config, key, error) : -1;
}

static int
read_file(struct config *config, const char *file)
{
	char error[CONFIG_ERROR_MAX];

	if (file == NULL && access(CONFIG_FILE, F_OK) == -1 && errno == ENOENT)
		return -1;
	if (config_read(config, file != NULL ? file : CONFIG_FILE, error, sizeof(error)) == 0)
		return -1;
	log_error("%s", error);
	return EXIT_CODE_CONFIG;
}

/* What was printed has arrived, or the exit code says that it has not. */
static int
finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_CODE_OK;
	log_errno(LOG_LEVEL_ERROR, "cannot write to stdout");
	return EXIT_CODE_SINK;
}

int
config_parse(struct config *config, const struct config_program *program, int argc, char **argv, int *operands)
{
	struct parse parse = { .config = config, .program = program };
	int code;

	log_init(program->name, LOG_LEVEL_INFO);
	code = walk_in_order(&parse, argc, argv, operands);
	if (code != -1)
		return code;
	if (parse.help) {
		help_print(program);
		return finish_output();
	}
	if (parse.version) {
		printf("%s %s\n", program->name, version_text);
		return finish_output();
	}
	parse.apply = true;
	if ((code = read_file(config, parse.file)) != -1 || (code = walk_in_order(&parse, argc, argv, operands)) != -1 ||
	    (code = check_values(config, program)) != -1)
		return code;
	if (parse.print)
		config_print(config, stdout, program->letter);
	return parse.print || parse.check ? finish_output() : -1;
}

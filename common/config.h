/*
 * The configuration: keys of config.def, from their defaults, then a file of
 * "key = value" lines, then the command line's --key options; the later wins.
 * It is strict: an unknown key or a bad value is an error that names the place.
 */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_FILE	"/etc/tcpdiag/tcpdiag.conf"

struct config_list {
	char	**items;
	size_t	 count;
};

struct config_place;

struct config {
#define DURATION	uint64_t	/* ns */
#define SIZE		uint64_t	/* bytes */
#define COUNT		uint64_t
#define BOOL		bool
#define STRING		char *
#define LIST		struct config_list
#define PROPERTIES	struct config_list	/* of "NAME=VALUE" */
#define KEY(type, member, name, standard, minimum, maximum, programs, help) type member;
#include "common/config.def"
#undef KEY
#undef DURATION
#undef SIZE
#undef COUNT
#undef BOOL
#undef STRING
#undef LIST
#undef PROPERTIES
	/* The rest is config.c's: where each key was set last. */
	struct config_place	*places;
	unsigned int		 source;
	char			*file;
};

enum { CONFIG_ERROR_MAX = 512 };

/* What a program's own options are, beside the keys: see config_parse. */
struct config_option {
	const char	*name;		/* without "--" */
	char		 letter;	/* or 0 */
	const char	*argument;	/* its name in --help, or NULL: takes none */
	const char	*help;
	/* Called in order; a non-zero return value ends the parsing with it. */
	int		(*set)(void *context, const char *value);
};

struct config_program {
	const char			*name;
	const char			*usage;		/* "[options]" */
	const char			*about;		/* for --help: one line */
	char				 letter;	/* 'N', 'S', or 0: every key */
	const struct config_option	*options;	/* ends with a NULL name; or NULL */
	void				*context;
	/*
	 * Checks what the table cannot: called once when everything is read.
	 * Returns NULL, or the name of the key that is wrong with a sentence
	 * in error; the place where it was set is put before it.  Or NULL.
	 */
	const char			*(*check)(void *context, const struct config *, char *error, size_t size);
};

void	config_init(struct config *);		/* the defaults */
void	config_free(struct config *);
/*
 * Sets one key.  Returns 0, or -1 with a sentence in error.  White space
 * around a value is no part of it; a value is UTF-8 without control characters.
 * A LIST takes items separated by commas and adds them; the first call since
 * config_init, or since the source changed, replaces what was there.
 * PROPERTIES are keys that begin with the row's name and go on with that of a
 * library's property; of two with one name the later wins.
 */
int	config_set(struct config *, const char *key, const char *value, char *error, size_t size);
/*
 * Reads a file; errors begin with "FILE:LINE: ", or "FILE: " when it cannot be
 * read.  A key that is no LIST may stand in it once.
 */
int	config_read(struct config *, const char *file, char *error, size_t size);
/*
 * Reads argv: --config FILE (else CONFIG_FILE if it exists), the keys, the
 * program's own options, and --help, --version, --print-config,
 * --check-config.  Options may stand behind operands, up to a "--": argv is put
 * in order.  Puts log-level into effect (so it calls log_init).
 * Returns -1 when the program shall go on, else the exit code to end with;
 * messages are written already.  *operands: the index of the first word that
 * is no option; if operands is NULL, there may be none.
 */
int	config_parse(struct config *, const struct config_program *, int argc, char **argv, int *operands);
/* All keys as a file that config_read takes; only = the program's letter or 0. */
void	config_print(const struct config *, FILE *, char only);
/* The next key's name, or NULL at the end; for tests and completions. */
const char *config_key(size_t index);

/*
 * "10s", "500ms", "2m", "1h", "0" → ns (units ns, us, ms, s, m, h).
 * "64KiB", "1MiB", "512" → bytes (units KiB, MiB, GiB).
 * Return 0; or -1, also for what 64 bits cannot hold.
 */
int	config_duration(const char *text, uint64_t *ns);
int	config_size(const char *text, uint64_t *bytes);

#endif

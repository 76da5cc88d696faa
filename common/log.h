/*
 * Messages to stderr, one line each: with journald's "<N>" levels when stderr
 * is the journal, else with the program's name.  Who can mend it decides the
 * word (tcpdiag.conf(5), LOG MESSAGES):
 *	error	the administrator must act
 *	warning	degraded, may heal by itself
 *	notice	a state changed
 *	info	start, stop, summaries
 *	debug	off unless asked for
 * Strings that come from outside are shown with control bytes replaced, as
 * \xNN.  errno is left as it was.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_NOTICE = 5, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* At most LOG_LIMIT_BURST lines per minute and place; the rest are counted. */
enum { LOG_LIMIT_BURST = 10 };
struct log_limit {
	uint64_t	window;		/* start, monotonic ns */
	unsigned int	used;
	unsigned int	suppressed;
};

/*
 * Descriptors 0 to 2 are open afterwards, so that no file that is opened later
 * takes the messages; of those that were closed, 0 and 1 give EBADF when used.
 * May be called again.
 */
void	log_init(const char *program, enum log_level highest);
/* The level of a name as in the list above, or -1. */
int	log_level_by_name(const char *name);
void	log_at(enum log_level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with ": " and errno's text behind it. */
void	log_errno(enum log_level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* True if a line may be written now; says itself how many were suppressed. */
bool	log_allowed(struct log_limit *);
/* Writes the line as an error and ends the process with the code. */
_Noreturn void	fatal(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void	fatal_errno(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)		log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...)	log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)		log_at(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)		log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)		log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
/* One line of a kind that a peer or the world could provoke without end. */
#define log_limited(level, ...) do {					\
	static struct log_limit log_limit_here;				\
	if (log_allowed(&log_limit_here))				\
		log_at(level, __VA_ARGS__);				\
} while (0)

#endif

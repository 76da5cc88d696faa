/* What ps(1) shows: the role and the namespace. */
#ifndef COMMON_TITLE_H
#define COMMON_TITLE_H

/* Call it first in main: it keeps where the arguments stand. */
void	title_init(int argc, char **argv);
void	title_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

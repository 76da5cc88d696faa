/* What the kernel sends that this version does not know: said once. */
#ifndef NAMESPACER_NOVELTY_H
#define NAMESPACER_NOVELTY_H

#include "common/protocol.h"

/*
 * Logs each kind of attribute that a collector does not know, and each that is
 * longer than it knows, when it is met for the first time in this process's
 * life.  Whatever a collector says, there are some hundred of them at most.
 */
void	novelty_note(const char *name, const struct protocol_taken *);

#endif

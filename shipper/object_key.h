/*
 * What an object is called: a template of the configuration, filled in once
 * when the object's range of batches is fixed.
 */
#ifndef SHIPPER_OBJECT_KEY_H
#define SHIPPER_OBJECT_KEY_H

#include <stddef.h>
#include <stdint.h>

enum {
	OBJECT_KEY_MAX = 960,		/* bytes of a whole key, with its NUL: S3 takes 1024 */
	OBJECT_KEY_HOST_MAX = 128,	/* bytes of a host's name in it */
};

struct object_key {
	uint64_t	 time;		/* ns since 1970; shown in UTC */
	const char	*host;
	uint64_t	 epoch, sequence;
};

/*
 * NULL, or what is wrong with the template: it has to have {epoch} and
 * {sequence}, since without them one object would overwrite another.
 */
const char	*object_key_fault(const char *template);
/*
 * "PREFIX/SET/" and the template filled in, and "." and the ending.  What of a
 * host's name is no letter, digit, dot, dash or underscore is written as an
 * underscore.  to has OBJECT_KEY_MAX bytes; the template and the prefix have no
 * fault.
 */
void		 object_key_write(char *to, const char *prefix, const char *set, const char *template, const struct object_key *,
		    const char *ending);
/* NULL, or what is wrong with a prefix; "" is none. */
const char	*object_key_prefix_fault(const char *prefix);

#endif

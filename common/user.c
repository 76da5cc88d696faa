/* The two users that the processes run as: see user.h. */
#include "common/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
is_all_digits(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* (uid_t)-1 is no id: it means "none". */
static bool
parse_id(const char *text, uid_t *id)
{
	unsigned long long value;

	errno = 0;
	value = strtoull(text, NULL, 10);
	if (errno != 0 || value >= (uid_t)-1)
		return false;
	*id = (uid_t)value;
	return true;
}

/* The database says "not found" in several ways: getpwnam(3). */
static bool
is_not_found(int error)
{
	return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static int
use_fallback(const char *name, uid_t id, uid_t *uid, gid_t *gid, char *error, size_t size)
{
	const struct passwd *user = getpwuid(id);
	const struct group *group = getgrgid((gid_t)id);

	if (user != NULL || group != NULL) {
		snprintf(error, size, "there is no user '%s', and %s '%s' has the id %u that would stand in for it", name,
		    user != NULL ? "user" : "group", user != NULL ? user->pw_name : group->gr_name, (unsigned int)id);
		return -1;
	}
	*uid = id;
	*gid = (gid_t)id;
	return 0;
}

int
user_find(const char *name, uid_t fallback, uid_t *uid, gid_t *gid, char *error, size_t size)
{
	bool is_number = is_all_digits(name);
	const struct passwd *user;
	uid_t id = 0;
	gid_t group;

	if (name[0] == '\0' || (is_number && !parse_id(name, &id))) {
		snprintf(error, size, "'%s' is neither a user's name nor an id", name);
		return -1;
	}
	errno = 0;
	user = is_number ? getpwuid(id) : getpwnam(name);
	if (user == NULL && !is_number) {
		if (is_not_found(errno) && strncmp(name, USER_PREFIX, strlen(USER_PREFIX)) != 0) {
			snprintf(error, size, "there is no user '%s'", name);
			return -1;
		}
		if (is_not_found(errno))
			return use_fallback(name, fallback, uid, gid, error, size);
		snprintf(error, size, "user '%s' cannot be looked up: %s", name, strerror(errno));
		return -1;
	}
	group = user != NULL ? user->pw_gid : (gid_t)id;
	id = user != NULL ? user->pw_uid : id;
	if (id == 0 || group == 0) {
		snprintf(error, size, "user '%s' has the %s 0, and nothing of tcpdiag but the namespacer may run as root", name,
		    id == 0 ? "uid" : "gid");
		return -1;
	}
	*uid = id;
	*gid = group;
	return 0;
}

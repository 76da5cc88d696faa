/* listmount(2). */
#include <sys/stat.h>
#include <sys/syscall.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "namespacer/mounts.h"

/* include/uapi/linux/mount.h and stat.h of Linux 6.8; libc's headers are older. */
#ifndef __NR_listmount
#define __NR_listmount		458
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE	0x00004000U
#endif
#define MOUNTS_ROOT		UINT64_MAX	/* LSMT_ROOT */

enum { MOUNTS_FIRST = 1024, MOUNTS_MOST = 1 << 20 };

struct mounts_request {		/* mnt_id_req, MNT_ID_REQ_SIZE_VER0 */
	uint32_t	size, spare;
	uint64_t	mnt_id, param;
};

static struct {
	uint64_t	*ids;		/* ascending, as the kernel gives them */
	size_t		 count, room;
} mounts;

/* Of /proc/PID/ns/net the kernel names a mount too, which is its own and in no list. */
uint64_t
mounts_of(const char *path)
{
	struct statx st;

	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID_UNIQUE, &st) == -1 || (st.stx_mask & STATX_MNT_ID_UNIQUE) == 0 ||
	    (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0)
		return 0;
	return st.stx_mnt_id;
}

static bool
mounts_grow(void)
{
	size_t room = mounts.room == 0 ? MOUNTS_FIRST : mounts.room * 2;
	uint64_t *ids = room > MOUNTS_MOST ? NULL : realloc(mounts.ids, room * sizeof(*ids));

	if (ids == NULL)
		return false;
	mounts.ids = ids;
	mounts.room = room;
	return true;
}

bool
mounts_list(void)
{
	const struct mounts_request request = { .size = sizeof(request), .mnt_id = MOUNTS_ROOT };
	long n;

	do {
		if (mounts.count == mounts.room && !mounts_grow())
			return false;
		if ((n = syscall(__NR_listmount, &request, mounts.ids, mounts.room, 0)) == -1)
			return false;
		mounts.count = (size_t)n;
	} while (mounts.count == mounts.room);	/* there may be more */
	return true;
}

static int
mounts_compare(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

bool
mounts_listed(uint64_t mount)
{
	return bsearch(&mount, mounts.ids, mounts.count, sizeof(mount), mounts_compare) != NULL;
}

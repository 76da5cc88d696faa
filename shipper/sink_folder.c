/*
 * The sink file with a folder: whole files, each of which appears under its
 * name when all of it is there.  What batches become which file, and when, is
 * objects.h's.
 *
 * A file is written under .unfinished/ and renamed.  While it is written it is
 * locked, so that what a killed shipper left there can be told from what another
 * one is writing, and is removed.  The folders of the two data sets are
 * opened, and made if need be, while there are still the rights to do so;
 * everything afterwards is done below their descriptors.
 */
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "shipper/aside.h"
#include "shipper/objects.h"
#include "shipper/sinks.h"

#define FOLDER_UNFINISHED	".unfinished"

enum { FOLDER_MODE = 0750, FOLDER_FILE_MODE = 0640, FOLDER_SENTENCE = 512, FOLDER_NAME_MAX = 32 };

struct sink_folder {
	struct sink_options	 options;
	char			*path;
	int			 fd;			/* of the folder */
	int			 sets[OBJECT_SETS];
	int			 unfinished;
	char			 name[FOLDER_NAME_MAX];	/* of the file that is being written, in there */
	struct objects		*objects;
};

/* --- opening -------------------------------------------------------------------------- */

/* A folder of a folder, made for who we will be.  -1 with errno. */
static int
folder_make(const struct sink_folder *folder, int parent, const char *name)
{
	bool made = mkdirat(parent, name, FOLDER_MODE) == 0;
	int fd, error;

	if (!made && errno != EEXIST)
		return -1;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1 || !made || geteuid() != 0 || fchown(fd, folder->options.uid, folder->options.gid) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* 0 if who we will be may make files there, else -1 with errno. */
static int
folder_probe(const struct sink_folder *folder, int fd)
{
	bool other = geteuid() == 0 && folder->options.uid != 0;
	int probe, error;

	if (other) {
		setfsgid(folder->options.gid);
		setfsuid(folder->options.uid);
	}
	probe = openat(fd, folder->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FOLDER_FILE_MODE);
	error = errno;
	if (other) {
		setfsuid(0);
		setfsgid(getegid());
	}
	if (probe != -1) {
		close(probe);
		(void)unlinkat(fd, folder->name, 0);
	}
	errno = error;
	return probe != -1 ? 0 : -1;
}

/* What nobody writes any more was left by one that died; in its spool, if it had one, is all that it held. */
static void
folder_clean(const struct sink_folder *folder)
{
	int fd = openat(folder->unfinished, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	unsigned int count = 0;

	if (dir == NULL) {
		fd_close(&fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		cleanup_fd int file = openat(folder->unfinished, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		struct stat st;

		if (file != -1 && fstat(file, &st) == 0 && S_ISREG(st.st_mode) && flock(file, LOCK_EX | LOCK_NB) == 0 &&
		    unlinkat(folder->unfinished, entry->d_name, 0) == 0)
			count++;
	}
	closedir(dir);
	if (count > 0)
		log_warning("%s: removed %u unfinished files of a shipper that has died", folder->path, count);
}

static int
folder_open(struct sink_folder *folder, char *error, size_t size)
{
	char name[FOLDER_NAME_MAX] = "";

	if (mkdir(folder->path, FOLDER_MODE) == -1 && errno != EEXIST) {
		snprintf(error, size, "%s: cannot be made: %s", folder->path, strerror(errno));
		return -1;
	}
	folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder->fd == -1) {
		snprintf(error, size, "%s: cannot be opened: %s", folder->path, strerror(errno));
		return -1;
	}
	for (enum object_set set = 0; set < OBJECT_SETS; set++) {
		snprintf(name, sizeof(name), "%s/", object_set_name(set));
		folder->sets[set] = folder_make(folder, folder->fd, object_set_name(set));
		if (folder->sets[set] == -1 || folder_probe(folder, folder->sets[set]) == -1)
			goto fail;
	}
	snprintf(name, sizeof(name), "%s/%s/", object_set_name(OBJECT_SOCKETS), FOLDER_UNFINISHED);
	folder->unfinished = folder_make(folder, folder->sets[OBJECT_SOCKETS], FOLDER_UNFINISHED);
	if (folder->unfinished != -1 && folder_probe(folder, folder->unfinished) == 0)
		return 0;
fail:
	snprintf(error, size, "%s%s: the shipper cannot write there as user %u: %s%s", folder->path, name, (unsigned int)folder->options.uid,
	    strerror(errno), errno == EACCES ? "; give the folder to that user, or take another" : "");
	return -1;
}

static void
sink_folder_close(void *state)
{
	struct sink_folder *folder = state;

	if (folder->objects != NULL)
		objects_free(folder->objects);
	for (enum object_set set = 0; set < OBJECT_SETS; set++)
		fd_close(&folder->sets[set]);
	fd_close(&folder->unfinished);
	fd_close(&folder->fd);
	free(folder->path);
	free(folder);
}

/* --- writing ------------------------------------------------------------------------------ */

static int
folder_write_all(int fd, const uint8_t *at, size_t length)
{
	ssize_t n;

	for (; length > 0; at += n, length -= (size_t)n) {
		n = write(fd, at, length);
		if (n == -1 && errno == EINTR)
			n = 0;
		else if (n == 0)
			errno = ENOSPC;
		if (n == -1 || (n == 0 && errno == ENOSPC))
			return -1;
	}
	return 0;
}

static int
folder_sync(int parent, const char *path)
{
	cleanup_fd int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd != -1 ? fsync(fd) : -1;
}

/* The folders above a file; synced, if that is asked for, when the file is there. */
static int
folder_parents(int base, const char *path, bool sync)
{
	char part[OBJECT_KEY_MAX];

	for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (!sync && mkdirat(base, part, FOLDER_MODE) == -1 && errno != EEXIST)
			return -1;
		if (sync && folder_sync(base, part) == -1)
			return -1;
	}
	return sync ? folder_sync(base, ".") : 0;
}

/* Where a key's first part is, and the rest of it. */
static int
folder_base(const struct sink_folder *folder, const char **path)
{
	for (enum object_set set = 0; set < OBJECT_SETS; set++) {
		size_t length = strlen(object_set_name(set));

		if (strncmp(*path, object_set_name(set), length) != 0 || (*path)[length] != '/')
			continue;
		*path += length + 1;
		return folder->sets[set];
	}
	return folder->fd;	/* a bucket's, from another configuration */
}

/* Whole and under its name, or not at all. */
static int
folder_write(const struct sink_folder *folder, const struct object *object)
{
	const char *path = object->key;
	int base = folder_base(folder, &path), error;
	cleanup_fd int fd = openat(folder->unfinished, folder->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FOLDER_FILE_MODE);

	if (fd == -1)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && folder_write_all(fd, object->bytes, object->length) == 0 &&
	    (!folder->options.fsync || fdatasync(fd) == 0) && folder_parents(base, path, false) == 0 &&
	    renameat(folder->unfinished, folder->name, base, path) == 0)
		return folder->options.fsync ? folder_parents(base, path, true) : 0;
	error = errno;
	(void)unlinkat(folder->unfinished, folder->name, 0);
	errno = error;
	return -1;
}

static enum sink_class
folder_class(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return SINK_CLASS_NO_SPACE;
	case EACCES:
	case EPERM:
	case EROFS:
		return SINK_CLASS_DENIED;
	case ENOENT:
	case ENOTDIR:
		return SINK_CLASS_UNKNOWN_TARGET;
	default:
		return SINK_CLASS_SYSTEM;
	}
}

static void
folder_put(void *state, const struct object *object)
{
	struct sink_folder *folder = state;
	uint64_t most = folder->options.minfree, unused = most > 0 ? aside_free(folder->unfinished) : 0;
	char why[FOLDER_SENTENCE];

	if (most > 0 && unused < most + object->length) {
		snprintf(why, sizeof(why), "%s: its disk has %" PRIu64 " bytes left, and minfree is %" PRIu64, folder->path, unused, most);
		objects_done(folder->objects, object, SINK_RETRY, SINK_CLASS_NO_SPACE, why);
	} else if (folder_write(folder, object) == -1) {
		enum sink_class class = folder_class(errno);

		snprintf(why, sizeof(why), "%s: %s cannot be written: %s", folder->path, object->key, strerror(errno));
		objects_done(folder->objects, object, SINK_RETRY, class, why);
	} else
		objects_done(folder->objects, object, SINK_DELIVERED, SINK_CLASS_NONE, NULL);
}

/* --- the sink ------------------------------------------------------------------------------ */

static void *
sink_folder_open(const struct sink_options *options, char *error, size_t size)
{
	struct sink_folder *folder = calloc(1, sizeof(*folder));
	const struct objects_options objects = { .sink = options, .prefix = "", .put = folder_put, .context = folder };
	uint64_t life;

	if (folder == NULL || (folder->path = strdup(options->target)) == NULL) {
		free(folder);
		snprintf(error, size, "%s: out of memory", options->target);
		return NULL;
	}
	folder->options = *options;
	folder->fd = folder->unfinished = -1;
	for (enum object_set set = 0; set < OBJECT_SETS; set++)
		folder->sets[set] = -1;
	arc4random_buf(&life, sizeof(life));
	snprintf(folder->name, sizeof(folder->name), ".%016" PRIx64, life);
	if (folder_open(folder, error, size) == -1) {
		sink_folder_close(folder);
		return NULL;
	}
	folder_clean(folder);
	folder->objects = objects_new(&objects);
	/* It is there, and can be written. */
	options->state(options->context, SINK_CLASS_NONE, NULL);
	return folder;
}

/* Every file is one of its own. */
static bool
sink_folder_fresh(void *state)
{
	(void)state;
	return false;
}

static void
sink_folder_deliver(void *state, const struct sink_batch *batch)
{
	struct sink_folder *folder = state;

	objects_deliver(folder->objects, batch);
}

static void
sink_folder_flush(void *state)
{
	struct sink_folder *folder = state;

	objects_flush(folder->objects);
}

const struct sink sink_folder = {
	.name = "file",
	.help = "a folder of whole files, parquet by default",
	.target = true,
	.folder = true,
	.files = true,
	.pace = SINK_COLLECTED,
	.window = OBJECTS_WINDOW,
	.check = objects_check,
	.open = sink_folder_open,
	.fresh = sink_folder_fresh,
	.deliver = sink_folder_deliver,
	.flush = sink_folder_flush,
	.close = sink_folder_close,
};

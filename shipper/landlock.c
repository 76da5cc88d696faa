/* Landlock: see landlock.h. */
#include <sys/stat.h>
#include <sys/syscall.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "shipper/landlock.h"
#include "shipper/sink.h"

/* linux/landlock.h, of which builders may have an older one. */
enum {
	LANDLOCK_RULESET_VERSION = 1,
	LANDLOCK_PATH_BENEATH = 1,
	LANDLOCK_BIND_TCP = 1, LANDLOCK_CONNECT_TCP = 2,	/* ABI 4 */
	LANDLOCK_SCOPE_OF_ABSTRACT_SOCKETS = 1, LANDLOCK_SCOPE_OF_SIGNALS = 2,	/* ABI 6 */
};

/* What can be done to a file or beneath a folder, in the kernel's order. */
enum {
	FS_EXECUTE = 1 << 0, FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4, FS_REMOVE_FILE = 1 << 5, FS_MAKE_DIR = 1 << 7, FS_MAKE_REG = 1 << 8,
	FS_REFER = 1 << 13, FS_TRUNCATE = 1 << 14, FS_IOCTL_DEV = 1 << 15,
	FS_ABI_2 = (1 << 14) - 1, FS_ABI_3 = (1 << 15) - 1, FS_ABI_5 = (1 << 16) - 1,
	/* The others are of folders. */
	FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,

	LANDLOCK_READ = FS_READ_FILE | FS_READ_DIR,
	LANDLOCK_REPLACE = FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_REG,
	LANDLOCK_KEEP = LANDLOCK_READ | LANDLOCK_REPLACE | FS_MAKE_DIR | FS_REMOVE_FILE | FS_REMOVE_DIR | FS_REFER,
};

struct landlock_ruleset {
	uint64_t	files, net, scoped;
};

struct landlock_beneath {
	uint64_t	access;
	int32_t		parent;
} __attribute__((packed));

/* What libraries read: whole folders, for such files are replaced by new ones. */
static const struct {
	const char	*path;
	uint64_t	 access;
} landlock_system[] = {
	{ "/etc", LANDLOCK_READ },		/* resolv.conf, hosts, nsswitch.conf, gai.conf, ssl, machine-id, localtime */
	{ "/usr/lib", LANDLOCK_READ },		/* NSS, SASL and OpenSSL load modules */
	{ "/usr/lib64", LANDLOCK_READ },
	{ "/lib", LANDLOCK_READ },
	{ "/lib64", LANDLOCK_READ },
	{ "/usr/local/lib", LANDLOCK_READ },
	{ "/usr/share/ca-certificates", LANDLOCK_READ },
	{ "/usr/local/share/ca-certificates", LANDLOCK_READ },
	{ "/usr/share/zoneinfo", LANDLOCK_READ },
	{ "/run/systemd/resolve", LANDLOCK_READ },	/* where resolv.conf may point to */
	{ "/run/resolvconf", LANDLOCK_READ },
	{ "/run/NetworkManager", LANDLOCK_READ },
	{ "/dev/null", FS_READ_FILE | FS_WRITE_FILE },
	{ "/dev/urandom", FS_READ_FILE },
};

static int
landlock_add_open(const struct landlock *landlock, int fd, uint64_t access)
{
	struct landlock_beneath beneath = { .access = access & landlock->handled, .parent = fd };
	struct stat st;

	if (fstat(fd, &st) == -1)
		return -1;
	if (!S_ISDIR(st.st_mode))
		beneath.access &= FS_OF_FILES;
	return (int)syscall(SYS_landlock_add_rule, landlock->fd, LANDLOCK_PATH_BENEATH, &beneath, 0);
}

/* What is not there, or cannot be seen by this user, needs no rule. */
static int
landlock_add(const struct landlock *landlock, const char *path, uint64_t access)
{
	cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd == -1)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -1;
	return landlock_add_open(landlock, fd, access);
}

/* The folder of a file, "" for one that is everybody's or the root. */
static void
landlock_folder(char *folder, size_t size, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t length = slash != NULL ? (size_t)(slash - path) : 0;
	struct stat st;

	folder[0] = '\0';
	if (length == 0 || length >= size)
		return;
	memcpy(folder, path, length);
	folder[length] = '\0';
	if (stat(folder, &st) == -1 || (st.st_mode & S_ISVTX) != 0)
		folder[0] = '\0';
}

/* Also when it was replaced: most that write a file anew rename it. */
static int
landlock_add_file(const struct landlock *landlock, const char *path)
{
	char folder[SETTINGS_PATH_MAX];

	landlock_folder(folder, sizeof(folder), path);
	if (folder[0] != '\0' && landlock_add(landlock, folder, FS_READ_FILE) == -1)
		return -1;
	return landlock_add(landlock, path, FS_READ_FILE);
}

static bool
landlock_is_file(const char *key, const char *value)
{
	size_t length = strlen(key);

	return value[0] == '/' || (value[0] != '\0' && length > 5 && strcmp(key + length - 5, "-file") == 0);
}

/* Whatever key has a path as its value, or a name that ends so, names a file that may be read, also one that is added one day. */
static int
landlock_add_keys(const struct landlock *landlock, const struct config *config)
{
#define LANDLOCK_DURATION IGNORED
#define LANDLOCK_SIZE	IGNORED
#define LANDLOCK_COUNT	IGNORED
#define LANDLOCK_BOOL	IGNORED
#define LANDLOCK_LIST	IGNORED
#define LANDLOCK_PROPERTIES IGNORED
#define IGNORED(member, name)
#define LANDLOCK_STRING(member, name) { name, config->member },
#define KEY(type, member, name, standard, minimum, maximum, programs, help) LANDLOCK_##type(member, name)
	const struct {
		const char	*name, *value;
	} keys[] = {
#include "common/config.def"
	};
#undef KEY

	/* Two have rules of their own. */
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].value != config->spool && keys[i].value != config->socket && landlock_is_file(keys[i].name, keys[i].value) &&
		    landlock_add_file(landlock, keys[i].value) == -1)
			return -1;
	for (size_t i = 0; i < config->kafka_rdkafka.count; i++) {
		const char *value = strchr(config->kafka_rdkafka.items[i], '=') + 1;

		if (value[0] == '/' && landlock_add_file(landlock, value) == -1)
			return -1;
	}
	return 0;
}

/* A folder is the sink's; a file is made anew at SIGHUP, which needs its folder, unless it is passed. */
static int
landlock_add_sink(const struct landlock *landlock, const struct settings *settings, bool passed)
{
	const char *target = settings->target, *slash = strrchr(target, '/');
	char folder[SETTINGS_PATH_MAX];
	struct stat st;

	if (settings->sink->folder || (target[0] == '/' && stat(target, &st) == 0 && S_ISDIR(st.st_mode)))
		return landlock_add(landlock, target, LANDLOCK_KEEP);
	if (target[0] != '/')
		return 0;
	if (passed || settings->sink->reopen == NULL || slash - target >= (ptrdiff_t)sizeof(folder))
		return 0;
	memcpy(folder, target, (size_t)(slash - target));
	folder[slash - target] = '\0';
	return landlock_add(landlock, folder[0] != '\0' ? folder : "/", LANDLOCK_REPLACE);
}

/* The sockets' files are removed at the end. */
static int
landlock_add_sockets(const struct landlock *landlock, const char *path)
{
	char folder[SETTINGS_PATH_MAX];

	landlock_folder(folder, sizeof(folder), path);
	return folder[0] == '\0' ? 0 : landlock_add(landlock, folder, FS_REMOVE_FILE);
}

/*
 * Its own folder of /proc, for what it uses.  The descriptor stays open: the
 * kernel may forget the folder when nobody holds it, and a new one has no rule.
 */
static int
landlock_add_self(const struct landlock *landlock)
{
	int fd = open("/proc/self", O_PATH | O_CLOEXEC);

	return fd == -1 ? 0 : landlock_add_open(landlock, fd, LANDLOCK_READ);
}

static int
landlock_add_all(const struct landlock *landlock, const struct settings *settings, const struct config *config, bool passed)
{
	for (size_t i = 0; i < sizeof(landlock_system) / sizeof(landlock_system[0]); i++)
		if (landlock_add(landlock, landlock_system[i].path, landlock_system[i].access) == -1)
			return -1;
	if ((settings->spool[0] != '\0' && landlock_add(landlock, settings->spool, LANDLOCK_KEEP) == -1) ||
	    landlock_add_sink(landlock, settings, passed) == -1 ||
	    landlock_add_sockets(landlock, config->socket) == -1 || landlock_add_sockets(landlock, settings->metrics.path) == -1 ||
	    landlock_add_self(landlock) == -1)
		return -1;
	return landlock_add_keys(landlock, config);
}

int
landlock_prepare(struct landlock *landlock, const struct settings *settings, const struct config *config, bool passed)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_RULESET_VERSION);
	/* A kernel takes a longer struct than its own where the rest is zero. */
	const struct landlock_ruleset ruleset = {
		.files = abi >= 5 ? FS_ABI_5 : abi >= 3 ? FS_ABI_3 : FS_ABI_2,
		.net = abi < 4 ? 0 : LANDLOCK_BIND_TCP | (settings->sink->network ? 0 : LANDLOCK_CONNECT_TCP),
		.scoped = abi >= 6 ? LANDLOCK_SCOPE_OF_ABSTRACT_SOCKETS | LANDLOCK_SCOPE_OF_SIGNALS : 0,
	};

	*landlock = (struct landlock){ .fd = -1, .handled = ruleset.files };
	if (abi < LANDLOCK_ABI_MIN)
		return 0;
	landlock->abi = abi;
	landlock->fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	if (landlock->fd == -1)
		return -1;
	return landlock_add_all(landlock, settings, config, passed);
}

int
landlock_enter(struct landlock *landlock)
{
	int result = landlock->fd == -1 ? 0 : (int)syscall(SYS_landlock_restrict_self, landlock->fd, 0);

	fd_close(&landlock->fd);
	return result;
}

/* inotify and mountinfo. */
#include <sys/epoll.h>
#include <sys/inotify.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/fd.h"
#include "namespacer/discovery.h"
#include "namespacer/watch.h"

enum {
	WATCH_PENDING = 256,		/* names that are made and not mounted yet */
	WATCH_PAUSE_MS = 100,		/* between two looks */
	WATCH_AGAIN = 3,		/* looks, a second apart, at what is left pending */
	WATCH_BUFFER = 16 * 1024,
};

struct watch_name {
	size_t	folder;
	char	name[NAME_MAX + 1];
};

static struct {
	struct event_base	*base;
	struct event		*inotify_event, *mounts_event, *look;
	int			 inotify, mounts, mountinfo;
	int			 watches[DISCOVERY_FOLDERS];	/* -1: not there yet */
	struct watch_name	*pending;
	size_t			 npending;
	unsigned int		 again;		/* looks that are left without an event */
	bool			 mounted;	/* or unmounted, since somebody asked */
	bool			 all;		/* too many names: look at everything */
	void			(*changed)(bool all, uint64_t start);
} watch = { .inotify = -1, .mounts = -1, .mountinfo = -1 };

/* Within the pause, one look serves any number of events. */
static void
watch_look_soon(void)
{
	static const struct timeval pause = { 0, WATCH_PAUSE_MS * 1000 };

	if (watch.again == WATCH_AGAIN && event_pending(watch.look, EV_TIMEOUT, NULL))
		return;
	watch.again = WATCH_AGAIN;
	event_add(watch.look, &pause);
}

/*
 * A fresh file that nothing is mounted on is complained about when it is no
 * longer fresh, and no event tells when that is.
 */
static void
watch_look_again(void)
{
	static const struct timeval second = { 1, 0 };

	if (watch.npending == 0 || watch.again == 0)
		return;
	watch.again--;
	event_add(watch.look, &second);
}

static void
watch_add_name(size_t folder, const char *name)
{
	struct watch_name *entry;

	for (size_t i = 0; i < watch.npending; i++)
		if (watch.pending[i].folder == folder && strcmp(watch.pending[i].name, name) == 0)
			return;
	if (watch.npending == WATCH_PENDING) {
		watch.all = true;
		return;
	}
	entry = &watch.pending[watch.npending++];
	entry->folder = folder;
	snprintf(entry->name, sizeof(entry->name), "%s", name);
}

static void
watch_take_event(const struct inotify_event *event)
{
	if ((event->mask & IN_Q_OVERFLOW) != 0)
		watch.all = true;
	for (size_t i = 0; i < DISCOVERY_FOLDERS; i++) {
		if (watch.watches[i] != event->wd)
			continue;
		if ((event->mask & IN_IGNORED) != 0)
			watch.watches[i] = -1;
		else if ((event->mask & (IN_CREATE | IN_MOVED_TO)) != 0 && event->len > 0)
			watch_add_name(i, event->name);
	}
}

static void
watch_read_inotify(evutil_socket_t fd, short what, void *context)
{
	_Alignas(struct inotify_event) char buffer[WATCH_BUFFER];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	(void)what;
	(void)context;
	for (char *at = buffer; n > 0 && at < buffer + n; ) {
		const struct inotify_event *event = (const struct inotify_event *)at;

		watch_take_event(event);
		at += sizeof(*event) + event->len;
	}
	watch_look_soon();
}

static void
watch_read_mounts(evutil_socket_t fd, short what, void *context)
{
	struct epoll_event event;

	(void)what;
	(void)context;
	while (epoll_wait(fd, &event, 1, 0) > 0)
		;
	watch.mounted = true;
	watch_look_soon();
}

bool
watch_mounts_changed(void)
{
	bool changed = watch.mounted;

	watch.mounted = false;
	return changed;
}

/* Names that became namespaces leave the list, and so do those that are gone. */
static void
watch_look(evutil_socket_t fd, short what, void *context)
{
	uint64_t start = clock_read(CLOCK_PROCESS_CPUTIME_ID);
	size_t left = 0;
	bool all;

	(void)fd;
	(void)what;
	(void)context;
	watch_folders();
	all = watch.all;
	watch.all = false;
	if (all)
		watch.npending = 0;
	for (size_t i = 0; i < watch.npending; i++) {
		const struct watch_name *entry = &watch.pending[i];
		char path[PATH_MAX];

		if (discovery_look(discovery_folder(entry->folder), entry->name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", discovery_folder(entry->folder), entry->name);
		if (access(path, F_OK) == 0)
			watch.pending[left++] = *entry;
	}
	watch.npending = left;
	watch_look_again();
	watch.changed(all, start);
}

void
watch_folders(void)
{
	const char *folder;

	for (size_t i = 0; (folder = discovery_folder(i)) != NULL; i++) {
		if (watch.watches[i] != -1)
			continue;
		watch.watches[i] = inotify_add_watch(watch.inotify, folder,
		    IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR);
		if (watch.watches[i] != -1)
			watch.all = true;	/* it may be full already */
	}
}

/*
 * libevent does not know EPOLLPRI, and mountinfo is always readable; so an
 * epoll descriptor that waits for nothing else is put between.
 */
static int
watch_open_mounts(void)
{
	struct epoll_event event = { .events = EPOLLPRI | EPOLLET };

	if ((watch.mountinfo = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)) == -1 ||
	    (watch.mounts = epoll_create1(EPOLL_CLOEXEC)) == -1)
		return -1;
	return epoll_ctl(watch.mounts, EPOLL_CTL_ADD, watch.mountinfo, &event);
}

int
watch_start(struct event_base *base, void (*changed)(bool all, uint64_t start))
{
	for (size_t i = 0; i < DISCOVERY_FOLDERS; i++)
		watch.watches[i] = -1;
	watch.base = base;
	watch.changed = changed;
	watch.pending = calloc(WATCH_PENDING, sizeof(*watch.pending));
	if (watch.pending == NULL || watch_open_mounts() == -1 ||
	    (watch.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) == -1)
		return -1;
	watch.look = evtimer_new(base, watch_look, NULL);
	watch.inotify_event = event_new(base, watch.inotify, EV_READ | EV_PERSIST, watch_read_inotify, NULL);
	watch.mounts_event = event_new(base, watch.mounts, EV_READ | EV_PERSIST, watch_read_mounts, NULL);
	if (watch.look == NULL || watch.inotify_event == NULL || watch.mounts_event == NULL)
		return -1;
	event_add(watch.inotify_event, NULL);
	event_add(watch.mounts_event, NULL);
	watch_folders();
	watch.all = false;	/* the caller's first scan looks at everything */
	return 0;
}

static void
watch_free_event(struct event **event)
{
	if (*event != NULL)
		event_free(*event);
	*event = NULL;
}

void
watch_stop(void)
{
	watch_free_event(&watch.look);
	watch_free_event(&watch.inotify_event);
	watch_free_event(&watch.mounts_event);
	fd_close(&watch.inotify);
	fd_close(&watch.mounts);
	fd_close(&watch.mountinfo);
	free(watch.pending);
	watch.pending = NULL;
}

/*
 * systemd's readiness protocol, sd_notify(3): datagrams to $NOTIFY_SOCKET.
 * Own code, as that page advises: libsystemd would bring in what a confined
 * process has no use for.  Without $NOTIFY_SOCKET every call does nothing.
 */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdint.h>

/* Opens the socket, so that it works under a filter later. */
void	 notify_init(void);
void	 notify_ready(void);
void	 notify_reloading(void);	/* follow it with notify_ready */
void	 notify_stopping(void);
void	 notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
void	 notify_watchdog(void);
/* How often notify_watchdog should be called, in ns; 0: never. */
uint64_t notify_watchdog_interval(void);

#endif

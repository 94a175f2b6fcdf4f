/* SPDX-License-Identifier: MIT
 *
 * sd_notify(3), where libsystemd was found at build time. Without the variable
 * NOTIFY_SOCKET it does nothing, so no question is asked first.
 */
#include "cli/notify.h"

#ifdef HYCO_SYSTEMD
#include <systemd/sd-daemon.h>

void
notify_ready(const char *status)
{
	sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void
notify_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}
#else
void
notify_ready(const char *status)
{
	(void)status;
}

void
notify_stopping(void)
{
}
#endif

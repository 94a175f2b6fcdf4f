/* SPDX-License-Identifier: MIT
 *
 * What a service manager is told; nothing where there is none.
 */
#pragma once

/* Service begins; `status` is a line for people. */
void notify_ready(const char *status);

/* The end has begun. */
void notify_stopping(void);

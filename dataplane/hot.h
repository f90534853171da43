// SPDX-License-Identifier: ISC
//
// hot.h - last include of a file whose code runs per packet: from here on the heap, locks and text do not exist.
//
// Runs on: worker.
#pragma once

#pragma GCC poison malloc calloc realloc free strdup printf fprintf snprintf vsnprintf log_write
#pragma GCC poison pthread_mutex_lock pthread_mutex_unlock rte_malloc rte_zmalloc rte_free

// SPDX-License-Identifier: ISC
//
// grpc_folder.h - included by a test: a folder of its own with the gRPC servers' sockets, and a configuration that names them.
//
// Include after cmocka.h. Runs on: any.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/config.h"

static char folder[64], socket_path[108], admin_path[108], target[128], admin_target[128];
static struct config config;
static char empty[] = "";

static inline void folder_make(void)
{
	snprintf(folder, sizeof(folder), "/tmp/relay-grpc-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(socket_path, sizeof(socket_path), "%s/bridge.sock", folder);
	snprintf(admin_path, sizeof(admin_path), "%s/admin.sock", folder);
	snprintf(target, sizeof(target), "unix:%s", socket_path);
	snprintf(admin_target, sizeof(admin_target), "unix:%s", admin_path);
	config = (struct config){
		.grpc = {.socket = socket_path, .socket_mode = 0660, .socket_group = empty, .tcp = empty, .tls_cert = empty,
			.tls_key = empty, .tls_client_ca = empty, .workers = 1, .max_connections = 64, .max_streams = 100},
		.admin = {.socket = admin_path},
	};
}

// With what is left in it.
static inline int folder_remove(void)
{
	DIR *dir = opendir(folder);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		closedir(dir);
	return rmdir(folder);
}

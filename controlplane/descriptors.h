// SPDX-License-Identifier: ISC
//
// descriptors.h - find files and symbols in a serialized FileDescriptorSet without unpacking it.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define DESCRIPTOR_FILES_MAX 64
#define DESCRIPTOR_IMPORTS_MAX 16

struct descriptor_text {
	const char *text; // not NUL-ended
	size_t bytes;
};

struct descriptor_file {
	const uint8_t *data; // the serialized FileDescriptorProto
	size_t bytes;
	struct descriptor_text name, package;
	struct descriptor_text imports[DESCRIPTOR_IMPORTS_MAX];
	unsigned import_count;
};

struct descriptor_set {
	struct descriptor_file files[DESCRIPTOR_FILES_MAX];
	unsigned count;
};

// The set points into data. -EBADMSG when it does not parse, -E2BIG when it has more than there are places for.
int descriptors_parse(const uint8_t *data, size_t bytes, struct descriptor_set *ret_set);
const struct descriptor_file *descriptors_file(const struct descriptor_set *set, const char *name, size_t bytes);
// The file that defines "package.Message", "package.Service", "package.Service.Method", an enum or a nested one.
const struct descriptor_file *descriptors_symbol(const struct descriptor_set *set, const char *symbol);

// The daemon's own set, from the generated protos.desc.
extern const uint8_t protos_desc[], protos_desc_end[];

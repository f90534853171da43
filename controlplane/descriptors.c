// SPDX-License-Identifier: ISC
//
// descriptors.c - find files and symbols in a serialized FileDescriptorSet without unpacking it.
//
// Of descriptor.proto only some field numbers matter. A set has files (1); a file has a name (1), package (2),
// imports (3), messages (4), enums (5), services (6); a message has a name (1), nested messages (3) and enums (4); an
// enum a name; a service a name and methods (2).
//
// Runs on: any.

#include "controlplane/descriptors.h"

#define DEPTH_MAX 8

struct cursor {
	const uint8_t *p, *end;
	bool bad;
};

static uint64_t varint(struct cursor *c)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (c->p == c->end)
			break;
		uint8_t byte = *c->p++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return value;
	}
	c->bad = true;
	return 0;
}

// The next length-delimited field; others are skipped. 0 at the end or when the bytes are bad.
static unsigned next_field(struct cursor *c, struct cursor *ret_value)
{
	while (c->p < c->end && !c->bad) {
		uint64_t key = varint(c), size = 0;
		switch (key & 7) {
		case 0:
			varint(c);
			continue;
		case 1:
			size = 8;
			break;
		case 2:
			size = varint(c);
			break;
		case 5:
			size = 4;
			break;
		default:
			c->bad = true;
		}
		if (c->bad || size > (size_t)(c->end - c->p)) {
			c->bad = true;
			return 0;
		}
		*ret_value = (struct cursor){.p = c->p, .end = c->p + size};
		c->p += size;
		if ((key & 7) == 2)
			return (unsigned)(key >> 3);
	}
	return 0;
}

static struct descriptor_text text_of(struct cursor value)
{
	return (struct descriptor_text){.text = (const char *)value.p, .bytes = (size_t)(value.end - value.p)};
}

static int parse_file(struct cursor c, struct descriptor_file *file)
{
	*file = (struct descriptor_file){.data = c.p, .bytes = (size_t)(c.end - c.p), .name = {"", 0}, .package = {"", 0}};
	struct cursor value;
	for (unsigned field; (field = next_field(&c, &value)) != 0;) {
		if (field == 1)
			file->name = text_of(value);
		else if (field == 2)
			file->package = text_of(value);
		else if (field == 3 && file->import_count == DESCRIPTOR_IMPORTS_MAX)
			return -E2BIG;
		else if (field == 3)
			file->imports[file->import_count++] = text_of(value);
	}
	return c.bad ? -EBADMSG : 0;
}

int descriptors_parse(const uint8_t *data, size_t bytes, struct descriptor_set *ret_set)
{
	struct cursor c = {.p = data, .end = data + bytes}, value;
	ret_set->count = 0;
	for (unsigned field; (field = next_field(&c, &value)) != 0;) {
		if (field != 1)
			continue;
		if (ret_set->count == DESCRIPTOR_FILES_MAX)
			return -E2BIG;
		int rc = parse_file(value, &ret_set->files[ret_set->count]);
		if (rc < 0)
			return rc;
		ret_set->count++;
	}
	return c.bad ? -EBADMSG : 0;
}

const struct descriptor_file *descriptors_file(const struct descriptor_set *set, const char *name, size_t bytes)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->files[i].name.bytes == bytes && memcmp(set->files[i].name.text, name, bytes) == 0)
			return &set->files[i];
	return NULL;
}

// symbol without its first part, if that part is name; else NULL.
static const char *strip(const char *symbol, struct descriptor_text name)
{
	if (strncmp(symbol, name.text, name.bytes) != 0 || memchr(symbol, 0, name.bytes) != NULL)
		return NULL;
	symbol += name.bytes;
	return *symbol == '\0' ? symbol : *symbol == '.' ? symbol + 1 : NULL;
}

// Does the entry (message, enum or service) define symbol? Its members have field numbers a and b.
static bool defines(struct cursor entry, const char *symbol, unsigned a, unsigned b, unsigned depth)
{
	struct cursor c = entry, value;
	const char *rest = NULL;
	for (unsigned field; rest == NULL && (field = next_field(&c, &value)) != 0;)
		if (field == 1)
			rest = strip(symbol, text_of(value));
	if (rest == NULL || *rest == '\0' || depth == DEPTH_MAX)
		return rest != NULL && *rest == '\0';
	c = entry;
	for (unsigned field; (field = next_field(&c, &value)) != 0;) {
		// Of a message: 3 nested messages, 4 enums. Of a service: 2 methods, which have no members.
		if (field == a && defines(value, rest, a == 3 ? 3 : 0, a == 3 ? 4 : 0, depth + 1))
			return true;
		if (field == b && b != 0 && defines(value, rest, 0, 0, depth + 1))
			return true;
	}
	return false;
}

const struct descriptor_file *descriptors_symbol(const struct descriptor_set *set, const char *symbol)
{
	for (unsigned i = 0; i < set->count; i++) {
		const struct descriptor_file *file = &set->files[i];
		const char *rest = file->package.bytes > 0 ? strip(symbol, file->package) : symbol;
		if (rest == NULL || *rest == '\0')
			continue;
		struct cursor c = {.p = file->data, .end = file->data + file->bytes}, value;
		for (unsigned field; (field = next_field(&c, &value)) != 0;) {
			bool found = (field == 4 && defines(value, rest, 3, 4, 0)) || // message
				(field == 5 && defines(value, rest, 0, 0, 0)) ||      // enum
				(field == 6 && defines(value, rest, 2, 0, 0));        // service
			if (found)
				return file;
		}
	}
	return NULL;
}

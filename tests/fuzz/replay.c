// SPDX-License-Identifier: ISC
//
// replay.c - feed every file of the named folders to a fuzz target once: corpus and old crashes as a plain test.
//
// Runs on: any.

#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	if (file == NULL || fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode)) {
		if (file != NULL)
			fclose(file);
		return 0;
	}
	// An exact-size heap copy lets ASan see the first byte read past the end.
	size_t size = (size_t)st.st_size;
	uint8_t *data = malloc(size ? size : 1);
	if (data == NULL || fread(data, 1, size, file) != size) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

int main(int argc, char **argv)
{
	unsigned replayed = 0;
	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		if (dir == NULL)
			continue;
		for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
			char path[PATH_MAX];
			snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
			replayed += replay_file(path);
		}
		closedir(dir);
	}
	printf("%u inputs replayed\n", replayed);
	return replayed > 0 ? 0 : 1;
}

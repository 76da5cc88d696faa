/*
 * The input is a configuration file.  It is read, and then what is printed is a
 * file that is read and printed as the same again; or it is refused with one
 * sentence that names the place.
 */
#include <sys/mman.h>

#include <unistd.h>

#include "common/config.h"
#include "common/fd.h"
#include "tests/fuzz/fuzz.h"

static struct {
	int	fd;
	char	path[32];
} file = { .fd = -1 };

static void
write_file(const void *bytes, size_t size)
{
	if (file.fd == -1) {
		file.fd = memfd_create("tcpdiag.conf", MFD_CLOEXEC);
		snprintf(file.path, sizeof(file.path), "/proc/self/fd/%d", file.fd);
	}
	FUZZ_REQUIRE(ftruncate(file.fd, 0) == 0);
	FUZZ_REQUIRE(pwrite(file.fd, bytes, size, 0) == (ssize_t)size);
}

/* "FILE:LINE: sentence", for each file here can be read. */
static void
require_sentence(const char *error)
{
	size_t length = strlen(file.path);
	char *end;

	FUZZ_REQUIRE(strlen(error) < CONFIG_ERROR_MAX);
	FUZZ_REQUIRE(strncmp(error, file.path, length) == 0 && error[length] == ':');
	FUZZ_REQUIRE(strtoul(error + length + 1, &end, 10) > 0);
	FUZZ_REQUIRE(strncmp(end, ": ", 2) == 0 && end[2] != '\0');
	FUZZ_REQUIRE(strchr(error, '\n') == NULL);
}

/* How many items all lists have together; none is empty. */
static size_t
count_items(const struct config *config)
{
	size_t count = 0;

#define ITEMS_DURATION(member)
#define ITEMS_SIZE(member)
#define ITEMS_COUNT(member)
#define ITEMS_BOOL(member)
#define ITEMS_STRING(member)
#define ITEMS_LIST(member)						\
	for (size_t i = 0; i < config->member.count; i++, count++)	\
		FUZZ_REQUIRE(config->member.items[i][0] != '\0');
#define ITEMS_PROPERTIES(member) ITEMS_LIST(member)
#define KEY(type, member, name, standard, minimum, maximum, programs, help) ITEMS_##type(member)
#include "common/config.def"
#undef KEY
	return count;
}

/* What config_print makes of a file, or NULL if it is refused. */
static char *
read_and_print(const void *bytes, size_t size, size_t *length, size_t *items)
{
	char error[CONFIG_ERROR_MAX] = "", *text = NULL;
	struct config config;
	FILE *out;

	write_file(bytes, size);
	config_init(&config);
	if (config_read(&config, file.path, error, sizeof(error)) == 0) {
		FUZZ_REQUIRE(error[0] == '\0');
		FUZZ_REQUIRE((out = open_memstream(&text, length)) != NULL);
		config_print(&config, out, '\0');
		*items = count_items(&config);
		FUZZ_REQUIRE(fclose(out) == 0);
	} else
		require_sentence(error);
	config_free(&config);
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t once_length = 0, twice_length = 0, once_items = 0, twice_items = 0;
	cleanup_free char *once = read_and_print(data, size, &once_length, &once_items);
	cleanup_free char *twice = NULL;

	if (once == NULL)
		return 0;
	FUZZ_REQUIRE(size == 0 || memchr(data, '\0', size) == NULL);
	twice = read_and_print(once, once_length, &twice_length, &twice_items);
	FUZZ_REQUIRE(twice != NULL && twice_length == once_length && twice_items == once_items);
	FUZZ_REQUIRE(memcmp(once, twice, once_length) == 0);
	return 0;
}

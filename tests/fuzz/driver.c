/*
 * Runs a fuzz target without libFuzzer: over each file of its corpus, over
 * every truncation of it, and over some thousand mutations, which are the same
 * each time.  The work is done in a child, so that an input that kills it can
 * be named and kept.  Says what came of it in TAP, for tests/run.py.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define CORPUS	"tests/fuzz/corpus/"

enum { FILES_MAX = 256, INPUT_MAX = 8192, MUTATIONS = 4000, EDITS_MAX = 6 };

struct input {
	char	name[256];
	size_t	size;
	uint8_t	bytes[INPUT_MAX];
};

/* Shared with the child: what it is at. */
struct progress {
	char		what[64];
	unsigned int	inputs;
	struct input	input;
};

static struct {
	struct input	*files[FILES_MAX];
	size_t		 count;
	struct progress	*progress;
	uint64_t	 random;
} driver = { .random = UINT64_C(0x9e3779b97f4a7c15) };

/* Marsaglia's xorshift64: the same numbers on every machine. */
static size_t
pick(size_t below)
{
	driver.random ^= driver.random << 13;
	driver.random ^= driver.random >> 7;
	driver.random ^= driver.random << 17;
	return (size_t)(driver.random >> 11) % below;
}

/* --- the corpus ------------------------------------------------------------ */

static int
no_dots(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static struct input *
read_file(const char *folder, const char *name)
{
	struct input *input = calloc(1, sizeof(*input));
	char path[512];
	FILE *file;

	FUZZ_REQUIRE(input != NULL);
	snprintf(input->name, sizeof(input->name), "%s", name);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if ((file = fopen(path, "re")) == NULL) {
		perror(path);
		exit(1);
	}
	input->size = fread(input->bytes, 1, sizeof(input->bytes), file);
	fclose(file);
	return input;
}

static void
read_corpus(const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, no_dots, alphasort);

	if (count < 1 || count > FILES_MAX) {
		fprintf(stderr, "%s: it has to hold 1 to %d files\n", folder, FILES_MAX);
		exit(1);
	}
	for (int i = 0; i < count; i++) {
		driver.files[driver.count++] = read_file(folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

/* --- mutations --------------------------------------------------------------- */

static void
flip_bit(struct input *input)
{
	if (input->size > 0)
		input->bytes[pick(input->size)] ^= (uint8_t)(1U << pick(8));
}

static void
set_byte(struct input *input)
{
	static const uint8_t edges[] = { 0, 1, 2, 0x0a, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff };

	if (input->size > 0)
		input->bytes[pick(input->size)] = edges[pick(sizeof(edges))];
}

static void
cut_out(struct input *input)
{
	size_t at = pick(input->size + 1), length = pick(input->size - at + 1);

	memmove(input->bytes + at, input->bytes + at + length, input->size - at - length);
	input->size -= length;
}

/* From another file, or from this one. */
static void
put_in(struct input *input)
{
	const struct input *other = driver.files[pick(driver.count)];
	size_t from = pick(other->size + 1), length = pick(other->size - from + 1), at = pick(input->size + 1);

	if (length > INPUT_MAX - input->size)
		length = INPUT_MAX - input->size;
	memmove(input->bytes + at + length, input->bytes + at, input->size - at);
	memcpy(input->bytes + at, other->bytes + from, length);
	input->size += length;
}

/* --- the work ------------------------------------------------------------------ */

static void
try(const struct input *input, const char *how, size_t number)
{
	uint8_t *copy;

	snprintf(driver.progress->what, sizeof(driver.progress->what), "%s %zu", how, number);
	memcpy(&driver.progress->input, input, offsetof(struct input, bytes) + input->size);
	driver.progress->inputs++;
	copy = fuzz_copy(input->bytes, input->size);
	LLVMFuzzerTestOneInput(copy, input->size);
	free(copy);
}

static void
try_truncations(const struct input *file)
{
	struct input input = *file;

	for (input.size = file->size + 1; input.size-- > 0;)
		try(&input, "cut to", input.size);
}

static void
try_mutation(size_t number)
{
	static void (*const edits[])(struct input *) = { flip_bit, set_byte, flip_bit, set_byte, cut_out, put_in };
	struct input input = *driver.files[pick(driver.count)];

	for (size_t i = 1 + pick(EDITS_MAX); i > 0; i--)
		edits[pick(sizeof(edits) / sizeof(edits[0]))](&input);
	try(&input, "mutation", number);
}

static _Noreturn void
work(void)
{
	for (size_t i = 0; i < driver.count; i++)
		try_truncations(driver.files[i]);
	for (size_t i = 0; i < MUTATIONS; i++)
		try_mutation(i);
	exit(0);
}

/* Keeps what the child was at beside the program, and says where. */
static void
keep_input(const char *program)
{
	const struct progress *at = driver.progress;
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s.failed", program);
	if ((file = fopen(path, "we")) != NULL) {
		fwrite(at->input.bytes, 1, at->input.size, file);
		fclose(file);
	}
	printf("# input %u, %s, %s: kept as %s\n", at->inputs, at->input.name, at->what, path);
}

int
main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/') == NULL ? argv[0] : strrchr(argv[0], '/') + 1;
	char folder[512];
	int status = 0;
	pid_t child;

	snprintf(folder, sizeof(folder), CORPUS "%s", strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name);
	read_corpus(argc > 1 ? argv[1] : folder);
	driver.progress = mmap(NULL, sizeof(*driver.progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FUZZ_REQUIRE(driver.progress != MAP_FAILED);
	printf("1..1\n");
	fflush(stdout);
	if ((child = fork()) == 0)
		work();
	FUZZ_REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
	if (status != 0)
		keep_input(argv[0]);
	printf("%sok 1 - %s: %u inputs\n", status == 0 ? "" : "not ", name, driver.progress->inputs);
	return status == 0 ? 0 : 1;
}

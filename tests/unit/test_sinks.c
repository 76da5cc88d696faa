/*
 * The sinks: a delivery is acknowledged when it has arrived, a file has whole
 * records in it whatever happens, and nobody is made to wait.
 */
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "shipper/sinks.h"
#include "tests/unit/folder.h"
#include "tests/unit/shipper_parts.h"

struct answers {
	unsigned int	 count;
	enum sink_result last;
	char		 why[512];
};

struct fixture {
	char			 folder[FOLDER_MAX];
	char			 path[96];
	struct event_base	*base;
	struct answers		 answers;
	struct sink_options	 options;
	char			 error[512];
};

static void
on_answer(void *context, const struct sink_id *id, enum sink_result result, enum sink_class class, const char *why)
{
	struct answers *answers = context;

	assert_int_equal(id->batch_sequence, 7);
	assert_true((result == SINK_DELIVERED) == (class == SINK_CLASS_NONE));
	assert_true((result == SINK_DELIVERED) == (why == NULL));

	answers->count++;
	answers->last = result;
	snprintf(answers->why, sizeof(answers->why), "%s", why != NULL ? why : "");
}

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	folder_make(f->folder, "test_sinks");
	snprintf(f->path, sizeof(f->path), "%s/records", f->folder);
	f->base = event_base_new();
	f->options = (struct sink_options){
		.base = f->base, .target = f->path, .fd = -1, .framing = SINK_LINES, .done = on_answer,
		.context = &f->answers,
	};
	*state = f;
	return 0;
}

static int
end(void **state)
{
	struct fixture *f = *state;

	event_base_free(f->base);
	folder_remove(f->folder);
	free(f);
	return 0;
}

static struct sink_batch
batch_of(const uint8_t *bytes, size_t length)
{
	return (struct sink_batch){ .id = { 1, 7, 0 }, .rows = 1, .bytes = bytes, .length = length };
}

static void
deliver(struct fixture *f, const struct sink *sink, void *state, const char *bytes)
{
	const struct sink_batch batch = batch_of((const uint8_t *)bytes, strlen(bytes));
	unsigned int before = f->answers.count;

	sink->deliver(state, &batch);
	loop_until(f->base, f->answers.count == before + 1);
}

/* --- the registry --------------------------------------------------------------------- */

static void
test_names(void **state)
{
	const char *target;
	char error[512];

	(void)state;
	assert_ptr_equal(sink_by_spec("stdout", &target, error, sizeof(error)), &sink_stdout);
	assert_string_equal(target, "");
	assert_ptr_equal(sink_by_spec("file:/a:b", &target, error, sizeof(error)), &sink_file);
	assert_string_equal(target, "/a:b");
	assert_ptr_equal(sink_by_spec("file:/a/", &target, error, sizeof(error)), &sink_folder);
	assert_string_equal(target, "/a/");
	for (size_t i = 0; sinks[i] != NULL; i++) {
		assert_non_null(sinks[i]->help);
		assert_non_null(sinks[i]->fresh);
		assert_non_null(sinks[i]->close);
	}
}

static void
test_names_that_are_none(void **state)
{
	static const struct {
		const char	*spec;
		const char	*error;
	} bad[] = {
		{ "sydout", "there is no sink 'sydout'; there are: stdout, stderr, file:TARGET, file:FOLDER/, null, kafka, s3" },
		{ "", "there is no sink ''; there are: stdout, stderr, file:TARGET, file:FOLDER/, null, kafka, s3" },
		{ "fil:/x", "there is no sink 'fil'; there are: stdout, stderr, file:TARGET, file:FOLDER/, null, kafka, s3" },
		{ "file", "sink file needs a target: file:TARGET" },
		{ "file:", "sink file needs a target: file:TARGET" },
		{ "null:x", "sink null takes no target, but has 'x'" },
	};
	const char *target;
	char error[512];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(sink_by_spec(bad[i].spec, &target, error, sizeof(error)));
		assert_string_equal(error, bad[i].error);
	}
}

static void
test_null_takes_everything(void **state)
{
	struct fixture *f = *state;
	void *null = sink_null.open(&f->options, f->error, sizeof(f->error));

	deliver(f, &sink_null, null, "x");
	assert_int_equal(f->answers.last, SINK_DELIVERED);
	assert_false(sink_null.fresh(null));
	sink_null.close(null);
}

/* --- streams ----------------------------------------------------------------------------- */

/* Puts a descriptor in stdout's place; returns what was there. */
static int
replace_stdout(int fd)
{
	int before = dup(STDOUT_FILENO);

	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	return before;
}

static void
restore_stdout(int before)
{
	dup2(before, STDOUT_FILENO);
	close(before);
}

/*
 * A reader who takes his time, and a delivery of many pipes' sizes: the loop
 * goes on, everything arrives once, and the pipe's flags, which are everybody's,
 * stay as they were.
 */
static void
test_a_slow_reader_does_not_block(void **state)
{
	struct fixture *f = *state;
	size_t length = 1 << 20, got = 0;
	uint8_t *bytes = malloc(length), *back = malloc(length);
	const struct sink_batch batch = batch_of(bytes, length);
	int pipes[2], before;
	void *stream;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	before = replace_stdout(pipes[1]);
	stream = sink_stdout.open(&f->options, f->error, sizeof(f->error));
	assert_non_null(stream);
	assert_true(sink_stdout.fresh(stream));
	sink_stdout.deliver(stream, &batch);
	loop_some(f->base);
	assert_int_equal(f->answers.count, 0);
	assert_int_equal(fcntl(pipes[1], F_GETFL) & O_NONBLOCK, 0);
	while (got < length) {
		ssize_t n = read(pipes[0], back + got, length - got < 3000 ? length - got : 3000);

		assert_true(n > 0);
		got += (size_t)n;
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	restore_stdout(before);
	loop_until(f->base, f->answers.count == 1);
	assert_int_equal(f->answers.last, SINK_DELIVERED);
	assert_memory_equal(bytes, back, length);
	assert_false(sink_stdout.fresh(stream));
	sink_stdout.close(stream);
	close(pipes[0]);
	close(pipes[1]);
	free(bytes);
	free(back);
}

static void
test_a_closed_pipe_is_said(void **state)
{
	struct fixture *f = *state;
	int pipes[2], before;
	void *stream;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	before = replace_stdout(pipes[1]);
	stream = sink_stdout.open(&f->options, f->error, sizeof(f->error));
	close(pipes[0]);
	deliver(f, &sink_stdout, stream, "x");
	sink_stdout.close(stream);
	restore_stdout(before);
	close(pipes[1]);
	assert_int_equal(f->answers.last, SINK_CLOSED);
	assert_string_equal(f->answers.why, "stdout: nobody reads it any more (Broken pipe)");
}

/* epoll refuses a regular file. */
static void
test_stdout_in_a_file(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), before;
	char back[16] = "";
	void *stream;

	before = replace_stdout(fd);
	stream = sink_stdout.open(&f->options, f->error, sizeof(f->error));
	assert_true(sink_stdout.fresh(stream));
	deliver(f, &sink_stdout, stream, "one\n");
	assert_false(sink_stdout.fresh(stream));
	deliver(f, &sink_stdout, stream, "two\n");
	sink_stdout.close(stream);
	/* >> FILE: its header stands there already. */
	stream = sink_stdout.open(&f->options, f->error, sizeof(f->error));
	assert_false(sink_stdout.fresh(stream));
	sink_stdout.close(stream);
	restore_stdout(before);
	assert_int_equal(pread(fd, back, sizeof(back), 0), 8);
	assert_string_equal(back, "one\ntwo\n");
	close(fd);
}

static void
test_stdout_that_is_full_goes_on_where_it_was(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), before;
	struct rlimit limit, small = { 6, RLIM_INFINITY };
	char back[32] = "";
	void *stream;

	getrlimit(RLIMIT_FSIZE, &limit);
	small.rlim_max = limit.rlim_max;
	before = replace_stdout(fd);
	stream = sink_stdout.open(&f->options, f->error, sizeof(f->error));
	setrlimit(RLIMIT_FSIZE, &small);
	deliver(f, &sink_stdout, stream, "0123456789");
	setrlimit(RLIMIT_FSIZE, &limit);
	restore_stdout(before);
	assert_int_equal(f->answers.last, SINK_RETRY);
	assert_true(sink_stdout.fresh(stream));	/* so that it is formed the same way again */
	before = replace_stdout(fd);
	deliver(f, &sink_stdout, stream, "0123456789");
	sink_stdout.close(stream);
	restore_stdout(before);
	assert_int_equal(f->answers.last, SINK_DELIVERED);
	assert_int_equal(pread(fd, back, sizeof(back), 0), 10);
	assert_string_equal(back, "0123456789");
	close(fd);
}

static void
test_dev_null_and_dev_full(void **state)
{
	struct fixture *f = *state;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC), before;
	void *stream;

	before = replace_stdout(fd);
	stream = sink_stdout.open(&f->options, f->error, sizeof(f->error));
	deliver(f, &sink_stdout, stream, "x");
	sink_stdout.close(stream);
	restore_stdout(before);
	assert_int_equal(f->answers.last, SINK_DELIVERED);
	close(fd);
	fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	before = replace_stdout(fd);
	stream = sink_stdout.open(&f->options, f->error, sizeof(f->error));
	deliver(f, &sink_stdout, stream, "x");
	sink_stdout.close(stream);
	restore_stdout(before);
	assert_int_equal(f->answers.last, SINK_RETRY);
	assert_string_equal(f->answers.why, "stdout: cannot be written: No space left on device");
	close(fd);
}

/* --- files ---------------------------------------------------------------------------------- */

static void *
open_file(struct fixture *f)
{
	return sink_file.open(&f->options, f->error, sizeof(f->error));
}

static void
write_file(const char *path, const void *bytes, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd != -1);
	assert_int_equal(write(fd, bytes, length), length);
	close(fd);
}

static void
assert_file(const char *path, const void *bytes, size_t length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *back = malloc(length + 1);

	assert_true(fd != -1);
	assert_int_equal(read(fd, back, length + 1), length);
	assert_memory_equal(back, bytes, length);
	free(back);
	close(fd);
}

static void
assert_text(const char *path, const char *text)
{
	assert_file(path, text, strlen(text));
}

static void
test_batches_are_appended(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	void *file;

	umask(0);
	file = open_file(f);
	assert_non_null(file);
	assert_true(sink_file.fresh(file));
	deliver(f, &sink_file, file, "one\n");
	assert_false(sink_file.fresh(file));
	deliver(f, &sink_file, file, "two\n");
	sink_file.close(file);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	file = open_file(f);
	assert_false(sink_file.fresh(file));
	deliver(f, &sink_file, file, "three\n");
	sink_file.close(file);
	assert_text(f->path, "one\ntwo\nthree\n");
}

static void
test_files_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	char expected[256];

	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_null(open_file(f));
	snprintf(expected, sizeof(expected), "%s: is not a regular file", f->path);
	assert_string_equal(f->error, expected);
	unlink(f->path);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_null(open_file(f));
	snprintf(expected, sizeof(expected), "%s: cannot be opened: Is a directory", f->path);
	assert_string_equal(f->error, expected);
	f->options.target = "/tmp/there is no such folder/x";
	assert_null(open_file(f));
	assert_string_equal(f->error, "/tmp/there is no such folder/x: cannot be opened: No such file or directory");
}

static void
test_two_shippers_cannot_have_the_same_file(void **state)
{
	struct fixture *f = *state;
	void *file = open_file(f);
	char expected[256];

	assert_non_null(file);
	assert_null(open_file(f));
	snprintf(expected, sizeof(expected), "%s: another process writes to it (it is locked)", f->path);
	assert_string_equal(f->error, expected);
	sink_file.close(file);
	file = open_file(f);
	assert_non_null(file);
	sink_file.close(file);
}

static void
test_an_unfinished_line_is_cut_off(void **state)
{
	static const struct {
		const char *before, *after;
	} cases[] = {
		{ "one\ntwo\nthr", "one\ntwo\n" },
		{ "one\ntwo\n", "one\ntwo\n" },
		{ "on", "" },
		{ "\n", "\n" },
		{ "", "" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		void *file;

		write_file(f->path, cases[i].before, strlen(cases[i].before));
		file = open_file(f);
		assert_non_null(file);
		sink_file.close(file);
		assert_text(f->path, cases[i].after);
	}
}

/* At each length: the unfinished line may cross the portions in which the file is read. */
static void
test_a_long_unfinished_line_is_cut_off(void **state)
{
	static const size_t lengths[] = { 65535, 65536, 65537, 131072, 200000 };
	struct fixture *f = *state;
	char *text = malloc(300000);

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		void *file;

		memset(text, 'x', 300000);
		memcpy(text, "one\n", 4);
		write_file(f->path, text, 4 + lengths[i]);
		file = open_file(f);
		assert_non_null(file);
		sink_file.close(file);
		assert_text(f->path, "one\n");
	}
	free(text);
}

/* An Envelope's line has any length. */
static void
test_a_long_unfinished_envelope_is_cut_off(void **state)
{
	static const char *const heads[] = { "{\"row\":[{", "{\"row\":[]}\n{\"row\":[{" };
	struct fixture *f = *state;
	char *text = malloc(1 << 20);

	f->options.framing = SINK_ENVELOPES;
	memset(text, 'x', 1 << 20);
	for (size_t i = 0; i < 2; i++) {
		void *file;

		memcpy(text, heads[i], strlen(heads[i]));
		write_file(f->path, text, 1 << 20);
		file = open_file(f);
		assert_non_null(file);
		sink_file.close(file);
		assert_text(f->path, i ? "{\"row\":[]}\n" : "");
	}
	free(text);
}

/* The end of the last whole block may lie across two portions of the file as it is read. */
static void
test_an_unfinished_block_is_cut_off(void **state)
{
	static const char whole[] = "row {\n}\n", head[] = "row {\n  tag: \"";
	struct fixture *f = *state;
	char *text = malloc(70000);

	f->options.framing = SINK_BLOCKS;
	for (size_t rest = 65530; rest <= 65540; rest++) {
		void *file;

		memset(text, 'x', 70000);
		memcpy(text, whole, strlen(whole));
		memcpy(text + strlen(whole), head, strlen(head));
		write_file(f->path, text, strlen(whole) + rest);
		file = open_file(f);
		assert_non_null(file);
		sink_file.close(file);
		assert_text(f->path, whole);
	}
	free(text);
}

/* A map larger than any record of ours is somebody else's, and not searched for its end. */
static void
test_a_map_beyond_all_bounds_is_not_cut(void **state)
{
	struct fixture *f = *state;
	size_t length = 3, i;
	uint8_t *bytes = malloc(200000);

	memcpy(bytes, "\xde\xff\xff", 3);
	for (i = 0; i < 32000; i++, length += 3)
		memcpy(bytes + length, "\xa1k\x01", 3);
	f->options.framing = SINK_MAPS;
	write_file(f->path, bytes, length);
	assert_null(open_file(f));
	assert_non_null(strstr(f->error, "holds something else"));
	assert_file(f->path, bytes, length);
	free(bytes);
}

static void
test_what_is_no_text_is_not_cut(void **state)
{
	struct fixture *f = *state;
	char *zeros = calloc(1, 400000);
	char expected[256];

	write_file(f->path, zeros, 400000);
	assert_null(open_file(f));
	snprintf(expected, sizeof(expected),
	    "%s: has no end of line where there should be one: it is not a file of this format", f->path);
	assert_string_equal(f->error, expected);
	assert_file(f->path, zeros, 400000);
	/* Also when there is a line somewhere before it. */
	memcpy(zeros, "one\n", 4);
	write_file(f->path, zeros, 400000);
	assert_null(open_file(f));
	assert_string_equal(f->error, expected);
	assert_file(f->path, zeros, 400000);
	free(zeros);
}

/* Messages of many lengths, so that each kind of length is met. */
static size_t
make_messages(uint8_t *to, size_t count, size_t *last)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		size_t length = 2 + i * 37 % 700;

		*last = n;
		n += varint_write(to + n, length);
		memset(to + n, 'r', length);
		to[n] = RECORD_N_schema_version << 3;
		n += length;
	}
	return n;
}

/* A killed writer may have got as far as any byte of the last record. */
static void
test_an_unfinished_message_is_cut_off(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes = malloc(1 << 20);
	size_t last = 0, length = make_messages(bytes, 1000, &last);
	void *file;

	f->options.framing = SINK_DELIMITED;
	for (size_t cut = last; cut <= length; cut++) {
		write_file(f->path, bytes, cut);
		file = open_file(f);
		assert_non_null(file);
		sink_file.close(file);
		assert_file(f->path, bytes, cut < length ? last : length);
	}
	free(bytes);
}

/* A file of another format, or anybody's: appending would spoil it, cutting even more. */
static void
test_what_is_no_record_is_not_cut(void **state)
{
	static const struct {
		enum sink_framing	 framing;
		const char		*text;
	} foreign[] = {
		{ SINK_DELIMITED, "root:x:0:0:root:/root:/bin/bash\n" },
		{ SINK_DELIMITED, "{\"netns\":\"default\"}\n" },
		{ SINK_DELIMITED, "\x05hello\x05wor" },
		{ SINK_DELIMITED, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80" },
		{ SINK_ENVELOPES, "a paragraph with no end" },
		{ SINK_ENVELOPES, "{\"row\":[]}\n{\"netns\":" },
		{ SINK_BLOCKS, "{\n  \"netns\": 1\n}\nno row" },
		{ SINK_BLOCKS, "}" },
		{ SINK_BLOCKS, "row {\n}\n{\"netns\":\"default\"}\n" },
		{ SINK_MAPS, "root:x:0:0:root:/root:/bin/bash\n" },
		{ SINK_MAPS, "\x81\xa1k\x01\x91" },			/* an array */
		{ SINK_MAPS, "\x81\x01\x01" },			/* a key that is a number */
		{ SINK_MAPS, "\x81\xa1k\xc3" },			/* true */
		{ SINK_MAPS, "\x81\xa1k\x81" },			/* a map in a map */
		{ SINK_MAPS, "\x81\xdb\xff" },
	};
	struct fixture *f = *state;
	char expected[256];

	snprintf(expected, sizeof(expected), "%s: holds something else than records of this format", f->path);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		f->options.framing = foreign[i].framing;
		write_file(f->path, foreign[i].text, strlen(foreign[i].text));
		assert_null(open_file(f));
		assert_string_equal(f->error, expected);
		assert_text(f->path, foreign[i].text);
	}
}

/* A full disk: whole batches only, and it goes on when there is room again. */
static void
test_a_full_disk(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit, small;
	void *file = open_file(f);
	char expected[256];

	getrlimit(RLIMIT_FSIZE, &limit);
	small = (struct rlimit){ 10, limit.rlim_max };
	deliver(f, &sink_file, file, "one\n");
	setrlimit(RLIMIT_FSIZE, &small);
	deliver(f, &sink_file, file, "two two two\n");
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(f->answers.last, SINK_RETRY);
	snprintf(expected, sizeof(expected),
	    "%s: cannot be written: File too large (6 bytes of the batch were cut off again)", f->path);
	assert_string_equal(f->answers.why, expected);
	assert_text(f->path, "one\n");
	deliver(f, &sink_file, file, "two two two\n");
	assert_int_equal(f->answers.last, SINK_DELIVERED);
	sink_file.close(file);
	assert_text(f->path, "one\ntwo two two\n");
}

static void
test_what_another_process_did_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit, small;
	void *file = open_file(f);
	int fd;

	getrlimit(RLIMIT_FSIZE, &limit);
	small = (struct rlimit){ 12, limit.rlim_max };
	deliver(f, &sink_file, file, "one\n");
	fd = open(f->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "other\n", 6), 6);
	close(fd);
	/* Our own half of a batch is cut off again, and nothing else. */
	setrlimit(RLIMIT_FSIZE, &small);
	deliver(f, &sink_file, file, "two\n");
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(f->answers.last, SINK_RETRY);
	assert_text(f->path, "one\nother\n");
	deliver(f, &sink_file, file, "two\n");
	assert_text(f->path, "one\nother\ntwo\n");
	assert_int_equal(truncate(f->path, 0), 0);
	assert_true(sink_file.fresh(file));
	deliver(f, &sink_file, file, "three\n");
	assert_text(f->path, "three\n");
	sink_file.close(file);
}

static void
test_reopening(void **state)
{
	struct fixture *f = *state;
	char moved[128];
	void *file = open_file(f);

	snprintf(moved, sizeof(moved), "%s.1", f->path);
	deliver(f, &sink_file, file, "one\n");
	/* Nothing was moved: the same file, whose lock is our own. */
	assert_int_equal(sink_file.reopen(file, -1, f->error, sizeof(f->error)), 0);
	deliver(f, &sink_file, file, "two\n");
	assert_int_equal(rename(f->path, moved), 0);
	deliver(f, &sink_file, file, "three\n");
	assert_int_equal(sink_file.reopen(file, -1, f->error, sizeof(f->error)), 0);
	assert_true(sink_file.fresh(file));
	deliver(f, &sink_file, file, "four\n");
	assert_text(moved, "one\ntwo\nthree\n");
	assert_text(f->path, "four\n");
	/* One that cannot be opened: what is open stays open. */
	unlink(f->path);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(sink_file.reopen(file, -1, f->error, sizeof(f->error)), -1);
	deliver(f, &sink_file, file, "five\n");
	assert_int_equal(f->answers.last, SINK_DELIVERED);
	sink_file.close(file);
}

/* tcpdiag run opens it with its caller's rights. */
static void
test_a_file_that_is_passed(void **state)
{
	struct fixture *f = *state;
	char other[128], expected[256];
	void *file;
	int fd;

	write_file(f->path, "one\ntw", 6);
	f->options.fd = open(f->path, O_RDWR | O_CLOEXEC);
	file = open_file(f);
	assert_non_null(file);
	deliver(f, &sink_file, file, "two\n");	/* behind, though it was not opened for that */
	assert_text(f->path, "one\ntwo\n");
	snprintf(other, sizeof(other), "%s.2", f->path);
	fd = open(other, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_int_equal(sink_file.reopen(file, fd, f->error, sizeof(f->error)), 0);
	deliver(f, &sink_file, file, "three\n");
	assert_text(other, "three\n");
	/* One that cannot be read cannot be mended. */
	fd = open(f->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(sink_file.reopen(file, fd, f->error, sizeof(f->error)), -1);
	snprintf(expected, sizeof(expected), "%s: is not open for reading and writing", f->path);
	assert_string_equal(f->error, expected);
	assert_int_equal(fcntl(fd, F_GETFD), -1);	/* closed */
	sink_file.close(file);
}

static void
test_fsync(void **state)
{
	struct fixture *f = *state;
	void *file;

	f->options.fsync = true;
	file = open_file(f);
	deliver(f, &sink_file, file, "one\n");
	assert_int_equal(f->answers.last, SINK_DELIVERED);
	sink_file.close(file);
	assert_text(f->path, "one\n");
}

/* Delivers for ever; each batch is large, so that a signal can hit its middle. */
static _Noreturn void
deliver_for_ever(struct fixture *f, const uint8_t *bytes, size_t length)
{
	const struct sink_batch batch = batch_of(bytes, length);
	void *file = open_file(f);

	if (file == NULL)
		_exit(1);
	for (;;)
		sink_file.deliver(file, &batch);
}

/* Killed at many moments: at the next open the file has whole records and no others. */
static void
test_a_killed_writer_leaves_whole_records(void **state)
{
	struct fixture *f = *state;
	size_t capacity = 8 << 20, length = 0, last = 0, cuts = 0;
	uint8_t *bytes = malloc(capacity);
	struct stat before, after;
	void *file;

	while (length < capacity - 800)
		length += make_messages(bytes + length, 2, &last);
	f->options.framing = SINK_DELIMITED;
	for (int i = 0; i < 100 && cuts < 3; i++) {
		pid_t pid = fork();

		if (pid == 0)
			deliver_for_ever(f, bytes, length);
		/* As soon as a write is under way. */
		do
			assert_true(waitpid(pid, NULL, WNOHANG) == 0);
		while (stat(f->path, &before) == -1 || before.st_size == 0);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_int_equal(stat(f->path, &before), 0);
		file = open_file(f);
		assert_non_null(file);
		sink_file.close(file);
		assert_int_equal(stat(f->path, &after), 0);
		cuts += after.st_size < before.st_size;
		/* A second look finds nothing to cut. */
		file = open_file(f);
		sink_file.close(file);
		assert_int_equal(stat(f->path, &before), 0);
		assert_int_equal(before.st_size, after.st_size);
		assert_int_equal(unlink(f->path), 0);
	}
	assert_true(cuts > 0);
	free(bytes);
}

#define test(name)	cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_names),
		test(test_names_that_are_none),
		test(test_null_takes_everything),
		test(test_a_slow_reader_does_not_block),
		test(test_a_closed_pipe_is_said),
		test(test_stdout_in_a_file),
		test(test_stdout_that_is_full_goes_on_where_it_was),
		test(test_dev_null_and_dev_full),
		test(test_batches_are_appended),
		test(test_files_that_cannot_be),
		test(test_two_shippers_cannot_have_the_same_file),
		test(test_an_unfinished_line_is_cut_off),
		test(test_a_long_unfinished_line_is_cut_off),
		test(test_a_long_unfinished_envelope_is_cut_off),
		test(test_an_unfinished_block_is_cut_off),
		test(test_a_map_beyond_all_bounds_is_not_cut),
		test(test_what_is_no_text_is_not_cut),
		test(test_an_unfinished_message_is_cut_off),
		test(test_what_is_no_record_is_not_cut),
		test(test_a_full_disk),
		test(test_what_another_process_did_is_left_alone),
		test(test_reopening),
		test(test_a_file_that_is_passed),
		test(test_fsync),
		test(test_a_killed_writer_leaves_whole_records),
	};

	/* What is cut is said each time, which is a lot here. */
	log_init("test_sinks", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

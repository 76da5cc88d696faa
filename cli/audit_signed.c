/*
 * The policy as text, for who signs it: what is declared of each process, and
 * the system calls' policies as they stand in seccomp/, comments and all.  It
 * depends on this program alone, on no configuration and no system.
 */
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "common/buffer.h"
#include "common/exit.h"
#include "seccomp/sandbox.h"

/* The files themselves, read when this is assembled: see GNUmakefile. */
#define SIGNED_FILE(name)						\
extern const char signed_##name[], signed_##name##_end[];		\
__asm__(".pushsection .rodata\n"					\
	"signed_" #name ":\n"						\
	".incbin \"seccomp/" #name ".policy\"\n"			\
	"signed_" #name "_end:\n"					\
	".popsection\n")

SIGNED_FILE(namespacer);
SIGNED_FILE(collector);
SIGNED_FILE(shipper);
SIGNED_FILE(common);

static const struct {
	const char	*name, *start, *end, *use;
} signed_files[] = {
	{ "namespacer", signed_namespacer, signed_namespacer_end, "the namespacer, and beneath their own the collectors" },
	{ "collector", signed_collector, signed_collector_end, "the collectors" },
	{ "shipper", signed_shipper, signed_shipper_end, "the shipper" },
	{ "common", signed_common, signed_common_end, "what the namespacer's and the shipper's include" },
};

static const char *
signed_from(enum audit_property property)
{
	static const char *const from[] = {
#define PROPERTY(id, name, from, remedy) from,
#include "cli/audit_policy.def"
	};

	return from[property];
}

static void
signed_property(struct buffer *out, enum audit_kind kind, enum audit_property property)
{
	bool named = false;

	for (size_t i = 0; i < audit_rows_count; i++) {
		const struct audit_row *row = &audit_rows[i];

		if (row->kind != kind || row->property != property)
			continue;
		if (!named)
			buffer_printf(out, "\n  %s\n    read from: %s\n", audit_property_name(property), signed_from(property));
		named = true;
		if (row->test == AUDIT_SHOWN)
			buffer_printf(out, "    is shown, and nothing is declared\n");
		else if (row->test == AUDIT_UNSEEN)
			buffer_printf(out, "    cannot be seen from outside\n");
		else
			buffer_printf(out, "    %s: %s\n", audit_test_name(row->test), row->expected[0] != '\0' ? row->expected : "nothing");
		buffer_printf(out, "    because: %s\n", row->why);
	}
}

static void
signed_processes(struct buffer *out)
{
	static const char *const titles[AUDIT_KINDS] = { "THE NAMESPACER", "EACH COLLECTOR", "THE SHIPPER" };

	for (enum audit_kind kind = 0; kind < AUDIT_KINDS; kind++) {
		buffer_printf(out, "\n%s\n", titles[kind]);
		for (enum audit_property property = 0; property < AUDIT_PROPERTIES; property++)
			signed_property(out, kind, property);
	}
}

static void
signed_calls(struct buffer *out)
{
	for (size_t i = 0; i < sizeof(signed_files) / sizeof(signed_files[0]); i++) {
		buffer_printf(out, "\nSYSTEM CALLS: seccomp/%s.policy, for %s\n\n", signed_files[i].name, signed_files[i].use);
		buffer_append(out, signed_files[i].start, (size_t)(signed_files[i].end - signed_files[i].start));
	}
}

static const char signed_head[] =
    "The policy of tcpdiag's processes, as `tcpdiag audit` checks it.\n"
    "\n"
    "\"is\" these words; \"among\" these patterns of words and no others; \"has\" at\n"
    "least these words; \"at most\" so many; \"within\" these bounds, each\n"
    "name:number or name:lowest..highest; \"unseen\": it is so, and nobody can see\n"
    "it from outside.  A $name stands for what the\n"
    "configuration or the system says: user and group ids of collector-user and\n"
    "shipper-user; $collector_capabilities: net_admin, or nothing where\n"
    "collector-capability is none; $namespacer_capabilities: kill setgid setuid\n"
    "setpcap net_admin sys_chroot sys_ptrace sys_admin; $filter and\n"
    "$namespacer_filter: the policies below at the levels sandbox and\n"
    "collector-sandbox, at least robust; $outer: as many as the parent has, or any\n"
    "under a service manager; $namespacer_folders: /run/netns, /run/docker/netns and\n"
    "those of netns-folder; $shipper_files, $shipper_maps: of sink and spool, and\n"
    "what libraries read in /etc and /usr to find and trust a host;\n"
    "$shipper_network: sockets of the internet where sink or metrics ask for them;\n"
    "$sealed: control data=2 requests, where kernel and unit let mseal(2) through.\n"
    "What is under SANDBOX_SANITIZER is for builds that test, with sanitizers:\n"
#ifdef SANDBOX_SANITIZER
    "THIS IS SUCH A BUILD, WHICH NO HOST SHOULD RUN.\n";
#else
    "no filter of this program has it.\n";
#endif

/* The digest is of everything before its own line. */
static void
signed_digest(struct buffer *out)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256(out->bytes, out->length, digest);
	buffer_append_string(out, "SHA-256 of all lines above: ");
	for (size_t i = 0; i < sizeof(digest); i++)
		buffer_printf(out, "%02x", digest[i]);
	buffer_append_string(out, "\n");
}

int
audit_print_policy(void)
{
	struct buffer out = { 0 };

	buffer_append_string(&out, signed_head);
	signed_processes(&out);
	signed_calls(&out);
	buffer_append_string(&out, "\n");
	signed_digest(&out);
	fwrite(out.bytes, 1, out.length, stdout);
	buffer_free(&out);
	return EXIT_CODE_OK;
}

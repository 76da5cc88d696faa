/*
 * Stand-ins for addresses: see anonymize.h.
 *
 * Bit i of an address is turned or not by what AES makes of the bits before it,
 * so that a common prefix stays a common prefix.  All of an address's blocks are
 * known beforehand, and encrypted by one call.
 */
#include <sys/random.h>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/anonymize.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"

enum {
	ANONYMIZE_BLOCK = 16,		/* of AES */
	ANONYMIZE_BITS = 128,
	ANONYMIZE_V4_AT = 12,		/* of a v4-mapped address */
	ANONYMIZE_WHOLE = 128,		/* bits that stay: all */
	ANONYMIZE_FILE_MIN = 16,	/* bytes of a key file */
};

struct anonymize {
	EVP_CIPHER_CTX	*aes;
	uint8_t		 pad[ANONYMIZE_BLOCK];
};

/*
 * The kinds of addresses.  The first row whose prefix an address has says how
 * many of its bits stay.  A stand-in is of the same row as its address.
 */
#define MAPPED(a, b, c, d)	{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d }
static const struct anonymize_kind {
	uint8_t	prefix[ANONYMIZE_ADDRESS];
	uint8_t	bits, stay;
} anonymize_kinds[] = {
	{ MAPPED(0, 0, 0, 0), 128, ANONYMIZE_WHOLE },		/* unspecified */
	{ MAPPED(127, 0, 0, 0), 104, ANONYMIZE_WHOLE },		/* loopback */
	{ MAPPED(255, 255, 255, 255), 128, ANONYMIZE_WHOLE },	/* broadcast */
	{ MAPPED(0, 0, 0, 0), 104, 104 },
	{ MAPPED(10, 0, 0, 0), 104, 104 },			/* private */
	{ MAPPED(100, 64, 0, 0), 106, 106 },			/* shared by a provider */
	{ MAPPED(169, 254, 0, 0), 112, 112 },			/* link-local */
	{ MAPPED(172, 16, 0, 0), 108, 108 },			/* private */
	{ MAPPED(192, 168, 0, 0), 112, 112 },			/* private */
	{ MAPPED(224, 0, 0, 0), 100, 100 },			/* multicast */
	{ MAPPED(240, 0, 0, 0), 100, 100 },
	{ MAPPED(0, 0, 0, 0), 96, 96 },
	{ { 0 }, 128, ANONYMIZE_WHOLE },			/* unspecified */
	{ { [15] = 1 }, 128, ANONYMIZE_WHOLE },			/* loopback */
	{ { 0, 0x64, 0xff, 0x9b }, 96, 96 },			/* IPv4 behind NAT64 */
	{ { 0x20 }, 3, 3 },					/* global */
	{ { 0xfc }, 8, 8 }, { { 0xfd }, 8, 8 },			/* unique local */
	{ { 0xfe, 0x80 }, 10, 64 },				/* link-local */
	{ { 0xff }, 8, 16 },					/* multicast, with flags and scope */
	{ { 0 }, 0, 0 },
};

/* --- addresses --- */

static bool
anonymize_is(const struct anonymize_kind *kind, const uint8_t *address)
{
	size_t bytes = kind->bits / 8, bits = kind->bits % 8;

	if (memcmp(address, kind->prefix, bytes) != 0)
		return false;
	return bits == 0 || (address[bytes] ^ kind->prefix[bytes]) >> (8 - bits) == 0;
}

static const struct anonymize_kind *
anonymize_kind_of(const uint8_t *address)
{
	const struct anonymize_kind *kind = anonymize_kinds;

	while (!anonymize_is(kind, address))
		kind++;
	return kind;
}

static uint8_t
anonymize_bit(size_t bit)
{
	return (uint8_t)(0x80U >> bit % 8);
}

/* The block for a bit: the address up to it, the pad from there on. */
static void
anonymize_block(const struct anonymize *anonymize, const uint8_t *address, size_t bit, uint8_t *block)
{
	size_t bytes = bit / 8;
	uint8_t mask = (uint8_t)(0xff00U >> bit % 8);

	memcpy(block, address, bytes);
	memcpy(block + bytes, anonymize->pad + bytes, ANONYMIZE_BLOCK - bytes);
	if (mask != 0)
		block[bytes] = (uint8_t)((address[bytes] & mask) | (anonymize->pad[bytes] & ~mask));
}

/* Turns bits of an address of so many bits, from one on. */
static void
anonymize_turn(struct anonymize *anonymize, uint8_t *address, size_t from, size_t bits)
{
	uint8_t in[ANONYMIZE_BITS][ANONYMIZE_BLOCK] = { 0 }, out[ANONYMIZE_BITS][ANONYMIZE_BLOCK];
	int length = 0;

	for (size_t bit = from; bit < bits; bit++)
		anonymize_block(anonymize, address, bit, in[bit]);
	if (EVP_EncryptUpdate(anonymize->aes, out[from], &length, in[from], (int)((bits - from) * ANONYMIZE_BLOCK)) != 1)
		fatal(EXIT_CODE_INTERNAL, "AES does not encrypt");
	for (size_t bit = from; bit < bits; bit++)
		if ((out[bit][0] & 0x80) != 0)
			address[bit / 8] ^= anonymize_bit(bit);
}

/*
 * Where a stand-in is of another kind, its own stand-in is taken instead, and so
 * on: that goes round in a circle to the address itself, so that it ends, and
 * no two addresses come out the same.
 */
void
anonymize_address(struct anonymize *anonymize, uint8_t address[ANONYMIZE_ADDRESS])
{
	static const struct anonymize_kind mapped = { MAPPED(0, 0, 0, 0), 96, 96 };
	const struct anonymize_kind *kind = anonymize_kind_of(address);
	/* IPv4 as Crypto-PAn has it. */
	size_t at = anonymize_is(&mapped, address) ? ANONYMIZE_V4_AT : 0;

	if (kind->stay == ANONYMIZE_WHOLE)
		return;
	do
		anonymize_turn(anonymize, address + at, kind->stay - 8 * at, ANONYMIZE_BITS - 8 * at);
	while (anonymize_kind_of(address) != kind);
}

/* --- keys --- */

struct anonymize *
anonymize_new(const uint8_t key[ANONYMIZE_KEY])
{
	struct anonymize *anonymize = calloc(1, sizeof(*anonymize));
	int length;

	if (anonymize == NULL || (anonymize->aes = EVP_CIPHER_CTX_new()) == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	if (EVP_EncryptInit_ex(anonymize->aes, EVP_aes_128_ecb(), NULL, key, NULL) != 1 ||
	    EVP_CIPHER_CTX_set_padding(anonymize->aes, 0) != 1 ||
	    EVP_EncryptUpdate(anonymize->aes, anonymize->pad, &length, key + ANONYMIZE_KEY / 2, ANONYMIZE_BLOCK) != 1)
		fatal(EXIT_CODE_SYSTEM, "OpenSSL has no AES: %s", ERR_error_string(ERR_get_error(), NULL));
	return anonymize;
}

void
anonymize_free(struct anonymize *anonymize)
{
	if (anonymize == NULL)
		return;
	EVP_CIPHER_CTX_free(anonymize->aes);
	explicit_bzero(anonymize, sizeof(*anonymize));
	free(anonymize);
}

/* SHA-256 of all that is in it, however long that is.  Returns its bytes, or -1 with errno. */
static ssize_t
anonymize_hash(int fd, uint8_t key[ANONYMIZE_KEY])
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	uint8_t bytes[4096];
	ssize_t n, total = 0;

	if (hash == NULL || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1)
		fatal(EXIT_CODE_SYSTEM, "OpenSSL has no SHA-256: %s", ERR_error_string(ERR_get_error(), NULL));
	while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
		EVP_DigestUpdate(hash, bytes, (size_t)n);
		total += n;
	}
	EVP_DigestFinal_ex(hash, key, NULL);
	EVP_MD_CTX_free(hash);
	explicit_bzero(bytes, sizeof(bytes));
	return n == -1 ? -1 : total;
}

/* False: it is said why not. */
static bool
anonymize_read(const char *name, uint8_t key[ANONYMIZE_KEY])
{
	cleanup_fd int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t length = fd != -1 ? anonymize_hash(fd, key) : -1;

	if (length == -1)
		log_errno(LOG_LEVEL_ERROR, "--anonymize-key: %s", name);
	else if (length < ANONYMIZE_FILE_MIN)
		log_error("--anonymize-key: %s has %zd bytes; a key has %d at least, that nobody can guess", name, length, ANONYMIZE_FILE_MIN);
	return length >= ANONYMIZE_FILE_MIN;
}

struct anonymize *
anonymize_open(const char *file)
{
	uint8_t key[ANONYMIZE_KEY];
	struct anonymize *anonymize = NULL;

	if (file == NULL && getrandom(key, sizeof(key), 0) != sizeof(key))
		fatal_errno(EXIT_CODE_SYSTEM, "there is no random key");
	if (file == NULL || anonymize_read(file, key))
		anonymize = anonymize_new(key);
	explicit_bzero(key, sizeof(key));
	return anonymize;
}

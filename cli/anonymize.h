/*
 * Addresses that say nothing about whose they are: each address has a stand-in,
 * the same one wherever it stands, as IPv4 or v4-mapped, and no two have the
 * same.  Addresses of one network have stand-ins of one network (Crypto-PAn,
 * Xu, Fan, Ammar and Moon 2001, with AES), and of one kind: private, link-local,
 * unique local, multicast ones stay so; the unspecified and loopback addresses
 * stay what they are.
 */
#ifndef CLI_ANONYMIZE_H
#define CLI_ANONYMIZE_H

#include <stddef.h>
#include <stdint.h>

enum { ANONYMIZE_KEY = 32, ANONYMIZE_ADDRESS = 16 };

struct anonymize;
struct nlmsghdr;
struct pcap_identity;

/* With this key the same address has the same stand-in, whenever it is used. */
struct anonymize	*anonymize_new(const uint8_t key[ANONYMIZE_KEY]);
/*
 * With the key that a file's content makes, or a random one if file is NULL.
 * NULL: the reason is said.
 */
struct anonymize	*anonymize_open(const char *file);
void			 anonymize_free(struct anonymize *);

/* In place: an address of IPv6, or of IPv4 as a v4-mapped one. */
void			 anonymize_address(struct anonymize *, uint8_t address[ANONYMIZE_ADDRESS]);
/* A namespace's name becomes a number, its container is not told. */
void			 anonymize_identity(struct pcap_identity *, uint64_t number);
/*
 * A message, or a datagram, that datagram_wipe() has been through: addresses of sockets, of
 * requests and of TCP-MD5 peers are replaced; what could hold others is
 * overwritten with zeros: filters of requests, attributes of unknown kinds, and
 * whatever stands behind the errno of an end or an error.
 */
void			 anonymize_message(struct anonymize *, struct nlmsghdr *);
void			 anonymize_datagram(struct anonymize *, void *bytes, size_t length);

#endif

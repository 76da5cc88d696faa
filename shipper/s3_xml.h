/* What little of S3's and STS's XML is of interest: the text of an element. */
#ifndef SHIPPER_S3_XML_H
#define SHIPPER_S3_XML_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The text of the first element of that name, cut to size.  False if there is none, and value is "";
 * also if what stands before it is no XML, or has a document type (so nothing is ever expanded).
 */
bool	s3_xml_find(const char *text, size_t length, const char *element, char *value, size_t size);

#endif

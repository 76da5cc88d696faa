/* The text of an element, by expat: see s3_xml.h. */
#include <expat.h>
#include <string.h>

#include "shipper/s3_xml.h"

struct s3_xml {
	XML_Parser	 parser;
	const char	*element;
	char		*value;
	size_t		 size;
	size_t		 length;
	bool		 inside;
	bool		 found;
};

static void
s3_xml_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
	struct s3_xml *xml = context;

	(void)attributes;
	xml->inside = strcmp(name, xml->element) == 0;
}

static void
s3_xml_text(void *context, const XML_Char *text, int length)
{
	struct s3_xml *xml = context;

	for (int i = 0; i < length && xml->inside && xml->length + 1 < xml->size; i++)
		xml->value[xml->length++] = text[i];
}

static void
s3_xml_end(void *context, const XML_Char *name)
{
	struct s3_xml *xml = context;

	if (!xml->inside)
		return;
	(void)name;
	xml->found = true;
	XML_StopParser(xml->parser, XML_FALSE);
}

static void
s3_xml_doctype(void *context, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
	struct s3_xml *xml = context;

	(void)name;
	(void)system;
	(void)public;
	(void)internal;
	XML_StopParser(xml->parser, XML_FALSE);
}

bool
s3_xml_find(const char *text, size_t length, const char *element, char *value, size_t size)
{
	struct s3_xml xml = { .parser = XML_ParserCreate(NULL), .element = element, .value = value, .size = size };

	value[0] = '\0';
	if (xml.parser == NULL)
		return false;
	XML_SetUserData(xml.parser, &xml);
	XML_SetElementHandler(xml.parser, s3_xml_start, s3_xml_end);
	XML_SetCharacterDataHandler(xml.parser, s3_xml_text);
	XML_SetStartDoctypeDeclHandler(xml.parser, s3_xml_doctype);
	XML_Parse(xml.parser, text, (int)length, 1);
	XML_ParserFree(xml.parser);
	value[xml.found ? xml.length : 0] = '\0';
	return xml.found;
}

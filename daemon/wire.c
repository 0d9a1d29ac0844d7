// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <string.h>

#include "wire.h"

/* Where a type of frame may occur, and how long it may be. */
struct yab_wire_rule {
	uint16_t type;
	bool control;		/* on a control connection */
	bool pages;		/* on an urgent or bulk connection */
	bool names_pages;	/* page and count are used; else both are 0 */
	uint32_t length_min;
	uint32_t length_max;
};

static const struct yab_wire_rule yab_wire_rules[] = {
	{ YAB_WIRE_CALL,	true,	false,	false,	1, YAB_WIRE_JSON_MAX },
	{ YAB_WIRE_REPLY,	true,	false,	false,	1, YAB_WIRE_JSON_MAX },
	{ YAB_WIRE_EVENT,	true,	false,	false,	1, YAB_WIRE_JSON_MAX },
	{ YAB_WIRE_STATE,	true,	false,	false,	1, YAB_WIRE_STATE_MAX },
	{ YAB_WIRE_STATE_END,	true,	false,	false,	0, 0 },
	{ YAB_WIRE_REQUEST,	false,	true,	true,	0, 0 },
	{ YAB_WIRE_PAGES,	false,	true,	true,	YAB_WIRE_PAGE_SIZE,
	  YAB_WIRE_PAGES_MAX * YAB_WIRE_PAGE_SIZE },
	{ YAB_WIRE_ZERO,	false,	true,	true,	0, 0 },
	{ YAB_WIRE_SURVEY,	false,	true,	true,	0, 0 },
	{ YAB_WIRE_SURVEYED,	false,	true,	true,	0, 0 },
	{ YAB_WIRE_PACKED,	false,	true,	true,	1,
	  YAB_WIRE_PACK_PAGES * YAB_WIRE_PAGE_SIZE - 1 },
	{ YAB_WIRE_SUM,		false,	true,	true,	0, 0 },
	{ YAB_WIRE_SUMMED,	false,	true,	true,	YAB_WIRE_SUM_SIZE,
	  YAB_WIRE_SUMS_MAX * YAB_WIRE_SUM_SIZE },
	{ YAB_WIRE_ERROR,	true,	true,	false,	0, YAB_WIRE_ERROR_MAX },
	{ 0,			false,	false,	false,	0, 0 },
};

static void yab_wire_put(uint8_t **out, const void *bytes, size_t size)
{
	memcpy(*out, bytes, size);
	*out += size;
}

static void yab_wire_put16(uint8_t **out, uint16_t value)
{
	value = htole16(value);
	yab_wire_put(out, &value, sizeof(value));
}

static void yab_wire_put32(uint8_t **out, uint32_t value)
{
	value = htole32(value);
	yab_wire_put(out, &value, sizeof(value));
}

static void yab_wire_put64(uint8_t **out, uint64_t value)
{
	value = htole64(value);
	yab_wire_put(out, &value, sizeof(value));
}

static void yab_wire_get(const uint8_t **in, void *bytes, size_t size)
{
	memcpy(bytes, *in, size);
	*in += size;
}

static uint16_t yab_wire_get16(const uint8_t **in)
{
	uint16_t value;

	yab_wire_get(in, &value, sizeof(value));
	return le16toh(value);
}

static uint32_t yab_wire_get32(const uint8_t **in)
{
	uint32_t value;

	yab_wire_get(in, &value, sizeof(value));
	return le32toh(value);
}

static uint64_t yab_wire_get64(const uint8_t **in)
{
	uint64_t value;

	yab_wire_get(in, &value, sizeof(value));
	return le64toh(value);
}

void yab_wire_hello_encode(uint8_t out[YAB_WIRE_HELLO_SIZE], const struct yab_wire_hello *hello)
{
	yab_wire_put(&out, YAB_WIRE_MAGIC, YAB_WIRE_MAGIC_SIZE);
	yab_wire_put16(&out, hello->version);
	yab_wire_put16(&out, hello->role);
	yab_wire_put32(&out, hello->index);
	yab_wire_put32(&out, hello->features);
	yab_wire_put32(&out, hello->number);
	yab_wire_put(&out, hello->token, YAB_WIRE_TOKEN_SIZE);
}

enum yab_wire_verdict yab_wire_hello_decode(const uint8_t in[YAB_WIRE_HELLO_SIZE],
					    struct yab_wire_hello *hello)
{
	memset(hello, 0, sizeof(*hello));
	if (memcmp(in, YAB_WIRE_MAGIC, YAB_WIRE_MAGIC_SIZE))
		return YAB_WIRE_NOT_YABUSAME;
	in += YAB_WIRE_MAGIC_SIZE;
	/* What follows the version is this version's business only. */
	hello->version = yab_wire_get16(&in);
	if (hello->version != YAB_WIRE_VERSION)
		return YAB_WIRE_OTHER_VERSION;
	hello->role = yab_wire_get16(&in);
	hello->index = yab_wire_get32(&in);
	hello->features = yab_wire_get32(&in);
	hello->number = yab_wire_get32(&in);
	yab_wire_get(&in, hello->token, YAB_WIRE_TOKEN_SIZE);
	if (hello->role < YAB_WIRE_CONTROL || hello->role > YAB_WIRE_BULK ||
	    hello->index >= (hello->role == YAB_WIRE_BULK ? YAB_WIRE_BULKS_MAX : 1))
		return YAB_WIRE_MALFORMED;
	return YAB_WIRE_OK;
}

void yab_wire_header_encode(uint8_t out[YAB_WIRE_HEADER_SIZE], const struct yab_wire_header *header)
{
	yab_wire_put16(&out, header->type);
	yab_wire_put16(&out, header->flags);
	yab_wire_put32(&out, header->length);
	yab_wire_put64(&out, header->page);
	yab_wire_put64(&out, header->count);
}

static const struct yab_wire_rule *yab_wire_rule(uint16_t type, enum yab_wire_role role)
{
	const struct yab_wire_rule *rule;

	for (rule = yab_wire_rules; rule->type; rule++)
		if (rule->type == type && (role == YAB_WIRE_CONTROL ? rule->control : rule->pages))
			return rule;
	return NULL;
}

uint64_t yab_wire_chunks(uint64_t pages)
{
	return pages / YAB_WIRE_CHUNK_PAGES + !!(pages % YAB_WIRE_CHUNK_PAGES);
}

/* Whole chunks, of which only the region's last may be a short one. */
static bool yab_wire_names_chunks(const struct yab_wire_header *header, uint64_t pages)
{
	const uint64_t end = header->page + header->count;

	if (header->page % YAB_WIRE_CHUNK_PAGES || (end % YAB_WIRE_CHUNK_PAGES && end != pages) ||
	    yab_wire_chunks(header->count) > YAB_WIRE_SUMS_MAX)
		return false;
	return header->type == YAB_WIRE_SUM ||
	       header->length == yab_wire_chunks(header->count) * YAB_WIRE_SUM_SIZE;
}

enum yab_wire_verdict yab_wire_header_decode(const uint8_t in[YAB_WIRE_HEADER_SIZE],
					     enum yab_wire_role role, uint64_t pages,
					     struct yab_wire_header *header)
{
	const struct yab_wire_rule *rule;

	header->type = yab_wire_get16(&in);
	header->flags = yab_wire_get16(&in);
	header->length = yab_wire_get32(&in);
	header->page = yab_wire_get64(&in);
	header->count = yab_wire_get64(&in);

	rule = yab_wire_rule(header->type, role);
	if (!rule || header->flags)
		return YAB_WIRE_MALFORMED;
	if (header->length < rule->length_min || header->length > rule->length_max)
		return YAB_WIRE_MALFORMED;
	if (!rule->names_pages)
		return header->page || header->count ? YAB_WIRE_MALFORMED : YAB_WIRE_OK;
	/* Written as subtractions: page + count may overflow. */
	if (!header->count || header->page >= pages || header->count > pages - header->page)
		return YAB_WIRE_MALFORMED;
	if ((header->type == YAB_WIRE_REQUEST || header->type == YAB_WIRE_PAGES) &&
	    header->count > YAB_WIRE_PAGES_MAX)
		return YAB_WIRE_MALFORMED;
	if (header->type == YAB_WIRE_PAGES && header->length != header->count * YAB_WIRE_PAGE_SIZE)
		return YAB_WIRE_MALFORMED;
	/* A pack that is not smaller is sent as PAGES. */
	if (header->type == YAB_WIRE_PACKED &&
	    (role != YAB_WIRE_BULK || header->count > YAB_WIRE_PACK_PAGES ||
	     header->length >= header->count * YAB_WIRE_PAGE_SIZE))
		return YAB_WIRE_MALFORMED;
	if ((header->type == YAB_WIRE_SUM || header->type == YAB_WIRE_SUMMED) &&
	    !yab_wire_names_chunks(header, pages))
		return YAB_WIRE_MALFORMED;
	return YAB_WIRE_OK;
}

const char *yab_wire_role_name(enum yab_wire_role role)
{
	switch (role) {
	case YAB_WIRE_CONTROL:
		return "control";
	case YAB_WIRE_URGENT:
		return "urgent";
	case YAB_WIRE_BULK:
		return "bulk";
	}
	return "unknown";
}

enum yab_wire_role yab_wire_role_named(const char *name)
{
	enum yab_wire_role role = YAB_WIRE_BULK;

	while (role > YAB_WIRE_CONTROL && (!name || strcmp(name, yab_wire_role_name(role))))
		role--;
	return role;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "finding.h"
#include "wire.h"

/* @name of @statistics, 0 to @most. */
static uint64_t yab_finding_number(json_t *statistics, const char *name, uint64_t most)
{
	const json_int_t value = json_integer_value(json_object_get(statistics, name));

	if (value <= 0)
		return 0;
	return (uint64_t)value < most ? (uint64_t)value : most;
}

void yab_finding_read(json_t *statistics, uint64_t pages, struct yab_finding *finding)
{
	uint64_t left = yab_wire_chunks(pages);

	/* What differs comes first: nothing that is said beside it makes it less. */
	finding->different = yab_finding_number(statistics, "different_chunks", left);
	left -= finding->different;
	finding->unverifiable = yab_finding_number(statistics, "unverifiable_chunks", left);
	left -= finding->unverifiable;
	finding->verified = yab_finding_number(statistics, "verified_chunks", left);
	finding->page = yab_finding_number(statistics, "different_page", pages);
}

int yab_finding_write(json_t *statistics, const struct yab_finding *finding)
{
	return json_object_set_new(statistics, "verified_chunks",
				   json_integer((json_int_t)finding->verified)) < 0 ||
	       json_object_set_new(statistics, "unverifiable_chunks",
				   json_integer((json_int_t)finding->unverifiable)) < 0 ||
	       json_object_set_new(statistics, "different_chunks",
				   json_integer((json_int_t)finding->different)) < 0 ||
	       json_object_set_new(statistics, "different_page",
				   json_integer((json_int_t)finding->page)) < 0 ? -1 : 0;
}

void yab_finding_expect(json_t *statistics, uint64_t pages, struct yab_finding *finding)
{
	finding->unverifiable = yab_wire_chunks(pages) - finding->different - finding->verified;
	if (json_is_object(statistics))
		json_object_set_new(statistics, "unverifiable_chunks",
				    json_integer((json_int_t)finding->unverifiable));
}

bool yab_finding_tell(const struct yab_finding *finding, char *text, size_t text_size)
{
	const uint64_t chunks = finding->verified + finding->unverifiable + finding->different;

	if (finding->different)
		snprintf(text, text_size,
			 "verify: %llu of %llu chunks of %d pages differ, first at page %llu",
			 (unsigned long long)finding->different, (unsigned long long)chunks,
			 YAB_WIRE_CHUNK_PAGES, (unsigned long long)finding->page);
	else if (finding->unverifiable)
		snprintf(text, text_size,
			 "verify: %llu of %llu chunks of %d pages could not be compared, for their checksums went with a worker or a supervisor; the others are right",
			 (unsigned long long)finding->unverifiable, (unsigned long long)chunks,
			 YAB_WIRE_CHUNK_PAGES);
	else
		return false;
	return true;
}

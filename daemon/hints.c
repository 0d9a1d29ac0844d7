// SPDX-License-Identifier: GPL-2.0-or-later
#include "hints.h"

json_t *yab_hints_json(const struct yab_hints *hints, uint64_t most)
{
	json_t *json = json_array();

	for (unsigned int i = 0; i < hints->count && i < most; i++) {
		json_t *range = json_pack("[I, I]", (json_int_t)hints->ranges[i].page,
					  (json_int_t)hints->ranges[i].count);

		/* It takes NULL for either. */
		if (json_array_append_new(json, range) < 0) {
			json_decref(json);
			return NULL;
		}
	}
	return json;
}

static int yab_hint_parse(struct yab_hint *hint, json_t *json, uint64_t pages)
{
	json_t *page = json_array_get(json, 0), *count = json_array_get(json, 1);

	if (json_array_size(json) != 2 || !json_is_integer(page) || !json_is_integer(count) ||
	    json_integer_value(page) < 0 || json_integer_value(count) < 1)
		return -1;
	hint->page = (uint64_t)json_integer_value(page);
	hint->count = (uint64_t)json_integer_value(count);
	return hint->page < pages && hint->count <= pages - hint->page ? 0 : -1;
}

int yab_hints_parse(struct yab_hints *hints, json_t *json, uint64_t pages)
{
	json_t *range;
	size_t i;

	hints->count = 0;
	if (!json_is_array(json) || json_array_size(json) > YAB_HINTS_MAX)
		return -1;
	json_array_foreach(json, i, range)
		if (yab_hint_parse(&hints->ranges[i], range, pages) < 0)
			return -1;
	hints->count = (unsigned int)json_array_size(json);
	return 0;
}

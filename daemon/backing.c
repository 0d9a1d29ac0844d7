// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "backing.h"

void yab_backing_free(struct yab_backing *backing)
{
	if (backing)
		backing->ops->free(backing);
}

const uint8_t *yab_backing_bytes(struct yab_backing *backing, uint64_t at, size_t size)
{
	if (at >= backing->at && at + size <= backing->at + backing->size)
		return backing->block + (at - backing->at);
	backing->size = 0;
	if (backing->ops->read(backing, backing->block, at, size) < 0)
		return NULL;
	backing->at = at;
	backing->size = size;
	return backing->block;
}

/* Reads @page, and those behind it that are data as far as is known. */
static int yab_backing_read_block(struct yab_backing *backing, struct yab_backing_view *view,
				  uint64_t page)
{
	static const uint8_t zeros[YAB_WIRE_PAGE_SIZE];
	const uint8_t *bytes;
	uint64_t end = page + 1;

	while (end < view->end && end < page + YAB_BACKING_BLOCK_PAGES &&
	       !view->absent[end - view->first])
		end++;
	bytes = yab_backing_bytes(backing, page * YAB_WIRE_PAGE_SIZE,
				  (end - page) * YAB_WIRE_PAGE_SIZE);
	if (!bytes)
		return -1;
	view->block = page;
	view->block_end = end;
	view->zeros = 0;
	for (uint64_t i = 0; i < end - page; i++)
		if (!memcmp(bytes + i * YAB_WIRE_PAGE_SIZE, zeros, sizeof(zeros)))
			view->zeros |= 1U << i;
	return 0;
}

/* @page is one of those that the view has looked at. */
static int yab_backing_is_zero(struct yab_backing *backing, struct yab_backing_view *view,
			       uint64_t page, bool *zero)
{
	*zero = true;
	if (page >= view->hole && page < view->hole_end)
		return 0;
	if (view->absent[page - view->first]) {
		view->hole = page;
		if (backing->ops->hole_end(backing, page, &view->hole_end) < 0) {
			view->hole_end = page;
			return -1;
		}
		if (page < view->hole_end)
			return 0;
	}
	if ((page < view->block || page >= view->block_end) &&
	    yab_backing_read_block(backing, view, page) < 0)
		return -1;
	*zero = view->zeros >> (page - view->block) & 1;
	return 0;
}

int yab_backing_run(struct yab_backing *backing, struct yab_backing_view *view, uint64_t page,
		    uint64_t count, uint64_t most, bool *zero, uint64_t *run)
{
	bool other;

	*zero = true;
	*run = count;
	/* In a large hole nobody asks the kernel. */
	if (page >= view->hole && page + count <= view->hole_end)
		return 0;
	if (page < view->first || page + count > view->end) {
		backing->ops->look(backing, page, count, view->absent);
		view->first = page;
		view->end = page + count;
	}
	if (yab_backing_is_zero(backing, view, page, zero) < 0)
		return -1;
	if (!*zero && count > most)
		count = most;
	for (*run = 1; *run < count; (*run)++) {
		if (yab_backing_is_zero(backing, view, page + *run, &other) < 0)
			return -1;
		if (other != *zero)
			break;
	}
	return 0;
}

int yab_backing_seek_hole(struct yab_backing *backing, uint64_t *page, uint64_t end,
			  uint64_t least, uint64_t *hole_end)
{
	uint8_t absent[YAB_BACKING_LOOK];
	const uint64_t first = *page;
	uint64_t found;

	backing->ops->look(backing, first, end - first, absent);
	while (*page < end) {
		if (!absent[*page - first]) {
			(*page)++;
			continue;
		}
		if (backing->ops->hole_end(backing, *page, &found) < 0)
			return -1;
		if (found >= *page + least) {
			*hole_end = found;
			return 0;
		}
		*page = found > *page ? found : *page + 1;
	}
	*page = end;
	*hole_end = end;
	return 0;
}

ssize_t yab_backing_send(struct yab_backing *backing, struct yab_socket *socket, uint64_t at,
			 size_t size)
{
	const uint8_t *bytes;
	size_t left;

	if (backing->ops->send) {
		const ssize_t n = backing->ops->send(backing, socket, at, size);

		if (n >= 0 || errno != EOPNOTSUPP)
			return n;
	}
	/* What is left of the block goes first, so that nothing is read twice. */
	if (at >= backing->at && at < backing->at + backing->size) {
		left = (size_t)(backing->at + backing->size - at);
		if (size > left)
			size = left;
	} else if (size > YAB_BACKING_BLOCK) {
		size = YAB_BACKING_BLOCK;
	}
	bytes = yab_backing_bytes(backing, at, size);
	return bytes ? yab_socket_send(socket, bytes, size, false) : -1;
}

const char *yab_backing_reason(const struct yab_backing *backing, int error)
{
	if (error == EIO && backing->unread[0])
		return backing->unread;
	return error == ENODATA || error == ESRCH ? backing->ops->gone : yab_socket_reason(error);
}

uint64_t yab_backing_best_run(const struct yab_backing *backing, const struct yab_socket *socket)
{
	return backing->ops->send && yab_socket_sends_files(socket) ? YAB_BACKING_RUN :
								       YAB_BACKING_BLOCK_PAGES;
}

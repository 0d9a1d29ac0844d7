// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "budget.h"
#include "clock.h"
#include "intake.h"
#include "log.h"
#include "pager.h"
#include "policy.h"

/*
 * Bytes that a connection receives before the event loop looks for other work. Bulk:
 * what one recvmsg() takes, some 50 us of copying; an urgent page waits no longer than
 * that. Urgent: only so that faults and messages are seen, too.
 */
#define YAB_PAGER_BULK_SLICE	YAB_STORE_BUFFER
#define YAB_PAGER_URGENT_SLICE	1048576
/* Faults that are read at once. */
#define YAB_PAGER_FAULTS	128
/* After a declaration failed for lack of memory. */
#define YAB_PAGER_RETRY_US	10000

#if YAB_PAGER_RUN > YAB_WIRE_PAGES_MAX
#error "a run does not fit into a request"
#endif

/* One urgent connection, and the bulk ones. */
#define YAB_PAGER_INTAKES	(1 + YAB_WIRE_BULKS_MAX)

enum yab_pager_state {
	YAB_PAGER_NEW,
	YAB_PAGER_FILLING,
	YAB_PAGER_STALLED,	/* a declaration must be tried again: receives nothing */
	YAB_PAGER_VERIFYING,	/* every page is present: are they the source's? */
	YAB_PAGER_COMPLETE,	/* only late duplicates still come */
	YAB_PAGER_FAILED,
	YAB_PAGER_STATES,
};

static const bool yab_pager_moves[YAB_PAGER_STATES][YAB_PAGER_STATES] = {
	[YAB_PAGER_NEW] = { [YAB_PAGER_FILLING] = true },
	[YAB_PAGER_FILLING] = { [YAB_PAGER_STALLED] = true, [YAB_PAGER_VERIFYING] = true,
				[YAB_PAGER_COMPLETE] = true, [YAB_PAGER_FAILED] = true },
	[YAB_PAGER_VERIFYING] = { [YAB_PAGER_COMPLETE] = true, [YAB_PAGER_FAILED] = true },
	[YAB_PAGER_STALLED] = { [YAB_PAGER_FILLING] = true, [YAB_PAGER_FAILED] = true },
};

struct yab_pager {
	struct event_base *base;
	const char *vm;
	const struct yab_pager_ops *ops;
	void *arg;

	enum yab_pager_state state;
	struct yab_store store;
	struct yab_policy *policy;	/* which page next, in bulk */
	bool sweeps;		/* what nobody waits for is asked for, too */
	uint64_t surveyed;	/* pages before this one: holes in them are known, or asked for */
	struct yab_intake *surveyor;	/* on which the survey is under way */
	struct yab_verification *verification;	/* NULL: nobody asked for one */
	struct yab_intake *verifier;	/* on which it is under way */
	struct yab_intake intakes[YAB_PAGER_INTAKES];	/* the urgent one first */
	unsigned int fresh;	/* bit N: intakes[N] connected since a verifier was blamed */
	struct yab_window window;	/* of all bulk connections together */
	struct yab_budget budget;
	struct yab_codec *codec;	/* NULL: no packs come */
	uint8_t *packs;			/* for one of each bulk connection */
	struct event fault;
	struct event retry;	/* of a declaration */
	struct event refill;	/* of the budget */
};

static bool yab_pager_move(struct yab_pager *pager, enum yab_pager_state state)
{
	if (!yab_pager_moves[pager->state][state]) {
		yab_log_error(pager->vm, "bug: pager moves from state %d to %d", pager->state,
			      state);
		return false;
	}
	pager->state = state;
	return true;
}

/*
 * A network that goes takes all connections, one after the other, and has nothing to do with
 * what was asked on them. So the question is to blame only where the connection came after
 * the one that was blamed last: the way between the hosts was there again.
 */
static void yab_pager_lose_verifier(struct yab_pager *pager)
{
	const unsigned int bit = 1U << (pager->verifier - pager->intakes);
	const bool blamed = pager->fresh & bit;
	uint64_t page;

	pager->verifier = NULL;
	if (blamed)
		pager->fresh = 0;
	if (yab_verification_restart(pager->verification, blamed, &page))
		yab_log_warn(pager->vm,
			     "unverifiable: the 2 MiB from page %llu, each connection that asks for their sum is lost",
			     (unsigned long long)page);
}

/* What was asked about all pages on @intake will not be answered. */
static void yab_pager_drop_questions(struct yab_pager *pager, const struct yab_intake *intake)
{
	if (pager->surveyor == intake)
		pager->surveyor = NULL;
	if (pager->verifier == intake)
		yab_pager_lose_verifier(pager);
}

static void yab_pager_on_lost(struct yab_intake *intake, const char *error)
{
	const char *role = yab_wire_role_name(intake->socket.role);
	struct yab_pager *pager = intake->owner;

	yab_pager_drop_questions(pager, intake);
	if (pager->state == YAB_PAGER_COMPLETE) {
		yab_log_debug(pager->vm, "%s connection %u ended: %s", role, intake->index, error);
		return;
	}
	yab_log_warn(pager->vm, "%s connection %u lost: %s", role, intake->index, error);
	pager->ops->lost(intake->socket.role, intake->index, error, pager->arg);
}

static void yab_pager_fail(struct yab_pager *pager, const char *what, int error)
{
	char text[128];

	if (!yab_pager_move(pager, YAB_PAGER_FAILED))
		return;
	if (pager->store.pager_fd >= 0)
		event_del(&pager->fault);
	event_del(&pager->retry);
	event_del(&pager->refill);
	for (unsigned int i = 0; i < YAB_PAGER_INTAKES; i++)
		yab_intake_close(&pager->intakes[i]);
	snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
	yab_log_error(pager->vm, "%s", text);
	pager->ops->failed(text, pager->arg);
}

/*
 * While a declaration is to be tried again, nothing is received, unless there is no
 * memory even for the timer: then data that comes in makes for the retries.
 */
static bool yab_pager_receives(const struct yab_pager *pager)
{
	return pager->state != YAB_PAGER_STALLED || !evtimer_pending(&pager->retry, NULL);
}

static void yab_pager_await_data(struct yab_pager *pager)
{
	for (unsigned int i = 0; i < YAB_PAGER_INTAKES; i++)
		yab_intake_await_data(&pager->intakes[i], yab_pager_receives(pager));
}

/*
 * What cannot be declared must not pile up. The ranges stay, and their pages stay
 * not present, so nothing is decided about them meanwhile.
 */
static void yab_pager_stall(struct yab_pager *pager)
{
	static const struct timeval retry = { .tv_usec = YAB_PAGER_RETRY_US };

	if (pager->state == YAB_PAGER_FILLING) {
		yab_pager_move(pager, YAB_PAGER_STALLED);
		yab_log_warn(pager->vm, "declaring pages: %s; trying again", strerror(errno));
	}
	evtimer_add(&pager->retry, &retry);
	yab_window_disturb(&pager->window);
	yab_pager_await_data(pager);
}

static void yab_pager_note_verified(struct yab_pager *pager)
{
	const struct yab_verification_result *result =
		yab_verification_result(pager->verification);
	struct yab_store_statistics *statistics = &pager->store.statistics;

	statistics->verified_chunks = result->verified;
	statistics->unverifiable_chunks = result->unverifiable;
	statistics->different_chunks = result->different;
	statistics->different_page = result->different_page;
}

static void yab_pager_check_complete(struct yab_pager *pager)
{
	if (pager->state == YAB_PAGER_FILLING &&
	    pager->store.map.present == pager->store.map.pages) {
		event_del(&pager->refill);
		yab_pager_move(pager, pager->verification ? YAB_PAGER_VERIFYING :
							    YAB_PAGER_COMPLETE);
	} else if (pager->state == YAB_PAGER_VERIFYING &&
		   yab_verification_is_done(pager->verification)) {
		yab_pager_note_verified(pager);
		yab_pager_move(pager, YAB_PAGER_COMPLETE);
	} else {
		return;
	}
	if (pager->state == YAB_PAGER_COMPLETE)
		pager->ops->complete(pager->arg);
}

/* Declares what is whole. False if not everything was declared. */
static bool yab_pager_flush(struct yab_pager *pager)
{
	if (yab_store_flush(&pager->store) < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ENOMEM)
			yab_pager_stall(pager);
		else
			yab_pager_fail(pager, "declaring pages", errno);
		return false;
	}
	if (pager->state == YAB_PAGER_STALLED)
		yab_pager_move(pager, YAB_PAGER_FILLING);
	yab_pager_check_complete(pager);
	return true;
}

/* Asks for the pages that somebody waits for and that were not asked for on @intake. */
static void yab_pager_ask_unmet(struct yab_pager *pager, struct yab_intake *intake)
{
	uint64_t page, count;

	while (!yab_intake_is_full(intake) &&
	       yab_pagemap_next_unmet(&pager->store.map, intake->socket.role, YAB_PAGER_RUN, &page,
				      &count))
		yab_intake_ask(intake, page, count, YAB_PAGER_RUN);
}

/* The open bulk connection with the least on order, or NULL. */
static struct yab_intake *yab_pager_idlest(struct yab_pager *pager)
{
	struct yab_intake *idlest = NULL;

	for (unsigned int i = 1; i < YAB_PAGER_INTAKES; i++) {
		struct yab_intake *bulk = &pager->intakes[i];

		if (yab_intake_is_open(bulk) &&
		    (!idlest || bulk->requests.pages < idlest->requests.pages))
			idlest = bulk;
	}
	return idlest;
}

/*
 * Before pages are asked for, the holes among them: a region that is mostly holes
 * would take a request for every few pages of nothing.
 */
static void yab_pager_survey(struct yab_pager *pager, struct yab_intake *bulk)
{
	if (pager->surveyor || pager->surveyed >= pager->store.map.pages ||
	    yab_intake_is_full(bulk))
		return;
	yab_requests_add_question(&bulk->requests, YAB_WIRE_SURVEY, pager->surveyed,
				  pager->store.map.pages - pager->surveyed);
	pager->surveyor = bulk;
}

/* The budget is spent: go on when there is some. */
static void yab_pager_await_budget(struct yab_pager *pager)
{
	const struct timeval pause = yab_clock_pause(yab_budget_wait_ms(&pager->budget));

	yab_window_disturb(&pager->window);
	if (!evtimer_pending(&pager->refill, NULL))
		evtimer_add(&pager->refill, &pause);
}

static void yab_pager_ask_idle(struct yab_pager *pager)
{
	const struct yab_window *window = &pager->window;
	const uint64_t run = yab_window_run(window);
	struct yab_intake *bulk;
	uint64_t page, count;

	while (pager->sweeps && (bulk = yab_pager_idlest(pager)) && !yab_intake_is_full(bulk)) {
		yab_pager_survey(pager, bulk);
		/* Full runs only, or an answer of a page would be followed by a request of one. */
		if (window->on_order && window->on_order + run > window->width)
			break;
		if (!yab_budget_allows(&pager->budget, yab_clock_ns())) {
			yab_pager_await_budget(pager);
			break;
		}
		if (!yab_policy_next(pager->policy, &pager->store.map, run, &page, &count))
			break;
		yab_intake_ask(bulk, page, count, run);
	}
	pager->store.statistics.prefetched_pages =
		yab_policy_statistics(pager->policy)->prefetched;
	pager->store.statistics.hinted_pages = yab_policy_statistics(pager->policy)->hinted;
}

/* Nobody waits for pages any more: one connection is enough, whichever there is. Or NULL. */
static struct yab_intake *yab_pager_choose_verifier(struct yab_pager *pager)
{
	struct yab_intake *urgent = &pager->intakes[0];
	struct yab_intake *bulk = yab_pager_idlest(pager);

	return bulk || !yab_intake_is_open(urgent) ? bulk : urgent;
}

static void yab_pager_ask_sums(struct yab_pager *pager)
{
	struct yab_intake *intake;
	uint64_t page, count;

	/* Where writing loses it, no event of another connection would have that one asked. */
	do {
		intake = pager->verifier ? pager->verifier : yab_pager_choose_verifier(pager);
		if (!intake)
			return;
		pager->verifier = intake;
		while (!yab_intake_is_full(intake) &&
		       yab_verification_next(pager->verification, &page, &count))
			yab_requests_add_question(&intake->requests, YAB_WIRE_SUM, page, count);
		yab_intake_write(intake);
	} while (!pager->verifier);
}

/*
 * Keeps all connections busy. Called after everything that may change what is to be
 * asked for.
 */
static void yab_pager_pump(struct yab_pager *pager)
{
	struct yab_intake *urgent = &pager->intakes[0];
	struct yab_intake *bulk;

	if (pager->state == YAB_PAGER_VERIFYING) {
		yab_pager_ask_sums(pager);
		/* With the last chunk given up there is no answer to wait for. */
		yab_pager_check_complete(pager);
	}
	if (pager->state != YAB_PAGER_FILLING && pager->state != YAB_PAGER_STALLED)
		return;
	if (yab_intake_is_open(urgent)) {
		yab_pager_ask_unmet(pager, urgent);
		yab_intake_write(urgent);
	}
	/* Looked up again: the urgent connection may have been lost just now. */
	bulk = yab_pager_idlest(pager);
	if (bulk && !yab_intake_is_open(urgent))
		yab_pager_ask_unmet(pager, bulk);
	yab_pager_ask_idle(pager);
	for (unsigned int i = 1; i < YAB_PAGER_INTAKES; i++)
		yab_intake_write(&pager->intakes[i]);
}

/* How far the survey got is in the answer to it. */
static void yab_pager_see_survey(struct yab_pager *pager)
{
	struct yab_intake *surveyor = pager->surveyor;

	if (!surveyor || surveyor->surveyed <= pager->surveyed)
		return;
	pager->surveyed = surveyor->surveyed;
	pager->surveyor = NULL;
}

static void yab_pager_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_intake *intake = arg;
	struct yab_pager *pager = intake->owner;
	const bool urgent = intake->socket.role == YAB_WIRE_URGENT;
	const uint64_t *data_pages = &pager->store.statistics.data_pages;
	size_t left = urgent ? YAB_PAGER_URGENT_SLICE : YAB_PAGER_BULK_SLICE;
	uint64_t before, work;
	size_t n;

	(void)fd;
	(void)what;
	if (pager->state == YAB_PAGER_STALLED && !yab_pager_flush(pager))
		return;
	while (left && yab_intake_is_open(intake)) {
		/* Somebody waits for urgent ones; bulk pages are declared together. */
		if (((urgent && pager->store.range_count) || !yab_store_has_room(&pager->store)) &&
		    !yab_pager_flush(pager))
			return;
		before = *data_pages;
		n = yab_intake_receive(intake);
		if (!n)
			break;
		/* A pack takes the time of its pages. */
		work = (*data_pages - before) * YAB_WIRE_PAGE_SIZE;
		if (work < n)
			work = n;
		if (!urgent)
			yab_budget_spend(&pager->budget, n);
		left -= work < left ? work : left;
	}
	yab_pager_see_survey(pager);
	if (!yab_pager_flush(pager))
		return;
	yab_intake_go_on(intake);
	yab_pager_pump(pager);
}

static void yab_pager_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_intake *intake = arg;

	(void)fd;
	(void)what;
	yab_intake_write(intake);
	/* What was asked for on it is asked for on another; that one may have been idle. */
	if (!yab_intake_is_open(intake))
		yab_pager_pump(intake->owner);
}

static void yab_pager_on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct yab_pager *pager = arg;

	(void)fd;
	(void)what;
	if (!yab_pager_flush(pager))
		return;
	yab_pager_await_data(pager);
	for (unsigned int i = 0; i < YAB_PAGER_INTAKES; i++)
		yab_intake_go_on(&pager->intakes[i]);
	yab_pager_pump(pager);
}

static void yab_pager_on_refill(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_pager_pump(arg);
}

static void yab_pager_take_fault(struct yab_pager *pager, const struct yab_fault *fault)
{
	struct yab_intake *urgent = &pager->intakes[0];
	struct yab_store *store = &pager->store;

	if (fault->page >= store->map.pages) {
		yab_log_warn(pager->vm, "bug: fault on page %llu of %llu",
			     (unsigned long long)fault->page,
			     (unsigned long long)store->map.pages);
		return;
	}
	store->statistics.faults++;
	if (!yab_pagemap_want(&store->map, fault->page))
		return;
	yab_touches_note(&store->touches, fault->page, fault->time_ns);
	yab_policy_touch(pager->policy, fault->page);
	store->statistics.wasted_pages = yab_policy_statistics(pager->policy)->wasted;
	/*
	 * In the order of the faults. One that was asked for in bulk is asked for again:
	 * it must not wait behind what else is under way there. What finds no room stays
	 * wanted in the pagemap, for yab_pager_pump().
	 */
	if (yab_intake_is_open(urgent) && !yab_intake_is_full(urgent) &&
	    !yab_pagemap_is_asked(&store->map, fault->page, YAB_WIRE_URGENT))
		yab_intake_ask(urgent, fault->page, 1, YAB_PAGER_RUN);
}

static void yab_pager_on_fault(evutil_socket_t fd, short what, void *arg)
{
	struct yab_fault faults[YAB_PAGER_FAULTS];
	struct yab_pager *pager = arg;
	ssize_t n;

	(void)what;
	n = read(fd, faults, sizeof(faults));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (size_t)n % sizeof(faults[0])) {
		yab_pager_fail(pager, "reading faults", n < 0 ? errno : EPROTO);
		return;
	}
	if (!n) {
		yab_log_debug(pager->vm, "no more faults will come");
		event_del(&pager->fault);
		return;
	}
	for (size_t i = 0; i < (size_t)n / sizeof(faults[0]); i++)
		yab_pager_take_fault(pager, &faults[i]);
	yab_pager_pump(pager);
}

struct yab_pager *yab_pager_new(struct event_base *base, const char *vm, int memory_fd,
				int pager_fd, uint64_t pages, const char *policy,
				const struct yab_pager_ops *ops, void *arg)
{
	struct yab_pager *pager = calloc(1, sizeof(*pager));
	int error;

	if (!pager)
		return NULL;
	pager->policy = yab_policy_new(policy, pages);
	if (!pager->policy)
		goto free_pager;
	if (yab_store_init(&pager->store, memory_fd, pager_fd, pages, ops->declare,
			   ops->present) < 0)
		goto free_pager;
	pager->base = base;
	pager->vm = vm;
	pager->ops = ops;
	pager->arg = arg;
	pager->state = YAB_PAGER_NEW;
	pager->sweeps = true;
	yab_window_init(&pager->window);
	for (unsigned int i = 0; i < YAB_PAGER_INTAKES; i++)
		yab_intake_init(&pager->intakes[i], i ? YAB_WIRE_BULK : YAB_WIRE_URGENT,
				i ? i - 1 : 0, &pager->store, i ? &pager->window : NULL,
				yab_pager_on_lost, pager);
	evtimer_assign(&pager->retry, base, yab_pager_on_retry, pager);
	evtimer_assign(&pager->refill, base, yab_pager_on_refill, pager);
	if (pager_fd >= 0) {
		event_assign(&pager->fault, base, pager_fd, EV_READ | EV_PERSIST,
			     yab_pager_on_fault, pager);
		event_priority_set(&pager->fault, YAB_PRIORITY_URGENT);
	}
	return pager;

free_pager:
	error = errno;
	yab_policy_free(pager->policy);
	free(pager);
	errno = error;
	return NULL;
}

int yab_pager_start(struct yab_pager *pager)
{
	if (pager->store.pager_fd >= 0 && event_add(&pager->fault, NULL) < 0) {
		errno = ENOMEM;
		return -1;
	}
	yab_pager_move(pager, YAB_PAGER_FILLING);
	yab_pager_check_complete(pager);
	return 0;
}

void yab_pager_free(struct yab_pager *pager)
{
	if (!pager)
		return;
	for (unsigned int i = 0; i < YAB_PAGER_INTAKES; i++)
		yab_intake_close(&pager->intakes[i]);
	if (pager->store.pager_fd >= 0)
		event_del(&pager->fault);
	event_del(&pager->retry);
	event_del(&pager->refill);
	yab_store_release(&pager->store);
	yab_verification_free(pager->verification);
	yab_codec_free(pager->codec);
	free(pager->packs);
	yab_policy_free(pager->policy);
	free(pager);
}

int yab_pager_verify(struct yab_pager *pager, int fd)
{
	pager->verification = yab_verification_new(fd, pager->store.map.pages);
	if (!pager->verification)
		return -1;
	yab_store_sum(&pager->store, yab_verification_checksums(pager->verification));
	for (unsigned int i = 0; i < YAB_PAGER_INTAKES; i++)
		yab_intake_verify(&pager->intakes[i], pager->verification);
	return 0;
}

int yab_pager_unpack(struct yab_pager *pager, enum yab_codec_kind kind)
{
	if (kind == YAB_CODEC_NONE)
		return 0;
	pager->packs = malloc((size_t)YAB_WIRE_BULKS_MAX * YAB_CODEC_PLAIN_MAX);
	if (!pager->packs)
		return -1;
	pager->codec = yab_codec_new(kind);
	if (!pager->codec) {
		free(pager->packs);
		pager->packs = NULL;
		errno = ENOMEM;
		return -1;
	}
	for (size_t i = 0; i < YAB_WIRE_BULKS_MAX; i++)
		yab_intake_unpack(&pager->intakes[1 + i], pager->codec,
				  pager->packs + i * YAB_CODEC_PLAIN_MAX);
	return 0;
}

int yab_pager_connect(struct yab_pager *pager, enum yab_wire_role role, unsigned int index,
		      int fd, SSL *ssl)
{
	struct yab_intake *intake;

	if (pager->state == YAB_PAGER_FAILED || index >= YAB_WIRE_BULKS_MAX) {
		SSL_free(ssl);
		close(fd);
		errno = ESHUTDOWN;
		return -1;
	}
	intake = &pager->intakes[role == YAB_WIRE_URGENT ? 0 : 1 + index];
	yab_pager_drop_questions(pager, intake);
	if (yab_intake_open(intake, pager->base, fd, ssl, yab_pager_on_readable,
			    yab_pager_on_writable) < 0)
		return -1;
	if (yab_socket_await_data(&intake->socket, yab_pager_receives(pager)) < 0) {
		yab_intake_close(intake);
		errno = ENOMEM;
		return -1;
	}
	pager->fresh |= 1U << (intake - pager->intakes);
	yab_pager_pump(pager);
	return 0;
}

void yab_pager_sweep(struct yab_pager *pager, bool on)
{
	pager->sweeps = on;
	yab_pager_pump(pager);
}

void yab_pager_limit(struct yab_pager *pager, uint64_t bandwidth)
{
	yab_budget_set(&pager->budget, bandwidth, yab_clock_ns());
	event_del(&pager->refill);
	yab_pager_pump(pager);
}

void yab_pager_hint(struct yab_pager *pager, const struct yab_hints *hints)
{
	/* The best last, which a policy takes for the newest. */
	for (unsigned int i = hints->count; i > 0; i--)
		yab_policy_hint(pager->policy, hints->ranges[i - 1].page,
				hints->ranges[i - 1].count);
	yab_pager_pump(pager);
}

bool yab_pager_is_complete(const struct yab_pager *pager)
{
	return pager->state == YAB_PAGER_VERIFYING || pager->state == YAB_PAGER_COMPLETE;
}

bool yab_pager_has_connections(const struct yab_pager *pager)
{
	for (unsigned int i = 0; i < YAB_PAGER_INTAKES; i++)
		if (yab_intake_is_open(&pager->intakes[i]))
			return true;
	return false;
}

const struct yab_store_statistics *yab_pager_statistics(const struct yab_pager *pager)
{
	return &pager->store.statistics;
}

const struct yab_histogram *yab_pager_latency(const struct yab_pager *pager, enum yab_wait wait)
{
	return &pager->store.waits[wait];
}

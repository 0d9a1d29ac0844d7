// SPDX-License-Identifier: GPL-2.0-or-later
#include "metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "histogram.h"
#include "log.h"
#include "version.h"

#define YAB_METRICS_TYPE	"application/openmetrics-text; version=1.0.0; charset=utf-8"
#define YAB_METRICS_IDLE_SECONDS	5
#define YAB_METRICS_HEADERS_MAX		8192
#define YAB_METRICS_BODY_MAX		1024	/* nobody should send any */

/*
 * A connection. libevent's server counts none and tells of their end only once there was
 * a request. So one that says nothing keeps its place until its time is over, and its
 * descriptor, too: the reference to its bufferevent holds that.
 */
struct yab_metrics_visit {
	LIST_ENTRY(yab_metrics_visit) link;
	struct yab_metrics *metrics;
	struct bufferevent *socket;
	struct event *deadline;
};

struct yab_metrics {
	struct event_base *base;
	struct yab_jobs *jobs;
	struct evhttp *http;
	struct evconnlistener *listener;
	LIST_HEAD(, yab_metrics_visit) visits;
	unsigned int visits_count;
};

/* While it is written. */
struct yab_metrics_text {
	struct evbuffer *out;
	bool failed;		/* no memory */
	json_t *jobs;		/* array of yab_job_json() */
};

enum yab_metrics_kind {
	YAB_METRICS_GAUGE,
	YAB_METRICS_COUNTER,
	YAB_METRICS_HISTOGRAM,
	YAB_METRICS_KINDS,
};

static const char * const yab_metrics_kinds[YAB_METRICS_KINDS] = {
	[YAB_METRICS_GAUGE] = "gauge",
	[YAB_METRICS_COUNTER] = "counter",
	[YAB_METRICS_HISTOGRAM] = "histogram",
};

/* A member of a side's statistics (worker.h). A unit is the end of its family's name. */
static const struct yab_metrics_family {
	const char *member;
	const char *name;
	enum yab_metrics_kind kind;
	const char *unit;
	const char *help;
} yab_metrics_families[] = {
	{ "present", "yabusame_present_pages", YAB_METRICS_GAUGE, "pages",
	  "Pages of the VM that are on the destination." },
	{ "bytes", "yabusame_page_bytes", YAB_METRICS_COUNTER, "bytes",
	  "Content of pages that went over the network." },
	{ "data_pages", "yabusame_data_pages", YAB_METRICS_COUNTER, "pages",
	  "Pages that went with their content." },
	{ "zero_pages", "yabusame_zero_pages", YAB_METRICS_COUNTER, "pages",
	  "Pages that went as zero." },
	{ "packed_pages", "yabusame_packed_pages", YAB_METRICS_COUNTER, "pages",
	  "Those of the pages with content that went compressed." },
	{ "packed_bytes", "yabusame_packed_bytes", YAB_METRICS_COUNTER, "bytes",
	  "What was sent of them." },
	{ "urgent_pages", "yabusame_urgent_pages", YAB_METRICS_COUNTER, "pages",
	  "Pages on the urgent connection." },
	{ "bulk_pages", "yabusame_bulk_pages", YAB_METRICS_COUNTER, "pages",
	  "Pages on bulk connections." },
	{ "duplicate_pages", "yabusame_duplicate_pages", YAB_METRICS_COUNTER, "pages",
	  "Pages that arrived when they were there already." },
	{ "prefetched_pages", "yabusame_prefetched_pages", YAB_METRICS_COUNTER, "pages",
	  "Pages that were asked for early because of a touch nearby." },
	{ "wasted_pages", "yabusame_wasted_pages", YAB_METRICS_COUNTER, "pages",
	  "Those of them that no later touch bore out." },
	{ "hinted_pages", "yabusame_hinted_pages", YAB_METRICS_COUNTER, "pages",
	  "Pages that were asked for early because the guest had written them of late." },
	{ "faults", "yabusame_faults", YAB_METRICS_COUNTER, NULL,
	  "Touches of missing pages." },
	{ "connections_lost", "yabusame_connections_lost", YAB_METRICS_COUNTER, NULL,
	  "Page connections that were lost, and made anew." },
	{ "workers_replaced", "yabusame_workers_replaced", YAB_METRICS_COUNTER, NULL,
	  "Worker processes that were lost, and replaced." },
	{ "fault_us", "yabusame_fault_latency_seconds", YAB_METRICS_HISTOGRAM, "seconds",
	  "From the first touch of a missing page until it was there." },
	{ "queue_us", "yabusame_fault_queue_seconds", YAB_METRICS_HISTOGRAM, "seconds",
	  "Of that: until the request was written to its connection." },
	{ "round_trip_us", "yabusame_fault_round_trip_seconds", YAB_METRICS_HISTOGRAM, "seconds",
	  "Of that: from the request to the header of the answer, network and source." },
	{ "service_us", "yabusame_fault_source_seconds", YAB_METRICS_HISTOGRAM, "seconds",
	  "From reading an urgent request on the source to the header of its answer." },
	{ "install_us", "yabusame_fault_install_seconds", YAB_METRICS_HISTOGRAM, "seconds",
	  "Of a fault: from the header of the answer until the page was there." },
	{ NULL, NULL, YAB_METRICS_GAUGE, NULL, NULL },
};

static void __attribute__((format(printf, 2, 3)))
yab_metrics_print(struct yab_metrics_text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (evbuffer_add_vprintf(text->out, format, args) < 0)
		text->failed = true;
	va_end(args);
}

/* @separator NAME="VALUE", with what must be escaped in a value. */
static void yab_metrics_label(struct yab_metrics_text *text, const char *separator,
			      const char *name, const char *value)
{
	yab_metrics_print(text, "%s%s=\"", separator, name);
	for (; *value; value++) {
		if (*value == '\n')
			yab_metrics_print(text, "\\n");
		else if (*value == '"' || *value == '\\')
			yab_metrics_print(text, "\\%c", *value);
		else
			yab_metrics_print(text, "%c", *value);
	}
	yab_metrics_print(text, "\"");
}

static void yab_metrics_begin(struct yab_metrics_text *text, const char *name, const char *kind,
			      const char *unit, const char *help)
{
	yab_metrics_print(text, "# TYPE %s %s\n", name, kind);
	if (unit)
		yab_metrics_print(text, "# UNIT %s %s\n", name, unit);
	yab_metrics_print(text, "# HELP %s %s\n", name, help);
}

/* NAME SUFFIX {vm, direction[, @label]: what follows may be more labels and "}". */
static void yab_metrics_sample(struct yab_metrics_text *text, const char *name,
			       const char *suffix, json_t *job, const char *label,
			       const char *value)
{
	const char *vm = json_string_value(json_object_get(job, "vm"));
	const char *direction = json_string_value(json_object_get(job, "direction"));

	yab_metrics_print(text, "%s%s", name, suffix);
	yab_metrics_label(text, "{", "vm", vm ? vm : "");
	yab_metrics_label(text, ",", "direction", direction ? direction : "");
	if (label)
		yab_metrics_label(text, ",", label, value);
}

/* A counter of statistics, which may be the other host's. */
static uint64_t yab_metrics_number(json_t *json)
{
	const json_int_t number = json_integer_value(json);

	return number > 0 ? (uint64_t)number : 0;
}

/*
 * Whatever the buckets say, they grow, the last one is the count, and no sum overflows: a
 * json_int_t has 63 bits, and there are 22.
 */
static void yab_metrics_histogram(struct yab_metrics_text *text, const char *name, json_t *job,
				  const char *side, json_t *histogram)
{
	json_t *buckets = json_object_get(histogram, "buckets");
	const uint64_t sum = yab_metrics_number(json_object_get(histogram, "sum"));
	uint64_t count = 0;
	char end[32];

	for (unsigned int i = 0; i < YAB_HISTOGRAM_COARSE; i++) {
		const uint64_t more = yab_metrics_number(json_array_get(buckets, i));

		count = count + more < (uint64_t)INT64_MAX ? count + more : (uint64_t)INT64_MAX;
		if (i < YAB_HISTOGRAM_COARSE - 1)
			snprintf(end, sizeof(end), "%.9g",
				 (double)(1ULL << (YAB_HISTOGRAM_COARSE_FIRST + i)) / 1e6);
		else
			snprintf(end, sizeof(end), "+Inf");
		yab_metrics_sample(text, name, "_bucket", job, "side", side);
		yab_metrics_label(text, ",", "le", end);
		yab_metrics_print(text, "} %llu\n", (unsigned long long)count);
	}
	yab_metrics_sample(text, name, "_count", job, "side", side);
	yab_metrics_print(text, "} %llu\n", (unsigned long long)count);
	yab_metrics_sample(text, name, "_sum", job, "side", side);
	yab_metrics_print(text, "} %llu.%06llu\n", (unsigned long long)(sum / 1000000),
			  (unsigned long long)(sum % 1000000));
}

/* What @side counted, if it did. */
static void yab_metrics_side(struct yab_metrics_text *text,
			     const struct yab_metrics_family *family, json_t *job,
			     const char *side)
{
	json_t *value = json_object_get(json_object_get(job, side), family->member);
	const char *suffix = family->kind == YAB_METRICS_COUNTER ? "_total" : "";

	if (family->kind == YAB_METRICS_HISTOGRAM) {
		if (json_is_object(value))
			yab_metrics_histogram(text, family->name, job, side, value);
		return;
	}
	if (!json_is_integer(value))
		return;
	yab_metrics_sample(text, family->name, suffix, job, "side", side);
	yab_metrics_print(text, "} %llu\n", (unsigned long long)yab_metrics_number(value));
}

static void yab_metrics_family(struct yab_metrics_text *text,
			       const struct yab_metrics_family *family)
{
	json_t *job;
	size_t i;

	yab_metrics_begin(text, family->name, yab_metrics_kinds[family->kind], family->unit,
			  family->help);
	json_array_foreach(text->jobs, i, job) {
		yab_metrics_side(text, family, job, "source");
		yab_metrics_side(text, family, job, "destination");
	}
}

/* One sample for every state that there is, 1 for the one the job is in. */
static void yab_metrics_states(struct yab_metrics_text *text, const char *name,
			       const char *member, const char *help,
			       const char *(*state)(unsigned int number))
{
	const char *now;
	json_t *job;
	size_t i;

	yab_metrics_begin(text, name, "stateset", NULL, help);
	json_array_foreach(text->jobs, i, job) {
		now = json_string_value(json_object_get(job, member));
		for (unsigned int number = 0; state(number); number++) {
			yab_metrics_sample(text, name, "", job, name, state(number));
			yab_metrics_print(text, "} %d\n", now && !strcmp(now, state(number)));
		}
	}
}

static const char *yab_metrics_phase(unsigned int number)
{
	return number < YAB_JOB_PHASES ? yab_job_phase_name((enum yab_job_phase)number) : NULL;
}

static void yab_metrics_jobs(struct yab_metrics_text *text)
{
	json_t *job;
	size_t i;

	yab_metrics_states(text, "yabusame_job_state", "state",
			   "The VM's migration under way, or its last one.", yab_job_state_name);
	yab_metrics_states(text, "yabusame_job_phase", "phase", "How far the migration has come.",
			   yab_metrics_phase);
	yab_metrics_begin(text, "yabusame_job_pages", "gauge", "pages", "Pages of the VM.");
	json_array_foreach(text->jobs, i, job) {
		yab_metrics_sample(text, "yabusame_job_pages", "", job, NULL, NULL);
		yab_metrics_print(text, "} %llu\n", (unsigned long long)
				  yab_metrics_number(json_object_get(job, "pages")));
	}
	for (i = 0; yab_metrics_families[i].member; i++)
		yab_metrics_family(text, &yab_metrics_families[i]);
}

int yab_metrics_write(struct yab_jobs *jobs, struct evbuffer *out)
{
	struct yab_metrics_text text = { .out = out, .jobs = json_array() };
	struct yab_job *job;

	for (job = yab_jobs_first(jobs); job; job = yab_jobs_next(job))
		if (json_array_append_new(text.jobs, yab_job_json(job)) < 0)
			text.failed = true;
	yab_metrics_begin(&text, "yabusame_up", "gauge", NULL, "This daemon runs.");
	yab_metrics_print(&text, "yabusame_up 1\n");
	yab_metrics_begin(&text, "yabusame_build", "info", NULL, "The version of this daemon.");
	yab_metrics_print(&text, "yabusame_build_info{version=\"%s\"} 1\n", YAB_VERSION);
	yab_metrics_begin(&text, "yabusame_log_lines_lost", "counter", NULL,
			  "Lines of this daemon's log that nobody took.");
	yab_metrics_print(&text, "yabusame_log_lines_lost_total %llu\n",
			  (unsigned long long)yab_log_lost());
	yab_metrics_jobs(&text);
	yab_metrics_print(&text, "# EOF\n");
	json_decref(text.jobs);
	return text.failed ? -1 : 0;
}

static void yab_metrics_visit_free(struct yab_metrics_visit *visit)
{
	struct yab_metrics *metrics = visit->metrics;

	LIST_REMOVE(visit, link);
	metrics->visits_count--;
	event_free(visit->deadline);
	bufferevent_decref(visit->socket);
	if (metrics->listener)
		evconnlistener_enable(metrics->listener);
	free(visit);
}

/* However slowly somebody reads or writes: this is the end. */
static void yab_metrics_visit_expired(evutil_socket_t fd, short what, void *arg)
{
	struct yab_metrics_visit *visit = arg;

	(void)fd;
	(void)what;
	/* The server, if it still has it, sees an end and closes. */
	shutdown(bufferevent_getfd(visit->socket), SHUT_RDWR);
	yab_metrics_visit_free(visit);
}

/* A connection was accepted. */
static struct bufferevent *yab_metrics_visited(struct event_base *base, void *arg)
{
	static const struct timeval patience = { .tv_sec = YAB_METRICS_VISIT_SECONDS };
	struct yab_metrics_visit *visit = calloc(1, sizeof(*visit));
	struct yab_metrics *metrics = arg;

	if (!visit)
		return NULL;	/* libevent makes one that is not counted, or fails, too */
	visit->socket = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	visit->deadline = evtimer_new(base, yab_metrics_visit_expired, visit);
	if (!visit->socket || !visit->deadline || evtimer_add(visit->deadline, &patience) < 0)
		goto err_visit;
	bufferevent_incref(visit->socket);
	visit->metrics = metrics;
	LIST_INSERT_HEAD(&metrics->visits, visit, link);
	if (++metrics->visits_count == YAB_METRICS_VISITS_MAX)
		evconnlistener_disable(metrics->listener);
	return visit->socket;

err_visit:
	if (visit->deadline)
		event_free(visit->deadline);
	if (visit->socket)
		bufferevent_free(visit->socket);
	free(visit);
	return NULL;
}

static void yab_metrics_visit_closed(struct evhttp_connection *connection, void *arg)
{
	evhttp_connection_set_closecb(connection, NULL, NULL);
	yab_metrics_visit_free(arg);
}

/* There is a request: from here on libevent tells of the connection's end. */
static void yab_metrics_visit_watch(struct yab_metrics *metrics, struct evhttp_request *request)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(request);
	struct yab_metrics_visit *visit;

	LIST_FOREACH(visit, &metrics->visits, link)
		if (visit->socket == evhttp_connection_get_bufferevent(connection))
			evhttp_connection_set_closecb(connection, yab_metrics_visit_closed, visit);
}

static void yab_metrics_answer(struct evhttp_request *request, void *arg)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	struct yab_metrics *metrics = arg;
	struct evbuffer *out;

	yab_metrics_visit_watch(metrics, request);
	/* One answer a connection: those that wait get their turn. */
	evhttp_add_header(headers, "Connection", "close");
	if (!path || strcmp(path, "/metrics")) {
		evhttp_send_error(request, HTTP_NOTFOUND, NULL);
		return;
	}
	if (evhttp_request_get_command(request) != EVHTTP_REQ_GET) {
		/* Not as an error: that throws headers away, and this one must be there. */
		evhttp_add_header(headers, "Allow", "GET");
		evhttp_send_reply(request, HTTP_BADMETHOD, "Method Not Allowed", NULL);
		return;
	}
	out = evbuffer_new();
	if (!out || yab_metrics_write(metrics->jobs, out) < 0 ||
	    evhttp_add_header(headers, "Content-Type", YAB_METRICS_TYPE) < 0)
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
	else
		evhttp_send_reply(request, HTTP_OK, "OK", out);
	if (out)
		evbuffer_free(out);
}

static bool yab_metrics_is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

int yab_metrics_parse(const char *text, struct yab_metrics_address *address, char *error,
		      size_t error_size)
{
	struct sockaddr *any = (struct sockaddr *)&address->storage;

	memset(address, 0, sizeof(*address));
	address->length = sizeof(address->storage);
	/* Port 0: none was given. */
	if (evutil_parse_sockaddr_port(text, any, &address->length) < 0 ||
	    !((const struct sockaddr_in *)any)->sin_port) {
		snprintf(error, error_size, "--metrics %.128s: is no ADDRESS:PORT or [IPV6]:PORT",
			 text);
		return -1;
	}
	if (!yab_metrics_is_loopback(any)) {
		snprintf(error, error_size,
			 "--metrics %.128s: anybody could read there: give 127.0.0.1:PORT or [::1]:PORT",
			 text);
		return -1;
	}
	return 0;
}

static int yab_metrics_listen(struct yab_metrics *metrics, const char *text, char *error,
			      size_t error_size)
{
	const unsigned int flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
				   LEV_OPT_REUSEABLE;
	struct yab_metrics_address address;

	if (yab_metrics_parse(text, &address, error, error_size) < 0)
		return -1;
	metrics->listener = evconnlistener_new_bind(metrics->base, NULL, NULL, flags,
						    YAB_METRICS_VISITS_MAX,
						    (struct sockaddr *)&address.storage,
						    address.length);
	if (!metrics->listener) {
		snprintf(error, error_size, "--metrics: cannot listen on %.128s: %s", text,
			 strerror(errno));
		return -1;
	}
	return 0;
}

struct yab_metrics *yab_metrics_new(struct event_base *base, struct yab_jobs *jobs,
				    const char *address, char *error, size_t error_size)
{
	struct yab_metrics *metrics = calloc(1, sizeof(*metrics));

	if (metrics)
		metrics->http = evhttp_new(base);
	if (!metrics || !metrics->http) {
		snprintf(error, error_size, "out of memory");
		goto err_metrics;
	}
	metrics->base = base;
	metrics->jobs = jobs;
	LIST_INIT(&metrics->visits);
	if (yab_metrics_listen(metrics, address, error, error_size) < 0)
		goto err_http;
	if (!evhttp_bind_listener(metrics->http, metrics->listener)) {
		snprintf(error, error_size, "out of memory");
		goto err_listener;
	}
	evhttp_set_bevcb(metrics->http, yab_metrics_visited, metrics);
	evhttp_set_gencb(metrics->http, yab_metrics_answer, metrics);
	/* All that it knows: what is not GET is refused by us. */
	evhttp_set_allowed_methods(metrics->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST |
				   EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
				   EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT |
				   EVHTTP_REQ_PATCH);
	evhttp_set_timeout(metrics->http, YAB_METRICS_IDLE_SECONDS);
	evhttp_set_max_headers_size(metrics->http, YAB_METRICS_HEADERS_MAX);
	evhttp_set_max_body_size(metrics->http, YAB_METRICS_BODY_MAX);
	return metrics;

err_listener:
	evconnlistener_free(metrics->listener);
err_http:
	evhttp_free(metrics->http);
err_metrics:
	free(metrics);
	return NULL;
}

void yab_metrics_free(struct yab_metrics *metrics)
{
	if (!metrics)
		return;
	/* The listener goes with it. Connections that had a request tell of their end. */
	metrics->listener = NULL;
	evhttp_free(metrics->http);
	while (!LIST_EMPTY(&metrics->visits))
		yab_metrics_visit_free(LIST_FIRST(&metrics->visits));
	free(metrics);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * OpenMetrics: what is written is read by a parser that knows nothing but the format
 * (OpenMetrics 1.0) and refuses what is not exactly that.
 */
#include <ctype.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/histogram.h"
#include "../../daemon/metrics.h"
#include "../../daemon/statistics.h"
#include "../../daemon/version.h"
#include "script.h"

#define LABELS_MAX	8
#define FAMILIES_MAX	64

struct label {
	char name[64];
	char value[512];
};

struct sample {
	char name[128];
	struct label labels[LABELS_MAX];
	int label_count;
	double value;
};

/* What the parser knows of the text so far. */
static struct {
	char families[FAMILIES_MAX][128];
	int family_count;
	char type[32];
	char unit[32];
	int samples;		/* of this family */
	bool eof;
	/* The histogram whose buckets are being read. */
	char series[1024];
	double bucket, bucket_end;
	bool in_buckets, has_count;
} parser;

static struct yab_jobs *jobs;

static bool is_name(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!isalpha((unsigned char)text[i]) && text[i] != '_' && text[i] != ':' &&
		    !(i && isdigit((unsigned char)text[i])))
			return false;
	return length > 0;
}

static const char *family(void)
{
	ck_assert_int_gt(parser.family_count, 0);
	return parser.families[parser.family_count - 1];
}

static bool ends_in(const char *text, const char *end)
{
	const size_t length = strlen(text), end_length = strlen(end);

	return length > end_length && !strcmp(text + length - end_length, end);
}

/* The number at @text, up to its end. */
static double number(const char *text)
{
	double value;
	char *end;

	ck_assert_msg(!isspace((unsigned char)*text) && *text, "number %s", text);
	value = strtod(text, &end);
	ck_assert_msg(!*end, "number %s", text);
	return value;
}

static void close_histogram(void)
{
	ck_assert_msg(!parser.in_buckets, "%s has no +Inf", family());
}

/* # TYPE, # UNIT and # HELP, in this order, each at most once, TYPE begins the family. */
static void parse_comment(char *line)
{
	char *kind = strsep(&line, " "), *name = strsep(&line, " ");

	ck_assert_ptr_nonnull(name);
	ck_assert_ptr_nonnull(line);
	ck_assert(is_name(name, strlen(name)));
	if (!strcmp(kind, "TYPE")) {
		if (parser.family_count)
			close_histogram();
		for (int i = 0; i < parser.family_count; i++)
			ck_assert_msg(strcmp(parser.families[i], name), "%s twice", name);
		ck_assert_int_lt(parser.family_count, FAMILIES_MAX);
		snprintf(parser.families[parser.family_count++], sizeof(parser.families[0]), "%s",
			 name);
		snprintf(parser.type, sizeof(parser.type), "%s", line);
		ck_assert(!strcmp(line, "gauge") || !strcmp(line, "counter") ||
			  !strcmp(line, "histogram") || !strcmp(line, "stateset") ||
			  !strcmp(line, "info"));
		parser.unit[0] = '\0';
		parser.samples = 0;
		parser.series[0] = '\0';
		/* Suffixes of samples are not part of a family's name. */
		ck_assert(!ends_in(name, "_total") && !ends_in(name, "_info") &&
			  !ends_in(name, "_bucket") && !ends_in(name, "_count") &&
			  !ends_in(name, "_sum"));
	} else if (!strcmp(kind, "UNIT")) {
		char end[64];

		ck_assert_str_eq(name, family());
		ck_assert_str_eq(parser.unit, "");
		ck_assert_int_eq(parser.samples, 0);
		snprintf(end, sizeof(end), "_%s", line);
		ck_assert_msg(ends_in(name, end), "%s is not in %s", name, line);
		ck_assert(strcmp(parser.type, "stateset") && strcmp(parser.type, "info"));
		snprintf(parser.unit, sizeof(parser.unit), "%s", line);
	} else {
		ck_assert_str_eq(kind, "HELP");
		ck_assert_str_eq(name, family());
		ck_assert_int_eq(parser.samples, 0);
		ck_assert(line[0] && !strchr(line, '\\'));
	}
}

/* {NAME="VALUE",...}; returns what follows. */
static const char *parse_labels(const char *at, struct sample *sample)
{
	while (*at != '}') {
		struct label *label = &sample->labels[sample->label_count];
		const size_t length = strcspn(at, "=");
		size_t size = 0;

		ck_assert_int_lt(sample->label_count, LABELS_MAX);
		ck_assert(is_name(at, length) && length < sizeof(label->name));
		memcpy(label->name, at, length);
		label->name[length] = '\0';
		for (int i = 0; i < sample->label_count; i++)
			ck_assert_str_ne(sample->labels[i].name, label->name);
		at += length;
		ck_assert_int_eq(*at++, '=');
		ck_assert_int_eq(*at++, '"');
		while (*at != '"') {
			char byte = *at++;

			ck_assert_int_ne(byte, '\0');
			if (byte == '\\') {
				byte = *at++;
				ck_assert(byte == 'n' || byte == '"' || byte == '\\');
				if (byte == 'n')
					byte = '\n';
			}
			ck_assert_uint_lt(size, sizeof(label->value) - 1);
			label->value[size++] = byte;
		}
		label->value[size] = '\0';
		sample->label_count++;
		at++;
		if (*at == ',')
			ck_assert_int_ne(*++at, '}');
		else
			ck_assert_int_eq(*at, '}');
	}
	return at + 1;
}

static const char *label(const struct sample *sample, const char *name)
{
	for (int i = 0; i < sample->label_count; i++)
		if (!strcmp(sample->labels[i].name, name))
			return sample->labels[i].value;
	return NULL;
}

/* Buckets of one series follow each other, grow, and end in +Inf, which is _count. */
static void check_histogram(const struct sample *sample, const char *suffix)
{
	char series[1024] = "";
	double end;

	for (int i = 0; i < sample->label_count; i++)
		if (strcmp(sample->labels[i].name, "le"))
			snprintf(series + strlen(series), sizeof(series) - strlen(series), "%s=%s;",
				 sample->labels[i].name, sample->labels[i].value);
	if (!strcmp(suffix, "_bucket")) {
		ck_assert_ptr_nonnull(label(sample, "le"));
		end = number(label(sample, "le"));
		if (!parser.in_buckets) {
			ck_assert_str_ne(parser.series, series);
			memcpy(parser.series, series, sizeof(series));
			parser.in_buckets = true;
			parser.has_count = false;
			parser.bucket = 0;
			parser.bucket_end = 0;
		}
		ck_assert_str_eq(parser.series, series);
		ck_assert_double_gt(end, parser.bucket_end);
		ck_assert_double_ge(sample->value, parser.bucket);
		parser.bucket = sample->value;
		parser.bucket_end = end;
		if (!strcmp(label(sample, "le"), "+Inf"))
			parser.in_buckets = false;
		return;
	}
	ck_assert_str_eq(parser.series, series);
	ck_assert(!parser.in_buckets && !label(sample, "le"));
	if (!strcmp(suffix, "_count")) {
		ck_assert(sample->value == parser.bucket);
		ck_assert(!parser.has_count);
		parser.has_count = true;
	} else {
		ck_assert_str_eq(suffix, "_sum");
		ck_assert_double_ge(sample->value, 0);
	}
}

static void check_sample(const struct sample *sample)
{
	const size_t length = strlen(family());
	const char *suffix = sample->name + length;

	ck_assert_msg(!strncmp(sample->name, family(), length), "%s in %s", sample->name, family());
	parser.samples++;
	if (!strcmp(parser.type, "histogram")) {
		check_histogram(sample, suffix);
	} else if (!strcmp(parser.type, "counter")) {
		ck_assert_str_eq(suffix, "_total");
		ck_assert_double_ge(sample->value, 0);
	} else if (!strcmp(parser.type, "info")) {
		ck_assert_str_eq(suffix, "_info");
		ck_assert(sample->value == 1);
	} else if (!strcmp(parser.type, "stateset")) {
		ck_assert_str_eq(suffix, "");
		ck_assert_ptr_nonnull(label(sample, family()));
		ck_assert(sample->value == 0 || sample->value == 1);
	} else {
		ck_assert_str_eq(suffix, "");
	}
}

static void parse_line(char *line, struct sample *sample)
{
	const size_t length = strcspn(line, "{ ");
	const char *at = line + length;

	ck_assert(!parser.eof);
	memset(sample, 0, sizeof(*sample));
	if (!strcmp(line, "# EOF")) {
		close_histogram();
		parser.eof = true;
		return;
	}
	if (line[0] == '#') {
		ck_assert_int_eq(line[1], ' ');
		parse_comment(line + 2);
		return;
	}
	ck_assert_msg(is_name(line, length), "%s", line);
	memcpy(sample->name, line, length);
	if (*at == '{')
		at = parse_labels(at + 1, sample);
	ck_assert_int_eq(*at, ' ');
	sample->value = number(at + 1);
	check_sample(sample);
}

/*
 * Reads all of it, and returns the sum of the values of @name, whose labels have to have
 * @vm, and @more (a label's value) if that is not NULL. -1 if there is none.
 */
static double look(const char *name, const char *vm, const char *more)
{
	struct evbuffer *out = evbuffer_new();
	struct sample sample;
	double sum = -1;
	size_t length;
	char *line;

	memset(&parser, 0, sizeof(parser));
	ck_assert_int_eq(yab_metrics_write(jobs, out), 0);
	while ((line = evbuffer_readln(out, &length, EVBUFFER_EOL_LF))) {
		bool match = !more;

		ck_assert_uint_eq(strlen(line), length);
		parse_line(line, &sample);
		for (int i = 0; i < sample.label_count; i++)
			match |= more && !strcmp(sample.labels[i].value, more);
		if (match && !strcmp(sample.name, name) &&
		    (!vm || (label(&sample, "vm") && !strcmp(label(&sample, "vm"), vm))))
			sum = (sum < 0 ? 0 : sum) + sample.value;
		free(line);
	}
	ck_assert(parser.eof);
	ck_assert_uint_eq(evbuffer_get_length(out), 0);
	evbuffer_free(out);
	return sum;
}

static void setup(void)
{
	jobs = yab_jobs_new();
}

static void teardown(void)
{
	yab_jobs_free(jobs);
}

static json_t *destination(int faults)
{
	struct yab_histogram histogram;

	yab_histogram_reset(&histogram);
	for (int i = 0; i < faults; i++)
		yab_histogram_record(&histogram, 100 + (uint64_t)i);
	yab_histogram_record(&histogram, 1ULL << 42);
	return json_pack("{s:i, s:i, s:I, s:o, s:o}", "present", 40, "faults", faults, "bytes",
			 (json_int_t)1 << 40, "fault_us", yab_statistics_histogram(&histogram),
			 "queue_us", yab_statistics_histogram(&histogram));
}

START_TEST(no_jobs)
{
	ck_assert_double_eq(look("yabusame_up", NULL, NULL), 1);
	ck_assert_double_eq(look("yabusame_build_info", NULL, YAB_VERSION), 1);
	ck_assert_double_eq(look("yabusame_log_lines_lost_total", NULL, NULL), 0);
	ck_assert_double_eq(look("yabusame_job_pages", NULL, NULL), -1);
}
END_TEST

START_TEST(played_jobs)
{
	struct yab_job *job = yab_job_start(jobs, "vm1", YAB_JOB_OUTGOING, "host2", 100);
	json_t *statistics = destination(28);

	yab_job_enter(job, YAB_JOB_BEGIN);
	ck_assert_double_eq(look("yabusame_job_state", "vm1", "active"), 1);
	ck_assert_double_eq(look("yabusame_job_state", "vm1", "completed"), 0);
	ck_assert_double_eq(look("yabusame_job_state", "vm1", NULL), 1);
	ck_assert_double_eq(look("yabusame_job_phase", "vm1", "begin"), 1);
	ck_assert_double_eq(look("yabusame_job_phase", "vm1", NULL), 1);
	ck_assert_double_eq(look("yabusame_job_pages", "vm1", "outgoing"), 100);
	ck_assert_double_eq(look("yabusame_faults_total", "vm1", NULL), -1);

	yab_job_statistics(job, YAB_JOB_DESTINATION, statistics);
	json_decref(statistics);
	statistics = json_pack("{s:i, s:i}", "bytes", 7, "workers_replaced", 2);
	yab_job_statistics(job, YAB_JOB_SOURCE, statistics);
	json_decref(statistics);
	ck_assert_double_eq(look("yabusame_present_pages", "vm1", "destination"), 40);
	ck_assert_double_eq(look("yabusame_faults_total", "vm1", "destination"), 28);
	ck_assert_double_eq(look("yabusame_page_bytes_total", "vm1", "destination"),
			    (double)(1ULL << 40));
	ck_assert_double_eq(look("yabusame_page_bytes_total", "vm1", "source"), 7);
	ck_assert_double_eq(look("yabusame_workers_replaced_total", "vm1", "source"), 2);
	ck_assert_double_eq(look("yabusame_fault_latency_seconds_count", "vm1", NULL), 29);
	/* 100 to 127 us are below 128. */
	ck_assert_double_eq(look("yabusame_fault_latency_seconds_bucket", "vm1", "6.4e-05"), 0);
	ck_assert_double_eq(look("yabusame_fault_latency_seconds_bucket", "vm1", "0.000128"), 28);
	ck_assert_double_eq(look("yabusame_fault_latency_seconds_bucket", "vm1", "16.777216"), 28);
	ck_assert_double_eq(look("yabusame_fault_latency_seconds_bucket", "vm1", "+Inf"), 29);
	ck_assert_double_eq_tol(look("yabusame_fault_latency_seconds_sum", "vm1", NULL),
				4398046.511104 + 0.003178, 0.000001);
	ck_assert_double_eq(look("yabusame_fault_queue_seconds_count", "vm1", NULL), 29);
	ck_assert_double_eq(look("yabusame_fault_install_seconds_count", "vm1", NULL), -1);

	yab_job_end(job, "no luck");
	ck_assert_double_eq(look("yabusame_job_state", "vm1", "failed"), 1);
	ck_assert_double_eq(look("yabusame_job_state", "vm1", "active"), 0);

	/* Several jobs: each family stands together. */
	job = yab_job_start(jobs, "vm2", YAB_JOB_INCOMING, "host3", 50);
	statistics = destination(1);
	yab_job_statistics(job, YAB_JOB_DESTINATION, statistics);
	json_decref(statistics);
	ck_assert_double_eq(look("yabusame_fault_latency_seconds_count", "vm2", "incoming"), 2);
	ck_assert_double_eq(look("yabusame_fault_latency_seconds_count", "vm1", NULL), 29);
}
END_TEST

/* No name breaks the lines. */
START_TEST(escapes)
{
	const char *name = "a\\b\"c\nd} 1\n# EOF\n{x=\"";

	ck_assert_ptr_nonnull(yab_job_start(jobs, name, YAB_JOB_OUTGOING, "x", 9));
	ck_assert_double_eq(look("yabusame_job_pages", name, NULL), 9);
}
END_TEST

/* What the other host calls statistics: the text stays well-formed. */
START_TEST(hostile_statistics)
{
	static const char * const bad[] = {
		"{}",
		"{\"faults\": \"many\", \"present\": null, \"bytes\": [1]}",
		"{\"faults\": -5, \"present\": -9223372036854775808}",
		"{\"fault_us\": 5, \"queue_us\": [1, 2]}",
		"{\"fault_us\": {}}",
		"{\"fault_us\": {\"count\": 7, \"sum\": -1, \"buckets\": {\"0\": 1}}}",
		"{\"fault_us\": {\"count\": 7, \"sum\": 9223372036854775807, \"buckets\": [5, -1, \"x\", 3.5]}}",
		"{\"fault_us\": {\"buckets\": [9223372036854775807, 9223372036854775807, 9223372036854775807]}}",
		"{\"fault_us\": {\"buckets\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}}",
	};
	struct yab_job *job = yab_job_start(jobs, "vm1", YAB_JOB_OUTGOING, "x", 9);
	json_t *statistics = json_loads(bad[_i], 0, NULL);

	ck_assert_ptr_nonnull(statistics);
	yab_job_statistics(job, YAB_JOB_DESTINATION, statistics);
	json_decref(statistics);
	ck_assert_double_eq(look("yabusame_job_pages", "vm1", NULL), 9);
}
END_TEST

/* Only loopback, only whole addresses; one line says why. */
START_TEST(addresses)
{
	static const struct {
		const char *text;
		const char *want;
	} bad[] = {
		{ "0.0.0.0:9000", "anybody could read" },
		{ "192.0.2.1:9000", "anybody could read" },
		{ "[::]:9000", "anybody could read" },
		{ "[::ffff:127.0.0.1]:9000", "anybody could read" },
		{ "128.0.0.1:9000", "anybody could read" },
		{ "127.0.0.1", "is no ADDRESS:PORT" },
		{ "::1", "is no ADDRESS:PORT" },
		{ "127.0.0.1:0", "is no ADDRESS:PORT" },
		{ "127.0.0.1:70000", "is no ADDRESS:PORT" },
		{ "localhost:9000", "is no ADDRESS:PORT" },
		{ ":9000", "is no ADDRESS:PORT" },
		{ "", "is no ADDRESS:PORT" },
	};
	struct event_base *base = event_base_new();
	char error[256] = "";

	ck_assert_ptr_null(yab_metrics_new(base, jobs, bad[_i].text, error, sizeof(error)));
	ck_assert_msg(strstr(error, bad[_i].want), "%s: %s", bad[_i].text, error);
	ck_assert_ptr_null(strchr(error, '\n'));
	event_base_free(base);
}
END_TEST

/* A port that is free now. */
static in_port_t free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static struct event_base *http_base;
static in_port_t http_port;

static int http_connect(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(http_port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	evutil_make_socket_nonblocking(fd);
	return fd;
}

/* Sends @request and returns all of the answer, which ends with the connection. */
static const char *http_ask(int fd, const char *request)
{
	static char answer[1 << 16];
	size_t size = 0;
	ssize_t n = -1;

	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	while (n) {
		ck_assert_int_eq(event_base_loop(http_base, EVLOOP_NONBLOCK), 0);
		n = recv(fd, answer + size, sizeof(answer) - 1 - size, 0);
		if (n > 0)
			size += (size_t)n;
	}
	answer[size] = '\0';
	close(fd);
	return answer;
}

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

START_TEST(http)
{
	static const char type[] = "\r\nContent-Type: application/openmetrics-text; "
				   "version=1.0.0; charset=utf-8\r\n";
	struct yab_metrics *metrics;
	const char *answer;
	char address[32], error[256], big[16384];
	int idle[YAB_METRICS_VISITS_MAX], late;

	http_base = event_base_new();
	http_port = free_port();
	snprintf(address, sizeof(address), "127.0.0.1:%u", http_port);
	metrics = yab_metrics_new(http_base, jobs, address, error, sizeof(error));
	ck_assert_msg(metrics, "%s", error);
	answer = http_ask(http_connect(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert(begins(answer, "HTTP/1.1 200 "));
	ck_assert_ptr_nonnull(strstr(answer, type));
	ck_assert(ends_in(answer, "\n# EOF\n"));
	ck_assert(begins(http_ask(http_connect(), "GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n"),
			 "HTTP/1.1 200 "));
	ck_assert(begins(http_ask(http_connect(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			 "HTTP/1.1 404 "));
	ck_assert(begins(http_ask(http_connect(), "GET /metrics/x HTTP/1.1\r\nHost: x\r\n\r\n"),
			 "HTTP/1.1 404 "));
	answer = http_ask(http_connect(),
			  "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	ck_assert(begins(answer, "HTTP/1.1 405 "));
	ck_assert_ptr_nonnull(strstr(answer, "\r\nAllow: GET\r\n"));
	ck_assert(begins(http_ask(http_connect(), "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
			 "HTTP/1.1 405 "));
	memset(big, 'a', sizeof(big));
	memcpy(big, "GET /metrics HTTP/1.1\r\nX: ", 26);
	memcpy(big + sizeof(big) - 5, "\r\n\r\n", 5);
	ck_assert(begins(http_ask(http_connect(), big), "HTTP/1.1 400 "));

	/* So many at once; one more is served when another one is done. */
	for (int i = 0; i < YAB_METRICS_VISITS_MAX - 1; i++)
		idle[i] = http_connect();
	event_base_loop(http_base, EVLOOP_NONBLOCK);
	idle[YAB_METRICS_VISITS_MAX - 1] = http_connect();
	event_base_loop(http_base, EVLOOP_NONBLOCK);
	late = http_connect();
	for (int i = 0; i < 10; i++)
		event_base_loop(http_base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(send(late, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 35, 0), 35);
	for (int i = 0; i < 10; i++)
		event_base_loop(http_base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(recv(late, big, 1, 0), -1);
	ck_assert(begins(http_ask(idle[0], "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
			 "HTTP/1.1 200 "));
	ck_assert(begins(http_ask(late, ""), "HTTP/1.1 200 "));

	/* Freed with connections open, some of them in the middle of a request. */
	ck_assert_int_eq(send(idle[1], "GET /me", 7, 0), 7);
	event_base_loop(http_base, EVLOOP_NONBLOCK);
	yab_metrics_free(metrics);
	event_base_free(http_base);
	for (int i = 1; i < YAB_METRICS_VISITS_MAX; i++)
		close(idle[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *tcase = tcase_create("metrics");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, no_jobs);
	tcase_add_test(tcase, played_jobs);
	tcase_add_test(tcase, escapes);
	tcase_add_loop_test(tcase, hostile_statistics, 0, 9);
	tcase_add_loop_test(tcase, addresses, 0, 12);
	tcase_add_test(tcase, http);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}

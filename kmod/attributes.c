// SPDX-License-Identifier: GPL-2.0
/* /sys/class/yabusame/NAME/ */
#include <linux/device.h>
#include <linux/kstrtox.h>

#include "attributes.h"
#include "region.h"

/* Defines the attribute @_name that shows @_value of a region. */
#define YAB_ATTRIBUTE(_name, _format, _value)						\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr, char *buf)	\
{											\
	struct yab_region *region = container_of(dev, struct yab_region, dev);		\
											\
	return sysfs_emit(buf, _format "\n", _value);					\
}

YAB_ATTRIBUTE(state, "%s", yab_region_state_name(region))
static DEVICE_ATTR_RO(state);
YAB_ATTRIBUTE(pages, "%llu", region->pagemap.pages)
static DEVICE_ATTR_RO(pages);
YAB_ATTRIBUTE(present, "%lld", atomic64_read(&region->pagemap.present_count))
static DEVICE_ATTR_RO(present);
YAB_ATTRIBUTE(failed, "%llu", yab_failed_pages(&region->failed))
static DEVICE_ATTR_RO(failed);
YAB_ATTRIBUTE(faults, "%llu", yab_region_faults(region))
static DEVICE_ATTR_RO(faults);
YAB_ATTRIBUTE(pager, "%d", READ_ONCE(region->paged))
static DEVICE_ATTR_RO(pager);
YAB_ATTRIBUTE(mappings, "%lu", READ_ONCE(region->mappings))
static DEVICE_ATTR_RO(mappings);
YAB_ATTRIBUTE(queues, "%u", region->queue_count)
static DEVICE_ATTR_RO(queues);
YAB_ATTRIBUTE(tracking, "%d", READ_ONCE(region->tracking) == YAB_TRACKING_ON)
static DEVICE_ATTR_RO(tracking);
YAB_ATTRIBUTE(orphan_limit_ms, "%u", READ_ONCE(region->orphan_limit_ms))

static ssize_t orphan_limit_ms_store(struct device *dev, struct device_attribute *attr,
				     const char *buf, size_t count)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);
	u32 limit_ms;
	int ret;

	ret = kstrtou32(buf, 0, &limit_ms);
	if (ret)
		return ret;
	yab_region_set_orphan_limit(region, limit_ms);
	return count;
}
static DEVICE_ATTR_RW(orphan_limit_ms);

static ssize_t latency_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);

	return yab_latency_print(&region->latency, buf);
}
static DEVICE_ATTR_RO(latency);

static struct attribute *yab_attributes_attrs[] = {
	&dev_attr_state.attr,
	&dev_attr_pages.attr,
	&dev_attr_present.attr,
	&dev_attr_failed.attr,
	&dev_attr_faults.attr,
	&dev_attr_pager.attr,
	&dev_attr_mappings.attr,
	&dev_attr_queues.attr,
	&dev_attr_tracking.attr,
	&dev_attr_orphan_limit_ms.attr,
	&dev_attr_latency.attr,
	NULL,
};

static const struct attribute_group yab_attributes_group = {
	.attrs = yab_attributes_attrs,
};

const struct attribute_group *yab_attributes_groups[] = {
	&yab_attributes_group,
	NULL,
};

/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_NODE_H
#define YAB_NODE_H

#include <linux/fs.h>

extern const struct file_operations yab_node_fops;

#endif /* YAB_NODE_H */

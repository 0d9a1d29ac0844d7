/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_CONTROL_H
#define YAB_CONTROL_H

int yab_control_init(void);
void yab_control_exit(void);

#endif /* YAB_CONTROL_H */

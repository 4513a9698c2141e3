/* INFO: the guest's figures. */
#ifndef POLYVISOR_INFO_H
#define POLYVISOR_INFO_H

#include "fields.h"

void info_fill(struct field_writer *w);

#endif

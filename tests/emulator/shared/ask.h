/* One question to the broker, from outside of the DLL. */
#ifndef EMULATOR_SHARED_ASK_H
#define EMULATOR_SHARED_ASK_H

#include "shared/names.h"

#include <jansson.h>

/* One request over a connection of its own; NULL when no broker runs. The caller drops the reply. */
json_t *broker_ask(const struct names *names, const json_t *request);

#endif

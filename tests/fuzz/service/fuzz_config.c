/* Any text as a configuration: taken, with every number in its range, or refused with at least one problem and no more than the
 * limit. What was taken does not differ from itself. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_copy(data, size);
    struct config_list problems = {0}, live = {0}, waiting = {0};
    struct config *config = config_parse(text, size, "C:\\ProgramData", &problems);
    if (config != NULL) {
        for (size_t i = 0; i < config_key_count; i++) {
            const struct config_key *key = &config_keys[i];
            const void *member = (char *)config + key->offset;
            unsigned value = key->type == CONFIG_NUMBER ? *(const unsigned *)member : key->minimum;
            if (value < key->minimum || (key->type == CONFIG_NUMBER && value > key->maximum))
                abort();
        }
        config_compare(config, config, NULL, &live, &waiting);
        if (live.count + waiting.count != 0)
            abort();
    } else if (problems.count == 0 || problems.count > CONFIG_PROBLEMS_MAX + 1) {
        abort();
    }
    config_free(config);
    config_list_free(&problems);
    free(text);
    return 0;
}

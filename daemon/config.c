#include "daemon/config.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/path.h"
#include "base/text.h"

#define PIPE_PREFIX     "\\\\.\\pipe\\"
#define PIPE_LENGTH_MAX 256 /* CreateNamedPipe: the whole name */
#define NAMES_MAX       64
#define NAME_LENGTH_MAX 256
/* Room below MAX_PATH for what is made in the folder: the Host Compute Service is not safe beyond. */
#define PATH_LENGTH_MAX 240
#define SHOWN_MAX       80

static void *field(const struct config *config, const struct config_key *key)
{
    return (char *)(uintptr_t)config + key->offset;
}

static void list_add(struct config_list *list, char *item)
{
    list->items = mem_resize_array(list->items, list->count + 1, sizeof *list->items);
    list->items[list->count++] = item;
}

void config_list_free(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){0};
}

struct config *config_defaults(const char *program_data)
{
    struct config *config = mem_new(struct config);
    for (size_t i = 0; i < config_key_count; i++) {
        if (config_keys[i].type == CONFIG_NUMBER)
            *(unsigned *)field(config, &config_keys[i]) = config_keys[i].initial;
        else if (config_keys[i].type == CONFIG_FLAG)
            *(bool *)field(config, &config_keys[i]) = config_keys[i].initial != 0;
    }
    config->pipe = str_copy(PIPE_PREFIX "hcsd");
    config->state_dir = str_format("%s\\hcsd\\state", program_data);
    config->staging_dir = str_format("%s\\hcsd\\staging", program_data);
    return config;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config_key_count; i++) {
        if (config_keys[i].type == CONFIG_PIPE || config_keys[i].type == CONFIG_PATH)
            free(*(char **)field(config, &config_keys[i]));
        else if (config_keys[i].type == CONFIG_NAMES)
            config_list_free(field(config, &config_keys[i]));
    }
    free(config);
}

/* ---- reading ---- */

struct reader {
    struct config *config;
    struct config_list problems;
    size_t found; /* problems, those beyond CONFIG_PROBLEMS_MAX too */
};

/* Takes the text. */
static void problem_add(struct reader *reader, char *text)
{
    reader->found++;
    if (reader->found <= CONFIG_PROBLEMS_MAX) {
        char *line = text_printable(text, strlen(text), 0);
        list_add(&reader->problems, line);
    }
    free(text);
}

static char *allowed(const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_PIPE:
        return str_format("a local pipe name, \"\\\\\\\\.\\\\pipe\\\\NAME\", of at most %d characters",
                          PIPE_LENGTH_MAX);
    case CONFIG_NAMES:
        return str_format("a list of at most %d SIDs or account names", NAMES_MAX);
    case CONFIG_PATH:
        return str_format("an absolute path on a local drive, as \"C:\\\\folder\", of at most %d characters",
                          PATH_LENGTH_MAX);
    case CONFIG_NUMBER:
        return str_format("a whole number from %u to %u", key->minimum, key->maximum);
    case CONFIG_FLAG:
        return str_copy("true or false");
    }
    return str_copy("");
}

static char *shown(const json_t *value)
{
    char *json = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    char *text = json == NULL ? str_copy("?") : text_printable(json, strlen(json), SHOWN_MAX);
    free(json);
    return text;
}

static void refuse_value(struct reader *reader, const char *name, const struct config_key *key, const json_t *value)
{
    char *text = shown(value), *expected = allowed(key);
    problem_add(reader, str_format("%s: %s is not allowed; expected %s", name, text, expected));
    free(expected);
    free(text);
}

/* The text of a JSON string, or NULL when it is none or holds what no name has: a NUL, control characters. */
static const char *plain_text(const json_t *value, size_t limit)
{
    if (!json_is_string(value))
        return NULL;
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);
    if (size == 0 || size > limit)
        return NULL;
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return NULL;
    }
    return text;
}

static bool is_pipe_name(const char *text)
{
    size_t prefix = strlen(PIPE_PREFIX);
    char *start = str_copy_n(text, strlen(text) < prefix ? strlen(text) : prefix);
    bool local = text_equal_ascii_nocase(start, PIPE_PREFIX);
    free(start);
    return local && text[prefix] != 0 && text[prefix] != '\\' && text[strlen(text) - 1] != '\\' &&
           strchr(text + prefix, '/') == NULL;
}

/* The path as Windows takes it, without the prefix `\\?\`; NULL when it is not one on a local drive. */
static char *local_path(const char *text)
{
    bool drive = ((text[0] >= 'A' && text[0] <= 'Z') || (text[0] >= 'a' && text[0] <= 'z')) && text[1] == ':' &&
                 (text[2] == '\\' || text[2] == '/') && text[3] != 0;
    char *verbatim = NULL;
    if (!drive)
        return NULL;
    struct error *error = path_verbatim(text, &verbatim);
    if (error != NULL) {
        error_free(error);
        return NULL;
    }
    char *path = str_copy(verbatim + strlen("\\\\?\\"));
    free(verbatim);
    return path;
}

static void read_names(struct reader *reader, const struct config_key *key, const json_t *value)
{
    struct config_list *list = field(reader->config, key);
    if (!json_is_array(value) || json_array_size(value) > NAMES_MAX) {
        refuse_value(reader, key->name, key, value);
        return;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = plain_text(json_array_get(value, i), NAME_LENGTH_MAX);
        if (text != NULL) {
            list_add(list, str_copy(text));
            continue;
        }
        char *found = shown(json_array_get(value, i));
        problem_add(reader,
                    str_format("%s[%zu]: %s is not allowed; expected a SID (\"S-1-5-32-545\") or an account name "
                               "(\"DOMAIN\\\\name\") of at most %d characters",
                               key->name, i, found, NAME_LENGTH_MAX));
        free(found);
    }
}

static void read_value(struct reader *reader, const struct config_key *key, const json_t *value)
{
    const char *text;
    char **place = field(reader->config, key);
    switch (key->type) {
    case CONFIG_PIPE:
        text = plain_text(value, PIPE_LENGTH_MAX);
        if (text != NULL && is_pipe_name(text)) {
            free(*place);
            *place = str_copy(text);
            return;
        }
        break;
    case CONFIG_PATH:
        text = plain_text(value, PATH_LENGTH_MAX);
        char *path = text == NULL ? NULL : local_path(text);
        if (path != NULL) {
            free(*place);
            *place = path;
            return;
        }
        break;
    case CONFIG_NAMES:
        read_names(reader, key, value);
        return;
    case CONFIG_NUMBER:
        if (json_is_integer(value) && json_integer_value(value) >= key->minimum &&
            json_integer_value(value) <= key->maximum) {
            *(unsigned *)field(reader->config, key) = (unsigned)json_integer_value(value);
            return;
        }
        break;
    case CONFIG_FLAG:
        if (json_is_boolean(value)) {
            *(bool *)field(reader->config, key) = json_is_true(value);
            return;
        }
        break;
    }
    refuse_value(reader, key->name, key, value);
}

static bool is_below(const char *name, const char *group)
{
    size_t size = strlen(group);
    return size == 0 || (strncmp(name, group, size) == 0 && name[size] == '.');
}

/* The keys that may stand in `group` ("": the top), as "a, b, c". */
static char *keys_of(const char *group)
{
    struct buffer names = {0};
    size_t skip = *group == 0 ? 0 : strlen(group) + 1;
    buffer_add_text(&names, "");
    const char *last = "";
    for (size_t i = 0; i < config_key_count; i++) {
        if (!is_below(config_keys[i].name, group))
            continue;
        const char *name = config_keys[i].name + skip;
        size_t size = strcspn(name, ".");
        if (strncmp(last, name, size) == 0 && last[size] == '.' && name[size] == '.')
            continue; /* a group that is named already */
        last = name;
        buffer_add_format(&names, "%s%.*s", names.size == 0 ? "" : ", ", (int)size, name);
    }
    return (char *)names.data;
}

static void read_object(struct reader *reader, const char *group, json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        char *full = *group == 0 ? str_copy(name) : str_format("%s.%s", group, name);
        const struct config_key *key = NULL;
        bool is_group = false;
        for (size_t i = 0; i < config_key_count; i++) {
            /* A key with a dot in it is not the nesting that the dot stands for. */
            if (strcmp(config_keys[i].name, full) == 0 && strchr(name, '.') == NULL)
                key = &config_keys[i];
            is_group = is_group || (is_below(config_keys[i].name, full) && *full != 0 && strchr(name, '.') == NULL);
        }
        if (key != NULL) {
            read_value(reader, key, value);
        } else if (is_group && json_is_object(value)) {
            read_object(reader, full, value);
        } else {
            char *found = shown(value), *keys = keys_of(is_group ? full : group);
            if (is_group)
                problem_add(reader,
                            str_format("%s: %s is not allowed; expected an object with: %s", full, found, keys));
            else
                problem_add(reader, str_format("%s: unknown key (value %s); allowed %s%s: %s", full, found,
                                               *group == 0 ? "here" : "in ", group, keys));
            free(keys);
            free(found);
        }
        free(full);
    }
}

/* Each folder is swept of what is not known there, so neither may hold the other. */
static void check_folders(struct reader *reader)
{
    const char *state = reader->config->state_dir, *staging = reader->config->staging_dir;
    size_t shorter = strlen(state) < strlen(staging) ? strlen(state) : strlen(staging);
    const char *longer = strlen(state) < strlen(staging) ? staging : state;
    char *a = str_copy_n(state, shorter), *b = str_copy_n(staging, shorter);
    if (text_equal_ascii_nocase(a, b) && (longer[shorter] == 0 || longer[shorter] == '\\'))
        problem_add(reader,
                    str_format("staging_dir: %s is not allowed with state_dir %s; expected folders of which neither "
                               "holds the other",
                               staging, state));
    free(a);
    free(b);
}

struct config *config_parse(const char *text, size_t size, const char *program_data, struct config_list *ret_problems)
{
    static const char mark[] = "\xEF\xBB\xBF";
    if (size >= 3 && memcmp(text, mark, 3) == 0) {
        text += 3;
        size -= 3;
    }
    struct reader reader = {.config = config_defaults(program_data)};
    json_error_t where;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        problem_add(&reader, str_format("line %d, column %d: %s", where.line, where.column, where.text));
    else if (!json_is_object(root))
        problem_add(&reader, str_copy("line 1, column 1: the file must hold one JSON object"));
    else
        read_object(&reader, "", root);
    json_decref(root);
    check_folders(&reader);

    if (reader.found == 0)
        return reader.config;
    if (reader.found > CONFIG_PROBLEMS_MAX)
        list_add(&reader.problems, str_format("and %zu more", reader.found - CONFIG_PROBLEMS_MAX));
    config_free(reader.config);
    *ret_problems = reader.problems;
    return NULL;
}

struct error *config_error(const char *file, const struct config_list *problems)
{
    struct buffer text = {0};
    buffer_add_text(&text, "");
    for (size_t i = 0; i < problems->count; i++)
        buffer_add_format(&text, "%s%s", i == 0 ? "" : "; ", problems->items[i]);
    struct error *error =
        error_make(ERROR_KIND_INVALID_ARGUMENT, "read the configuration", file, "%s", (char *)text.data);
    buffer_free(&text);
    return error;
}

/* ---- a reload ---- */

static void names_copy(struct config_list *list, const struct config_list *from)
{
    config_list_free(list);
    for (size_t i = 0; i < from->count; i++)
        list_add(list, str_copy(from->items[i]));
}

static char *value_text(const struct config *config, const struct config_key *key)
{
    json_t *value = NULL;
    const struct config_list *list;
    switch (key->type) {
    case CONFIG_PIPE:
    case CONFIG_PATH:
        if (*(char **)field(config, key) == NULL)
            return str_copy(key->initial_text);
        return str_copy(*(char **)field(config, key));
    case CONFIG_NUMBER:
        return str_format("%u", *(unsigned *)field(config, key));
    case CONFIG_FLAG:
        return str_copy(*(bool *)field(config, key) ? "true" : "false");
    case CONFIG_NAMES:
        value = json_array();
        list = field(config, key);
        for (size_t i = 0; i < list->count; i++)
            json_array_append_new(value, json_string(list->items[i]));
        char *text = shown(value);
        json_decref(value);
        return text;
    }
    return str_copy("");
}

/* Whether a reload takes the key into use. */
static bool is_live(const struct config_key *key, const char *kept)
{
    return key->live && (kept == NULL || strcmp(key->name, kept) != 0);
}

void config_compare(const struct config *before, const struct config *after, const char *kept,
                    struct config_list *ret_live, struct config_list *ret_waiting)
{
    for (size_t i = 0; i < config_key_count; i++) {
        char *old = value_text(before, &config_keys[i]), *new = value_text(after, &config_keys[i]);
        if (strcmp(old, new) != 0)
            list_add(is_live(&config_keys[i], kept) ? ret_live : ret_waiting,
                     str_format("%s: %s -> %s", config_keys[i].name, old, new));
        free(old);
        free(new);
    }
}

void config_take_live(struct config *config, const struct config *from, const char *kept)
{
    for (size_t i = 0; i < config_key_count; i++) {
        void *place = field(config, &config_keys[i]), *value = field(from, &config_keys[i]);
        if (!is_live(&config_keys[i], kept))
            continue;
        if (config_keys[i].type == CONFIG_NUMBER)
            *(unsigned *)place = *(unsigned *)value;
        else if (config_keys[i].type == CONFIG_NAMES)
            names_copy(place, value);
    }
}

bool config_names_equal(const struct config_list *one, const struct config_list *other)
{
    bool equal = one->count == other->count;
    for (size_t i = 0; i < one->count && equal; i++)
        equal = strcmp(one->items[i], other->items[i]) == 0;
    return equal;
}

void config_document(struct buffer *markdown)
{
    buffer_add_text(
        markdown,
        "# Configuration\n"
        "\n"
        "<!-- Made from daemon/config_keys.c; tests/unit/config/test_config.c keeps them equal. -->\n"
        "\n"
        "hcsd reads one JSON file, `%ProgramData%\\hcsd\\config.json` unless `--config FILE` names another. A dot in\n"
        "a key below means nesting: `hcs.call_seconds` is `{\"hcs\": {\"call_seconds\": 240}}`. Every key is optional. "
        "An\n"
        "unknown key, a wrong type or a value out of range is an error, and hcsd does not start with one:\n"
        "\n"
        "    hcsd.exe --check-config FILE           says all that is wrong with a file\n"
        "    sc.exe control hcsd paramchange        reads the file again; a bad one changes nothing\n"
        "\n"
        "After a reload the event log says what changed, and which changes wait for the next start.\n"
        "\n"
        "| key | default | allowed | unit | in use |\n"
        "|---|---|---|---|---|\n");
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        char *range = allowed(key);
        buffer_add_format(markdown, "| `%s` | `%s` | %s | %s | %s |\n", key->name, key->initial_text, range, key->unit,
                          key->live ? "after a reload" : "at the next start");
        free(range);
    }
    buffer_add_text(markdown, "\n");
    for (size_t i = 0; i < config_key_count; i++)
        buffer_add_format(markdown, "## %s\n%s\n\n", config_keys[i].name, config_keys[i].meaning);
    buffer_add_text(markdown, "## Example\n"
                              "\n"
                              "    {\n"
                              "      \"pipe_access\": [\"BUILTIN\\\\Hyper-V Administrators\"],\n"
                              "      \"staging_dir\": \"D:\\\\hcsd-staging\",\n"
                              "      \"export\": {\"workers\": 4},\n"
                              "      \"watchdog\": {\"stall_seconds\": 60}\n"
                              "    }\n");
}

/* The message DLL has the text of every event and category, as the event viewer will show it. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/event.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/log/record.h"

static const char *dll_path;
static HMODULE messages;

static int open_messages(void **state)
{
    (void)state;
    wchar_t *path = NULL;
    struct error *error = win_wide(dll_path, &path);
    assert_null(error);
    messages = LoadLibraryExW(path, NULL, LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_AS_IMAGE_RESOURCE);
    if (messages == NULL)
        print_error("%s: error %lu\n", dll_path, GetLastError());
    free(path);
    return messages == NULL ? -1 : 0;
}

static char *format(DWORD id, const wchar_t *const *arguments)
{
    wchar_t *text = NULL;
    DWORD flags = FORMAT_MESSAGE_ALLOCATE_BUFFER | FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY;
    if (FormatMessageW(flags, messages, id, 0, (wchar_t *)&text, 0, (va_list *)(uintptr_t)arguments) == 0)
        return str_format("(error %lu)", GetLastError());
    char *utf8 = win_text(text);
    LocalFree(text);
    return utf8;
}

static void test_every_event(void **state)
{
    (void)state;
    static const wchar_t *const wide[] = {L"<one>", L"<tw\u00F6>", L"<three>", L"<four>"};
    static const char *const narrow[] = {"<one>", "<tw\xC3\xB6>", "<three>", "<four>"};
    for (size_t i = 0; i < event_catalogue_size; i++) {
        const struct event_entry *entry = &event_catalogue[i];
        assert_true(entry->arguments <= 4);
        char *message = event_text(entry, narrow);
        char *expected = *entry->action == 0 ? str_format("%s\r\n", message)
                                             : str_format("%s\r\n\r\n%s\r\n", message, entry->action);
        char *found = format(log_event_id(entry), wide);
        if (strcmp(found, expected) != 0)
            fail_msg("event %u %s: expected\n%s\nfound\n%s", (unsigned)entry->id, entry->name, expected, found);
        free(found);
        free(expected);
        free(message);
    }
}

static void test_every_category(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= EVENT_CATEGORY_COUNT; i++) {
        char *expected = str_format("%s\r\n", event_category_name(i)), *found = format(i, NULL);
        assert_string_equal(found, expected);
        free(found);
        free(expected);
    }
    char *none = format(EVENT_CATEGORY_COUNT + 1, NULL);
    assert_string_equal(none, "(error 317)");
    free(none);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_event), cmocka_unit_test(test_every_category)};
    if (argc != 2)
        return 2;
    dll_path = argv[1];
    return cmocka_run_group_tests(tests, open_messages, NULL);
}

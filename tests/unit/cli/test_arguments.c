#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/arguments.h"

#define MOST 12

static const char *const words[] = {"gzip", "none", NULL};

static struct error *run(struct cli *cli)
{
    (void)cli;
    return NULL;
}

static const struct command make = {
    .noun = "thing",
    .verb = "make",
    .operands = "ID",
    .operand_count = 1,
    .summary = "Make a thing",
    .details = "Slowly.",
    .example = "hcsctl thing make --from C:\\x one\nhcsctl thing make --from y two",
    .options = {{"--from", NULL, OPTION_TEXT, "DIR", "where from", true, 0, 0, NULL},
                {"--level", "-l", OPTION_NUMBER, "N", "how much", false, -3, 19, NULL},
                {"--also", NULL, OPTION_LIST, "DIR", "more", false, 0, 0, NULL},
                {"--kind", NULL, OPTION_TEXT, "WORD", "which", false, 0, 0, words},
                {"--force", "-f", OPTION_FLAG, NULL, "at any rate", false, 0, 0, NULL},
                {"--wider-than-the-column-of-names", NULL, OPTION_FLAG, NULL, "wide", false, 0, 0, NULL}},
    .run = run,
};
static const struct command list = {.noun = "thing",
                                    .verb = "ls",
                                    .operands = "",
                                    .summary = "List things",
                                    .details = "",
                                    .example = "hcsctl thing ls",
                                    .run = run};
static const struct command look = {
    .noun = "look", .operands = "", .summary = "Look", .details = "", .example = "hcsctl look", .run = run};
static const struct command look_host = {.noun = "look",
                                         .verb = "host",
                                         .operands = "",
                                         .summary = "Look at it",
                                         .details = "",
                                         .example = "hcsctl look host",
                                         .run = run};
static const struct command *const commands[] = {&make, &list, &look, &look_host};

static struct error *parse(struct arguments *arguments, const char *const *texts)
{
    int count = 0;
    while (count < MOST && texts[count] != NULL)
        count++;
    return arguments_read(arguments, commands, sizeof commands / sizeof commands[0], count, texts);
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *texts[MOST];
        const struct command *command;
        const char *operand;
        bool json, force;
        int64_t level;
        const char *kind;
    } rows[] = {
        {{"thing", "ls"}, &list, NULL, false, false, 0, NULL},
        {{"look"}, &look, NULL, false, false, 0, NULL},
        {{"look", "host"}, &look_host, NULL, false, false, 0, NULL},
        {{"--json", "thing", "ls"}, &list, NULL, true, false, 0, NULL},
        {{"thing", "--json", "ls"}, &list, NULL, true, false, 0, NULL},
        {{"thing", "ls", "--json"}, &list, NULL, true, false, 0, NULL},
        {{"thing", "make", "--from", "x", "one"}, &make, "one", false, false, 0, NULL},
        {{"thing", "make", "one", "--from=x"}, &make, "one", false, false, 0, NULL},
        {{"--namespace", "thing", "thing", "make", "--from", "make", "one"}, &make, "one", false, false, 0, NULL},
        {{"thing", "make", "--from", "x", "--level", "-3", "-f", "--", "-one"}, &make, "-one", false, true, -3, NULL},
        {{"thing", "make", "--from", "x", "-l", "19", "--kind", "none", "one"}, &make, "one", false, false, 19, "none"},
        {{"thing", "make", "--from", "x", "--force", "--force", "--", "--json"}, &make, "--json", false, true, 0, NULL},
        {{"thing", "make", "--from", "-", "-"}, &make, "-", false, false, 0, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arguments arguments;
        struct error *error = parse(&arguments, rows[i].texts);
        if (error != NULL)
            fail_msg("row %zu: expected to be understood, found: %s", i, error->message);
        assert_ptr_equal(arguments.command, rows[i].command);
        assert_int_equal(arguments.operand_count, rows[i].operand == NULL ? 0 : 1);
        if (rows[i].operand != NULL)
            assert_string_equal(arguments.operands[0], rows[i].operand);
        assert_int_equal(arguments_flag(&arguments, "--json"), rows[i].json);
        assert_int_equal(arguments_flag(&arguments, "--force"), rows[i].force);
        assert_int_equal(arguments_number(&arguments, "--level", 0), rows[i].level);
        const char *kind = arguments_text(&arguments, "--kind", NULL);
        assert_true(kind == rows[i].kind || strcmp(kind, rows[i].kind) == 0);
        arguments_free(&arguments);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *texts[MOST];
        const char *named, *word;
    } rows[] = {
        {{"--json"}, "", "what to do"},
        {{"things"}, "things", "unknown command"},
        {{"thing"}, "thing", "what to do with it"},
        {{"thing", "mould"}, "mould", "unknown command"},
        {{"thing", "ls", "--from", "x"}, "--from", "unknown option"},
        {{"thing", "ls", "one"}, "one", "too many"},
        {{"thing", "make", "--from", "x"}, "ID", "missing"},
        {{"thing", "make", "one"}, "--from", "--from DIR"},
        {{"thing", "make", "--from", "x", "one", "two"}, "two", "too many"},
        {{"thing", "make", "one", "--from"}, "--from", "needs a value"},
        {{"thing", "make", "one", "--from="}, "--from", "needs a value"},
        {{"thing", "make", "--from", "x", "--from", "y", "one"}, "--from", "twice"},
        {{"thing", "make", "--from", "x", "--level", "20", "one"}, "20", "from -3 to 19"},
        {{"thing", "make", "--from", "x", "--level", "1x", "one"}, "1x", "whole number"},
        {{"thing", "make", "--from", "x", "--level", "", "one"}, "", "whole number"},
        {{"thing", "make", "--from", "x", "--level", "99999999999999999999", "one"},
         "99999999999999999999",
         "whole number"},
        {{"thing", "make", "--from", "x", "--kind", "rar", "one"}, "rar", "gzip, none"},
        {{"thing", "make", "--from", "x", "--force=yes", "one"}, "--force=yes", "no value"},
        {{"thing", "make", "a", "b", "c", "d", "e", "f", "--from", "x"}, "e", "too many"},
        {{"--adress", "x", "look"}, "--adress", "unknown"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arguments arguments;
        struct error *error = parse(&arguments, rows[i].texts);
        if (error == NULL)
            fail_msg("row %zu: expected to be refused", i);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        if (strcmp(error->object, rows[i].named) != 0 || strstr(error->message, rows[i].word) == NULL)
            fail_msg("row %zu: expected %s and \"%s\", found %s: %s", i, rows[i].named, rows[i].word, error->object,
                     error->message);
        error_free(error);
        arguments_free(&arguments);
    }
}

/* --json holds for the error about the rest of the line. */
static void test_json_holds_for_errors(void **state)
{
    (void)state;
    static const char *const texts[][MOST] = {
        {"--json", "thing", "make", "--level", "x"},
        {"thing", "make", "--level", "x", "--json"},
        {"thing", "--json", "mould"},
        {"--json"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct arguments arguments;
        struct error *error = parse(&arguments, texts[i]);
        assert_non_null(error);
        assert_true(arguments_flag(&arguments, "--json"));
        error_free(error);
        arguments_free(&arguments);
    }
}

static void test_list(void **state)
{
    (void)state;
    static const char *const texts[MOST] = {"thing", "make",     "--also", "a", "--from",
                                            "x",     "--also=b", "--also", "a", "one"};
    struct arguments arguments;
    assert_null(parse(&arguments, texts));
    assert_string_equal(arguments_item(&arguments, "--also", 0), "a");
    assert_string_equal(arguments_item(&arguments, "--also", 1), "b");
    assert_string_equal(arguments_item(&arguments, "--also", 2), "a");
    assert_null(arguments_item(&arguments, "--also", 3));
    arguments_free(&arguments);
}

static void test_help(void **state)
{
    (void)state;
    static const struct {
        const char *texts[MOST];
        const char *words[5];
    } rows[] = {
        {{"--help"}, {"thing make --from DIR ID", "thing ls", "look host", "--namespace", "Example:"}},
        {{"thing", "-h"}, {"thing make --from DIR ID", "thing ls", "Example:\n  hcsctl thing make", NULL, NULL}},
        {{"thing", "make", "--help"},
         {"Slowly.", "-l, --level N", "hcsctl thing make --from y two", "--json", "Exit status"}},
        {{"thing", "make", "--help"},
         {"\n  -l, --level N                  how much\n",
          "\n  --wider-than-the-column-of-names\n                                 wide\n", NULL, NULL, NULL}},
        {{"thing", "make", "--help", "--level", "x", "too", "much"}, {"Slowly.", NULL, NULL, NULL, NULL}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arguments arguments;
        struct buffer text = {0};
        assert_null(parse(&arguments, rows[i].texts));
        assert_true(arguments.help);
        arguments_help(&arguments, commands, sizeof commands / sizeof commands[0], &text);
        for (size_t n = 0; n < 5 && rows[i].words[n] != NULL; n++) {
            if (strstr((char *)text.data, rows[i].words[n]) == NULL)
                fail_msg("row %zu: expected \"%s\" in\n%s", i, rows[i].words[n], (char *)text.data);
        }
        buffer_free(&text);
        arguments_free(&arguments);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good), cmocka_unit_test(test_bad),  cmocka_unit_test(test_json_holds_for_errors),
        cmocka_unit_test(test_list), cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

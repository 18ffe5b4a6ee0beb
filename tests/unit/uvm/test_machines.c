/* The utility VMs of an earlier life, over a vmcompute.dll inside the test: who is confirmed, who is released, and that nobody waits
 * for another's turn to learn of it. */
#include "../hcs/fake.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "uvm/machines.h"

#define E(name) HCS_EXPORT_##name
#define VM      "pod@vm"
#define BASE    "C:\\layers\\base"

static struct guard *guard;
static struct compute *compute;
static struct machines *machines;
static char *folder;
static volatile LONG claims;

static struct error *stage(void *context, const char *holder, const char *scratch, json_t *order, json_t **ret_found)
{
    (void)context;
    (void)holder;
    json_decref(order);
    *ret_found =
        json_pack("{s:[{s:s, s:s, s:i, s:b}], s:[], s:s+, s:s, s:s+}", "layers", "path", BASE, "id",
                  "18955d65-d45a-557b-bf1c-49d6dfefc526", "size", 0, "no_ids", 0, "files", "disk", scratch,
                  "\\sandbox.vhdx", "image", BASE "\\UtilityVM\\Files", "machine_disk", scratch, "\\vm\\sandbox.vhdx");
    return NULL;
}

static struct error *claim(void *context, const char *holder, const char *scratch, const char *const *parents,
                           size_t parent_count)
{
    (void)context;
    (void)holder;
    (void)parents;
    InterlockedExchangeAdd(&claims, (LONG)parent_count + (scratch != NULL));
    return NULL;
}

static void unclaim(void *context, const char *holder, const char *scratch, const char *const *parents,
                    size_t parent_count)
{
    (void)context;
    (void)holder;
    (void)parents;
    InterlockedExchangeAdd(&claims, -(LONG)parent_count - (scratch != NULL));
}

static void begin_life(void)
{
    const struct machines_options options = {.compute = compute,
                                             .owner = "hcsd",
                                             .state_dir = folder,
                                             .call_ms = 30000,
                                             .stall_ms = 30000,
                                             .stage = stage,
                                             .claim = claim,
                                             .unclaim = unclaim};
    claims = 0;
    expect_ok(machines_open(&options, &machines));
}

static void end_life(void)
{
    assert_true(machines_close(machines, 30000));
    machines = NULL;
}

static void mount(const char *name)
{
    static const char *const parents[] = {BASE};
    struct uvm_mounted mounted = {0};
    char *holder = str_format("container %s", name), *scratch = str_format("C:\\layers\\%s", name);
    const struct machines_mount order = {.holder = holder,
                                         .container = name,
                                         .vm = VM,
                                         .scratch = scratch,
                                         .parents = parents,
                                         .parent_count = 1,
                                         .machine = {.os_build = 20348, .memory_mb = 1024, .processors = 2}};
    expect_ok(machines_mount(machines, &order, &mounted));
    uvm_mounted_clear(&mounted);
    free(holder);
    free(scratch);
}

static int setup(void **state)
{
    wchar_t temporary[MAX_PATH];
    fixture_setup(state);
    if (GetTempPathW(MAX_PATH, temporary) == 0)
        return -1;
    char *root = win_text(temporary), *name = str_format("hcsd-machines-%lu", GetCurrentProcessId());
    folder = path_join(root, name);
    free(name);
    free(root);
    expect_ok(guard_new(&(struct guard_options){0}, &guard));
    expect_ok(compute_new(&fake.library, guard, NULL, NULL, &compute));
    fake_rule(E(HcsTerminateComputeSystem))->result = HCS_E_SYSTEM_ALREADY_STOPPED;
    return 0;
}

static int teardown(void **state)
{
    if (machines != NULL)
        end_life();
    compute_free(compute);
    assert_true(guard_close(guard, 30000));
    expect_ok(file_delete_folder(folder)); /* which has no document any more */
    free(folder);
    assert_int_equal(claims, 0);
    return fixture_teardown(state);
}

static bool has_no_machine(void *context)
{
    (void)context;
    return !machines_has(machines, VM);
}

static bool has_let_go(void *holder)
{
    return !machines_holds(machines, holder);
}

static void one_that_nobody_owns_is_ended(void **state)
{
    (void)state;
    begin_life();
    mount("a");
    end_life();
    begin_life();
    assert_true(machines_holds(machines, "container a"));
    machines_keep(machines, NULL, 0);
    await_condition(has_no_machine, NULL, "the VM's end");
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 1);
}

static DWORD WINAPI release(void *holder)
{
    expect_ok(machines_release(machines, holder));
    return 0;
}

/* A teardown that was taken up again has the VM's turn, and hangs, when it is told who is still there. */
static void nobody_waits_for_a_turn(void **state)
{
    static const char *const kept[] = {"container b"};
    (void)state;
    begin_life();
    mount("a");
    mount("b");
    end_life();
    begin_life();
    fake_hold(E(HcsModifyComputeSystem));
    HANDLE thread = CreateThread(NULL, 0, release, (void *)"container a", 0, NULL);
    fake_await_entered(E(HcsModifyComputeSystem));
    machines_keep(machines, kept, 1);
    fake_release(E(HcsModifyComputeSystem));
    assert_int_equal(WaitForSingleObject(thread, 30000), WAIT_OBJECT_0);
    CloseHandle(thread);
    assert_false(machines_holds(machines, "container a"));
    assert_true(machines_holds(machines, "container b"));
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 0);
    /* What b has is known to be there: one that comes uses the base's share as it is. */
    unsigned before = fake_calls(E(HcsModifyComputeSystem));
    mount("c");
    assert_int_equal(fake_calls(E(HcsModifyComputeSystem)) - before, 2);
    expect_ok(machines_release(machines, "container b"));
    expect_ok(machines_release(machines, "container c"));
    assert_true(has_no_machine(NULL));
}

/* The same, with the one that has the turn among those who are no more. */
static void who_is_gone_is_released_once(void **state)
{
    (void)state;
    begin_life();
    mount("a");
    mount("b");
    end_life();
    begin_life();
    fake_hold(E(HcsModifyComputeSystem));
    HANDLE thread = CreateThread(NULL, 0, release, (void *)"container a", 0, NULL);
    fake_await_entered(E(HcsModifyComputeSystem));
    machines_keep(machines, NULL, 0);
    fake_release(E(HcsModifyComputeSystem));
    assert_int_equal(WaitForSingleObject(thread, 30000), WAIT_OBJECT_0);
    CloseHandle(thread);
    await_condition(has_no_machine, NULL, "the VM's end");
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 1);
}

/* Who was mounted before it was told is none of an earlier life. */
static void who_came_meanwhile_stays(void **state)
{
    (void)state;
    begin_life();
    mount("a");
    end_life();
    begin_life();
    mount("b");
    machines_keep(machines, NULL, 0);
    await_condition(has_let_go, (void *)"container a", "the release of a");
    assert_true(machines_holds(machines, "container b"));
    assert_int_equal(fake_calls(E(HcsTerminateComputeSystem)), 0);
    expect_ok(machines_release(machines, "container b"));
    assert_true(has_no_machine(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up),
        cmocka_unit_test_setup_teardown(one_that_nobody_owns_is_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_gone_is_released_once, setup, teardown),
        cmocka_unit_test_setup_teardown(who_came_meanwhile_stays, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

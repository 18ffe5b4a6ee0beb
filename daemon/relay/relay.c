/* hcsd-relay-VERSION.exe: holds the pipes of containers' processes and copies between them and the client's, so that hcsd can be
 * restarted, or die, without a container noticing. Started by hcsd (lib/relay), outside of the job object that ends hcsd's
 * workers, from a file of its own whose name has the version in it, so that an upgrade need not wait for it. docs/stdio.md.
 *
 *   hcsd-relay-VERSION.exe --control \\.\pipe\NAME --ready HANDLE
 *
 * HANDLE is an inherited event, set once the pipe is served. The exit code is 0, or the Win32 code of what failed. */
#include <windows.h>

#include <stdlib.h>
#include <wchar.h>

#include "base/harden.h"
#include "daemon/relay/control.h"
#include "daemon/relay/loop.h"

static int fail(struct error *error)
{
    int code = error->code ? (int)error->code : ERROR_GEN_FAILURE;
    error_free(error);
    return code;
}

int wmain(int argc, wchar_t **argv); /* mingw declares none */
int wmain(int argc, wchar_t **argv)
{
    struct loop *loop = NULL;
    struct control *control = NULL;
    harden_process(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
    if (argc != 5 || wcscmp(argv[1], L"--control") != 0 || wcscmp(argv[3], L"--ready") != 0)
        return ERROR_BAD_ARGUMENTS;
    HANDLE ready = (HANDLE)(uintptr_t)wcstoull(argv[4], NULL, 0);
    struct error *error = loop_new(&loop);
    if (!error)
        error = control_open(loop, argv[2], &control);
    if (error)
        return fail(error);
    SetEvent(ready);
    CloseHandle(ready);
    loop_run(loop);
    /* What is still open goes with the process; that is its end. */
    return 0;
}

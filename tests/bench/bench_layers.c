/* bench_layers EMULATOR_DLL FOLDER [ROUNDS]: what a mount and an unmount cost in hcsd itself.
 *
 * In turns: a mount and a release as Create and Delete make them (claims, job, worker process, journal), the same storage calls
 * made directly, and the same documents written. The first less the other two, in each round, is hcsd's own share; its median counts,
 * for what disturbs a round disturbs all three. (The document's removal after a release is not subtracted: nobody waits for it.)
 * Beside it the floor: one message of the size of an order to another process and one back, with nothing done in between. This
 * program is its own worker, and its own echo. */
#include "hcs/storage.h" /* before all else: windows.h */

#include <shellapi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/jobs/jobs.h"
#include "daemon/jobs/process.h"
#include "daemon/worker/worker.h"
#include "hcs/privilege.h"
#include "journal/journal.h"

#define ROUNDS  200
#define MESSAGE 256          /* bytes */
#define ECHO    "bench-echo" /* where the worker's command line has its library */

static void must(struct error *error)
{
    if (error == NULL)
        return;
    char *text = error_text(error);
    fprintf(stderr, "bench_layers: %s\n", text);
    exit(1);
}

static double now_ms(void)
{
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (double)count.QuadPart * 1000 / (double)frequency.QuadPart;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof values[0], compare);
    return values[count / 2];
}

struct bench {
    struct jobs *jobs;
    struct storage *storage;
    struct journal *journal;
    char *base, *scratch, *other;
    HANDLE echo; /* a pipe to the process that echoes */
    double *mount, *release, *mount_calls, *release_calls, *mount_flushes, *release_flushes, *messages;
};

static void through_hcsd(struct bench *bench, size_t round)
{
    const char *parents[1] = {bench->base};
    char *volume = NULL;
    double begin = now_ms();
    must(jobs_mount_layer(bench->jobs, "container bench", bench->scratch, parents, 1, &volume));
    double middle = now_ms();
    must(jobs_release_layer(bench->jobs, "container bench", bench->scratch));
    bench->mount[round] = middle - begin;
    bench->release[round] = now_ms() - middle;
    free(volume);
}

static void directly(struct bench *bench, size_t round)
{
    const char *parents[1] = {bench->base};
    struct hcs_layer_list list = {0};
    char *volume = NULL;
    double begin = now_ms();
    must(hcs_layer_list_make(bench->storage, parents, 1, &list));
    must(storage_attach(bench->storage, bench->other, &list, NULL));
    must(storage_mount_path(bench->storage, bench->other, &volume));
    double middle = now_ms();
    must(storage_detach(bench->storage, bench->other, NULL));
    bench->mount_calls[round] = middle - begin;
    bench->release_calls[round] = now_ms() - middle;
    hcs_layer_list_free(&list);
    free(volume);
}

/* As remains.c has them: written before ActivateLayer and as mounted; before the release. */
static void write_documents(struct bench *bench, size_t round)
{
    struct journal_key key = {NULL, "ebenchaa"};
    json_t *body =
        json_pack("{s:s, s:s, s:s, s:s, s:[s], s:b, s:b}", "kind", "mount", "job", "mount-bench-1", "holder",
                  "container bench", "layer", bench->scratch, "parents", bench->base, "activated", 1, "mounted", 1);
    double begin = now_ms();
    must(journal_save(bench->journal, &key, body));
    must(journal_save(bench->journal, &key, body));
    double middle = now_ms();
    must(journal_save(bench->journal, &key, body));
    bench->mount_flushes[round] = middle - begin;
    bench->release_flushes[round] = now_ms() - middle;
    must(journal_remove(bench->journal, &key));
    json_decref(body);
}

/* All of it, in one direction. Ends the process when the other end is gone. */
static void transfer(HANDLE pipe, bool out, uint8_t *data, OVERLAPPED *overlapped)
{
    DWORD count = 0;
    for (size_t done = 0; done < MESSAGE; done += count) {
        BOOL now = out ? WriteFile(pipe, data + done, (DWORD)(MESSAGE - done), NULL, overlapped)
                       : ReadFile(pipe, data + done, (DWORD)(MESSAGE - done), NULL, overlapped);
        if ((!now && GetLastError() != ERROR_IO_PENDING) || !GetOverlappedResult(pipe, overlapped, &count, !now) ||
            count == 0)
            exit(0);
    }
}

static int echo(HANDLE pipe)
{
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    uint8_t data[MESSAGE];
    for (;;) {
        transfer(pipe, false, data, &overlapped);
        transfer(pipe, true, data, &overlapped);
    }
    return 0;
}

static void exchange(struct bench *bench, size_t round)
{
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    uint8_t data[MESSAGE] = {0};
    double begin = now_ms();
    transfer(bench->echo, true, data, &overlapped);
    transfer(bench->echo, false, data, &overlapped);
    bench->messages[round] = now_ms() - begin;
    CloseHandle(overlapped.hEvent);
}

static void start_echo(struct bench *bench)
{
    struct process process = {0};
    const struct process_start start = {.hcs_library = ECHO, .job = CreateJobObjectW(NULL, NULL)};
    must(process_begin(&start, &process, &bench->echo));
}

static char *make_folder(const char *root, const char *name)
{
    char *path = path_join(root, name);
    must(file_ensure_folder(path));
    return path;
}

static char *make_scratch(struct bench *bench, const char *root, const char *name)
{
    const char *parents[1] = {bench->base};
    struct hcs_layer_list list = {0};
    char *path = path_join(root, name);
    must(hcs_layer_list_make(bench->storage, parents, 1, &list));
    must(storage_create_scratch(bench->storage, path, &list));
    hcs_layer_list_free(&list);
    return path;
}

static void run(const char *library_path, const char *root, size_t rounds)
{
    struct bench bench = {0};
    struct hcs_library *library = NULL;
    char *staging = make_folder(root, "staging"), *state = make_folder(root, "state"), *own = make_folder(root, "own");
    double **lists[] = {&bench.mount,         &bench.release,         &bench.mount_calls, &bench.release_calls,
                        &bench.mount_flushes, &bench.release_flushes, &bench.messages};
    for (size_t i = 0; i < 7; i++)
        *lists[i] = mem_new_array(rounds + 1, double);
    error_free(privilege_enable(privilege_storage, privilege_storage_count));
    must(hcs_library_new(library_path, &library));
    must(storage_new(library, NULL, NULL, &bench.storage));
    must(journal_open(own, "remains", 1, &bench.journal));
    bench.base = make_folder(root, "base");
    free(make_folder(bench.base, "Files"));
    bench.scratch = make_scratch(&bench, root, "scratch");
    bench.other = make_scratch(&bench, root, "other");
    const struct jobs_options options = {.workers = 1,
                                         .queue = 4,
                                         .stall_seconds = 60,
                                         .destroy_seconds = 60,
                                         .call_seconds = 60,
                                         .staging_dir = staging,
                                         .state_dir = state,
                                         .hcs_library = library_path};
    must(jobs_open(&options, &bench.jobs));
    start_echo(&bench);
    for (size_t i = 0; i < 10; i++) { /* workers start, caches fill */
        through_hcsd(&bench, 0);
        directly(&bench, 0);
        write_documents(&bench, 0);
        exchange(&bench, 0);
    }
    for (size_t i = 0; i < rounds; i++) {
        through_hcsd(&bench, i);
        directly(&bench, i);
        write_documents(&bench, i);
        exchange(&bench, i);
    }
    double *own_mount = mem_new_array(rounds, double), *own_release = mem_new_array(rounds, double);
    for (size_t i = 0; i < rounds; i++) {
        own_mount[i] = bench.mount[i] - bench.mount_calls[i] - bench.mount_flushes[i];
        own_release[i] = bench.release[i] - bench.release_calls[i] - bench.release_flushes[i];
    }
    double values[7];
    for (size_t i = 0; i < 7; i++)
        values[i] = median(*lists[i], rounds);
    printf("# mount: %.2f ms through hcsd, of these %.2f ms the emulator's and %.2f ms the journal's\n", values[0],
           values[2], values[4]);
    printf("# unmount: %.2f ms through hcsd, of these %.2f ms the emulator's and %.2f ms the journal's\n", values[1],
           values[3], values[5]);
    printf("# a message to another process and one back: %.2f ms\n", values[6]);
    printf("mount_ms %.2f (hcsd's own share of a mount; at most 1)\n", median(own_mount, rounds));
    printf("unmount_ms %.2f (hcsd's own share of an unmount; at most 1)\n", median(own_release, rounds));
    fflush(stdout);
    jobs_close(bench.jobs, 5000);
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    if (worker_wanted(argc, argv) && argc > 5 && wcscmp(argv[5], L"" ECHO) == 0)
        return echo((HANDLE)(uintptr_t)wcstoull(argv[3], NULL, 0));
    if (worker_wanted(argc, argv))
        return worker_main(argc, argv);
    if (argc < 3) {
        fprintf(stderr, "bench_layers EMULATOR_DLL FOLDER [ROUNDS]\n");
        return 2;
    }
    char *library = win_text(argv[1]), *root = win_text(argv[2]);
    run(library, root, argc > 3 ? (size_t)wcstoul(argv[3], NULL, 10) : ROUNDS);
    free(library);
    free(root);
    return 0;
}

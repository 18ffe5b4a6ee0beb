/* OCI runtime spec (config.json) in, HCS v1 documents out.
 *
 * Sources: opencontainers/runtime-spec 1.3 (config.md, config-windows.md) for what goes in; microsoft/hcsshim's schema1
 * types and moby's local_windows.go for what comes out. Members that are unknown are ignored, members that are known are
 * checked: INVALID_ARGUMENT whose message names the JSON path ("process.env[3] must be text, not a number").
 *
 * Pure: what has to be known of the machine is passed in. A spec does not change once it is loaded and may then be read by
 * many threads. */
#ifndef HCSD_SPEC_SPEC_H
#define HCSD_SPEC_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SPEC_SIZE_LIMIT (8u << 20) /* bytes of JSON */
#define SPEC_LAYERS_MAX 256u

struct json_t;

/* Texts are the document's and live as long as the spec. Text members that are absent are "". */
struct spec_process {
    bool terminal;
    bool has_console;
    uint16_t console_width, console_height;
    const char *cwd;
    const char *username;
    const char *command_line; /* wins over args */
    const char **args;
    size_t arg_count;
    const char **env;
    size_t env_count;
    struct json_t *json; /* owned, only when loaded by spec_process_load */
};

struct spec_mount {
    const char *destination, *source, *type;
    const char **options;
    size_t option_count;
};

struct spec_device {
    const char *id, *id_type;
};

struct spec_windows {
    const char **layer_folders; /* nearest first, scratch last */
    size_t layer_folder_count;
    bool hyperv;
    const char *utility_vm_path;
    bool ignore_flushes_during_boot;
    uint64_t memory_limit; /* bytes; 0: none. So with all limits */
    uint64_t cpu_count, cpu_shares, cpu_maximum;
    bool has_cpu_affinity;
    uint64_t storage_bps, storage_iops;
    const char **endpoints;
    size_t endpoint_count;
    bool allow_unqualified_dns_query;
    const char **dns_search;
    size_t dns_search_count;
    const char *network_shared_container;
    const char *network_namespace;
    const char *credential_spec; /* "" when it is no text */
    bool has_odd_credential_spec;
    struct spec_device *devices;
    size_t device_count;
};

struct spec {
    const char *hostname;
    bool has_root;
    const char *root_path;
    bool root_readonly;
    struct spec_process *process; /* NULL: absent */
    struct spec_mount *mounts;
    size_t mount_count;
    struct spec_windows *windows; /* NULL: absent */
    bool linux_object;
    bool host_process;                  /* annotation microsoft.com/hostprocess-container */
    const char *pod_type, *pod_sandbox; /* annotations io.kubernetes.cri.container-type and .sandbox-id */
    struct json_t *json;
};

/* Parses a whole config.json. RESOURCE_EXHAUSTED above SPEC_SIZE_LIMIT. */
struct error *spec_load(const char *text, size_t size, struct spec **ret_spec) ERROR_MUST_CHECK;
void spec_free(struct spec *spec);

/* An annotation for a spec that has none of the name; those that mean nothing here are passed by. `value` is borrowed. */
void spec_default_annotation(struct spec *spec, const char *name, const char *value);

/* Parses the process object that an exec request carries. */
struct error *spec_process_load(const char *text, size_t size, struct spec_process **ret_process) ERROR_MUST_CHECK;
void spec_process_free(struct spec_process *process);

/* A mount of type windows-layer, which takes the place of windows.layerFolders. */
struct spec_rootfs {
    const char *source;         /* scratch */
    const char *const *parents; /* nearest first */
    size_t parent_count;
};

/* The layers that the container is made of, parents nearest first; the arrays are the spec's or the rootfs's.
 * INVALID_ARGUMENT unless there is exactly one of layerFolders and rootfs (may be NULL), all are folders on local
 * drives, and there are at least a base and a scratch (for Linux: a scratch). */
struct spec_layers {
    const char *scratch;
    const char *const *parents;
    size_t parent_count;
};
struct error *spec_layers(const struct spec *spec, const struct spec_rootfs *rootfs,
                          struct spec_layers *ret_layers) ERROR_MUST_CHECK;

/* Whether it runs in a utility VM: windows.hyperv is there, or it is a Linux container. */
bool spec_is_isolated(const struct spec *spec);

/* The pod that a container belongs to, by the annotations of Kubernetes' CRI. INVALID_ARGUMENT when only one of the two is there
 * or the type is neither sandbox nor container, FAILED_PRECONDITION when a sandbox names another, UNIMPLEMENTED before
 * Windows build 17763. */
struct spec_pod {
    const char *sandbox; /* the sandbox's container id; "": no pod. The spec's */
    bool is_sandbox;
};
struct error *spec_pod(const struct spec *spec, const char *id, uint32_t os_build,
                       struct spec_pod *ret_pod) ERROR_MUST_CHECK;

struct spec_linux_vm {
    const char *folder; /* of kernel and initrd; absolute */
    const char *kernel, *initrd, *boot_parameters;
};

struct spec_render {
    const char *id;
    const char *owner;                /* "hcsd" */
    const struct spec_rootfs *rootfs; /* or NULL */
    /* The mounted scratch, `\\?\Volume{guid}` with or without a trailing backslash, or NULL. A root.path in the spec counts as
     * mounted and is used instead. */
    const char *volume;
    bool mount_later; /* neither is there, and that is no error: VolumePath is left out with a warning (dry run) */
    uint32_t processor_count;             /* of this machine */
    uint32_t os_build;                    /* e.g. 20348; what needs a newer one is UNIMPLEMENTED */
    const struct spec_linux_vm *linux_vm; /* or NULL: Linux containers are UNIMPLEMENTED */
    /* HCS's id of a layer's name, as lower-case text. */
    struct error *(*name_to_guid)(void *context, const char *name, char guid[37]);
    /* Whether the folder LAYER\UtilityVM exists. */
    struct error *(*has_utility_vm)(void *context, const char *path, bool *ret_exists);
    void *context;
};

/* What was noticed and did not make it fail, one sentence each. */
struct spec_warnings {
    char **texts;
    size_t count;
};
void spec_warnings_free(struct spec_warnings *warnings);

/* The document for HcsCreateComputeSystem. Members stand in schema1's order; what is zero or empty is left out, but SystemType,
 * Name, Layers, HvPartition. TerminateOnLastHandleClosed is never set: containers outlive hcsd. INVALID_ARGUMENT for a
 * spec that contradicts itself, UNIMPLEMENTED for what this Windows or hcsd cannot do, NOT_FOUND when no layer has a
 * utility VM; else the callbacks' errors. The caller frees both results; `ret_warnings` may be NULL. */
struct error *spec_render_system(const struct spec *spec, const struct spec_render *render, char **ret_document,
                                 struct spec_warnings *ret_warnings) ERROR_MUST_CHECK;

/* ---- containers in a utility VM of hcsd's own ---- */

/* From this build on they are made with schema 2; before it, HCS makes the VM from the v1 document. */
#define SPEC_BUILD_HOSTED 17763u

/* Whether it goes into a VM of hcsd's own: false for process isolation, for older builds, and for what only the v1 document
 * can express (networks, credentials). */
bool spec_can_be_hosted(const struct spec *spec, uint32_t os_build);

/* The folders, files and pipes of the host that it wants to see, in the order of the spec's mounts. The texts are the spec's,
 * the array is the caller's. */
struct spec_bind {
    const char *host;
    bool read_only;
};
struct error *spec_binds(const struct spec *spec, const struct spec_render *render, struct spec_bind **ret_binds,
                         size_t *ret_count) ERROR_MUST_CHECK;

/* Where things are in the VM. */
struct spec_hosted {
    const char *vm;                          /* its id */
    bool own_vm;                             /* the VM is this container's alone, and has its limits */
    const char *root;                        /* the container's root in the guest */
    const char *scratch_folder, *guest_root; /* Linux */
    struct json_t *layers;                   /* [{"Id","Path"}] */
    char *const *binds;                      /* one for each of spec_binds */
};
/* The document for HcsCreateComputeSystem. Of `render`, id, owner and os_build are used. */
struct error *spec_render_hosted(const struct spec *spec, const struct spec_render *render,
                                 const struct spec_hosted *hosted, char **ret_document,
                                 struct spec_warnings *ret_warnings) ERROR_MUST_CHECK;

/* What the request says of stdio; NULL means: terminal as in the spec, and all pipes. */
struct spec_stdio {
    bool terminal;
    bool in, out, error; /* wanted; a terminal has no stderr */
    bool hosted;         /* in a VM of hcsd's own: a Linux guest then knows its init from the container's document */
};

/* The document for HcsCreateProcess. `init` is the spec's own process for an exec (its cwd is the default) and NULL for the
 * init itself. `spec` tells Linux from Windows. INVALID_ARGUMENT when there is no process or no command. The caller frees the
 * result. */
struct error *spec_render_process(const struct spec *spec, const struct spec_process *process,
                                  const struct spec_process *init, const struct spec_stdio *stdio,
                                  char **ret_document) ERROR_MUST_CHECK;

/* The arguments as one Windows command line that CommandLineToArgvW takes apart again. The caller frees it. */
char *spec_escape_args(const char *const *args, size_t count);

#endif

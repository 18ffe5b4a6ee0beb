/* Any bytes are imported into a tree in memory. What comes out of it must be a tree: each entry in a folder that is there, none
 * behind a link, all streams whole. Then the exporter writes what was imported, and that is imported once more: both trees must
 * be equal, which is the mirror that import and export promise to be. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../export/checksums.h"
#include "../export/memory_packer.h"
#include "base/memory.h"
#include "export/entry.h"
#include "import/import_archive.h"

#define ATTRIBUTE_REPARSE 0x400u
#define NODES_MAX         200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

/* ---- the tree ---- */

enum made { MADE_ENTRY, MADE_LINK, MADE_WHITEOUT };

struct node {
    enum made made;
    char *path, *first;
    bool folder;
    uint32_t attributes;
    uint64_t modified, created;
    struct buffer streams;
};

struct sink {
    struct stream_sink sink;
    struct node *node;
    uint64_t left; /* of the current stream */
    bool finished;
};

struct tree {
    struct import_tree tree;
    struct node *nodes; /* NODES_MAX: pointers into it stay */
    size_t count;
};

static struct error *sink_begin(struct stream_sink *base, const struct stream_header *header)
{
    struct sink *sink = (struct sink *)base;
    require(sink->left == 0 && !sink->finished);
    stream_add_header(&sink->node->streams, header);
    sink->left = header->size;
    return NULL;
}

static struct error *sink_write(struct stream_sink *base, const void *data, size_t size)
{
    struct sink *sink = (struct sink *)base;
    require(size <= sink->left);
    buffer_add(&sink->node->streams, data, size);
    sink->left -= size;
    return NULL;
}

static struct error *sink_finish(struct stream_sink *base)
{
    struct sink *sink = (struct sink *)base;
    require(sink->left == 0 && !sink->finished);
    sink->finished = true;
    return NULL;
}

static void sink_free(struct stream_sink *base)
{
    free(base);
}

static const struct node *find(const struct tree *tree, const char *path, size_t size)
{
    for (size_t i = 0; i < tree->count; i++)
        if (tree->nodes[i].made != MADE_WHITEOUT && strlen(tree->nodes[i].path) == size &&
            memcmp(tree->nodes[i].path, path, size) == 0)
            return &tree->nodes[i];
    return NULL;
}

/* The folder must be there and be one; as staging.c has it. */
static struct error *check_parent(const struct tree *tree, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return NULL;
    const struct node *parent = find(tree, path, (size_t)(slash - path));
    if (!parent || !parent->folder || parent->attributes & ATTRIBUTE_REPARSE)
        return import_refuse(path, "its folder is none");
    return NULL;
}

static struct error *add(struct tree *tree, enum made made, const char *path, struct node **ret_node)
{
    if (tree->count == NODES_MAX)
        return error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "fuzz", path, "enough");
    *ret_node = &tree->nodes[tree->count++];
    **ret_node = (struct node){.made = made, .path = str_copy(path)};
    return NULL;
}

static struct error *tree_create(struct import_tree *base, const struct import_node *node,
                                 struct stream_sink **ret_sink)
{
    struct tree *tree = (struct tree *)base;
    struct node *made = NULL;
    struct error *error = check_parent(tree, node->path);
    if (!error && find(tree, node->path, strlen(node->path)))
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "fuzz", node->path, "twice");
    if (!error)
        error = add(tree, MADE_ENTRY, node->path, &made);
    if (error)
        return error;
    made->folder = node->folder;
    made->attributes = node->attributes;
    made->modified = node->modified;
    made->created = node->created;
    struct sink *sink = mem_new(struct sink);
    sink->sink = (struct stream_sink){sink_begin, sink_write, sink_finish, sink_free};
    sink->node = made;
    *ret_sink = &sink->sink;
    return NULL;
}

static struct error *tree_link(struct import_tree *base, const struct import_name *name, const char *first)
{
    struct tree *tree = (struct tree *)base;
    struct node *made = NULL;
    const struct node *target = find(tree, first, strlen(first));
    struct error *error = check_parent(tree, name->path);
    if (!error && (!target || target->folder || find(tree, name->path, strlen(name->path))))
        error = error_make(ERROR_KIND_NOT_FOUND, "fuzz", name->path, "no such file");
    if (!error)
        error = add(tree, MADE_LINK, name->path, &made);
    if (error)
        return error;
    made->first = str_copy(target->made == MADE_LINK ? target->first : target->path);
    made->attributes = target->attributes;
    made->modified = target->modified;
    made->created = target->created;
    return NULL;
}

static struct error *tree_whiteout(struct import_tree *base, const struct import_name *name)
{
    struct node *made;
    return add((struct tree *)base, MADE_WHITEOUT, name->path, &made);
}

static struct error *tree_sddl(struct import_tree *tree, const char *path, const char *text,
                               struct buffer *ret_descriptor)
{
    (void)tree, (void)path;
    buffer_add_text(ret_descriptor, *text ? text : "-");
    return NULL;
}

static void tree_free(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        free(tree->nodes[i].path);
        free(tree->nodes[i].first);
        buffer_free(&tree->nodes[i].streams);
    }
    free(tree->nodes);
}

/* ---- there and back ---- */

struct bytes {
    const uint8_t *data;
    size_t left;
};

static struct error *read_bytes(void *context, void *data, size_t size, size_t *ret_got)
{
    struct bytes *bytes = context;
    size_t got = size < bytes->left ? size : bytes->left;
    if (got > 0)
        memcpy(data, bytes->data, got);
    bytes->data += got;
    bytes->left -= got;
    *ret_got = got;
    return NULL;
}

static struct error *import(const uint8_t *data, size_t size, bool base, struct tree *ret_tree)
{
    struct bytes bytes = {data, size};
    const struct tar_source source = {read_bytes, &bytes};
    struct export_control control = {0};
    struct deviations deviations = {0};
    *ret_tree = (struct tree){.tree = {tree_create, tree_link, tree_whiteout, tree_sddl}};
    ret_tree->nodes = mem_new_array(NODES_MAX, struct node);
    const struct import_archive_options options = {
        .source = &source, .tree = &ret_tree->tree, .base = base, .control = &control};
    export_control_init(&control);
    struct error *error = import_archive(&options, &deviations);
    deviations_free(&deviations);
    export_control_free(&control);
    return error;
}

static struct error *export_node(const struct node *node, struct packer *packer, struct export_control *control)
{
    const struct entry entry = {
        .path = node->path,
        .folder = node->folder,
        .attributes = node->attributes,
        .modified = node->modified,
        .created = node->created,
    };
    if (node->made == MADE_WHITEOUT)
        return entry_write_whiteout(node->path, packer, control);
    if (node->made == MADE_LINK)
        return entry_write_hard_link(&entry, node->first, packer, control);
    struct deviations deviations = {0};
    struct stream_source *source = stream_source_memory(node->streams.data, 0, node->streams.size, true);
    struct error *error = entry_write(&entry, source, packer, control, &deviations);
    require(error || deviations.total == 0); /* what came from a tar has a place in one */
    stream_source_free(source);
    deviations_free(&deviations);
    return error;
}

static void check_equal(const struct tree *first, const struct tree *second)
{
    require(first->count == second->count);
    for (size_t i = 0; i < first->count; i++) {
        const struct node *a = &first->nodes[i];
        const struct node *b = &second->nodes[i];
        require(a->made == b->made && strcmp(a->path, b->path) == 0);
        if (a->made == MADE_WHITEOUT)
            continue;
        require(a->made != MADE_LINK || strcmp(a->first, b->first) == 0);
        require(a->folder == b->folder && a->attributes == b->attributes);
        require(a->modified == b->modified && a->created == b->created);
        require(a->streams.size == b->streams.size);
        require(a->streams.size == 0 || memcmp(a->streams.data, b->streams.data, a->streams.size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tree first, second;
    bool base = size > 0 && data[size - 1] & 1;
    uint8_t *copy = mem_copy(data, size);
    set_checksums(copy, size);
    struct error *error = import(copy, size, base, &first);
    free(copy);
    if (!error) {
        struct packer packer = {0};
        struct export_control control = {0};
        for (size_t i = 0; i < first.count && !error; i++)
            error = export_node(&first.nodes[i], &packer, &control);
        require(!error || error->kind == ERROR_KIND_RESOURCE_EXHAUSTED);
        if (!error) {
            memset(buffer_reserve(&packer.tar, 1024), 0, 1024);
            packer.tar.size += 1024;
            error = import(packer.tar.data, packer.tar.size, base, &second);
            require(!error);
            check_equal(&first, &second);
            tree_free(&second);
        }
        buffer_free(&packer.tar);
    }
    error_free(error);
    tree_free(&first);
    return 0;
}

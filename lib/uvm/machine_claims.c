#include "uvm/machine.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"

static void claim_clear(struct machine_claim *claim)
{
    for (size_t i = 0; i < claim->parent_count; i++)
        free(claim->parents[i]);
    free(claim->parents);
    free(claim->holder);
    free(claim->scratch);
    *claim = (struct machine_claim){0};
}

static void claim_add_parent(struct machine_claim *claim, const char *parent)
{
    claim->parents = mem_resize_array(claim->parents, claim->parent_count + 1, sizeof claim->parents[0]);
    claim->parents[claim->parent_count++] = str_copy(parent);
}

struct machine_claim *machine_claim_add(struct machine *machine, const char *holder, const char *scratch,
                                        const char *const *parents, size_t count)
{
    machine->claims = mem_resize_array(machine->claims, machine->claim_count + 1, sizeof machine->claims[0]);
    struct machine_claim *claim = &machine->claims[machine->claim_count++];
    *claim = (struct machine_claim){.holder = str_copy(holder), .scratch = str_copy(scratch)};
    for (size_t i = 0; i < count; i++)
        claim_add_parent(claim, parents[i]);
    return claim;
}

struct machine_claim *machine_claim_find(const struct machine *machine, const char *holder)
{
    for (size_t i = 0; i < machine->claim_count; i++)
        if (!machine->claims[i].released && strcmp(machine->claims[i].holder, holder) == 0)
            return &machine->claims[i];
    return NULL;
}

static void claim_end(struct machines *machines, struct machine *machine, struct machine_claim *claim)
{
    machines->options.unclaim(machines->options.context, claim->holder, claim->scratch,
                              (const char *const *)claim->parents, claim->parent_count);
    claim_clear(claim);
    *claim = machine->claims[--machine->claim_count];
}

void machine_claims_free(struct machine *machine)
{
    for (size_t i = 0; i < machine->claim_count; i++)
        claim_clear(&machine->claims[i]);
    free(machine->claims);
}

void machine_claims_end(struct machines *machines, struct machine *machine)
{
    while (machine->claim_count > 0)
        claim_end(machines, machine, &machine->claims[machine->claim_count - 1]);
}

/* The VM's own claim: of layers whose shares it keeps. */
static struct machine_claim *claim_of_machine(struct machine *machine)
{
    char *holder = str_format("utility VM %s", machine->id);
    struct machine_claim *claim = NULL;
    for (size_t i = 0; i < machine->claim_count && claim == NULL; i++)
        if (strcmp(machine->claims[i].holder, holder) == 0)
            claim = &machine->claims[i];
    if (claim == NULL) {
        claim = machine_claim_add(machine, holder, NULL, NULL, 0);
        claim->released = true;
    }
    free(holder);
    return claim;
}

static void claim_pass_on(struct machines *machines, struct machine *machine, const char *parent)
{
    struct machine_claim *own = claim_of_machine(machine);
    for (size_t i = 0; i < own->parent_count; i++)
        if (strcmp(own->parents[i], parent) == 0)
            return;
    struct error *error = machines->options.claim(machines->options.context, own->holder, NULL, &parent, 1);
    if (error == NULL)
        claim_add_parent(own, parent);
    error_free(error);
}

void machine_claim_release(struct machines *machines, struct machine *machine, const char *holder, bool tried,
                           bool clean)
{
    AcquireSRWLockExclusive(&machines->lock);
    struct machine_claim *claim = machine_claim_find(machine, holder);
    if (claim != NULL && !clean) {
        claim->released = true;
    } else if (claim != NULL) {
        bool keeps = tried && uvm_shape_of(machine->vm)->os == UVM_WINDOWS;
        for (size_t i = 0; keeps && i < claim->parent_count; i++) {
            char *parent = str_copy(claim->parents[i]);
            claim_pass_on(machines, machine, parent); /* which moves the list */
            claim = machine_claim_find(machine, holder);
            free(parent);
        }
        claim_end(machines, machine, claim);
    }
    ReleaseSRWLockExclusive(&machines->lock);
}

json_t *machine_claims_encode(const struct machine *machine)
{
    json_t *claims = json_array();
    for (size_t i = 0; i < machine->claim_count; i++) {
        const struct machine_claim *claim = &machine->claims[i];
        json_t *parents = json_array();
        for (size_t k = 0; k < claim->parent_count; k++)
            json_array_append_new(parents, json_string(claim->parents[k]));
        json_array_append_new(claims, json_pack("{s:s, s:s, s:o, s:b}", "holder", claim->holder, "scratch",
                                                claim->scratch != NULL ? claim->scratch : "", "parents", parents,
                                                "released", claim->released));
    }
    return claims;
}

void machine_claims_decode(struct machines *machines, struct machine *machine, const json_t *claims)
{
    size_t index;
    json_t *json;
    json_array_foreach(claims, index, json)
    {
        const char *holder = json_string_value(json_object_get(json, "holder")),
                   *scratch = json_string_value(json_object_get(json, "scratch"));
        const json_t *parents = json_object_get(json, "parents");
        if (holder == NULL || scratch == NULL)
            continue;
        struct machine_claim *claim = machine_claim_add(machine, holder, scratch[0] != '\0' ? scratch : NULL, NULL, 0);
        claim->released = json_is_true(json_object_get(json, "released"));
        claim->recovered = true;
        for (size_t i = 0; i < json_array_size(parents); i++)
            if (json_is_string(json_array_get(parents, i)))
                claim_add_parent(claim, json_string_value(json_array_get(parents, i)));
        error_free(machines->options.claim(machines->options.context, claim->holder, claim->scratch,
                                           (const char *const *)claim->parents, claim->parent_count));
    }
}

/* Who owns which layer. Export and mount exclude each other on one layer; destroy excludes everything, use as a parent
 * included (taking a parent's folder away from under a mounted child raises 0xC0000420 inside vmcompute.dll). Being a parent
 * excludes nothing but destroy: images are exported while containers run on them.
 *
 * Layers are known by their path as text: without `\\?\`, with backslashes, `.` and `..` resolved, a trailing separator
 * dropped, ASCII letters compared without case. Other names of the same folder (8.3 names, junctions, letters beyond ASCII
 * in another case) are not recognised. Pure; one thread at a time (the caller's lock). */
#ifndef HCSD_LAYER_CLAIMS_H
#define HCSD_LAYER_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum claim_mode {
    CLAIM_OWN,     /* exported or mounted */
    CLAIM_USE,     /* a parent of what is exported or mounted */
    CLAIM_DESTROY, /* being destroyed */
};

struct claims;
struct claims *claims_new(void);
void claims_free(struct claims *claims);

/* FAILED_PRECONDITION naming the holder when the claim is excluded by another; INVALID_ARGUMENT when the path is no absolute
 * path. `holder` is for people and identifies the claim at release ("container web", "export 12"). The same holder may claim
 * again and is then to release as often; its own claims exclude it like anybody's. */
struct error *claims_take(struct claims *claims, const char *path, enum claim_mode mode,
                          const char *holder) ERROR_MUST_CHECK;
/* Takes one claim back; one that is not there is ignored and gives false. */
bool claims_release(struct claims *claims, const char *path, enum claim_mode mode, const char *holder);
/* All claims of a holder. */
void claims_release_all(struct claims *claims, const char *holder);
/* Another name for the same claims, e.g. when what is left of an export goes over to the janitor. */
void claims_rename(struct claims *claims, const char *holder, const char *new_holder);

/* Who owns the layer or destroys it, else who uses it; NULL: nobody. Valid until the next change. */
const char *claims_holder(const struct claims *claims, const char *path);
/* Who has a claim on the folder or on anything below it; NULL: nobody. */
const char *claims_holder_below(const struct claims *claims, const char *path);
/* Whether two paths name the same layer, as far as text can tell. */
bool claims_same_layer(const char *a, const char *b);
size_t claims_count(const struct claims *claims);

#endif

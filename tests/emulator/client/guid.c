#include "guid.h"

#include <bcrypt.h>
#include <string.h>
#include <wchar.h>

static const wchar_t known_name[] = L"65bf96e5760a09edf1790cb229e2dfb2dbd0fcdc0bf7451bae099106bfbfea0c";
static const GUID known_guid = {0x18955d65, 0xd45a, 0x557b, {0xbf, 0x1c, 0x49, 0xd6, 0xdf, 0xef, 0xc5, 0x26}};

static const UCHAR name_space[16] = {0x68, 0x63, 0x73, 0x64, 0x2d, 0x65, 0x4d, 0x75,
                                     0xac, 0x61, 0x74, 0x6f, 0x72, 0x2d, 0x6e, 0x73};

GUID guid_from_name(const wchar_t *name)
{
    BCRYPT_ALG_HANDLE algorithm = NULL;
    BCRYPT_HASH_HANDLE hash = NULL;
    UCHAR digest[20] = {0};
    GUID guid;

    if (wcscmp(name, known_name) == 0)
        return known_guid;
    if (BCryptOpenAlgorithmProvider(&algorithm, BCRYPT_SHA1_ALGORITHM, NULL, 0) >= 0 &&
        BCryptCreateHash(algorithm, &hash, NULL, 0, NULL, 0, 0) >= 0) {
        BCryptHashData(hash, (UCHAR *)name_space, sizeof name_space, 0);
        BCryptHashData(hash, (UCHAR *)name, (ULONG)(wcslen(name) * sizeof *name), 0);
        BCryptFinishHash(hash, digest, sizeof digest, 0);
    }
    if (hash != NULL)
        BCryptDestroyHash(hash);
    if (algorithm != NULL)
        BCryptCloseAlgorithmProvider(algorithm, 0);
    guid.Data1 = (ULONG)digest[0] << 24 | (ULONG)digest[1] << 16 | (ULONG)digest[2] << 8 | digest[3];
    guid.Data2 = (USHORT)(digest[4] << 8 | digest[5]);
    guid.Data3 = (USHORT)(((digest[6] << 8 | digest[7]) & 0x0FFF) | 0x5000);
    memcpy(guid.Data4, digest + 8, sizeof guid.Data4);
    guid.Data4[0] = (UCHAR)((guid.Data4[0] & 0x3F) | 0x80);
    return guid;
}

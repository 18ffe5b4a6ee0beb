/* The exports of vmcompute.dll, declared from the ABI's own list. */
#ifndef EMULATOR_CLIENT_EXPORT_H
#define EMULATOR_CLIENT_EXPORT_H

#include "hcs/abi.h"

#define EXPORT(name, parameters) __declspec(dllexport) HRESULT WINAPI name parameters;
HCS_STORAGE_EXPORTS(EXPORT)
HCS_COMPUTE_EXPORTS(EXPORT)
#undef EXPORT

#endif

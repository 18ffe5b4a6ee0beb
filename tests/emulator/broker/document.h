/* Create documents, checked as HCS checks them: schema 1 (SystemType, Name, Layers, …) and schema 2 (SchemaVersion,
 * Container | VirtualMachine | HostingSystemId + HostedSystem). */
#ifndef EMULATOR_BROKER_DOCUMENT_H
#define EMULATOR_BROKER_DOCUMENT_H

#include "broker.h"

/* Locked. Makes the system that the document describes; the caller gets a reference. Fails with 0xC037010D for what is
 * no document or has a member that HCS does not know, 3 for a folder or volume that is not there, 0xC037010F for an id
 * that is taken; the message names the member. */
struct error *document_create(const char *id, const char *text, struct system **ret_system) ERROR_MUST_CHECK;

#endif

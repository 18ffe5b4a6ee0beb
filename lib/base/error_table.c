/* Kinds follow containerd's meaning: what the client asked for wrongly INVALID_ARGUMENT, what is absent NOT_FOUND, what is
 * in the wrong state or in use FAILED_PRECONDITION, what is full RESOURCE_EXHAUSTED, HCS gone UNAVAILABLE.
 * Names in the comments are those of winerror.h, ntstatus.h and hcs's documents. */
#include "base/error_table.h"

#include <errno.h>

#define KIND(name) ERROR_KIND_##name

static const struct error_row win32_rows[] = {
    {1, KIND(UNIMPLEMENTED), "this file system or driver does not know the request"},
    {2, KIND(NOT_FOUND), "the file does not exist"},
    {3, KIND(NOT_FOUND), "the path does not exist"},
    {4, KIND(RESOURCE_EXHAUSTED), "too many files are open"},
    {5, KIND(PERMISSION_DENIED), "access is denied"},
    {6, KIND(INTERNAL), "the handle is not valid any more"},
    {8, KIND(RESOURCE_EXHAUSTED), "the system has no memory left"},
    {13, KIND(INVALID_ARGUMENT), "the data is not valid"},
    {14, KIND(RESOURCE_EXHAUSTED), "the system has no memory left"},
    {15, KIND(NOT_FOUND), "the drive does not exist"},
    {17, KIND(FAILED_PRECONDITION), "source and target are on different volumes"},
    {19, KIND(FAILED_PRECONDITION), "the medium is write-protected"},
    {21, KIND(UNAVAILABLE), "the volume is not ready"},
    {23, KIND(DATA_LOSS), "the data read from disk is damaged (checksum)"},
    {31, KIND(INTERNAL), "a device does not work"},
    {32, KIND(FAILED_PRECONDITION), "another process has it open"},
    {33, KIND(FAILED_PRECONDITION), "another process has locked a part of it"},
    {38, KIND(OUT_OF_RANGE), "the end of the file was reached"},
    {39, KIND(RESOURCE_EXHAUSTED), "the disk is full"},
    {50, KIND(UNIMPLEMENTED), "the request is not supported"},
    {53, KIND(NOT_FOUND), "the network path does not exist"},
    {64, KIND(UNAVAILABLE), "the network name is gone"},
    {67, KIND(NOT_FOUND), "the network name does not exist"},
    {80, KIND(ALREADY_EXISTS), "the file exists already"},
    {82, KIND(INTERNAL), "the directory or file cannot be created"},
    {87, KIND(INVALID_ARGUMENT), "a parameter is not valid"},
    {109, KIND(UNAVAILABLE), "the other end of the pipe is gone"},
    {110, KIND(INTERNAL), "it cannot be opened"},
    {112, KIND(RESOURCE_EXHAUSTED), "the disk is full"},
    {120, KIND(UNIMPLEMENTED), "this system does not have the call"},
    {121, KIND(DEADLINE_EXCEEDED), "the time allowed has passed"},
    {122, KIND(INTERNAL), "the buffer is too small"},
    {123, KIND(INVALID_ARGUMENT), "the name has characters or a form that is not allowed"},
    {124, KIND(UNIMPLEMENTED), "this system does not have that kind of information"},
    {126, KIND(UNAVAILABLE), "the library, or one that it needs, does not exist"},
    {127, KIND(UNIMPLEMENTED), "this system's library does not have the function"},
    {145, KIND(FAILED_PRECONDITION), "the directory is not empty"},
    {161, KIND(INVALID_ARGUMENT), "the path is not valid"},
    {170, KIND(FAILED_PRECONDITION), "it is in use"},
    {183, KIND(ALREADY_EXISTS), "it exists already"},
    {193, KIND(FAILED_PRECONDITION), "the file is no program or library for this processor"},
    {206, KIND(INVALID_ARGUMENT), "the name or path is too long"},
    {230, KIND(FAILED_PRECONDITION), "the pipe is in another state"},
    {231, KIND(UNAVAILABLE), "all instances of the pipe are busy"},
    {232, KIND(UNAVAILABLE), "the pipe is being closed"},
    {233, KIND(UNAVAILABLE), "nobody is at the other end of the pipe"},
    {258, KIND(DEADLINE_EXCEEDED), "the time allowed has passed"},
    {259, KIND(OUT_OF_RANGE), "there is no more data"},
    {267, KIND(INVALID_ARGUMENT), "the directory's name is not valid, or it is no directory"},
    {303, KIND(FAILED_PRECONDITION), "it is being deleted"},
    {317, KIND(UNKNOWN), "the system has no text for the code"},
    {535, KIND(FAILED_PRECONDITION), "a client is connected to the pipe already"},
    {665, KIND(RESOURCE_EXHAUSTED), "a limit of the file system was reached (fragments of one file)"},
    {995, KIND(CANCELLED), "the operation was cancelled"},
    {998, KIND(INTERNAL), "memory was used that is not there"},
    {1056, KIND(ALREADY_EXISTS), "the service runs already"},
    {1058, KIND(FAILED_PRECONDITION), "the service is disabled"},
    {1060, KIND(NOT_FOUND), "the service is not installed"},
    {1062, KIND(FAILED_PRECONDITION), "the service does not run"},
    {1068, KIND(UNAVAILABLE), "a service it depends on did not start"},
    {1072, KIND(FAILED_PRECONDITION),
     "the service is marked for deletion; close all programs that have it open, or reboot"},
    {1073, KIND(ALREADY_EXISTS), "the service exists already"},
    {1115, KIND(UNAVAILABLE), "the system is shutting down"},
    {1117, KIND(DATA_LOSS), "the device reported an input/output error"},
    {1130, KIND(RESOURCE_EXHAUSTED), "the server has no memory left"},
    {1142, KIND(RESOURCE_EXHAUSTED), "the file has as many hard links as the file system allows"},
    {1150, KIND(UNIMPLEMENTED), "this needs a newer version of Windows"},
    {1167, KIND(UNAVAILABLE), "the device is not connected"},
    {1168, KIND(NOT_FOUND), "it does not exist"},
    {1175, KIND(INTERNAL), "the file to be replaced could not be removed"},
    {1223, KIND(CANCELLED), "it was cancelled"},
    {1224, KIND(FAILED_PRECONDITION), "another process has a part of the file mapped into its memory"},
    {1225, KIND(UNAVAILABLE), "the connection was refused"},
    {1235, KIND(ABORTED), "the request was aborted"},
    {1295, KIND(RESOURCE_EXHAUSTED), "the disk quota is used up"},
    {1300, KIND(PERMISSION_DENIED),
     "not all privileges are held; run it as LocalSystem or as an elevated administrator"},
    {1307, KIND(PERMISSION_DENIED), "this security identifier may not be made the owner"},
    {1314, KIND(PERMISSION_DENIED), "a privilege is missing; run it as LocalSystem or as an elevated administrator"},
    {1326, KIND(PERMISSION_DENIED), "user name or password is wrong"},
    {1332, KIND(NOT_FOUND), "the account name is not known"},
    {1337, KIND(INVALID_ARGUMENT), "the security identifier is not valid"},
    {1338, KIND(INVALID_ARGUMENT), "the security descriptor is not valid"},
    {1346, KIND(PERMISSION_DENIED), "the client's impersonation level is too low"},
    {1368, KIND(FAILED_PRECONDITION), "the pipe's client cannot be impersonated before something was read"},
    {1392, KIND(DATA_LOSS), "the file or directory is damaged; run chkdsk"},
    {1393, KIND(DATA_LOSS), "the disk's structure is damaged; run chkdsk"},
    {1450, KIND(RESOURCE_EXHAUSTED), "system resources are used up"},
    {1455, KIND(RESOURCE_EXHAUSTED), "the paging file is too small"},
    {1460, KIND(DEADLINE_EXCEEDED), "the time allowed has passed"},
    {1722, KIND(UNAVAILABLE), "the service does not answer (RPC)"},
    {1723, KIND(UNAVAILABLE), "the service is too busy (RPC)"},
    {1726, KIND(UNAVAILABLE), "the service ended while it was being called (RPC)"},
    {1727, KIND(UNAVAILABLE), "the service ended while it was being called and did nothing (RPC)"},
    {1753, KIND(UNAVAILABLE), "the service does not answer (no endpoint)"},
    {1816, KIND(RESOURCE_EXHAUSTED), "a quota is used up"},
    {1920, KIND(FAILED_PRECONDITION), "the file cannot be used by the system"},
    {2404, KIND(FAILED_PRECONDITION), "the device is in use"},
    {4312, KIND(NOT_FOUND), "the object does not exist"},
    {4390, KIND(FAILED_PRECONDITION), "it is no reparse point"},
    {4392, KIND(DATA_LOSS), "the data of the reparse point is not valid"},
    {4393, KIND(FAILED_PRECONDITION), "the reparse point's tag is not valid"},
    {4394, KIND(FAILED_PRECONDITION), "the reparse point has another tag"},
};

static const struct error_row hresult_rows[] = {
    {0x80004001, KIND(UNIMPLEMENTED), "the request is not implemented"},
    {0x80004002, KIND(UNIMPLEMENTED), "the interface is not supported"},
    {0x80004003, KIND(INTERNAL), "a pointer is not valid"},
    {0x80004004, KIND(ABORTED), "the operation was aborted"},
    {0x80004005, KIND(UNKNOWN), "it failed for a reason that was not stated"},
    {0x8000FFFF, KIND(INTERNAL), "it failed in a way that nobody expected"},
    {0x800401F3, KIND(INVALID_ARGUMENT), "the class string is not valid"},
    {0x800710D8, KIND(NOT_FOUND), "the object does not exist"},
    {0x803B0001, KIND(NOT_FOUND), "the network does not exist"},
    {0x803B0002, KIND(NOT_FOUND), "the network endpoint does not exist"},
    /* HCS. Both 0xC037xxxx and 0x8037xxxx are found here. */
    {0xC0370100, KIND(ABORTED), "the container was ended while it started"},
    {0xC0370101, KIND(FAILED_PRECONDITION), "the image's Windows version does not match the host's"},
    {0xC0370102, KIND(FAILED_PRECONDITION), "Hyper-V is not installed or virtualisation is off"},
    {0xC0370103, KIND(INTERNAL), "the operation is still under way"},
    {0xC0370105, KIND(FAILED_PRECONDITION), "the container or process is in a state that does not allow it"},
    {0xC0370106, KIND(ABORTED), "the container ended unexpectedly"},
    {0xC0370107, KIND(ABORTED), "the container was forced to end"},
    {0xC0370108, KIND(UNAVAILABLE), "the connection to the container could not be made"},
    {0xC0370109, KIND(DEADLINE_EXCEEDED), "the container did not connect in time"},
    {0xC037010A, KIND(UNAVAILABLE), "the connection to the container was closed"},
    {0xC037010B, KIND(UNIMPLEMENTED), "this version of Windows does not know the request"},
    {0xC037010C, KIND(UNIMPLEMENTED), "the container's protocol version is not supported"},
    {0xC037010D, KIND(INVALID_ARGUMENT), "HCS did not accept the document"},
    {0xC037010E, KIND(NOT_FOUND), "HCS knows no container of that id"},
    {0xC037010F, KIND(ALREADY_EXISTS), "HCS has a container of that id already"},
    {0xC0370110, KIND(FAILED_PRECONDITION), "the container has stopped already"},
    {0xC0370111, KIND(INTERNAL), "the container broke the protocol"},
    {0xC0370112, KIND(FAILED_PRECONDITION), "a layer is not valid"},
    {0xC0370113, KIND(UNIMPLEMENTED), "this needs a preview version of Windows"},
    {0xC0370114, KIND(UNAVAILABLE), "the Host Compute Service is not available"},
    {0xC0370115, KIND(INTERNAL), "the HCS operation was not started"},
    {0xC0370116, KIND(INTERNAL), "the HCS operation was started already"},
    {0xC0370117, KIND(INTERNAL), "the HCS operation is still under way"},
    {0xC0370118, KIND(DEADLINE_EXCEEDED), "the HCS operation did not end in time"},
    {0xC0370119, KIND(INTERNAL), "another callback is set already"},
    {0xC037011A, KIND(RESOURCE_EXHAUSTED), "HCS could not allocate its result"},
    {0xC037011B, KIND(PERMISSION_DENIED), "HCS denied access; run it as LocalSystem or as an elevated administrator"},
    {0xC037011C, KIND(ABORTED), "the guest reported a critical error"},
    {0xC037011D, KIND(NOT_FOUND), "there is no information on the process any more"},
    {0xC037011E, KIND(UNAVAILABLE), "the connection to the Host Compute Service broke"},
    {0xC037011F, KIND(NOT_FOUND), "the process has ended already"},
    {0xC0370120, KIND(FAILED_PRECONDITION), "the container is not set up for this operation"},
    {0xC0370121, KIND(CANCELLED), "the HCS operation was cancelled already"},
};

static const struct error_row ntstatus_rows[] = {
    {0x00000102, KIND(DEADLINE_EXCEEDED), "the time allowed has passed"},
    {0x80000005, KIND(INTERNAL), "the buffer is too small"},
    {0x80000006, KIND(OUT_OF_RANGE), "there are no more files"},
    {0x8000001A, KIND(OUT_OF_RANGE), "there are no more entries"},
    {0x8000002D, KIND(FAILED_PRECONDITION), "the open stopped at a symbolic link or mount point"},
    {0xC0000001, KIND(UNKNOWN), "it failed for a reason that was not stated"},
    {0xC0000002, KIND(UNIMPLEMENTED), "the request is not implemented"},
    {0xC0000003, KIND(UNIMPLEMENTED), "this system does not have that kind of information"},
    {0xC0000005, KIND(INTERNAL), "memory was used that is not there"},
    {0xC0000008, KIND(INTERNAL), "the handle is not valid"},
    {0xC000000D, KIND(INVALID_ARGUMENT), "a parameter is not valid"},
    {0xC000000F, KIND(NOT_FOUND), "the file does not exist"},
    {0xC0000010, KIND(UNIMPLEMENTED), "this file system or driver does not know the request"},
    {0xC0000011, KIND(OUT_OF_RANGE), "the end of the file was reached"},
    {0xC0000017, KIND(RESOURCE_EXHAUSTED), "the system has no memory left"},
    {0xC0000022, KIND(PERMISSION_DENIED), "access is denied"},
    {0xC0000024, KIND(INTERNAL), "the object is of another type"},
    {0xC0000033, KIND(INVALID_ARGUMENT), "the name has characters or a form that is not allowed"},
    {0xC0000034, KIND(NOT_FOUND), "the name does not exist"},
    {0xC0000035, KIND(ALREADY_EXISTS), "the name exists already"},
    {0xC000003A, KIND(NOT_FOUND), "the path does not exist"},
    {0xC000003B, KIND(INVALID_ARGUMENT), "the path is not valid"},
    {0xC0000043, KIND(FAILED_PRECONDITION), "another process has it open"},
    {0xC0000044, KIND(RESOURCE_EXHAUSTED), "the disk quota is used up"},
    {0xC0000054, KIND(FAILED_PRECONDITION), "another process has locked a part of it"},
    {0xC0000056, KIND(FAILED_PRECONDITION), "it is being deleted but somebody still has it open"},
    {0xC0000061, KIND(PERMISSION_DENIED), "a privilege is missing"},
    {0xC000007F, KIND(RESOURCE_EXHAUSTED), "the disk is full"},
    {0xC000009A, KIND(RESOURCE_EXHAUSTED), "system resources are used up"},
    {0xC00000A2, KIND(FAILED_PRECONDITION), "the medium is write-protected"},
    {0xC00000B5, KIND(DEADLINE_EXCEEDED), "the device did not answer in time"},
    {0xC00000BA, KIND(FAILED_PRECONDITION), "it is a directory"},
    {0xC00000BB, KIND(UNIMPLEMENTED), "the request is not supported"},
    {0xC00000D4, KIND(FAILED_PRECONDITION), "source and target are on different volumes"},
    {0xC00000FB, KIND(FAILED_PRECONDITION), "the directory is redirected"},
    {0xC0000101, KIND(FAILED_PRECONDITION), "the directory is not empty"},
    {0xC0000102, KIND(DATA_LOSS), "the file or directory is damaged; run chkdsk"},
    {0xC0000103, KIND(FAILED_PRECONDITION), "it is no directory"},
    {0xC0000106, KIND(INVALID_ARGUMENT), "the name is too long"},
    {0xC000010A, KIND(FAILED_PRECONDITION), "the process is ending"},
    {0xC0000120, KIND(CANCELLED), "the operation was cancelled"},
    {0xC0000121, KIND(FAILED_PRECONDITION), "it cannot be deleted: read-only, or mapped into some process's memory"},
    {0xC0000123, KIND(FAILED_PRECONDITION), "the file has been deleted"},
    {0xC000014B, KIND(UNAVAILABLE), "the other end of the pipe is gone"},
    {0xC0000185, KIND(DATA_LOSS), "the device reported an input/output error"},
    {0xC0000225, KIND(NOT_FOUND), "it does not exist"},
    {0xC0000275, KIND(FAILED_PRECONDITION), "it is no reparse point"},
    {0xC0000276, KIND(FAILED_PRECONDITION), "the reparse point's tag is not valid"},
    {0xC0000278, KIND(DATA_LOSS), "the data of the reparse point is not valid"},
    {0xC0000279, KIND(FAILED_PRECONDITION), "no driver handles the reparse point's tag"},
    {0xC0000280, KIND(FAILED_PRECONDITION), "too many links had to be followed"},
    {0xC0000420, KIND(INTERNAL), "an assertion failed in the call"},
    {0xC000042B, KIND(FAILED_PRECONDITION), "the shadow copy cannot be changed"},
    {0xC0000904, KIND(RESOURCE_EXHAUSTED), "the file is larger than the file system allows"},
    {0xC000CF00, KIND(UNAVAILABLE), "the file's content is with a cloud provider"},
};

static const struct error_row errno_rows[] = {
    {EPERM, KIND(PERMISSION_DENIED), "it is not permitted"},
    {ENOENT, KIND(NOT_FOUND), "the file does not exist"},
    {EIO, KIND(DATA_LOSS), "the device reported an input/output error"},
    {EBADF, KIND(INTERNAL), "the file is not open"},
    {EAGAIN, KIND(RESOURCE_EXHAUSTED), "no resource is free at the moment"},
    {ENOMEM, KIND(RESOURCE_EXHAUSTED), "the system has no memory left"},
    {EACCES, KIND(PERMISSION_DENIED), "access is denied"},
    {EBUSY, KIND(FAILED_PRECONDITION), "it is in use"},
    {EEXIST, KIND(ALREADY_EXISTS), "it exists already"},
    {ENOTDIR, KIND(FAILED_PRECONDITION), "it is no directory"},
    {EISDIR, KIND(FAILED_PRECONDITION), "it is a directory"},
    {EINVAL, KIND(INVALID_ARGUMENT), "a parameter is not valid"},
    {EMFILE, KIND(RESOURCE_EXHAUSTED), "too many files are open"},
    {ENOSPC, KIND(RESOURCE_EXHAUSTED), "the disk is full"},
    {EPIPE, KIND(UNAVAILABLE), "the other end of the pipe is gone"},
    {ERANGE, KIND(OUT_OF_RANGE), "the value is out of range"},
    {ENAMETOOLONG, KIND(INVALID_ARGUMENT), "the name is too long"},
    {ENOSYS, KIND(UNIMPLEMENTED), "this system does not have the call"},
    {ENOTEMPTY, KIND(FAILED_PRECONDITION), "the directory is not empty"},
    {EILSEQ, KIND(INVALID_ARGUMENT), "the bytes are no text"},
};

#define FACILITY_MASK     0x1FFF0000u
#define FACILITY_OF_WIN32 0x00070000u
#define FACILITY_OF_HCS   0x00370000u
#define NTSTATUS_BIT      0x10000000u

const struct error_row *error_table_rows(enum error_origin origin, size_t *ret_count)
{
#define ROWS(table) (*ret_count = sizeof(table) / sizeof(table)[0], (table))
    switch (origin) {
    case ERROR_ORIGIN_WIN32:
        return ROWS(win32_rows);
    case ERROR_ORIGIN_HRESULT:
        return ROWS(hresult_rows);
    case ERROR_ORIGIN_NTSTATUS:
        return ROWS(ntstatus_rows);
    case ERROR_ORIGIN_ERRNO:
        return ROWS(errno_rows);
    case ERROR_ORIGIN_NONE:
        break;
    }
    *ret_count = 0;
    return NULL;
}

uint32_t error_win32_of_hresult(uint32_t hresult)
{
    return (hresult & 0x80000000u) != 0 && (hresult & FACILITY_MASK) == FACILITY_OF_WIN32 ? hresult & 0xFFFF : 0;
}

/* Ascending order is not asked of the tables; a lookup happens once per error. */
static const struct error_row *find(enum error_origin origin, uint32_t code)
{
    size_t count;
    const struct error_row *rows = error_table_rows(origin, &count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].code == code)
            return &rows[i];
    return NULL;
}

const struct error_row *error_table_find(enum error_origin origin, uint32_t code)
{
    const struct error_row *row = NULL;
    bool severe = (code & 0x80000000u) != 0;
    if (origin != ERROR_ORIGIN_ERRNO && severe && (code & FACILITY_MASK) == FACILITY_OF_HCS)
        return find(ERROR_ORIGIN_HRESULT, (code & 0xFFFF) | 0xC0370000u);
    if (origin == ERROR_ORIGIN_HRESULT) {
        row = find(origin, code);
        if (row == NULL && error_win32_of_hresult(code) != 0)
            row = find(ERROR_ORIGIN_WIN32, error_win32_of_hresult(code));
        if (row == NULL && (code & NTSTATUS_BIT) != 0) /* HRESULT_FROM_NT */
            row = find(ERROR_ORIGIN_NTSTATUS, code & ~NTSTATUS_BIT);
        return row;
    }
    return find(origin, code);
}

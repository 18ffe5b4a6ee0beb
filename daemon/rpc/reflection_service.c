#include "daemon/rpc/reflection_service.h"

#include "base/memory.h"
#include "daemon/rpc/descriptors.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest Request;
typedef Grpc__Reflection__V1__ServerReflectionResponse Response;
#define ASKED(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define TOLD(what)  GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

struct reflection_service {
    struct rpc_service service;
    struct descriptors *descriptors;
    char **names; /* of what is served */
    size_t name_count;
};

static void answer_error(struct rpc_call *call, Response *response, enum error_kind kind, const char *message)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = (int32_t)kind;
    error.error_message = (char *)message;
    response->message_response_case = TOLD(ERROR_RESPONSE);
    response->error_response = &error;
    rpc_call_send(call, &response->base, NULL, NULL);
}

static void answer_file(const struct reflection_service *reflection, struct rpc_call *call, Response *response,
                        const struct descriptor_file *file)
{
    if (file == NULL) {
        answer_error(call, response, ERROR_KIND_NOT_FOUND, "hcsd knows no such file or symbol");
        return;
    }
    const struct descriptor_file **files;
    size_t count = descriptors_closure(reflection->descriptors, file, &files);
    ProtobufCBinaryData *data = mem_new_array(count, ProtobufCBinaryData);
    for (size_t i = 0; i < count; i++)
        data[i] = (ProtobufCBinaryData){files[i]->size, (uint8_t *)files[i]->data};
    Grpc__Reflection__V1__FileDescriptorResponse answer = GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    answer.file_descriptor_proto = data;
    answer.n_file_descriptor_proto = count;
    response->message_response_case = TOLD(FILE_DESCRIPTOR_RESPONSE);
    response->file_descriptor_response = &answer;
    rpc_call_send(call, &response->base, NULL, NULL);
    free(data);
    free(files);
}

static void answer_services(const struct reflection_service *reflection, struct rpc_call *call, Response *response)
{
    Grpc__Reflection__V1__ServiceResponse *services =
        mem_new_array(reflection->name_count, Grpc__Reflection__V1__ServiceResponse);
    Grpc__Reflection__V1__ServiceResponse **pointers =
        mem_new_array(reflection->name_count, Grpc__Reflection__V1__ServiceResponse *);
    for (size_t i = 0; i < reflection->name_count; i++) {
        grpc__reflection__v1__service_response__init(&services[i]);
        services[i].name = reflection->names[i];
        pointers[i] = &services[i];
    }
    Grpc__Reflection__V1__ListServiceResponse list = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    list.service = pointers;
    list.n_service = reflection->name_count;
    response->message_response_case = TOLD(LIST_SERVICES_RESPONSE);
    response->list_services_response = &list;
    rpc_call_send(call, &response->base, NULL, NULL);
    free(pointers);
    free(services);
}

/* There are no extensions in protobuf 3 but of options, and none of ours. */
static void answer_extension_numbers(const struct reflection_service *reflection, struct rpc_call *call,
                                     Response *response, char *type)
{
    if (!descriptors_is_message(reflection->descriptors, type)) {
        answer_error(call, response, ERROR_KIND_NOT_FOUND, "hcsd knows no such message");
        return;
    }
    Grpc__Reflection__V1__ExtensionNumberResponse numbers = GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    numbers.base_type_name = type;
    response->message_response_case = TOLD(ALL_EXTENSION_NUMBERS_RESPONSE);
    response->all_extension_numbers_response = &numbers;
    rpc_call_send(call, &response->base, NULL, NULL);
}

static void handle_info(struct rpc_call *call, const ProtobufCMessage *message, void *context)
{
    const struct reflection_service *reflection = context;
    if (message == NULL) {
        rpc_call_finish(call);
        return;
    }
    const Request *request = (const Request *)message;
    Response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    response.valid_host = request->host;
    response.original_request = (Request *)request;
    switch (request->message_request_case) {
    case ASKED(FILE_BY_FILENAME):
        answer_file(reflection, call, &response, descriptors_file(reflection->descriptors, request->file_by_filename));
        break;
    case ASKED(FILE_CONTAINING_SYMBOL):
        answer_file(reflection, call, &response,
                    descriptors_symbol(reflection->descriptors, request->file_containing_symbol));
        break;
    case ASKED(FILE_CONTAINING_EXTENSION):
        answer_error(call, &response, ERROR_KIND_NOT_FOUND, "hcsd has no extensions");
        break;
    case ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE):
        answer_extension_numbers(reflection, call, &response, request->all_extension_numbers_of_type);
        break;
    case ASKED(LIST_SERVICES):
        answer_services(reflection, call, &response);
        break;
    default:
        answer_error(call, &response, ERROR_KIND_INVALID_ARGUMENT, "the request asks for nothing that hcsd knows");
        break;
    }
}

static const struct rpc_method methods[] = {
    {"ServerReflectionInfo", &grpc__reflection__v1__server_reflection_request__descriptor,
     &grpc__reflection__v1__server_reflection_response__descriptor, RPC_BIDI_STREAM, handle_info},
};

static void add(struct reflection_service *reflection, const struct rpc_service *service)
{
    reflection->names = mem_resize_array(reflection->names, reflection->name_count + 2, sizeof *reflection->names);
    reflection->names[reflection->name_count++] = (char *)service->name;
    if (service->alias == NULL)
        return;
    reflection->names[reflection->name_count++] = (char *)service->alias;
    descriptors_add_alias(reflection->descriptors, service->name, service->alias);
}

struct error *reflection_service_open(const struct rpc_service *const *services, size_t count, const uint8_t *set,
                                      size_t size, struct reflection_service **ret_reflection)
{
    struct reflection_service *reflection = mem_new(struct reflection_service);
    struct error *error = descriptors_open(set, size, &reflection->descriptors);
    if (error != NULL) {
        reflection_service_close(reflection);
        return error;
    }
    reflection->service =
        (struct rpc_service){"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", methods,
                             sizeof methods / sizeof methods[0], reflection};
    for (size_t i = 0; i < count; i++)
        add(reflection, services[i]);
    add(reflection, &reflection->service);
    *ret_reflection = reflection;
    return NULL;
}

const struct rpc_service *reflection_service_table(const struct reflection_service *reflection)
{
    return &reflection->service;
}

void reflection_service_close(struct reflection_service *reflection)
{
    if (reflection == NULL)
        return;
    descriptors_close(reflection->descriptors);
    free(reflection->names);
    free(reflection);
}

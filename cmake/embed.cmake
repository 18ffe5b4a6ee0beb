# cmake -DINPUT=file -DNAME=symbol -DOUTPUT=path -P embed.cmake: writes OUTPUT.c and OUTPUT.h with the bytes of INPUT as NAME[] and NAME_size.
file(READ "${INPUT}" bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n    " bytes "${bytes}")
get_filename_component(header "${OUTPUT}.h" NAME)
string(TOUPPER "${NAME}_H" guard)
file(WRITE "${OUTPUT}.c" "#include \"${header}\"\n\nconst unsigned char ${NAME}[] = {\n    ${bytes}\n};\nconst size_t ${NAME}_size = sizeof(${NAME});\n")
file(WRITE "${OUTPUT}.h" "#ifndef ${guard}\n#define ${guard}\n\n#include <stddef.h>\n\nextern const unsigned char ${NAME}[];\nextern const size_t ${NAME}_size;\n\n#endif\n")

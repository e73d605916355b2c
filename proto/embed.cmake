# Writes the bytes of INPUT as a C++ array to OUTPUT. Run with cmake -P.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "// Generated from proto/config.proto: a FileDescriptorSet with comments.
#include <cstddef>
namespace lockstep::proto {
extern const unsigned char kConfigDescriptor[];
extern const size_t kConfigDescriptorSize;
const unsigned char kConfigDescriptor[] = {
${bytes}};
const size_t kConfigDescriptorSize = sizeof(kConfigDescriptor);
}  // namespace lockstep::proto
")

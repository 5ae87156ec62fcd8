/* fuzz_safetensors.c: any bytes are a safetensors file or an error. */
#include "libcore/base.h"
#include "formats/fuzz/fuzz_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_format("safetensors", data, size); }

// What a library of CUDA kernels tells of itself: a line "name(parameters)" per kernel, as declarations.h has them.
extern "C" const char* kernel_signatures() {
  return
#define CUDA_KERNEL(name, ...) #name "(" #__VA_ARGS__ ")\n"
#include "declarations.h"
      ;
}

// What this library was compiled with and for, so that a machine it does not serve is known before the first launch.
#ifndef STEEL_CUDA_ARCHITECTURES
#define STEEL_CUDA_ARCHITECTURES ""
#endif
#ifndef CUDART_VERSION
#define CUDART_VERSION 0
#endif

// Compute capabilities, as "8.0 9.0+PTX"; "+PTX": and all later ones. Empty: not known.
extern "C" const char* cuda_architectures() { return STEEL_CUDA_ARCHITECTURES; }

// 1000 * major + 10 * minor of the CUDA runtime inside; 0: not known.
extern "C" int cuda_runtime() { return CUDART_VERSION; }

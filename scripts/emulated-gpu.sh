#!/usr/bin/env bash
# Makes a folder with stand-ins for NVIDIA's driver and cuBLASLt that compute on the CPU, so that the
# whole program runs with `--device cuda` on a machine without a GPU, very slowly:
#
#   scripts/emulated-gpu.sh FOLDER
#   source FOLDER/environment
#
# NVRTC is needed as on a GPU; scripts/fetch-nvrtc.sh brings it.
set -euo pipefail
folder=$(mkdir -p "${1:?a folder}" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
driver=Tests/ComputeCUDATests/FakeDriver emulation=Tests/CUDAEmulation
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
clang -c -fPIC -O2 -pthread -o "$scratch/driver.o" $driver/driver.c
clang++ -shared -fPIC -O2 -std=c++17 -ffp-contract=off -pthread -o "$folder/libcuda.so.1" \
  -I$emulation/include -I$emulation/emulated -ISources/CCUDA/kernels \
  $driver/emulated.cpp $emulation/emulation.cpp $emulation/fibers.cpp "$scratch/driver.o"
clang -shared -fPIC -O2 -o "$folder/libcublasLt.so.13" $driver/cublaslt.c
printf 'export %s=%q\n' ACCELERATE_CUDA_DRIVER_LIB "$folder/libcuda.so.1" \
  ACCELERATE_CUBLASLT_LIB "$folder/libcublasLt.so.13" \
  ACCELERATE_CUDA_LIB_DIR "$PWD/.build/nvrtc" ACCELERATE_NCCL_LIB none >"$folder/environment"

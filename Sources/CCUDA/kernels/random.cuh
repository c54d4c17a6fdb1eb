// Random numbers by counter.
#pragma once
#include <common.cuh>

/// Philox 4x32-10, the same numbers as CounterGenerator in Sources/Compute.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", figure 2 and table 2.
DEVICE void random_words(u32 (&counter)[4], u32 key0, u32 key1) {
  for (int round = 0; round < 10; round++) {
    const u32 low0 = counter[0] * 0xD2511F53u, high0 = multiply_high(counter[0], 0xD2511F53u);
    const u32 low1 = counter[2] * 0xCD9E8D57u, high1 = multiply_high(counter[2], 0xCD9E8D57u);
    counter[0] = high1 ^ counter[1] ^ key0;
    counter[2] = high0 ^ counter[3] ^ key1;
    counter[1] = low1;
    counter[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

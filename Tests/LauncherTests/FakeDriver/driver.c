// A CUDA driver with FAKE_GPUS devices and no power to compute. It hides what CUDA_VISIBLE_DEVICES does
// not name, by index or by UUID (GPU-0, GPU-1, ...), as the real one does.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count, devices[64];

int cuInit(unsigned flags) {
  (void)flags;
  const char *all = getenv("FAKE_GPUS"), *visible = getenv("CUDA_VISIBLE_DEVICES");
  const int total = all ? atoi(all) : 0;
  count = 0;
  if (visible == NULL) {
    while (count < total) devices[count] = count, count++;
    return 0;
  }
  char text[256];
  snprintf(text, sizeof text, "%s", visible);
  for (char *word = strtok(text, ","); word != NULL; word = strtok(NULL, ",")) {
    if (strncmp(word, "GPU-", 4) == 0) word += 4;
    char *end;
    const long number = strtol(word, &end, 10);
    // Nothing is visible from the first mistake on.
    if (end == word || *end != 0 || number < 0 || number >= total) break;
    devices[count++] = (int)number;
  }
  return 0;
}

int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuDeviceGetCount(int *result) { return *result = count, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = devices[ordinal], ordinal >= count; }
int cuDeviceGetName(char *name, int length, int device) {
  return snprintf(name, length, "Fake GPU %d", device), 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = (size_t)80 << 30, 0 * device; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 33: *value = 0x3b + 0x10 * device; return 0;
    case 34: case 50: *value = 0; return 0;
    case 75: *value = 9; return 0;
    case 76: *value = 0; return 0;
    default: *value = 0; return 0;
  }
}

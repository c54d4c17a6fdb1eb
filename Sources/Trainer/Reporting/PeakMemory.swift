internal import DistributedTraining

/// The memory of this process.
package enum PeakMemory {
  /// The most memory that was resident at one time, in bytes; 0 where the system does not tell.
  package static func byteCount() -> Int { kernelByteCount("VmHWM:", in: "/proc/self/status") }
}

/// The memory of this host.
enum HostMemory {
  /// Bytes that new work could take without swapping, as the kernel estimates it.
  static func availableByteCount() -> Int { kernelByteCount("MemAvailable:", in: "/proc/meminfo") }
}

/// The number of a line such as "VmHWM:	  123456 kB", in bytes; 0 where there is none.
private func kernelByteCount(_ name: String, in path: String) -> Int {
  let text = String(decoding: KernelFile.read(path) ?? [], as: UTF8.self)
  let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
  let words = (line ?? "").split { $0 == " " || $0 == "\t" }
  return words.count >= 2 ? (Int(words[1]) ?? 0) * 1024 : 0
}

internal import DistributedTraining

/// The memory of this process.
package enum PeakMemory {
  /// The most memory that was resident at one time, in bytes; 0 where the system does not tell.
  package static func byteCount() -> Int { status("VmHWM:") }

  /// Resident memory now, without pages that are copies of files.
  static func heldByteCount() -> Int { status("RssAnon:") + status("RssShmem:") }

  /// The most of it at one time. The pages of the program and its libraries, which are copies of
  /// files, hardly change once it runs.
  package static func heldPeakByteCount() -> Int { max(0, byteCount() - status("RssFile:")) }

  /// Gives free pages of the heap back to the system.
  static func trim() { ProcessHeap.trim() }

  private static func status(_ name: String) -> Int {
    kernelByteCount(name, in: "/proc/self/status") ?? 0
  }
}

/// The memory of this host.
enum HostMemory {
  /// Bytes that new work could take without swapping, as the kernel estimates it; less where a
  /// control group has a limit.
  static func availableByteCount() -> Int {
    let host = kernelByteCount("MemAvailable:", in: "/proc/meminfo") ?? 0
    func number(_ path: String) -> Int? { KernelFile.firstLine(path).flatMap { Int($0) } }
    for (limit, used) in [
      ("memory.max", "memory.current"),
      ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ] {
      guard let limit = number("/sys/fs/cgroup/\(limit)"),
        let used = number("/sys/fs/cgroup/\(used)")
      else { continue }
      return min(host, max(0, limit - used))
    }
    return host
  }
}

/// The number of a line such as "VmHWM:	  123456 kB", in bytes; nil where there is none.
private func kernelByteCount(_ name: String, in path: String) -> Int? {
  let text = String(decoding: KernelFile.read(path) ?? [], as: UTF8.self)
  let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
  let words = (line ?? "").split { $0 == " " || $0 == "\t" }
  return words.count >= 2 ? Int(words[1]).map { $0 * 1024 } : nil
}

internal import DistributedTraining

/// The memory of this process.
package enum PeakMemory {
  /// The most memory that was resident at one time, in bytes; 0 where the system does not tell.
  package static func byteCount() -> Int {
    // A line of /proc/self/status: "VmHWM:	  123456 kB".
    let status = String(decoding: KernelFile.read("/proc/self/status") ?? [], as: UTF8.self)
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    let words = (line ?? "").split { $0 == " " || $0 == "\t" }
    return words.count >= 2 ? (Int(words[1]) ?? 0) * 1024 : 0
  }
}

internal import Glibc

/// What Linux tells about this process in `/proc/self/status`.
package enum ProcessStatus {
  /// The most memory that was resident at one time, in bytes; 0 where the system does not tell.
  package static var peakMemoryByteCount: Int {
    // "VmHWM:	  123456 kB"
    guard let words = field("VmHWM")?.split(whereSeparator: { $0 == " " || $0 == "\t" }),
      let kibibytes = words.first.flatMap({ Int($0) })
    else { return 0 }
    return kibibytes * 1024
  }

  /// Cores that this process may run on, so that containers and bindings count; at least 1.
  package static var availableCoreCount: Int {
    // "Cpus_allowed_list:	0-3,8"
    let ranges = (field("Cpus_allowed_list") ?? "").split(separator: ",")
    let counts = ranges.map { range in
      let bounds = range.split(separator: "-").compactMap {
        Int($0.filter { character in character.isNumber })
      }
      guard let first = bounds.first, let last = bounds.last, last >= first else { return 0 }
      return last - first + 1
    }
    let count = counts.reduce(0, +)
    return count > 0 ? count : max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  }

  /// The text after `name:`.
  private static func field(_ name: String) -> Substring? {
    let text = String(decoding: read("/proc/self/status"), as: UTF8.self)
    for line in text.split(separator: "\n") where line.hasPrefix("\(name):") {
      return line.dropFirst(name.utf8.count + 1)
    }
    return nil
  }

  /// The bytes of a file that tells no size before it is read; empty when it cannot be read.
  private static func read(_ path: String) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes {
        unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return bytes }
      bytes += buffer[..<count]
    }
  }
}

internal import Glibc

/// Small files under /proc and /sys, whose size is unknown before they are read.
package enum KernelFile {
  /// The whole file, or nil when it cannot be read.
  package static func read(_ path: String) -> [UInt8]? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16384)
    while true {
      let count = unsafe Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { return nil }
      if count == 0 { return bytes }
      bytes += chunk[..<count]
    }
  }

  /// The first line, without the spaces around it.
  package static func firstLine(_ path: String) -> String? {
    guard let bytes = read(path) else { return nil }
    let line = bytes.prefix { $0 != UInt8(ascii: "\n") }
    return String(decoding: line, as: UTF8.self)
  }

  /// This process's environment as it was at its start. Where a name is repeated the first counts,
  /// as for `getenv`.
  ///
  /// - Parameter process: another process of this user, in place of this one.
  package static func environment(of process: Int32? = nil) -> [String: String] {
    var result: [String: String] = [:]
    let path = "/proc/\(process.map { "\($0)" } ?? "self")/environ"
    for entry in (read(path) ?? []).split(separator: 0) {
      guard let equals = entry.firstIndex(of: UInt8(ascii: "=")) else { continue }
      let name = String(decoding: entry[..<equals], as: UTF8.self)
      let value = String(decoding: entry[entry.index(after: equals)...], as: UTF8.self)
      if result[name] == nil { result[name] = value }
    }
    return result
  }
}

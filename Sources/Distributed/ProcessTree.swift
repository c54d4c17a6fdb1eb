internal import CMPI
internal import Glibc
internal import Support

/// Processes of this machine, from /proc.
package enum ProcessTree {
  /// The letter of /proc: R, S, D, T for a stopped one, Z for one that has ended; nil when there is
  /// no such process.
  package static func state(_ process: Int32) -> Substring? {
    guard let line = KernelFile.firstLine("/proc/\(process)/stat"),
      // The name in parentheses may hold anything; the state follows it.
      let end = line.lastIndex(of: ")")
    else { return nil }
    return line[line.index(after: end)...].split(separator: " ").first
  }

  /// The words that a process was started with, its program first.
  package static func arguments(_ process: Int32) -> [String] {
    (KernelFile.read("/proc/\(process)/cmdline") ?? []).split(separator: 0).map {
      String(decoding: $0, as: UTF8.self)
    }
  }

  /// Whether a process still exists and runs `program`: its number may have been given to another.
  package static func isProgram(_ process: Int32, _ program: String) -> Bool {
    arguments(process).first == program
  }

  /// Whether a process of this user was started with a variable of this value.
  package static func hasVariable(_ process: Int32, _ name: String, _ value: String) -> Bool {
    let entry = Array("\(name)=\(value)".utf8)
    return (KernelFile.read("/proc/\(process)/environ") ?? []).split(separator: 0).contains {
      $0.elementsEqual(entry)
    }
  }

  /// Asks the kernel to send this process SIGTERM when its parent ends; holds across `exec`.
  ///
  /// - Returns: whether the kernel agreed.
  package static func endWithParent() -> Bool { cmpi_end_with_parent(SIGTERM) }
}

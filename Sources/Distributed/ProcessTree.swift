internal import CMPI
internal import Glibc
internal import Support

/// Processes of this machine, from /proc.
package enum ProcessTree {
  /// All processes below `ancestor`.
  package static func descendants(of ancestor: Int32) -> [Int32] {
    let names = (try? FileSystem.list("/proc")) ?? []
    var children: [Int32: [Int32]] = [:]
    for process in names.compactMap({ Int32($0) }) {
      guard let line = KernelFile.firstLine("/proc/\(process)/stat"),
        // The name in parentheses may hold anything; the state and the parent follow it.
        let end = line.lastIndex(of: ")"),
        let parent = line[line.index(after: end)...].split(separator: " ").dropFirst().first,
        let number = Int32(parent)
      else { continue }
      children[number, default: []].append(process)
    }
    var found: [Int32] = []
    var next = children[ancestor] ?? []
    while let process = next.popLast() {
      found.append(process)
      next += children[process] ?? []
    }
    return found
  }

  /// Whether a process still exists and runs `program`: its number may have been given to another.
  package static func isProgram(_ process: Int32, _ program: String) -> Bool {
    let words = (KernelFile.read("/proc/\(process)/cmdline") ?? []).split(separator: 0)
    return words.first.map { String(decoding: $0, as: UTF8.self) } == program
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

package import DistributedTraining
internal import Support

extension ProcessTree {
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
}

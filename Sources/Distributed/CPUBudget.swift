internal import Glibc

/// How many processors this process may use, and how ranks share them.
package enum CPUBudget {
  /// Names the number of threads of each rank; set by `launch`, or by the user to overrule it.
  package static let threadsVariable = "ACCELERATE_THREADS"

  /// Processors allowed by the affinity mask and by the control group's quota; at least 1.
  package static func coreCount() -> Int {
    max(1, min(affinityCount() ?? Int.max, quotaCount() ?? Int.max, onlineCount()))
  }

  /// Threads for each rank when `localWorldSize` ranks share this host.
  ///
  /// - Parameters:
  ///   - localWorldSize: ranks on this host.
  ///   - environment: where `ACCELERATE_THREADS` is looked up.
  /// - Returns: at least 1.
  package static func threadsPerRank(
    localWorldSize: Int, environment: [String: String] = KernelFile.environment()
  ) -> Int {
    if let text = environment[threadsVariable], let count = Int(text), count > 0 { return count }
    return max(1, coreCount() / max(1, localWorldSize))
  }

  private static func onlineCount() -> Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

  private static func affinityCount() -> Int? { allowedProcessors()?.count }

  /// The numbers of the processors in the affinity mask, which the kernel lists as `0-3,8`.
  static func allowedProcessors() -> [Int]? {
    let status = String(decoding: KernelFile.read("/proc/self/status") ?? [], as: UTF8.self)
    let label = "Cpus_allowed_list:"
    guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(label) }) else {
      return nil
    }
    return processors(line.dropFirst(label.count).drop { $0 == "\t" || $0 == " " })
  }

  /// More processors than this no kernel has.
  private static let maximumProcessor = 1 << 16

  /// The numbers of a list such as `0-3,8`, ascending; nil when it is not one or empty.
  package static func processors(_ list: Substring) -> [Int]? {
    var numbers: Set<Int> = []
    for range in list.split(separator: ",") {
      let ends = range.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
      guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2,
        first >= 0, first <= last, last < maximumProcessor
      else { return nil }
      numbers.formUnion(first...last)
    }
    return numbers.isEmpty ? nil : numbers.sorted()
  }

  /// Ascending numbers as such a list.
  package static func listText(_ numbers: [Int]) -> String {
    var ranges: [ClosedRange<Int>] = []
    for number in numbers {
      if let last = ranges.last, last.upperBound == number - 1 {
        ranges[ranges.count - 1] = last.lowerBound...number
      } else {
        ranges.append(number...number)
      }
    }
    return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
      .joined(separator: ",")
  }

  /// The quota of control groups, version 2 or 1, rounded up; nil when there is none.
  private static func quotaCount() -> Int? {
    var quotas: [Double] = []
    for line in (KernelFile.read("/proc/self/cgroup") ?? []).split(separator: UInt8(ascii: "\n")) {
      let fields = String(decoding: line, as: UTF8.self).split(
        separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let isVersion2 = fields[0] == "0" && fields[1].isEmpty
      guard isVersion2 || fields[1].split(separator: ",").contains("cpu") else { continue }
      let mount = isVersion2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu"
      // A quota of any group above this one holds too. Inside a container the path may be that of
      // the host, so the mount itself is always looked at.
      var path = String(fields[2])
      while true {
        let folder = path == "/" ? mount : mount + path
        if let quota = isVersion2 ? quota2(folder) : quota1(folder) { quotas.append(quota) }
        guard path != "/", let slash = path.lastIndex(of: "/") else { break }
        path = slash == path.startIndex ? "/" : String(path[..<slash])
      }
    }
    return quotas.min().map { max(1, Int($0.rounded(.up))) }
  }

  private static func quota2(_ folder: String) -> Double? {
    let fields = (KernelFile.firstLine(folder + "/cpu.max") ?? "").split(separator: " ")
    guard fields.count == 2, let quota = Double(fields[0]), let period = Double(fields[1]),
      period > 0
    else { return nil }
    return quota / period
  }

  private static func quota1(_ folder: String) -> Double? {
    guard let quota = KernelFile.firstLine(folder + "/cpu.cfs_quota_us").flatMap(Double.init),
      let period = KernelFile.firstLine(folder + "/cpu.cfs_period_us").flatMap(Double.init),
      quota > 0, period > 0
    else { return nil }
    return quota / period
  }
}

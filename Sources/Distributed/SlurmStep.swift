/// What Slurm says of the step that this process is a task of.
package struct SlurmStep: Sendable, Equatable {
  /// Tasks on this host.
  package var localTaskCount: Int
  /// Processors of each task, when the user asked for a number.
  package var processorsPerTask: Int?
  /// Whether each task may run on its own processors only.
  package var isBound: Bool

  /// - Parameter variables: the environment.
  /// - Returns: nil outside of `srun`.
  package init?(_ variables: [String: String]) {
    guard variables["SLURM_PROCID"] != nil else { return nil }
    let node = variables["SLURM_NODEID"].flatMap { Int($0) } ?? 0
    let list = variables["SLURM_STEP_TASKS_PER_NODE"] ?? variables["SLURM_TASKS_PER_NODE"]
    localTaskCount = list.flatMap { Self.count($0, node: node) } ?? 1
    processorsPerTask = variables["SLURM_CPUS_PER_TASK"].flatMap { Int($0) }.flatMap {
      $0 > 0 ? $0 : nil
    }
    let binding = variables["SLURM_CPU_BIND_TYPE"] ?? ""
    isBound = !binding.isEmpty && !binding.hasPrefix("none")
  }

  /// Ranks among which the processors that this process may use are divided.
  package var sharerCount: Int { isBound ? 1 : localTaskCount }

  /// The count of one host in a list such as `2(x3),1`: two on each of three hosts, then one.
  package static func count(_ list: String, node: Int) -> Int? {
    var left = node
    for part in list.split(separator: ",") {
      let pieces = part.split(separator: "(")
      var hosts = 1
      if pieces.count == 2 {
        guard pieces[1].hasPrefix("x"), pieces[1].hasSuffix(")"),
          let number = Int(pieces[1].dropFirst().dropLast())
        else { return nil }
        hosts = number
      }
      guard pieces.count <= 2, let count = pieces.first.flatMap({ Int($0) }), count > 0, hosts > 0
      else { return nil }
      if left < hosts { return count }
      left -= hosts
    }
    return nil
  }
}

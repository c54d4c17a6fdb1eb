internal import DistributedTraining
internal import Support

extension BasePlacement {
  /// The placement that the settings ask for, or that the memory there is suggests.
  ///
  /// - Parameters:
  ///   - options: of the command.
  ///   - byteCount: of the whole base in its storage format.
  ///   - group: the ranks; every rank gets the same kind of placement.
  ///   - environment: has the directory for shared files.
  /// - Returns: the placement, and a line for the user that says why.
  /// - Throws: when a rank or the network fails.
  static func choose(
    _ options: ModelOptions, byteCount: Int, group: any ProcessGroup,
    environment: ProgramEnvironment
  ) throws(UserError) -> (placement: BasePlacement, reason: String) {
    let size = ByteText.short(byteCount)
    guard group.worldSize > 1 else {
      return (.own, "shard none: one rank holds the base of \(size)")
    }
    let host = try group.splitByHost()
    // The smallest host decides for all of them.
    let available = HostMemory.availableByteCount()
    let smallest = try group.allGather([Double(available)]).map { $0[0] }.min() ?? 0
    let fitsHost = Double(byteCount) <= 0.6 * smallest
    let room = ByteText.short(Int(smallest))
    let shard =
      options.shard == .auto ? (fitsHost ? ModelOptions.Shard.none : .full) : options.shard
    let why =
      options.shard == .auto
      ? fitsHost
        ? "one copy of the base, \(size), fits into each host's free \(room)"
        : "a copy of the base, \(size), is too much for a host's free \(room)"
      : "as asked for; the base is \(size)"
    guard shard == .full else {
      let hostSizes = try group.allGather([Double(host.worldSize)]).map { $0[0] }
      guard hostSizes.contains(where: { $0 > 1 }) else { return (.own, "shard none: \(why)") }
      return (
        .shared(host: host, directory: "\(environment.cacheDirectory)/shared"),
        "shard none: \(why); its ranks share it"
      )
    }
    // Slices of a host's own copy keep gathers off the network.
    let isHost = options.shardGroup == .host || (options.shardGroup == .auto && fitsHost)
    let members = isHost ? try host.split(color: 0) : try group.split(color: 0)
    return (
      .sharded(group: members),
      "shard full over \(members.worldSize) ranks\(isHost ? " of each host" : ""): \(why)"
    )
  }

  /// Whether ranks gather the base together and so must run the same passes.
  var isLockStep: Bool {
    if case .sharded = self { true } else { false }
  }
}

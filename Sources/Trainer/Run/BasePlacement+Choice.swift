internal import DistributedTraining
internal import Support

extension BasePlacement {
  /// The placement that the settings ask for, or that the memory there is suggests.
  ///
  /// - Parameters:
  ///   - options: of the command.
  ///   - byteCount: of the whole base in its storage format.
  ///   - opening: of the model; every rank gets the same kind of placement.
  /// - Returns: the placement, and a line for the user that says why.
  /// - Throws: when a rank or the network fails.
  static func choose(
    _ options: ModelOptions, byteCount: Int, opening: ModelOpening
  ) throws -> (placement: BasePlacement, reason: String) {
    let group = opening.group
    guard group.worldSize > 1 else {
      return (.own, "shard none: one rank holds the base of \(ByteText.short(byteCount))")
    }
    let host = try group.splitByHost()
    // The smallest host decides for all of them.
    let available = Double(HostMemory.availableByteCount())
    let hosts = try group.allGather([available, Double(host.worldSize)])
    let decision = decide(
      options.shard, options.shardGroup, byteCount: byteCount, worldSize: group.worldSize,
      ranksPerHost: Int(hosts.map { $0[1] }.max() ?? 1),
      memoryByteCount: Int(hosts.map { $0[0] }.min() ?? 0))
    return (
      try make(decision.placement, opening, host: host),
      decision.reason
    )
  }

  /// The ranks that hold a base together.
  ///
  /// - Parameters:
  ///   - placement: the same on every rank.
  ///   - opening: of the model.
  ///   - host: the ranks of this host, where they are known.
  /// - Returns: the placement.
  /// - Throws: when a rank or the network fails.
  static func make(
    _ placement: PlannedPlacement, _ opening: ModelOpening, host: (any ProcessGroup)? = nil
  ) throws -> BasePlacement {
    guard placement != .own else { return .own }
    let group = opening.group
    let host = if let host { host } else { try group.splitByHost() }
    guard case .sliced(let ranks) = placement else {
      return .shared(host: host, directory: "\(opening.environment.cacheDirectory)/shared")
    }
    // Slices of a host's own copy keep gathers off the network.
    let members = ranks < group.worldSize ? host : group
    return .sharded(try opening.transport.makeCollectives(members, opening.backend))
  }

  /// Where the base goes, from numbers alone.
  ///
  /// - Parameters:
  ///   - shard: as asked for.
  ///   - shardGroup: as asked for.
  ///   - byteCount: of the whole base in its storage format.
  ///   - worldSize: ranks.
  ///   - ranksPerHost: of the host with most.
  ///   - memoryByteCount: free on the smallest host.
  /// - Returns: the placement, and a line for the user that says why.
  static func decide(
    _ shard: ModelOptions.Shard, _ shardGroup: ModelOptions.ShardGroup, byteCount: Int,
    worldSize: Int, ranksPerHost: Int, memoryByteCount: Int
  ) -> (placement: PlannedPlacement, reason: String) {
    let size = ByteText.short(byteCount)
    guard worldSize > 1 else { return (.own, "shard none: one rank holds the base of \(size)") }
    let fitsHost = Double(byteCount) <= 0.6 * Double(memoryByteCount)
    let room = ByteText.short(memoryByteCount)
    let chosen = shard == .auto ? (fitsHost ? ModelOptions.Shard.none : .full) : shard
    let why =
      shard == .auto
      ? fitsHost
        ? "one copy of the base, \(size), fits into each host's free \(room)"
        : "a copy of the base, \(size), is too much for a host's free \(room)"
      : "as asked for; the base is \(size)"
    guard chosen == .full else {
      return ranksPerHost > 1
        ? (.shared, "shard none: \(why); its ranks share it") : (.own, "shard none: \(why)")
    }
    let isHost = shardGroup == .host || (shardGroup == .auto && fitsHost)
    let ranks = isHost ? ranksPerHost : worldSize
    return (
      .sliced(ranks: ranks),
      "shard full over \(ranks) ranks\(isHost ? " of each host" : ""): \(why)"
    )
  }

  /// Whether ranks gather the base together and so must run the same passes.
  var isLockStep: Bool {
    if case .sharded = self { true } else { false }
  }
}

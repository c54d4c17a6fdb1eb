package import Compute
package import ComputeCUDA
package import DistributedTraining
package import Support

/// What carries tensors between ranks: NCCL from GPU to GPU, or MPI through the host's memory.
package enum Transport {
  case mpi
  case nccl(NCCLLibrary, any CUDADevice)

  /// Collectives of their own for the ranks of a group; all of them call it.
  ///
  /// - Parameters:
  ///   - group: the ranks.
  ///   - backend: of the tensors.
  /// - Returns: the collectives, whose first use needs no more memory than is taken now.
  /// - Throws: ``UserError`` when a rank or the network fails.
  package func makeCollectives(_ group: any ProcessGroup, _ backend: any Backend) throws
    -> any TensorCollectives
  {
    switch self {
    case .mpi:
      return try HostCollectives(try group.makeBackgroundGroup(), backend: backend)
    case .nccl(let library, let device):
      // The first rank's identifier, or its failure, reaches all of them.
      var identifier = [UInt8](repeating: 0, count: NCCLLibrary.identifierByteCount)
      var failure = ""
      if group.rank == 0 {
        do throws(UserError) { identifier = try library.makeIdentifier() } catch {
          failure = error.message
        }
      }
      failure = try group.broadcast(failure)
      guard failure.isEmpty else {
        throw UserError(
          .distributed, at: "NCCL", "rank 0 made no identifier: \(failure)",
          fix: "give --collectives mpi, which goes through the host's memory")
      }
      try group.broadcast(array: &identifier)
      return try group.progress.waiting(in: "NCCL") {
        let collectives = try NCCLCollectives(
          library: library, device: device, rank: group.rank, worldSize: group.worldSize,
          identifier: identifier)
        try collectives.warmUp(backend)
        return collectives
      }
    }
  }

  // MARK: The choice

  /// Chooses what all ranks use.
  ///
  /// - Parameters:
  ///   - request: as the user asked.
  ///   - group: the ranks.
  ///   - backend: of this rank.
  ///   - environment: says where libraries are, and over which interface hosts talk.
  /// - Returns: the transport, and lines for the user.
  /// - Throws: ``UserError`` for what cannot be had.
  static func choose(
    _ request: ModelOptions.Collectives, group: any ProcessGroup, backend: any Backend,
    environment: ProgramEnvironment
  ) throws(UserError) -> (transport: Transport, notes: [String]) {
    guard group.worldSize > 1, let device = (backend as? CUDABackend)?.device else {
      return (.mpi, [])
    }
    var library: NCCLLibrary?
    var facts = RankFacts(host: HostName.current, place: device.place)
    if request != .mpi {
      NetworkInterface.tellNCCL()
      do throws(UserError) {
        let opened = try NCCLLibrary(LibrarySearch(environment.libraryVariables))
        facts.version = opened.version
        library = opened
      } catch {
        facts.problem = error.message
      }
    }
    let all = try group.allGather(facts.text).map { text throws(UserError) in
      try RankFacts(text)
    }
    let decision = try decide(request, all)
    var notes = decision.notes
    guard decision.usesNCCL, let library else { return (.mpi, notes) }
    notes.append("gradients and slices travel from GPU to GPU by NCCL \(library.versionText)")
    return (.nccl(library, device), notes)
  }

  /// What a rank tells the others of itself.
  package struct RankFacts: Equatable {
    package var host: String
    package var place: DevicePlace
    /// Of NCCL; nil where it cannot be used.
    package var version: Int?
    /// Why it cannot.
    package var problem = ""

    package init(host: String, place: DevicePlace, version: Int? = nil, problem: String = "") {
      self.host = host
      self.place = place
      self.version = version
      self.problem = problem
    }

    package var text: String {
      JSONValue.array([
        .string(host), .string(place.name), .integer(place.capability), .integer(place.byteCount),
        .string(place.address), .init(version), .string(problem),
      ]).compactText
    }

    package init(_ text: String) throws(UserError) {
      guard case .array(let values)? = try? JSONParser.parse(text), values.count == 7,
        let host = values[0].stringValue, let name = values[1].stringValue,
        let capability = values[2].intValue, let byteCount = values[3].intValue,
        let address = values[4].stringValue, let problem = values[6].stringValue
      else { throw UserError(.distributed, "a rank told of its GPU in words that are not known") }
      self.init(
        host: host,
        place: DevicePlace(
          name: name, capability: capability, byteCount: byteCount, address: address),
        version: values[5].intValue, problem: problem)
    }
  }

  /// Whether NCCL is used, from what all ranks told.
  package static func decide(_ request: ModelOptions.Collectives, _ ranks: [RankFacts])
    throws(UserError) -> (usesNCCL: Bool, notes: [String])
  {
    var notes: [String] = []
    let kinds = ranks.map { "\($0.place.name), \(ByteText.short($0.place.byteCount))" }
    if let other = kinds.firstIndex(where: { $0 != kinds[0] }) {
      notes.append(
        "warning: unequal GPUs: rank 0 has \(kinds[0]), rank \(other) on \(ranks[other].host) has "
          + "\(kinds[other]); the slowest sets the pace, the smallest the memory, and results depend on "
          + "which of them computes a pack")
    }
    if request == .mpi { return (false, notes) }
    func refuse(_ reason: String) throws(UserError) -> (usesNCCL: Bool, notes: [String]) {
      guard request == .auto else {
        throw UserError(
          .distributed, at: "--collectives", "nccl, but \(reason)",
          fix: "give --collectives mpi, or leave it out")
      }
      return (
        false, notes + ["gradients and slices travel through the host's memory and MPI: \(reason)"]
      )
    }
    for (rank, facts) in ranks.enumerated() {
      let first = ranks.firstIndex {
        $0.host == facts.host && $0.place.address == facts.place.address
      }
      if let first, first != rank {
        return try refuse(
          "ranks \(first) and \(rank) share \(facts.place.text) on \(facts.host)")
      }
    }
    if let rank = ranks.firstIndex(where: { $0.version == nil }) {
      return try refuse(
        "rank \(rank) on \(ranks[rank].host) cannot use NCCL: \(ranks[rank].problem)")
    }
    if let other = ranks.firstIndex(where: { $0.version != ranks[0].version }) {
      let versions = [0, other].map { rank in
        "\(NCCLLibrary.versionText(of: ranks[rank].version ?? 0)) on \(ranks[rank].host)"
      }
      throw UserError(
        .distributed, at: "NCCL", "hosts have different versions: \(versions[0]), \(versions[1])",
        fix: "install one version on all hosts, or give --collectives mpi")
    }
    return (true, notes)
  }
}

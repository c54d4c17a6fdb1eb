package import Compute
package import DistributedTraining
package import Model
package import Support

/// Who holds the frozen base.
package enum BasePlacement {
  /// This process, for itself.
  case own
  /// The ranks of one host together: one copy that all of them read.
  case shared(host: any ProcessGroup, directory: String)
  /// Each of these ranks a slice of every slab; slabs are gathered when they are needed.
  case sharded(any TensorCollectives)
}

/// A frozen base in memory: its source, the layout of its slabs, and what hands them out.
package struct LoadedBase {
  package let configuration: ModelConfiguration
  package let source: BaseSource
  package let layouts: [SlabLayout]
  package let stream: any LayerStream
  /// Bytes of base weights that this rank adds to its host's memory, gather buffers included.
  package let byteCount: Int

  /// A model that is known and checked, but not loaded.
  package struct Description {
    package let configuration: ModelConfiguration
    let loader: BaseLoader

    /// Bytes of the whole base in its storage format.
    package var byteCount: Int { loader.slabs.reduce(0) { $0 + $1.byteCount } }

    /// Opens a model.
    ///
    /// - Parameters:
    ///   - directory: of the model, or `synthetic:` and the path of a `config.json`.
    ///   - quantization: storage format of the linears.
    ///   - backend: computes the quantization.
    /// - Throws: ``UserError``.
    package init(
      directory: String, quantization: QuantizationSettings, backend: any Backend
    ) throws(UserError) {
      let (configuration, source) = try BaseSource.open(directory)
      self.configuration = configuration
      loader = try BaseLoader(
        source: source, configuration: configuration, quantization: quantization,
        backend: backend)
    }

    /// SHA-256 over `config.json`, shapes, types and storage formats of the tensors, and some
    /// elements of each: it tells another model or quantization, not every flipped bit.
    package var digest: String {
      SHA256.hexadecimal(Array(loader.source.fingerprint(loader.slabs).utf8))
    }
  }

  /// Reads a model directory into this process, quantizing on the way.
  package static func load(
    directory: String, quantization: QuantizationSettings, backend: any Backend
  ) throws -> LoadedBase {
    try LoadedBase(
      Description(directory: directory, quantization: quantization, backend: backend),
      placement: .own, backend: backend)
  }

  /// Loads a base.
  ///
  /// - Parameters:
  ///   - description: of the model directory.
  ///   - placement: who holds it.
  ///   - backend: computes the quantization.
  ///   - progress: called with slabs done and in all.
  /// - Throws: ``UserError`` for anything wrong with the files, and when memory is short.
  package init(
    _ description: Description, placement: BasePlacement, backend: any Backend,
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws {
    let loader = description.loader
    configuration = description.configuration
    source = loader.source
    layouts = loader.slabs
    let byteCounts = layouts.map(\.byteCount)
    func makeSlab(_ byteCount: Int) throws -> Tensor {
      Tensor(
        storage: try backend.makeStorage(byteCount: max(byteCount, 1)), columns: byteCount,
        elementType: .uint8)
    }
    switch placement {
    // A device that cannot read the host's memory has a copy of its own.
    case .own,
      .shared where !backend.hasHostMemory:
      var slabs: [Tensor] = []
      for (index, count) in byteCounts.enumerated() {
        slabs.append(try makeSlab(count))
        try loader.load(index, into: slabs[index])
        progress(index + 1, byteCounts.count)
      }
      stream = ResidentLayers(slabs: slabs)
      byteCount = byteCounts.reduce(0, +)
    case .shared(let host, let directory):
      let storage = try SharedHostMemory.make(
        byteCount: max(byteCounts.reduce(0, +), 1), group: host, directory: directory)
      var offset = 0
      let slabs = byteCounts.map { count in
        defer { offset += count }
        return Tensor(storage: storage, byteOffset: offset, columns: count, elementType: .uint8)
      }
      for index in slabs.indices where index % host.worldSize == host.rank {
        try loader.load(index, into: slabs[index])
        progress(index + 1, slabs.count)
      }
      try host.barrier()
      progress(slabs.count, slabs.count)
      stream = ResidentLayers(slabs: slabs)
      byteCount = byteCounts.reduce(0, +) / host.worldSize
    case .sharded(let collectives):
      let (rank, world) = (collectives.rank, collectives.worldSize)
      let slices = try byteCounts.map { total in
        let count = SlabSlices.byteCount(slabByteCount: total, worldSize: world)
        // Slices that go through the host's memory take none of the device's.
        let storage =
          collectives.sendsFromHost
          ? try Storage(hostByteCount: count) : try backend.makeStorage(byteCount: max(count, 1))
        return Tensor(storage: storage, columns: count, elementType: .uint8)
      }
      for (index, total) in byteCounts.enumerated() {
        try loader.load(
          index, range: SlabSlices.range(ofRank: rank, slabByteCount: total, worldSize: world),
          into: slices[index])
        progress(index + 1, byteCounts.count)
      }
      stream = try ShardedLayers(
        slices: slices, byteCounts: byteCounts, collectives: collectives, backend: backend)
      byteCount = slices.reduce(2 * SlabSlices.bufferByteCount(byteCounts, worldSize: world)) {
        $0 + $1.byteCount
      }
    }
  }
}

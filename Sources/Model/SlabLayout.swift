package import Compute
package import Support

/// How the frozen base is quantized while it is loaded.
package struct QuantizationSettings: Sendable, Equatable {
  /// Whether the linears of the blocks become NF4; otherwise everything keeps the file's type.
  package var isNF4: Bool
  package var isDouble: Bool
  /// Whether the router is quantized, too.
  package var includesRouter: Bool

  package init(isNF4: Bool = false, isDouble: Bool = false, includesRouter: Bool = false) {
    self.isNF4 = isNF4
    self.isDouble = isDouble
    self.includesRouter = includesRouter
  }
}

/// Where the tensors of one slab lie: the embedding, a decoder layer, or the head, as contiguous
/// bytes in the base's storage format.
package struct SlabLayout: Sendable {
  /// How a tensor is stored.
  package enum Format: Sendable, Equatable {
    /// A vector that is kept as float32, such as a norm's weight or a bias.
    case vector
    /// A matrix in the file's type.
    case dense(ElementType)
    case nf4(isDouble: Bool)
  }

  /// One tensor of a slab.
  package struct Item: Sendable {
    package var name: String
    package var rows: Int
    package var columns: Int
    package var format: Format
    package var isAlwaysFloat32: Bool
    package var byteOffset: Int

    package var count: Int { rows * columns }
    /// The shape in the file.
    package var fileShape: [Int] { format == .vector ? [columns] : [rows, columns] }

    /// Byte sizes of the parts, each starting at a multiple of 64.
    var partByteCounts: [Int] {
      switch format {
      case .vector: return [columns * 4]
      case .dense(let type): return [count * type.byteCount]
      case .nf4(let isDouble):
        let codes = NF4.codeByteCount(count)
        let blocks = NF4.blockCount(count)
        return isDouble
          ? [codes, blocks, NF4.nestedBlockCount(count) * 4, 4] : [codes, blocks * 4]
      }
    }
    var byteCount: Int { partByteCounts.reduce(0) { $0 + aligned($1) } }
    /// The bytes of each part in the slab.
    package var partRanges: [Range<Int>] {
      var start = byteOffset
      return partByteCounts.map { count in
        defer { start += aligned(count) }
        return start..<start + count
      }
    }
  }

  package private(set) var items: [Item] = []
  package private(set) var byteCount = 0
  private var positions: [String: Int] = [:]

  private mutating func add(
    _ name: String, _ rows: Int, _ columns: Int, _ format: Format, isAlwaysFloat32: Bool = false
  ) {
    let item = Item(
      name: name, rows: rows, columns: columns, format: format, isAlwaysFloat32: isAlwaysFloat32,
      byteOffset: byteCount)
    positions[name] = items.count
    items.append(item)
    byteCount += item.byteCount
  }

  /// Tells how a tensor is stored from its name and shape, or why there is none.
  package typealias FormatRule = (_ name: String, _ shape: [Int]) throws(UserError) -> Format

  /// The slabs of a model, 0 ... L + 1.
  ///
  /// - Parameters:
  ///   - configuration: of the model.
  ///   - quantization: storage format of the linears; a checkpoint that is quantized already keeps
  ///     its own.
  ///   - stored: called for every tensor.
  /// - Returns: the layouts.
  /// - Throws: what `stored` throws.
  package static func slabs(
    _ configuration: ModelConfiguration, _ quantization: QuantizationSettings, stored: FormatRule
  ) throws(UserError) -> [SlabLayout] {
    let C = configuration.hiddenSize
    let V = configuration.vocabularySize
    func matrix(
      _ slab: inout SlabLayout, _ module: String, _ rows: Int, _ columns: Int,
      isQuantized: Bool = true, isAlwaysFloat32: Bool = false
    ) throws(UserError) {
      let name = module + ".weight"
      var format = try stored(name, [rows, columns])
      if case .dense = format, quantization.isNF4, isQuantized,
        configuration.storedQuantization == nil
      {
        format = .nf4(isDouble: quantization.isDouble)
      }
      slab.add(name, rows, columns, format, isAlwaysFloat32: isAlwaysFloat32)
    }
    func vector(_ slab: inout SlabLayout, _ name: String, _ count: Int) throws(UserError) {
      // A vector is never quantized.
      _ = try stored(name, [count])
      slab.add(name, 1, count, .vector)
    }

    var embedding = SlabLayout()
    try matrix(&embedding, "model.embed_tokens", V, C, isQuantized: false)
    var slabs = [embedding]
    for index in 0..<configuration.layerCount {
      var slab = SlabLayout()
      let names = LayerNames(configuration, layer: index)
      try vector(&slab, names.inputNorm + ".weight", C)
      try matrix(&slab, names.query, configuration.queryWidth, C)
      try matrix(&slab, names.key, configuration.keyValueWidth, C)
      try matrix(&slab, names.value, configuration.keyValueWidth, C)
      if configuration.hasHeadNorms {
        try vector(&slab, names.queryNorm + ".weight", configuration.headWidth)
        try vector(&slab, names.keyNorm + ".weight", configuration.headWidth)
      }
      if configuration.hasAttentionBias {
        try vector(&slab, names.query + ".bias", configuration.queryWidth)
        try vector(&slab, names.key + ".bias", configuration.keyValueWidth)
        try vector(&slab, names.value + ".bias", configuration.keyValueWidth)
      }
      try matrix(&slab, names.output, C, configuration.queryWidth)
      if configuration.hasOutputBias { try vector(&slab, names.output + ".bias", C) }
      try vector(&slab, names.postAttentionNorm + ".weight", C)
      if configuration.layers[index].isMixture {
        try matrix(
          &slab, names.router, configuration.expertCount, C,
          isQuantized: quantization.includesRouter, isAlwaysFloat32: true)
      }
      let F = configuration.innerWidth(layer: index)
      for expert in names.experts {
        try matrix(&slab, expert.w1, F, C)
        try matrix(&slab, expert.w3, F, C)
        try matrix(&slab, expert.w2, C, F)
        guard configuration.hasFeedForwardBias else { continue }
        try vector(&slab, expert.w1 + ".bias", F)
        try vector(&slab, expert.w3 + ".bias", F)
        try vector(&slab, expert.w2 + ".bias", C)
      }
      slabs.append(slab)
    }
    var head = SlabLayout()
    try vector(&head, "model.norm.weight", C)
    // With tied embeddings the head multiplies by the embedding's own slab.
    if !configuration.tiesEmbeddings { try matrix(&head, "lm_head", V, C, isQuantized: false) }
    slabs.append(head)
    return slabs
  }

  // MARK: Access

  private func item(_ name: String) -> Item {
    guard let position = positions[name] else { preconditionFailure("no \(name) in this slab") }
    return items[position]
  }

  /// A vector of the slab, `[1, n]` float32.
  package func vector(_ name: String, in slab: Tensor) -> Tensor {
    parts(item(name), in: slab)[0]
  }

  /// A matrix of the slab.
  package func matrix(_ module: String, in slab: Tensor) -> BaseMatrix {
    let item = item(module + ".weight")
    let parts = parts(item, in: slab)
    let format: BaseMatrix.Format
    switch item.format {
    case .vector: preconditionFailure("\(module) is no matrix")
    case .dense: format = .dense(parts[0])
    case .nf4(isDouble: false): format = .nf4(codes: parts[0], scales: .plain(parts[1]))
    case .nf4(isDouble: true):
      format = .nf4(
        codes: parts[0], scales: .nested(codes: parts[1], absmax: parts[2], offset: parts[3]))
    }
    return BaseMatrix(
      rows: item.rows, columns: item.columns, format: format,
      isAlwaysFloat32: item.isAlwaysFloat32)
  }

  /// The tensors an item consists of.
  func parts(_ item: Item, in slab: Tensor) -> [Tensor] {
    precondition(slab.elementType == .uint8 && slab.count >= byteCount)
    var offset = slab.byteOffset + item.byteOffset
    func part(_ byteCount: Int, _ type: ElementType, rows: Int = 1) -> Tensor {
      defer { offset += aligned(byteCount) }
      return Tensor(
        storage: slab.storage, byteOffset: offset, rows: rows,
        columns: byteCount / type.byteCount / rows, elementType: type)
    }
    let sizes = item.partByteCounts
    switch item.format {
    case .vector: return [part(sizes[0], .float32)]
    case .dense(let type): return [part(sizes[0], type, rows: item.rows)]
    case .nf4(isDouble: false): return [part(sizes[0], .uint8), part(sizes[1], .float32)]
    case .nf4(isDouble: true):
      return [
        part(sizes[0], .uint8), part(sizes[1], .uint8), part(sizes[2], .float32),
        part(sizes[3], .float32),
      ]
    }
  }
}

/// The next multiple of 64.
func aligned(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }

extension ElementType {
  /// The type of a weight in a file; nil for types that are no weights.
  init?(_ type: SafetensorsType) {
    switch type {
    case .float32: self = .float32
    case .bfloat16: self = .bfloat16
    case .float16: self = .float16
    default: return nil
    }
  }
}

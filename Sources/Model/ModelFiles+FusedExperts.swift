package import Support

extension ModelFiles {
  /// The same tensors, those of fused experts under the names of single ones: transformers 5 keeps
  /// all experts of a layer as `mlp.experts.gate_up_proj` `[E, 2 F, C]`, gate rows first, and
  /// `mlp.experts.down_proj` `[E, C, F]`. An expert's matrix is a range of bytes of these.
  ///
  /// - Parameter configuration: says how many experts there are and how wide.
  /// - Returns: files in which every expert has its own tensors.
  /// - Throws: ``UserError`` when a fused tensor has another shape, or a layer has both kinds.
  package func splittingExperts(_ configuration: ModelConfiguration) throws(UserError)
    -> ModelFiles
  {
    var result = self
    for layer in 0..<configuration.layerCount where configuration.layers[layer].isMixture {
      let block = "model.layers.\(layer).mlp."
      let (up, down) = (block + "experts.gate_up_proj", block + "experts.down_proj")
      guard contains(up) || contains(down) else { continue }
      let (E, C) = (configuration.expertCount, configuration.hiddenSize)
      let F = configuration.innerWidth(layer: layer)
      let names = LayerNames(configuration, layer: layer)
      _ = try entry(up, shape: [E, 2 * F, C])
      _ = try entry(down, shape: [E, C, F])
      for (index, expert) in names.experts.enumerated() {
        try result.add(expert.w1, [F, C], partOf: up, at: 2 * index, of: 2 * E)
        try result.add(expert.w3, [F, C], partOf: up, at: 2 * index + 1, of: 2 * E)
        try result.add(expert.w2, [C, F], partOf: down, at: index, of: E)
      }
      // The router lies beside the fused experts, in Mixtral under another name.
      if !contains(names.router + ".weight"), let router = locations[block + "gate.weight"] {
        result.locations[names.router + ".weight"] = router
      }
    }
    return result
  }

  /// Names one of `count` equal parts of a tensor as a matrix.
  private mutating func add(
    _ module: String, _ shape: [Int], partOf fused: String, at index: Int, of count: Int
  ) throws(UserError) {
    let name = module + ".weight"
    guard locations[name] == nil else {
      throw UserError(
        .badInput, at: directory, "tensors \(name) and \(fused) are both there",
        fix: "keep the experts one way only")
    }
    guard let (file, whole) = locations[fused] else { return }
    locations[name] = (file, whole.part(index, of: count, shape: shape))
  }
}

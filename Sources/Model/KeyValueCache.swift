package import Compute

/// Keys and values of the tokens seen so far, for texts that are continued token by token.
///
/// Each of several texts has `capacity` rows of its own in every layer's tensors.
package final class KeyValueCache {
  package let capacity: Int
  /// Tokens in the cache, per text.
  package private(set) var lengths: [Int]
  private let keys: [Tensor]
  private let values: [Tensor]

  /// - Parameters:
  ///   - configuration: of the model.
  ///   - textCount: texts that are continued side by side.
  ///   - capacity: the most tokens of a text.
  ///   - backend: holds the memory.
  /// - Throws: when the device has too little memory.
  package init(
    _ configuration: ModelConfiguration, textCount: Int, capacity: Int, backend: any Backend
  ) throws {
    self.capacity = capacity
    lengths = [Int](repeating: 0, count: textCount)
    let width = configuration.keyValueWidth
    let elementType = backend.activationType
    let byteCount = textCount * capacity * width * elementType.byteCount
    func tensors() throws -> [Tensor] {
      try (0..<configuration.layerCount).map { _ in
        Tensor(
          storage: try backend.makeStorage(byteCount: byteCount), rows: textCount * capacity,
          columns: width, elementType: elementType)
      }
    }
    keys = try tensors()
    values = try tensors()
  }

  /// Where the new tokens of each text attend: `counts[i]` new tokens of text i, in order.
  func segments(newTokens counts: [Int]) -> [AttentionShape.Segment] {
    precondition(counts.count == lengths.count)
    var first = 0
    return counts.enumerated().map { text, count in
      precondition(lengths[text] + count <= capacity, "a text longer than the cache")
      let start = text * capacity
      defer { first += count }
      return AttentionShape.Segment(
        queries: first..<first + count, keys: start..<start + lengths[text] + count)
    }
  }

  /// Copies a layer's new keys and values behind the earlier ones; returns all of the layer's rows.
  func append(
    layer: Int, keys newKeys: Tensor, values newValues: Tensor, backend: any Backend
  ) throws -> (keys: Tensor, values: Tensor) {
    var first = 0
    for (text, count) in newCounts.enumerated() where count > 0 {
      let start = text * capacity + lengths[text]
      try backend.copy(
        newKeys.rows(first..<first + count), to: keys[layer].rows(start..<start + count))
      try backend.copy(
        newValues.rows(first..<first + count), to: values[layer].rows(start..<start + count))
      first += count
    }
    return (keys[layer], values[layer])
  }

  /// New tokens of each text in the pass that runs.
  var newCounts: [Int] = []

  /// Counts the new tokens as seen.
  func advance() {
    for (text, count) in newCounts.enumerated() { lengths[text] += count }
    newCounts = []
  }
}

package import Compute
internal import DistributedTraining
package import Model
internal import Support

/// A frozen base in memory: its files, the layout of its slabs, and what hands them out.
package struct LoadedBase {
  package let configuration: ModelConfiguration
  package let files: ModelFiles
  package let layouts: [SlabLayout]
  package let stream: any LayerStream
  /// Bytes of the slabs in this rank's memory.
  package let byteCount: Int

  /// Reads a model directory, quantizing on the way.
  ///
  /// - Parameters:
  ///   - directory: in Hugging Face layout.
  ///   - quantization: storage format of the linears.
  ///   - backend: holds the slabs.
  ///   - progress: called with slabs done and in all.
  /// - Returns: the base.
  /// - Throws: ``UserError`` for anything wrong with the files.
  package static func load(
    directory: String, quantization: QuantizationSettings, backend: any Backend,
    progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws -> LoadedBase {
    let configuration = try ModelConfiguration(directory: directory)
    let files = try ModelFiles(directory: directory)
    let loader = try BaseLoader(
      files: files, configuration: configuration, quantization: quantization, backend: backend)
    var slabs: [Tensor] = []
    for (index, layout) in loader.slabs.enumerated() {
      let slab = Tensor(
        storage: try backend.makeStorage(byteCount: max(layout.byteCount, 1)),
        columns: layout.byteCount, elementType: .uint8)
      try loader.load(index, into: slab)
      slabs.append(slab)
      progress(index + 1, loader.slabs.count)
    }
    return LoadedBase(
      configuration: configuration, files: files, layouts: loader.slabs,
      stream: ResidentLayers(slabs: slabs),
      byteCount: loader.slabs.reduce(0) { $0 + $1.byteCount })
  }

  /// SHA-256 over shapes, types and storage formats of the tensors and over `config.json`.
  ///
  /// The weights themselves are not read: it tells another model or quantization, not a flipped bit.
  package var digest: String {
    var text = (try? FileSystem.readText("\(files.directory)/config.json")) ?? ""
    for layout in layouts {
      for item in layout.items { text += "\n\(item.name) \(item.rows) \(item.columns) \(item.format)" }
    }
    return SHA256.hexadecimal(Array(text.utf8))
  }
}

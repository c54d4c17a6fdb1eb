package import Support

/// What `launch` compares of a file or directory that every rank reads.
package struct SharedFiles: Sendable, Equatable {
  /// The same on hosts that have the same files, as far as ``init(path:)`` looks.
  package var fingerprint: String
  /// Bytes in safetensors files.
  package var tensorByteCount = 0
  /// Numbers in safetensors files.
  package var elementCount = 0

  package init(fingerprint: String, tensorByteCount: Int = 0, elementCount: Int = 0) {
    self.fingerprint = fingerprint
    self.tensorByteCount = tensorByteCount
    self.elementCount = elementCount
  }

  /// Files of a directory that decide what is computed.
  private static let endings = [".json", ".jsonl", ".model", ".safetensors"]
  /// Pieces of a file that are read, and the size of each.
  private static let sampleCount = 16
  private static let sampleByteCount = 16384

  /// Looks at a file, or at the files of a directory: names, sizes, and pieces of the contents from
  /// the first byte to the last. All of a large model would take minutes to read.
  ///
  /// - Parameter path: absolute.
  /// - Returns: nil when there is nothing under that name.
  package init?(path: String) throws(UserError) {
    guard FileSystem.exists(path) else { return nil }
    var hash = SHA256()
    fingerprint = ""
    guard FileSystem.isDirectory(path) else {
      try Self.add(MappedFile(path: path), to: &hash)
      fingerprint = hash.finish()
      return
    }
    for name in try FileSystem.list(path) where Self.endings.contains(where: name.hasSuffix) {
      let file = "\(path)/\(name)"
      guard !FileSystem.isDirectory(file) else { continue }
      hash.update(Array("\(name)\n".utf8))
      try Self.add(MappedFile(path: file), to: &hash)
    }
    fingerprint = hash.finish()
    for name in try Self.tensorFiles(path) {
      let file = try SafetensorsFile(path: "\(path)/\(name)")
      tensorByteCount += file.file.byteCount
      elementCount += file.entries.values.reduce(0) { $0 + $1.elementCount }
    }
  }

  private static func add(_ file: MappedFile, to hash: inout SHA256) {
    hash.update(Array("\(file.byteCount)\n".utf8))
    let last = max(0, file.byteCount - sampleByteCount)
    var next = 0
    for sample in 0..<sampleCount {
      let start = max(next, last / (sampleCount - 1) * sample)
      let end = sample == sampleCount - 1 ? file.byteCount : start + sampleByteCount
      guard start < min(end, file.byteCount) else { continue }
      next = min(max(end, start), file.byteCount)
      hash.update(file.copyBytes(start..<next))
    }
  }

  /// The files that the index names, or the only one: a directory may hold another copy.
  private static func tensorFiles(_ directory: String) throws(UserError) -> [String] {
    let index = "\(directory)/model.safetensors.index.json"
    if FileSystem.exists(index) {
      let map = try FileSystem.readJSON(index)["weight_map"]?.objectValue
      let names = Set(map?.members.compactMap(\.value.stringValue) ?? [])
      return names.filter { !$0.contains("/") }.sorted()
    }
    let single = "model.safetensors"
    return FileSystem.exists("\(directory)/\(single)") ? [single] : []
  }
}

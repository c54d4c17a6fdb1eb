package import Compute
package import Support

/// The tensors of a model directory: one safetensors file, or several with an index.
package struct ModelFiles: Sendable {
  package let directory: String
  let files: [SafetensorsFile]
  /// File and entry of each tensor.
  var locations: [String: (file: Int, entry: SafetensorsFile.Entry)]

  /// Opens and checks the files of a directory.
  ///
  /// - Parameter directory: with `model.safetensors` or `model.safetensors.index.json`.
  /// - Throws: ``UserError`` when files are missing, broken or disagree with the index.
  package init(directory: String) throws(UserError) {
    self.directory = directory
    let single = "\(directory)/model.safetensors"
    let indexPath = "\(directory)/model.safetensors.index.json"
    var files: [SafetensorsFile] = []
    var locations: [String: (Int, SafetensorsFile.Entry)] = [:]
    if FileSystem.exists(indexPath) {
      let index = try FileSystem.readJSON(indexPath)
      guard let map = index["weight_map"]?.objectValue else {
        throw UserError(.badInput, at: indexPath, "no weight_map in it")
      }
      var numbers: [String: Int] = [:]
      for (tensor, value) in map.members {
        guard let name = value.stringValue else {
          throw UserError(.badInput, at: indexPath, "weight_map.\(tensor) is no file name")
        }
        if numbers[name] == nil {
          try Self.checkComponent(name, indexPath)
          numbers[name] = files.count
          files.append(try SafetensorsFile(path: "\(directory)/\(name)"))
        }
        guard let number = numbers[name], let entry = files[number].entries[tensor] else {
          throw UserError(
            .badInput, at: indexPath, "tensor \(tensor) is not in \(name)",
            fix: "copy or download the model again; index and files do not belong together")
        }
        locations[tensor] = (number, entry)
      }
    } else if FileSystem.exists(single) {
      let file = try SafetensorsFile(path: single)
      files = [file]
      for (name, entry) in file.entries { locations[name] = (0, entry) }
    } else {
      throw UserError(
        .badInput, at: directory,
        "neither model.safetensors nor model.safetensors.index.json in it",
        fix: "give a directory with safetensors files (pytorch_model.bin is not read)")
    }
    self.files = files
    self.locations = locations.mapValues { (file: $0.0, entry: $0.1) }
  }

  /// A shard's name must be one plain path component, so that nothing outside is read.
  private static func checkComponent(_ name: String, _ indexPath: String) throws(UserError) {
    guard !name.isEmpty, name != ".", name != "..", !name.contains("/"), !name.contains("\0") else {
      throw UserError(.badInput, at: indexPath, "\"\(name.prefix(80))\" is no plain file name")
    }
  }

  package func contains(_ name: String) -> Bool { locations[name] != nil }

  /// Type and shape of a tensor; an error when it is missing or not of the shape.
  package func entry(_ name: String, shape: [Int]) throws(UserError) -> SafetensorsFile.Entry {
    guard let location = locations[name] else {
      throw UserError(
        .badInput, at: directory, "tensor \(name) is missing",
        fix: "copy or download the model again, or check that config.json belongs to it")
    }
    guard location.entry.shape == shape else {
      throw UserError(
        .badInput, at: files[location.file].path,
        "tensor \(name) has shape \(location.entry.shape), but config.json says \(shape)")
    }
    return location.entry
  }

  /// Elements of a tensor as float32.
  package func floats(_ name: String, _ range: Range<Int>? = nil) throws(UserError) -> [Float] {
    guard let location = locations[name] else {
      preconditionFailure("\(name) was not checked before it was read")
    }
    return try files[location.file].floats(location.entry, range)
  }

  /// How the tensors lie in the files; names and shapes are checked.
  package var formats: SlabLayout.FormatRule {
    { name, shape throws(UserError) in
      if let stored = try storedNF4(name, shape: shape) { return .nf4(isDouble: stored.isDouble) }
      let entry = try entry(name, shape: shape)
      guard let type = ElementType(entry.type) else {
        throw UserError(
          .badInput, at: directory,
          "tensor \(name) has type \(entry.type.rawValue), but weights are F32, F16 or BF16")
      }
      return .dense(type)
    }
  }

  /// The first, middle and last elements of a tensor as text, or of its codes and scales.
  package func excerpt(_ item: SlabLayout.Item) -> String {
    var text = ""
    func places(_ count: Int, _ width: Int) -> [Range<Int>] {
      [0, count / 2, count - width].map { max(0, $0)..<min(count, max(0, $0) + width) }
    }
    guard let stored = try? storedNF4(item.name, shape: item.fileShape) else {
      for elements in places(item.count, 8) {
        text += " \((try? floats(item.name, elements)) ?? [])"
      }
      return text
    }
    for name in stored.tensors {
      guard let (file, entry) = locations[name] else { continue }
      for bytes in places(entry.range.count, 32) {
        let start = entry.range.lowerBound + bytes.lowerBound
        text += " \(files[file].file.copyBytes(start..<start + bytes.count))"
      }
    }
    return text + " \(stored.offset ?? 0)"
  }

  /// The type of a tensor's elements in its file.
  ///
  /// - Parameter name: of a tensor that was checked to be a weight.
  /// - Returns: the type.
  func type(of name: String) -> ElementType {
    guard let type = locations[name].flatMap({ ElementType($0.entry.type) }) else {
      preconditionFailure("\(name) was not checked before it was read")
    }
    return type
  }

  /// Reads bytes of a tensor as they lie in the file.
  ///
  /// - Parameters:
  ///   - name: of the tensor.
  ///   - start: first byte, from the tensor's own beginning.
  ///   - destination: in host memory; filled.
  /// - Throws: ``UserError`` when the file cannot be read.
  package func read(_ name: String, from start: Int, to destination: Tensor) throws(UserError) {
    guard let location = locations[name] else {
      preconditionFailure("\(name) was not checked before it was read")
    }
    let first = location.entry.range.lowerBound + start
    precondition(start >= 0 && first + destination.byteCount <= location.entry.range.upperBound)
    try unsafe files[location.file].file.read(
      first..<first + destination.byteCount,
      into: UnsafeMutableRawBufferPointer(
        start: destination.address, count: destination.byteCount))
  }
}

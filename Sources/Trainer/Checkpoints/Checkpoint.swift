internal import Compute
internal import Model
internal import Support

/// The state of a run after a step, whatever the number of ranks: adapter, moments, and where it is.
struct Checkpoint {
  static let stateName = "state.json"
  static let optimizerName = "optimizer.safetensors"
  static let manifestName = "manifest.json"

  var step: Int
  /// Flat vectors of the adapter's layout.
  var weights: [Float]
  var firstMoment: [Float]
  var secondMoment: [Float]
  /// What must be the same for the run to go on: settings, digests of base and data.
  var identity: JSONObject
  /// How products were computed; nil on devices that choose nothing.
  var products: ProductChoices?

  init(
    step: Int, weights: [Float], firstMoment: [Float], secondMoment: [Float], identity: JSONObject,
    products: ProductChoices? = nil
  ) {
    self.step = step
    self.weights = weights
    self.firstMoment = firstMoment
    self.secondMoment = secondMoment
    self.identity = identity
    self.products = products
  }

  // MARK: Writing

  /// Writes `checkpoint-N` under a temporary name and renames it when everything is on disk.
  ///
  /// - Parameters:
  ///   - output: the run's directory.
  ///   - layout: of the flat vectors.
  ///   - adapterConfiguration: the text of `adapter_config.json`.
  /// - Throws: ``UserError``; nothing but the temporary directory was touched then, and it is removed.
  func write(to output: String, layout: AdapterLayout, adapterConfiguration: String)
    throws(UserError)
  {
    let directory = "\(output)/checkpoint-\(step)"
    let temporary = "\(output)/.checkpoint-\(step).tmp"
    do throws(UserError) {
      try FileSystem.remove(temporary)
      try FileSystem.makeDirectories(temporary)
      var optimizer = SafetensorsWriter()
      optimizer.add("first_moment", shape: [firstMoment.count], floats: firstMoment)
      optimizer.add("second_moment", shape: [secondMoment.count], floats: secondMoment)
      let state: JSONValue = [
        "step": .integer(step), "version": .string(programVersion),
        "identity": .object(identity),
      ]
      var files: [(String, [UInt8])] = [
        (AdapterFile.weightsName, AdapterFile.weights(layout, weights)),
        (AdapterFile.configurationName, Array(adapterConfiguration.utf8)),
        (Self.optimizerName, optimizer.bytes()),
        (Self.stateName, Array((state.prettyText + "\n").utf8)),
      ]
      if let products { files.append((ProductAgreement.fileName, Array(products.text.utf8))) }
      var manifest = JSONObject()
      for (name, bytes) in files {
        try FileSystem.write(bytes, to: "\(temporary)/\(name)")
        manifest[name] = [
          "bytes": .integer(bytes.count), "sha256": .string(SHA256.hexadecimal(bytes)),
        ]
      }
      try FileSystem.write(
        Array((JSONValue.object(manifest).prettyText + "\n").utf8),
        to: "\(temporary)/\(Self.manifestName)")
      try FileSystem.synchronizeDirectory(temporary)
      try FileSystem.remove(directory)
      try FileSystem.move(temporary, to: directory)
      try FileSystem.synchronizeDirectory(output)
    } catch {
      try? FileSystem.remove(temporary)
      throw error
    }
  }

  /// Removes the oldest checkpoints but the newest `count`; 0 keeps all.
  static func prune(_ output: String, keeping count: Int) throws(UserError) {
    guard count > 0 else { return }
    let steps = try FileSystem.list(output).compactMap(OutputDirectory.checkpointStep).sorted()
    for step in steps.dropLast(count) { try FileSystem.remove("\(output)/checkpoint-\(step)") }
  }

  // MARK: Reading

  /// Reads the newest checkpoint of a run that is whole.
  ///
  /// - Parameters:
  ///   - output: the run's directory.
  ///   - layout: the flat vectors must have.
  ///   - identity: of the run that is to go on.
  ///   - warn: is told of damaged checkpoints, which are passed over.
  /// - Returns: nil when there is none.
  /// - Throws: ``UserError`` when checkpoints are there and none is whole, or when the newest whole
  ///   one has other settings, another base or other data: its kind is `usage` then.
  static func newest(
    in output: String, layout: AdapterLayout, identity: JSONObject, warn: (String) -> Void
  ) throws(UserError) -> Checkpoint? {
    guard FileSystem.isDirectory(output) else { return nil }
    let steps = try FileSystem.list(output).compactMap(OutputDirectory.checkpointStep).sorted()
    for step in steps.reversed() {
      do throws(UserError) {
        return try Checkpoint(
          directory: "\(output)/checkpoint-\(step)", layout: layout, expected: identity)
      } catch {
        if error.kind == .usage { throw error }
        warn("warning: \(error)\n  the checkpoint before it is used")
      }
    }
    guard steps.isEmpty else {
      throw UserError(
        .badInput, at: output, "none of its \(steps.count) checkpoints is whole",
        fix: "start again with another --output")
    }
    return nil
  }

  private init(directory: String, layout: AdapterLayout, expected: JSONObject) throws(UserError) {
    let manifestPath = "\(directory)/\(Self.manifestName)"
    guard let manifest = try FileSystem.readJSON(manifestPath).objectValue else {
      throw UserError(.badInput, at: manifestPath, "not a manifest")
    }
    for (name, entry) in manifest.members {
      let bytes = try FileSystem.readBytes("\(directory)/\(FileSystem.name(of: name))")
      guard bytes.count == entry["bytes"]?.intValue,
        SHA256.hexadecimal(bytes) == entry["sha256"]?.stringValue
      else {
        throw UserError(
          .badInput, at: "\(directory)/\(name)", "damaged: size or SHA-256 differ from the manifest"
        )
      }
    }
    let state = try FileSystem.readJSON("\(directory)/\(Self.stateName)")
    guard let step = state["step"]?.intValue, step > 0,
      let identity = state["identity"]?.objectValue
    else { throw UserError(.badInput, at: "\(directory)/\(Self.stateName)", "no step in it") }
    self.step = step
    self.identity = identity
    // Before the vectors, whose lengths follow from the settings.
    try Self.check(identity, ofStep: step, against: expected)
    let optimizer = try SafetensorsFile(path: "\(directory)/\(Self.optimizerName)")
    func moment(_ name: String) throws(UserError) -> [Float] {
      guard let entry = optimizer.entries[name], entry.shape == [layout.elementCount] else {
        throw UserError(
          .badInput, at: optimizer.path, "\(name) does not have \(layout.elementCount) elements")
      }
      return try optimizer.floats(entry)
    }
    firstMoment = try moment("first_moment")
    secondMoment = try moment("second_moment")
    let adapter = try SafetensorsFile(path: "\(directory)/\(AdapterFile.weightsName)")
    weights = try AdapterFile.values(of: adapter, layout: layout)
    if manifest[ProductAgreement.fileName] != nil {
      let path = "\(directory)/\(ProductAgreement.fileName)"
      products = try ProductChoices(FileSystem.readBytes(path), at: path)
    }
  }

  /// Refuses to go on with other settings, another base or other data; names the first difference.
  private static func check(_ identity: JSONObject, ofStep step: Int, against current: JSONObject)
    throws(UserError)
  {
    for (name, value) in current.members where identity[name] != value {
      let before = identity[name]?.compactText ?? "not there"
      throw UserError(
        .usage, at: "--resume",
        "\(name) is \(value.compactText), but the checkpoint of step \(step) has \(before)",
        fix: "give the settings of the run (run.yaml in its directory), or start a new one")
    }
  }
}

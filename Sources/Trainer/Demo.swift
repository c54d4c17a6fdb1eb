internal import CDemo
internal import Support

/// The demo that is built into the program: a small Mixtral, its tokenizer, and sentences in
/// English and Korean with their meaning as structured text.
package enum Demo {
  /// Where the demo's files are, once written.
  struct Paths {
    var model: String
    var trainingData: String
    var heldOutData: String
  }

  /// Settings of `train` that the demo has instead of the general defaults; flags still win.
  static let settings: [(name: String, value: OptionValue)] = [
    ("prompt", .text(#"{input}\n"#)),
    ("completion", .text("{output}")),
    ("quant", .text("nf4")),
    ("max-length", .integer(256)),
    ("samples-per-pack", .integer(4)),
    ("packs-per-step", .integer(4)),
    ("max-steps", .integer(400)),
    ("lr", .number(5e-3)),
    ("lr-scheduler", .text("cosine")),
    ("warmup-steps", .integer(20)),
    ("lora-r", .integer(8)),
    ("lora-alpha", .number(16)),
    ("logging-steps", .integer(20)),
  ]

  /// Writes the files below the cache directory, unless they are there already.
  ///
  /// - Parameter cacheDirectory: of the program.
  /// - Returns: where they are.
  /// - Throws: ``UserError`` when they cannot be written.
  static func materialize(cacheDirectory: String) throws(UserError) -> Paths {
    let root = "\(cacheDirectory)/demo"
    for index in 0..<demo_file_count() {
      let file = unsafe demo_file(index)
      let name = unsafe String(cString: file.name)
      let bytes = unsafe Array(UnsafeBufferPointer(start: file.bytes, count: file.count))
      let path = "\(root)/\(name)"
      try FileSystem.makeDirectories(FileSystem.parent(of: path))
      if FileSystem.exists(path), try FileSystem.readBytes(path) == bytes { continue }
      try FileSystem.writeAtomically(bytes, to: path)
    }
    return Paths(
      model: "\(root)/model", trainingData: "\(root)/data/train.jsonl",
      heldOutData: "\(root)/data/heldout.jsonl")
  }
}

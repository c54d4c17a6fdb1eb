import Support
import Testing
import Trainer

/// Rules that every source file keeps.
@Suite struct SourceTests {
  /// The files that touch raw memory or C: the list to audit. Folders end in `/`.
  static let unsafeFiles = [
    "Sources/Compute/Storage.swift",
    "Sources/Compute/Tensor.swift",
    "Sources/ComputeCPU/",
    "Sources/ComputeCUDA/",
    "Sources/Distributed/",
    "Sources/Launcher/",
    "Sources/Model/ModelFiles.swift",
    "Sources/Support/AppendFile.swift",
    "Sources/Support/AtomicFileWriter.swift",
    "Sources/Support/BackgroundThread.swift",
    "Sources/Support/Console.swift",
    // Locks and removes files.
    "Sources/Support/FileCache.swift",
    "Sources/Support/FileSystem.swift",
    "Sources/Support/GzipInflater.swift",
    "Sources/Support/MappedFile.swift",
    // Starts and joins threads.
    "Sources/Support/ParallelMap.swift",
    "Sources/Support/SafetensorsFile.swift",
    "Sources/Support/SafetensorsWriter.swift",
    // Waits for a condition of threads.
    "Sources/Support/SerialThread.swift",
    "Sources/Support/StandardInput.swift",
    "Sources/Support/SteadyClock.swift",
    "Sources/Support/YAMLEventReader.swift",
    "Sources/Trainer/Demo.swift",
  ]

  @Test func unsafeCodeStaysInItsFiles() throws {
    for path in try Repository.files(under: "Sources", endings: [".swift"]) {
      let isListed = Self.unsafeFiles.contains {
        $0.hasSuffix("/") ? path.hasPrefix($0) : path == $0
      }
      guard !isListed else { continue }
      for (number, line) in try Repository.text(path).split(
        separator: "\n", omittingEmptySubsequences: false
      ).enumerated() where !line.drop(while: { $0 == " " }).hasPrefix("//") {
        let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
        #expect(
          !words.contains("unsafe"), "\(path):\(number + 1) is not in the list of unsafe files")
      }
    }
  }

  @Test func filesAreShort() throws {
    for folder in ["Sources", "Tests"] {
      for path in try Repository.files(
        under: folder, endings: [".swift", ".c", ".h", ".cu", ".cuh"])
      {
        let count = try Repository.text(path).split(
          separator: "\n", omittingEmptySubsequences: false
        ).count
        #expect(count <= 500, "\(path) has \(count) lines")
      }
    }
  }

  @Test func nothingIsLeftForLater() throws {
    // Put together here so that this file does not match itself.
    let marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
    for path in try Repository.files(under: "Sources", endings: [".swift", ".c", ".h"]) {
      let text = try Repository.text(path)
      for mark in marks { #expect(!text.contains(mark), "\(path) says \(mark)") }
    }
  }

  @Test func foundationIsNotUsed() throws {
    for path in try Repository.files(under: "Sources", endings: [".swift"]) {
      let lines = try Repository.text(path).split(separator: "\n")
      #expect(
        !lines.contains { $0.contains("import ") && $0.hasSuffix(" Foundation") }, "\(path)")
    }
  }

  /// A new flag is a promise to keep: adding one means changing this list on purpose.
  @Test func theFlagsOfTrainAreTheseAndNoOthers() {
    let flags = TrainConfiguration.parser.groups.flatMap { $0.options.map(\.name) }.sorted()
    #expect(
      flags == [
        "adam-beta1", "adam-beta2", "adam-eps", "cache", "chat-template", "collectives",
        "completion", "config",
        "data", "device",
        "double-quant", "epochs", "eval-data", "eval-steps", "gradient-checkpointing",
        "holdout", "init-adapter", "keep-checkpoints", "logging-steps", "lora-alpha",
        "lora-dropout",
        "lora-r", "lora-targets", "lr", "lr-scheduler", "max-grad-norm", "max-length",
        "max-steps", "mixed-precision", "model", "no-cache", "no-shuffle", "output", "overlength",
        "pack-tokens", "packs-per-step", "prompt", "quant", "quant-router", "resume",
        "router-aux-loss-coef", "rslora", "samples-per-pack", "save-steps", "seed", "shard",
        "shard-group",
        "template-date", "threads",
        "train-on", "warmup-steps", "weight-decay",
      ])
  }

  @Test func everyFlagIsDeclaredOnce() {
    for parser in [
      TrainConfiguration.parser, EvaluateConfiguration.parser, GenerateConfiguration.parser,
      TokenizeConfiguration.parser, SelfTestConfiguration.parser,
    ] {
      let options = parser.groups.flatMap(\.options)
      #expect(Set(options.map(\.name)).count == options.count)
      for option in options {
        #expect(option.help.hasSuffix("."), "--\(option.name) has no whole sentence")
      }
    }
  }

  /// Links of the form `](path)` in the project's documents.
  @Test func linksInDocumentsLeadSomewhere() throws {
    var documents = try Repository.files(under: "docs", endings: [".md"])
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
    where FileSystem.exists("\(Repository.root)/\(name)") { documents.append(name) }
    for document in documents {
      let folder = FileSystem.parent(of: "\(Repository.root)/\(document)")
      for piece in try Repository.text(document).split(separator: "](").dropFirst() {
        let target = String(piece.prefix { $0 != ")" && $0 != "#" && $0 != " " })
        guard !target.isEmpty, !target.contains("://"), !target.hasPrefix("mailto:") else {
          continue
        }
        #expect(FileSystem.exists("\(folder)/\(target)"), "\(document) links to \(target)")
      }
    }
  }
}

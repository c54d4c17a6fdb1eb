internal import Data
internal import DistributedTraining
internal import Support

/// Tokenized data files: one rank of each host makes them, and all its ranks read the same file.
struct TokenCache {
  /// Where the files lie; nil keeps tokens in each process's memory.
  private let directory: String?
  /// How much is kept there.
  private let byteLimit: Int
  /// The ranks of this host.
  private let host: any ProcessGroup
  /// Threads of the rank that tokenizes: those of all ranks that wait for it.
  private let threads: Int
  private let reporter: Reporter?
  private let progress: ProgressReporter

  /// - Parameters:
  ///   - options: say where files lie, and whether there are any.
  ///   - group: all ranks.
  ///   - environment: has the usual directory.
  ///   - reporter: tells the user how far it is.
  /// - Throws: when a rank or the network fails.
  init(
    _ options: SampleOptions, group: any ProcessGroup, environment: ProgramEnvironment,
    reporter: Reporter?
  ) throws {
    directory =
      options.usesCache ? "\(options.cache ?? environment.cacheDirectory)/tokens" : nil
    byteLimit = environment.cacheByteLimit
    host = options.usesCache && group.worldSize > 1 ? try group.splitByHost() : SoloGroup()
    threads = environment.threads * host.worldSize
    self.reporter = reporter
    progress = group.progress
  }

  /// Tokens in memory, on one rank.
  init() {
    directory = nil
    byteLimit = 0
    host = SoloGroup()
    threads = 1
    reporter = nil
    progress = host.progress
  }

  /// The tokens of a data file.
  ///
  /// - Parameters:
  ///   - reader: the file.
  ///   - builder: makes samples of rows.
  ///   - recipe: whatever else decides what a row becomes.
  ///   - limit: the first rows only; nil for all.
  /// - Returns: the rows, the same on every rank of the host.
  /// - Throws: ``UserError`` for a row that is wrong, and when a file cannot be written.
  func store(
    _ reader: DatasetReader, _ builder: SampleBuilder, recipe: [String], limit: Int?
  ) throws -> TokenStore {
    guard let directory, !reader.isSynthetic else {
      return try build(reader, builder, limit, nil)
    }
    // When the first rank finds a mistake, it tells it and ends the job; the others wait for that.
    var key = ""
    var store: TokenStore?
    if host.rank == 0 {
      key = try Self.key(reader, recipe) { progress.move() }
      let path = "\(directory)/\(key)"
      store = TokenFile.open(path, key: key, dataPath: reader.path, checksAll: true)
      if store == nil {
        try FileSystem.makeDirectories(directory)
        store = try build(reader, builder, limit, TokenStore.Destination(path: path, key: key))
        FileCache(directory: directory, byteLimit: byteLimit).prune()
      }
    }
    if host.worldSize > 1 {
      key = try host.broadcast(key)
      store =
        store
        ?? TokenFile.open(
          "\(directory)/\(key)", key: key, dataPath: reader.path, checksAll: false)
    }
    guard let store else {
      throw UserError(
        .system, at: "\(directory)/\(key)",
        "another rank has written this file, but it is not here",
        fix: "give a directory that all ranks of the host see with --cache, or --no-cache")
    }
    return store
  }

  private func build(
    _ reader: DatasetReader, _ builder: SampleBuilder, _ limit: Int?,
    _ destination: TokenStore.Destination?
  ) throws -> TokenStore {
    // Megabytes; small files are done before anybody could read a line.
    let total = max(1, reader.byteCount >> 20)
    var bar = reporter?.bar(
      "tokenizing MB", total: total, every: total >= 32 ? max(1, total / 10) : nil)
    var last = 0
    let store = try TokenStore.build(
      reader, with: builder, limit: limit, destination: destination, threads: threads
    ) { done, _ in
      progress.move()
      let step = min(total, done >> 20)
      guard step > last else { return }
      last = step
      bar?.update(ProgressBar.Status(step: step))
    }
    bar?.finish()
    return store
  }

  /// SHA-256 of the file, of the recipe, and of the program, which may tokenize otherwise in its
  /// next version.
  private static func key(
    _ reader: DatasetReader, _ recipe: [String], progress: () -> Void
  ) throws(UserError) -> String {
    var text = "program \(try FileDigest.hexadecimal("/proc/self/exe", progress: progress))\n"
    text += "data \(try FileDigest.hexadecimal(reader.path, progress: progress))\n"
    for item in recipe { text += JSONValue.string(item).compactText + "\n" }
    return SHA256.hexadecimal(Array(text.utf8))
  }
}

/// SHA-256 of whole files of any size.
enum FileDigest {
  static func hexadecimal(_ path: String, progress: () -> Void = {}) throws(UserError) -> String {
    let file = try MappedFile(path: path)
    var hash = SHA256()
    for start in stride(from: 0, to: file.byteCount, by: 1 << 20) {
      hash.update(try file.readBytes(start..<min(start + 1 << 20, file.byteCount)))
      progress()
    }
    return hash.finish()
  }
}

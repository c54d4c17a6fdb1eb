internal import Glibc

/// The few file operations the program needs, with errors that name the path.
package enum FileSystem {
  package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

  package static func isDirectory(_ path: String) -> Bool {
    var info = stat()
    return unsafe stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
  }

  /// The whole file as bytes.
  ///
  /// - Parameters:
  ///   - path: a regular file.
  ///   - limit: the largest size that is accepted, in bytes.
  /// - Returns: its bytes.
  /// - Throws: ``UserError``.
  package static func readBytes(_ path: String, limit: Int = 1 << 32) throws(UserError) -> [UInt8] {
    let file = try MappedFile(path: path)
    guard file.byteCount <= limit else {
      throw UserError(
        .badInput, at: path, "\(file.byteCount) bytes, but at most \(limit) are accepted here")
    }
    return unsafe file.withBytes(0..<file.byteCount) { bytes in unsafe Array(bytes) }
  }

  /// The whole file as text, which must be UTF-8.
  package static func readText(_ path: String, limit: Int = 1 << 32) throws(UserError) -> String {
    guard let text = String(validating: try readBytes(path, limit: limit), as: UTF8.self) else {
      throw UserError(.badInput, at: path, "not UTF-8 text")
    }
    return text
  }

  /// The whole file as JSON.
  package static func readJSON(_ path: String, limit: Int = 1 << 28) throws(UserError) -> JSONValue
  {
    let bytes = try readBytes(path, limit: limit)
    do {
      return try JSONParser.parse(bytes)
    } catch {
      throw UserError(.badInput, at: path, error.description)
    }
  }

  /// Names in a directory, sorted by bytes, without `.` and `..`.
  package static func list(_ path: String) throws(UserError) -> [String] {
    guard let directory = unsafe opendir(path) else {
      throw UserError(.badInput, at: path, "cannot list: \(systemErrorText())")
    }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// Makes `path` and what is missing above it, readable by the user alone.
  package static func makeDirectories(_ path: String) throws(UserError) {
    if isDirectory(path) { return }
    if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
      try makeDirectories(String(path[..<slash]))
    }
    guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST, isDirectory(path) else {
      throw UserError(.system, at: path, "cannot make the directory: \(systemErrorText())")
    }
  }

  /// Makes one directory, of which there was none before.
  ///
  /// - Parameter path: the directory above it exists.
  /// - Returns: false when something of this name is there already.
  /// - Throws: ``UserError``.
  package static func makeNewDirectory(_ path: String) throws(UserError) -> Bool {
    if unsafe mkdir(path, 0o700) == 0 { return true }
    guard errno == EEXIST else {
      throw UserError(.system, at: path, "cannot make the directory: \(systemErrorText())")
    }
    return false
  }

  /// Writes `bytes` so that a crash leaves the old file or the new one, never a part:
  /// temporary file, fsync, rename, fsync of the directory.
  package static func writeAtomically(_ bytes: [UInt8], to path: String) throws(UserError) {
    let temporary = "\(path).tmp.\(getpid())"
    do throws(UserError) {
      try write(bytes, to: temporary)
      guard unsafe rename(temporary, path) == 0 else {
        throw UserError(.system, at: path, "cannot rename into place: \(systemErrorText())")
      }
    } catch {
      unsafe unlink(temporary)
      // Nobody knows the temporary name.
      throw UserError(error.kind, at: path, error.message, fix: error.fix)
    }
    try synchronizeDirectory(parent(of: path))
  }

  /// Writes `text`; see ``writeAtomically(_:to:)-([UInt8],_)``.
  package static func writeAtomically(_ text: String, to path: String) throws(UserError) {
    try writeAtomically(Array(text.utf8), to: path)
  }

  /// Writes and fsyncs a new file of mode 0600.
  package static func write(_ bytes: [UInt8], to path: String) throws(UserError) {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw UserError(.system, at: path, "cannot create: \(systemErrorText())")
    }
    var offset = 0
    while offset < bytes.count {
      let count = unsafe bytes[offset...].withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        let text = systemErrorText()
        close(descriptor)
        throw UserError(.system, at: path, "cannot write \(bytes.count) bytes: \(text)")
      }
      offset += count
    }
    let isSynchronized = fsync(descriptor) == 0
    let text = systemErrorText()
    guard close(descriptor) == 0, isSynchronized else {
      throw UserError(.system, at: path, "cannot write \(bytes.count) bytes: \(text)")
    }
  }

  /// Makes renames inside a directory durable.
  package static func synchronizeDirectory(_ path: String) throws(UserError) {
    let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw UserError(.system, at: path, "cannot open: \(systemErrorText())")
    }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else {
      throw UserError(.system, at: path, "cannot synchronize: \(systemErrorText())")
    }
  }

  /// Renames `source` to `destination`, replacing a file there.
  package static func move(_ source: String, to destination: String) throws(UserError) {
    guard unsafe rename(source, destination) == 0 else {
      throw UserError(
        .system, at: source, "cannot rename to \(destination): \(systemErrorText())")
    }
  }

  /// Removes a file or a directory with all that is in it. Links are removed, not followed.
  package static func remove(_ path: String) throws(UserError) {
    var info = stat()
    guard unsafe lstat(path, &info) == 0 else { return }
    if info.st_mode & S_IFMT == S_IFDIR {
      for name in try list(path) { try remove("\(path)/\(name)") }
      guard unsafe rmdir(path) == 0 else {
        throw UserError(.system, at: path, "cannot remove: \(systemErrorText())")
      }
    } else if unsafe unlink(path) != 0 {
      throw UserError(.system, at: path, "cannot remove: \(systemErrorText())")
    }
  }

  /// The directory part of a path.
  package static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The last component of a path.
  package static func name(of path: String) -> String {
    String(path[(path.lastIndex(of: "/").map(path.index(after:)) ?? path.startIndex)...])
  }
}

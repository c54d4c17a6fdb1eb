internal import Glibc

/// A new file that is written piece by piece and appears under its name only when it is whole:
/// temporary file, fsync, rename, fsync of the directory.
package struct AtomicFileWriter: ~Copyable {
  package let path: String
  private let temporary: String
  private let descriptor: Int32
  private var isFinished = false

  /// Begins a file of mode 0600 beside where it will lie.
  ///
  /// - Parameter path: where it will lie; a file there is replaced at the end.
  /// - Throws: ``UserError`` when it cannot be made.
  package init(path: String) throws(UserError) {
    self.path = path
    // Hosts that share a disk may have processes of one number.
    temporary = "\(path).tmp.\(getpid())-\(UInt32.random(in: 0 ... .max))"
    descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw UserError(.system, at: path, "cannot create: \(systemErrorText())")
    }
  }

  deinit {
    guard descriptor >= 0 else { return }
    close(descriptor)
    if !isFinished { unsafe unlink(temporary) }
  }

  /// Writes `bytes` at the end.
  package func write(_ bytes: [UInt8]) throws(UserError) {
    var offset = 0
    while offset < bytes.count {
      let count = unsafe bytes[offset...].withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        throw UserError(
          .system, at: path, "cannot write \(bytes.count - offset) bytes: \(systemErrorText())")
      }
      offset += count
    }
  }

  /// Puts the file in its place.
  package mutating func finish() throws(UserError) {
    guard fsync(descriptor) == 0 else {
      throw UserError(.system, at: path, "cannot write: \(systemErrorText())")
    }
    guard unsafe rename(temporary, path) == 0 else {
      throw UserError(.system, at: path, "cannot rename into place: \(systemErrorText())")
    }
    isFinished = true
    try FileSystem.synchronizeDirectory(FileSystem.parent(of: path))
  }
}

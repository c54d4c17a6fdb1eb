internal import Glibc

/// A regular file mapped read-only into memory, unmapped when the last reference goes.
///
/// The file must not shrink while it is mapped: touching pages beyond its end is a SIGBUS. Large
/// parts are better read by ``read(_:into:)``, which takes no memory beside its destination and
/// finds a file that has shrunk.
@safe package final class MappedFile: Sendable {
  package let path: String
  package let byteCount: Int
  private nonisolated(unsafe) let base: UnsafeRawPointer?
  private let descriptor: Int32

  /// Maps the whole file.
  ///
  /// - Parameter path: a regular file; symbolic links are followed.
  /// - Throws: ``UserError`` when it is missing, not a regular file, or cannot be mapped.
  package init(path: String) throws(UserError) {
    // Opening a pipe would wait for a writer otherwise.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      throw UserError(.badInput, at: path, "cannot open: \(systemErrorText())")
    }
    var isKept = false
    defer { if !isKept { close(descriptor) } }
    var info = stat()
    guard unsafe fstat(descriptor, &info) == 0 else {
      throw UserError(.system, at: path, "cannot read its size: \(systemErrorText())")
    }
    guard info.st_mode & S_IFMT == S_IFREG else {
      throw UserError(.badInput, at: path, "not a regular file")
    }
    self.path = path
    self.descriptor = descriptor
    byteCount = Int(info.st_size)
    if byteCount == 0 {
      unsafe base = nil
      isKept = true
      return
    }
    let address = unsafe mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard unsafe address != MAP_FAILED, let address = unsafe address else {
      throw UserError(.system, at: path, "cannot map \(byteCount) bytes: \(systemErrorText())")
    }
    unsafe base = UnsafeRawPointer(address)
    isKept = true
  }

  deinit {
    close(descriptor)
    if let base = unsafe base { unsafe munmap(UnsafeMutableRawPointer(mutating: base), byteCount) }
  }

  func withDescriptor<Result>(_ body: (Int32) -> Result) -> Result { body(descriptor) }

  /// Runs `body` with the bytes of `range`, which lies inside the file.
  package func withBytes<Result, Failure: Error>(
    _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(range.lowerBound >= 0 && range.upperBound <= byteCount, "bytes outside \(path)")
    let bytes = unsafe UnsafeRawBufferPointer(
      start: base.map { unsafe $0 + range.lowerBound }, count: range.count)
    return try unsafe body(bytes)
  }

  /// Reads the bytes of `range`, which lies inside the file, past the mapping.
  ///
  /// - Parameters:
  ///   - range: of the file.
  ///   - destination: at least as long; its first bytes are overwritten.
  /// - Throws: ``UserError`` when the file cannot be read or has become shorter.
  package func read(_ range: Range<Int>, into destination: UnsafeMutableRawBufferPointer)
    throws(UserError)
  {
    precondition(range.lowerBound >= 0 && range.upperBound <= byteCount, "bytes outside \(path)")
    precondition(destination.count >= range.count)
    var done = 0
    while done < range.count {
      let count = unsafe pread(
        descriptor, destination.baseAddress.map { unsafe $0 + done }, range.count - done,
        range.lowerBound + done)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        throw UserError(
          .system, at: path,
          count == 0
            ? "ends before byte \(range.upperBound); it has become shorter since it was opened"
            : "cannot read: \(systemErrorText())")
      }
      done += count
    }
  }

  /// The bytes of `range`, which lies inside the file, read past the mapping.
  ///
  /// - Parameter range: of the file.
  /// - Returns: the bytes.
  /// - Throws: ``UserError``; see ``read(_:into:)``.
  package func readBytes(_ range: Range<Int>) throws(UserError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: range.count)
    // The closures of the standard library do not carry typed errors through, so the result does.
    let outcome: Result<Void, UserError> = unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(UserError) {
        return .success(try unsafe read(range, into: buffer))
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
    return bytes
  }

  /// A copy of the bytes of `range`, which lies inside the file.
  package func copyBytes(_ range: Range<Int>) -> [UInt8] {
    unsafe withBytes(range) { bytes in unsafe Array(bytes) }
  }
}

/// The text of `errno`, for messages.
package func systemErrorText(_ code: Int32 = errno) -> String {
  unsafe String(cString: strerror(code))
}

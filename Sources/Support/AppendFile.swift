internal import Glibc

/// A file that grows by whole lines, each of which is in the file when ``append(_:)`` returns.
package struct AppendFile: ~Copyable {
  package let path: String
  private let descriptor: Int32

  /// Opens the file, or makes it with mode 0600.
  package init(path: String) throws(UserError) {
    descriptor = unsafe open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
    self.path = path
    guard descriptor >= 0 else {
      throw UserError(.system, at: path, "cannot open: \(systemErrorText())")
    }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// Writes `text` at the end: one write, where the system does not split it. When it fails, the
  /// part that was written is taken back.
  package borrowing func append(_ text: String) throws(UserError) {
    let end = lseek(descriptor, 0, SEEK_END)
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = unsafe bytes.withUnsafeBytes {
        unsafe write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        let reason = systemErrorText()
        if end >= 0 { _ = ftruncate(descriptor, end) }
        throw UserError(
          .system, at: path, "cannot write \(bytes.count) bytes: \(reason)",
          fix: "make room on the disk, then continue the run with --resume")
      }
      bytes.removeFirst(count)
    }
  }
}

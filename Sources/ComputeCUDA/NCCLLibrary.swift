internal import CCUDA
package import Support

/// NCCL, opened and new enough.
///
/// `@unchecked Sendable` is sound because the functions never change after `init`, and NCCL may be
/// called from any thread.
@safe package final class NCCLLibrary: @unchecked Sendable {
  /// Such as 22809 for 2.28.9.
  package let version: Int
  package let path: String
  package var versionText: String { Self.versionText(of: version) }
  let functions: OpaquePointer

  package static let identifierByteCount = Int(CCUDA_NCCL_ID_BYTES)

  /// The oldest version that makes communicators which never block, with a limit to their blocks.
  package static let oldestVersion = 21800

  /// Finds and opens the library.
  ///
  /// - Parameter search: where it is looked for.
  /// - Throws: ``UserError`` that says of every candidate why it cannot be used.
  package init(_ search: LibrarySearch) throws(UserError) {
    var opened: OpaquePointer?
    try search.open(.nccl) { candidate in
      let message = unsafe text { message, size in
        unsafe opened = ccuda_nccl_open(candidate, message, size)
      }
      guard let functions = unsafe opened else { return message }
      let version = Int(unsafe ccuda_nccl_version(functions))
      guard version < Self.oldestVersion else { return nil }
      unsafe ccuda_nccl_close(functions)
      unsafe opened = nil
      return "its version is \(Self.versionText(of: version)), and "
        + "\(Self.versionText(of: Self.oldestVersion)) is the oldest that can be used"
    }
    guard let functions = unsafe opened else { preconditionFailure("a candidate was opened") }
    unsafe self.functions = functions
    version = Int(unsafe ccuda_nccl_version(functions))
    path = unsafe text(capacity: 4096) { unsafe ccuda_nccl_path(functions, $0, $1) }
  }

  deinit { unsafe ccuda_nccl_close(functions) }

  /// A new identifier of a communicator: one rank makes it and gives it to the others.
  ///
  /// - Returns: 128 bytes.
  /// - Throws: ``UserError`` with NCCL's reason, such as no network interface.
  package func makeIdentifier() throws(UserError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(CCUDA_NCCL_ID_BYTES))
    let code = unsafe ccuda_nccl_make_id(functions, &bytes)
    guard code == 0 else {
      throw UserError(
        .distributed, at: path, "making an identifier failed: \(reason(code))",
        fix: "set NCCL_DEBUG=INFO to see more")
    }
    return bytes
  }

  /// NCCL's text for a code, and what it says of its last failure.
  func reason(_ code: Int32) -> String {
    unsafe text(capacity: 1024) { unsafe ccuda_nccl_error(functions, code, $0, $1) }
  }

  package static func versionText(of version: Int) -> String {
    "\(version / 10000).\(version / 100 % 100).\(version % 100)"
  }
}

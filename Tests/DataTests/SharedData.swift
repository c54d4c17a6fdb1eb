import Glibc
import Support

/// Reference files outside the project, which some tests compare with when they are there.
enum SharedData {
  /// The directory: `ACCELERATE_SHARED`, or `shared` beside the package.
  static let root: String = {
    if let value = unsafe getenv("ACCELERATE_SHARED") { return unsafe String(cString: value) }
    // This file is Tests/DataTests/SharedData.swift in the package.
    var package = #filePath
    for _ in 0..<3 { package = FileSystem.parent(of: package) }
    return FileSystem.parent(of: package) + "/shared"
  }()

  static let isPresent = FileSystem.isDirectory(root + "/reference/tokenizers")

  static let absence = """
    No reference data at the directory of ACCELERATE_SHARED (default: ../shared), so nothing \
    was compared with other implementations.
    """

  static func path(_ name: String) -> String { "\(root)/\(name)" }
}

/// A directory that is removed when the value goes out of scope.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/data-tests-XXXXXX".utf8CString)
    path = try unsafe template.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress, let made = unsafe mkdtemp(base) else {
        throw UserError(.system, "cannot make a temporary directory: \(systemErrorText())")
      }
      return unsafe String(cString: made)
    }
  }

  deinit { try? FileSystem.remove(path) }

  /// Writes a file and gives its path.
  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    try write(name, Array(text.utf8))
  }

  /// Writes a file and gives its path.
  @discardableResult
  func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    try FileSystem.write(bytes, to: "\(path)/\(name)")
    return "\(path)/\(name)"
  }
}

extension String {
  /// Equality byte by byte; `==` takes canonically equivalent texts for equal.
  func isExactly(_ other: String) -> Bool { ExactString(self) == ExactString(other) }
}

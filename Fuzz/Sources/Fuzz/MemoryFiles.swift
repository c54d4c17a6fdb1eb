import Glibc
import Support

/// Files of this process, in memory.
enum MemoryFiles {
  static let directory: String = {
    let path = "/dev/shm/accelerate-fuzz-\(getpid())"
    do { try FileSystem.makeDirectories(path) } catch { fatalError("\(error)") }
    return path
  }()

  static func path(_ name: String) -> String { "\(directory)/\(name)" }

  /// Writes a file of ``directory`` and returns its path.
  @discardableResult
  static func write(_ bytes: some Collection<UInt8>, _ name: String) -> String {
    write(bytes, path: path(name))
    return path(name)
  }

  static func write(_ bytes: some Collection<UInt8>, path: String) {
    let bytes = Array(bytes)
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else {
      fatalError("\(path) cannot be written")
    }
    close(file)
  }
}

/// An input before and after its first zero byte: a file, and what it is used on.
func halves(_ bytes: [UInt8]) -> (file: ArraySlice<UInt8>, rest: ArraySlice<UInt8>?) {
  guard let zero = bytes.firstIndex(of: 0) else { return (bytes[...], nil) }
  return (bytes[..<zero], bytes[(zero + 1)...])
}

/// Stops the fuzzer where two answers differ.
func check(_ condition: Bool, _ message: @autoclosure () -> String) {
  if !condition { fatalError(message()) }
}

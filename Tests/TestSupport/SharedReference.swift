internal import Glibc
package import Support

/// Reference files that lie outside the project: in the folder that the environment variable
/// ACCELERATE_SHARED names, by default ../shared. Tests that need them skip, with the reason, when
/// they are not there.
package enum SharedReference {
  package static let folder: String = {
    guard let value = unsafe getenv("ACCELERATE_SHARED") else { return "../shared" }
    return unsafe String(cString: value)
  }()

  package static func path(_ name: String) -> String { "\(folder)/reference/\(name)" }

  /// Whether a reference file can be read.
  package static func has(_ name: String) -> Bool { unsafe access(path(name), R_OK) == 0 }

  package static func safetensors(_ name: String) throws -> SafetensorsFile {
    try SafetensorsFile(path: path(name))
  }
}

extension SafetensorsFile {
  package func floats(named name: String) throws -> [Float] {
    guard let entry = entries[name] else { throw MissingTensor(name: name, path: path) }
    return try floats(entry)
  }

  package func bytes(named name: String) throws -> [UInt8] {
    guard let entry = entries[name] else { throw MissingTensor(name: name, path: path) }
    return unsafe withBytes(entry) { unsafe Array($0) }
  }
}

/// A tensor that a reference file should hold.
package struct MissingTensor: Error {
  package var name: String
  package var path: String
}

internal import CCUDA
package import Support

/// The driver, opened; what it says of itself and of the GPUs.
package struct CUDADriver: Sendable {
  /// 1000 times the major version of CUDA that it supports, plus ten times the minor one.
  package let version: Int
  package let path: String
  package let deviceCount: Int
  package var versionText: String { "\(version / 1000).\(version % 1000 / 10)" }

  /// A GPU.
  package struct GPU: Sendable {
    package let name: String
    /// Compute capability, 90 for 9.0.
    package let capability: Int
    package let byteCount: Int
    package let multiprocessorCount: Int
  }

  /// Finds and opens the driver.
  package init(_ search: LibrarySearch) throws(UserError) {
    try search.open(.driver) { path in
      unsafe problem(opening: path) { unsafe ccuda_open_driver($0, $1, $2) }
    }
    path = unsafe text { unsafe ccuda_driver_path($0, $1) }
    var (version, count) = (Int32(0), Int32(0))
    guard unsafe ccuda_driver_version(&version) == 0, unsafe ccuda_device_count(&count) == 0 else {
      throw UserError(.system, at: path, "the driver does not count its GPUs")
    }
    self.version = Int(version)
    deviceCount = Int(count)
  }

  /// What a GPU can do at most, as far as the driver tells.
  func limits(_ ordinal: Int32, capability: Int) -> DeviceLimits {
    // CUdevice_attribute: multiprocessors, their clock, clock and width of the memory.
    let values = [16, 13, 36, 37].map { (attribute: Int32) in
      var value: Int32 = 0
      return unsafe ccuda_device_attribute(attribute, ordinal, &value) == 0 ? Int(value) : 0
    }
    return DeviceLimits(
      capability: capability, multiprocessors: values[0], clock: values[1],
      memoryClock: values[2], busWidth: values[3])
  }

  package func description(_ ordinal: Int32) throws(UserError) -> GPU {
    var (major, minor, multiprocessors, bytes) = (Int32(0), Int32(0), Int32(0), 0)
    let name = unsafe text { unsafe _ = ccuda_device_name(ordinal, $0, Int32($1)) }
    guard
      unsafe ccuda_device_attribute(75, ordinal, &major) == 0,
      unsafe ccuda_device_attribute(76, ordinal, &minor) == 0,
      unsafe ccuda_device_attribute(16, ordinal, &multiprocessors) == 0,
      unsafe ccuda_device_memory(ordinal, &bytes) == 0
    else { throw UserError(.system, at: path, "the driver does not describe GPU \(ordinal)") }
    return GPU(
      name: name, capability: Int(10 * major + minor), byteCount: bytes,
      multiprocessorCount: Int(multiprocessors))
  }
}

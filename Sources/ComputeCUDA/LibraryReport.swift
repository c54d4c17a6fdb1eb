internal import CCUDA
internal import Support

/// What of NVIDIA's libraries this machine has, for people: a line for each, whether found or not.
package enum LibraryReport {
  /// Lines of a name and what was found.
  ///
  /// - Parameter search: where libraries are looked for.
  /// - Returns: at least one line for each library.
  package static func lines(_ search: LibrarySearch) -> [(name: String, text: String)] {
    CUDALibrary.allCases.flatMap { library in
      do throws(UserError) {
        return try describe(library, search)
      } catch {
        return [(library.rawValue, "not found: \(library.source)")]
      }
    }
  }

  private static func describe(_ library: CUDALibrary, _ search: LibrarySearch) throws(UserError)
    -> [(name: String, text: String)]
  {
    switch library {
    case .driver:
      let driver = try CUDADriver(search)
      var lines = [(library.rawValue, "CUDA \(driver.versionText), \(driver.path)")]
      for ordinal in 0..<driver.deviceCount {
        let gpu = try driver.description(Int32(ordinal))
        lines.append(
          ("GPU \(ordinal)", "\(gpu.name), sm_\(gpu.capability), \(gpu.byteCount >> 20) MiB"))
      }
      if driver.deviceCount == 0 { lines.append(("GPU", "none")) }
      return lines
    case .nvrtc:
      let compiler = try KernelCompiler(search)
      return [
        (library.rawValue, "\(compiler.version.major).\(compiler.version.minor), \(compiler.path)")
      ]
    case .cuBLASLt:
      try search.open(library) { path in
        unsafe problem(opening: path) { unsafe ccuda_open_cublaslt($0, $1, $2) }
      }
      let path = unsafe text { unsafe ccuda_cublaslt_path($0, $1) }
      return [(library.rawValue, "\(CuBLASLt.versionText), \(path)")]
    case .nccl:
      let nccl = try NCCLLibrary(search)
      return [(library.rawValue, "\(nccl.versionText), \(nccl.path); not used by this version")]
    }
  }
}

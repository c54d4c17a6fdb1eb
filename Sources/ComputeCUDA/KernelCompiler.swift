internal import CCUDA
package import Support

/// NVRTC, which compiles the kernels for a GPU at first use.
package struct KernelCompiler: Sendable {
  /// Of the library.
  package let version: (major: Int, minor: Int)
  package let path: String

  /// Finds and opens NVRTC.
  ///
  /// - Parameter search: where libraries are looked for.
  /// - Throws: ``UserError`` when there is none, or it lacks its builtins.
  package init(_ search: LibrarySearch) throws(UserError) {
    try search.open(.nvrtc) { path in
      unsafe problem(opening: path) { unsafe ccuda_open_nvrtc($0, $1, $2) }
    }
    path = unsafe text { unsafe ccuda_nvrtc_path($0, $1) }
    var (major, minor) = (Int32(0), Int32(0))
    guard unsafe ccuda_nvrtc_version(&major, &minor) == 0 else {
      throw UserError(.system, at: path, "NVRTC does not tell its version")
    }
    version = (Int(major), Int(minor))
    // NVRTC opens its builtins by name alone, which finds nothing where they lie beside it in a
    // folder that the loader does not know. Once opened they are found.
    let name = "libnvrtc-builtins.so.\(major).\(minor)"
    let beside = "\(FileSystem.parent(of: path))/\(name)"
    let builtins = FileSystem.exists(beside) ? beside : name
    if let problem = unsafe problem(opening: builtins, { unsafe ccuda_open_library($0, $1, $2) }) {
      throw UserError(
        .system, at: path,
        "NVRTC's builtins, \(name), cannot be opened: "
          + (problem.hasPrefix("\(name): ") ? String(problem.dropFirst(name.count + 2)) : problem),
        fix: "copy \(name) beside it, or install NVRTC again: \(CUDALibrary.nvrtc.source)")
    }
  }

  /// Options that decide the code; divisions and roots are rounded correctly.
  package static func options(architecture: String) -> [String] {
    ["--gpu-architecture=\(architecture)", "--std=c++17", "--prec-div=true", "--prec-sqrt=true"]
  }

  /// Compiles a file of kernels.
  ///
  /// - Parameters:
  ///   - source: the file.
  ///   - architecture: for example `sm_90`.
  ///   - moreOptions: such as one that reports registers in the log.
  /// - Returns: the code for the GPU, and what the compiler said.
  /// - Throws: ``UserError`` when it does not compile.
  package func compile(
    _ source: KernelCatalog.File, architecture: String, moreOptions: [String] = []
  ) throws(UserError) -> (cubin: [UInt8], log: String) {
    let options = Self.options(architecture: architecture) + moreOptions
    // Copies that live until the call is over.
    let copies = unsafe options.map { option in
      let bytes = Array(option.utf8CString)
      let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
      unsafe copy.initialize(from: bytes, count: bytes.count)
      return unsafe copy
    }
    defer { unsafe copies.forEach { unsafe $0.deallocate() } }
    var pointers = unsafe copies.map { unsafe UnsafePointer<CChar>?($0) }
    var (cubin, byteCount, log): (UnsafeMutableRawPointer?, Int, UnsafeMutablePointer<CChar>?) =
      (nil, 0, nil)
    let code = unsafe ccuda_compile(
      source.name, source.text, &pointers, Int32(pointers.count), &cubin, &byteCount, &log)
    defer {
      unsafe ccuda_free_text(cubin)
      unsafe ccuda_free_text(log)
    }
    let message = unsafe log.map { unsafe String(cString: $0) } ?? ""
    guard code == 0, let cubin = unsafe cubin else {
      throw UserError(
        .system, at: source.name,
        "NVRTC \(version.major).\(version.minor) cannot compile it for \(architecture): "
          + "\(unsafe String(cString: ccuda_nvrtc_error(code)))\n\(message)",
        fix: "use another version of NVRTC: \(CUDALibrary.nvrtc.source)")
    }
    return (
      unsafe Array(UnsafeRawBufferPointer(start: cubin, count: byteCount)), message
    )
  }
}

/// Compiled kernels in files that are named by a digest of everything that decides them.
package struct KernelCache: Sendable {
  let directory: String

  package init(directory: String) { self.directory = directory }

  /// The code of a source file: from the cache, else compiled and kept. Ranks that do so at the same
  /// time write the same bytes, each by a rename.
  package func cubin(
    _ source: KernelCatalog.File, architecture: String, compiler: KernelCompiler
  ) throws(UserError) -> [UInt8] {
    let path = "\(directory)/\(digest(source, architecture, compiler)).cubin"
    let magic: [UInt8] = [0x7F, 0x45, 0x4C, 0x46]  // ELF
    if FileSystem.exists(path), let known = try? FileSystem.readBytes(path, limit: 1 << 28),
      known.starts(with: magic)
    {
      return known
    }
    let cubin = try compiler.compile(source, architecture: architecture).cubin
    try FileSystem.makeDirectories(directory)
    try FileSystem.writeAtomically(cubin, to: path)
    return cubin
  }

  private func digest(
    _ source: KernelCatalog.File, _ architecture: String, _ compiler: KernelCompiler
  ) -> String {
    var text = "NVRTC \(compiler.version.major).\(compiler.version.minor)\n"
    text += KernelCompiler.options(architecture: architecture).joined(separator: " ")
    for file in KernelCatalog.files where file.name.hasSuffix(".cuh") || file.name == source.name {
      text += "\n\(file.name) \(file.text.utf8.count)\n\(file.text)"
    }
    return SHA256.hexadecimal(Array(text.utf8))
  }
}

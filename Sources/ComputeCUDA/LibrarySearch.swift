internal import CCUDA
internal import Support

/// NVIDIA's libraries that are opened at run time.
package enum CUDALibrary: String, Sendable, CaseIterable {
  case driver = "CUDA driver"
  case nvrtc = "NVRTC"
  case cuBLASLt = "cuBLASLt"
  case nccl = "NCCL"

  /// Names under which the loader knows it, newest first.
  var sonames: [String] {
    switch self {
    case .driver: ["libcuda.so.1"]
    case .nvrtc: ["libnvrtc.so.13", "libnvrtc.so.12"]
    case .cuBLASLt: ["libcublasLt.so.13", "libcublasLt.so.12"]
    case .nccl: ["libnccl.so.2"]
    }
  }

  /// An absolute path that is used instead of searching.
  package var variable: String {
    switch self {
    case .driver: "ACCELERATE_CUDA_DRIVER_LIB"
    case .nvrtc: "ACCELERATE_NVRTC_LIB"
    case .cuBLASLt: "ACCELERATE_CUBLASLT_LIB"
    case .nccl: "ACCELERATE_NCCL_LIB"
    }
  }

  /// Where it can be had.
  var source: String {
    switch self {
    case .driver:
      "install NVIDIA's driver, version 525 or newer, and restart the machine after an update of it"
    case .nvrtc: "pip install nvidia-cuda-nvrtc, or install NVIDIA's CUDA toolkit"
    case .cuBLASLt: "pip install nvidia-cublas, or install NVIDIA's CUDA toolkit"
    case .nccl: "pip install nvidia-nccl-cu13, or NVIDIA's package libnccl2"
    }
  }
}

/// Looks for NVIDIA's libraries: folders and paths that variables name, what the loader knows, the
/// folders of the CUDA toolkit, and Python wheels.
package struct LibrarySearch: Sendable {
  /// A list of folders, divided by colons, that are looked into first.
  package static let foldersVariable = "ACCELERATE_CUDA_LIB_DIR"
  private let variables: [String: String]

  /// - Parameter variables: of the environment.
  package init(_ variables: [String: String]) { self.variables = variables }

  /// Paths and sonames in the order in which they are tried.
  package func candidates(_ library: CUDALibrary) -> [String] {
    var candidates = present(in: folders(Self.foldersVariable), library)
    if let path = variables[library.variable], !path.isEmpty { return candidates + [path] }
    candidates += library.sonames
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].flatMap { folders($0).map { "\($0)/lib64" } }
    return candidates
      + present(
        in: toolkits + [
          "/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu",
          "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
        ] + wheelFolders(), library)
  }

  private func folders(_ variable: String) -> [String] {
    (variables[variable] ?? "").split(separator: ":").map(String.init).filter {
      $0.hasPrefix("/")
    }
  }

  private func present(in folders: [String], _ library: CUDALibrary) -> [String] {
    folders.flatMap { folder in library.sonames.map { "\(folder)/\($0)" } }
      .filter(FileSystem.exists)
  }

  /// Folders of libraries in Python wheels, in virtual environments first.
  private func wheelFolders() -> [String] {
    func children(_ folder: String, prefix: String = "") -> [String] {
      guard FileSystem.isDirectory(folder) else { return [] }
      return ((try? FileSystem.list(folder)) ?? []).filter { $0.hasPrefix(prefix) }.sorted()
        .map { "\(folder)/\($0)" }
    }
    var roots = ["VIRTUAL_ENV"].flatMap(folders).map { "\($0)/lib" }
    roots += children("/opt").map { "\($0)/.venv/lib" }
    roots += folders("HOME").map { "\($0)/.local/lib" } + ["/usr/local/lib", "/usr/lib"]
    let packages = roots.flatMap { children($0, prefix: "python3") }
      .flatMap { ["\($0)/site-packages/nvidia", "\($0)/dist-packages/nvidia"] }
    return packages.flatMap { children($0) }.map { "\($0)/lib" }
  }

  /// Opens the first candidate that works.
  ///
  /// - Parameters:
  ///   - library: which.
  ///   - open: opens one candidate; returns why it cannot be used, or nil.
  /// - Throws: ``UserError`` that lists what was tried.
  func open(_ library: CUDALibrary, _ open: (String) -> String?) throws(UserError) {
    var problems: [String] = []
    for candidate in candidates(library) {
      guard let problem = open(candidate) else { return }
      // The loader begins its text with the path.
      problems.append(
        problem.hasPrefix("\(candidate): ") ? problem : "\(candidate): \(problem)")
    }
    throw UserError(
      .system, "\(library.rawValue) cannot be used: \(problems.joined(separator: "; "))",
      fix: "\(library.source); or give its folder in \(Self.foldersVariable)")
  }
}

/// What a C function writes into a text of fixed size.
func text(
  capacity: Int = 512, _ write: (UnsafeMutablePointer<CChar>, Int) -> Void
) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { buffer in
    unsafe buffer.initialize(repeating: 0)
    guard let base = buffer.baseAddress else { return "" }
    unsafe write(base, capacity)
    return unsafe String(cString: base)
  }
}

/// Opens a library with a function of the shim; the reason where that fails.
func problem(
  opening path: String,
  _ open: (UnsafePointer<CChar>, UnsafeMutablePointer<CChar>, Int) -> Bool
) -> String? {
  var isOpen = false
  let message = unsafe text { message, size in isOpen = unsafe open(path, message, size) }
  return isOpen ? nil : message
}

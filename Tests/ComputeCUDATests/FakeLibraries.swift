import ComputeCUDA
import DistributedTraining
import Glibc
import Support

/// NVIDIA's libraries without a GPU, compiled once for all tests.
enum FakeLibraries {
  /// Holds the driver, one that lacks a function, and `products`, where cuBLASLt lies; nil without a C
  /// compiler.
  static let folder: String? = {
    let path = "/tmp/accelerate-swift-driver-\(UInt64.random(in: 0 ... .max))"
    let sources = FileSystem.parent(of: #filePath) + "/FakeDriver"
    do {
      try FileSystem.makeDirectories("\(path)/products")
      for (name, source, flags) in [
        ("libcuda.so.1", "driver.c", []), ("libcuda-old.so.1", "driver.c", ["-DFAKE_OLD"]),
        ("products/libcublasLt.so.13", "cublaslt.c", []),
      ] {
        var environment = KernelFile.environment()
        environment["PATH"] = (environment["PATH"] ?? "/usr/bin:/bin") + ":/opt/swift/usr/bin"
        let command =
          ["/usr/bin/env", "clang", "-shared", "-fPIC", "-O1", "-o", "\(path)/\(name)"] + flags
        let child = ChildProcess(
          program: command[0], arguments: command + ["\(sources)/\(source)"],
          environment: environment)
        var status: Int32 = 0
        let process = try child.start()
        while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
        if status != 0 { return nil }
      }
      atexit { if let folder = FakeLibraries.folder { try? FileSystem.remove(folder) } }
      return path
    } catch {
      return nil
    }
  }()
  static let nvrtcFolder: String? = CompileTests.compiler.map {
    FileSystem.parent(of: $0.path)
  }
  static let cuBLASLt = "\(folder ?? "")/products/libcublasLt.so.13"

  /// Variables for a program that is to use them; own kernels multiply unless `changes` name a library.
  static func environment(_ changes: [String: String] = [:]) -> [String: String?] {
    var variables = [
      CUDALibrary.driver.variable: "\(folder ?? "")/libcuda.so.1",
      CUDALibrary.cuBLASLt.variable: "none",
      LibrarySearch.foldersVariable: nvrtcFolder ?? "", "XDG_CACHE_HOME": folder ?? "",
      "ACCELERATE_THREADS": "1",
    ]
    for (name, value) in changes { variables[name] = value }
    return variables
  }
}

import CUDAEmulation
import Compute
import ComputeCUDA
import DistributedTraining
import Glibc
import Support
import Testing

/// NVIDIA's libraries without a GPU, compiled once for all tests from the folder FakeDriver: a driver
/// whose kernels the emulation runs or nobody, one that lacks a function, cuBLASLt, and NCCL between
/// threads.
enum FakeLibraries {
  /// Where they lie, built once; nil without a C compiler.
  static let folder: String? = {
    let path = "/tmp/accelerate-swift-driver-\(UInt64.random(in: 0 ... .max))"
    let sources = FileSystem.parent(of: #filePath) + "/FakeDriver"
    let libraries = [
      ("libcuda.so.1", "driver.c", []), ("libcuda-old.so.1", "driver.c", ["-DFAKE_OLD"]),
      ("libnccl.so.2", "nccl.c", []), ("products/libcublasLt.so.13", "cublaslt.c", []),
    ]
    do {
      try FileSystem.makeDirectories("\(path)/products")
      for (name, source, flags) in libraries {
        let status = try run(
          ["/usr/bin/env", "clang", "-shared", "-fPIC", "-O1", "-pthread", "-o", "\(path)/\(name)"]
            + flags + ["\(sources)/\(source)"])
        // Without a compiler; anything else is a mistake of the tests.
        if status == 127 { return nil }
        precondition(status == 0, "\(source) does not compile")
      }
      atexit { if let folder = FakeLibraries.folder { try? FileSystem.remove(folder) } }
      return path
    } catch {
      return nil
    }
  }()

  /// Runs a command that finds the toolchain's compilers.
  ///
  /// - Returns: its exit code, or 128 and the signal that ended it.
  static func run(_ command: [String]) throws -> Int32 {
    var environment = KernelFile.environment()
    environment["PATH"] = (environment["PATH"] ?? "/usr/bin:/bin") + ":/opt/swift/usr/bin"
    let child = ChildProcess(program: command[0], arguments: command, environment: environment)
    let process = try child.start()
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
    return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
  }

  /// Whether programs can use them.
  static let areThere = folder != nil && nvrtcFolder != nil
  static let needs: Comment = "needs clang and NVRTC (scripts/fetch-nvrtc.sh)"

  static let nvrtcFolder: String? = CompileTests.compiler.map { FileSystem.parent(of: $0.path) }

  static let cuBLASLt = "\(folder ?? "")/products/libcublasLt.so.13"

  /// Variables for a program that is to use them; own kernels multiply, and MPI carries what ranks
  /// exchange, unless `changes` name libraries.
  static func environment(_ changes: [String: String] = [:]) -> [String: String?] {
    var variables = [
      CUDALibrary.driver.variable: "\(folder ?? "")/libcuda.so.1",
      CUDALibrary.cuBLASLt.variable: "none", CUDALibrary.nccl.variable: "none",
      LibrarySearch.foldersVariable: nvrtcFolder ?? "", "XDG_CACHE_HOME": folder ?? "",
      "ACCELERATE_THREADS": "1",
    ]
    for (name, value) in changes { variables[name] = value }
    return variables
  }

  /// The driver, whose kernels the emulation runs from now on.
  static func openDriver() throws {
    typealias Launcher =
      @convention(c) (
        UnsafePointer<CChar>, UnsafePointer<UInt32>, UInt32, UInt32,
        UnsafeMutablePointer<UnsafeMutableRawPointer?>
      ) -> Int32
    typealias Setter = @convention(c) (Launcher) -> Void
    let setLauncher = unsafe unsafeBitCast(
      try address("fake_set_launcher", in: .driver), to: Setter.self)
    unsafe setLauncher { kernel, grid, threads, sharedBytes, arguments in
      var message = [CChar](repeating: 0, count: 256)
      let size = unsafe cuda_emulation_size(x: grid[0], y: grid[1], z: grid[2])
      let isFine = unsafe cuda_emulation_launch(
        kernel, size, threads, Int(sharedBytes), arguments, 3,
        cuda_emulation_fault(kind: cuda_emulation_no_fault, number: 0), &message, message.count)
      return isFine ? 0 : 719
    }
  }

  enum Library: String {
    case driver = "libcuda.so.1"
    case nccl = "libnccl.so.2"
  }

  private static func address(_ name: String, in library: Library) throws
    -> UnsafeMutableRawPointer
  {
    let path = "\(try #require(folder))/\(library.rawValue)"
    guard let handle = unsafe dlopen(path, RTLD_NOW | RTLD_GLOBAL),
      let address = unsafe dlsym(handle, name)
    else { throw ComputeError("\(path) has no \(name)") }
    return unsafe address
  }

  /// Calls a function that takes a number.
  static func call(_ name: String, _ number: Int32, in library: Library) throws {
    unsafe unsafeBitCast(
      try address(name, in: library), to: (@convention(c) (Int32) -> Void).self)(number)
  }

  /// What a function returns that takes nothing.
  static func ask(_ name: String, in library: Library) throws -> Int {
    unsafe unsafeBitCast(try address(name, in: library), to: (@convention(c) () -> Int).self)()
  }
}

import ComputeCUDA
import Glibc
import Support
import Testing

/// The kernels compiled by NVRTC for real GPUs, which needs no GPU.
@Suite(.serialized) struct CompileTests {
  /// As the program searches, and then the folder that scripts/fetch-nvrtc.sh fills.
  static let search: LibrarySearch = {
    var variables: [String: String] = [:]
    for name in [LibrarySearch.foldersVariable, CUDALibrary.nvrtc.variable, "CUDA_HOME", "HOME"] {
      if let value = unsafe getenv(name) { variables[name] = unsafe String(cString: value) }
    }
    let package = (0..<3).reduce(#filePath) { path, _ in FileSystem.parent(of: path) }
    variables[LibrarySearch.foldersVariable, default: ""] += ":\(package)/.build/nvrtc"
    return LibrarySearch(variables)
  }()
  static let compiler = try? KernelCompiler(search)

  static let architectures = ["sm_80", "sm_90", "sm_90a", "sm_100"]

  @Test(
    .enabled(
      if: compiler != nil, "no NVRTC: scripts/fetch-nvrtc.sh brings it, or install CUDA's"),
    arguments: KernelCatalog.sources.map(\.name))
  func compilesWithoutSpills(_ name: String) throws {
    let compiler = try #require(Self.compiler)
    let source = try #require(KernelCatalog.sources.first { $0.name == name })
    let kernels = KernelCatalog.kernels.values.filter { $0.file == name }
    for architecture in Self.architectures {
      let (cubin, log) = try compiler.compile(
        source, architecture: architecture, moreOptions: ["--ptxas-options=-v"])
      #expect(cubin.starts(with: [0x7F, 0x45, 0x4C, 0x46]), "\(architecture)")
      #expect(!log.contains("warning"), "\(architecture): \(log)")
      // One line for each kernel: N bytes stack frame, N bytes spill stores, N bytes spill loads.
      let reports = log.split(separator: "\n").filter { $0.contains("bytes spill stores") }
      #expect(reports.count == kernels.count, "\(architecture)")
      for report in reports {
        #expect(
          report.contains(" 0 bytes spill stores") && report.contains(" 0 bytes spill loads"),
          "\(architecture): \(log)")
      }
    }
  }

  @Test(.enabled(if: compiler != nil, "no NVRTC")) func mistakesAreTold() throws {
    let compiler = try #require(Self.compiler)
    #expect {
      try compiler.compile(
        KernelCatalog.File(name: "wrong.cu", text: "nonsense"), architecture: "sm_90")
    } throws: {
      "\($0)".contains("wrong.cu(1): error")
    }
  }

  @Test(.enabled(if: compiler != nil, "no NVRTC")) func cacheKeepsWhatWasCompiled() throws {
    let compiler = try #require(Self.compiler)
    let directory = "/tmp/accelerate-swift-kernels-\(UInt64.random(in: 0 ... .max))"
    defer { try? FileSystem.remove(directory) }
    let cache = KernelCache(directory: directory)
    let source = try #require(KernelCatalog.sources.first { $0.name == "optimizer.cu" })
    let first = try cache.cubin(source, architecture: "sm_90", compiler: compiler)
    let files = try FileSystem.list(directory)
    #expect(files.count == 1)
    #expect(try cache.cubin(source, architecture: "sm_90", compiler: compiler) == first)
    // What is no code is compiled again; another GPU has its own.
    try FileSystem.write([1, 2, 3], to: "\(directory)/\(files[0])")
    #expect(try cache.cubin(source, architecture: "sm_90", compiler: compiler) == first)
    #expect(try cache.cubin(source, architecture: "sm_80", compiler: compiler) != first)
    #expect(try FileSystem.list(directory).count == 2)
  }

  @Test func catalogKnowsTheKernels() {
    #expect(KernelCatalog.kernels.count == 54)
    #expect(KernelCatalog.kernel("cross_entropy").threadCount == 512)
    #expect(KernelCatalog.kernel("attention_backward_kv_96").file == "attention_bf16.cu")
    #expect(KernelCatalog.kernels.values.allSatisfy { $0.threadCount % 32 == 0 })
  }

  /// Folders that are named come first, then an explicit path, then what the loader knows.
  @Test func order() throws {
    let folder = "/tmp/accelerate-swift-libraries-\(UInt64.random(in: 0 ... .max))"
    try FileSystem.makeDirectories(folder)
    defer { try? FileSystem.remove(folder) }
    try FileSystem.write([0], to: "\(folder)/libnvrtc.so.12")
    let wheel = "\(folder)/lib/python3.12/site-packages/nvidia/cu13/lib"
    try FileSystem.makeDirectories(wheel)
    try FileSystem.write([0], to: "\(wheel)/libnvrtc.so.13")
    #expect(
      LibrarySearch([LibrarySearch.foldersVariable: "/nowhere:\(folder)"]).candidates(.nvrtc)
        .prefix(2) == ["\(folder)/libnvrtc.so.12", "libnvrtc.so.13"])
    #expect(
      LibrarySearch([CUDALibrary.nvrtc.variable: "/x/libnvrtc.so"]).candidates(.nvrtc)
        == ["/x/libnvrtc.so"])
    #expect(
      LibrarySearch(["VIRTUAL_ENV": folder]).candidates(.nvrtc).contains(
        "\(wheel)/libnvrtc.so.13"))
  }

  @Test func brokenLibrariesAreTold() throws {
    #expect {
      try KernelCompiler(LibrarySearch([CUDALibrary.nvrtc.variable: "/nowhere/libnvrtc.so"]))
    } throws: {
      let text = "\($0)"
      return text.contains("NVRTC cannot be used: /nowhere/libnvrtc.so")
        && text.contains("pip install nvidia-cuda-nvrtc")
    }
  }

  @Test func noDriverIsTold() throws {
    #expect {
      try CUDADriver(LibrarySearch([CUDALibrary.driver.variable: "/nowhere/libcuda.so.1"]))
    } throws: {
      "\($0)".contains("CUDA driver cannot be used: /nowhere/libcuda.so.1")
    }
  }
}

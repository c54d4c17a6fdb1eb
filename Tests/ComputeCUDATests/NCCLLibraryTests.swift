import ComputeCUDA
import Glibc
import Support
import Testing

/// How NCCL is found and opened; the library itself needs no GPU for that.
@Suite struct NCCLLibraryTests {
  /// As the program searches, and then the folder that scripts/fetch-nccl.sh fills.
  static let installed: NCCLLibrary? = {
    var variables: [String: String] = [:]
    for name in [LibrarySearch.foldersVariable, CUDALibrary.nccl.variable, "CUDA_HOME", "HOME"] {
      if let value = unsafe getenv(name) { variables[name] = unsafe String(cString: value) }
    }
    let package = (0..<3).reduce(#filePath) { path, _ in FileSystem.parent(of: path) }
    variables[LibrarySearch.foldersVariable, default: ""] += ":\(package)/.build/nccl"
    return try? NCCLLibrary(LibrarySearch(variables))
  }()

  @Test(.enabled(if: installed != nil, "no NCCL: scripts/fetch-nccl.sh brings it"))
  func everyFunctionIsFoundAndIdentifiersDiffer() throws {
    let library = try #require(Self.installed)
    #expect(library.version >= NCCLLibrary.oldestVersion)
    #expect(library.path.contains("libnccl"))
    let identifiers = [try library.makeIdentifier(), try library.makeIdentifier()]
    #expect(identifiers.allSatisfy { $0.count == 128 })
    #expect(identifiers[0] != identifiers[1])
  }

  @Test func aLibraryWithoutTheFunctionsIsNamed() {
    let search = LibrarySearch([CUDALibrary.nccl.variable: "libm.so.6"])
    #expect {
      _ = try NCCLLibrary(search)
    } throws: { error in
      let text = "\(error)"
      return text.contains("libm.so.6: it has no function ncclGetVersion")
        && text.contains("pip install nvidia-nccl-cu13")
    }
  }

  @Test func aFileThatIsNotThereIsNamed() {
    let search = LibrarySearch([CUDALibrary.nccl.variable: "/nowhere/libnccl.so.2"])
    #expect {
      _ = try NCCLLibrary(search)
    } throws: { "\($0)".contains("/nowhere/libnccl.so.2") }
  }
}

import DistributedTraining
import Glibc
import Support
import Trainer

extension HostReport {
  /// Looks at this host.
  init(answering request: HostRequest) throws(UserError) {
    var hash = SHA256()
    // Not through its path: the file may have been replaced since this process started.
    let file = try MappedFile(path: "/proc/self/exe")
    let pieceByteCount = 1 << 20
    for start in stride(from: 0, to: file.byteCount, by: pieceByteCount) {
      hash.update(file.copyBytes(start..<min(start + pieceByteCount, file.byteCount)))
    }
    let installation = try? MPIInstallation(file: request.mpirun)
    let files: [Result<SharedFiles?, UserError>] = request.paths.map { item in
      do throws(UserError) {
        return .success(try SharedFiles(path: item.path))
      } catch {
        return .failure(error)
      }
    }
    self.init(
      programVersion: Support.programVersion, programDigest: hash.finish(),
      computeLibrary: ComputeLibrary.version, instructionSet: ComputeLibrary.instructionSet,
      coreCount: CPUBudget.coreCount(), availableByteCount: Self.availableByteCount(),
      mpiMajorVersion: installation?.majorVersion,
      interfaces: NetworkInterface.ofThisHost().map { "\($0.name) \($0.address)" },
      files: files)
  }

  /// Memory that new processes can take without swapping, caches of files included.
  private static func availableByteCount() -> Int {
    let text = String(decoding: KernelFile.read("/proc/meminfo") ?? [], as: UTF8.self)
    for line in text.split(separator: "\n") where line.hasPrefix("MemAvailable:") {
      let words = line.split(separator: " ")
      if words.count >= 2, let kibibytes = Int(words[1]) { return kibibytes * 1024 }
    }
    return Int.max
  }

  /// `_host-report`: reads a ``HostRequest`` from stdin and prints the report.
  static func run() -> Int32 {
    do throws(UserError) {
      var bytes: [UInt8] = []
      var chunk = [UInt8](repeating: 0, count: 4096)
      while bytes.count < 1 << 20 {
        let count = unsafe read(0, &chunk, chunk.count)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { break }
        bytes += chunk[..<count]
      }
      guard let json = try? JSONParser.parse(bytes), let request = HostRequest(json) else {
        throw UserError(.usage, at: "_host-report", "no request on stdin")
      }
      let report = try HostReport(answering: request)
      RankOutput.writeAll(Array("\(report.line)\n".utf8), to: 1)
      return ExitCode.success
    } catch {
      LaunchTerminal.print("error: \(error)")
      return error.exitCode
    }
  }
}

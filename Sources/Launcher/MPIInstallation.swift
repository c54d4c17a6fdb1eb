import DistributedTraining
import Glibc
import Support

/// The Open MPI that `launch` uses.
struct MPIInstallation {
  var mpirun: String
  var majorVersion: Int
  /// The library that belongs to mpirun, where it is not the system's own.
  var library: String?

  /// Finds mpirun on PATH and asks for its version.
  ///
  /// - Parameters:
  ///   - path: directories with colons between them.
  ///   - environment: what mpirun is started with.
  /// - Throws: ``UserError`` when there is none, or it is not Open MPI's.
  init(path: String, environment: [String: String]) throws(UserError) {
    var other: String?
    // Debian's name for Open MPI's, when mpirun is another MPI's.
    for name in ["mpirun", "mpirun.openmpi"] {
      guard let file = Self.find(name, path: path) else { continue }
      let text = try Self.output(of: file, ["--version"], environment)
      guard let version = MPIRunCommand.majorVersion(ofText: text), version >= 4 else {
        other = other ?? "\(file): \(text.split(whereSeparator: \.isNewline).first ?? "no version")"
        continue
      }
      mpirun = file
      majorVersion = version
      let prefix = FileSystem.parent(of: FileSystem.parent(of: file))
      let candidate = prefix + "/lib/libmpi.so.40"
      library = prefix != "/usr" && FileSystem.exists(candidate) ? candidate : nil
      return
    }
    if let other {
      throw UserError(
        .system, at: "mpirun", "only Open MPI 4 and 5 are supported, but PATH has \(other)",
        fix: "apt-get install openmpi-bin, or put Open MPI's mpirun first on PATH")
    }
    throw UserError(
      .system, at: "mpirun", "not found on PATH, but several ranks are started with it",
      fix: "apt-get install openmpi-bin")
  }

  /// Asks one file for its version.
  ///
  /// - Parameter file: absolute.
  /// - Throws: ``UserError`` when it is not Open MPI's mpirun.
  init(file: String) throws(UserError) {
    let text = try Self.output(of: file, ["--version"], KernelFile.environment())
    guard let version = MPIRunCommand.majorVersion(ofText: text) else {
      throw UserError(.system, at: file, "not Open MPI's mpirun")
    }
    mpirun = file
    majorVersion = version
    library = nil
  }

  /// The absolute path of an executable file on PATH.
  static func find(_ name: String, path: String) -> String? {
    for folder in path.split(separator: ":") where folder.hasPrefix("/") {
      let file = "\(folder)/\(name)"
      if unsafe access(file, X_OK) == 0 && !FileSystem.isDirectory(file) { return file }
    }
    return nil
  }

  private static func output(
    of program: String, _ arguments: [String], _ environment: [String: String]
  ) throws(UserError) -> String {
    let (reading, writing) = try RankOutput.pipe()
    defer { close(reading) }
    var child = ChildProcess(
      program: program, arguments: [program] + arguments, environment: environment)
    child.descriptors = [(writing, 1), (writing, 2)]
    let process: Int32
    do throws(UserError) {
      process = try child.start()
    } catch {
      close(writing)
      throw error
    }
    close(writing)
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe read(reading, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
    return String(decoding: bytes, as: UTF8.self)
  }
}

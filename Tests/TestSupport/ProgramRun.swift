import DistributedTraining
import Glibc
import Support

/// Runs the program that was built beside the tests and collects what it writes.
struct ProgramRun {
  var exitCode: Int32
  var output: String
  var errors: String

  static let program: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    let own = String(
      decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return FileSystem.parent(of: own) + "/accelerate-swift"
  }()

  /// - Parameters:
  ///   - arguments: of the program.
  ///   - changes: variables to set; nil removes one.
  ///   - whileRunning: called with the process number once it runs.
  init(
    _ arguments: [String], environment changes: [String: String?] = [:],
    whileRunning: (Int32) -> Void = { _ in }
  ) throws {
    var environment = KernelFile.environment()
    for (name, value) in changes { environment[name] = value }
    let output = try RankOutput.pipe()
    let errors = try RankOutput.pipe()
    var child = ChildProcess(
      program: Self.program, arguments: [Self.program] + arguments, environment: environment)
    child.descriptors = [(output.writing, 1), (errors.writing, 2)]
    let process = try child.start()
    close(output.writing)
    close(errors.writing)
    whileRunning(process)
    var texts: [[UInt8]] = [[], []]
    var open: [(Int32, Int)] = [(output.reading, 0), (errors.reading, 1)]
    var buffer = [UInt8](repeating: 0, count: 65536)
    while !open.isEmpty {
      var polled = open.map { pollfd(fd: $0.0, events: Int16(POLLIN), revents: 0) }
      _ = unsafe poll(&polled, nfds_t(polled.count), -1)
      for index in open.indices.reversed() where polled[index].revents != 0 {
        let count = unsafe read(open[index].0, &buffer, buffer.count)
        if count > 0 {
          texts[open[index].1] += buffer[..<count]
        } else {
          close(open[index].0)
          open.remove(at: index)
        }
      }
    }
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
    exitCode = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    self.output = String(decoding: texts[0], as: UTF8.self)
    self.errors = String(decoding: texts[1], as: UTF8.self)
  }

  var outputLines: [String] { output.split(separator: "\n").map { String($0) } }

  /// How many processes have `mark` among their arguments.
  static func count(marked mark: String) throws -> Int {
    try FileSystem.list("/proc").filter { name in
      guard Int32(name) != nil else { return false }
      let words = (KernelFile.read("/proc/\(name)/cmdline") ?? []).split(separator: 0)
      return words.contains { String(decoding: $0, as: UTF8.self) == mark }
    }.count
  }
}

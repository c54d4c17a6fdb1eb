internal import DistributedTraining
internal import Glibc
internal import Support

/// Runs the program that was built beside the tests and collects what it writes.
package struct ProgramRun {
  package var exitCode: Int32
  package var output: String
  package var errors: String
  /// How often standard output had something new.
  package var outputPartCount = 0

  package static let program: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    let own = String(
      decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return FileSystem.parent(of: own) + "/accelerate-swift"
  }()

  /// - Parameters:
  ///   - arguments: of the program.
  ///   - changes: variables to set; nil removes one.
  ///   - terminalColumns: gives the program a terminal of this width; all it writes is `output`.
  ///   - fileLimit: the largest file it may write, in units of 1024 bytes; nil for any.
  ///   - dataLimit: the most memory of its own that it may have, in units of 1024 bytes; nil for any.
  ///   - input: a file that is its standard input; nil leaves the caller's.
  ///   - whileRunning: called with the process number once it runs.
  package init(
    _ arguments: [String], environment changes: [String: String?] = [:],
    terminalColumns: Int? = nil, fileLimit: Int? = nil, dataLimit: Int? = nil, input: String? = nil,
    whileRunning: (Int32) -> Void = { _ in }
  ) throws {
    var environment = KernelFile.environment()
    for (name, value) in changes { environment[name] = value }
    let output = try terminalColumns.map(Self.terminal) ?? RankOutput.pipe()
    let errors = try RankOutput.pipe()
    var words = [Self.program] + arguments
    if let fileLimit {
      // Writing beyond the limit is an error then, and no signal that ends the program.
      words =
        ["/bin/bash", "-c", "trap '' XFSZ; ulimit -f \(fileLimit); exec \"$@\"", "bash"] + words
    }
    if let dataLimit {
      words = ["/bin/bash", "-c", "ulimit -d \(dataLimit); exec \"$@\"", "bash"] + words
    }
    var child = ChildProcess(program: words[0], arguments: words, environment: environment)
    child.descriptors = [
      (output.writing, 1), (terminalColumns == nil ? errors.writing : output.writing, 2),
    ]
    let inputFile = input.map { unsafe open($0, O_RDONLY | O_CLOEXEC) }
    if let inputFile { child.descriptors.append((inputFile, 0)) }
    defer { if let inputFile { close(inputFile) } }
    let process = try child.start()
    close(output.writing)
    close(errors.writing)
    whileRunning(process)
    var texts: [[UInt8]] = [[], []]
    var openPipes: [(Int32, Int)] = [(output.reading, 0), (errors.reading, 1)]
    var buffer = [UInt8](repeating: 0, count: 65536)
    while !openPipes.isEmpty {
      var polled = openPipes.map { pollfd(fd: $0.0, events: Int16(POLLIN), revents: 0) }
      _ = unsafe poll(&polled, nfds_t(polled.count), -1)
      for index in openPipes.indices.reversed() where polled[index].revents != 0 {
        let count = unsafe read(openPipes[index].0, &buffer, buffer.count)
        if count > 0 {
          if openPipes[index].1 == 0 { outputPartCount += 1 }
          texts[openPipes[index].1] += buffer[..<count]
        } else {
          close(openPipes[index].0)
          openPipes.remove(at: index)
        }
      }
    }
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
    exitCode = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    self.output = String(decoding: texts[0], as: UTF8.self)
    self.errors = String(decoding: texts[1], as: UTF8.self)
  }

  /// A pseudo terminal: the side to read from and the program's.
  private static func terminal(columns: Int) throws -> (reading: Int32, writing: Int32) {
    var (reading, writing): (Int32, Int32) = (-1, -1)
    var size = winsize(ws_row: 24, ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
    guard unsafe openpty(&reading, &writing, nil, nil, &size) == 0 else {
      throw UserError(.system, "no pseudo terminal: \(systemErrorText())")
    }
    for end in [reading, writing] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (reading, writing)
  }

  package var outputLines: [String] { output.split(separator: "\n").map { String($0) } }

  /// How many processes have `mark` among their arguments.
  package static func count(marked mark: String) throws -> Int {
    try FileSystem.list("/proc").filter { name in
      guard Int32(name) != nil else { return false }
      let words = (KernelFile.read("/proc/\(name)/cmdline") ?? []).split(separator: 0)
      return words.contains { String(decoding: $0, as: UTF8.self) == mark }
    }.count
  }
}

import DistributedTraining
import Glibc
import Support

/// A job that runs while a test does things to it.
final class JobRun {
  /// The process number of `launch`.
  let process: Int32
  private let log: String
  /// In the environment of every process of the job.
  private let mark = "\(UInt64.random(in: 1...UInt64.max))"
  private static let markVariable = "ACCELERATE_TEST_MARK"
  private var exitCode: Int32?

  static let program: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    let own = String(
      decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return FileSystem.parent(of: own) + "/accelerate-swift"
  }()

  /// A path that no other test uses.
  static func temporaryPath() -> String {
    "/tmp/accelerate-swift-test-\(UInt64.random(in: 0...UInt64.max))"
  }

  /// - Parameters:
  ///   - arguments: of the program.
  ///   - starter: what starts the program in its place, with all words before its name.
  ///   - variables: of the environment, beside this process's.
  init(
    _ arguments: [String], starter: [String] = [], variables: [String: String] = [:]
  ) throws {
    log = Self.temporaryPath()
    var environment = KernelFile.environment()
    environment.merge(variables) { $1 }
    environment[Self.markVariable] = mark
    let descriptor = unsafe open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(descriptor) }
    let words = starter + [Self.program] + arguments
    var child = ChildProcess(program: words[0], arguments: words, environment: environment)
    child.descriptors = [(descriptor, 1), (descriptor, 2)]
    process = try child.start()
  }

  deinit {
    if exitCode == nil {
      kill(process, SIGKILL)
      for member in members { kill(member, SIGKILL) }
      _ = wait(seconds: 5)
    }
    try? FileSystem.remove(log)
  }

  /// What was written so far.
  var text: String { (try? FileSystem.readText(log)) ?? "" }

  /// All processes of the job that are still there, `launch` among them.
  var members: [Int32] {
    ((try? FileSystem.list("/proc")) ?? []).compactMap { Int32($0) }.filter {
      ProcessTree.hasVariable($0, Self.markVariable, mark)
    }
  }

  /// The process of a rank; nil when it does not run.
  func rank(_ rank: Int) -> Int32? {
    members.first {
      ProcessTree.hasVariable($0, "OMPI_COMM_WORLD_RANK", "\(rank)")
        && ProcessTree.isProgram($0, Self.program)
        // Not the process that marks its output.
        && !ProcessTree.isRelay($0)
    }
  }

  /// Waits until something is so; returns whether it came to be.
  @discardableResult
  func waitUntil(seconds: Double = 30, _ condition: () -> Bool) -> Bool {
    let deadline = SteadyClock.seconds() + seconds
    while !condition() {
      guard SteadyClock.seconds() < deadline else { return false }
      usleep(20_000)
    }
    return true
  }

  /// Waits for `launch` to end.
  ///
  /// - Returns: its exit code, 128 + n for signal n; -1 when it did not end in time.
  func wait(seconds: Double = 60) -> Int32 {
    if let exitCode { return exitCode }
    var status: Int32 = 0
    let hasEnded = waitUntil(seconds: seconds) {
      unsafe waitpid(process, &status, WNOHANG) == process
    }
    guard hasEnded else { return -1 }
    let code = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    exitCode = code
    return code
  }
}

extension ProcessTree {
  static func isRelay(_ process: Int32) -> Bool {
    arguments(process).dropFirst().first == RankOutput.relayCommand
  }
}

/// A short run of `train` on the demo's model, without the demo's questions at the end.
struct Training {
  let output = JobRun.temporaryPath()
  private static let files =
    FileSystem.parent(of: FileSystem.parent(of: FileSystem.parent(of: #filePath)))
    + "/Sources/CDemo/files"

  func arguments(launch flags: [String] = ["--nproc", "2"], _ extra: [String] = []) -> [String] {
    ["launch"] + flags + [
      "train", "--model", Self.files + "/model", "--data", Self.files + "/data/train.jsonl",
      "--prompt", #"{input}\n"#, "--completion", "{output}", "--quant", "nf4", "--max-steps", "40",
      "--samples-per-pack", "2", "--packs-per-step", "2", "--save-steps", "4", "--lora-r", "4",
      "--max-length", "256", "--output", output,
    ] + extra
  }

  /// The last step in metrics.jsonl.
  var step: Int {
    let text = (try? FileSystem.readText(output + "/metrics.jsonl")) ?? ""
    return text.split(separator: "\n").compactMap {
      (try? JSONParser.parse(String($0)))?["step"]?.intValue
    }.last ?? 0
  }

  var adapter: [UInt8]? {
    try? FileSystem.readBytes(output + "/adapter_model.safetensors")
  }

  var metrics: [Int] {
    ((try? FileSystem.readText(output + "/metrics.jsonl")) ?? "").split(separator: "\n").compactMap
    {
      (try? JSONParser.parse(String($0)))?["step"]?.intValue
    }
  }

  func remove() { try? FileSystem.remove(output) }

  /// The adapter of a run that nobody disturbs.
  static let undisturbed: [UInt8]? = {
    let training = Training()
    defer { training.remove() }
    guard let job = try? JobRun(training.arguments()), job.wait() == 0 else { return nil }
    return training.adapter
  }()
}

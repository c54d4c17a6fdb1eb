import Support
import Testing

@Suite struct CommandLineTests {
  private let parser = CommandLineParser(
    command: "program work", summary: "Works.",
    groups: [
      OptionGroup(
        "Settings",
        [
          Option("lr", .number(.positive), default: .number(2e-4), "Rate."),
          Option(
            "lr-scheduler", .choice(["constant", "linear"]), default: .text("linear"), "Shape."),
          Option("max-steps", .integer(1...100), "Steps."),
          Option("beta", .number(.belowOne), default: .number(0.9), "Decay."),
          Option("data", .path, "File."),
          Option("prompt", .text(placeholder: "TEXT"), "Text."),
          Option("targets", .list(placeholder: "LIST"), default: .list(["q"]), "Modules."),
          Option("no-shuffle", .toggle, "Keeps the order."),
          CommandLineParser.configurationOption,
        ])
    ])

  private func options(_ arguments: String...) throws -> ParsedOptions {
    guard case .options(let options) = try parser.parse(arguments) else {
      throw UserError(.usage, "help")
    }
    return options
  }

  @Test func readsEveryKind() throws {
    let options = try options(
      "--lr", "1e-3", "--lr-scheduler=constant", "--max-steps", "7", "--data", "a.jsonl",
      "--prompt=--x=y", "--targets", "q,v", "--no-shuffle")
    #expect(options.number("lr") == 1e-3)
    #expect(options.text("lr-scheduler") == "constant")
    #expect(options.integerIfAny("max-steps") == 7)
    #expect(options.textIfAny("data") == "a.jsonl")
    #expect(options.text("prompt") == "--x=y")
    #expect(options.list("targets") == ["q", "v"])
    #expect(options.flag("no-shuffle"))
    #expect(options.number("beta") == 0.9)
    #expect(options.origin(of: "lr") == .commandLine)
    #expect(options.origin(of: "beta") == .defaultValue)
  }

  @Test func absentSettingsHaveTheirDefaults() throws {
    let options = try options()
    #expect(options.integerIfAny("max-steps") == nil)
    #expect(!options.flag("no-shuffle"))
    #expect(try !self.options("--no-shuffle=false").flag("no-shuffle"))
  }

  @Test(arguments: [
    (["--lrr", "1"], "program work: there is no flag --lrr\n  fix: did you mean --lr?"),
    (
      ["--scheduler", "x"],
      "program work: there is no flag --scheduler\n  fix: did you mean --lr-scheduler?"
    ),
    (
      ["--max_steps", "1"],
      "program work: there is no flag --max_steps\n  fix: did you mean --max-steps?"
    ),
    (
      ["--frobnicate"],
      "program work: there is no flag --frobnicate\n  fix: `program work --help` lists the flags"
    ),
    (["-x"], "program work: there is no flag -x\n  fix: `program work --help` lists the flags"),
    (["--lr"], "--lr: its value is missing\n  fix: write --lr X"),
    (
      ["--lr", "--no-shuffle"],
      "--lr: its value is missing: \"--no-shuffle\" follows\n  fix: write --lr=VALUE, also for a value that starts with --"
    ),
    (
      ["--lr", "1", "--lr=2"],
      "--lr: given twice; each flag may be given once\n  fix: keep one of the two"
    ),
    (["--lr", "fast"], "--lr: \"fast\" is not a number; it must be greater than 0"),
    (["--lr", "nan"], "--lr: \"nan\" is not a number; it must be greater than 0"),
    (["--lr", "-1"], "--lr: -1 is out of range; it must be greater than 0"),
    (["--beta", "1"], "--beta: 1 is out of range; it must be at least 0 and less than 1"),
    (["--max-steps", "1.5"], "--max-steps: \"1.5\" is not an integer; it must be from 1 to 100"),
    (["--max-steps", "101"], "--max-steps: 101 is out of range; it must be from 1 to 100"),
    (
      ["--lr-scheduler", "liner"],
      "--lr-scheduler: \"liner\" is not one of constant, linear\n  fix: did you mean linear?"
    ),
    (["--data", ""], "--data: an empty value, but a path is needed"),
    (
      ["--targets", "q,,v"],
      "--targets: \"q,,v\" has an empty entry; entries are separated by one comma each"
    ),
    (
      ["--no-shuffle=maybe"],
      "--no-shuffle: \"maybe\", but a switch takes no value other than true or false\n  fix: write --no-shuffle alone"
    ),
    (
      ["data.jsonl"],
      "program work: \"data.jsonl\" is unexpected; settings start with --\n  fix: put quotes around values that hold spaces; `program work --help` lists the flags"
    ),
  ])
  func mistakesAreExplained(_ arguments: [String], _ message: String) throws {
    let error = try #require(throws: UserError.self) { try parser.parse(arguments) }
    #expect(error.description == message)
    #expect(error.exitCode == ExitCode.usage)
  }

  @Test func theCommandLineWinsOverTheFile() throws {
    try withTemporaryFile("lr: 1e-2\nmax_steps: 5\nno-shuffle: true\ntargets: [k, v]\ndata: null\n")
    {
      let options = try options("--config", $0, "--lr", "3")
      #expect(options.number("lr") == 3)
      #expect(options.integerIfAny("max-steps") == 5)
      #expect(options.flag("no-shuffle"))
      #expect(options.list("targets") == ["k", "v"])
      #expect(options.origin(of: "max-steps") == .file(path: $0, line: 2))
      #expect(options.origin(of: "data") == .defaultValue)
      #expect(options.location(of: "max-steps") == "\($0):2: max-steps")
      #expect(options.location(of: "lr") == "--lr")
      #expect(try !self.options("--config", $0, "--no-shuffle=false").flag("no-shuffle"))
    }
  }

  @Test(arguments: [
    ("lrr: 1\n", ":1: there is no setting \"lrr\"\n  fix: did you mean lr?"),
    ("\nlr: fast\n", ":2: lr: a string, but a number is needed"),
    ("max-steps: 0\n", ":1: max-steps: 0 is out of range; it must be from 1 to 100"),
    ("max-steps: 2.5\n", ":1: max-steps: 2.5 is not an integer; it must be from 1 to 100"),
    ("lr: .nan\n", ":1: lr: nan is out of range; it must be greater than 0"),
    ("lr: .inf\n", ":1: lr: inf is out of range; it must be greater than 0"),
    (
      "max-steps: 1\nmax_steps: 2\n",
      ":2: max-steps is set twice, once with - and once with _\n  fix: delete one of the two lines"
    ),
    (
      "config: other.yaml\n",
      ":1: there is no setting \"config\"\n  fix: `program work --help` lists the settings"
    ),
    ("- lr\n", ": an array, but lines of the form `name: value` are needed"),
    ("targets: [1]\n", ":1: targets: a number in a list of words"),
  ])
  func mistakesInFilesNameTheLine(_ text: String, _ message: String) throws {
    try withTemporaryFile(text) { path in
      let error = try #require(throws: UserError.self) { try options("--config", path) }
      #expect(error.description == path + message)
    }
  }

  @Test func missingFilesAreNamed() throws {
    let error = try #require(throws: UserError.self) { try options("--config", "/no/such.yaml") }
    #expect(error.location == "/no/such.yaml")
  }

  @Test func commandsMayTakeMore() throws {
    var parser = parser
    parser.restPlaceholder = "COMMAND ..."
    guard case .options(let options) = try parser.parse(["--lr", "1", "train", "--lr", "2"]) else {
      Issue.record("help")
      return
    }
    #expect(options.number("lr") == 1)
    #expect(options.rest == ["train", "--lr", "2"])
  }

  @Test(arguments: ["--help", "-h"])
  func helpIsAskedFor(_ flag: String) throws {
    guard case .help = try parser.parse(["--lr", "1", flag]) else {
      Issue.record("no help")
      return
    }
  }

  @Test(arguments: [60, 80, 100])
  func helpFitsTheColumns(_ columns: Int) {
    for line in parser.helpText(columns: columns).split(separator: "\n") {
      #expect(line.count <= columns)
    }
  }

  @Test func distancesCountEdits() {
    #expect(editDistance("", "abc") == 3)
    #expect(editDistance("trian", "train") == 1)
    #expect(editDistance("kitten", "sitting") == 3)
    #expect(nearestWord(to: "zzzzzz", in: ["train"]) == nil)
  }
}

/// Runs `body` with the path of a file that holds `text`.
private func withTemporaryFile(_ text: String, _ body: (String) throws -> Void) throws {
  let directory = "/tmp/accelerate-swift-tests-\(UInt64.random(in: 0...UInt64.max))"
  try FileSystem.makeDirectories(directory)
  defer { try? FileSystem.remove(directory) }
  try FileSystem.writeAtomically(text, to: "\(directory)/run.yaml")
  try body("\(directory)/run.yaml")
}

import Support
import TestSupport
import Testing

/// `tokenize`, with the embedded demo's tokenizer.
@Suite(.timeLimit(.minutes(5))) struct TokenizeTests {
  private let place: Workplace

  init() throws { place = try Workplace() }

  private func run(_ input: String, _ flags: [String] = []) throws -> ProgramRun {
    try ProgramRun(
      ["tokenize"] + flags,
      environment: ["XDG_CACHE_HOME": FileSystem.parent(of: Workplace.cache)],
      input: try place.write("input", input))
  }

  @Test func idsComeBackAsTexts() throws {
    let texts = ["Wooden Rain", "", "\u{D55C}\u{AD6D} \u{1F600}\n\t", "two  spaces "]
    let lines = texts.map { JSONValue.string($0).compactText + "\n" }.joined()
    let encoded = try run(lines, ["--no-special"])
    #expect(encoded.exitCode == 0, "\(encoded.errors)")
    #expect(encoded.outputLines.count == texts.count)
    #expect(encoded.output.hasPrefix("["))
    for threads in ["1", "2", "5"] {
      #expect(try run(lines, ["--no-special", "--threads", threads]).output == encoded.output)
    }
    let decoded = try run(encoded.output, ["--decode"])
    #expect(decoded.exitCode == 0, "\(decoded.errors)")
    #expect(decoded.output == lines)
    // What begins a text comes first, unless it was not asked for.
    let whole = try run("\"Rain\"")
    let bare = try run("\"Rain\"\r\n", ["--no-special"])
    #expect(whole.output.hasSuffix(bare.output.dropFirst()) && whole.output != bare.output)
    #expect(try run("").output == "")
    // Special tokens are read in text, and written.
    #expect(try run("\"<s></s>\"", ["--no-special"]).output == "[1,2]\n")
    #expect(try run("[1,2]", ["--decode"]).output == "\"<s></s>\"\n")
  }

  @Test func mistakesNameTheLine() throws {
    func expect(_ input: String, _ flags: [String] = [], _ parts: [String]) throws {
      let run = try run(input, flags)
      #expect(run.exitCode == ExitCode.usage)
      for part in parts { #expect(run.errors.contains(part), "\(run.errors)") }
    }
    try expect("\"a\"\nb\n", [], ["standard input:2: not valid JSON", "quotes included"])
    try expect("[1]\n", [], ["standard input:1: holds an array, not a string", "--decode"])
    try expect("\"a\"\n", ["--decode"], ["standard input:1: holds a string, not an array"])
    try expect("[1]\n[-1]\n", ["--decode"], ["standard input:2: -1 is no token id from 0 to "])
    try expect("[1.5]\n", ["--decode"], ["1.5 is no token id"])
    try expect("", ["--model", place("none")], ["no tokenizer"])
    // Lines before the wrong one are answered.
    #expect(try run("\"a\"\nb\n").outputLines.count == 1)
    let launched = try ProgramRun(["launch", "--nproc", "2", "tokenize"])
    #expect(launched.errors.contains("cannot start tokenize"))
  }

  @Test func bytesThatAreNoUTF8AreAnError() throws {
    try FileSystem.write([0x22, 0xFF, 0x22, 0x0A], to: place("bytes"))
    let run = try ProgramRun(
      ["tokenize"], environment: ["XDG_CACHE_HOME": FileSystem.parent(of: Workplace.cache)],
      input: place("bytes"))
    #expect(run.exitCode == ExitCode.usage)
    #expect(run.errors.contains("standard input:1: ") && run.errors.contains("not UTF-8"))
  }
}

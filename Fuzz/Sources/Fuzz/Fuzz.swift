import Data
import Glibc
import Support

/// One input of the fuzzer: the first byte says what reads the rest.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  guard let first = bytes.first else { return 0 }
  let rest = Array(bytes.dropFirst())
  // Errors are what bad files are to give; crashes, hangs and memory without bound are found.
  do {
    switch only ?? Int(first) % 6 {
    case 0: try tokenizer(rest, "tokenizer.json")
    case 1: try tokenizer(rest, "tokenizer.model")
    case 2: try rows(rest, "rows.jsonl")
    case 3: try rows(rest, "rows.csv")
    case 4: try template(rest)
    default: try rows(rest, "rows.json")
    }
  } catch {}
  if plantsBug, rest.starts(with: Array("{{".utf8)) { fatalError("the planted bug") }
  return 0
}

private func variable(_ name: String) -> String? {
  getenv(name).map { String(cString: $0) }
}

/// The one reader that is tested, in place of all.
private let only = variable("FUZZ_ONLY").flatMap { Int($0) }
/// Whether a template crashes, to see that the fuzzer finds it.
private let plantsBug = variable("FUZZ_PLANT") != nil

/// Files of this process, in memory.
private let directory: String = {
  let path = "/dev/shm/accelerate-fuzz-\(getpid())"
  try? FileSystem.makeDirectories(path)
  return path
}()

private func write(_ bytes: [UInt8], _ name: String) -> String {
  let path = "\(directory)/\(name)"
  let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  _ = Glibc.write(file, bytes, bytes.count)
  close(file)
  return path
}

private func tokenizer(_ bytes: [UInt8], _ name: String) throws {
  for other in ["tokenizer.json", "tokenizer.model"] where other != name {
    unlink("\(directory)/\(other)")
  }
  _ = write(bytes, name)
  defer { unlink("\(directory)/\(name)") }
  let loaded = try TokenizerFactory.load(directory: directory)
  let text = "Ein Text, 텍스트 \u{1F600}\u{200D}  <s> 12345 \t\n" + String(repeating: "a", count: 99)
  let ids = try loaded.tokenizer.encode(text, isContinuation: false)
  _ = loaded.tokenizer.decode(ids)
}

private func rows(_ bytes: [UInt8], _ name: String) throws {
  let path = write(bytes, name)
  let reader = try DatasetReader(path: path, vocabularySize: 100)
  try reader.forEachRow { _ in true }
}

private func template(_ bytes: [UInt8]) throws {
  guard let text = String(validating: bytes, as: UTF8.self) else { return }
  let messages = try JSONParser.parse(
    Array(
      #"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "ab", "n": [1, 2.5]}]"#
        .utf8))
  let template = try ChatTemplate(text, path: "t.jinja")
  _ = try template.render([
    (name: "messages", value: messages), (name: "add_generation_prompt", value: .bool(true)),
  ])
}

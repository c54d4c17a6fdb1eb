import Glibc
import Support

// What libFuzzer calls. One process tests one reader: FUZZ_READER=jsonl.

/// Before the first input: writes the reader's seeds where FUZZ_SEEDS says.
@_cdecl("LLVMFuzzerInitialize")
public func fuzzInitialize(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>
) -> CInt {
  guard let directory = variable("FUZZ_SEEDS") else { return 0 }
  do {
    for (number, seed) in try Seeds().seeds(of: reader).enumerated() {
      MemoryFiles.write(seed, path: "\(directory)/seed-\(number)")
    }
  } catch { fatalError("the seeds cannot be made: \(error)") }
  return 0
}

/// One input. Errors are what bad files are to give; crashes, hangs, memory without bound and
/// answers that contradict each other are found.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  if overrun > 0 {
    runIntoBug(bytes)
    return 0
  }
  do {
    switch reader {
    case .tokenizerJSON: try readTokenizer(bytes, "tokenizer.json")
    case .sentencePiece: try readTokenizer(bytes, "tokenizer.model")
    case .vocabulary: try readVocabulary(bytes)
    case .pattern: try readPattern(bytes)
    case .jsonl: try readRows(bytes, "rows.jsonl")
    case .csv: try readRows(bytes, "rows.csv")
    case .array: try readRows(bytes, "rows.json")
    case .gzip: try readRows(bytes, "rows")
    case .template: try readTemplate(bytes)
    }
  } catch {}
  return 0
}

/// What reads files of a user.
enum Reader: String {
  case tokenizerJSON = "tokenizer.json"
  case sentencePiece = "tokenizer.model"
  case vocabulary = "vocab.json"
  /// The regular expression of a Split step, and the text that it cuts.
  case pattern
  case jsonl, csv, array, gzip
  case template
}

private let reader: Reader = {
  guard let reader = variable("FUZZ_READER").flatMap(Reader.init) else {
    fatalError("FUZZ_READER names no reader")
  }
  return reader
}()

/// So many bytes behind an array are read, to see that the fuzzer finds it.
private let overrun = variable("FUZZ_PLANT").flatMap { Int($0) } ?? 0

/// A list in a list, to which only the coverage of the JSON parser leads, makes it read behind an
/// array.
@inline(never) private func runIntoBug(_ bytes: [UInt8]) {
  guard let list = try? JSONParser.parse(bytes).arrayValue, list.first?.arrayValue != nil else {
    return
  }
  let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count)
  copy.update(from: bytes, count: bytes.count)
  defer { copy.deallocate() }
  if copy[bytes.count + overrun - 1] == bytes[0] { print() }
}

func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

import Data
import Support

/// Reads a data file as `data` and `train` do: its rows, the same rows from gzip in small pieces,
/// the samples that they make, cut in one of several ways.
func readRows(_ bytes: [UInt8], _ name: String) throws {
  let path = MemoryFiles.write(bytes, name)
  let rows = Rows(path)
  // By turns, so that each input is quick.
  guard bytes.count % 2 == 1 || bytes.starts(with: [0x1F, 0x8B]) else {
    let size = max(1, bytes.count / (bytes.count < 24 ? 24 : 1 + bytes.count % 4))
    let pieces = Rows(MemoryFiles.write(gzip(bytes, pieceSize: size), name + ".gz"))
    check(rows == pieces, "\(rows) and from gzip in pieces of \(size) bytes \(pieces)")
    return
  }
  guard rows.isWhole else { return }
  let overlength = SampleBuilder.Overlength.allCases[bytes.count / 2 % 4]
  let builder = SampleBuilder(
    ByteLevel.loaded,
    settings: SampleBuilder.Settings(
      trainOn: SampleBuilder.TrainOn.allCases[bytes.count / 8 % 4], maxLength: 16,
      overlength: overlength),
    chatTemplates: .success(ChatTemplates(turnTemplate)))
  let store = try TokenStore.build(
    DatasetReader(path: path, vocabularySize: 100), with: builder)
  let (training, heldOut) = try Dataset.make(
    [Dataset.Source(store, weight: 1.5)], with: builder,
    holdOut: bytes.count % 3 == 0 ? .fraction(0.3) : nil)
  for dataset in [training] + (heldOut.map { [$0] } ?? []) {
    for index in dataset.samples.indices {
      let sample = try dataset.samples.sample(index)
      check(
        sample.tokens.count == sample.labels.count && (1...16).contains(sample.tokens.count),
        "a sample of \(sample.tokens.count) tokens")
    }
  }
}

/// What reading a file gave.
private struct Rows: Equatable, CustomStringConvertible {
  var rows: [String] = []
  var isWhole = false

  init(_ path: String) {
    do {
      let reader = try DatasetReader(path: path, vocabularySize: 100)
      try reader.forEachRow { row in
        rows.append("\(row.line): \(JSONValue.object(row.columns).compactText)")
        return true
      }
      isWhole = true
    } catch {}
  }

  var description: String { "\(rows), \(isWhole ? "whole" : "with an error")" }
}

private let turnTemplate: ChatTemplate = {
  let text =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}</s>"
    + "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
  do {
    return try ChatTemplate(
      text, path: "t.jinja", constants: [(name: "eos_token", value: "</s>")])
  } catch { fatalError("\(error)") }
}()

/// Gzip without compression, a member for each piece, so that readers get them one by one.
func gzip(_ bytes: [UInt8], pieceSize: Int) -> [UInt8] {
  var result: [UInt8] = []
  for start in stride(from: 0, to: bytes.count, by: pieceSize) {
    let piece = Array(bytes[start..<min(start + pieceSize, bytes.count)])
    let size = UInt16(piece.count)
    result += [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 1]
    result += littleEndian(size) + littleEndian(~size) + piece
    result += littleEndian(checksum(piece))
    result += littleEndian(UInt32(piece.count))
  }
  return result
}

/// CRC-32 as gzip has it.
private func checksum(_ bytes: [UInt8]) -> UInt32 {
  ~bytes.reduce(~0) { sum, byte in (sum >> 8) ^ checksumTable[Int((sum ^ UInt32(byte)) & 0xFF)] }
}

private let checksumTable: [UInt32] = (0..<256).map { index in
  (0..<8).reduce(index) { sum, _ in (sum >> 1) ^ (sum & 1 == 1 ? 0xEDB8_8320 : 0) }
}

private func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

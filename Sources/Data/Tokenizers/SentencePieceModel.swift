package import Support

/// The parts of a sentencepiece model file (`tokenizer.model`) that encoding and decoding need.
package struct SentencePieceModel: Sendable {
  package enum PieceKind: UInt64, Sendable {
    case normal = 1
    case unknown = 2
    case control = 3
    case userDefined = 4
    case unused = 5
    case byte = 6
  }

  package struct Piece: Sendable {
    package var text = ""
    package var score: Float = 0
    package var kind = PieceKind.normal
  }

  /// The pieces in the order of their ids.
  package private(set) var pieces: [Piece] = []
  package private(set) var hasByteFallback = false
  package private(set) var bosPiece = "<s>"
  package private(set) var eosPiece = "</s>"
  package private(set) var unknownSurface = " \u{2047} "
  package private(set) var treatsWhitespaceAsSuffix = false
  package private(set) var addsDummyPrefix = true
  package private(set) var removesExtraWhitespaces = true
  package private(set) var escapesWhitespaces = true
  package private(set) var charsMap: [UInt8] = []

  private var modelType: UInt64 = 1

  /// Limits that no published model comes near; they bound the work a hostile file can cause.
  private static let pieceCountLimit = 1 << 20
  private static let pieceByteLimit = 1024

  /// Parses and checks a model.
  ///
  /// - Parameters:
  ///   - bytes: the content of the file.
  ///   - path: what errors call it.
  /// - Throws: `UserError` when the bytes are no model, or one of a kind that is not supported.
  package init(_ bytes: [UInt8], path: String) throws(UserError) {
    do throws(ProtobufError) {
      var reader = ProtobufReader(bytes, in: 0..<bytes.count)
      while let field = try reader.next() {
        guard case .bytes(let range) = field.value else { continue }
        switch field.number {
        case 1:
          guard pieces.count < Self.pieceCountLimit else {
            throw ProtobufError(
              byteOffset: range.lowerBound, reason: "more than \(Self.pieceCountLimit) pieces")
          }
          pieces.append(try Self.piece(bytes, range))
        case 2: try readTrainer(bytes, range)
        case 3: try readNormalizer(bytes, range)
        case 5: try Self.checkDenormalizer(bytes, range)
        default: break
        }
      }
    } catch {
      throw UserError(
        .badInput, at: path,
        "not a sentencepiece model: byte \(error.byteOffset): \(error.reason)",
        fix: "download tokenizer.model again (a Git LFS pointer is not the file itself)")
    }
    try check(path)
  }

  private static func text(_ bytes: [UInt8], _ range: Range<Int>) throws(ProtobufError) -> String {
    guard let text = String(validating: bytes[range], as: UTF8.self) else {
      throw ProtobufError(byteOffset: range.lowerBound, reason: "a string is not UTF-8")
    }
    return text
  }

  private static func piece(_ bytes: [UInt8], _ range: Range<Int>) throws(ProtobufError) -> Piece {
    var piece = Piece()
    var reader = ProtobufReader(bytes, in: range)
    while let field = try reader.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)):
        guard text.count <= pieceByteLimit else {
          throw ProtobufError(
            byteOffset: text.lowerBound,
            reason: "a piece of \(text.count) bytes; at most \(pieceByteLimit) are accepted")
        }
        piece.text = try Self.text(bytes, text)
      case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
      case (3, .varint(let kind)):
        guard let kind = PieceKind(rawValue: kind) else {
          throw ProtobufError(byteOffset: range.lowerBound, reason: "piece type \(kind)")
        }
        piece.kind = kind
      default: break
      }
    }
    return piece
  }

  private mutating func readTrainer(_ bytes: [UInt8], _ range: Range<Int>) throws(ProtobufError) {
    var reader = ProtobufReader(bytes, in: range)
    while let field = try reader.next() {
      switch (field.number, field.value) {
      case (3, .varint(let value)): modelType = value
      case (24, .varint(let value)): treatsWhitespaceAsSuffix = value != 0
      case (35, .varint(let value)): hasByteFallback = value != 0
      case (44, .bytes(let text)): unknownSurface = try Self.text(bytes, text)
      case (46, .bytes(let text)): bosPiece = try Self.text(bytes, text)
      case (47, .bytes(let text)): eosPiece = try Self.text(bytes, text)
      default: break
      }
    }
  }

  private mutating func readNormalizer(_ bytes: [UInt8], _ range: Range<Int>)
    throws(ProtobufError)
  {
    var reader = ProtobufReader(bytes, in: range)
    while let field = try reader.next() {
      switch (field.number, field.value) {
      case (2, .bytes(let map)): charsMap = Array(bytes[map])
      case (3, .varint(let value)): addsDummyPrefix = value != 0
      case (4, .varint(let value)): removesExtraWhitespaces = value != 0
      case (5, .varint(let value)): escapesWhitespaces = value != 0
      default: break
      }
    }
  }

  private static func checkDenormalizer(_ bytes: [UInt8], _ range: Range<Int>)
    throws(ProtobufError)
  {
    var reader = ProtobufReader(bytes, in: range)
    while let field = try reader.next() {
      if field.number == 2, case .bytes(let map) = field.value, !map.isEmpty {
        throw ProtobufError(
          byteOffset: map.lowerBound, reason: "a denormalizer, which is not supported")
      }
    }
  }
}

extension SentencePieceModel {
  /// Checks what sentencepiece itself checks when it loads a model.
  private func check(_ path: String) throws(UserError) {
    func fail(_ message: String, fix: String = "") -> UserError {
      UserError(.badInput, at: path, message, fix: fix)
    }
    guard !pieces.isEmpty else { throw fail("a sentencepiece model without pieces") }
    guard modelType == 2 else {
      let names: [UInt64: String] = [1: "unigram", 3: "word", 4: "char"]
      throw fail(
        "a sentencepiece model of type \(names[modelType] ?? "\(modelType)"), but only BPE models "
          + "are supported",
        fix: "use a model of the Llama or Mistral family, whose tokenizer.model is BPE")
    }
    var seen: [[ExactString: Int]] = [[:], [:]]
    var unknownCount = 0
    var foundBytes = Set<UInt8>()
    for (id, piece) in pieces.enumerated() {
      guard !piece.text.isEmpty else { throw fail("piece \(id) is empty") }
      guard piece.score.isFinite else { throw fail("the score of piece \(id) is \(piece.score)") }
      let space = piece.kind.isMergeable ? 0 : 1
      if let earlier = seen[space].updateValue(id, forKey: ExactString(piece.text)) {
        throw fail("pieces \(earlier) and \(id) are both \"\(piece.text)\"")
      }
      switch piece.kind {
      case .unknown: unknownCount += 1
      case .byte:
        guard hasByteFallback else {
          throw fail("piece \(id) is a byte, but the model has no byte fallback")
        }
        guard let byte = ByteToken.byte(piece.text) else {
          throw fail("piece \(id) has the type byte, but its text is \"\(piece.text)\"")
        }
        foundBytes.insert(byte)
      default: break
      }
    }
    guard unknownCount == 1 else {
      throw fail("\(unknownCount) pieces have the type unknown, but exactly one must")
    }
    guard !hasByteFallback || foundBytes.count == 256 else {
      throw fail("byte fallback needs 256 byte pieces, but the model has \(foundBytes.count)")
    }
  }
}

extension SentencePieceModel.PieceKind {
  /// Whether text can become this piece by merging (the others have a name, not a text).
  var isMergeable: Bool {
    switch self {
    case .normal, .userDefined, .unused: true
    case .unknown, .control, .byte: false
    }
  }
}

/// The names of byte tokens: `<0x00>` to `<0xFF>`.
enum ByteToken {
  /// The name of `byte`.
  static func name(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16, uppercase: true)
    return "<0x\(digits.utf8.count == 1 ? "0" : "")\(digits)>"
  }

  /// The byte that `name` stands for, or nil where it is no such name.
  static func byte(_ name: String) -> UInt8? { byte(Array(name.utf8)) }

  /// The byte that a name in UTF-8 stands for, or nil where it is no such name.
  static func byte(_ name: [UInt8]) -> UInt8? {
    guard name.count == 6, name.starts(with: "<0x".utf8), name[5] == UInt8(ascii: ">") else {
      return nil
    }
    guard let high = digit(name[3]), let low = digit(name[4]) else { return nil }
    return high << 4 | low
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}

package import Support

/// Encodes and decodes with a `tokenizer.model` exactly as the sentencepiece library does.
package struct SentencePieceTokenizer: Tokenizer {
  package var vocabularySize: Int { pieces.count }
  package let bosID: Int32?
  package let eosID: Int32?

  let pieces: [SentencePieceModel.Piece]
  private var normalizer: SentencePieceNormalizer
  private let symbols: LongestMatcher
  let unknownID: Int32
  private let unknownSurface: [UInt8]
  private let byteIDs: [Int32]?
  private var merger = BytePairMerger()
  /// Ids of single characters; those that are no piece have ids from ``vocabularySize`` on.
  private var characterIDs: [UInt32: Int32] = [:]
  /// The UTF-8 bytes of every character that has an id but is no piece.
  private var extraCharacters: [[UInt8]] = []
  private let pieceIDs: [ExactString: Int32]
  /// What the library finds under a text when it looks a piece up: names come before texts.
  private var reservedIDs: [Int32: Int32] = [:]

  /// Prepares a checked model.
  ///
  /// - Parameters:
  ///   - model: the parsed file.
  ///   - path: what errors call it.
  /// - Throws: `UserError` when the character map is broken.
  package init(_ model: SentencePieceModel, path: String) throws(UserError) {
    pieces = model.pieces
    var textIDs: [ExactString: Int32] = [:]
    var nameIDs: [ExactString: Int32] = [:]
    var symbols: [(bytes: [UInt8], value: Int32)] = []
    for (id, piece) in model.pieces.enumerated() {
      if piece.kind.isMergeable {
        textIDs[ExactString(piece.text)] = Int32(id)
      } else {
        nameIDs[ExactString(piece.text)] = Int32(id)
      }
      if piece.kind == .userDefined { symbols.append((Array(piece.text.utf8), Int32(id))) }
    }
    self.symbols = LongestMatcher(symbols)
    normalizer = SentencePieceNormalizer(
      addsDummyPrefix: model.addsDummyPrefix,
      removesExtraWhitespaces: model.removesExtraWhitespaces,
      escapesWhitespaces: model.escapesWhitespaces,
      treatsWhitespaceAsSuffix: model.treatsWhitespaceAsSuffix,
      characterMap: model.charsMap.isEmpty ? nil : try CharacterMap(model.charsMap, path: path),
      symbols: self.symbols)
    pieceIDs = textIDs.merging(nameIDs) { $1 }
    unknownID = Int32(model.pieces.firstIndex { $0.kind == .unknown } ?? 0)
    unknownSurface = Array(model.unknownSurface.utf8)
    byteIDs =
      model.hasByteFallback
      ? (0...255).map { nameIDs[ExactString(ByteToken.name($0))] ?? Int32.max } : nil

    func control(_ name: String) -> Int32? {
      nameIDs[ExactString(name)].flatMap { model.pieces[Int($0)].kind == .control ? $0 : nil }
    }
    bosID = control(model.bosPiece)
    eosID = control(model.eosPiece)
    buildMerges(textIDs, nameIDs)
  }

  /// The same model that puts no space in front of texts.
  var withoutPrefix: SentencePieceTokenizer {
    var copy = self
    copy.normalizer.addsDummyPrefix = false
    return copy
  }

  /// Lists every way to join two symbols into a piece.
  ///
  /// The library looks joined texts up while it merges. A symbol is a piece or a single character,
  /// so all pairs that can succeed are known beforehand.
  private mutating func buildMerges(
    _ textIDs: [ExactString: Int32], _ nameIDs: [ExactString: Int32]
  ) {
    var symbolIDs = textIDs
    for piece in pieces where piece.kind.isMergeable {
      for scalar in piece.text.unicodeScalars where characterIDs[scalar.value] == nil {
        let key = ExactString(String(scalar))
        if symbolIDs[key] == nil {
          symbolIDs[key] = Int32(pieces.count + extraCharacters.count)
          extraCharacters.append(Array(key.text.utf8))
        }
        characterIDs[scalar.value] = symbolIDs[key]
      }
    }
    for (name, id) in nameIDs {
      if let symbol = symbolIDs[name] { reservedIDs[symbol] = id }
    }
    for (id, piece) in pieces.enumerated() where piece.kind.isMergeable {
      let scalars = piece.text.unicodeScalars
      for cut in scalars.indices.dropFirst() {
        guard let left = symbolIDs[ExactString(String(scalars[..<cut]))],
          let right = symbolIDs[ExactString(String(scalars[cut...]))]
        else { continue }
        merger.add(
          left: left, right: right,
          BytePairMerger.Merge(priority: -piece.score, id: Int32(id)))
      }
      if piece.kind == .unused { merger.recordedIDs.insert(Int32(id)) }
    }
  }
}

extension SentencePieceTokenizer {
  /// See ``Tokenizer/encode(_:isContinuation:)``. Control symbols in the text are plain text;
  /// user-defined symbols are recognised.
  package func encode(_ text: String, isContinuation: Bool) -> [Int32] {
    encode(Array(text.utf8), isContinuation: isContinuation)
  }

  func encode(_ text: [UInt8], isContinuation: Bool) -> [Int32] {
    let bytes = normalizer.normalize(text, isContinuation: isContinuation)
    var first: [BytePairMerger.Symbol] = []
    first.reserveCapacity(bytes.count)
    // Characters that are in no piece get ids below zero for as long as this text is encoded.
    var strangers: [ArraySlice<UInt8>] = []
    var cursor = LongestMatcher.Cursor(symbols.matches(in: bytes))
    var position = 0
    while position < bytes.count {
      if let symbol = cursor.match(at: position) {
        first.append(BytePairMerger.Symbol(id: symbol.value, isFrozen: true))
        position = symbol.end
        continue
      }
      let end = min(position + UTF8Scanner.length(bytes[position]), bytes.count)
      let slice = bytes[position..<end]
      let scalar = String(decoding: slice, as: UTF8.self).unicodeScalars.first
      if let id = scalar.flatMap({ characterIDs[$0.value] }) {
        first.append(BytePairMerger.Symbol(id: id))
      } else {
        strangers.append(slice)
        first.append(BytePairMerger.Symbol(id: -Int32(strangers.count)))
      }
      position += slice.count
    }
    let outcome = merger.merge(first)

    var ids: [Int32] = []
    var followsUnknown = false
    func appendUnknown(_ character: some Collection<UInt8>) {
      if let byteIDs {
        for byte in character { ids.append(byteIDs[Int(byte)]) }
      } else if !followsUnknown {
        ids.append(unknownID)
      }
      followsUnknown = true
    }
    // An unused piece is taken apart again; the stack holds what is left of it.
    for symbol in outcome.ids {
      var stack = [symbol]
      while let id = stack.popLast() {
        if id < 0 {
          appendUnknown(strangers[Int(-id - 1)])
        } else if let reserved = reservedIDs[id] {
          if reserved == unknownID {
            appendUnknown(surface(id))
          } else {
            ids.append(reserved)
            followsUnknown = false
          }
        } else if Int(id) >= pieces.count {
          appendUnknown(extraCharacters[Int(id) - pieces.count])
        } else if pieces[Int(id)].kind == .unused, let split = outcome.splits[id] {
          stack += [split.right, split.left]
        } else {
          ids.append(id)
          followsUnknown = false
        }
      }
    }
    return ids
  }

  private func surface(_ id: Int32) -> [UInt8] {
    Int(id) < pieces.count
      ? Array(pieces[Int(id)].text.utf8) : extraCharacters[Int(id) - pieces.count]
  }

  /// See ``Tokenizer/decode(_:keepsSpecialTokens:)``. Control symbols have no text, as in the
  /// library, and are never written.
  package func decode(_ ids: [Int32], keepsSpecialTokens: Bool) -> String {
    String(decoding: decoded(ids[...], first: nil), as: UTF8.self)
  }

  /// The text of a run of pieces as the library decodes it.
  ///
  /// - Parameters:
  ///   - ids: pieces; those that do not exist are left out.
  ///   - first: a text that the first of them is taken for, which may be no piece.
  func decoded(_ ids: ArraySlice<Int32>, first: String?) -> [UInt8] {
    var bytes: [UInt8] = []
    var run: [UInt8] = []
    let stripsFirst = normalizer.addsDummyPrefix || normalizer.removesExtraWhitespaces
    var isStart = true
    var hasStripped = false
    func flushRun() {
      bytes += Self.repaired(run)
      run = []
    }
    for (place, given) in ids.enumerated() {
      var id = given
      if place == 0, let first {
        guard let found = self.id(of: first) else {
          bytes += Array(first.utf8)
          continue
        }
        id = found
      }
      guard let piece = pieces.indices.contains(Int(id)) ? pieces[Int(id)] : nil else { continue }
      if piece.kind == .byte, let byte = ByteToken.byte(piece.text) {
        run.append(byte)
        continue
      }
      flushRun()
      if hasStripped || !bytes.isEmpty { isStart = false }
      var text = pieceBytes(id)
      hasStripped = false
      let isText = piece.kind.isMergeable
      if isStart, stripsFirst, isText, piece.text.unicodeScalars.first == "\u{2581}" {
        text.removeFirst()
        hasStripped = !normalizer.removesExtraWhitespaces
      }
      bytes += text
    }
    flushRun()
    return bytes
  }

  /// The piece of a text or a name; names come before texts.
  func id(of text: String) -> Int32? { pieceIDs[ExactString(text)] }

  /// See ``Tokenizer/continuationBytes(of:)``.
  package func continuationBytes(of id: Int32) -> [UInt8] {
    guard pieces.indices.contains(Int(id)) else { return [] }
    return pieceBytes(id)
  }

  private func pieceBytes(_ id: Int32) -> [UInt8] {
    let piece = pieces[Int(id)]
    switch piece.kind {
    case .control: return []
    case .unknown: return unknownSurface
    case .byte: return ByteToken.byte(piece.text).map { [$0] } ?? []
    case .normal, .userDefined, .unused:
      var text = ""
      for scalar in piece.text.unicodeScalars {
        text.unicodeScalars.append(scalar == "\u{2581}" ? " " : scalar)
      }
      return Array(text.utf8)
    }
  }

  /// `bytes` with U+FFFD in place of each byte that belongs to no character.
  private static func repaired(_ bytes: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    var position = 0
    while position < bytes.count {
      if case .valid(let count) = UTF8Scanner.scalar(in: bytes, at: position) {
        result += bytes[position..<position + count]
        position += count
      } else {
        result += UTF8Scanner.replacement
        position += 1
      }
    }
    return result
  }
}

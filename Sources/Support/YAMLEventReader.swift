internal import CYAML

/// One event of a YAML stream: what libyaml's parser saw next.
struct YAMLEvent {
  enum Kind {
    case other, documentStart, streamEnd, sequenceStart, sequenceEnd, mappingStart, mappingEnd
    case alias
    /// `isPlain`: neither quoted nor a block, so that the schema may read a number in it.
    case scalar(String, isPlain: Bool)
  }
  var kind: Kind
  var hasAnchor: Bool
  var hasTag: Bool
  /// 1-based.
  var line: Int
}

/// The owner of a libyaml parser; the only file that speaks to it.
@safe struct YAMLEventReader: ~Copyable {
  private let reader: OpaquePointer
  private let bytes: UnsafeMutableBufferPointer<UInt8>
  private let path: String

  /// Starts reading a copy of `source`.
  init(_ source: [UInt8], path: String) throws(UserError) {
    self.path = path
    unsafe bytes = .allocate(capacity: source.count)
    _ = unsafe bytes.initialize(from: source)
    guard let opened = unsafe cyaml_open(bytes.baseAddress, source.count) else {
      unsafe bytes.deallocate()
      throw UserError(.system, at: path, "out of memory")
    }
    unsafe reader = opened
  }

  deinit {
    unsafe cyaml_close(reader)
    unsafe bytes.deallocate()
  }

  /// Takes the next event; after `.streamEnd` there is none.
  mutating func next() throws(UserError) -> YAMLEvent {
    var event = unsafe cyaml_event()
    guard unsafe cyaml_next(reader, &event) else {
      let line = unsafe cyaml_problem_line(reader)
      let problem = unsafe String(cString: cyaml_problem(reader))
      throw UserError(
        .badInput, at: line == 0 ? path : "\(path):\(line)", "not valid YAML: \(problem)")
    }
    let kind: YAMLEvent.Kind
    switch unsafe event.kind {
    case CYAML_DOCUMENT_START: kind = .documentStart
    case CYAML_STREAM_END: kind = .streamEnd
    case CYAML_SEQUENCE_START: kind = .sequenceStart
    case CYAML_SEQUENCE_END: kind = .sequenceEnd
    case CYAML_MAPPING_START: kind = .mappingStart
    case CYAML_MAPPING_END: kind = .mappingEnd
    case CYAML_ALIAS: kind = .alias
    case CYAML_SCALAR:
      let text = unsafe UnsafeBufferPointer(start: event.text, count: event.byte_count)
      kind = unsafe .scalar(String(decoding: text, as: UTF8.self), isPlain: event.is_plain)
    default: kind = .other
    }
    return unsafe YAMLEvent(
      kind: kind, hasAnchor: event.has_anchor, hasTag: event.has_tag, line: Int(event.line))
  }
}

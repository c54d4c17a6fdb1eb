/// Filters over elements.
struct JinjaListFilters {
  private let renderer: JinjaRenderer

  init(_ renderer: JinjaRenderer) { self.renderer = renderer }

  func apply(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    switch name {
    case "first":
      _ = try call.bind(name, [])
      if case .iterator(let iterator) = value {
        return iterator.next()
          ?? .undefined(JinjaUndefined(message: "No first item, sequence was empty."))
      }
      return try renderer.iterate(value).first
        ?? .undefined(JinjaUndefined(message: "No first item, sequence was empty."))
    case "last":
      _ = try call.bind(name, [])
      if case .iterator = value { throw JinjaError("'generator' object is not reversible") }
      return try renderer.iterate(value).last
        ?? .undefined(JinjaUndefined(message: "No last item, sequence was empty."))
    case "list":
      _ = try call.bind(name, [])
      return .list(try renderer.list(elements(value)))
    case "items":
      _ = try call.bind(name, [])
      if value.isUndefined { return try iterator([]) }
      guard case .dictionary(let dictionary) = value else {
        throw JinjaError("Can only get item pairs from a mapping.")
      }
      return try iterator(JinjaMethods.items(dictionary, renderer).elements)
    case "reverse":
      _ = try call.bind(name, [])
      if case .text(let text) = value {
        return .text(try renderer.checked(JinjaText(text.scalars.reversed())))
      }
      if case .iterator = value { return .list(try renderer.list(elements(value).reversed())) }
      return try iterator(elements(value).reversed())
    case "join": return try join(value, call)
    case "map": return try map(value, call)
    case "select", "reject", "selectattr", "rejectattr": return try select(name, value, call)
    case "sort", "unique", "min", "max", "groupby", "dictsort":
      return try ordered(name, value, call)
    case "sum": return try sum(value, call)
    case "batch": return try batch(value, call)
    default: return try slices(value, call)
    }
  }

  private func elements(_ value: JinjaValue) throws -> [JinjaValue] {
    let elements = try renderer.iterate(value)
    try renderer.charge(elements.count)
    return elements
  }

  private func iterator(_ elements: [JinjaValue]) throws -> JinjaValue {
    try renderer.charge(elements.count)
    return .iterator(try JinjaIterator(elements))
  }

  // MARK: attributes

  /// A path such as `a.b.0`, as jinja2 reads it.
  private func path(_ attribute: JinjaValue?) throws -> [JinjaValue] {
    switch attribute {
    case nil, .some(.none): return []
    case .text(let text):
      try JinjaLimits.checkElements(text.bytes.count)
      return text.bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
        let part = JinjaText($0)
        let isNumber = !part.isEmpty && part.bytes.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
        return isNumber ? Int(part.string).map { .integer($0) } ?? .text(part) : .text(part)
      }
    case .some(let value): return [value]
    }
  }

  private func value(_ item: JinjaValue, at path: [JinjaValue], default fallback: JinjaValue? = nil)
    throws -> JinjaValue
  {
    var item = item
    for part in path {
      try renderer.charge()
      item = try renderer.item(item, part)
      if let fallback, !fallback.isNone, item.isUndefined { item = fallback }
    }
    return item
  }

  private func join(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind("join", ["d", "attribute"])
    let path = try path(values[1])
    let separator = try values[0].map { try renderer.text($0) } ?? ""
    var bytes: [UInt8] = []
    for (index, element) in try elements(value).enumerated() {
      if index > 0 { bytes += separator.bytes }
      bytes += try renderer.text(self.value(element, at: path)).bytes
      try JinjaLimits.checkText(bytes.count)
    }
    return .text(try renderer.checked(JinjaText(bytes)))
  }

  private func map(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    guard value.isTrue else { return try iterator([]) }
    if call.positional.isEmpty {
      let values = try call.bind("map", ["attribute", "default"])
      guard values[0] != nil else { throw JinjaError("map requires a filter argument") }
      let path = try path(values[0])
      return try iterator(
        elements(value).map { try self.value($0, at: path, default: values[1]) })
    }
    guard case .text(let name) = call.positional[0], JinjaFilter.names.contains(name.string) else {
      let shown = try renderer.text(call.positional[0]).string
      throw JinjaError("there is no filter '\(shown)'")
    }
    var inner = call
    inner.positional.removeFirst()
    return try iterator(
      elements(value).map { try JinjaFilter.apply(name.string, $0, inner, renderer) })
  }

  private func select(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    guard value.isTrue else { return try iterator([]) }
    var inner = call
    var path: [JinjaValue] = []
    if name.hasSuffix("attr") {
      guard !inner.positional.isEmpty else {
        throw JinjaError("Missing parameter for attribute name")
      }
      path = try self.path(inner.positional.removeFirst())
    }
    var test: String?
    if !inner.positional.isEmpty {
      let given = try renderer.text(inner.positional.removeFirst()).string
      guard JinjaTest.names.contains(given) else { throw JinjaError("there is no test '\(given)'") }
      test = given
    }
    let isSelecting = name.hasPrefix("select")
    return try iterator(
      elements(value).filter { element in
        let item = try self.value(element, at: path)
        let passes = try test.map { try JinjaTest.passes($0, item, inner, renderer) } ?? item.isTrue
        return passes == isSelecting
      })
  }

  // MARK: order

  private func foldedCase(_ value: JinjaValue) throws -> JinjaValue {
    guard case .text(let text) = value else { return value }
    try renderer.charge(text.bytes.count / 16)
    return .text(JinjaText(JinjaTextMethods.cased(text.string, "lower")))
  }

  /// Elements in the order of their keys; those that are equal keep theirs.
  private func sorted(_ elements: [JinjaValue], reverse: Bool, by keys: [JinjaValue]) throws
    -> [JinjaValue]
  {
    let order = try elements.indices.sorted { left, right in
      try renderer.charge()
      let (first, second) = reverse ? (right, left) : (left, right)
      if try renderer.isLess(keys[first], keys[second]) { return true }
      if try renderer.isLess(keys[second], keys[first]) { return false }
      return left < right
    }
    return order.map { elements[$0] }
  }

  private func ordered(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue
  {
    func keys(_ elements: [JinjaValue], _ path: [JinjaValue], _ isExact: Bool) throws
      -> [JinjaValue]
    {
      try elements.map { element in
        let key = try self.value(element, at: path)
        return try isExact ? key : foldedCase(key)
      }
    }
    switch name {
    case "sort":
      let values = try call.bind(name, ["reverse", "case_sensitive", "attribute"])
      let elements = try elements(value)
      let isExact = values[1]?.isTrue ?? false
      var paths = [try path(values[2])]
      if case .text(let text)? = values[2] {
        paths = try text.bytes.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
          .map { try path(.text(JinjaText($0))) }
      }
      let all = try paths.map { try keys(elements, $0, isExact) }
      let combined = try elements.indices.map { index in
        JinjaValue.list(try JinjaList(all.map { $0[index] }))
      }
      return .list(
        try renderer.list(
          sorted(elements, reverse: values[0]?.isTrue ?? false, by: combined)))
    case "dictsort":
      let values = try call.bind(name, ["case_sensitive", "by", "reverse"])
      guard case .dictionary(let dictionary) = value else {
        throw JinjaError("dictsort needs a mapping, not \(value.typeName)")
      }
      let by = try values[1].map { try renderer.text($0).string } ?? "key"
      guard by == "key" || by == "value" else {
        throw JinjaError("You can only sort by either \"key\" or \"value\"")
      }
      let items = try JinjaMethods.items(dictionary, renderer).elements
      let keys = try keys(
        dictionary.entries.map { by == "key" ? $0.key : $0.value }, [], values[0]?.isTrue ?? false)
      return .list(
        try renderer.list(sorted(items, reverse: values[2]?.isTrue ?? false, by: keys)))
    case "groupby":
      let values = try call.bind(name, ["attribute", "default", "case_sensitive"], required: 1)
      let path = try path(values[0])
      let plain = try elements(value)
      let isExact = values[2]?.isTrue ?? false
      func key(_ element: JinjaValue) throws -> JinjaValue {
        try self.value(element, at: path, default: values[1])
      }
      let folded = try plain.map { try isExact ? key($0) : foldedCase(key($0)) }
      let order = try sorted(plain.indices.map { .integer($0) }, reverse: false, by: folded)
        .compactMap(\.asInteger)
      var groups: [(key: JinjaValue, members: [JinjaValue])] = []
      for index in order {
        if let last = groups.last, try renderer.areEqual(last.key, folded[index]) {
          groups[groups.count - 1].members.append(plain[index])
        } else {
          groups.append((folded[index], [plain[index]]))
        }
      }
      return .list(
        try renderer.list(
          groups.map { group in
            .group(
              try JinjaList([
                isExact ? group.key : try key(group.members[0]),
                .list(try renderer.list(group.members)),
              ]))
          }))
    case "unique":
      let values = try call.bind(name, ["case_sensitive", "attribute"])
      let plain = try elements(value)
      var seen: Set<JinjaKey> = []
      var result: [JinjaValue] = []
      let folded = try keys(plain, path(values[1]), values[0]?.isTrue ?? false)
      for (element, key) in zip(plain, folded) {
        try renderer.charge(key.weight / 4)
        guard let hashed = JinjaKey(key) else {
          throw JinjaError("unhashable type: '\(key.typeName)'")
        }
        if seen.insert(hashed).inserted { result.append(element) }
      }
      return try iterator(result)
    default:
      let values = try call.bind(name, ["case_sensitive", "attribute"])
      let plain = try elements(value)
      guard !plain.isEmpty else {
        return .undefined(JinjaUndefined(message: "No aggregated item, sequence was empty."))
      }
      let folded = try keys(plain, path(values[1]), values[0]?.isTrue ?? false)
      var best = 0
      for index in plain.indices.dropFirst() {
        let isBetter =
          try name == "min"
          ? renderer.isLess(folded[index], folded[best])
          : renderer.isLess(folded[best], folded[index])
        if isBetter { best = index }
      }
      return plain[best]
    }
  }

  private func sum(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind("sum", ["attribute", "start"])
    let path = try path(values[0])
    var result = values[1] ?? .integer(0)
    if case .text = result {
      throw JinjaError("sum() can't sum strings [use ''.join(seq) instead]")
    }
    for element in try elements(value) {
      result = try JinjaOperator.add.apply(result, self.value(element, at: path), renderer)
    }
    return result
  }

  private func batch(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind("batch", ["linecount", "fill_with"], required: 1)
    guard let count = values[0]?.asInteger, count > 0, count <= JinjaLimits.elements else {
      throw JinjaError("batch needs a positive number of elements")
    }
    let elements = try elements(value)
    var batches: [JinjaValue] = []
    for start in stride(from: 0, to: elements.count, by: count) {
      var batch = Array(elements[start..<min(elements.count, start + count)])
      if let fill = values[1], !fill.isNone {
        batch += [JinjaValue](repeating: fill, count: count - batch.count)
      }
      batches.append(.list(try renderer.list(batch)))
    }
    return try iterator(batches)
  }

  private func slices(_ value: JinjaValue, _ call: JinjaCall) throws -> JinjaValue {
    let values = try call.bind("slice", ["slices", "fill_with"], required: 1)
    guard let count = values[0]?.asInteger, count > 0, count <= JinjaLimits.elements else {
      throw JinjaError("slice needs a positive number of slices")
    }
    let elements = try elements(value)
    let (size, extra) = elements.count.quotientAndRemainder(dividingBy: count)
    var position = 0
    var slices: [JinjaValue] = []
    for number in 0..<count {
      let end = position + size + (number < extra ? 1 : 0)
      var slice = Array(elements[position..<end])
      if let fill = values[1], !fill.isNone, number >= extra { slice.append(fill) }
      slices.append(.list(try renderer.list(slice)))
      position = end
    }
    return try iterator(slices)
  }
}

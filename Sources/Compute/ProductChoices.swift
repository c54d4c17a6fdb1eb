package import Support

/// A kind of matrix product that a device leaves to a library: `a [m, depth] op(b) [depth, columns]`
/// for any m, all row-major.
package struct ProductShape: Hashable, Sendable {
  package var columns: Int
  package var depth: Int
  /// Elements from one row of a to the next, and of b.
  package var strideA: Int
  package var strideB: Int
  /// Whether a and b are bfloat16, else float32.
  package var isBFloat16: Bool
  /// Whether b lies as `[columns, depth]`.
  package var transposesB: Bool

  package init(
    columns: Int, depth: Int, strideA: Int, strideB: Int, isBFloat16: Bool, transposesB: Bool
  ) {
    self.columns = columns
    self.depth = depth
    self.strideA = strideA
    self.strideB = strideB
    self.isBFloat16 = isBFloat16
    self.transposesB = transposesB
  }
}

/// A kind of product that a run makes, and the most rows that it has.
package struct ProductSizes: Hashable, Sendable {
  package var shape: ProductShape
  package var largestRowCount: Int

  package init(_ shape: ProductShape, largestRowCount: Int) {
    self.shape = shape
    self.largestRowCount = largestRowCount
  }
}

/// Which algorithms of a library compute which products: chosen on one device before a run, handed to
/// the other ranks, and kept in the run's directory and in checkpoints. The last bits of a result
/// depend on it.
package struct ProductChoices: Sendable, Equatable {
  /// Products of a shape with up to so many rows; see ``bucket(_:)``.
  package struct Key: Hashable, Sendable {
    package var shape: ProductShape
    package var rows: Int

    package init(_ shape: ProductShape, rows: Int) {
      self.shape = shape
      self.rows = ProductChoices.bucket(rows)
    }
  }

  /// An algorithm as the library stores it.
  package typealias Algorithm = [UInt8]

  /// Algorithms mean the same on equal devices with equal libraries.
  package var device: String
  package var library: String
  /// For people.
  package var driver: String
  /// In the order in which they are tried; none where the library has none.
  package var algorithms: [Key: [Algorithm]]

  package init(
    device: String, library: String, driver: String, algorithms: [Key: [Algorithm]] = [:]
  ) {
    self.device = device
    self.library = library
    self.driver = driver
    self.algorithms = algorithms
  }

  /// Rows are rounded up to a power of two, so that there are few choices for the many numbers of
  /// rows that experts get.
  package static func bucket(_ rows: Int) -> Int {
    var bucket = 16
    while bucket < rows { bucket *= 2 }
    return bucket
  }

  /// Every key that products of these sizes need.
  package static func keys(_ sizes: [ProductSizes]) -> [Key] {
    var keys: Set<Key> = []
    for size in sizes where size.largestRowCount > 0 {
      var rows = bucket(1)
      while rows <= bucket(size.largestRowCount) {
        keys.insert(Key(size.shape, rows: rows))
        rows *= 2
      }
    }
    return keys.sorted { $0.numbers.lexicographicallyPrecedes($1.numbers) }
  }

  package func hasSameOrigin(as other: ProductChoices) -> Bool {
    device == other.device && library == other.library
  }
}

// MARK: As a file

extension ProductChoices.Key {
  /// For an order that depends on nothing else.
  fileprivate var numbers: [Int] {
    [
      shape.isBFloat16 ? 1 : 0, shape.transposesB ? 1 : 0, shape.columns, shape.depth,
      shape.strideA, shape.strideB, rows,
    ]
  }
}

extension ProductChoices {
  /// One line for each key.
  package var text: String {
    let products = algorithms.sorted { $0.key.numbers.lexicographicallyPrecedes($1.key.numbers) }
    let lines = products.map { key, algorithms in
      let value: JSONValue = [
        "type": .string(key.shape.isBFloat16 ? "bf16" : "float32"),
        "transposed": .bool(key.shape.transposesB), "columns": .integer(key.shape.columns),
        "depth": .integer(key.shape.depth),
        "strides": [.integer(key.shape.strideA), .integer(key.shape.strideB)],
        "rows": .integer(key.rows),
        "algorithms": .array(algorithms.map { .string(Self.hexadecimal($0)) }),
      ]
      return "    " + value.compactText
    }
    return """
      {
        "device": \(JSONValue.string(device).compactText),
        "library": \(JSONValue.string(library).compactText),
        "driver": \(JSONValue.string(driver).compactText),
        "products": [
      \(lines.joined(separator: ",\n"))
        ]
      }

      """
  }

  /// Reads what ``text`` is.
  ///
  /// - Parameters:
  ///   - text: the file's.
  ///   - place: of the file, for the message.
  /// - Throws: ``UserError``.
  package init(_ text: [UInt8], at place: String) throws(UserError) {
    func fail(_ what: String) -> UserError {
      UserError(.badInput, at: place, what, fix: "delete the file, so that it is made anew")
    }
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONParser.parse(text)
    } catch {
      throw fail("\(error)")
    }
    guard let device = value["device"]?.stringValue, let library = value["library"]?.stringValue,
      let driver = value["driver"]?.stringValue, let products = value["products"]?.arrayValue
    else { throw fail("no device, library, driver or products in it") }
    self.init(device: device, library: library, driver: driver)
    for product in products {
      guard let key = Self.key(product), algorithms[key] == nil,
        let texts = product["algorithms"]?.arrayValue
      else { throw fail("no product: \(product.compactText.prefix(200))") }
      algorithms[key] = try texts.map { (text) throws(UserError) in
        guard let text = text.stringValue, let bytes = Self.bytes(text) else {
          throw fail("no algorithm: \(text.compactText.prefix(200))")
        }
        return bytes
      }
    }
  }

  private static func key(_ product: JSONValue) -> Key? {
    let strides = product["strides"]?.arrayValue?.compactMap(\.intValue) ?? []
    guard let type = product["type"]?.stringValue, ["bf16", "float32"].contains(type),
      let transposes = product["transposed"]?.boolValue,
      let columns = product["columns"]?.intValue, let depth = product["depth"]?.intValue,
      strides.count == 2, let rows = product["rows"]?.intValue,
      ([columns, depth, rows] + strides).allSatisfy({ 0 < $0 && $0 < 1 << 31 }),
      bucket(rows) == rows
    else { return nil }
    return Key(
      ProductShape(
        columns: columns, depth: depth, strideA: strides[0], strideB: strides[1],
        isBFloat16: type == "bf16", transposesB: transposes), rows: rows)
  }

  private static func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  private static func bytes(_ text: String) -> [UInt8]? {
    let digits = text.utf8.map { Character(UnicodeScalar($0)).hexDigitValue }
    guard digits.count % 2 == 0, digits.allSatisfy({ $0 != nil }) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map {
      UInt8(16 * (digits[$0] ?? 0) + (digits[$0 + 1] ?? 0))
    }
  }
}

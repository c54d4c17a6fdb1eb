/// The element types a tensor can hold.
package enum ElementType: UInt8, Sendable {
  case float32
  case bfloat16
  case float16
  case int32
  case uint8

  package var byteCount: Int {
    switch self {
    case .float32, .int32: 4
    case .bfloat16, .float16: 2
    case .uint8: 1
    }
  }
}

/// How the operands of matrix products with base weights are rounded. Sums are float32 always.
package enum Precision: String, Sendable {
  case float32
  case bfloat16
}

/// A failure of a compute device or of its memory.
package struct ComputeError: Error, Sendable, CustomStringConvertible {
  package var description: String
  /// Whether a device's own memory did not suffice.
  package var isOutOfMemory: Bool

  package init(_ description: String, isOutOfMemory: Bool = false) {
    self.description = description
    self.isOutOfMemory = isOutOfMemory
  }
}

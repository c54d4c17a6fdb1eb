import Compute
import ComputeCUDA
import Synchronization

/// A library of products over the emulated device's memory, which writes down what it is asked for.
final class RecordingLibrary: ProductLibrary {
  /// One product that was computed.
  struct Use: Hashable, Sendable {
    var shape: ProductShape
    var rows: Int
    var algorithm: ProductChoices.Algorithm
  }

  let name: String
  /// Libraries of different flavors propose different algorithms.
  private let flavor: UInt8
  private let refuses: @Sendable (_ algorithm: ProductChoices.Algorithm, _ rows: Int) -> Bool
  private let state = Mutex((uses: Set<Use>(), proposals: 0))

  init(
    version: String = "1.0.0", flavor: UInt8 = 0,
    refuses: @escaping @Sendable (_ algorithm: ProductChoices.Algorithm, _ rows: Int) -> Bool = {
      _, _ in false
    }
  ) {
    name = "recording library \(version)"
    self.flavor = flavor
    self.refuses = refuses
  }

  var uses: Set<Use> { state.withLock { $0.uses } }
  var proposalCount: Int { state.withLock { $0.proposals } }

  func propose(_ key: ProductChoices.Key) throws(ComputeError) -> [ProductChoices.Algorithm] {
    state.withLock { $0.proposals += 1 }
    return (0..<4).map { index in
      var bytes = [UInt8](repeating: 0, count: 64)
      bytes[0] = flavor
      bytes[1] = UInt8(index)
      return bytes
    }
  }

  func flaw(of algorithm: ProductChoices.Algorithm) -> String? {
    algorithm.count != 64 ? "it is no algorithm" : algorithm[2] != 0 ? "it splits sums" : nil
  }

  func accepts(_ algorithm: ProductChoices.Algorithm, _ shape: ProductShape, rows: Int) -> Bool {
    !refuses(algorithm, rows)
  }

  func multiply(
    _ product: LibraryProduct, _ shape: ProductShape, with algorithm: ProductChoices.Algorithm
  ) throws(ComputeError) {
    let rows = unsafe product.m
    _ = state.withLock {
      $0.uses.insert(Use(shape: shape, rows: rows, algorithm: algorithm))
    }
    func element(_ operand: UnsafeMutableRawPointer, _ index: Int) -> Float {
      guard shape.isBFloat16 else {
        return unsafe operand.load(fromByteOffset: 4 * index, as: Float.self)
      }
      let bits = unsafe operand.load(fromByteOffset: 2 * index, as: UInt16.self)
      return Float(bitPattern: UInt32(bits) << 16)
    }
    for row in 0..<rows {
      for column in 0..<shape.columns {
        var sum: Float = 0
        for k in 0..<shape.depth {
          let place =
            shape.transposesB ? column * shape.strideB + k : k * shape.strideB + column
          sum += unsafe element(product.a, row * shape.strideA + k) * element(product.b, place)
        }
        let out = unsafe product.c + 4 * (row * shape.columns + column)
        let before = unsafe product.accumulates ? out.load(as: Float.self) : 0
        unsafe out.storeBytes(of: before + product.scaling * sum, as: Float.self)
      }
    }
  }
}

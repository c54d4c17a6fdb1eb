internal import Compute
internal import Synchronization

/// Which of a library's algorithms computes which product.
///
/// A product's algorithm follows from its shape and its rows, rounded up, alone: the first of a list
/// that can compute it. Lists are the library's own proposals, or come from another rank before a run.
final class ProductTable: Sendable {
  /// How many algorithms are kept for products that differ in their rows alone.
  static let listLength = 4

  private struct State {
    var choices: ProductChoices
    /// Whether the choices are another's, so that none are made here.
    var areFixed = false
    /// The algorithm of a product, by its shape and its rows.
    var used: [Use: ProductChoices.Algorithm] = [:]
  }
  private struct Use: Hashable {
    var shape: ProductShape
    var rows: Int
  }

  private let library: any ProductLibrary
  private let state: Mutex<State>

  init(_ library: any ProductLibrary, _ choices: ProductChoices) {
    self.library = library
    state = Mutex(State(choices: choices))
  }

  /// Starts a product.
  ///
  /// - Returns: whether the library has a way; own kernels multiply where it has none.
  /// - Throws: ``ComputeError``.
  func multiply(_ product: LibraryProduct) throws(ComputeError) -> Bool {
    guard unsafe product.isAligned else { return false }
    let (shape, rows) = unsafe (product.shape, product.m)
    guard let algorithm = try algorithm(shape, rows: rows) else { return false }
    unsafe try library.multiply(product, shape, with: algorithm)
    return true
  }

  private func algorithm(_ shape: ProductShape, rows: Int) throws(ComputeError)
    -> ProductChoices.Algorithm?
  {
    let use = Use(shape: shape, rows: rows)
    if let known = state.withLock({ $0.used[use] }) { return known }
    let key = ProductChoices.Key(shape, rows: rows)
    let (listed, areFixed) = state.withLock { ($0.choices.algorithms[key], $0.areFixed) }
    if listed == nil && areFixed {
      throw ComputeError(
        "no algorithm was chosen before the first step for \(Self.describe(shape)), \(rows) rows")
    }
    let list: [ProductChoices.Algorithm]
    if let listed {
      list = listed
    } else {
      list = try library.propose(key)
      state.withLock { $0.choices.algorithms[key] = list }
    }
    if list.isEmpty { return nil }
    guard let algorithm = list.first(where: { library.accepts($0, shape, rows: rows) }) else {
      throw ComputeError(
        "\(library.name): none of the \(list.count) algorithms for \(Self.describe(shape)) with up to "
          + "\(key.rows) rows takes \(rows) rows; \(CUDALibrary.cuBLASLt.variable)=none multiplies by "
          + "own kernels")
    }
    state.withLock { $0.used[use] = algorithm }
    return algorithm
  }

  private static func describe(_ shape: ProductShape) -> String {
    "products [rows, \(shape.depth)] by [\(shape.depth), \(shape.columns)] of "
      + (shape.isBFloat16 ? "bf16" : "float32")
  }

  /// The choices for products of these sizes; see ``Backend/chooseProducts(_:keeping:)``.
  func choose(_ sizes: [ProductSizes], keeping known: ProductChoices?) throws(ComputeError)
    -> ProductChoices
  {
    var result = state.withLock { $0.choices }
    result.algorithms = [:]
    let kept = known.map { $0.hasSameOrigin(as: result) ? $0.algorithms : [:] } ?? [:]
    for key in ProductChoices.keys(sizes.filter(\.shape.isAligned)) {
      if let list = kept[key] {
        result.algorithms[key] = list
      } else {
        result.algorithms[key] = try library.propose(key)
      }
    }
    return result
  }

  /// See ``Backend/adoptProducts(_:)``; device and library are equal.
  func adopt(_ choices: ProductChoices) throws(ComputeError) {
    for list in choices.algorithms.values {
      for algorithm in list {
        guard let flaw = library.flaw(of: algorithm) else { continue }
        throw ComputeError("an algorithm that was chosen for a product cannot be used: \(flaw)")
      }
    }
    state.withLock {
      $0.choices = choices
      $0.areFixed = true
      $0.used = [:]
    }
  }
}

/// Adds up what a device takes for an operation besides its operands, such as a decoded strip of a
/// weight. It is told of operations that have shapes and no content.
package protocol WorkspaceMeter: AnyObject, Sendable {
  /// A product with a base weight.
  ///
  /// - Parameters:
  ///   - rows: of the other operand.
  ///   - weight: in its storage format.
  ///   - isBackward: whether it is the gradient of the input.
  ///   - loraRank: of the term that is added to it; nil for none.
  func linear(rows: Int, _ weight: BaseMatrix, isBackward: Bool, loraRank: Int?)
  /// A product with a float32 matrix `[N, C]`: `x [T, C]` by its transpose, or `x [T, N]` by it.
  func product(_ x: Tensor, _ matrix: Tensor, transposes: Bool)
  /// A parameter gradient `[N, C]` of so many rows.
  func outerProduct(rows: Int, _ gradient: Tensor)
  /// A router's choice.
  func route(_ routing: Routing)
  /// Sums over blocks of a vector.
  func sumsOfSquares(count: Int, blockSize: Int)
  /// An attention over samples.
  func attention(_ shape: AttentionShape, isBackward: Bool)
  /// Bytes that the device comes to hold for all operations it was told of.
  var byteCount: Int { get }
  /// Takes this memory now, so that the operations take none while they run.
  func reserve() throws(ComputeError)
  /// The products among them that the device leaves to a library.
  var products: [ProductSizes] { get }
}

extension WorkspaceMeter {
  package func product(_ x: Tensor, _ matrix: Tensor, transposes: Bool) {}
  package func outerProduct(rows: Int, _ gradient: Tensor) {}
  package func route(_ routing: Routing) {}
  package func sumsOfSquares(count: Int, blockSize: Int) {}
  package func reserve() throws(ComputeError) {}
  package var products: [ProductSizes] { [] }
}

/// Adds up what a device takes for an operation besides its operands, such as a decoded strip of a
/// weight. It is told of operations that have shapes and no content.
package protocol WorkspaceMeter: AnyObject, Sendable {
  /// A product with a base weight.
  ///
  /// - Parameters:
  ///   - rows: of the other operand.
  ///   - weight: in its storage format.
  ///   - isBackward: whether it is the gradient of the input.
  func linear(rows: Int, _ weight: BaseMatrix, isBackward: Bool)
  /// A product with a float32 matrix `[N, C]`: `x [T, C]` by its transpose, or `x [T, N]` by it.
  func product(_ x: Tensor, _ matrix: Tensor, transposes: Bool)
  /// An attention over samples.
  func attention(_ shape: AttentionShape, isBackward: Bool)
  /// Bytes that the device comes to hold for all operations it was told of.
  var byteCount: Int { get }
  /// The products among them that the device leaves to a library.
  var products: [ProductSizes] { get }
}

extension WorkspaceMeter {
  package func product(_ x: Tensor, _ matrix: Tensor, transposes: Bool) {}
  package var products: [ProductSizes] { [] }
}

/// Hands a model its base weights slab by slab: the embedding, each decoder layer, the head.
///
/// The model asks for one slab after another and never knows whether it is resident, shared with
/// other processes or gathered from other ranks. Every rank of a group asks for the same slabs in
/// the same order.
package protocol LayerStream: AnyObject {
  /// The bytes of a slab.
  ///
  /// The result is valid until the next call that asks for another slab and names a `next`, or the
  /// next but one.
  ///
  /// - Parameters:
  ///   - index: 0 is the embedding, 1 ... L the decoder layers, L + 1 the head.
  ///   - next: the slab that will be asked for after this one, so that it can be on its way.
  /// - Returns: `[1, bytes]` uint8, in the layout the model defined.
  func slab(_ index: Int, next: Int?) throws -> Tensor
}

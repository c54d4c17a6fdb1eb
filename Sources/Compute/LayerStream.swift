/// Hands a model its base weights slab by slab: the embedding, each decoder layer, the head.
///
/// The model asks for one slab after another and never knows whether it is resident, shared or
/// gathered from other ranks. A slab is valid until the next but one is asked for.
package protocol LayerStream: AnyObject {
  /// The bytes of a slab.
  ///
  /// - Parameters:
  ///   - index: 0 is the embedding, 1 ... L the decoder layers, L + 1 the head.
  ///   - next: the slab that will be asked for after this one, so that it can be on its way.
  /// - Returns: `[1, bytes]` uint8, in the layout the model defined.
  func slab(_ index: Int, next: Int?) throws -> Tensor
}

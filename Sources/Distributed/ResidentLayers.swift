package import Compute

/// A base whose slabs are all in this rank's memory.
package final class ResidentLayers: LayerStream {
  private let slabs: [Tensor]

  /// - Parameter slabs: 0 ... L + 1, each `[1, bytes]` uint8.
  package init(slabs: [Tensor]) { self.slabs = slabs }

  package func slab(_ index: Int, next: Int?) throws -> Tensor { slabs[index] }
}

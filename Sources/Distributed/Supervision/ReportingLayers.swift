package import Compute

/// A stream that reports each slab it is asked for: the sign of life of a long pass.
package final class ReportingLayers: LayerStream {
  private let base: any LayerStream
  private let progress: ProgressReporter

  package init(_ base: any LayerStream, progress: ProgressReporter) {
    self.base = base
    self.progress = progress
  }

  package func slab(_ index: Int, next: Int?) throws -> Tensor {
    progress.move()
    return try base.slab(index, next: next)
  }
}

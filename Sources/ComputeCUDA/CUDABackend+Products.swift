package import Compute

extension CUDABackend {
  /// What choices of algorithms depend on, before any is made.
  static func noChoices(_ device: any CUDADevice) -> ProductChoices {
    ProductChoices(
      device: device.identity.device, library: device.library?.name ?? "own kernels",
      driver: device.identity.driver)
  }

  package func chooseProducts(_ sizes: [ProductSizes], keeping known: ProductChoices?)
    throws(ComputeError) -> ProductChoices?
  {
    try products?.choose(sizes, keeping: known) ?? Self.noChoices(device)
  }

  package func adoptProducts(_ choices: ProductChoices) throws(ComputeError) {
    let own = Self.noChoices(device)
    guard choices.hasSameOrigin(as: own) else {
      throw ComputeError(
        "products are computed on \(choices.device) with \(choices.library), but here are "
          + "\(own.device) with \(own.library), whose results differ in their last bits; give every "
          + "rank the same GPU and the same cuBLASLt")
    }
    try products?.adopt(choices)
  }
}

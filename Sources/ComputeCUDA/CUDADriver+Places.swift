internal import CCUDA
internal import Support

extension CUDADriver {
  /// CUdevice_attribute: where a GPU sits.
  private static let (domain, bus, slot): (Int32, Int32, Int32) = (50, 33, 34)

  /// The GPU of a process: those that CUDA_VISIBLE_DEVICES leaves are handed out in their order, and
  /// processes beyond their number share.
  package func ordinal(localRank: Int) -> Int32? {
    deviceCount > 0 ? Int32(localRank % deviceCount) : nil
  }

  /// The address of a GPU as the kernel writes it, such as `0000:3b:00.0`; nil where the driver does
  /// not tell.
  package func pciAddress(_ ordinal: Int32) -> String? {
    var numbers: [Int32] = []
    for attribute in [Self.domain, Self.bus, Self.slot] {
      var number: Int32 = 0
      guard unsafe ccuda_device_attribute(attribute, ordinal, &number) == 0, number >= 0 else {
        return nil
      }
      numbers.append(number)
    }
    func hexadecimal(_ number: Int32, _ width: Int) -> String {
      let digits = String(number, radix: 16)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return hexadecimal(numbers[0], 4) + ":" + hexadecimal(numbers[1], 2) + ":"
      + hexadecimal(numbers[2], 2) + ".0"
  }
}

internal import Glibc

/// The processors that share a memory node with a PCI device, as the kernel tells.
package struct NearCores: Sendable, Equatable {
  /// Of memory.
  package let node: Int
  /// Ascending.
  package let cores: [Int]

  /// Names another folder than `/sys`, for tests.
  package static let sysfsVariable = "ACCELERATE_SYSFS_DIR"

  /// As the kernel writes them, such as `0-15,32-47`.
  package var list: String { CPUBudget.listText(cores) }

  /// Looks a device up.
  ///
  /// - Parameters:
  ///   - address: of the device, such as `0000:3b:00.0`, in capitals or with a longer domain, too.
  ///   - sysfs: the folder where the kernel shows its devices.
  /// - Returns: nil where the kernel knows no node of it, as on machines with one.
  package init?(pciAddress address: String, sysfs: String = "/sys") {
    var name = address.lowercased()
    // NVIDIA writes the domain with eight digits at places, the kernel with four.
    if let colon = name.firstIndex(of: ":"), name.distance(from: name.startIndex, to: colon) == 8 {
      name.removeFirst(4)
    }
    guard name.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else { return nil }
    let folder = "\(sysfs)/bus/pci/devices/\(name)"
    guard let node = KernelFile.firstLine("\(folder)/numa_node").flatMap({ Int($0) }), node >= 0,
      let list = KernelFile.firstLine("\(folder)/local_cpulist"),
      let cores = CPUBudget.processors(list[...])
    else { return nil }
    self.node = node
    self.cores = cores
  }

  /// Keeps this thread, and those it starts from now on, to the near ones of the processors it may
  /// use.
  ///
  /// - Returns: these as a list such as `0-15`; nil where nothing changes: none is near, or all are.
  package func bind() -> String? {
    guard let allowed = CPUBudget.allowedProcessors() else { return nil }
    let near = allowed.filter(Set(cores).contains)
    guard let last = near.last, near.count < allowed.count else { return nil }
    var mask = [UInt](repeating: 0, count: last / UInt.bitWidth + 1)
    for core in near { mask[core / UInt.bitWidth] |= 1 << UInt(core % UInt.bitWidth) }
    // glibc declares it for C programs with GNU extensions alone, which Swift's are not.
    typealias SetAffinity = @convention(c) (Int32, Int, UnsafeRawPointer?) -> Int32
    guard let symbol = unsafe dlsym(nil, "sched_setaffinity") else { return nil }
    let setAffinity = unsafe unsafeBitCast(symbol, to: SetAffinity.self)
    // The kernel reads as many bytes as it is told, fewer or more than a cpu_set_t has.
    let code = unsafe mask.withUnsafeBytes { unsafe setAffinity(0, $0.count, $0.baseAddress) }
    return code == 0 ? CPUBudget.listText(near) : nil
  }
}

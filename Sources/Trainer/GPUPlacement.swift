internal import ComputeCUDA
internal import DistributedTraining
package import Support

/// Which GPU a rank takes, and which cores serve it.
package enum GPUPlacement {
  /// How many GPUs this host's driver shows to processes with this environment. None is taken.
  ///
  /// - Parameter environment: gives the library's place; the driver itself reads
  ///   CUDA_VISIBLE_DEVICES, once for the whole process.
  /// - Returns: 1 or more.
  /// - Throws: ``UserError`` where there is no driver, or no GPU.
  package static func count(_ environment: ProgramEnvironment) throws(UserError) -> Int {
    let driver: CUDADriver
    do throws(UserError) {
      driver = try CUDADriver(LibrarySearch(environment.libraryVariables))
    } catch {
      throw UserError(
        .system, at: "--nproc auto", "there is one rank for each GPU, but \(error.message)",
        fix: "give the number of ranks: --nproc 4; they compute on CPUs then")
    }
    guard driver.deviceCount > 0 else {
      let variable = "CUDA_VISIBLE_DEVICES"
      let setting = KernelFile.environment()[variable].map { "; \(variable) is \"\($0)\"" } ?? ""
      throw UserError(
        .system, at: "--nproc auto",
        "there is one rank for each GPU, but the driver shows none\(setting)",
        fix: "see what `nvidia-smi -L` lists, or give the number of ranks: --nproc 4")
    }
    return driver.deviceCount
  }

  /// Keeps this process to the cores that share a memory node with its GPU, as far as it may use
  /// them. To be called before threads are started and the GPU is taken.
  ///
  /// - Parameters:
  ///   - localRank: number of this process on its host.
  ///   - environment: gives the place of the driver.
  /// - Returns: a line for the user; nil where nothing is known or changes.
  package static func bindNearGPU(localRank: Int, _ environment: ProgramEnvironment) -> String? {
    guard let driver = try? CUDADriver(LibrarySearch(environment.libraryVariables)),
      let ordinal = driver.ordinal(localRank: localRank),
      let address = driver.pciAddress(ordinal),
      let near = nearCores(address, environment), let cores = near.bind()
    else { return nil }
    return "GPU \(ordinal) at \(address): on cores \(cores), which are near it (node \(near.node))"
  }

  /// GPUs as the driver shows them, with their places, for people.
  static func lines(_ environment: ProgramEnvironment) -> [(name: String, text: String)] {
    guard let driver = try? CUDADriver(LibrarySearch(environment.libraryVariables)) else {
      return []
    }
    return (0..<driver.deviceCount).compactMap { ordinal in
      guard let address = driver.pciAddress(Int32(ordinal)) else { return nil }
      let near = nearCores(address, environment).map {
        ", memory node \($0.node), cores \($0.list)"
      }
      return ("GPU \(ordinal) lies at", address + (near ?? ", memory node not told"))
    }
  }

  private static func nearCores(_ address: String, _ environment: ProgramEnvironment)
    -> NearCores?
  {
    NearCores(
      pciAddress: address,
      sysfs: environment.libraryVariables[NearCores.sysfsVariable] ?? "/sys")
  }
}

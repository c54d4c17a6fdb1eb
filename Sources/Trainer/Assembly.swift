internal import BackendChecks
internal import Compute
internal import ComputeCPU
internal import ComputeCUDA
internal import Support

/// The one place where a device is chosen.
enum Assembly {
  /// The backend that the settings ask for.
  ///
  /// - Parameters:
  ///   - options: of the command.
  ///   - environment: gives the threads of this process, and where libraries and caches are.
  ///   - localRank: number of this process on its host; it takes the GPU of that number.
  ///   - didMove: called now and then, where it takes long.
  /// - Returns: the backend and a line for the user where it does something unexpected.
  /// - Throws: ``UserError`` for a device that cannot be used.
  static func backend(
    _ options: ModelOptions, environment: ProgramEnvironment, localRank: Int = 0,
    didMove: () -> Void = {}
  ) throws(UserError) -> (backend: any Backend, remark: String?) {
    let precision: Precision = options.mixedPrecision == .bf16 ? .bfloat16 : .float32
    switch options.device {
    case .auto, .cpu:
      let backend = CPUBackend(
        threadCount: environment.threadCount(flag: options.threads), precision: precision)
      let isEmulated = options.mixedPrecision == .bf16 && !backend.hasNativeBFloat16
      return (
        backend,
        isEmulated
          ? "note: \(backend.instructionSet) has no bf16 products; operands are rounded to bf16 and "
            + "multiplied as float32, which saves no time" : nil
      )
    case .cuda:
      let remark = GPUPlacement.bindNearGPU(localRank: localRank, environment)
      let device = try DriverDevice(
        localRank: localRank, search: LibrarySearch(environment.libraryVariables),
        cacheDirectory: environment.cacheDirectory, didMove: didMove)
      do throws(ComputeError) {
        return (try CUDABackend(device: device, precision: precision), remark)
      } catch {
        throw UserError(.system, at: "--device cuda", "\(error)")
      }
    }
  }

  /// Counts what a backend takes besides tensors; nil for a backend that takes nothing.
  static func meter(_ backend: any Backend) -> (any WorkspaceMeter)? {
    switch backend {
    case let backend as CPUBackend: CPUWorkspaceMeter(backend)
    case let backend as CUDABackend: CUDAWorkspaceMeter(backend)
    default: nil
    }
  }

  /// The backend that others are held against.
  static func reference(_ precision: Precision) -> any Backend {
    CPUBackend(threadCount: 1, precision: precision)
  }

  /// Times a device's operations, and bytes and bf16 operations that it can do at most in a second;
  /// nil for the CPU.
  static func timer(_ backend: any Backend)
    -> (timer: OperationTimer, limits: (memory: Double?, products: Double?))?
  {
    guard let backend = backend as? CUDABackend else { return nil }
    let limits = backend.limits
    return (
      OperationTimer(backend, milliseconds: backend.milliseconds),
      (limits.bytesPerSecond, limits.operationsPerSecond)
    )
  }
}

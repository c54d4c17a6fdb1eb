internal import Compute
internal import ComputeCPU
internal import Support

/// The one place where a device is chosen.
enum Assembly {
  /// The backend that the settings ask for.
  ///
  /// - Parameters:
  ///   - options: of the command.
  ///   - environment: gives the threads of this process.
  /// - Returns: the backend and a line for the user where it does something unexpected.
  /// - Throws: ``UserError`` for a device that this build does not have.
  static func backend(_ options: ModelOptions, environment: ProgramEnvironment) throws(UserError)
    -> (backend: any Backend, remark: String?)
  {
    switch options.device {
    case .auto, .cpu:
      let backend = CPUBackend(
        threadCount: environment.threadCount(flag: options.threads),
        precision: options.mixedPrecision == .bf16 ? .bfloat16 : .float32)
      let isEmulated = options.mixedPrecision == .bf16 && !backend.hasNativeBFloat16
      return (
        backend,
        isEmulated
          ? "note: \(backend.instructionSet) has no bf16 products; operands are rounded to bf16 and "
            + "multiplied as float32, which saves no time" : nil
      )
    case .cuda:
      throw UserError(
        .usage, at: "--device", "cuda, but this version computes on CPUs only",
        fix: "give --device cpu, or leave it out")
    }
  }

  /// Counts what a backend takes besides tensors; nil for a backend that takes nothing.
  static func meter(_ backend: any Backend) -> (any WorkspaceMeter)? {
    (backend as? CPUBackend).map { CPUWorkspaceMeter($0) }
  }
}
